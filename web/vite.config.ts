import preact from '@preact/preset-vite';
import { defineConfig } from 'vitest/config';

// `npm run dev` works against a server that runs at the usual address, or at AMPHI.
const server = process.env.AMPHI ?? 'http://localhost:5280';
const paths = ['/xmpp-websocket', '/conference-request', '/visitor/', '/visitors-list/', '/colibri-ws', '/about/'];

export default defineConfig({
  plugins: [preact()],
  build: { target: 'es2022', sourcemap: false, assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { proxy: Object.fromEntries(paths.map((p) => [p, { target: server, ws: true, changeOrigin: true }])) },
  test: { environment: 'happy-dom', include: ['test/**/*.test.ts'] },
});
