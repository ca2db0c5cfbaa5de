// Browsers behind bad links: the bridge reaches them through a proxy that loses packets or lets few pass. What a viewer behind one sees is
// held against what another viewer sees who has no such link, so that a slow machine is not taken for a bad bridge. Where that one does not
// see well either, this machine has too much to do for a verdict, and the test is left out with these words.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { badLink, browser, hasMedia, Person, port, start, until } from './lab.mjs';

const skip = !hasMedia() && 'no bridge';
const [FPS, HEIGHT] = [20, 360];
// Large enough for all of the picture, and not more: browsers without a graphics card paint with the processor.
const SMALL = { width: 700, height: 480 };
let server, chromium, uplink, downlink, ann, near, far;

before(async () => {
  if (skip) return;
  const media = await port();
  server = await start({ stage: 1, 'bridge.port': media, 'bridge.addresses': '["127.0.0.1"]' });
  chromium = await browser();
  uplink = await badLink(media);
  downlink = await badLink(media);
  ann = await Person.come(chromium, server, 'Ann', { room: 'link', through: uplink, viewport: SMALL });
  await ann.page.evaluate(drawnCamera, [FPS, HEIGHT]);
  await ann.join({ camera: true, microphone: true });
  near = await viewer('Near');
  far = await viewer('Far', downlink);
});
after(async () => {
  await chromium?.close();
  uplink?.stop();
  downlink?.stop();
  await server?.stop();
});

/** In the place of a camera: so much moves that every layer needs the bits it may have, and little has to be encoded. */
function drawnCamera([fps, height]) {
  const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (constraints) => {
    if (!constraints.video) return get(constraints);
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width: (height * 16) / 9, height });
    const c = canvas.getContext('2d');
    setInterval(() => {
      for (let n = 0; n < 8; n++) {
        c.fillStyle = `hsl(${Math.random() * 360} 80% ${20 + Math.random() * 60}%)`;
        c.fillRect(Math.random() * canvas.width, Math.random() * height, 48, 48);
      }
    }, 1000 / fps);
    return canvas.captureStream(fps);
  };
}

/** Somebody in the audience who notes when each frame of the large picture is shown, and how high it is. */
async function viewer(name, through) {
  const p = await Person.come(chromium, server, name, { room: 'link', through, viewport: SMALL });
  await p.join();
  await p.page.locator('article.tile[aria-label="Ann"] video').waitFor({ timeout: 30_000 });
  await p.page.evaluate(() => {
    globalThis.shown = [];
    const video = document.querySelector('article.tile[aria-label="Ann"] video');
    const note = () => {
      globalThis.shown.push([Date.now(), video.videoHeight]);
      video.requestVideoFrameCallback(note);
    };
    video.requestVideoFrameCallback(note);
  });
  return p;
}

const shown = (p, since = 0) => p.page.evaluate((t) => globalThis.shown.filter(([at]) => at >= t), since);
const height = async (p) => (await shown(p, Date.now() - 2000)).at(-1)?.[1] ?? 0;

/** Times of more than a second without a frame, while the other viewer never waited longer than half a second. */
function freezes(frames, others, end) {
  const gaps = (list) => list.map(([at], i) => [at, list[i + 1]?.[0] ?? end]);
  return gaps(frames)
    .filter(([from, to]) => to - from > 1000)
    .filter(([from, to]) => {
      const during = others.map(([at]) => at).filter((at) => at > from && at < to);
      return [from, ...during, to].every((at, i, all) => i === 0 || at - all[i - 1] <= 500);
    });
}

/** Whether somebody without a bad link saw a picture that moves all the time, of so many lines at least. */
function sawWell(others, begin, end, lines) {
  const times = [begin, ...others.map(([at]) => at), end];
  const waits = times.map((at, i) => (i === 0 ? 0 : at - times[i - 1]));
  const isSmooth = others.length > (0.4 * FPS * (end - begin)) / 1000 && Math.max(...waits) < 500;
  return isSmooth && others.every(([, h]) => h >= lines);
}

const BUSY = 'this machine is too busy: without a bad link the picture is no better';

async function inbound(p) {
  return p.page.evaluate(async () => {
    const sum = { frames: 0, nacks: 0, repaired: 0, lost: 0, received: 0 };
    (await globalThis.amphi.peerConnection.getStats()).forEach((s) => {
      if (s.type !== 'inbound-rtp' || s.kind !== 'video') return;
      sum.frames += s.framesDecoded ?? 0;
      sum.nacks += s.nackCount ?? 0;
      sum.repaired += s.retransmittedPacketsReceived ?? 0;
      sum.lost += s.packetsLost ?? 0;
      sum.received += s.packetsReceived ?? 0;
    });
    return sum;
  });
}

test('everything goes through the links', { skip, timeout: 180_000 }, async () => {
  await until('both see something', async () => (await height(near)) > 0 && (await height(far)) > 0, 60_000);
  // A link that lets nothing pass ends the picture of the one behind it, and of nobody else.
  downlink.set('down', 'loss=100');
  const begin = Date.now();
  await until('the far viewer sees nothing more', async () => (await shown(far, Date.now() - 1500)).length === 0 && Date.now() > begin + 1500);
  assert.ok((await shown(near, begin)).length > 0);
  downlink.set('down');
  await until('the far viewer sees again', async () => (await height(far)) > 0, 30_000);
});

/** Waits until both viewers see the highest layer. */
const bothSeeAll = () =>
  until('both see the highest layer', async () => (await height(far)) === HEIGHT && (await height(near)) === HEIGHT, 20_000).then(
    () => true,
    () => false,
  );

test('5 % loss is repaired by retransmission, both ways', { skip, timeout: 180_000 }, async (t) => {
  uplink.set('up', 'loss=5 delay=20ms');
  downlink.set('down', 'loss=5 delay=20ms');
  for (let attempt = 1; attempt <= 3; attempt++) {
    await bothSeeAll();
    const begin = Date.now();
    const before = await Promise.all([near, far].map(inbound));
    await new Promise((r) => setTimeout(r, 10_000));
    const after = await Promise.all([near, far].map(inbound));
    const end = Date.now();
    const [of_near, of_far] = after.map((it, i) => Object.fromEntries(Object.keys(it).map((key) => [key, it[key] - before[i][key]])));
    const [frames, others] = (await Promise.all([shown(far, begin), shown(near, begin)])).map((all) => all.filter(([at]) => at <= end));
    console.log(`5 % loss for 10 s: near ${JSON.stringify(of_near)}, far ${JSON.stringify(of_far)}; shown ${others.length} and ${frames.length}`);
    // Towards the bridge 5 % are lost for both, so this is a verdict too: without repair, no picture outlives that.
    if (!sawWell(others, begin, end, HEIGHT / 2)) continue;
    uplink.set('up');
    downlink.set('down');
    assert.ok(of_far.frames > 0.85 * of_near.frames, `${of_far.frames} of ${of_near.frames} frames`);
    assert.ok(of_far.repaired > 0.02 * of_far.received, `${of_far.repaired} of ${of_far.received} packets came as retransmissions`);
    assert.deepEqual(freezes(frames, others, end), []);
    return;
  }
  uplink.set('up');
  downlink.set('down');
  t.skip(BUSY);
});

test('a viewer with 400 kbit/s falls to a lower layer and recovers, without freezes', { skip, timeout: 240_000 }, async (t) => {
  for (let attempt = 1; attempt <= 2; attempt++) {
    downlink.set('down');
    if (!(await bothSeeAll())) continue;
    const begin = Date.now();
    downlink.set('down', 'rate=400k');
    const low = await until('the far viewer sees a lower layer', async () => ((await height(far)) < HEIGHT ? height(far) : 0), 30_000).catch(() => 0);
    const fell = Date.now();
    await new Promise((r) => setTimeout(r, 6000));
    const [stayed, limited] = [await height(far), Date.now()];
    downlink.set('down');
    const isBack = await until('it is back', async () => (await height(far)) === HEIGHT, 40_000).catch(() => false);
    const end = Date.now();
    const [frames, others] = await Promise.all([shown(far, begin), shown(near, begin)]);
    const longest = Math.max(...frames.map(([at], i) => (frames[i + 1]?.[0] ?? end) - at));
    console.log(`400 kbit/s: ${low} lines after ${fell - begin} ms, ${stayed} lines 6 s later; back ${end - limited} ms after the limit was gone;`);
    console.log(`longest time without a frame ${longest} ms; without a limit ${others.length} frames in ${end - begin} ms`);
    if (!sawWell(others, begin, end, HEIGHT)) continue;
    assert.ok(low > 0 && stayed > 0 && stayed < HEIGHT && isBack, 'falls, stays, recovers');
    assert.deepEqual(freezes(frames, others, end), []);
    return;
  }
  downlink.set('down');
  t.skip(BUSY);
});
