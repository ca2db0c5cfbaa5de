// What this client can do, as the focus asks for it (spec/client.md 12).

import * as ns from './ns';
import { x } from './xml';

export const NODE = 'https://amphi.example/page';

export const FEATURES: readonly string[] = [
  'http://jabber.org/protocol/caps',
  'http://jitsi.org/json-encoded-sources',
  'http://jitsi.org/receive-multiple-video-streams',
  'http://jitsi.org/remb',
  'http://jitsi.org/source-name',
  'http://jitsi.org/ssrc-rewriting-1',
  'http://jitsi.org/start-muted-room-metadata',
  'http://jitsi.org/tcc',
  'http://jitsi.org/visitors-1',
  'urn:ietf:rfc:4588',
  'urn:xmpp:jingle:1',
  'urn:xmpp:jingle:apps:dtls:0',
  'urn:xmpp:jingle:apps:rtp:1',
  'urn:xmpp:jingle:apps:rtp:audio',
  'urn:xmpp:jingle:apps:rtp:video',
  'urn:xmpp:jingle:transports:dtls-sctp:1',
  'urn:xmpp:jingle:transports:ice-udp:1',
];

/** The string that is hashed (XEP-0115 5.1); this client has no identities. */
export function verification(features: readonly string[]): string {
  return [...features].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)).map((f) => `${f}<`).join('');
}

/** The hash. Computed here because `crypto.subtle` is missing on plain HTTP. */
export function sha1Base64(input: string): string {
  const bytes = new TextEncoder().encode(input);
  const words = new Uint32Array((((bytes.length + 8) >> 6) + 1) * 16);
  bytes.forEach((b, i) => (words[i >> 2]! |= b << (24 - (i & 3) * 8)));
  words[bytes.length >> 2]! |= 0x80 << (24 - (bytes.length & 3) * 8);
  words[words.length - 1] = bytes.length * 8;
  const h = new Uint32Array([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0]);
  const w = new Uint32Array(80);
  const rotate = (v: number, n: number) => (v << n) | (v >>> (32 - n));
  for (let block = 0; block < words.length; block += 16) {
    for (let i = 0; i < 80; i++) {
      w[i] = i < 16 ? words[block + i]! : rotate(w[i - 3]! ^ w[i - 8]! ^ w[i - 14]! ^ w[i - 16]!, 1);
    }
    let [a, b, c, d, e] = h as unknown as [number, number, number, number, number];
    for (let i = 0; i < 80; i++) {
      const [f, k] =
        i < 20 ? [(b & c) | (~b & d), 0x5a827999]
        : i < 40 ? [b ^ c ^ d, 0x6ed9eba1]
        : i < 60 ? [(b & c) | (b & d) | (c & d), 0x8f1bbcdc]
        : [b ^ c ^ d, 0xca62c1d6];
      const t = (rotate(a, 5) + f! + e + k! + w[i]!) >>> 0;
      e = d;
      d = c;
      c = rotate(b, 30) >>> 0;
      b = a;
      a = t;
    }
    [a, b, c, d, e].forEach((v, i) => (h[i] = (h[i]! + v) >>> 0));
  }
  return btoa(Array.from(h, (v) => String.fromCharCode(v >>> 24, (v >>> 16) & 255, (v >>> 8) & 255, v & 255)).join(''));
}

const ver = sha1Base64(verification(FEATURES));

export function capsElement(): Element {
  return x('c', { xmlns: ns.CAPS, hash: 'sha-1', node: NODE, ver });
}

/** The answer to a question for information. */
export function discoElement(node: string | undefined): Element {
  return x('query', { xmlns: ns.DISCO_INFO, node }, ...FEATURES.map((f) => x('feature', { var: f })));
}
