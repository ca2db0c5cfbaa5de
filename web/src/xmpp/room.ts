// One room of a stream: joining, who is there, chat, moderation (spec/client.md 10, 13, 14, 15). Media sessions are handed on
// as they come.

import { Emitter } from '../emitter';
import { NODE, discoElement } from './caps';
import { bare, host, resource } from './jid';
import { type ChatMessage, isFrom, readMessage } from './messages';
import * as ns from './ns';
import { type JoinRefusal, type Occupant, type Own, ownExtensions, readPresence, readRefusal } from './presence';
import type { Stream } from './stream';
import { attr, child, children, nameOf, text, x } from './xml';

export interface RoomInfo {
  meetingId: string;
  createdAt: number;
  isLocked: boolean;
  isMembersOnly: boolean;
  /** Address of the lobby, if there is one. */
  lobby?: string;
  visitorsEnabled: boolean;
}

type Events = {
  occupant: [Occupant, Occupant | undefined];
  gone: [Occupant, string | undefined];
  /** The room's own properties, told by the focus. */
  properties: [Record<string, string>];
  chat: [ChatMessage];
  json: [Record<string, unknown>, string];
  subject: [string];
  info: [RoomInfo];
  notice: [string];
  kicked: [string | undefined, string | undefined];
  destroyed: [string];
  focusGone: [];
  jingle: [Element, Element];
  promotion: [{ allowed: boolean; username: string; focusJid?: string }];
  muted: ['audio' | 'video' | 'desktop', string];
};

export class JoinError extends Error {
  constructor(readonly refusal: JoinRefusal) {
    super(refusal.kind);
  }
}

const JOIN_PATIENCE = 60_000;

export class Room extends Emitter<Events> {
  readonly occupants = new Map<string, Occupant>();
  /** Addresses of components by the type of service. */
  readonly services = new Map<string, string>();
  readonly focusJids = new Set<string>();
  private joined = false;
  private left = false;
  private pending?: { resolve: (o: Occupant) => void; reject: (e: Error) => void };
  private queued = false;
  private metadata: Record<string, unknown> = {};
  private off: () => void;

  constructor(
    readonly stream: Stream,
    readonly jid: string,
    readonly nick: string,
    readonly own: Own,
    /** The same as in the conference request: the seat that was kept is found by it. */
    private readonly machineUid: string,
  ) {
    super();
    this.off = stream.on('stanza', (s) => this.handle(s));
  }

  get me(): string {
    return `${this.jid}/${this.nick}`;
  }

  /** Asks the host for its services, unless it has told them (spec/client.md 6). */
  async discover(domain: string): Promise<void> {
    if (this.services.size > 0) return;
    const answer = await this.stream.iq('get', domain, x('query', { xmlns: ns.DISCO_INFO }));
    this.readServices(child(answer, 'query', ns.DISCO_INFO));
  }

  readServices(query: Element | undefined): void {
    for (const identity of children(query ?? x('query'), 'identity')) {
      const type = attr(identity, 'type');
      const name = attr(identity, 'name');
      if (type && name) this.services.set(type, name);
    }
  }

  join(password?: string): Promise<Occupant> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('The room does not answer.')), JOIN_PATIENCE);
      this.pending = {
        resolve: (o) => (clearTimeout(timer), resolve(o)),
        reject: (e) => (clearTimeout(timer), reject(e)),
      };
      this.presence(
        x('x', { xmlns: ns.MUC }, x('billingid', {}, this.machineUid), password ? x('password', {}, password) : null),
      );
    });
  }

  /** Tells the room what changed of this client; several changes at once become one presence. */
  update(change: Partial<Own>): void {
    Object.assign(this.own, change);
    if (!this.joined || this.queued) return;
    this.queued = true;
    queueMicrotask(() => {
      this.queued = false;
      if (this.joined && !this.left) this.presence();
    });
  }

  private presence(first?: Element): void {
    this.stream.send(x('presence', { xmlns: ns.CLIENT, to: this.me }, first ?? null, ...ownExtensions(this.own)));
  }

  leave(): void {
    if (this.left) return;
    this.left = true;
    this.off();
    this.stream.send(x('presence', { xmlns: ns.CLIENT, to: this.me, type: 'unavailable' }));
    this.clear();
  }

  async info(): Promise<RoomInfo | undefined> {
    const answer = await this.stream.iq('get', this.jid, x('query', { xmlns: ns.DISCO_INFO })).catch(() => undefined);
    const query = answer && child(answer, 'query', ns.DISCO_INFO);
    if (!query) return undefined;
    const features = children(query, 'feature').map((f) => attr(f, 'var'));
    const fields = new Map(
      children(child(query, 'x', ns.DATA) ?? query, 'field').map((f) => [attr(f, 'var') ?? '', text(child(f, 'value'))]),
    );
    const info = {
      meetingId: fields.get('muc#roominfo_meetingId') ?? '',
      createdAt: Number(fields.get('muc#roominfo_created_timestamp')) || Date.now(),
      isLocked: features.includes('muc_passwordprotected'),
      isMembersOnly: features.includes('muc_membersonly'),
      lobby: fields.get('muc#roominfo_lobbyroom') || undefined,
      visitorsEnabled: fields.get('muc#roominfo_visitorsEnabled') === '1',
    };
    this.emit('info', info);
    return info;
  }

  // ---- what people do ---------------------------------------------------------------------------------------------------

  say(body: string): void {
    this.message('groupchat', this.jid, x('body', {}, body));
  }

  whisper(to: string, body: string): string {
    return this.message('chat', to, x('body', {}, body));
  }

  private message(type: string, to: string, payload: Element): string {
    const id = this.stream.id();
    this.stream.send(x('message', { xmlns: ns.CLIENT, type, to, id }, payload));
    return id;
  }

  private broadcastJson(value: Record<string, unknown>): void {
    this.message('groupchat', this.jid, x('json-message', { xmlns: ns.JITMEET }, JSON.stringify(value)));
  }

  answerHands(ids: string[], approved: boolean): void {
    const [id] = ids;
    if (id === undefined) return;
    this.broadcastJson({
      type: 'visitors',
      action: 'promotion-response',
      approved,
      ...(ids.length === 1 ? { id } : { ids }),
    });
  }

  demote(id: string): void {
    this.broadcastJson({ type: 'visitors', action: 'demote-request', id, actor: this.nick });
  }

  async kick(id: string, reason: string): Promise<void> {
    const item = x('item', { nick: id, role: 'none' }, x('reason', {}, reason));
    await this.stream.iq('set', this.jid, x('query', { xmlns: ns.MUC_ADMIN }, item));
  }

  async grantModerator(occupant: Occupant): Promise<void> {
    if (!occupant.jid) return;
    const item = x('item', { jid: bare(occupant.jid), affiliation: 'owner' });
    await this.stream.iq('set', this.jid, x('query', { xmlns: ns.MUC_ADMIN }, item));
  }

  async mute(id: string, kind: 'audio' | 'video' | 'desktop'): Promise<void> {
    const mute = x('mute', { xmlns: `${ns.JITMEET}/${kind}`, jid: `${this.jid}/${id}` }, 'true');
    await this.stream.iq('set', `${this.jid}/focus`, mute);
  }

  private async configure(...fields: [name: string, value: string][]): Promise<void> {
    const all = [['FORM_TYPE', 'http://jabber.org/protocol/muc#roomconfig'], ...fields, ['muc#roomconfig_whois', 'anyone']];
    const form = x('x', { xmlns: ns.DATA, type: 'submit' }, ...all.map(([name, value]) => x('field', { var: name }, x('value', {}, value))));
    await this.stream.iq('set', this.jid, x('query', { xmlns: ns.MUC_OWNER }, form));
  }

  setPassword(password: string): Promise<void> {
    return this.configure(['muc#roomconfig_passwordprotectedroom', password ? '1' : '0'], ['muc#roomconfig_roomsecret', password]);
  }

  /** Opens the lobby, or closes it. */
  setMembersOnly(on: boolean): Promise<void> {
    return this.configure(['muc#roomconfig_membersonly', on ? '1' : '0']);
  }

  /** Whether the audience is let in. */
  setLive(live: boolean): void {
    const to = this.services.get('room_metadata');
    if (!to) return;
    const before = typeof this.metadata.visitors === 'object' ? this.metadata.visitors : {};
    const value = { key: 'visitors', data: { ...before, live }, type: 'room_metadata' };
    const payload = x('room_metadata', { xmlns: ns.JITMEET, room: this.jid }, JSON.stringify(value));
    this.stream.send(x('message', { xmlns: ns.CLIENT, to, id: this.stream.id() }, payload));
  }

  /** Ends the meeting for everybody. */
  async end(): Promise<void> {
    const component = this.services.get('end_conference');
    if (component) {
      this.stream.send(x('message', { xmlns: ns.CLIENT, to: component, id: this.stream.id() }, x('end_conference', { xmlns: ns.JITMEET })));
      return;
    }
    const destroy = x('destroy', {}, x('reason', {}, 'The host has ended the meeting.'));
    await this.stream.iq('set', this.jid, x('query', { xmlns: ns.MUC_OWNER }, destroy));
  }

  // ---- what comes -------------------------------------------------------------------------------------------------------

  private handle(stanza: Element): void {
    const name = nameOf(stanza);
    const from = attr(stanza, 'from') ?? '';
    if (name === 'presence' && isFrom(stanza, this.jid)) this.handlePresence(stanza, from);
    else if (name === 'message') this.handleMessage(stanza, from);
    else if (name === 'iq') this.handleIq(stanza, from);
  }

  private handlePresence(stanza: Element, from: string): void {
    if (attr(stanza, 'type') === 'error') {
      if (this.joined) return this.emit('notice', 'The room refused a change.');
      this.pending?.reject(new JoinError(readRefusal(stanza)));
      this.pending = undefined;
      return;
    }
    const p = readPresence(stanza);
    if (!p || p.ignored) return;
    const isMe = from === this.me || p.statuses.includes('110');
    if (p.isGone) return this.handleGone(p, isMe);
    const { occupant } = p;
    if (occupant.id === 'focus') {
      const isTrusted = this.focusJids.size === 0 || (occupant.jid && this.focusJids.has(bare(occupant.jid)));
      if (isTrusted) {
        if (this.focusJids.size === 0 && occupant.jid) this.focusJids.add(bare(occupant.jid));
        this.occupants.set('focus', occupant);
        if (p.properties) this.emit('properties', p.properties);
      }
      return;
    }
    const before = this.occupants.get(occupant.id);
    this.occupants.set(occupant.id, occupant);
    if (isMe && this.pending) {
      this.joined = true;
      this.pending.resolve(occupant);
      this.pending = undefined;
      void this.info();
    }
    this.emit('occupant', occupant, before);
  }

  private handleGone(p: NonNullable<ReturnType<typeof readPresence>>, isMe: boolean): void {
    const { id } = p.occupant;
    if (p.destroyed && isMe) return this.emit('destroyed', p.destroyed.reason);
    if (isMe) {
      if (!this.left) this.emit('kicked', p.actor, p.reason);
      return;
    }
    const known = this.occupants.get(id);
    if (!this.occupants.delete(id)) return;
    if (id === 'focus') this.emit('focusGone');
    else if (known) this.emit('gone', known, p.statuses.includes('307') ? 'kicked' : p.reason);
  }

  private handleMessage(stanza: Element, from: string): void {
    const fromRoom = isFrom(stanza, this.jid);
    const pushed = child(stanza, 'query', ns.DISCO_INFO);
    if (pushed && from === host(this.stream.jid)) return this.readServices(pushed);
    const isService = [...this.services.values()].includes(from);
    const isOfRoom = fromRoom || child(stanza, 'addresses', ns.ADDRESSES) !== undefined || child(stanza, 'display-name', ns.DISPLAY_NAME) !== undefined;
    if (!isOfRoom && !isService) return;
    const message = readMessage(stanza, Date.now(), () => this.stream.id());
    switch (message?.kind) {
      case 'chat':
        return this.emit('chat', message.message);
      case 'json':
        if (message.value.type === 'room_metadata') this.readMetadata(message.value);
        return this.emit('json', message.value, isService ? 'service' : resource(message.from));
      case 'subject':
        return this.emit('subject', message.subject);
      case 'configuration':
        return void this.info();
      case 'error':
        return this.emit('notice', message.words);
    }
  }

  private readMetadata(value: Record<string, unknown>): void {
    const metadata = value.metadata;
    if (typeof metadata === 'object' && metadata !== null) this.metadata = { ...(metadata as Record<string, unknown>) };
  }

  private handleIq(stanza: Element, from: string): void {
    const query = child(stanza, 'query', ns.DISCO_INFO);
    const node = attr(query, 'node');
    if (query && attr(stanza, 'type') === 'get') {
      if (node && !node.startsWith(NODE)) return this.stream.refuse(stanza, 'item-not-found');
      return this.stream.reply(stanza, discoElement(node));
    }
    if (child(stanza, 'ping', ns.PING)) return this.stream.reply(stanza);
    const visitors = child(stanza, 'visitors', ns.VISITORS);
    if (visitors && from === this.jid) {
      const response = child(visitors, 'promotion-response');
      if (!response) return;
      const allowed = attr(response, 'allow')?.toLowerCase() === 'true';
      // This IQ is not answered (spec/client.md 15.3).
      return this.emit('promotion', {
        allowed,
        username: attr(response, 'username') ?? '',
        focusJid: attr(visitors, 'focusjid'),
      });
    }
    const jingle = child(stanza, 'jingle', ns.JINGLE);
    if (jingle) {
      const focus = this.occupants.get('focus');
      const isFocus = from === `${this.jid}/focus` && focus !== undefined;
      return isFocus ? this.emit('jingle', stanza, jingle) : this.stream.refuse(stanza, 'service-unavailable');
    }
    for (const kind of ['audio', 'video', 'desktop'] as const) {
      const mute = child(stanza, 'mute', `${ns.JITMEET}/${kind}`);
      if (mute && from === `${this.jid}/focus` && text(mute) === 'true') {
        this.stream.reply(stanza);
        return this.emit('muted', kind, resource(attr(mute, 'actor') ?? ''));
      }
    }
    this.stream.refuse(stanza, 'service-unavailable');
  }

  /** Whether the metadata says that the audience is let in; nothing if it does not say. */
  get live(): boolean | undefined {
    const visitors = this.metadata.visitors as Record<string, unknown> | undefined;
    return typeof visitors?.live === 'boolean' ? visitors.live : undefined;
  }

  /** TURN servers from the metadata. */
  get turn(): RTCIceServer[] {
    const all = Array.isArray(this.metadata.services) ? (this.metadata.services as Record<string, unknown>[]) : [];
    return all.flatMap((s) => {
      const { type, host: name, port, transport, username, password } = s as Record<string, string>;
      if (!name || !/^(stun|turn|turns)$/.test(type ?? '')) return [];
      const urls = `${type}:${name}${port ? `:${port}` : ''}${type !== 'stun' && transport ? `?transport=${transport}` : ''}`;
      return [{ urls, username, credential: password }];
    });
  }
}
