// The network of one person breaks, for a moment, for longer than the server waits, or at the end: each comes back by itself, with
// sound and pictures, or is told what it has missed. A reload comes back by itself, too.

import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { after, before, test } from 'node:test';
import { browser, hasMedia, Person, start, stretched, until } from './lab.mjs';
import { mediaRelay, Network } from './network.mjs';

let server, chromium, relay, ann, bob, vic, bobs, vics;
const room = 'harbour';
const media = { skip: !hasMedia() && 'no bridge' };

const udpPort = () =>
  new Promise((done) => {
    const probe = createSocket('udp4');
    probe.bind(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });

before(async () => {
  relay = await mediaRelay();
  relay.target = await udpPort();
  // Everything of the browsers goes through relays: the page's address is that of the relay, and the bridge's too.
  const bridge = hasMedia() ? { 'bridge.port': relay.target, 'bridge.private_addresses': false, 'bridge.public_addresses.0': `127.0.0.1:${relay.port}` } : {};
  server = await start({ stage: 2, 'limits.resume_time': '10s', 'focus.return_hold': '30s', ...bridge });
  chromium = await browser();
  bobs = await Network.to(server, relay);
  vics = await Network.to(server, relay);
});
after(async () => {
  await chromium?.close();
  bobs?.close();
  vics?.close();
  relay?.close();
  await server?.stop();
  if (process.env.VERBOSE) console.log(server?.log());
});

const idOf = (p) => p.page.evaluate(() => amphi.state.me.value?.id);
const isThere = (p) => p.page.evaluate(() => amphi.state.link.value === 'good' && amphi.state.phase.value.kind === 'meeting' && !amphi.state.transition.value && amphi.state.me.value !== null);
const isBack = (p) => until(`${p.name} is back`, () => isThere(p), 40_000);
const mark = (p) => p.page.evaluate(() => (globalThis.mark = 'same page'));
const isSamePage = async (p) => assert.equal(await p.page.evaluate(() => globalThis.mark), 'same page');
const picture = async (watcher, of) => {
  const video = watcher.page.locator(`article.tile[aria-label="${of.name}"] video`);
  await video.waitFor({ timeout: stretched(30_000) });
  const frames = () => video.evaluate((v) => v.getVideoPlaybackQuality().totalVideoFrames).catch(() => 0);
  let begin = await frames();
  await until(`${watcher.name} sees ${of.name} move`, async () => {
    const now = await frames();
    if (now < begin) begin = now;
    return now > begin + 3;
  }, 30_000);
};
const see = () => Promise.all([picture(ann, bob), picture(bob, ann), picture(vic, ann), vic.receives('audio'), bob.receives('audio')]);

test('two on stage and one in the audience, each over a network of their own', async () => {
  ann = await Person.come(chromium, server, 'Ann', { room });
  await ann.join({ camera: true, microphone: true });
  bob = await Person.come(chromium, bobs, 'Bob', { room });
  await bob.join({ camera: true, microphone: true });
  await bob.isRole('stage');
  vic = await Person.come(chromium, vics, 'Vic', { room });
  await vic.join();
  await vic.isRole('audience');
  await Promise.all([mark(bob), mark(vic)]);
});

test('all see and hear', media, see);

test('a network that is lost for a moment: the same seat goes on', async () => {
  const before = await Promise.all([idOf(bob), idOf(vic)]);
  await Promise.all([bobs.cut(bob), vics.cut(vic)]);
  await Promise.all([bob.sees('Reconnecting'), vic.sees('Reconnecting')]);
  bobs.heal();
  vics.heal();
  await Promise.all([isBack(bob), isBack(vic)]);
  assert.deepEqual(await Promise.all([idOf(bob), idOf(vic)]), before);
});

test('with sound and pictures as before', media, see);

test('a network that is lost for long: everybody is there again by themselves', async () => {
  const before = await idOf(bob);
  await Promise.all([bobs.cut(bob), vics.cut(vic)]);
  await ann.page.locator('article.tile[aria-label="Bob"]').waitFor({ state: 'detached', timeout: stretched(60_000) });
  await ann.page.locator('[data-audience="0"]').waitFor({ timeout: stretched(60_000) });
  await bob.sees('econnecting');
  bobs.heal();
  vics.heal();
  await Promise.all([isBack(bob), isBack(vic)]);
  assert.notEqual(await idOf(bob), before);
  assert.deepEqual([await bob.role(), await vic.role()], ['stage', 'audience']);
  await Promise.all([isSamePage(bob), isSamePage(vic)]);
  await ann.page.locator('[data-audience="1"]').waitFor({ timeout: stretched(20_000) });
});

test('with sound and pictures again', media, see);

test('a machine without a network says so, and goes on when it is back', async () => {
  await bob.context.setOffline(true);
  await bob.sees('No network');
  await bob.context.setOffline(false);
  await isBack(bob);
  await bob.page.getByText('No network').waitFor({ state: 'detached' });
  await isSamePage(bob);
});

test('with sound and pictures after that', media, see);

test('a reload comes back to the same role by itself, with the devices that were on', async () => {
  await vic.button('Raise hand').click();
  await Promise.all([bob.page.reload(), vic.page.reload()]);
  await Promise.all([isBack(bob), isBack(vic)]);
  assert.deepEqual([await bob.role(), await vic.role()], ['stage', 'audience']);
  assert.deepEqual(await bob.page.evaluate(() => [amphi.local.isMicOn.value, amphi.local.isCameraOn.value, amphi.state.myName.value]), [true, true, 'Bob']);
  await vic.button('Lower hand').waitFor();
  await ann.open('People');
  await ann.button('Deny Vic').click();
  await vic.button('Raise hand').waitFor();
});

test('with sound and pictures after the reload', media, see);

test('whoever was away when the meeting ended is told so', async () => {
  await Promise.all([bobs.cut(bob), vics.cut(vic)]);
  await bob.sees('econnecting');
  await ann.button('Leave').click();
  await ann.button('End for everybody').click();
  await ann.page.getByRole('heading', { name: 'The meeting has ended' }).waitFor({ timeout: stretched(20_000) });
  bobs.heal();
  await bob.page.getByRole('heading', { name: 'The meeting has ended' }).waitFor({ timeout: stretched(30_000) });
  // Vic comes back when the server has given up waiting.
  await new Promise((r) => setTimeout(r, 12_000));
  vics.heal();
  await vic.page.getByRole('heading', { name: 'The meeting has ended' }).waitFor({ timeout: stretched(30_000) });
});

test('nothing was asked of others, and nothing went wrong', () => {
  for (const p of [ann, bob, vic]) assert.deepEqual([p.foreign, p.errors], [[], []], p.name);
});
