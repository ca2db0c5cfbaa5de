// A whole meeting in Chromium: two on stage, three in the audience, and everything that happens between them.

import assert from 'node:assert/strict';
import { cpus, loadavg } from 'node:os';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { browser, hasMedia, Person, start, stretched, until } from './lab.mjs';

let server, chromium, ann, bob, vic, wil, xia;
const room = 'town';

before(async () => {
  server = await start({ stage: 2 });
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

test('the page is ready to join within a second', async () => {
  const p = await Person.come(chromium, server, 'Quick', { room: 'quick' });
  await p.button('Join the meeting').waitFor();
  const ms = await p.page.evaluate(() => performance.getEntriesByType('navigation')[0].domInteractive);
  console.log(`# ready to join ${Math.round(ms)} ms after the request`);
  assert.ok(ms < stretched(1000), `ready after ${Math.round(ms)} ms`);
  await p.leave();
});

test('what a browser has to load is small', async () => {
  const html = await (await fetch(`${server.url}/any`)).text();
  const files = [...html.matchAll(/(?:src|href)="(\/assets\/[^"]+\.(?:js|css))"/g)].map((m) => m[1]);
  const bodies = await Promise.all(files.map(async (f) => Buffer.from(await (await fetch(server.url + f)).arrayBuffer())));
  const size = bodies.reduce((sum, b) => sum + gzipSync(b).length, gzipSync(html).length);
  console.log(`# ${files.length} files, ${(size / 1000).toFixed(1)} kB gzipped`);
  assert.ok(files.length > 1 && size < 250_000);
});

test('the first two come on stage', async () => {
  ann = await Person.come(chromium, server, 'Ann', { room });
  await ann.join({ camera: true, microphone: true });
  await ann.isRole('stage');
  await ann.sees('You are the first one here.');
  bob = await Person.come(chromium, server, 'Bob', { room });
  await bob.join({ camera: true, microphone: true });
  await bob.isRole('stage');
  await ann.page.locator('article.tile[aria-label="Bob"]').waitFor();
  await until('Ann moderates', () => ann.page.evaluate(() => amphi.state.isModerator.value));
});

test('they see and hear each other', { skip: !hasMedia() && 'no bridge' }, async () => {
  await Promise.all([ann, bob].flatMap((p) => [p.receives('video'), p.receives('audio')]));
  await bob.page.locator('article.tile[aria-label="Ann"] video').waitFor();
});

test('the first picture is there within two seconds of joining', { skip: !hasMedia() && 'no bridge' }, async () => {
  const p = await Person.come(chromium, server, 'Eve', { room });
  await p.join();
  const ms = await p.firstFrame();
  await p.leave();
  // A machine that is busy with other things says nothing of the page.
  const isBusy = loadavg()[0] > 2 * cpus().length;
  console.log(`# first picture ${Math.round(ms)} ms after joining${isBusy ? ', on a busy machine' : ''}`);
  assert.ok(isBusy || ms < 2000, `${Math.round(ms)} ms`);
  await ann.page.locator('[data-audience="0"]').waitFor({ timeout: stretched(30_000) });
});

test('the next three are in the audience, which is counted', async () => {
  vic = await Person.come(chromium, server, 'Vic', { room });
  await vic.join();
  wil = await Person.come(chromium, server, 'Wil', { room, viewport: { width: 375, height: 740 } });
  await wil.join();
  xia = await Person.come(chromium, server, 'Xia', { room });
  await xia.join();
  for (const p of [vic, wil, xia]) assert.equal(await p.role(), 'audience');
  for (const p of [ann, vic]) await p.page.locator('[data-audience="3"]').waitFor({ timeout: stretched(20_000) });
  await vic.page.locator('article.tile[aria-label="Ann"]').waitFor();
  assert.equal(await vic.page.locator('article.tile[aria-label^="Wil"]').count(), 0);
});

test('the audience sees and hears the stage', { skip: !hasMedia() && 'no bridge' }, async () => {
  await Promise.all([vic, wil, xia].flatMap((p) => [p.receives('video'), p.receives('audio')]));
});

test('everybody reads the chat, and only one person a private message', async () => {
  for (const p of [ann, bob, vic, wil]) await p.open('Chat');
  await vic.page.getByLabel('Message to everybody').fill('Hello from the back');
  await vic.page.keyboard.press('Enter');
  for (const p of [ann, bob, vic, wil]) await p.sees('Hello from the back');
  await ann.open('People');
  await ann.button('More for Bob').click();
  await ann.page.getByRole('menuitem', { name: 'Write privately' }).click();
  await ann.page.getByLabel('Message to Bob alone').fill('Just between us');
  await ann.page.keyboard.press('Enter');
  await bob.sees('Just between us');
  await new Promise((r) => setTimeout(r, 500));
  assert.equal(await vic.page.getByText('Just between us').count(), 0);
});

test('whoever comes later reads what was written before', async () => {
  const late = await Person.come(chromium, server, 'Late', { room });
  await late.join();
  await late.open('Chat');
  await late.sees('Hello from the back');
  await late.leave();
});

test('a hand is raised, lowered, raised again, and denied', async () => {
  await ann.open('People');
  await vic.button('Raise hand').click();
  await ann.button('Approve Vic').waitFor();
  await vic.button('Lower hand').click();
  await ann.button('Approve Vic').waitFor({ state: 'detached' });
  await vic.button('Raise hand').click();
  await ann.button('Deny Vic').click();
  await vic.sees('The host cannot take you on stage now.');
  await vic.button('Raise hand').waitFor();
});

test('those who raise a hand see their place in line, and it moves', async () => {
  await wil.button('Close the chat').click();
  for (const [i, p] of [wil, xia, vic].entries()) {
    await p.button('Raise hand').click();
    await p.page.locator(`[data-place="${i + 1}"]`).waitFor();
  }
  await wil.sees('You are next in line.');
  await vic.sees('You are 3rd in line.');
  const order = () => ann.page.locator('.hands .person-name').evaluateAll((all) => all.map((e) => e.firstChild.textContent));
  assert.deepEqual(await order(), ['Wil', 'Xia', 'Vic']);
  await xia.button('Lower hand').click();
  await vic.sees('You are 2nd in line.');
  await ann.button('Deny Wil').click();
  await vic.sees('You are next in line.');
  await vic.button('Lower hand').click();
});

test('a moderator approves all at once', async () => {
  for (const p of [wil, xia]) await p.button('Raise hand').click();
  await ann.page.locator('.hands li').nth(1).waitFor();
  await ann.button('Approve all').click();
  for (const p of [wil, xia]) {
    await p.sees('You are invited on stage');
    await p.button('Not now').click();
    await p.button('Raise hand').waitFor();
  }
});

test('an approved hand brings somebody on stage without a reload', async () => {
  await vic.page.evaluate(() => (globalThis.mark = 'same page'));
  await vic.button('Raise hand').click();
  await ann.button('Approve Vic').click();
  await vic.sees('You are invited on stage');
  await vic.button('With camera and microphone').click();
  await vic.isRole('stage');
  assert.equal(await vic.page.evaluate(() => globalThis.mark), 'same page');
  await ann.page.locator('article.tile[aria-label="Vic"]').waitFor();
  await ann.page.locator('[data-audience="2"]').waitFor({ timeout: stretched(20_000) });
});

test('the others see and hear who came up', { skip: !hasMedia() && 'no bridge' }, async () => {
  await ann.page.locator('article.tile[aria-label="Vic"] video').waitFor();
  await wil.page.evaluate(() => (amphi.state.pinned.value = amphi.state.stage.value.find((p) => p.name === 'Vic').id + '-v0'));
  await wil.page.locator('article.tile.large[aria-label="Vic"] video').waitFor();
  await wil.receives('video');
});

test('a shared screen is shown large', { skip: !hasMedia() && 'no bridge' }, async () => {
  // A picture that is drawn stands for a screen: what can be captured differs from machine to machine.
  await bob.page.evaluate(() => {
    navigator.mediaDevices.getDisplayMedia = async () => {
      const canvas = document.createElement('canvas');
      Object.assign(canvas, { width: 1280, height: 720 });
      const c = canvas.getContext('2d');
      setInterval(() => {
        c.fillStyle = `hsl(${Date.now() / 50} 50% 40%)`;
        c.fillRect(0, 0, 1280, 720);
      }, 50);
      return canvas.captureStream(15);
    };
  });
  await bob.button('Share the screen').click();
  await ann.page.locator('article.tile.large[aria-label="Screen of Bob"] video').waitFor({ timeout: stretched(15_000) });
  const size = () => ann.page.locator('article.tile.large[aria-label="Screen of Bob"] video').evaluate((v) => v.videoWidth);
  await until('the screen is seen', async () => (await size()) > 100);
  await bob.button('Stop sharing').click();
  await ann.page.locator('article.tile[aria-label="Screen of Bob"]').waitFor({ state: 'detached' });
});

test('a moderator mutes', { skip: !hasMedia() && 'no bridge' }, async () => {
  await ann.open('People');
  await ann.button('More for Bob').click();
  await ann.page.getByRole('menuitem', { name: 'Mute' }).click();
  await bob.sees('Ann muted you.');
  await bob.button('Unmute').waitFor();
});

test('a lost network is bridged: the same person is there again', async () => {
  const before = await bob.page.evaluate(() => amphi.state.me.value.id);
  await bob.page.evaluate(() => amphi.interrupt());
  await bob.sees('Reconnecting');
  await until('Bob is back', () => bob.page.evaluate(() => amphi.state.link.value === 'good' && amphi.state.phase.value.kind === 'meeting'));
  assert.equal(await bob.page.evaluate(() => amphi.state.me.value.id), before);
  await bob.open('Chat');
  await bob.page.getByRole('textbox', { name: /^Message to/ }).fill('Back again');
  await bob.page.keyboard.press('Enter');
  await wil.open('Chat');
  await wil.sees('Back again');
});

test('a moderator sends somebody back to the audience', async () => {
  await ann.open('People');
  await ann.button('More for Vic').click();
  await ann.page.getByRole('menuitem', { name: 'Move to the audience' }).click();
  await vic.isRole('audience');
  await ann.page.locator('article.tile[aria-label="Vic"]').waitFor({ state: 'detached' });
  assert.equal(await vic.page.evaluate(() => amphi.local.isMicOn.value || amphi.local.isCameraOn.value), false);
});

test('a reload comes back to the same role', async () => {
  await bob.page.reload();
  await bob.isRole('stage');
  assert.equal(await bob.page.evaluate(() => amphi.state.myName.value), 'Bob');
});

test('somebody who is removed is told', async () => {
  await ann.button('More for Bob').click();
  await ann.page.getByRole('menuitem', { name: 'Remove from the meeting' }).click();
  await bob.sees('You were removed');
  await ann.page.locator('article.tile[aria-label="Bob"]').waitFor({ state: 'detached' });
});

test('the host ends the meeting for everybody', async () => {
  await ann.button('Leave').click();
  await ann.button('End for everybody').click();
  for (const p of [ann, vic, wil, xia]) {
    const title = () => p.page.evaluate(() => amphi.state.phase.value.title ?? JSON.stringify([amphi.state.phase.value, amphi.state.transition.value]));
    await until(`${p.name} is told`, async () => (await title()) === 'The meeting has ended').catch(async () => assert.fail(`${p.name}: ${await title()}`));
  }
});

test('nothing was asked of others, and nothing went wrong', () => {
  for (const p of [ann, bob, vic, wil, xia]) {
    assert.deepEqual(p.foreign, [], `${p.name} asked others`);
    assert.deepEqual(p.errors, [], `${p.name} had errors`);
  }
});

