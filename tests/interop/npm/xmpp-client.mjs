// @xmpp/client over WebSocket: strict about framing and namespaces, with its own way through login and binding.

import WebSocket from 'ws';

globalThis.WebSocket ??= WebSocket;

const { client: connect } = await import('@xmpp/client');
const { check, deadline, finish } = await import('./report.mjs');
const { Inbox } = await import('./inbox.mjs');
const { visit } = await import('./meeting.mjs');
const { target } = await import('./target.mjs');

// The library is online before its stream management is, and forgets what it received in between; then its first
// acknowledgement is too low and a strict server ends the stream. So wait; a server may also have no stream management.
async function streamManagement(xmpp) {
  const end = Date.now() + 2000;
  while (!xmpp.streamManagement.enabled && Date.now() < end) await new Promise(setImmediate);
}

deadline(60);
const label = '@xmpp/client over WebSocket';
const client = await check(`${label}: anonymous login and bind`, async () => {
  const xmpp = connect({ service: target.websocket, domain: target.domain });
  xmpp.reconnect.stop();
  const inbox = new Inbox();
  xmpp.on('stanza', (stanza) => inbox.put(stanza));
  const failure = new Promise((_, reject) => xmpp.once('error', reject));
  const jid = await Promise.race([xmpp.start(), failure]);
  xmpp.on('error', () => {});
  await streamManagement(xmpp);
  return { jid: jid.toString(), inbox, send: (element) => xmpp.send(element), xmpp };
});
if (client) {
  await visit(label, client);
  await check(`${label}: the stream closes in order`, () => client.xmpp.stop());
}
finish();
