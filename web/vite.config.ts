import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import preact from '@preact/preset-vite';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

// `npm run dev` works against a server that runs at the usual address, or at AMPHI.
const server = process.env.AMPHI ?? 'http://localhost:5280';
const paths = ['/xmpp-websocket', '/conference-request', '/visitor/', '/visitors-list/', '/colibri-ws', '/about/'];
const operators = process.env.AMPHI_ADMIN ?? 'http://localhost:8888';

/** Compressed forms beside the files, so that the server need not compress. */
function compressed(): Plugin {
  return {
    name: 'compressed',
    apply: 'build',
    writeBundle({ dir }) {
      const assets = join(dir ?? 'dist', 'assets');
      for (const name of readdirSync(assets).filter((n) => /\.(js|css|svg)$/.test(n))) {
        const bytes = readFileSync(join(assets, name));
        writeFileSync(join(assets, `${name}.br`), brotliCompressSync(bytes));
        writeFileSync(join(assets, `${name}.gz`), gzipSync(bytes, { level: 9 }));
      }
    },
  };
}

/** The licences of what is in the bundle. */
function licences(): Plugin {
  return {
    name: 'licences',
    apply: 'build',
    generateBundle() {
      const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as { dependencies: Record<string, string> };
      const texts = [...Object.keys(dependencies), '@preact/signals-core'].map((name) => {
        const folder = join('node_modules', name);
        const file = readdirSync(folder).find((f) => /^licen[cs]e/i.test(f));
        return `${name}\n\n${file ? readFileSync(join(folder, file), 'utf8') : 'see its package'}`;
      });
      this.emitFile({ type: 'asset', fileName: 'licences.txt', source: texts.join(`\n\n${'-'.repeat(80)}\n\n`) });
    },
  };
}

export default defineConfig({
  plugins: [preact(), licences(), compressed()],
  build: { target: 'es2022', sourcemap: false, assetsInlineLimit: 0, modulePreload: { polyfill: false }, rollupOptions: { input: ['index.html', 'dashboard.html'] } },
  server: {
    proxy: {
      ...Object.fromEntries(paths.map((p) => [p, { target: server, ws: true, changeOrigin: true }])),
      '/admin/': { target: operators, changeOrigin: true },
    },
  },
  test: { environment: 'happy-dom', include: ['test/**/*.test.ts'] },
});
