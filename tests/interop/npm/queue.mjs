// The visitor queue with the STOMP library of the meeting page: wait while a meeting is not live, be told, come in; moderators
// see how many wait and who came in.

import { randomUUID } from 'node:crypto';
import WebSocket from 'ws';
import { createElement as x } from 'ltx';

globalThis.WebSocket = WebSocket;

const { Client } = await import('@stomp/stompjs');
const { client: connect } = await import('@xmpp/client');
const { check, deadline, expect, finish } = await import('./report.mjs');
const { Inbox } = await import('./inbox.mjs');
const { target } = await import('./target.mjs');

const MUC = 'http://jabber.org/protocol/muc';
const base = target.websocket.replace(/\/xmpp-websocket$/, '');
const name = `queue-${randomUUID().slice(0, 8)}`;
const room = `${name}@${target.muc}`;

// As the meeting page sets it up.
function stomp(path) {
  const client = new Client({ brokerURL: `${base}${path}`, forceBinaryWSFrames: true, appendMissingNULLonIncoming: true });
  const errors = new Inbox();
  client.onStompError = (frame) => errors.put(frame);
  client.reconnectDelay = 0;
  const connected = new Promise((resolve, reject) => {
    client.onConnect = resolve;
    client.onWebSocketError = (event) => reject(new Error(event.message ?? 'WebSocket error'));
  });
  client.activate();
  return { client, connected, errors };
}

function subscribe({ client }, destination) {
  const inbox = new Inbox();
  const subscription = client.subscribe(destination, (message) => inbox.put(JSON.parse(message.body)));
  return { inbox, subscription };
}

async function xmpp(vnode) {
  const domain = vnode ? `${vnode}.meet.jitsi` : target.domain;
  const service = `${target.websocket}?room=${name}${vnode ? `&vnode=${vnode}` : ''}`;
  const client = connect({ service, domain });
  client.reconnect.stop();
  client.on('error', () => {});
  const inbox = new Inbox();
  client.on('stanza', (stanza) => inbox.put(stanza));
  const jid = (await client.start()).toString();
  const end = Date.now() + 2000;
  while (!client.streamManagement.enabled && Date.now() < end) await new Promise(setImmediate);
  return { client, inbox, jid, nick: jid.slice(0, 8), muc: vnode ? `conference.${domain}` : target.muc };
}

async function join(who, nick) {
  const me = `${name}@${who.muc}/${who.nick}`;
  await who.client.send(
    x('presence', { to: me }, x('x', { xmlns: MUC }), x('nick', { xmlns: 'http://jabber.org/protocol/nick' }, nick)),
  );
  return who.inbox.next('the own presence', (s) => s.name === 'presence' && s.attrs.from === me);
}

async function request(properties) {
  const response = await fetch(`${base.replace(/^ws/, 'http')}/conference-request/v1`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ room, machineUid: randomUUID(), properties: { 'visitors-version': 1, ...properties } }),
  });
  expect(response.ok, `HTTP ${response.status}`);
  return response.json();
}

async function until(what, ask, fits) {
  for (let pause = 100; pause < 5000; pause *= 2) {
    const answer = await ask();
    if (fits(answer)) return answer;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  throw new Error(`not in time: ${what}`);
}

const visitors = (data) =>
  x(
    'message',
    { to: `metadata.${target.domain}` },
    x('room_metadata', { xmlns: 'http://jitsi.org/jitmeet', room }, JSON.stringify({ key: 'visitors', data })),
  );
const saysLive = (live) => (s) =>
  s.name === 'message' && s.getChildText('json-message', 'http://jitsi.org/jitmeet')?.includes(`"live":${live}`);

deadline(90);

const moderator = await check('queue: a moderator opens a meeting that is not live', async () => {
  await until('the stage', () => request({}), (answer) => answer.ready === true);
  const who = await xmpp();
  await join(who, 'Mia');
  await who.inbox.next('the role of a moderator', (s) => s.name === 'presence' && /role=["']moderator["']/.test(s.toString()) && s.attrs.from === `${room}/${who.nick}`);
  await who.client.send(visitors({ live: false }));
  await who.inbox.next('the metadata', saysLive(false));
  return who;
});
if (!moderator) finish();

await check('queue: who wants in as a visitor is told to wait', async () => {
  const answer = await request({ visitor: true });
  expect(answer.properties?.live === 'false' && answer.ready !== true, JSON.stringify(answer));
});

const state = await check('queue: the moderator sees that nobody waits', async () => {
  const connection = stomp('/visitor/websocket');
  await connection.connected;
  const topic = subscribe(connection, `/secured/conference/state/topic.${room}`);
  const first = await topic.inbox.next('the first number', (m) => 'visitorsWaiting' in m);
  expect(first.visitorsWaiting === 0, JSON.stringify(first));
  return { ...connection, ...topic };
});

const waiting = await check('queue: visitors wait and the moderator sees them', async () => {
  const all = [];
  for (let i = 0; i < 3; i += 1) {
    const connection = stomp('/visitor/websocket');
    await connection.connected;
    all.push({ ...connection, ...subscribe(connection, `/secured/conference/visitor/topic.${room}`) });
  }
  await state.inbox.next('three', (m) => m.visitorsWaiting === 3);
  await all[2].client.deactivate();
  await state.inbox.next('two', (m) => m.visitorsWaiting === 2, { start: 2 });
  expect(all.every((w) => w.inbox.mark() === 0), 'told before the meeting is live');
  return all.slice(0, 2);
});

await check('queue: they are told when the moderator goes live', async () => {
  await moderator.client.send(visitors({ live: true }));
  for (const w of waiting) {
    const message = await w.inbox.next('the message', (m) => m.status === 'live');
    expect(Number.isInteger(message.randomDelayMs) && message.randomDelayMs > 0, JSON.stringify(message));
    expect(message.conference === room, JSON.stringify(message));
    w.subscription.unsubscribe();
    await w.client.deactivate();
  }
});

await check('queue: whoever comes later is told at once', async () => {
  const late = stomp('/visitor/websocket');
  await late.connected;
  await subscribe(late, `/secured/conference/visitor/topic.${room}`).inbox.next('the message', (m) => m.status === 'live');
  await late.client.deactivate();
});

const meetingId = await check('queue: the room tells its unique id', async () => {
  const id = randomUUID();
  const ns = 'http://jabber.org/protocol/disco#info';
  await moderator.client.send(x('iq', { type: 'get', to: room, id }, x('query', { xmlns: ns })));
  const answer = await moderator.inbox.next('the answer', (s) => s.name === 'iq' && s.attrs.id === id);
  const form = answer.getChild('query', ns).getChild('x', 'jabber:x:data');
  return form.getChildren('field').find((f) => f.attrs.var === 'muc#roominfo_meetingId').getChildText('value');
});

const TOPIC = `/secured/conference/visitors-list/topic/${meetingId}`;
const queue = (endpoint) => `/secured/conference/visitors-list/queue/${meetingId}/${endpoint}`;

await check('queue: the list is for moderators on stage', async () => {
  const connection = stomp('/visitors-list/websocket');
  await connection.connected;
  subscribe(connection, TOPIC);
  subscribe(connection, queue('nobody'));
  const error = await connection.errors.next('the refusal', () => true);
  expect(error.headers.message === 'forbidden', error.headers.message);
  await connection.client.deactivate();
});

const list = await check('queue: the list begins empty', async () => {
  const connection = stomp('/visitors-list/websocket');
  await connection.connected;
  const changes = subscribe(connection, TOPIC);
  const whole = subscribe(connection, queue(moderator.nick));
  const first = await whole.inbox.next('the list', Array.isArray);
  expect(first.length === 0, JSON.stringify(first));
  whole.subscription.unsubscribe();
  return { ...connection, ...changes };
});

const visitor = await check('queue: a visitor comes in', async () => {
  const answer = await until('a visitor node', () => request({ visitor: true }), (a) => a.ready === true && a.vnode);
  const who = await xmpp(answer.vnode);
  await join(who, 'Vera & Co');
  return who;
});

if (list && visitor) {
  const isVera = (s) => (m) => m.some((c) => c.r === visitor.nick && c.n === 'Vera & Co' && c.s === s);
  await check('queue: the list hears of it', () => list.inbox.next('the visitor', isVera('j')));
  await check('queue: a new list has the visitor', async () => {
    const whole = subscribe(list, queue(moderator.nick));
    const all = await whole.inbox.next('the list', Array.isArray);
    expect(all.length === 1 && all[0].r === visitor.nick && all[0].n === 'Vera & Co', JSON.stringify(all));
  });
  await check('queue: the list hears of the end', async () => {
    await visitor.client.stop();
    await list.inbox.next('the visitor', isVera('l'), { seconds: 30 });
  });
}

await check('queue: nothing can be sent', async () => {
  const connection = stomp('/visitor/websocket');
  await connection.connected;
  connection.client.publish({ destination: `/secured/conference/visitor/topic.${room}`, body: '{"status":"live"}' });
  const error = await connection.errors.next('the refusal', () => true);
  expect(error.headers.message === 'not allowed', error.headers.message);
  await connection.client.deactivate();
});

await check('queue: everything ends in order', async () => {
  await state.client.deactivate();
  await list.client.deactivate();
  await moderator.client.stop();
});
finish();
