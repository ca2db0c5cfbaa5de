import { describe, expect, it } from 'vitest';
import { acceptElement, readOffer, restartElement, sourcesElement } from '../src/media/jingle';
import { attr, child, children, parse, x } from '../src/xmpp/xml';
import * as ns from '../src/xmpp/ns';
import { offerElement } from './offer';

describe('an offer of the focus', () => {
  it('is read whole', () => {
    const o = readOffer(offerElement({ muted: true }));
    expect(o.sid).toBe('sid1');
    expect(o.transport).toMatchObject({ ufrag: 'bu', pwd: 'bridge-password-22chars', hash: 'sha-256', fingerprint: 'AA:BB' });
    expect(o.transport.candidates).toHaveLength(1);
    expect(o.audio.payloadTypes[0]).toMatchObject({ id: 111, name: 'opus', channels: 2 });
    expect(o.video?.payloadTypes.map((p) => p.id)).toEqual([41, 100, 107, 96, 97]);
    expect(o.own.audio?.ssrc).toBe(100);
    expect(o.own.video?.msid).toBe('mixedmslabel mixedlabelvideo0');
    expect(o.sctpPort).toBe(5000);
    expect(o.bridgeSession).toBe('bs1');
    expect(o.startMuted).toEqual({ audio: true, video: false });
    expect(o.extmapAllowMixed).toBe(true);
  });

  it('needs no data channel and no sources of the bridge', () => {
    const o = readOffer(offerElement({ data: false, own: false }));
    expect(o.sctpPort).toBeUndefined();
    expect(o.own).toEqual({});
  });

  it('without audio or credentials is refused with a reason', () => {
    expect(() => readOffer(parse(`<jingle xmlns='urn:xmpp:jingle:1'/>`)!)).toThrow('no audio');
    const bare = parse(`<jingle xmlns='urn:xmpp:jingle:1'><content name='audio'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'/>
      <transport xmlns='urn:xmpp:jingle:transports:ice-udp:1'/></content></jingle>`)!;
    expect(() => readOffer(bare)).toThrow('credentials');
  });
});

describe('what is sent to the focus', () => {
  const offer = readOffer(offerElement());
  const source = {
    kind: 'video' as const,
    name: 'ab12-v0',
    msid: 'ab12-video-0-1 t',
    videoType: 'camera' as const,
    ssrcs: [1, 2, 3, 11, 12, 13],
    groups: [{ semantics: 'SIM', ssrcs: [1, 2, 3] }, { semantics: 'FID', ssrcs: [1, 11] }],
  };
  const transport = { ufrag: 'u', pwd: 'p', hash: 'sha-256', fingerprint: 'CC', setup: 'active' };

  it('accepts with sources, groups and every namespace spelled out', () => {
    const e = acceptElement({
      offer,
      responder: 'me@x/r',
      transport,
      audio: { description: offer.audio, isSending: false },
      video: { description: offer.video!, isSending: true },
      sources: [source],
    });
    expect(attr(e, 'action')).toBe('session-accept');
    const contents = children(e, 'content');
    expect(contents.map((c) => attr(c, 'name'))).toEqual(['audio', 'video', 'data']);
    expect(contents.map((c) => attr(c, 'senders'))).toEqual(['initiator', 'both', 'both']);
    const description = child(contents[1], 'description', ns.RTP)!;
    expect(children(description, 'source', ns.SSMA).map((s) => attr(s, 'ssrc'))).toEqual(['1', '2', '3', '11', '12', '13']);
    expect(children(description, 'ssrc-group', ns.SSMA).map((g) => attr(g, 'semantics'))).toEqual(['SIM', 'FID']);
    expect(attr(child(child(contents[0], 'transport', ns.ICE), 'fingerprint', ns.DTLS), 'setup')).toBe('active');
    expect(children(child(e, 'group', ns.GROUPING)!, 'content')).toHaveLength(3);
  });

  it('adds only what is new', () => {
    const e = sourcesElement('source-add', offer, [source]);
    expect(children(e, 'content').map((c) => attr(c, 'name'))).toEqual(['video']);
  });

  it('asks for a restart of this very session', () => {
    const e = restartElement(offer);
    expect(attr(e, 'sid')).toBe('sid1');
    const b = child(e, 'bridge-session', ns.FOCUS);
    expect([attr(b, 'id'), attr(b, 'restart')]).toEqual(['bs1', 'true']);
  });
});

describe('elements', () => {
  it('leave out attributes without a value, and characters that XML cannot carry', () => {
    const e = x('a', { b: undefined, c: null, d: 0 }, 'x\u0001y');
    expect([e.hasAttribute('b'), e.hasAttribute('c'), e.getAttribute('d'), e.textContent]).toEqual([false, false, '0', 'xy']);
  });
});
