// A visit to a meeting, the same for every client: conference request, join, chat, ping, leave. `client` has the bound
// address `jid`, `send(element)` and an `inbox` of ltx elements.

import { randomUUID } from 'node:crypto';
import { createElement as x } from 'ltx';
import { check, expect } from './report.mjs';
import { hasFocus, target } from './target.mjs';

const FOCUS = 'http://jitsi.org/protocol/focus';
const MUC = 'http://jabber.org/protocol/muc';
const USER = `${MUC}#user`;

const hasStatus = (stanza, code) =>
  stanza.getChildren('x', USER).some((e) => e.getChildren('status').some((s) => s.attrs.code === code));

async function request(client, iq) {
  iq.attrs.id = randomUUID();
  client.send(iq);
  return client.inbox.next('the answer', (s) => s.name === 'iq' && s.attrs.id === iq.attrs.id);
}

// The focus may need a moment, so the client asks again, as a page would.
async function conference(client, room) {
  for (let pause = 250; ; pause *= 2) {
    const answer = await request(
      client,
      x(
        'iq',
        { type: 'set', to: target.focus },
        x(
          'conference',
          { xmlns: FOCUS, room, 'machine-uid': randomUUID() },
          x('property', { name: 'visitors-version', value: '1' }),
        ),
      ),
    );
    expect(answer.attrs.type === 'result', `refused: ${answer}`);
    expect(answer.attrs.from === target.focus, `answered by ${answer.attrs.from}`);
    const element = answer.getChild('conference', FOCUS);
    expect(element, `no conference in ${answer}`);
    if (element.attrs.ready === 'true') return element.attrs;
    expect(pause <= 4000, `still not ready: ${element}`);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

export async function visit(label, client) {
  const room = `interop-${randomUUID().slice(0, 8)}@${target.muc}`;
  const nick = client.jid.slice(0, 8);
  const me = `${room}/${nick}`;
  const { inbox } = client;
  const step = (what, body) => check(`${label}: ${what}`, body);

  let focusJid;
  if (hasFocus) {
    await step('conference request is answered', async () => {
      const attrs = await conference(client, room);
      expect(attrs.room === room, `room is ${attrs.room}`);
      expect(/^focus@/.test(attrs.focusjid ?? ''), `focusjid is ${attrs.focusjid}`);
      focusJid = attrs.focusjid;
    });
  }

  const isMine = (s) => s.name === 'presence' && s.attrs.from === me && !s.attrs.type && hasStatus(s, '110');
  await step('joining ends with the own presence', async () => {
    client.send(
      x('presence', { to: me }, x('x', { xmlns: MUC }), x('nick', { xmlns: 'http://jabber.org/protocol/nick' }, 'Ann')),
    );
    const isRefusal = (s) => s.name === 'presence' && s.attrs.type === 'error' && s.attrs.from?.startsWith(room);
    const answer = await inbox.next('the own presence', (s) => isMine(s) || isRefusal(s));
    expect(!isRefusal(answer), `refused: ${answer}`);
    const item = answer.getChild('x', USER)?.getChild('item');
    expect(item?.attrs.jid === client.jid, `item is ${item}`);
    if (!hasFocus) return;
    expect(!hasStatus(answer, '201'), 'the client made the room, not the focus');
  });

  if (hasFocus) {
    await step('the focus is seen before the own presence, with its real address', async () => {
      const isFocus = (s) => s.name === 'presence' && s.attrs.from === `${room}/focus`;
      const presence = await inbox.next('presence of the focus', isFocus);
      expect(inbox.position(isFocus) < inbox.position(isMine), 'the own presence came first');
      const jid = presence.getChild('x', USER)?.getChild('item')?.attrs.jid;
      expect(focusJid && jid?.startsWith(`${focusJid}/`), `the focus is ${jid}, announced as ${focusJid}`);
    });
  } else {
    await step('the new room is unlocked', async () => {
      const answer = await request(
        client,
        x(
          'iq',
          { type: 'set', to: room },
          x('query', { xmlns: `${MUC}#owner` }, x('x', { xmlns: 'jabber:x:data', type: 'submit' })),
        ),
      );
      expect(answer.attrs.type === 'result', `${answer}`);
    });
  }

  await step('the subject follows', () =>
    inbox.next('the subject', (s) => s.name === 'message' && s.attrs.from?.startsWith(room) && s.getChild('subject')),
  );

  await step('a chat line comes back to its author', async () => {
    const id = randomUUID();
    const text = 'Grüße & <alle> "hier" 👋';
    client.send(x('message', { to: room, type: 'groupchat', id }, x('body', {}, text)));
    const echo = await inbox.next('the echo', (s) => s.name === 'message' && s.attrs.from === me && s.getChild('body'));
    expect(echo.attrs.type === 'groupchat', `type is ${echo.attrs.type}`);
    expect(echo.attrs.id === id, `id is ${echo.attrs.id}`);
    expect(echo.getChildText('body') === text, `body is ${echo.getChildText('body')}`);
  });

  await step('the domain answers a ping', async () => {
    const answer = await request(client, x('iq', { type: 'get', to: target.domain }, x('ping', { xmlns: 'urn:xmpp:ping' })));
    expect(answer.attrs.type === 'result', `${answer}`);
  });

  await step('the domain says what it is', async () => {
    const ns = 'http://jabber.org/protocol/disco#info';
    const answer = await request(client, x('iq', { type: 'get', to: target.domain }, x('query', { xmlns: ns })));
    expect(answer.attrs.type === 'result', `${answer}`);
    expect(answer.getChild('query', ns)?.getChildren('identity').length > 0, 'no identity');
  });

  await step('an unknown request is refused, not ignored', async () => {
    const answer = await request(client, x('iq', { type: 'get', to: target.domain }, x('query', { xmlns: 'urn:example:none' })));
    expect(answer.attrs.type === 'error', `${answer}`);
  });

  await step('leaving is confirmed', async () => {
    client.send(x('presence', { to: me, type: 'unavailable' }));
    const gone = await inbox.next(
      'the own unavailable presence',
      (s) => s.name === 'presence' && s.attrs.from === me && s.attrs.type === 'unavailable',
    );
    expect(hasStatus(gone, '110'), `no status 110 in ${gone}`);
  });
}
