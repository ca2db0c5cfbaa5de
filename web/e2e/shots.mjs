// Pictures of the page, to be looked at: `npm run shots [folder]`.

import { mkdirSync } from 'node:fs';
import { browser, Person, start } from './lab.mjs';

const folder = process.argv[2] ?? 'shots';
mkdirSync(folder, { recursive: true });
const server = await start({ stage: 3 });
const chromium = await browser();
const room = 'town-hall';
const shot = (p, name) => p.page.screenshot({ path: `${folder}/${name}.png` });
const pause = (ms) => new Promise((r) => setTimeout(r, ms));
try {
  const home = await Person.come(chromium, server, 'x', { room: '' });
  await pause(300);
  await shot(home, '01-home');
  await home.leave();

  const ada = await Person.come(chromium, server, 'Ada Lovelace', { room });
  await ada.button('Turn the camera on').click();
  await ada.button('Turn the microphone on').click();
  await ada.page.getByLabel('Your name').fill('Ada Lovelace');
  await pause(1200);
  await shot(ada, '02-prejoin');
  await ada.page.getByRole('button', { name: 'Join the meeting' }).click();
  await ada.page.locator('.meeting').waitFor();
  await pause(1500);
  await shot(ada, '03-alone');

  const ben = await Person.come(chromium, server, 'Ben Okri', { room });
  await ben.join({ camera: true });
  const cleo = await Person.come(chromium, server, 'Cleo Martin', { room });
  await cleo.join();
  const vic = await Person.come(chromium, server, 'Vic Tan', { room, viewport: { width: 375, height: 740 } });
  await vic.join();
  const wanda = await Person.come(chromium, server, 'Wanda Moss', { room });
  await wanda.join();
  await pause(2500);
  await shot(ada, '04-stage');
  await ada.open('Chat');
  await ada.page.getByLabel('Message to everybody').fill('Welcome, everybody! Slides are at https://example.org/slides');
  await ada.page.keyboard.press('Enter');
  await vic.open('Chat');
  await vic.page.getByLabel('Message to everybody').fill('Hello from the back row. Can we ask questions later?');
  await vic.page.keyboard.press('Enter');
  await ben.open('Chat');
  await ben.page.getByLabel('Message to everybody').fill('Yes, please raise your hand.');
  await ben.page.keyboard.press('Enter');
  await pause(900);
  await shot(ada, '05-chat');
  await shot(vic, '06-phone-chat');
  await vic.button('Close the chat').click();
  await shot(vic, '07-phone-audience');
  await vic.button('Raise hand').click();
  await wanda.button('Raise hand').click();
  await pause(900);
  await shot(vic, '08-phone-hand');
  await ada.open('People');
  await pause(700);
  await shot(ada, '09-hands');
  await ada.page.getByRole('button', { name: 'More for Ben Okri' }).click();
  await shot(ada, '10-menu');
  await ada.page.keyboard.press('Escape');
  await ben.button('Leave').click();
  await pause(500);
  await shot(ben, '11-left');
  await ada.button('Approve Wanda Moss').click();
  await pause(900);
  await shot(wanda, '12-invited');
  await wanda.button('With camera and microphone').click();
  await pause(3000);
  await shot(wanda, '13-on-stage');
  await ada.button('Leave').click();
  await pause(300);
  await shot(ada, '14-leave');
  await ada.page.keyboard.press('Escape');
  const phone = await Person.come(chromium, server, 'Dee', { room: 'phone', viewport: { width: 375, height: 740 } });
  await pause(400);
  await shot(phone, '15-phone-prejoin');
  await phone.join({ camera: true });
  await pause(900);
  await shot(phone, '16-phone-stage');
  for (const p of [ada, vic, wanda, cleo, phone]) if (p.errors.length) console.log(p.name, p.errors);
} finally {
  await chromium.close();
  await server.stop();
  if (process.env.VERBOSE) console.log(server.log());
}
