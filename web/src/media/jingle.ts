// Jingle of the focus (spec/client.md 16), read into plain values and written from them. Pure.

import * as ns from '../xmpp/ns';
import { attr, child, children, text, x } from '../xmpp/xml';

export type Kind = 'audio' | 'video';

export interface PayloadType {
  id: number;
  name: string;
  clockrate: number;
  channels?: number;
  parameters: [string, string][];
  feedback: [string, string | undefined][];
}

export interface Extension {
  id: number;
  uri: string;
}

export interface Candidate {
  foundation: string;
  component: string;
  protocol: string;
  priority: string;
  ip: string;
  port: string;
  type: string;
  relAddr?: string;
  relPort?: string;
  tcpType?: string;
}

export interface Transport {
  ufrag: string;
  pwd: string;
  hash: string;
  fingerprint: string;
  candidates: Candidate[];
}

export interface Description {
  payloadTypes: PayloadType[];
  extensions: Extension[];
}

export interface Source {
  ssrc: number;
  name?: string;
  msid?: string;
  videoType?: string;
  owner?: string;
}

export interface SsrcGroup {
  semantics: string;
  ssrcs: number[];
}

export interface Offer {
  sid: string;
  initiator: string;
  audio: Description;
  video?: Description;
  transport: Transport;
  extmapAllowMixed: boolean;
  /** SCTP port, if a data channel is offered. */
  sctpPort?: number;
  /** URL of the bridge channel. */
  webSocket?: string;
  bridgeSession?: string;
  /** Sources that the bridge sends itself. */
  own: Partial<Record<Kind, Source>>;
  startMuted: { audio: boolean; video: boolean };
}

const number = (v: string | undefined): number => Number(v ?? NaN);

/** Reads `session-initiate`; throws with a sentence if something that is needed is missing. */
export function readOffer(jingle: Element): Offer {
  const contents = children(jingle, 'content');
  const media = new Map<string, Element>();
  for (const c of contents) {
    const d = child(c, 'description', ns.RTP);
    const kind = attr(d, 'media') ?? attr(c, 'name') ?? '';
    media.set(kind === 'application' || attr(c, 'name') === 'data' ? 'data' : kind, c);
  }
  const audio = media.get('audio');
  const first = contents[0];
  if (!audio || !first) throw new Error('The offer has no audio.');
  const transportElement = child(first, 'transport', ns.ICE);
  const transport = readTransport(transportElement);
  const data = child(media.get('data'), 'transport', ns.ICE);
  const sctp = child(data, 'sctpmap', ns.SCTP);
  const socket = contents
    .flatMap((c) => children(child(c, 'transport', ns.ICE) ?? x('transport'), 'web-socket', ns.COLIBRI))
    .map((w) => attr(w, 'url'))[0];
  const video = media.get('video');
  const startMuted = child(jingle, 'startmuted');
  const own: Offer['own'] = {};
  for (const kind of ['audio', 'video'] as const) {
    const source = children(child(media.get(kind), 'description', ns.RTP) ?? x('description'), 'source', ns.SSMA)
      .map(readSource)
      .find((s) => s.owner === undefined || s.owner === 'jvb' || s.msid?.startsWith('mixedmslabel'));
    if (source) own[kind] = source;
  }
  return {
    sid: attr(jingle, 'sid') ?? '',
    initiator: attr(jingle, 'initiator') ?? '',
    audio: readDescription(child(audio, 'description', ns.RTP)),
    video: video && readDescription(child(video, 'description', ns.RTP)),
    transport,
    extmapAllowMixed: child(child(audio, 'description', ns.RTP), 'extmap-allow-mixed') !== undefined,
    sctpPort: sctp ? number(attr(sctp, 'number')) || 5000 : undefined,
    webSocket: socket,
    bridgeSession: attr(child(jingle, 'bridge-session', ns.FOCUS), 'id'),
    own,
    startMuted: { audio: attr(startMuted, 'audio') === 'true', video: attr(startMuted, 'video') === 'true' },
  };
}

function readTransport(t: Element | undefined): Transport {
  const fingerprint = child(t, 'fingerprint', ns.DTLS);
  const ufrag = attr(t, 'ufrag');
  const pwd = attr(t, 'pwd');
  if (!ufrag || !pwd || !fingerprint) throw new Error('The offer lacks credentials of the bridge.');
  return {
    ufrag,
    pwd,
    hash: attr(fingerprint, 'hash') ?? 'sha-256',
    fingerprint: text(fingerprint).trim(),
    candidates: children(t ?? x('transport'), 'candidate').map((c) => ({
      foundation: attr(c, 'foundation') ?? '1',
      component: attr(c, 'component') ?? '1',
      protocol: (attr(c, 'protocol') ?? 'udp').toLowerCase(),
      priority: attr(c, 'priority') ?? '1',
      ip: attr(c, 'ip') ?? '',
      port: attr(c, 'port') ?? '',
      type: attr(c, 'type') ?? 'host',
      relAddr: attr(c, 'rel-addr'),
      relPort: attr(c, 'rel-port'),
      tcpType: attr(c, 'tcptype'),
    })),
  };
}

function readDescription(d: Element | undefined): Description {
  if (!d) return { payloadTypes: [], extensions: [] };
  return {
    payloadTypes: children(d, 'payload-type').map((p) => ({
      id: number(attr(p, 'id')),
      name: attr(p, 'name') ?? '',
      clockrate: number(attr(p, 'clockrate')) || 90_000,
      channels: Number(attr(p, 'channels')) || undefined,
      parameters: children(p, 'parameter').map((a) => [attr(a, 'name') ?? '', attr(a, 'value') ?? ''] as [string, string]),
      feedback: children(p, 'rtcp-fb').map((f) => [attr(f, 'type') ?? '', attr(f, 'subtype')] as [string, string | undefined]),
    })),
    extensions: children(d, 'rtp-hdrext').map((e) => ({ id: number(attr(e, 'id')), uri: attr(e, 'uri') ?? '' })),
  };
}

function readSource(s: Element): Source {
  return {
    ssrc: number(attr(s, 'ssrc')),
    name: attr(s, 'name'),
    videoType: attr(s, 'videoType'),
    msid: attr(children(s, 'parameter').find((p) => attr(p, 'name') === 'msid'), 'value'),
    owner: attr(child(s, 'ssrc-info', ns.JITMEET), 'owner'),
  };
}

// ---- writing --------------------------------------------------------------------------------------------------------------

/** What is sent of one source: its SSRCs under one name. */
export interface SentSource {
  kind: Kind;
  name: string;
  msid: string;
  videoType?: 'camera' | 'desktop';
  ssrcs: number[];
  groups: SsrcGroup[];
}

export interface Accepted {
  description: Description;
  isSending: boolean;
}

export interface LocalTransport {
  ufrag: string;
  pwd: string;
  hash: string;
  fingerprint: string;
  setup: string;
}

function sourceElements(s: SentSource): Element[] {
  return [
    ...s.ssrcs.map((ssrc) =>
      x(
        'source',
        { xmlns: ns.SSMA, ssrc, name: s.name, videoType: s.videoType },
        x('parameter', { name: 'msid', value: s.msid }),
      ),
    ),
    ...s.groups.map((g) =>
      x('ssrc-group', { xmlns: ns.SSMA, semantics: g.semantics }, ...g.ssrcs.map((ssrc) => x('source', { ssrc }))),
    ),
  ];
}

function descriptionElement(kind: Kind, d: Description, sources: SentSource[]): Element {
  return x(
    'description',
    { xmlns: ns.RTP, media: kind },
    ...d.payloadTypes.map((p) =>
      x(
        'payload-type',
        { id: p.id, name: p.name, clockrate: p.clockrate, channels: p.channels },
        ...p.parameters.map(([name, value]) => x('parameter', { name: name || null, value })),
        ...p.feedback.map(([type, subtype]) => x('rtcp-fb', { xmlns: ns.RTCP_FB, type, subtype })),
      ),
    ),
    ...d.extensions.map((e) => x('rtp-hdrext', { xmlns: ns.HDREXT, id: e.id, uri: e.uri })),
    ...sources.filter((s) => s.kind === kind).flatMap(sourceElements),
    x('rtcp-mux'),
  );
}

function transportElement(t: LocalTransport, ...more: Element[]): Element {
  const fingerprint = x('fingerprint', { xmlns: ns.DTLS, hash: t.hash, setup: t.setup }, t.fingerprint);
  return x('transport', { xmlns: ns.ICE, ufrag: t.ufrag, pwd: t.pwd }, x('rtcp-mux'), fingerprint, ...more);
}

export interface Acceptance {
  offer: Offer;
  responder: string;
  transport: LocalTransport;
  audio: Accepted;
  video?: Accepted;
  sources: SentSource[];
}

export function acceptElement(a: Acceptance): Element {
  const content = (name: string, isSending: boolean, ...parts: Element[]) =>
    x('content', { creator: 'responder', name, senders: isSending ? 'both' : 'initiator' }, ...parts);
  const names = ['audio', ...(a.video ? ['video'] : []), ...(a.offer.sctpPort ? ['data'] : [])];
  return x(
    'jingle',
    { xmlns: ns.JINGLE, action: 'session-accept', initiator: a.offer.initiator, responder: a.responder, sid: a.offer.sid },
    content('audio', a.audio.isSending, descriptionElement('audio', a.audio.description, a.sources), transportElement(a.transport)),
    a.video &&
      content('video', a.video.isSending, descriptionElement('video', a.video.description, a.sources), transportElement(a.transport)),
    a.offer.sctpPort !== undefined &&
      content(
        'data',
        true,
        x('description', { xmlns: ns.RTP, media: 'application' }),
        transportElement(
          a.transport,
          x('sctpmap', { xmlns: ns.SCTP, number: a.offer.sctpPort, protocol: 'webrtc-datachannel', streams: 1024 }),
        ),
      ),
    x('group', { xmlns: ns.GROUPING, semantics: 'BUNDLE' }, ...names.map((name) => x('content', { name }))),
  );
}

/** `source-add` or `source-remove`. */
export function sourcesElement(action: 'source-add' | 'source-remove', offer: Offer, sources: SentSource[]): Element {
  const kinds = (['audio', 'video'] as const).filter((k) => sources.some((s) => s.kind === k));
  return x(
    'jingle',
    { xmlns: ns.JINGLE, action, initiator: offer.initiator, sid: offer.sid },
    ...kinds.map((kind) =>
      x(
        'content',
        { creator: 'responder', name: kind, senders: 'both' },
        x('description', { xmlns: ns.RTP, media: kind }, ...sources.filter((s) => s.kind === kind).flatMap(sourceElements)),
      ),
    ),
  );
}

/** Asks for a new session after a failure of ICE (spec/client.md 16.6). */
export function restartElement(offer: Offer): Element {
  return x(
    'jingle',
    { xmlns: ns.JINGLE, action: 'session-terminate', initiator: offer.initiator, sid: offer.sid },
    x('reason', {}, x('connectivity-error'), x('text', {}, 'ICE FAILED')),
    offer.bridgeSession !== undefined &&
      x('bridge-session', { xmlns: ns.FOCUS, id: offer.bridgeSession, restart: true }),
  );
}
