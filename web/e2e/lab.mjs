// What the browser tests stand on: a server on free ports and Chromium with fake devices. AMPHI names the binary, CHROMIUM the
// browser. A binary that was built without the page, or with another than that in `dist`, gets it from a small server here.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as ask, createServer as createHttp } from 'node:http';
import { createServer } from 'node:net';
import { cpus, loadavg, tmpdir } from 'node:os';
import { dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const here = dirname(fileURLToPath(import.meta.url));
const dist = resolve(here, '../dist');

function binary() {
  const target = process.env.CARGO_TARGET_DIR ?? resolve(here, '../../target');
  const all = [process.env.AMPHI, join(target, 'release/amphi'), join(target, 'debug/amphi')];
  const found = all.find((p) => p && existsSync(p));
  if (!found) throw new Error('There is no amphi binary; build it, or name one in AMPHI.');
  return found;
}

let reference;
/** Whether this server has a bridge. */
export function hasMedia() {
  reference ??= execFileSync(binary(), ['config', 'reference'], { encoding: 'utf8' });
  return reference.includes('`[bridge]`');
}

function netem() {
  const target = process.env.CARGO_TARGET_DIR ?? resolve(here, '../../target');
  const all = [process.env.NETEM, join(target, 'release/amphi-netem'), join(target, 'debug/amphi-netem')];
  const found = all.find((p) => p && existsSync(p));
  if (!found) throw new Error('There is no amphi-netem binary; build it, or name one in NETEM.');
  return found;
}

export const port = () =>
  new Promise((done, fail) => {
    const probe = createServer();
    probe.once('error', fail);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });

/** A time limit, longer where the machine is busy with other things. */
export const stretched = (ms) => ms * Math.min(8, Math.max(1, loadavg()[0] / cpus().length / 2));

export const until = async (what, condition, patience = 20_000) => {
  const end = Date.now() + stretched(patience);
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`It did not happen in time: ${what}`);
    await new Promise((r) => setTimeout(r, 100));
  }
};

const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.html': 'text/html; charset=utf-8' };

async function servePage(front) {
  const config = { domain: 'localhost', muc: 'conference.localhost', http: `http://localhost:${front}`, ws: `ws://localhost:${front}` };
  const index = readFileSync(join(dist, 'index.html'), 'utf8').replace(
    '<script type="application/json" id="amphi-config">{}</script>',
    `<script type="application/json" id="amphi-config">${JSON.stringify(config)}</script>`,
  );
  const server = createHttp((request, response) => {
    const path = new URL(request.url, 'http://x').pathname;
    const file = join(dist, path);
    const isFile = extname(path) && file.startsWith(dist) && existsSync(file);
    response.writeHead(200, { 'Content-Type': TYPES[isFile ? extname(path) : '.html'] ?? 'application/octet-stream' });
    response.end(isFile ? readFileSync(file) : index);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return { url: `http://localhost:${server.address().port}`, close: () => server.close() };
}

/** Where the dashboard of a server is whose administration has this address; a binary with another one in it is helped here, too. */
export async function dashboardOf(admin) {
  const own = await fetch(`${admin}/dashboard`).then((r) => (r.ok ? r.text() : ''), () => '');
  const script = /assets\/dashboard-[^"]+\.js/.exec(readFileSync(join(dist, 'dashboard.html'), 'utf8'))?.[0];
  if (own.includes(script)) return { url: admin, close() {} };
  const server = createHttp((request, response) => {
    const path = new URL(request.url, 'http://x').pathname;
    if (path.startsWith('/admin')) {
      const { method, headers } = request;
      const passed = ask(admin + request.url, { method, headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      passed.on('error', () => response.destroy());
      response.on('close', () => passed.destroy());
      return request.pipe(passed);
    }
    const file = extname(path) ? join(dist, path) : join(dist, 'dashboard.html');
    const isThere = file.startsWith(dist) && existsSync(file);
    response.writeHead(isThere ? 200 : 404, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' });
    response.end(isThere ? readFileSync(file) : '');
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

/** One process of the server, with its log; ends with the tests. */
class Process {
  constructor(args) {
    this.child = spawn(binary(), args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.log = '';
    this.isOver = false;
    this.child.stdout.on('data', (d) => (this.log += d));
    this.child.stderr.on('data', (d) => (this.log += d));
    this.ended = new Promise((done) => this.child.once('exit', done)).then(() => (this.isOver = true));
  }

  answers(front) {
    return until('the server answers', async () => {
      if (this.isOver) throw new Error(`The server ended:\n${this.log}`);
      return fetch(`http://127.0.0.1:${front}/about/health`).then((r) => r.ok, () => false);
    });
  }

  /** Ends it as a machine that loses its power. */
  kill() {
    this.child.kill('SIGKILL');
    return this.ended;
  }

  async stop() {
    if (this.isOver) return;
    this.child.kill('SIGTERM');
    await Promise.race([this.ended, new Promise((r) => setTimeout(r, 4000))]);
    if (!this.isOver) await this.kill();
  }
}

/** Where the page of a server is whose front has this port. */
export async function pageOf(front) {
  const own = await fetch(`http://127.0.0.1:${front}/some-room`).then((r) => (r.ok ? r.text() : ''), () => '');
  const script = /assets\/index-[^"]+\.js/.exec(readFileSync(join(dist, 'index.html'), 'utf8'))?.[0];
  return own.includes(script) ? { url: `http://localhost:${front}`, close() {} } : servePage(front);
}

/** Starts a server of our own. Options are keys of its configuration. */
export async function start(options = {}) {
  const data = mkdtempSync(join(tmpdir(), 'amphi-e2e-'));
  const [front, admin, c2s, s2s] = await Promise.all([port(), port(), port(), port()]);
  const keys = {
    data_dir: data,
    'listen.front': `127.0.0.1:${front}`,
    'listen.admin': `127.0.0.1:${admin}`,
    'listen.c2s': `127.0.0.1:${c2s}`,
    'listen.s2s': `127.0.0.1:${s2s}`,
    'log.level': process.env.LOG ?? 'warn',
    ...(hasMedia() ? { 'bridge.listen': 'off', 'bridge.port': 0 } : {}),
    ...options,
  };
  const all = new Process(['run', ...Object.entries(keys).flatMap(([k, v]) => ['--set', `${k}=${v}`])]);
  await all.answers(front);
  const page = await pageOf(front);
  return {
    url: page.url,
    front: `http://localhost:${front}`,
    log: () => all.log,
    async stop() {
      page.close();
      await all.stop();
      rmSync(data, { recursive: true, force: true });
    },
  };
}

/** A server whose visitor nodes are processes of their own. `text` are further lines of the configuration, before its tables. */
export async function startApart(names, text = '') {
  const data = mkdtempSync(join(tmpdir(), 'amphi-e2e-'));
  const four = () => Promise.all([port(), port(), port(), port()]);
  const at = new Map(await Promise.all(['main', ...names].map(async (n) => [n, await four()])));
  const local = (n) => `"127.0.0.1:${n}"`;
  const nodes = names.map((n) => {
    const [front, , c2s, s2s] = at.get(n);
    return `[[visitors.nodes]]\nname = "${n}"\ns2s = ${local(s2s)}\nfront = ${local(front)}\nc2s = ${local(c2s)}\n`;
  });
  const processes = new Map();
  for (const [name, [front, admin, c2s, s2s]] of at) {
    const file = join(data, `${name}.toml`);
    const roles = name === 'main' ? '"main", "front", "focus", "bridge"' : `"${name}"`;
    writeFileSync(
      file,
      [
        `roles = [${roles}]\ndata_dir = "${join(data, name)}"\n${text}`,
        `[listen]\nfront = ${local(front)}\nadmin = ${local(admin)}\nc2s = ${local(c2s)}\ns2s = ${local(s2s)}\n`,
        `[log]\nlevel = "${process.env.LOG ?? 'warn'}"\n`,
        `[bridge]\nlisten = "off"\nport = 0\n`,
        '[focus]\npassword = "the same for all"\n',
        `[visitors]\n${name === 'main' ? '' : `main_s2s = ${local(at.get('main')[3])}\n`}`,
        ...nodes,
      ].join('\n'),
    );
    processes.set(name, new Process(['run', '--config', file]));
  }
  const front = at.get('main')[0];
  await processes.get('main').answers(front);
  const page = await pageOf(front);
  return {
    url: page.url,
    front: `http://localhost:${front}`,
    log: () => [...processes].map(([name, p]) => `--- ${name}\n${p.log}`).join('\n'),
    kill: (name) => processes.get(name).kill(),
    async stop() {
      page.close();
      await Promise.all([...processes.values()].map((p) => p.stop()));
      rmSync(data, { recursive: true, force: true });
    },
  };
}

/** A bad network in front of a UDP port of this machine. Whoever comes `through` it has no other way to the bridge. */
export async function badLink(to, conditions = {}) {
  const args = ['--listen', '127.0.0.1:0', '--to', `127.0.0.1:${to}`];
  for (const [direction, words] of Object.entries(conditions)) args.push(`--${direction}`, words);
  const child = spawn(netem(), args, { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (d) => (said += d));
  const listening = await until('the link is there', () => said.match(/listening on [^ ]+:(\d+)/));
  return {
    port: Number(listening[1]),
    set: (direction, words = '') => child.stdin.write(`${direction} ${words}\n`),
    stop: () => child.stdin.end(),
  };
}

export function browser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      // Few frames: many cameras share a processor here.
      '--use-fake-device-for-media-stream=fps=8',
      '--use-fake-ui-for-media-stream',
      '--auto-select-desktop-capture-source=Entire screen',
      '--autoplay-policy=no-user-gesture-required',
      '--no-sandbox',
    ],
  });
}

/** Runs in the page. */
function watchFirstFrame() {
  let at = 0;
  addEventListener('click', (e) => e.isTrusted && (at ||= performance.now()), { once: true, capture: true });
  const look = () => {
    const seen = [...document.querySelectorAll('article.tile:not([aria-label$="(you)"]) video')].some((v) => v.readyState >= 2 && v.videoWidth > 2);
    if (seen && at) globalThis.firstFrame = performance.now() - at;
    else setTimeout(look, 20);
  };
  look();
}

/** Somebody with a browser of their own. */
export class Person {
  static async come(chromium, server, name, { room, through, viewport = { width: 1280, height: 800 }, devices = true, ...context } = {}) {
    const p = new Person();
    p.name = name;
    p.context = await chromium.newContext({ viewport, permissions: devices ? ['camera', 'microphone', 'clipboard-read', 'clipboard-write'] : [], ...context });
    p.context.setDefaultTimeout(stretched(30_000));
    p.page = await p.context.newPage();
    // The bridge has one address and port in this browser's eyes. It hears nothing of the browser's own, so all ways lead through the link.
    if (through) {
      await p.page.addInitScript((port) => {
        const set = RTCPeerConnection.prototype.setRemoteDescription;
        RTCPeerConnection.prototype.setRemoteDescription = function (description) {
          const candidate = `a=candidate:1 1 udp 2130706431 127.0.0.1 ${port} typ host\r\n`;
          const sdp = description.sdp.replace(/(a=candidate:.*\r\n)+/g, candidate);
          return set.call(this, { type: description.type, sdp });
        };
      }, through.port);
    }
    p.foreign = [];
    p.errors = [];
    const own = [new URL(server.url).host, new URL(server.front).host];
    p.page.on('request', (r) => {
      const url = new URL(r.url());
      if (/^(http|ws)/.test(url.protocol) && !own.includes(url.host)) p.foreign.push(r.url());
    });
    p.page.on('pageerror', (e) => p.errors.push(e.message));
    if (process.env.VERBOSE) p.page.on('console', (m) => console.log(`[${name}] ${m.text()}`));
    p.url = `${server.url}/${room}`;
    await p.page.goto(p.url);
    return p;
  }

  async join({ camera = false, microphone = false, asAudience = false } = {}) {
    const { page } = this;
    if (camera) await page.getByRole('button', { name: 'Turn the camera on' }).click();
    if (microphone) await page.getByRole('button', { name: 'Turn the microphone on' }).click();
    await page.getByLabel('Your name').fill(this.name);
    await page.evaluate(watchFirstFrame);
    await page.getByRole('button', { name: asAudience ? 'Join as audience' : 'Join the meeting' }).click();
    await page.locator('.meeting').waitFor({ timeout: stretched(30_000) });
  }

  /** Milliseconds from the click on joining to the first picture of somebody else. */
  firstFrame() {
    return until(`${this.name} has a picture`, () => this.page.evaluate(() => globalThis.firstFrame), 20_000);
  }

  /** More of it arrives, from now on. */
  async receives(what, patience = 20_000) {
    const begin = await this.media();
    await until(`${this.name} receives ${what}`, async () => {
      const now = await this.media();
      // Another connection counts from zero.
      if (now.frames < begin.frames || now.audio < begin.audio) Object.assign(begin, now);
      return what === 'video' ? now.frames > begin.frames + 3 : now.audio > begin.audio + 10 && now.energy > begin.energy;
    }, patience);
  }

  button(name) {
    return this.page.getByRole('button', { name, exact: true });
  }

  sees(text, patience = 15_000) {
    return this.page.getByText(text).first().waitFor({ timeout: stretched(patience) });
  }

  async open(panel) {
    const section = this.page.locator(`section.panel[aria-label="${panel}"]`);
    if (await section.isVisible()) return;
    await this.page.getByRole('navigation', { name: 'Controls' }).getByRole('button', { name: new RegExp(`^${panel}`) }).click();
    await section.waitFor();
  }

  role() {
    return this.page.evaluate(() => globalThis.amphi.state.role.value);
  }

  isRole(role, patience = 20_000) {
    return until(`${this.name} is on ${role}`, async () => (await this.role()) === role && this.page.evaluate(() => amphi.state.phase.value.kind === 'meeting' && !amphi.state.transition.value), patience);
  }

  /** Sums of what is received. */
  media() {
    return this.page.evaluate(async () => {
      const sum = { frames: 0, energy: 0, audio: 0, state: '' };
      const pc = globalThis.amphi.peerConnection;
      if (!pc) return sum;
      sum.state = pc.connectionState;
      (await pc.getStats()).forEach((s) => {
        if (s.type !== 'inbound-rtp') return;
        if (s.kind === 'video') sum.frames += s.framesDecoded ?? 0;
        else {
          sum.energy += s.totalAudioEnergy ?? 0;
          sum.audio += s.packetsReceived ?? 0;
        }
      });
      return sum;
    });
  }

  leave() {
    return this.context.close();
  }
}
