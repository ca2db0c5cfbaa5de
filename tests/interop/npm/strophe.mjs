// strophe.js, the library inside lib-jitsi-meet, over WebSocket and over BOSH.

import WebSocket from 'ws';
import XMLHttpRequest from 'xhr2';
import { DOMParser, XMLSerializer } from '@xmldom/xmldom';
import { parse } from 'ltx';

// strophe.js looks for these where a browser has them. A browser parses an answer that is XML; this stand-in does not.
class BrowserRequest extends XMLHttpRequest {
  constructor() {
    super();
    Object.defineProperty(this, 'responseXML', {
      get: () => (this.responseText ? new globalThis.DOMParser().parseFromString(this.responseText, 'text/xml') : null),
      set: () => {},
    });
  }
}
globalThis.WebSocket ??= WebSocket;
globalThis.XMLHttpRequest ??= BrowserRequest;

const { Strophe } = await import('strophe.js');
Strophe.setLogLevel(Strophe.LogLevel.ERROR);
const { check, deadline, expect, finish } = await import('./report.mjs');
const { Inbox } = await import('./inbox.mjs');
const { visit } = await import('./meeting.mjs');
const { hasFocus, target } = await import('./target.mjs');

async function connect(service) {
  const connection = new Strophe.Connection(service);
  const inbox = new Inbox();
  connection.addHandler((stanza) => {
    inbox.put(parse(new XMLSerializer().serializeToString(stanza)));
    return true;
  });
  await new Promise((resolve, reject) => {
    connection.connect(target.domain, null, (status, condition) => {
      if (status === Strophe.Status.CONNECTED) resolve();
      const failures = ['CONNFAIL', 'AUTHFAIL', 'ERROR', 'DISCONNECTED', 'CONNTIMEOUT'];
      const failure = failures.find((name) => status === Strophe.Status[name]);
      if (failure) reject(new Error(`${failure} ${condition ?? ''}`));
    });
  });
  return {
    jid: connection.jid,
    inbox,
    send: (element) => {
      element.attrs.xmlns ??= 'jabber:client';
      connection.send(new DOMParser().parseFromString(element.toString(), 'text/xml').documentElement);
    },
    connection,
  };
}

deadline(120);
for (const [label, service] of [
  ['strophe.js over WebSocket', target.websocket],
  ['strophe.js over BOSH', target.bosh],
]) {
  const client = await check(`${label}: anonymous login and bind`, async () => {
    const made = await connect(service);
    const local = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}@[^/]+\/.+$/;
    // Only a server for meetings gives names whose first eight characters can be an endpoint.
    expect(!hasFocus || local.test(made.jid), `not a name for a meeting: ${made.jid}`);
    return made;
  });
  if (!client) continue;
  await visit(label, client);
  client.connection.disconnect('done');
}
finish();
