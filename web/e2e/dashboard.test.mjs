// The operator's dashboard: nothing without the token, everything from this server, accessible, usable by keyboard.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { browser, dashboardOf, start, until } from './lab.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const TOKEN = 'a token that nobody guesses';
let server, chromium, base, dashboard;

const freePort = () =>
  new Promise((done) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });

before(async () => {
  const port = await freePort();
  base = `http://127.0.0.1:${port}`;
  server = await start({ stage: 2, 'admin.token': TOKEN, 'listen.admin': `127.0.0.1:${port}` });
  dashboard = await dashboardOf(base);
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  dashboard?.close();
  await server?.stop();
});

const api = async (path) => (await fetch(`${base}/admin/v1${path}`, { headers: { authorization: `Bearer ${TOKEN}` } })).json();

async function isAccessible(page, where) {
  await page.evaluate(`${axe}; undefined`);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const serious = violations.filter((v) => v.impact === 'serious' || v.impact === 'critical');
  assert.deepEqual(serious.map((v) => `${v.id}: ${v.help}\n    ${v.nodes.map((n) => n.html).join('\n    ')}`), [], where);
}

test('an operator comes in with the token alone, looks around, and drains a node by keyboard', async () => {
  const page = await (await chromium.newContext({ bypassCSP: true })).newPage();
  const foreign = [];
  const errors = [];
  page.on('request', (r) => !r.url().startsWith(dashboard.url) && !r.url().startsWith('data:') && foreign.push(r.url()));
  page.on('pageerror', (e) => errors.push(e.message));
  await page.goto(`${dashboard.url}/dashboard`);
  await isAccessible(page, 'sign-in');
  await page.getByLabel('Token').fill('wrong');
  await page.keyboard.press('Enter');
  await page.getByText('not the token').waitFor();
  await page.getByLabel('Token').fill(TOKEN);
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: /^v1 up/ }).waitFor();
  await page.getByText('live', { exact: true }).waitFor();
  await isAccessible(page, 'overview');

  for (const [key, heading] of [['2', 'Rooms'], ['4', 'Bridges'], ['5', 'Events'], ['6', 'Self-check'], ['3', 'Nodes']]) {
    await page.keyboard.press(key);
    await page.getByRole('heading', { name: heading }).first().waitFor();
    await isAccessible(page, heading);
  }
  const drain = page.getByRole('row', { name: /^v1 / }).getByRole('button', { name: 'Drain' });
  await drain.focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog', { name: 'Drain v1?' }).waitFor();
  await isAccessible(page, 'dialog');
  await page.keyboard.press('Enter');
  await until('v1 is drained', async () => (await api('/nodes/v1')).state === 'draining');
  await page.getByRole('row', { name: /^v1 draining/ }).waitFor();
  await page.keyboard.press('5');
  await page.getByText('Drained: it gets no new visitors.').waitFor();
  assert.deepEqual([foreign, errors], [[], []]);
});
