import { describe, expect, it } from 'vitest';
import { readOffer } from '../src/media/jingle';
import { type Line, offerSdp, prefer, readAnswer, withSimulcast } from '../src/media/sdp';
import { offerElement } from './offer';

const offer = readOffer(offerElement());
const lines: Line[] = [
  { mid: 'audio', kind: 'audio', direction: 'sendrecv', ssrc: 100, msid: 'mixedmslabel a' },
  { mid: 'video', kind: 'video', direction: 'recvonly' },
  { mid: 'data', kind: 'data', direction: 'sendrecv' },
  { mid: 'rv0', kind: 'video', direction: 'sendonly', ssrc: 6001, rtx: 6002, msid: 'remote-rv0 rv0' },
];
const sections = (sdp: string) => sdp.split(/(?=^m=)/m).slice(1);

describe('the offer for the browser', () => {
  const sdp = offerSdp(offer, lines, 3, ['vp8']);

  it('has one section for each line, all in one bundle', () => {
    expect(sdp).toContain('a=group:BUNDLE audio video data rv0\r\n');
    expect(sections(sdp).map((s) => s.split(' ')[0])).toEqual(['m=audio', 'm=video', 'm=application', 'm=video']);
    expect(sdp.startsWith('v=0\r\no=- 1923518516 3 ')).toBe(true);
    expect(sdp).not.toMatch(/[^\r]\n/);
  });

  it('says the candidates once and the credentials everywhere', () => {
    expect(sdp.match(/a=candidate:/g)).toHaveLength(1);
    expect(sdp.match(/a=ice-pwd:bridge-password-22chars/g)).toHaveLength(4);
    expect(sdp.match(/a=setup:actpass/g)).toHaveLength(4);
  });

  it('puts the codec that is to be sent first, its retransmissions behind it', () => {
    expect(sections(sdp)[1]).toMatch(/^m=video 9 UDP\/TLS\/RTP\/SAVPF 100 96 41 97 107\r\n/);
    expect(prefer(offer.video!.payloadTypes, ['av1', 'vp8']).map((p) => p.id)).toEqual([41, 97, 100, 96, 107]);
  });

  it('writes SSRCs of what the bridge sends, and none where it only receives', () => {
    expect(sections(sdp)[3]).toContain('a=ssrc-group:FID 6001 6002\r\n');
    expect(sections(sdp)[3]).toContain('a=msid:remote-rv0 rv0\r\n');
    expect(sections(sdp)[1]).not.toContain('a=ssrc');
  });

  it('writes parameters without stray separators', () => {
    expect(sdp).toContain('a=fmtp:107 profile-level-id=42e01f;level-asymmetry-allowed=1;packetization-mode=1\r\n');
    expect(sdp).toContain('a=fmtp:111 minptime=10;useinbandfec=1\r\n');
    expect(sdp).toContain('a=rtpmap:111 opus/48000/2\r\n');
    expect(sdp).toContain('a=rtcp-fb:100 ccm fir\r\n');
  });
});

const ANSWER = [
  'v=0', 'o=- 1 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=group:BUNDLE audio video data',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'c=IN IP4 0.0.0.0', 'a=ice-ufrag:lu', 'a=ice-pwd:lp', 'a=fingerprint:sha-256 DD:EE', 'a=setup:active', 'a=mid:audio',
  'a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level', 'a=sendrecv', 'a=rtpmap:111 opus/48000/2', 'a=fmtp:111 minptime=10;useinbandfec=1',
  'a=ssrc:500 cname:c',
  'm=video 9 UDP/TLS/RTP/SAVPF 100 96', 'c=IN IP4 0.0.0.0', 'a=ice-ufrag:lu', 'a=ice-pwd:lp', 'a=fingerprint:sha-256 DD:EE', 'a=setup:active', 'a=mid:video',
  'a=sendonly', 'a=msid:- t', 'a=rtpmap:100 VP8/90000', 'a=rtcp-fb:100 nack pli', 'a=rtpmap:96 rtx/90000', 'a=fmtp:96 apt=100',
  'a=ssrc-group:FID 600 601', 'a=ssrc:600 cname:c', 'a=ssrc:600 msid:- t', 'a=ssrc:601 cname:c', 'a=ssrc:601 msid:- t',
  'm=application 9 UDP/DTLS/SCTP webrtc-datachannel', 'c=IN IP4 0.0.0.0', 'a=mid:data', 'a=sctp-port:5000', '',
].join('\r\n');

describe('the answer of the browser', () => {
  it('is read whole', () => {
    const a = readAnswer(ANSWER);
    expect(a.transport).toEqual({ ufrag: 'lu', pwd: 'lp', hash: 'sha-256', fingerprint: 'DD:EE', setup: 'active' });
    const video = a.sections.get('video')!;
    expect(video.direction).toBe('sendonly');
    expect(video.description.payloadTypes[0]).toMatchObject({ id: 100, name: 'VP8', feedback: [['nack', 'pli']] });
    expect(video.description.payloadTypes[1]!.parameters).toEqual([['apt', '100']]);
    expect(video.ssrcs).toEqual([600, 601]);
    expect(video.groups).toEqual([{ semantics: 'FID', ssrcs: [600, 601] }]);
    expect(a.sections.get('audio')!.description.extensions).toEqual([{ id: 1, uri: 'urn:ietf:params:rtp-hdrext:ssrc-audio-level' }]);
    expect(a.sections.get('data')!.kind).toBe('application');
  });

  it('without a transport is an error', () => {
    expect(() => readAnswer('v=0\r\n')).toThrow();
  });
});

describe('simulcast', () => {
  let next = 9000;
  const newSsrc = () => next++;

  it('adds two layers to the section that is meant, and changes no other', () => {
    const { sdp, simulcast } = withSimulcast(ANSWER, 'video', undefined, newSsrc);
    expect(simulcast!.media[0]).toBe(600);
    const s = readAnswer(sdp).sections.get('video')!;
    expect(s.ssrcs).toHaveLength(6);
    expect(s.groups.map((g) => g.semantics)).toEqual(['SIM', 'FID', 'FID', 'FID']);
    expect(sections(sdp)[0]).toBe(sections(ANSWER)[0]);
    expect(sections(sdp)[2]).toBe(sections(ANSWER)[2]);
  });

  it('keeps its SSRCs when the session is negotiated again', () => {
    const first = withSimulcast(ANSWER, 'video', undefined, newSsrc);
    expect(withSimulcast(ANSWER, 'video', first.simulcast, newSsrc).sdp).toBe(first.sdp);
    expect(withSimulcast(first.sdp, 'video', first.simulcast, newSsrc).sdp).toBe(first.sdp);
  });

  it('leaves a section alone that does not send', () => {
    const idle = ANSWER.replace('a=sendonly', 'a=recvonly');
    expect(withSimulcast(idle, 'video', undefined, newSsrc).sdp).toBe(idle);
  });
});
