// The machine of a visitor node dies in the middle of a meeting: its audience comes back on the other one by itself, and goes on.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { browser, hasMedia, Person, startApart, stretched, until } from './lab.mjs';

let server, chromium, ann, bob, audience;
const room = 'storm';
const media = { skip: !hasMedia() && 'no bridge' };

before(async () => {
  server = await startApart(['v1', 'v2'], 'stage = 2');
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
  if (process.env.VERBOSE) console.log(server?.log());
});

const nodeOf = (p) => p.page.evaluate(() => amphi.node);

test('two are on stage, three in the audience on one node', async () => {
  ann = await Person.come(chromium, server, 'Ann', { room });
  await ann.join({ camera: true, microphone: true });
  bob = await Person.come(chromium, server, 'Bob', { room });
  await bob.join({ camera: true, microphone: true });
  await bob.isRole('stage');
  audience = [];
  for (const name of ['Vic', 'Wil', 'Xia']) {
    const p = await Person.come(chromium, server, name, { room });
    await p.join();
    await p.isRole('audience');
    await p.page.evaluate(() => (globalThis.mark = 'same page'));
    audience.push(p);
  }
  assert.equal(new Set(await Promise.all(audience.map(nodeOf))).size, 1);
  await ann.page.locator('[data-audience="3"]').waitFor({ timeout: stretched(20_000) });
});

test('the audience sees and hears the stage', media, async () => {
  await Promise.all(audience.flatMap((p) => [p.receives('video'), p.receives('audio')]));
});

test('their node dies: all come back on the other by themselves', async () => {
  const [vic] = audience;
  await vic.button('Raise hand').click();
  await ann.open('People');
  await ann.button('Approve Vic').waitFor();
  const dead = await nodeOf(vic);
  const at = Date.now();
  await server.kill(dead);
  await Promise.all(
    audience.map(async (p) => {
      await until(`${p.name} is back`, async () => (await nodeOf(p)) !== dead && (await p.page.evaluate(() => amphi.state.phase.value.kind === 'meeting' && !amphi.state.transition.value)), 40_000);
      console.log(`# ${p.name} is back on ${await nodeOf(p)} after ${Date.now() - at} ms`);
      assert.equal(await p.role(), 'audience');
      assert.equal(await p.page.evaluate(() => globalThis.mark), 'same page');
    }),
  );
  await ann.page.locator('[data-audience="3"]').waitFor({ timeout: stretched(40_000) });
});

test('they see and hear the stage again', media, async () => {
  await Promise.all(audience.flatMap((p) => [p.receives('video'), p.receives('audio')]));
});

test('a hand that was up is up again, once', async () => {
  const [vic] = audience;
  await vic.button('Lower hand').waitFor();
  await until('one hand is up', () => ann.page.evaluate(() => amphi.state.hands.value.length === 1));
});

test('approved, it brings its owner on stage', async () => {
  const [vic, wil] = audience;
  await ann.button('Approve Vic').click();
  await vic.sees('You are invited on stage');
  await vic.button('With camera and microphone').click();
  await vic.isRole('stage');
  await ann.page.locator('article.tile[aria-label="Vic"]').waitFor();
  await wil.page.locator('article.tile[aria-label="Vic"]').waitFor();
});

test('there they are seen and heard', media, async () => {
  const [vic, wil] = audience;
  await ann.page.locator('article.tile[aria-label="Vic"] video').waitFor();
  await until('the picture of Vic is there', () => ann.page.locator('article.tile[aria-label="Vic"] video').evaluate((v) => v.videoWidth > 0));
  await Promise.all([vic, wil].flatMap((p) => [p.receives('video'), p.receives('audio')]));
});

test('and they go back to the audience', async () => {
  const [vic] = audience;
  await ann.button('More for Vic').click();
  await ann.page.getByRole('menuitem', { name: 'Move to the audience' }).click();
  await vic.isRole('audience');
  await ann.page.locator('article.tile[aria-label="Vic"]').waitFor({ state: 'detached' });
});

test('the end reaches everybody', async () => {
  await ann.button('Leave').click();
  await ann.button('End for everybody').click();
  for (const p of [ann, bob, ...audience]) await p.page.getByRole('heading', { name: 'The meeting has ended' }).waitFor({ timeout: stretched(20_000) });
  for (const p of [ann, bob, ...audience]) assert.deepEqual([p.foreign, p.errors], [[], []], p.name);
});
