// A person's way through a meeting: asking, waiting, the stage, the audience, moving between them, reconnecting. Holds the
// stream and the room, and writes `MeetingState` with the parts beside it: chat, hands, media, the foyer.

import { type Config, roomNode } from '../config';
import type { View } from '../media/constraints';
import { LocalMedia, remember } from '../media/devices';
import { nickOf } from '../xmpp/jid';
import type { JoinRefusal, Occupant, Own } from '../xmpp/presence';
import { type Admission, RequestError, pause } from '../xmpp/request';
import { LobbyRoom } from '../xmpp/lobby';
import { JoinError, Room } from '../xmpp/room';
import { Stream } from '../xmpp/stream';
import { Chat } from './chat';
import { Doorway, type Entry, Overtaken, machineUid, wordsOf } from './entry';
import { Foyer } from './foyer';
import { Hands } from './hands';
import { Lobby } from './lobby';
import { Media } from './media';
import { Moderation } from './moderation';
import { forgetSeat, keepSeat, seatOf } from './seat';
import { MeetingState, type Phase } from './state';

const FOCUS_PATIENCE = 2_000;
/** Most time over which a crowd whose node is lost comes back. */
const SPREAD = 1_500;

export class Meeting {
  readonly state = new MeetingState();
  readonly local = new LocalMedia();
  readonly moderation: Moderation;
  readonly lobby: Lobby;
  private readonly chat: Chat;
  private readonly hands: Hands;
  private readonly media: Media;
  private readonly foyer: Foyer;
  private readonly doorway: Doorway;
  private stream?: Stream;
  private room?: Room;
  private generation = 0;
  private abort?: AbortController;
  private password?: string;
  private nextNotice = 1;
  private retries = 0;
  private meetingId = '';
  private vnode?: string;
  private lobbyJid?: string;

  constructor(
    private readonly config: Config,
    readonly roomName: string,
    private readonly tenant: string,
    private readonly token?: string,
  ) {
    const { state, local } = this;
    const tell = (words: string, tone?: 'plain' | 'good' | 'bad') => this.tell(words, tone);
    this.chat = new Chat(state);
    this.hands = new Hands(state, tell);
    this.media = new Media(state, local, config, tell);
    this.foyer = new Foyer(state, config.ws, token);
    this.moderation = new Moderation(state, () => this.room, tell);
    this.lobby = new Lobby(state, () => this.room, tell);
    this.doorway = new Doorway({ config, roomJid: this.roomJid, roomName, tenant, token });
    addEventListener('pagehide', () => {
      this.rememberSeat();
      this.stream?.close();
    });
    // A page that the browser kept and shows again has lost its stream.
    addEventListener('pageshow', (e) => e.persisted && location.reload());
    addEventListener('offline', () => (state.isOffline.value = true));
    addEventListener('online', () => (state.isOffline.value = false));
  }

  get roomJid(): string {
    return `${roomNode(this.roomName)}@${this.mucOf(this.config.domain)}`;
  }

  private mucOf(domain: string): string {
    const muc = this.config.muc.replace(this.config.domain, domain);
    if (!this.tenant) return muc;
    const at = muc.indexOf('.');
    return `${muc.slice(0, at)}.${this.tenant.replaceAll('.', '_')}${muc.slice(at)}`;
  }

  // ---- coming and going -------------------------------------------------------------------------------------------------

  join(name: string, asVisitor = false): void {
    this.state.myName.value = name.trim();
    remember('name', name.trim());
    void this.enter({ visitor: asVisitor });
  }

  /** Comes back to the seat that was left by reloading the page, if there was one. */
  comeBack(): void {
    const seat = seatOf(this.roomName);
    forgetSeat();
    if (!seat) return;
    this.state.myName.value = seat.name;
    this.password = seat.password;
    void this.enter({ visitor: seat.isAudience, hand: seat.hand });
    if (seat.isAudience) return;
    if (seat.microphone) void this.local.setMicrophone(true);
    if (seat.camera) void this.local.setCamera(true);
  }

  private rememberSeat(): void {
    const { state: s, local } = this;
    const { kind } = s.phase.peek();
    if (kind !== 'meeting' && kind !== 'joining' && kind !== 'waiting' && kind !== 'knocking') return;
    keepSeat({
      room: this.roomName,
      name: s.myName.peek(),
      isAudience: kind === 'waiting' || s.role.peek() === 'audience',
      microphone: local.isMicOn.peek(),
      camera: local.isCameraOn.peek(),
      hand: s.myHand.peek() > 0,
      password: this.password,
    });
  }

  retryWithPassword(password: string): void {
    this.password = password;
    void this.enter({});
  }

  leave(): void {
    this.local.stop();
    this.end({ title: 'You left the meeting', words: '', canReturn: true });
  }

  rejoin(): void {
    this.state.phase.value = { kind: 'lobby' };
  }

  private end(how: Omit<Extract<Phase, { kind: 'ended' }>, 'kind'>): void {
    this.close();
    this.state.transition.value = null;
    this.state.invitation.value = null;
    this.state.phase.value = { kind: 'ended', ...how };
  }

  /** The host has ended the meeting for everybody. */
  private over(words = ''): void {
    this.local.stop();
    this.end({ title: 'The meeting has ended', words, canReturn: false });
  }

  private close(): void {
    this.generation++;
    this.abort?.abort();
    this.foyer.close();
    this.lobby.close();
    this.lobbyJid = undefined;
    this.media.detach();
    this.room?.leave();
    this.room = undefined;
    this.meetingId = '';
    const { stream } = this;
    this.stream = undefined;
    stream?.clear();
    stream?.close();
    this.state.clearRoom();
  }

  private async enter(entry: Entry, given?: Admission): Promise<void> {
    this.close();
    const mine = this.generation;
    const abort = (this.abort = new AbortController());
    const alive = () => {
      if (mine !== this.generation) throw new Overtaken();
    };
    const say = (words: string) => {
      if (entry.within) this.state.transition.value = words;
      else this.state.phase.value = { kind: 'joining', words };
    };
    say(entry.within ?? 'Joining the meeting');
    try {
      const place = given ?? (entry.invited ? undefined : await this.doorway.enter(entry, alive, abort.signal, say));
      if (place && !place.live) return this.wait(entry);
      alive();
      await this.arrive(place, entry, alive);
      alive();
      this.retries = 0;
      this.state.transition.value = null;
      this.state.phase.value = { kind: 'meeting' };
    } catch (error) {
      if (error instanceof Overtaken || mine !== this.generation || abort.signal.aborted) return;
      this.failed(error, entry);
    }
  }

  private async arrive(place: Admission | undefined, entry: Entry, alive: () => void): Promise<void> {
    const { vnode } = place ?? {};
    const domain = vnode ? `${vnode}.meet.jitsi` : this.config.domain;
    const query = new URLSearchParams();
    if (vnode) query.set('vnode', vnode);
    if (entry.invited) query.set('customusername', entry.invited.username);
    query.set('room', this.roomName);
    if (this.token) query.set('token', this.token);
    const path = this.tenant ? `/${encodeURIComponent(this.tenant)}` : '';
    const stream = new Stream({ url: `${this.config.ws}${path}/xmpp-websocket?${query}`, domain });
    this.stream = stream;
    this.vnode = vnode;
    // What is told before the room is known: the services, and the room's metadata.
    const early: Element[] = [];
    const stopListening = stream.on('stanza', (s) => void early.push(s));
    await stream.open();
    stopListening();
    alive();
    const jid = `${roomNode(this.roomName)}@${this.mucOf(domain)}`;
    const own: Own = { name: this.state.myName.peek(), hand: 0, sources: {}, codecs: this.config.codecs };
    const room = new Room(stream, jid, nickOf(stream.jid), own, machineUid());
    this.room = room;
    const focus = entry.invited ? entry.invited.focusJid : place?.focusJid;
    if (focus) room.focusJids.add(focus.split('/')[0] ?? focus);
    this.state.role.value = vnode ? 'audience' : 'stage';
    if (vnode) this.local.stop();
    this.listen(stream, room, entry);
    early.forEach((s) => stream.emit('stanza', s));
    const services = room.discover(domain).catch(() => undefined);
    const me = await this.joinRoom(room).catch((error: unknown) => this.knock(room, error, alive));
    alive();
    this.state.me.value = me;
    await services;
    alive();
    this.watchFoyer();
    this.lobby.watch(this.lobbyJid);
    if (entry.hand) this.hands.set(room, true);
  }

  private async joinRoom(room: Room): Promise<Occupant> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await room.join(this.password);
      } catch (error) {
        const again = error instanceof JoinError && error.refusal.kind === 'again' && attempt < 3;
        if (!again) throw error;
        await new Promise((resolve) => setTimeout(resolve, 500 * (attempt + 1)));
      }
    }
  }

  /** Waits in the lobby, if that is why the room refused, and comes in when a moderator says so. */
  private async knock(room: Room, error: unknown, alive: () => void): Promise<Occupant> {
    const address = error instanceof JoinError && error.refusal.kind === 'members-only' && error.refusal.lobby;
    if (!address) throw error;
    alive();
    const { state } = this;
    state.transition.value = null;
    // With the right password this one would be in.
    state.phase.value = { kind: 'knocking', wasWrong: this.password !== undefined };
    this.password = undefined;
    await new LobbyRoom(room.stream, address, room.nick, room.jid).knock(state.myName.peek());
    alive();
    state.phase.value = { kind: 'joining', words: 'You are let in' };
    return this.joinRoom(room);
  }

  private failed(error: unknown, entry: Entry): void {
    this.close();
    if (error instanceof JoinError) return this.refused(error.refusal, entry);
    if (error instanceof RequestError && error.kind === 'ended') return this.over();
    if (error instanceof RequestError && error.kind !== 'unreachable') {
      return this.end({ title: error.kind === 'login' ? 'A login is needed' : 'You cannot join', words: error.message, canReturn: true });
    }
    const wasIn = entry.within !== undefined;
    if (this.retries < (wasIn ? 20 : 3)) {
      const words = wasIn ? 'Connection lost. Reconnecting' : 'The server does not answer. Trying again';
      if (wasIn) this.state.transition.value = words;
      else this.state.phase.value = { kind: 'joining', words };
      const mine = this.generation;
      setTimeout(() => mine === this.generation && void this.enter({ ...entry, invited: undefined }), pause(this.retries++, Math.random, 10_000));
      return;
    }
    const words = error instanceof Error ? error.message : String(error);
    this.end({ title: 'The meeting is out of reach', words, canReturn: true });
  }

  private refused(refusal: JoinRefusal, entry: Entry): void {
    switch (refusal.kind) {
      case 'password':
        this.state.transition.value = null;
        this.state.phase.value = { kind: 'password', wasWrong: this.password !== undefined };
        return;
      case 'full':
        if (!entry.visitor) return void this.enter({ ...entry, invited: undefined, visitor: true });
        break;
      case 'nobody-on-stage':
        return this.wait(entry);
      case 'over':
        return this.over();
      case 'promotion-refused':
        return void this.enter({ visitor: true, within: 'Back to the audience' });
    }
    const [title, words] = wordsOf(refusal) ?? ['You cannot join', ''];
    this.end({ title, words, canReturn: true });
  }

  /** Waits until the meeting is live (spec/client.md 15.1). */
  private wait(entry: Entry): void {
    this.close();
    this.local.stop();
    this.state.transition.value = null;
    this.state.phase.value = { kind: 'waiting', returning: false };
    const mine = this.generation;
    this.foyer.wait(this.roomJid, () => mine === this.generation && void this.enter({ ...entry, within: undefined }));
  }

  // ---- being there --------------------------------------------------------------------------------------------------------

  private listen(stream: Stream, room: Room, entry: Entry): void {
    const s = this.state;
    stream.on('broken', () => (s.link.value = 'broken'));
    stream.on('resumed', () => (s.link.value = 'good'));
    stream.on('lost', () => this.again('Connection lost. Reconnecting'));
    stream.on('unanswered', () => void this.lookForAnotherNode(stream));
    this.media.attach(room);
    room.on('occupant', (o, before) => {
      s.people.value = new Map(s.people.peek()).set(o.id, o);
      if (o.id === room.nick) {
        s.me.value = o;
        // Whoever comes first is made moderator in any case; that goes without saying.
        if (before && before.role !== 'moderator' && o.role === 'moderator' && s.people.peek().size > 1) {
          this.tell('You are a moderator now.', 'good');
        }
        this.watchFoyer();
        this.lobby.watch(this.lobbyJid);
      }
      if (o.hand && o.hand !== before?.hand && o.id !== room.nick) this.tell(`${o.name || 'Guest'} raised a hand.`);
    });
    room.on('gone', (o) => {
      const people = new Map(s.people.peek());
      people.delete(o.id);
      s.people.value = people;
      if (s.pinned.peek()?.startsWith(`${o.id}-`)) s.pinned.value = null;
      if (s.speaker.peek() === o.id) s.speaker.value = null;
    });
    room.on('properties', (p) => {
      if (p['visitor-count'] !== undefined) s.audience.value = Number(p['visitor-count']) || 0;
    });
    room.on('subject', (subject) => (s.subject.value = subject));
    room.on('info', (info) => {
      s.isLocked.value = info.isLocked;
      s.hasLobby.value = info.lobby !== undefined;
      this.lobbyJid = info.lobby;
      this.lobby.watch(info.lobby);
      s.createdAt.value = info.createdAt;
      s.visitorsEnabled.value = info.visitorsEnabled;
      if (entry.meeting && info.meetingId && entry.meeting !== info.meetingId) this.tell('This is a new meeting: the one before has ended, or the server was restarted.');
      entry.meeting = undefined;
      this.meetingId = info.meetingId;
      this.watchFoyer();
    });
    room.on('notice', (words) => this.tell(words, 'bad'));
    room.on('chat', (m) => this.chat.hear(room, m));
    room.on('json', (value, from) => this.handleJson(room, value, from));
    room.on('promotion', (p) => this.hands.decided(room, p));
    room.on('kicked', (actor, reason) => {
      const who = actor ? s.nameOf(actor) : 'the host';
      this.local.stop();
      this.end({ title: 'You were removed', words: reason || `${who} removed you from the meeting.`, canReturn: true });
    });
    room.on('destroyed', (reason) => this.over(reason === this.roomJid ? '' : reason));
    room.on('focusGone', () => {
      // It may come back, or the end of the meeting may be on its way.
      const mine = this.generation;
      const back = () => {
        if (mine !== this.generation || room.occupants.has('focus')) return;
        this.again('The meeting moves. Reconnecting');
      };
      setTimeout(back, FOCUS_PATIENCE * (1 + Math.random()));
    });
    room.on('muted', (kind, actor) => {
      const who = actor ? s.nameOf(actor) : 'The host';
      if (kind === 'audio') void this.local.setMicrophone(false);
      else if (kind === 'video') void this.local.setCamera(false);
      else void this.local.setScreen(false);
      const what = { audio: 'muted you', video: 'turned your camera off', desktop: 'ended your screen share' }[kind];
      this.tell(`${who} ${what}.`);
    });
  }

  /** Comes in again, to the same role and with what was asked for. */
  private again(words: string, given?: Admission): void {
    const s = this.state;
    const isAudience = s.role.peek() === 'audience';
    const hand = isAudience && s.myHand.peek() > 0;
    void this.enter({ visitor: isAudience, within: words, hand, meeting: this.meetingId || undefined }, given);
  }

  /** A node of the audience does not answer: perhaps the focus knows a better one. A crowd asks one after another. */
  private async lookForAnotherNode(stream: Stream): Promise<void> {
    const { vnode } = this;
    const mine = this.generation;
    if (!vnode || this.isLooking) return;
    this.isLooking = true;
    try {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * SPREAD));
      const isNeeded = () => mine === this.generation && this.stream === stream && stream.isBroken;
      if (!isNeeded()) return;
      const place = await this.doorway.ask({ visitor: true }).catch(() => undefined);
      if (place?.ready && place.vnode !== vnode && isNeeded()) this.again('Moving to another node', place);
    } finally {
      this.isLooking = false;
    }
  }

  private isLooking = false;

  private handleJson(room: Room, value: Record<string, unknown>, from: string): void {
    const s = this.state;
    if (value.type === 'room_metadata') {
      s.isLive.value = room.live ?? true;
      return this.watchFoyer();
    }
    if (value.type === 'system_chat_message' && typeof value.message === 'string') {
      return this.chat.announce(value.message, String(value.displayName ?? 'System'));
    }
    if (value.type === 'visitor-place' && from === '') {
      if (s.myHand.peek()) s.myPlace.value = Number(value.place) || 0;
      return;
    }
    if (value.type !== 'visitors') return;
    if (value.action === 'promotion-request' && from === 'service' && typeof value.from === 'string') {
      this.hands.asked(value);
    } else if (value.action === 'promotion-response') {
      this.hands.answered(Array.isArray(value.ids) ? value.ids : [value.id]);
    } else if (value.action === 'demote-request' && from === 'service' && value.id === room.nick) {
      this.tell('The host moved you to the audience.');
      this.local.stop();
      void this.enter({ visitor: true, within: 'Moving to the audience', meeting: this.meetingId || undefined });
    }
  }

  private watchFoyer(): void {
    if (!this.room) return;
    this.foyer.watch({ roomJid: this.roomJid, meetingId: this.meetingId, nick: this.room.nick });
  }

  /** Tells the bridge what is shown. */
  show(view: View): void {
    this.media.show(view);
  }

  /** For tests: the connection with the bridge. */
  get peerConnection(): RTCPeerConnection | undefined {
    return this.media.peerConnection;
  }

  /** For tests: the visitor node that this one is on. */
  get node(): string | undefined {
    return this.vnode;
  }

  /** For tests: breaks the socket as a lost network does. */
  interrupt(): void {
    this.stream?.interrupt();
  }

  // ---- what people do ---------------------------------------------------------------------------------------------------

  say(body: string, to?: { jid: string; name: string }): void {
    if (this.room) this.chat.say(this.room, body, to);
  }

  addressOf(id: string): string {
    return `${this.room?.jid ?? ''}/${id}`;
  }

  setHand(up: boolean): void {
    this.hands.set(this.room, up);
  }

  acceptInvitation(): void {
    const invitation = this.state.invitation.peek();
    this.state.invitation.value = null;
    if (invitation) void this.enter({ invited: invitation, within: 'Coming on stage', meeting: this.meetingId || undefined });
  }

  declineInvitation(): void {
    this.state.invitation.value = null;
    this.setHand(false);
  }

  /** Steps down by one's own choice. */
  stepDown(): void {
    this.local.stop();
    void this.enter({ visitor: true, within: 'Moving to the audience', meeting: this.meetingId || undefined });
  }

  setPassword(password: string): void {
    this.password = password || undefined;
    this.moderation.setPassword(password);
  }

  tell(words: string, tone: 'plain' | 'good' | 'bad' = 'plain'): void {
    const { notices } = this.state;
    if (notices.peek().some((n) => n.words === words)) return;
    const id = this.nextNotice++;
    notices.value = [...notices.peek(), { id, words, tone }].slice(-4);
    setTimeout(() => this.dismiss(id), tone === 'bad' ? 8000 : 5000);
  }

  dismiss(id: number): void {
    this.state.notices.value = this.state.notices.peek().filter((n) => n.id !== id);
  }
}
