// A person's way through a meeting: asking, waiting, the stage, the audience, moving between them, reconnecting. Holds the
// stream, the room and the media session, and writes `MeetingState`.

import { effect } from '@preact/signals';
import { type Config, roomNode } from '../config';
import { LocalMedia, remember, remembered } from '../media/devices';
import { readOffer } from '../media/jingle';
import { MediaSession } from '../media/session';
import { type Totals, collect, quality } from '../media/stats';
import type { View } from '../media/constraints';
import { nickOf } from '../xmpp/jid';
import * as ns from '../xmpp/ns';
import type { JoinRefusal, Occupant, Own, SourceState } from '../xmpp/presence';
import { type Admission, RequestError, ask, pause } from '../xmpp/request';
import { JoinError, Room } from '../xmpp/room';
import { StompClient } from '../xmpp/stomp';
import { Stream } from '../xmpp/stream';
import { attr, x } from '../xmpp/xml';
import { AudioSinks } from './audio';
import { MeetingState, type Phase } from './state';

interface Entry {
  /** Wants a seat in the audience. */
  visitor?: boolean;
  /** Was invited on stage. */
  invited?: { username: string; focusJid?: string };
  /** Joins from within the meeting, which stays on the screen. */
  within?: string;
}

/** A way into the meeting that was overtaken by another. */
class Overtaken extends Error {}

const HISTORY = 500;
const INVITATION_MS = 45_000;

export class Meeting {
  readonly state = new MeetingState();
  readonly local = new LocalMedia();
  private stream?: Stream;
  private room?: Room;
  private session?: MediaSession;
  private queue?: StompClient;
  private list?: StompClient;
  private sinks = new AudioSinks();
  private generation = 0;
  private abort?: AbortController;
  private password?: string;
  private sessionId?: string;
  private nextNotice = 1;
  private statsTimer?: ReturnType<typeof setInterval>;
  private totals?: Totals;
  private view?: View;
  private retries = 0;
  private meetingId = '';
  private tracksDirty?: Promise<void>;
  private announced = false;

  constructor(
    private readonly config: Config,
    readonly roomName: string,
    private readonly tenant: string,
    private readonly token?: string,
  ) {
    effect(() => {
      const { microphone, isMicOn, camera, screen } = this.local;
      void [microphone.value, isMicOn.value, camera.value, screen.value];
      void this.syncTracks();
    });
    effect(() => this.sinks.setDevice(this.local.chosen.value.audiooutput));
    effect(() => this.sinks.set(this.state.tracks.value));
    this.sinks.onBlocked = () => this.tell('Click anywhere to hear the meeting.');
    addEventListener('pointerdown', () => this.sinks.resume());
    addEventListener('pagehide', () => this.stream?.close());
    addEventListener('visibilitychange', () => this.view && this.show(this.view));
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

  retryWithPassword(password: string): void {
    this.password = password;
    void this.enter({});
  }

  leave(): void {
    this.close();
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

  private close(): void {
    this.generation++;
    this.abort?.abort();
    this.queue?.close();
    this.list?.close();
    this.queue = this.list = undefined;
    this.dropSession();
    this.room?.leave();
    this.room = undefined;
    const { stream } = this;
    this.stream = undefined;
    stream?.clear();
    stream?.close();
    const s = this.state;
    s.link.value = 'good';
    s.people.value = new Map();
    s.me.value = null;
    s.hands.value = [];
    s.audienceNames.value = new Map();
    s.myHand.value = 0;
    s.speaker.value = null;
    s.pinned.value = null;
  }

  private async enter(entry: Entry): Promise<void> {
    this.close();
    const mine = ++this.generation;
    const abort = (this.abort = new AbortController());
    const alive = () => {
      if (mine !== this.generation) throw new Overtaken();
    };
    if (entry.within) this.state.transition.value = entry.within;
    else this.state.phase.value = { kind: 'joining', words: 'Joining the meeting' };
    try {
      const place = entry.invited ? undefined : await this.admission(entry, alive, abort.signal);
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

  /** Asks until the focus is ready. */
  private async admission(entry: Entry, alive: () => void, signal: AbortSignal): Promise<Admission> {
    for (let attempt = 0; ; attempt++) {
      let answer: Admission | undefined;
      try {
        answer = await ask(
          this.config,
          {
            room: this.roomJid,
            roomName: this.roomName,
            machineUid: machineUid(),
            token: this.token,
            visitor: entry.visitor,
            sessionId: this.sessionId,
          },
          this.tenant,
          signal,
        );
      } catch (error) {
        alive();
        if (error instanceof RequestError && error.kind === 'session' && this.sessionId) this.sessionId = undefined;
        else if (!(error instanceof RequestError && error.kind === 'unreachable') || attempt >= 8) throw error;
      }
      alive();
      if (answer) {
        this.sessionId = answer.sessionId ?? this.sessionId;
        if (answer.ready || !answer.live) return answer;
      }
      if (!entry.within) this.state.phase.value = { kind: 'joining', words: 'The server is busy; you are in line' };
      await new Promise((resolve) => setTimeout(resolve, pause(attempt)));
      alive();
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
    this.announced = false;
    const focus = entry.invited ? entry.invited.focusJid : place?.focusJid;
    if (focus) room.focusJids.add(focus.split('/')[0] ?? focus);
    this.state.role.value = vnode ? 'audience' : 'stage';
    if (vnode) this.local.stop();
    this.listen(stream, room);
    early.forEach((s) => stream.emit('stanza', s));
    const services = room.discover(domain).catch(() => undefined);
    const me = await this.joinRoom(room);
    alive();
    this.state.me.value = me;
    await services;
    alive();
    this.watchState();
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

  private failed(error: unknown, entry: Entry): void {
    this.close();
    if (error instanceof JoinError) return this.refused(error.refusal, entry);
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
    const end = (title: string, words = '') => this.end({ title, words, canReturn: true });
    switch (refusal.kind) {
      case 'password':
        this.state.transition.value = null;
        this.state.phase.value = { kind: 'password', wasWrong: this.password !== undefined };
        return;
      case 'full':
        if (!entry.visitor) return void this.enter({ ...entry, invited: undefined, visitor: true });
        return end('The meeting is full', 'Every seat is taken. Try again in a moment.');
      case 'members-only':
        return end('Members only', 'The host admits known people only. Ask for an invitation.');
      case 'name':
        return end('A name is needed', 'The host wants everybody to have a name.');
      case 'nobody-on-stage':
        return this.wait(entry);
      case 'promotion-refused':
        return void this.enter({ visitor: true, within: 'Back to the audience' });
      case 'no-visitors':
        return end('No audience', 'This meeting takes no audience now.');
      case 'login':
        return end('A login is needed', 'This meeting is for people with an account.');
      case 'again':
        return end('The meeting is not open', 'The host has not opened it yet.');
      case 'refused':
        return end('You cannot join', refusal.words);
    }
  }

  /** Waits until the meeting is live (spec/client.md 15.1). */
  private wait(entry: Entry): void {
    this.close();
    this.local.stop();
    this.state.transition.value = null;
    this.state.phase.value = { kind: 'waiting', returning: false };
    const mine = this.generation;
    const enter = () => mine === this.generation && void this.enter({ ...entry, within: undefined });
    const destination = `/secured/conference/visitor/topic.${this.roomJid}`;
    this.queue = new StompClient(`${this.config.ws}/visitor/websocket`, {
      [destination]: (body) => {
        const b = body as { status?: string; randomDelayMs?: number };
        if (b.status !== 'live' || mine !== this.generation) return;
        this.state.phase.value = { kind: 'waiting', returning: true };
        setTimeout(enter, Math.random() * Math.max(0, b.randomDelayMs ?? 0));
      },
    }, this.token);
  }

  // ---- what the room tells ------------------------------------------------------------------------------------------------

  private listen(stream: Stream, room: Room): void {
    const s = this.state;
    stream.on('broken', () => (s.link.value = 'broken'));
    stream.on('resumed', () => (s.link.value = 'good'));
    stream.on('lost', () => void this.enter({ visitor: s.role.peek() === 'audience', within: 'Connection lost. Reconnecting' }));
    room.on('occupant', (o, before) => {
      s.people.value = new Map(s.people.peek()).set(o.id, o);
      if (o.id === room.nick) {
        s.me.value = o;
        // Whoever comes first is made moderator in any case; that goes without saying.
        if (before && before.role !== 'moderator' && o.role === 'moderator' && s.people.peek().size > 1) {
          this.tell('You are a moderator now.', 'good');
        }
        this.watchState();
      }
      if (o.hand && o.hand !== before?.hand && o.id !== room.nick) this.tell(`${o.name || 'Guest'} raised a hand.`);
    });
    room.on('gone', (o) => {
      const people = new Map(s.people.peek());
      people.delete(o.id);
      s.people.value = people;
      if (s.pinned.peek()?.startsWith(`${o.id}-`)) s.pinned.value = null;
      if (s.speaker.peek() === o.id) s.speaker.value = null;
      if (this.session?.slots.forget(o.id)) this.refreshTracks();
    });
    room.on('properties', (p) => {
      if (p['visitor-count'] !== undefined) s.audience.value = Number(p['visitor-count']) || 0;
    });
    room.on('subject', (subject) => (s.subject.value = subject));
    room.on('info', (info) => {
      s.isLocked.value = info.isLocked;
      s.createdAt.value = info.createdAt;
      s.visitorsEnabled.value = info.visitorsEnabled;
      this.meetingId = info.meetingId;
      this.watchState();
    });
    room.on('notice', (words) => this.tell(words, 'bad'));
    room.on('chat', (m) => {
      if (m.isHistory && s.lines.peek().some((l) => l.id === m.id && l.body === m.body)) return;
      const isMine = m.from === room.nick && !m.isPrivate;
      const author = isMine ? s.myName.peek() || 'You' : (m.name ?? s.nameOf(m.from));
      s.lines.value = [...s.lines.peek(), { ...m, author, isMine }].slice(-HISTORY);
      if (!isMine && !m.isHistory) s.unread.value++;
    });
    room.on('json', (value, from) => this.handleJson(value, from));
    room.on('promotion', (p) => {
      if (p.allowed && p.username) {
        s.invitation.value = { username: p.username, focusJid: p.focusJid, until: Date.now() + INVITATION_MS };
      } else {
        this.setHand(false);
        this.tell('The host cannot take you on stage now.');
      }
    });
    room.on('kicked', (actor, reason) => {
      const who = actor ? s.nameOf(actor) : 'the host';
      this.local.stop();
      this.end({ title: 'You were removed', words: reason || `${who} removed you from the meeting.`, canReturn: true });
    });
    room.on('destroyed', (reason) => {
      this.local.stop();
      this.end({ title: 'The meeting has ended', words: reason === this.roomJid ? '' : reason, canReturn: false });
    });
    room.on('focusGone', () => void this.enter({ visitor: s.role.peek() === 'audience', within: 'The meeting moves. Reconnecting' }));
    room.on('muted', (kind, actor) => {
      const who = actor ? s.nameOf(actor) : 'The host';
      if (kind === 'audio') void this.local.setMicrophone(false);
      else if (kind === 'video') void this.local.setCamera(false);
      else void this.local.setScreen(false);
      const what = { audio: 'muted you', video: 'turned your camera off', desktop: 'ended your screen share' }[kind];
      this.tell(`${who} ${what}.`);
    });
    room.on('jingle', (iq, jingle) => void this.handleJingle(room, stream, iq, jingle));
  }

  private handleJson(value: Record<string, unknown>, from: string): void {
    const s = this.state;
    if (value.type === 'room_metadata') {
      s.isLive.value = this.room?.live ?? true;
      return this.watchState();
    }
    if (value.type === 'system_chat_message' && typeof value.message === 'string') {
      s.lines.value = [
        ...s.lines.peek(),
        { id: `system-${Date.now()}`, from: '', author: String(value.displayName ?? 'System'), body: value.message, isVisitor: false, isPrivate: false, isMine: false, isHistory: false, replyTo: '', at: Date.now() },
      ].slice(-HISTORY);
      s.unread.value++;
      return;
    }
    if (value.type !== 'visitors') return;
    if (value.action === 'promotion-request' && from === 'service' && typeof value.from === 'string') {
      const id = value.from;
      const rest = s.hands.peek().filter((h) => h.id !== id);
      if (value.on === false) s.hands.value = rest;
      else {
        const before = s.hands.peek().find((h) => h.id === id);
        const name = typeof value.nick === 'string' && value.nick ? value.nick : 'Guest';
        if (before) return;
        s.hands.value = [...rest, { id, name, at: Date.now() }];
        this.tell(`${name} asks to come on stage.`);
      }
    } else if (value.action === 'promotion-response') {
      const ids = Array.isArray(value.ids) ? value.ids : [value.id];
      s.hands.value = s.hands.peek().filter((h) => !ids.includes(h.id));
    } else if (value.action === 'demote-request' && from === 'service' && value.id === this.room?.nick) {
      this.tell('The host moved you to the audience.');
      this.local.stop();
      void this.enter({ visitor: true, within: 'Moving to the audience' });
    }
  }

  /** Moderators see how many wait, and who is in the audience. */
  private watchState(): void {
    const s = this.state;
    const isModerator = s.isModerator.peek() && s.role.peek() === 'stage';
    const wantsQueue = isModerator && s.isLive.peek() === false;
    if (wantsQueue && !this.queue) {
      this.queue = new StompClient(`${this.config.ws}/visitor/websocket`, {
        [`/secured/conference/state/topic.${this.roomJid}`]: (body) => {
          s.waiting.value = Number((body as { visitorsWaiting?: unknown }).visitorsWaiting) || 0;
        },
      }, this.token);
    } else if (!wantsQueue && this.queue) {
      this.queue.close();
      this.queue = undefined;
      s.waiting.value = 0;
    }
    if (!isModerator || this.list || !this.meetingId || !this.room) return;
    const change = (entries: unknown) => {
      const names = new Map(s.audienceNames.peek());
      for (const e of Array.isArray(entries) ? (entries as { r?: string; n?: string; s?: string }[]) : []) {
        if (!e.r) continue;
        if (e.s === 'l') names.delete(e.r);
        else names.set(e.r, e.n || 'Guest');
      }
      s.audienceNames.value = names;
    };
    this.list = new StompClient(`${this.config.ws}/visitors-list/websocket`, {
      // Changes first, so that none is missed before the whole list.
      [`/secured/conference/visitors-list/topic/${this.meetingId}`]: change,
      [`/secured/conference/visitors-list/queue/${this.meetingId}/${this.room.nick}`]: change,
    }, this.token);
  }

  // ---- media ------------------------------------------------------------------------------------------------------------

  private async handleJingle(room: Room, stream: Stream, iq: Element, jingle: Element): Promise<void> {
    const sid = attr(jingle, 'sid');
    const action = attr(jingle, 'action');
    if (action === 'session-initiate') {
      let offer;
      try {
        offer = readOffer(jingle);
      } catch (error) {
        console.warn(error);
        return stream.refuse(iq, 'bad-request', 'modify');
      }
      stream.reply(iq);
      this.dropSession();
      const session = new MediaSession({
        offer,
        id: room.nick,
        responder: stream.jid,
        isSending: this.state.role.peek() === 'stage',
        local: this.local,
        codecs: this.config.codecs,
        iceServers: room.turn,
        send: (element) => stream.iq('set', `${room.jid}/focus`, element),
      });
      this.session = session;
      this.watchSession(session);
      try {
        await session.accept();
        if (this.session !== session) return;
        this.announced = true;
        this.announceSources();
        if (this.view) this.show(this.view);
      } catch (error) {
        if (this.session !== session) return;
        console.error(error);
        this.state.media.value = 'broken';
        this.tell('Sound and pictures could not be set up.', 'bad');
      }
      return;
    }
    if (!this.session || !sid) {
      return stream.refuse(iq, 'item-not-found', 'cancel', x('unknown-session', { xmlns: ns.JINGLE_ERRORS }));
    }
    stream.reply(iq);
    if (action === 'session-terminate') this.dropSession();
  }

  private watchSession(session: MediaSession): void {
    const s = this.state;
    s.media.value = 'connecting';
    session.on('state', (state) => {
      s.media.value = state === 'connected' ? 'connected' : state === 'failed' || state === 'disconnected' ? 'broken' : s.media.peek();
    });
    session.on('tracks', () => this.refreshTracks());
    session.on('speaker', (id) => (s.speaker.value = id || null));
    session.on('forwarded', (names) => (s.forwarded.value = new Set(names)));
    session.on('connectivity', (id, active) => {
      const poor = new Set(s.poor.peek());
      if (active) poor.delete(id);
      else poor.add(id);
      s.poor.value = poor;
    });
    session.on('failed', (words) => this.tell(words, 'bad'));
    let beat = 0;
    this.statsTimer = setInterval(() => {
      void collect(session.pc, this.totals).then(({ figures, totals }) => {
        if (this.session !== session) return;
        this.totals = totals;
        const q = quality(figures);
        s.quality.value = q;
        if (++beat % 5 !== 0) return;
        session.sendStats({
          bitrate: { upload: figures.bitrateUp, download: figures.bitrateDown },
          packetLoss: { total: Math.round(figures.lossDown * 100), upload: Math.round(figures.lossUp * 100), download: Math.round(figures.lossDown * 100) },
          connectionQuality: q,
          jvbRTT: figures.rttMs,
        });
      });
    }, 2000);
  }

  private dropSession(): void {
    clearInterval(this.statsTimer);
    this.session?.close();
    this.session = undefined;
    this.totals = undefined;
    this.state.media.value = 'none';
    this.state.quality.value = null;
    this.state.tracks.value = [];
    this.state.forwarded.value = null;
    this.state.poor.value = new Set();
  }

  private refreshTracks(): void {
    this.state.tracks.value = this.session?.tracks ?? [];
  }

  private async syncTracks(): Promise<void> {
    this.announceSources();
    // One change at a time: the next one takes what is there then.
    const { session } = this;
    if (!session) return;
    this.tracksDirty = (this.tracksDirty ?? Promise.resolve()).then(() => session.syncTracks()).catch((e) => console.error(e));
    await this.tracksDirty;
  }

  /** Presence says which sources there are and whether they are muted. */
  private announceSources(): void {
    const { room, local } = this;
    if (!room || this.state.role.peek() !== 'stage' || !this.announced) return;
    const id = room.nick;
    const sources: Record<string, SourceState> = {
      [`${id}-a0`]: { muted: !local.isMicOn.peek(), videoType: 'camera' },
      [`${id}-v0`]: { muted: !local.isCameraOn.peek(), videoType: 'camera' },
    };
    if (local.isSharing.peek() || `${id}-v1` in room.own.sources) {
      sources[`${id}-v1`] = { muted: !local.isSharing.peek(), videoType: 'desktop' };
    }
    if (JSON.stringify(sources) !== JSON.stringify(room.own.sources)) room.update({ sources });
  }

  /** Tells the bridge what is shown. */
  show(view: View): void {
    this.view = view;
    this.session?.show({ ...view, isHidden: view.isHidden || document.visibilityState === 'hidden' });
  }

  /** For tests: the connection with the bridge. */
  get peerConnection(): RTCPeerConnection | undefined {
    return this.session?.pc;
  }

  /** For tests: breaks the socket as a lost network does. */
  interrupt(): void {
    this.stream?.interrupt();
  }

  // ---- what people do ---------------------------------------------------------------------------------------------------

  say(body: string, to?: { jid: string; name: string }): void {
    const text = body.trim();
    const { room } = this;
    if (!text || !room) return;
    if (!to) return room.say(text);
    const id = room.whisper(to.jid, text);
    this.state.lines.value = [
      ...this.state.lines.peek(),
      { id, from: room.nick, author: this.state.myName.peek() || 'You', body: text, isVisitor: false, isPrivate: true, isMine: true, to: to.name, isHistory: false, replyTo: to.jid, at: Date.now() },
    ].slice(-HISTORY);
  }

  addressOf(id: string): string {
    return `${this.room?.jid ?? ''}/${id}`;
  }

  setHand(up: boolean): void {
    const at = up ? Date.now() : 0;
    this.state.myHand.value = at;
    this.room?.update({ hand: at });
  }

  acceptInvitation(): void {
    const invitation = this.state.invitation.peek();
    this.state.invitation.value = null;
    if (invitation) void this.enter({ invited: invitation, within: 'Coming on stage' });
  }

  declineInvitation(): void {
    this.state.invitation.value = null;
    this.setHand(false);
  }

  /** Steps down by one's own choice. */
  stepDown(): void {
    this.local.stop();
    void this.enter({ visitor: true, within: 'Moving to the audience' });
  }

  answerHands(ids: string[], approved: boolean): void {
    this.room?.answerHands(ids, approved);
    this.state.hands.value = this.state.hands.peek().filter((h) => !ids.includes(h.id));
  }

  demote(id: string): void {
    this.room?.demote(id);
  }

  mute(id: string, kind: 'audio' | 'video' | 'desktop'): void {
    this.attempt(this.room?.mute(id, kind), 'This did not work');
  }

  kick(id: string): void {
    this.attempt(this.room?.kick(id, 'The host removed you from the meeting.'), 'They could not be removed');
  }

  makeModerator(id: string): void {
    const o = this.state.people.peek().get(id);
    if (o) this.attempt(this.room?.grantModerator(o), 'They could not be made a moderator');
  }

  setLive(live: boolean): void {
    this.room?.setLive(live);
  }

  setPassword(password: string): void {
    this.password = password || undefined;
    this.attempt(this.room?.setPassword(password), 'The password could not be set');
  }

  endForAll(): void {
    this.attempt(this.room?.end(), 'The meeting could not be ended');
  }

  private attempt(what: Promise<unknown> | undefined, words: string): void {
    what?.catch((error: Error) => this.tell(`${words} (${error.message}).`, 'bad'));
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

/** An identifier of this browser, as the conference request wants it. */
function machineUid(): string {
  let uid = remembered('machine');
  if (!/^[0-9a-f]{32}$/.test(uid)) {
    uid = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
    remember('machine', uid);
  }
  return uid;
}
