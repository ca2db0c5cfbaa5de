// Sound and pictures of a meeting: the media session that the focus offers, what is sent in it and what is shown of it. There is
// at most one session; the focus may end it and offer another at any time.

import { effect } from '@preact/signals';
import type { Config } from '../config';
import type { View } from '../media/constraints';
import type { LocalMedia } from '../media/devices';
import { readOffer } from '../media/jingle';
import { MediaSession } from '../media/session';
import { type Totals, collect, quality } from '../media/stats';
import * as ns from '../xmpp/ns';
import type { SourceState } from '../xmpp/presence';
import type { Room } from '../xmpp/room';
import { attr, x } from '../xmpp/xml';
import { AudioSinks } from './audio';
import type { MeetingState } from './state';

const STATS_EVERY = 2000;

export class Media {
  private session?: MediaSession;
  private sinks = new AudioSinks();
  private room?: Room;
  private statsTimer?: ReturnType<typeof setInterval>;
  private totals?: Totals;
  private view?: View;
  private tracksDirty?: Promise<void>;
  private announced = false;

  constructor(
    private readonly state: MeetingState,
    private readonly local: LocalMedia,
    private readonly config: Config,
    private readonly tell: (words: string, tone?: 'plain' | 'good' | 'bad') => void,
  ) {
    effect(() => {
      const { microphone, isMicOn, camera, screen } = local;
      void [microphone.value, isMicOn.value, camera.value, screen.value];
      void this.syncTracks();
    });
    effect(() => this.sinks.setDevice(local.chosen.value.audiooutput));
    effect(() => this.sinks.set(state.tracks.value));
    this.sinks.onBlocked = () => tell('Click anywhere to hear the meeting.');
    addEventListener('pointerdown', () => this.sinks.resume());
    addEventListener('visibilitychange', () => this.view && this.show(this.view));
  }

  get peerConnection(): RTCPeerConnection | undefined {
    return this.session?.pc;
  }

  /** Listens to the focus of a room. */
  attach(room: Room): void {
    this.room = room;
    this.announced = false;
    room.on('jingle', (iq, jingle) => void this.handle(room, iq, jingle));
    room.on('gone', (o) => this.session?.slots.forget(o.id) && this.refreshTracks());
  }

  /** Tells the bridge what is shown. */
  show(view: View): void {
    this.view = view;
    this.session?.show({ ...view, isHidden: view.isHidden || document.visibilityState === 'hidden' });
  }

  private async handle(room: Room, iq: Element, jingle: Element): Promise<void> {
    const { stream } = room;
    const action = attr(jingle, 'action');
    if (action === 'session-initiate') return this.offered(room, iq, jingle);
    if (!this.session || !attr(jingle, 'sid')) {
      return stream.refuse(iq, 'item-not-found', 'cancel', x('unknown-session', { xmlns: ns.JINGLE_ERRORS }));
    }
    stream.reply(iq);
    if (action === 'session-terminate') this.drop();
  }

  private async offered(room: Room, iq: Element, jingle: Element): Promise<void> {
    const { stream } = room;
    let offer;
    try {
      offer = readOffer(jingle);
    } catch (error) {
      console.warn(error);
      return stream.refuse(iq, 'bad-request', 'modify');
    }
    stream.reply(iq);
    this.drop();
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
    this.watch(session);
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
  }

  private watch(session: MediaSession): void {
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
    this.statsTimer = setInterval(() => void this.measure(session, ++beat % 5 === 0), STATS_EVERY);
  }

  private async measure(session: MediaSession, isReported: boolean): Promise<void> {
    const { figures, totals } = await collect(session.pc, this.totals);
    if (this.session !== session) return;
    this.totals = totals;
    const q = quality(figures);
    this.state.quality.value = q;
    if (!isReported) return;
    session.sendStats({
      bitrate: { upload: figures.bitrateUp, download: figures.bitrateDown },
      packetLoss: { total: Math.round(figures.lossDown * 100), upload: Math.round(figures.lossUp * 100), download: Math.round(figures.lossDown * 100) },
      connectionQuality: q,
      jvbRTT: figures.rttMs,
    });
  }

  /** Ends the session. */
  drop(): void {
    clearInterval(this.statsTimer);
    this.session?.close();
    this.session = undefined;
    this.totals = undefined;
    const s = this.state;
    s.media.value = 'none';
    s.quality.value = null;
    s.tracks.value = [];
    s.forwarded.value = null;
    s.poor.value = new Set();
  }

  /** Ends the session, and what it had of the room. */
  detach(): void {
    this.drop();
    this.room = undefined;
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
}
