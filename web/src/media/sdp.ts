// SDP for the browser: the bridge's offer made from Jingle and the slots of remote sources; the browser's answer read. Pure.

import type { Description, Extension, Kind, LocalTransport, Offer, PayloadType, SsrcGroup } from './jingle';

/** One section of the offer. */
export interface Line {
  mid: string;
  kind: Kind | 'data';
  /** As the bridge sees it. */
  direction: 'sendrecv' | 'sendonly' | 'recvonly' | 'inactive';
  ssrc?: number;
  rtx?: number;
  msid?: string;
}

const UDP = 'UDP/TLS/RTP/SAVPF';

/** Puts the codec that is to be sent first, with its retransmissions behind it. */
export function prefer(types: PayloadType[], codecs: readonly string[]): PayloadType[] {
  const rank = (p: PayloadType): number => {
    const at = codecs.indexOf(p.name.toLowerCase());
    return at < 0 ? codecs.length : at;
  };
  const aptOf = (p: PayloadType) => Number(p.parameters.find(([name]) => name === 'apt')?.[1]);
  const primary = types.filter((p) => Number.isNaN(aptOf(p)));
  const sorted = primary.map((p, at) => ({ p, at })).sort((a, b) => rank(a.p) - rank(b.p) || a.at - b.at);
  return sorted.flatMap(({ p }) => [p, ...types.filter((r) => aptOf(r) === p.id)]);
}

export function offerSdp(offer: Offer, lines: readonly Line[], version: number, codecs: readonly string[]): string {
  const out = ['v=0', `o=- 1923518516 ${version} IN IP4 0.0.0.0`, 's=-', 't=0 0'];
  out.push(`a=group:BUNDLE ${lines.map((l) => l.mid).join(' ')}`);
  if (offer.extmapAllowMixed) out.push('a=extmap-allow-mixed');
  out.push('a=msid-semantic: WMS *');
  lines.forEach((line, at) => {
    if (line.kind === 'data') dataLine(out, offer, line, at === 0);
    else rtpLine(out, offer, line as Line & { kind: Kind }, at === 0, codecs);
  });
  return `${out.join('\r\n')}\r\n`;
}

function transportLines(out: string[], offer: Offer, withCandidates: boolean): void {
  const t = offer.transport;
  out.push(`a=ice-ufrag:${t.ufrag}`, `a=ice-pwd:${t.pwd}`, `a=fingerprint:${t.hash} ${t.fingerprint}`, 'a=setup:actpass');
  if (!withCandidates) return;
  for (const c of t.candidates) {
    let line = `a=candidate:${c.foundation} ${c.component} ${c.protocol} ${c.priority} ${c.ip} ${c.port} typ ${c.type}`;
    if (c.relAddr && c.relPort) line += ` raddr ${c.relAddr} rport ${c.relPort}`;
    if (c.tcpType) line += ` tcptype ${c.tcpType}`;
    out.push(line);
  }
  out.push('a=end-of-candidates');
}

function dataLine(out: string[], offer: Offer, line: Line, isFirst: boolean): void {
  out.push('m=application 9 UDP/DTLS/SCTP webrtc-datachannel', 'c=IN IP4 0.0.0.0');
  transportLines(out, offer, isFirst);
  out.push(`a=mid:${line.mid}`, `a=sctp-port:${offer.sctpPort ?? 5000}`, 'a=max-message-size:262144');
}

function rtpLine(out: string[], offer: Offer, line: Line & { kind: Kind }, isFirst: boolean, codecs: readonly string[]): void {
  const d = line.kind === 'audio' ? offer.audio : (offer.video ?? { payloadTypes: [], extensions: [] });
  const types = line.kind === 'video' ? prefer(d.payloadTypes, codecs) : d.payloadTypes;
  out.push(`m=${line.kind} 9 ${UDP} ${types.map((p) => p.id).join(' ')}`, 'c=IN IP4 0.0.0.0', 'a=rtcp:9 IN IP4 0.0.0.0');
  transportLines(out, offer, isFirst);
  out.push(`a=mid:${line.mid}`, `a=${line.direction}`);
  for (const e of d.extensions) out.push(`a=extmap:${e.id} ${e.uri}`);
  out.push('a=rtcp-mux');
  for (const p of types) {
    const channels = p.channels && p.channels > 1 ? `/${p.channels}` : '';
    out.push(`a=rtpmap:${p.id} ${p.name}/${p.clockrate}${channels}`);
    for (const [type, subtype] of p.feedback) out.push(`a=rtcp-fb:${p.id} ${type}${subtype ? ` ${subtype}` : ''}`);
    if (p.parameters.length > 0) {
      const words = p.parameters.map(([name, value]) => (name ? `${name}=${value}` : value).replace(/;+$/, ''));
      out.push(`a=fmtp:${p.id} ${words.join(';')}`);
    }
  }
  if (line.ssrc === undefined || line.direction === 'recvonly' || line.direction === 'inactive') return;
  const msid = line.msid ?? `${line.mid} ${line.mid}`;
  out.push(`a=msid:${msid}`);
  if (line.rtx !== undefined) out.push(`a=ssrc-group:FID ${line.ssrc} ${line.rtx}`);
  for (const ssrc of [line.ssrc, ...(line.rtx === undefined ? [] : [line.rtx])]) {
    out.push(`a=ssrc:${ssrc} cname:bridge`, `a=ssrc:${ssrc} msid:${msid}`);
  }
}

/** One section of the browser's answer. */
export interface Section {
  mid: string;
  kind: string;
  direction: string;
  description: Description;
  ssrcs: number[];
  groups: SsrcGroup[];
}

export interface Answer {
  transport: LocalTransport;
  sections: Map<string, Section>;
}

export function readAnswer(sdp: string): Answer {
  const [head = '', ...bodies] = sdp.split(/(?=^m=)/m);
  const sections = new Map<string, Section>();
  let transport: LocalTransport | undefined;
  for (const body of bodies) {
    const lines = body.split(/\r?\n/);
    const value = (key: string, from = lines) => from.find((l) => l.startsWith(`a=${key}:`))?.slice(key.length + 3);
    const section = readSection(lines);
    sections.set(section.mid, section);
    const ufrag = value('ice-ufrag');
    if (!transport && ufrag) {
      const [hash = '', fingerprint = ''] = (value('fingerprint') ?? value('fingerprint', head.split(/\r?\n/)) ?? '').split(' ');
      transport = { ufrag, pwd: value('ice-pwd') ?? '', hash, fingerprint, setup: value('setup') ?? 'active' };
    }
  }
  if (!transport) throw new Error('The browser answered without a transport.');
  return { transport, sections };
}

function readSection(lines: string[]): Section {
  const [kind = '', , , ...ids] = (lines[0] ?? '').slice(2).trim().split(' ');
  const types = new Map<number, PayloadType>();
  for (const id of kind === 'application' ? [] : ids.map(Number)) {
    types.set(id, { id, name: '', clockrate: 90_000, parameters: [], feedback: [] });
  }
  const extensions: Extension[] = [];
  const ssrcs = new Set<number>();
  const groups: SsrcGroup[] = [];
  let mid = '';
  let direction = 'sendrecv';
  for (const line of lines) {
    const [key = '', rest = ''] = /^a=([^:]+):?(.*)$/.exec(line.trim())?.slice(1) ?? [];
    const [first = '', ...words] = rest.split(' ');
    const type = types.get(Number(first));
    if (key === 'mid') mid = rest;
    else if (/^(sendrecv|sendonly|recvonly|inactive)$/.test(key)) direction = key;
    else if (key === 'rtpmap' && type) {
      const [name = '', rate, channels] = (words[0] ?? '').split('/');
      Object.assign(type, { name, clockrate: Number(rate), channels: channels ? Number(channels) : undefined });
    } else if (key === 'rtcp-fb' && type) type.feedback.push([words[0] ?? '', words.slice(1).join(' ') || undefined]);
    else if (key === 'fmtp' && type) {
      for (const p of words.join(' ').split(';').filter(Boolean)) {
        const at = p.indexOf('=');
        type.parameters.push(at < 0 ? ['', p.trim()] : [p.slice(0, at).trim(), p.slice(at + 1).trim()]);
      }
    } else if (key === 'extmap') extensions.push({ id: parseInt(first, 10), uri: words[0] ?? '' });
    else if (key === 'ssrc') ssrcs.add(Number(first));
    else if (key === 'ssrc-group') groups.push({ semantics: first, ssrcs: words.map(Number) });
  }
  return { mid, kind, direction, description: { payloadTypes: [...types.values()], extensions }, ssrcs: [...ssrcs], groups };
}

/** SSRCs of the layers of a simulcast source: three of media, each with one of retransmissions. */
export interface Simulcast {
  media: number[];
  rtx: number[];
}

/**
 * Makes one section of the answer send three layers. Browsers of the Chromium family and Safari send simulcast with SSRCs, as
 * bridges want it, only if the answer says so in this way; nothing else of the answer is touched.
 */
export function withSimulcast(sdp: string, mid: string, known: Simulcast | undefined, newSsrc: () => number): { sdp: string; simulcast?: Simulcast } {
  const parts = sdp.split(/(?=^m=)/m);
  const at = parts.findIndex((p) => new RegExp(`^a=mid:${mid}\\r?$`, 'm').test(p));
  const part = parts[at];
  if (part === undefined || /^a=(recvonly|inactive)\r?$/m.test(part)) return { sdp, simulcast: known };
  if (/^a=ssrc-group:SIM /m.test(part)) return { sdp, simulcast: known };
  const section = readSection(part.split(/\r?\n/));
  const primary = section.groups.find((g) => g.semantics === 'FID')?.ssrcs ?? section.ssrcs.slice(0, 1);
  const [media, rtx] = primary;
  if (media === undefined) return { sdp, simulcast: known };
  const simulcast = known ?? {
    media: [media, newSsrc(), newSsrc()],
    rtx: rtx === undefined ? [] : [rtx, newSsrc(), newSsrc()],
  };
  const lines = part.split('\r\n');
  const describe = lines.filter((l) => l.startsWith(`a=ssrc:${media} `)).map((l) => l.slice(`a=ssrc:${media} `.length));
  const kept = lines.filter((l) => !l.startsWith('a=ssrc:') && !l.startsWith('a=ssrc-group:') && l !== '');
  kept.push(`a=ssrc-group:SIM ${simulcast.media.join(' ')}`);
  simulcast.rtx.forEach((r, i) => kept.push(`a=ssrc-group:FID ${simulcast.media[i]} ${r}`));
  for (const ssrc of simulcast.media.flatMap((m, i) => [m, ...(simulcast.rtx[i] === undefined ? [] : [simulcast.rtx[i]])])) {
    for (const d of describe) kept.push(`a=ssrc:${ssrc} ${d}`);
  }
  parts[at] = `${kept.join('\r\n')}\r\n`;
  return { sdp: parts.join(''), simulcast };
}
