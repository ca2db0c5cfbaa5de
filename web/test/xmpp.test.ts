import { describe, expect, it } from 'vitest';
import { normal, readConfig, roomNode, roomOf } from '../src/config';
import { PATIENCE, resumePause } from '../src/xmpp/backoff';
import { FEATURES, capsElement, sha1Base64, verification } from '../src/xmpp/caps';
import { nickOf } from '../src/xmpp/jid';
import { readMessage } from '../src/xmpp/messages';
import { ownExtensions, readPresence, readRefusal, readSources } from '../src/xmpp/presence';
import { pause, readAdmission, requestBody } from '../src/xmpp/request';
import { readFrame, writeFrame } from '../src/xmpp/stomp';
import { attr, parse, text } from '../src/xmpp/xml';

const MUC_USER = 'http://jabber.org/protocol/muc#user';
const presence = (inner: string, attributes = '') => parse(`<presence xmlns='jabber:client' from='town@muc.x/ab12' ${attributes}>${inner}</presence>`)!;

describe('addresses', () => {
  it('of rooms are read from the path, as one form', () => {
    expect(roomOf('/Town%20Hall')).toEqual({ tenant: '', room: 'town hall' });
    expect(roomOf('/school/Town')).toEqual({ tenant: 'school', room: 'town' });
    expect(roomOf('/')).toEqual({ tenant: '', room: '' });
    expect(roomOf('/%E0%A4%A')).toEqual({ tenant: '', room: '%e0%a4%a' });
    expect(normal('ﬁve')).toBe('five');
    expect(roomNode('Über uns')).toBe('%c3%bcber%20uns');
  });
  it('of people give their nickname', () => {
    expect(nickOf('1a2b3c4d-0000-4000-8000-000000000000@x/r')).toBe('1a2b3c4d');
    expect(nickOf('ann@x/r', () => 0)).toBe('00000000');
  });
  it('of the server are those that the document says, else usual ones', () => {
    document.body.innerHTML = '<script type="application/json" id="amphi-config">{"domain":"d","muc":"c.d"}</script>';
    const at = { hostname: 'h', origin: 'https://h' } as Location;
    expect(readConfig(document, at)).toMatchObject({ domain: 'd', muc: 'c.d', ws: 'wss://h' });
    document.body.innerHTML = '';
    expect(readConfig(document, at)).toMatchObject({ domain: 'h', muc: 'conference.h' });
  });
});

describe('the conference request', () => {
  it('says what it wants', () => {
    const asking = { room: 'r@c', roomName: 'r', machineUid: 'm' };
    expect(JSON.parse(requestBody(asking)).properties).toEqual({ rtcstatsEnabled: false, 'visitors-version': 1 });
    expect(JSON.parse(requestBody({ ...asking, visitor: true })).properties.visitor).toBe(true);
  });
  it('takes any scalar in the answer', () => {
    expect(readAdmission({ ready: true, vnode: 'v1', focusJid: 'f@x', properties: { live: false } })).toMatchObject({ ready: true, vnode: 'v1', live: false });
    expect(readAdmission({ ready: 'true', properties: { live: 'false', 'visitors-supported': 'true' } })).toMatchObject({ ready: true, live: false, visitorsSupported: true });
    expect(readAdmission(null)).toMatchObject({ ready: false, live: true });
  });
  it('is repeated ever more slowly', () => {
    expect([0, 1, 2].map((n) => pause(n, () => 0.5))).toEqual([1000, 2000, 4000]);
    expect(pause(30, () => 0.5)).toBe(120_000);
  });
});

describe('resumption', () => {
  it('is tried soon, then slower, and not longer than the server remembers', () => {
    expect(resumePause(0, 0, 0.5)).toBe(400);
    expect(resumePause(9, 1000, 0.5)).toBe(PATIENCE.most);
    expect(resumePause(9, PATIENCE.total, 0.5)).toBeUndefined();
  });
});

describe('capabilities', () => {
  it('are hashed as XEP-0115 says', async () => {
    expect(sha1Base64('')).toBe('2jmj7l5rSw0yVb/vlWAYkK/YBwk=');
    expect(sha1Base64('client/pc//Exodus 0.9.1<http://jabber.org/protocol/caps<http://jabber.org/protocol/disco#info<http://jabber.org/protocol/disco#items<http://jabber.org/protocol/muc<')).toBe('QgayPKawpkPSDYmwT/WM94uAlu0=');
    expect(attr(capsElement(), 'ver')).toBe(sha1Base64(verification(FEATURES)));
    expect(verification(['b', 'a'])).toBe('a<b<');
  });
  it('include what brings sources over the bridge channel', () => {
    expect(FEATURES).toContain('http://jitsi.org/ssrc-rewriting-1');
    expect(FEATURES).toContain('http://jitsi.org/visitors-1');
  });
});

describe('presence', () => {
  it('is read', () => {
    const p = readPresence(
      presence(`<nick xmlns='http://jabber.org/protocol/nick'>Ann</nick><jitsi_participant_raisedHand>17</jitsi_participant_raisedHand>
        <SourceInfo>{"ab12-a0":{"muted":false},"ab12-v1":{"muted":false,"videoType":"desktop"},"zz-v0":{"muted":false}}</SourceInfo>
        <x xmlns='${MUC_USER}'><item role='moderator' affiliation='owner' jid='j@x/r'/><status code='110'/></x>`),
    )!;
    expect(p.occupant).toMatchObject({ id: 'ab12', name: 'Ann', role: 'moderator', jid: 'j@x/r', hand: 17 });
    expect(p.occupant.sources).toEqual({ 'ab12-a0': { muted: false, videoType: 'camera' }, 'ab12-v1': { muted: false, videoType: 'desktop' } });
    expect(p.statuses).toEqual(['110']);
  });
  it('a lowered hand is an empty element', () => {
    expect(readPresence(presence(`<jitsi_participant_raisedHand/>`))!.occupant.hand).toBe(0);
  });
  it('that ends says why', () => {
    const kicked = readPresence(presence(`<x xmlns='${MUC_USER}'><item role='none'><actor nick='mod'/><reason>noise</reason></item><status code='307'/></x>`, `type='unavailable'`))!;
    expect(kicked).toMatchObject({ isGone: true, actor: 'mod', reason: 'noise', statuses: ['307'] });
    const over = readPresence(presence(`<x xmlns='${MUC_USER}'><item role='none'/><destroy jid='r@c'><reason>over</reason></destroy></x>`, `type='unavailable'`))!;
    expect(over.destroyed).toEqual({ reason: 'over', jid: 'r@c' });
  });
  it('of the focus carries the properties of the conference', () => {
    const p = readPresence(presence(`<conference-properties xmlns='http://jitsi.org/protocol/focus'><property key='visitor-count' value='12'/></conference-properties>`))!;
    expect(p.properties).toEqual({ 'visitor-count': '12' });
  });
  it('broken source information is no information', () => {
    expect(readSources('{', 'a')).toEqual({});
    expect(readSources('[]', 'a')).toEqual({});
  });
  it('that is sent carries everything each time', () => {
    const all = ownExtensions({ name: 'Ann', hand: 5, sources: { 'a-v1': { muted: true, videoType: 'desktop' } }, codecs: ['vp8', 'vp9'] });
    const of = (name: string) => text(all.find((e) => e.nodeName.toLowerCase() === name.toLowerCase()));
    expect(of('SourceInfo')).toBe('{"a-v1":{"muted":true,"videoType":"desktop"}}');
    expect(of('jitsi_participant_codecList')).toBe('vp8,vp9');
    expect(of('jitsi_participant_raisedHand')).toBe('5');
    expect(of('nick')).toBe('Ann');
  });
  it('errors are told apart', () => {
    const refusal = (inner: string) => readRefusal(presence(`<error type='x'>${inner}</error>`, `type='error'`)).kind;
    const S = `xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'`;
    expect(refusal(`<not-authorized ${S}/>`)).toBe('password');
    expect(refusal(`<registration-required ${S}/>`)).toBe('members-only');
    expect(refusal(`<service-unavailable ${S}/>`)).toBe('full');
    expect(refusal(`<not-allowed ${S}/><no-main-participants xmlns='jitsi:visitors'/>`)).toBe('nobody-on-stage');
    expect(refusal(`<not-allowed ${S}/><text ${S}>Room creation is restricted</text>`)).toBe('again');
    expect(refusal(`<not-allowed ${S}/>`)).toBe('refused');
  });
});

describe('messages', () => {
  const read = (inner: string, attributes = `type='groupchat'`) =>
    readMessage(parse(`<message xmlns='jabber:client' from='town@muc.x/ab12' id='m1' ${attributes}>${inner}</message>`)!, 1000, () => 'new');
  it('of the audience say so and bear a name', () => {
    expect(read(`<body>hi</body><display-name xmlns='http://jitsi.org/protocol/display-name' source='visitor'>Vic</display-name>`)).toEqual({
      kind: 'chat',
      message: { id: 'm1', from: 'ab12', name: 'Vic', isVisitor: true, body: 'hi', isPrivate: false, replyTo: 'town@muc.x/ab12', at: 1000, isHistory: false },
    });
  });
  it('that are private are answered where they came from', () => {
    const m = read(`<body>psst</body><addresses xmlns='http://jabber.org/protocol/address'><address type='ofrom' jid='town@muc.v1/zz'/></addresses>`, `type='chat'`);
    expect(m).toMatchObject({ kind: 'chat', message: { isPrivate: true, replyTo: 'town@muc.v1/zz' } });
  });
  it('of the past have their time', () => {
    expect(read(`<body>old</body><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>`)).toMatchObject({ message: { at: 1767225600000, isHistory: true } });
  });
  it('in JSON need a type and are not of the past', () => {
    const json = (v: string, more = '') => read(`<json-message xmlns='http://jitsi.org/jitmeet'>${v}</json-message>${more}`);
    expect(json('{"type":"visitors"}')).toMatchObject({ kind: 'json', value: { type: 'visitors' } });
    expect(json('{"a":1}')).toBeUndefined();
    expect(json('nonsense')).toBeUndefined();
    expect(json('{"type":"x"}', `<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>`)).toBeUndefined();
  });
  it('tell of a changed configuration, and of errors in words', () => {
    expect(read(`<x xmlns='${MUC_USER}'><status code='104'/></x>`)).toEqual({ kind: 'configuration' });
    expect(read(`<error type='wait'><text>slow down</text></error>`, `type='error'`)).toEqual({ kind: 'error', words: 'slow down' });
  });
});

describe('STOMP', () => {
  it('frames are written and read', () => {
    const f = { command: 'SUBSCRIBE', headers: { destination: '/a:b\n', id: '0' }, body: '' };
    expect(writeFrame(f)).toBe('SUBSCRIBE\ndestination:/a\\cb\\n\nid:0\n\n\0');
    expect(readFrame(writeFrame(f))).toEqual(f);
  });
  it('the first of several headers counts; heart-beats are nothing', () => {
    expect(readFrame('MESSAGE\r\na:1\r\na:2\r\n\r\n{"x":1}\0')).toEqual({ command: 'MESSAGE', headers: { a: '1' }, body: '{"x":1}' });
    expect(readFrame('\n')).toBeUndefined();
  });
});
