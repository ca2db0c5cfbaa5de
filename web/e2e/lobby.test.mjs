// The lobby, from both sides: a moderator opens it, newcomers wait, are let in, turned away or know the password; closed again, it
// lets everybody in.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { browser, Person, start, stretched, until } from './lab.mjs';

const room = 'parlour';
let server, chromium, ann;

before(async () => {
  server = await start({ stage: 10 });
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
  if (process.env.VERBOSE) console.log(server?.log());
});

const come = (name) => Person.come(chromium, server, name, { room, devices: false });

/** Comes to the door and waits there. */
async function knock(name) {
  const p = await come(name);
  await p.page.getByLabel('Your name').fill(name);
  await p.page.getByRole('button', { name: 'Join the meeting' }).click();
  await p.page.getByRole('heading', { name: 'The host lets you in soon' }).waitFor({ timeout: stretched(30_000) });
  return p;
}

const isIn = (p) => p.page.locator('.meeting').waitFor({ timeout: stretched(30_000) });
const waiting = () => ann.page.evaluate(() => amphi.state.knockers.value.map((k) => k.name));
const waits = (...names) => until(`${names} wait`, async () => (await waiting()).sort().join() === names.sort().join());

test('a moderator opens the lobby', async () => {
  ann = await come('Ann');
  await ann.join();
  await until('Ann moderates', () => ann.page.evaluate(() => amphi.state.isModerator.value));
  await ann.open('People');
  await ann.button('Open a lobby').click();
  await ann.sees('Newcomers wait until you let them in.');
});

test('who is let in comes in, and leaves the list', async () => {
  const bob = await knock('Bob');
  await ann.sees('Bob asks to be let in.');
  await ann.button('Let Bob in').click();
  await isIn(bob);
  await bob.sees('Bob');
  await waits();
  assert.equal(await bob.page.evaluate(() => amphi.state.me.value.affiliation), 'member');
  await bob.leave();
});

test('who is turned away is told so', async () => {
  const cy = await knock('Cy');
  await ann.button('Turn Cy away').click();
  await cy.page.getByRole('heading', { name: 'You were not let in' }).waitFor({ timeout: stretched(15_000) });
  await waits();
  await cy.leave();
});

test('several are let in at once; those who give up leave the list', async () => {
  const [dan, eve, fay] = await Promise.all(['Dan', 'Eve', 'Fay'].map(knock));
  await waits('Dan', 'Eve', 'Fay');
  await fay.button('Leave').click();
  await waits('Dan', 'Eve');
  await ann.button('Let all in').click();
  await Promise.all([isIn(dan), isIn(eve)]);
  await until('all three are there', () => ann.page.evaluate(() => amphi.state.stage.value.length === 3));
  await Promise.all([dan, eve, fay].map((p) => p.leave()));
});

test('the password is a way past the lobby', async () => {
  await ann.page.evaluate(() => amphi.setPassword('sesame'));
  await until('the password is set', () => ann.page.evaluate(() => amphi.state.isLocked.value));
  const gus = await knock('Gus');
  const say = async (password) => {
    await gus.page.getByText('I know the password').click();
    await gus.page.getByLabel('Password').fill(password);
    await gus.button('Join').click();
  };
  await say('open');
  await gus.sees('That password was not it.');
  await say('sesame');
  await isIn(gus);
  await gus.leave();
  // Who is let in needs none.
  const hal = await knock('Hal');
  await ann.button('Let Hal in').click();
  await isIn(hal);
  await hal.leave();
});

test('a closed lobby lets those in who waited', async () => {
  await ann.page.evaluate(() => amphi.setPassword(''));
  const ida = await knock('Ida');
  await waits('Ida');
  await ann.button('Close the lobby').click();
  await isIn(ida);
  await ann.sees('Everybody with the link comes in.');
  assert.deepEqual([...ann.errors, ...ida.errors], []);
});
