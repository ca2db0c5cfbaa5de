// Pictures of the dashboard, to be looked at: `npm run shots:dashboard [folder]`. A small meeting that is real, and a large
// fleet that is made up.

import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { browser, dashboardOf, Person, start } from './lab.mjs';

const folder = process.argv[2] ?? 'shots';
mkdirSync(folder, { recursive: true });
const TOKEN = 'a token that nobody guesses';
const port = await new Promise((done) => {
  const probe = createServer().listen(0, '127.0.0.1', () => {
    const { port } = probe.address();
    probe.close(() => done(port));
  });
});
const base = `http://127.0.0.1:${port}`;
const server = await start({ stage: 2, 'admin.token': TOKEN, 'listen.admin': `127.0.0.1:${port}` });
const { url } = await dashboardOf(base);
const chromium = await browser();

const LONG = 'the-annual-general-assembly-of-the-association-for-the-advancement-of-very-long-names-in-conference-systems';
const rooms = Array.from({ length: 500 }, (_, i) => {
  const name = i === 0 ? LONG : `class-${String(i).padStart(3, '0')}`;
  const audience = i === 0 ? 9874 : (i * 37) % 400;
  return {
    room: `${name}@conference.example.com`, name, shown: name, meeting_id: `m${i}`, created: Date.now() - i * 60_000, stage: 1 + (i % 20), audience, moderators: 1, hands: i % 7,
    has_password: i % 5 === 0, members_only: false, waiting: i % 11 === 0 ? 12 : 0, seats_pending: 0,
    nodes: [{ node: `v${1 + (i % 8)}`, visitors: audience, pending: 0, state: 'linked' }], bridges: [{ bridge: `jvb-${1 + (i % 3)}`, jid: 'x', endpoints: 12 }],
  };
});
const nodes = [
  { name: 'main', kind: 'main', state: 'up', here: true, domain: 'example.com', connected: true, draining: false, link: null, sessions: 5200, rooms: 500, stage: 5000, visitors: null, pending: null, capacity: null, load: null, links: [] },
  ...Array.from({ length: 8 }, (_, i) => ({
    name: i === 7 ? 'v8-in-the-second-data-centre-of-frankfurt' : `v${i + 1}`, kind: 'visitor', state: ['up', 'up', 'draining', 'up', 'down', 'up', 'full', 'up'][i], here: false, domain: `v${i + 1}.meet.jitsi`, connected: i !== 4,
    draining: i === 2, link: i !== 4, sessions: 9000, rooms: 60, stage: null, visitors: 1200 * i, pending: i, capacity: 10000, load: i / 8, links: [],
  })),
];
const bridges = Array.from({ length: 3 }, (_, i) => ({
  name: i === 2 ? 'jvb-ip-10-0-12-211.eu-central-1.compute.internal' : `jvb-${i + 1}`, jid: 'jvb@x/y', state: ['up', 'ill', 'draining'][i], here: false, region: 'eu-central-1', version: '0.1.0', stress: [0.34, 0.91, 0.1][i], draining: i === 2,
  failing_ice: i === 1, endpoints: 1200, conferences: 170, illness: i === 1 ? 'It has no address that clients can reach.' : null, restart_requests: 3, endpoints_moved: 12, rates: { bits_in: 3.2e8, bits_out: 6.4e9, packets_in: 1, packets_out: 1 },
}));
const findings = [
  { level: 'error', about: 'node v5', text: 'The link to v5 is down since 12:04, and its 4,800 visitors cannot hear what is said.', fix: 'Look at the process on 10.0.0.15, and whether port 5269 is open between both machines.' },
  { level: 'warning', about: 'tls', text: 'The front speaks HTTP: browsers give no camera or microphone to such a page.', fix: 'Put a proxy with TLS before it, or set `tls.front`, `tls.certificate` and `tls.key`.' },
  { level: 'note', about: 'turn', text: 'No TURN server is configured: people behind strict firewalls have no sound.', fix: 'Add an entry to `[[services]]`.' },
];

const pause = (ms) => new Promise((r) => setTimeout(r, ms));

async function open({ scheme = 'dark', viewport = { width: 1280, height: 860 }, large = false } = {}) {
  const context = await chromium.newContext({ colorScheme: scheme, viewport });
  const page = await context.newPage();
  if (large) {
    const give = (path, body) => page.route((url) => url.pathname === `/admin/v1${path}`, (r) => r.fulfill({ json: body(new URL(r.request().url())) }));
    await give('/rooms', (url) => {
      const q = url.searchParams.get('search') ?? url.searchParams.get('q') ?? '';
      const offset = Number(url.searchParams.get('offset') ?? 0);
      const all = rooms.filter((r) => r.name.includes(q));
      return { total: all.length, rooms: all.slice(offset, offset + Number(url.searchParams.get('limit') ?? 200)) };
    });
    await give('/nodes', () => ({ nodes }));
    await give('/bridges', () => ({ bridges }));
    await give('/check', () => ({ findings }));
    await give('/series', () => {
      const at = Date.now();
      return {
        samples: Array.from({ length: 300 }, (_, i) => ({
          at: at - (300 - i) * 2000, joins_stage: 2 + Math.sin(i / 9), joins_audience: Math.max(0, 180 * Math.exp(-(((i - 150) / 40) ** 2))), stage: 5000, audience: 60_000 + i * 90, rooms: 500, sessions: 65_000, stanzas_out: 21_000,
          fanout_p50: 4 + Math.sin(i / 20), fanout_p99: 12 + 6 * Math.abs(Math.sin(i / 17)), bits_in: 3e8, bits_out: 6e9 + 4e8 * Math.sin(i / 30),
          nodes: nodes.filter((n) => n.visitors !== null).map((n) => ({ name: n.name, visitors: n.visitors + i * 4 })), bridges: bridges.map((b) => ({ name: b.name, stress: b.stress, endpoints: b.endpoints })),
        })),
      };
    });
  }
  await page.goto(`${url}/dashboard`);
  return page;
}
async function signIn(page) {
  await page.getByLabel('Token').fill(TOKEN);
  await page.keyboard.press('Enter');
  await page.getByText('live', { exact: true }).waitFor();
  await pause(600);
}
const shot = (page, name) => page.screenshot({ path: `${folder}/${name}.png` });

try {
  const empty = await open();
  await shot(empty, 'd01-sign-in');
  await signIn(empty);
  await pause(2500);
  await shot(empty, 'd02-empty-overview');
  for (const [key, name] of [['2', 'rooms'], ['3', 'nodes'], ['4', 'bridges'], ['5', 'events'], ['6', 'check']]) {
    await empty.keyboard.press(key);
    await pause(300);
    await shot(empty, `d03-empty-${name}`);
  }
  const ada = await Person.come(chromium, server, 'Ada Lovelace', { room: 'town-hall' });
  await ada.join({ camera: true, microphone: true });
  const ben = await Person.come(chromium, server, 'Ben Okri', { room: 'town-hall' });
  await ben.join({ camera: true });
  const vic = await Person.come(chromium, server, 'Vic Tan', { room: 'town-hall' });
  await vic.join();
  await vic.button('Raise hand').click();
  await pause(5000);
  await empty.keyboard.press('1');
  await pause(2500);
  await shot(empty, 'd04-overview');
  await empty.goto(`${url}/dashboard#/rooms/${encodeURIComponent('town-hall@conference.localhost')}`);
  await empty.getByText('Vic Tan').first().waitFor();
  await pause(800);
  await empty.screenshot({ path: `${folder}/d05-room.png`, fullPage: true });
  await empty.getByRole('button', { name: /why/i }).last().click();
  await pause(600);
  await shot(empty, 'd06-why');
  await empty.context().close();

  for (const scheme of ['dark', 'light']) {
    const page = await open({ scheme, large: true });
    await signIn(page);
    await pause(800);
    await page.screenshot({ path: `${folder}/d10-${scheme}-overview.png`, fullPage: true });
    for (const [key, name] of [['2', 'rooms'], ['3', 'nodes'], ['4', 'bridges'], ['6', 'check']]) {
      await page.keyboard.press(key);
      await pause(400);
      await shot(page, `d11-${scheme}-${name}`);
    }
    await page.context().close();
  }
  const narrow = await open({ large: true, viewport: { width: 390, height: 800 } });
  await signIn(narrow);
  await narrow.screenshot({ path: `${folder}/d20-narrow-overview.png`, fullPage: true });
  await narrow.keyboard.press('2');
  await pause(400);
  await shot(narrow, 'd21-narrow-rooms');
  await narrow.keyboard.press('6');
  await pause(400);
  await shot(narrow, 'd22-narrow-check');
  console.log('width', await narrow.evaluate(() => document.documentElement.scrollWidth));
} finally {
  await chromium.close();
  await server.stop();
}
