// The page as such: accessible, narrow, by keyboard, without others' help; passwords, waiting, an empty server.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { browser, Person, start, stretched, until } from './lab.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
let server, chromium;

before(async () => {
  server = await start({ stage: 2, 'focus.live': 'unless-false' });
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

async function isAccessible(p, where) {
  await p.page.evaluate(`${axe}; undefined`);
  const { violations } = await p.page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const serious = violations.filter((v) => v.impact === 'serious' || v.impact === 'critical');
  const words = serious.map((v) => `${v.id}: ${v.help}\n    ${v.nodes.map((n) => n.html).join('\n    ')}`);
  assert.deepEqual(words, [], where);
}

async function isNarrowEnough(p, where) {
  const width = await p.page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 375, `${where} is ${width} pixels wide`);
}

const phone = { viewport: { width: 375, height: 740 } };

test('the start and the lobby are accessible and fit a phone', async () => {
  const home = await Person.come(chromium, server, '', { room: '', ...phone, bypassCSP: true });
  await home.page.getByLabel('Name of the meeting').waitFor();
  await isAccessible(home, 'start');
  await isNarrowEnough(home, 'start');
  await home.page.getByLabel('Name of the meeting').fill('My Room');
  await home.page.keyboard.press('Enter');
  await home.page.getByLabel('Your name').waitFor();
  assert.match(home.page.url(), /\/My-Room$/);
  await isAccessible(home, 'lobby');
  await isNarrowEnough(home, 'lobby');
  await home.leave();
});

test('the meeting with its panels and dialogs is accessible, on stage and in the audience', async () => {
  const room = 'open';
  const ann = await Person.come(chromium, server, 'Ann', { room, bypassCSP: true });
  await ann.join({ camera: true });
  const bob = await Person.come(chromium, server, 'Bob', { room, ...phone, bypassCSP: true });
  await bob.join();
  const vic = await Person.come(chromium, server, 'Vic', { room, ...phone, bypassCSP: true });
  await vic.join();
  await vic.button('Raise hand').click();
  await ann.open('People');
  await ann.button('Approve Vic').waitFor();
  await isAccessible(ann, 'people');
  await ann.button('More for Bob').click();
  await isAccessible(ann, 'menu');
  await ann.page.keyboard.press('Escape');
  await bob.open('Chat');
  await bob.page.getByLabel('Message to everybody').fill('Hello');
  await bob.page.keyboard.press('Enter');
  await bob.sees('Hello');
  await isAccessible(bob, 'chat');
  await isNarrowEnough(bob, 'chat');
  await bob.button('Close the chat').click();
  await isNarrowEnough(bob, 'stage');
  await isAccessible(bob, 'stage');
  await isNarrowEnough(vic, 'audience');
  await isAccessible(vic, 'audience');
  await ann.button('Approve Vic').click();
  await vic.sees('You are invited on stage');
  await isAccessible(vic, 'invitation');
  await vic.button('Not now').click();
  await ann.button('Leave').click();
  await ann.button('Just leave').waitFor();
  await isAccessible(ann, 'leaving');
  await ann.button('Just leave').click();
  await ann.sees('You left the meeting');
  await isAccessible(ann, 'end');
  for (const p of [ann, bob, vic]) await p.leave();
});

test('a meeting can be held with the keyboard alone', async () => {
  const p = await Person.come(chromium, server, 'Kay', { room: 'keys' });
  await p.page.getByLabel('Your name').fill('Kay');
  await p.page.keyboard.press('Enter');
  await p.page.locator('.meeting').waitFor();
  await p.page.keyboard.press('v');
  await p.button('Turn the camera off').waitFor();
  await p.page.keyboard.press('m');
  await p.button('Mute').waitFor();
  await p.page.keyboard.press('m');
  await p.button('Unmute').waitFor();
  await p.page.keyboard.down('Space');
  await p.button('Mute').waitFor();
  await p.page.keyboard.up('Space');
  await p.button('Unmute').waitFor();
  await p.page.keyboard.press('h');
  await p.button('Lower your hand').waitFor();
  await p.page.keyboard.press('c');
  await p.page.getByLabel('Message to everybody').waitFor();
  await p.page.keyboard.type('h m v');
  assert.equal(await p.page.getByLabel('Message to everybody').inputValue(), 'h m v');
  await p.page.keyboard.press('Escape');
  await p.page.getByLabel('Message to everybody').waitFor({ state: 'detached' });
  await p.page.keyboard.press('?');
  await p.page.getByRole('dialog').waitFor();
  await p.page.keyboard.press('Escape');
  await p.page.getByRole('dialog').waitFor({ state: 'detached' });
  await p.leave();
});

test('without permission for devices one joins all the same, and is told', async () => {
  const p = await Person.come(chromium, server, 'Shy', { room: 'shy' });
  await p.page.evaluate(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'));
  });
  await p.button('Turn the camera on').click();
  await p.sees('Your camera is blocked');
  await p.join();
  await p.leave();
});

test('a password is asked for, and a wrong one told', async () => {
  const ann = await Person.come(chromium, server, 'Ann', { room: 'locked' });
  await ann.join();
  await until('Ann moderates', () => ann.page.evaluate(() => amphi.state.isModerator.value));
  await ann.button('More').click();
  await ann.page.getByRole('menuitem', { name: 'Lock with a password' }).click();
  await ann.page.getByRole('textbox', { name: 'Password' }).fill('sesame');
  await ann.button('Lock the meeting').click();
  await until('it is locked', () => ann.page.evaluate(() => amphi.state.isLocked.value));
  const bob = await Person.come(chromium, server, 'Bob', { room: 'locked' });
  await bob.page.getByLabel('Your name').fill('Bob');
  await bob.button('Join the meeting').click();
  await bob.page.getByLabel('Password').fill('wrong');
  await bob.button('Join').click();
  await bob.sees('That was not it.');
  await bob.page.getByLabel('Password').fill('sesame');
  await bob.button('Join').click();
  await bob.page.locator('.meeting').waitFor();
  for (const p of [ann, bob]) await p.leave();
});

test('the audience waits until the host goes live, and comes in by itself', async () => {
  const ann = await Person.come(chromium, server, 'Ann', { room: 'premiere' });
  await ann.join();
  await until('Ann moderates', () => ann.page.evaluate(() => amphi.state.isModerator.value));
  await ann.open('People');
  await ann.button('Hold').click();
  await ann.button('Go live').waitFor();
  const vic = await Person.come(chromium, server, 'Vic', { room: 'premiere' });
  await vic.page.getByLabel('Your name').fill('Vic');
  await vic.button('Join as audience, to watch only').click();
  await vic.sees('The meeting has not begun yet');
  await ann.sees('1 waiting to come in.');
  await ann.button('Go live').click();
  await vic.page.locator('.meeting').waitFor({ timeout: stretched(20_000) });
  assert.equal(await vic.role(), 'audience');
  await until('Ann sees the name', () => ann.page.locator('.persons.quiet').getByText('Vic').isVisible());
  for (const p of [ann, vic]) await p.leave();
});

test('files are compressed and kept, and what is not there is not found', async () => {
  const html = await (await fetch(`${server.url}/anything`)).text();
  if (!html.includes('amphi-config">{"domain')) return;
  const script = /src="(\/assets\/[^"]+\.js)"/.exec(html)[1];
  const js = await fetch(server.front + script, { headers: { 'Accept-Encoding': 'br' } });
  assert.equal(js.headers.get('content-encoding'), 'br');
  assert.match(js.headers.get('cache-control'), /immutable/);
  assert.equal((await fetch(`${server.front}/assets/nothing.js`)).status, 404);
  assert.equal((await fetch(`${server.front}/a/b/c`)).status, 404);
  assert.match(await (await fetch(`${server.front}/health-view`)).text(), /looking/);
  assert.match((await fetch(`${server.front}/`)).headers.get('content-security-policy'), /default-src 'none'/);
});
