// One media session with the bridge: from the focus' offer to its end. Sends what `LocalMedia` has, receives what the bridge
// puts on its SSRCs.

import { Emitter } from '../emitter';
import { BridgeChannel, type BridgeMessage } from './channel';
import { type View, encodings, receiverConstraints } from './constraints';
import type { LocalMedia } from './devices';
import { type Offer, type SentSource, acceptElement, restartElement, sourcesElement } from './jingle';
import { type Line, type Section, type Simulcast, offerSdp, readAnswer, withSimulcast } from './sdp';
import { type Slot, Slots, readMap } from './slots';

export interface RemoteTrack {
  slot: Slot;
  track: MediaStreamTrack;
}

type Events = {
  /** Which sources are received, or where, changed. */
  tracks: [];
  speaker: [string, string[]];
  forwarded: [string[]];
  connectivity: [string, boolean];
  endpointMessage: [string, unknown];
  endpointStats: [string, Record<string, unknown>];
  downlink: [number];
  state: [RTCPeerConnectionState];
  channel: [boolean];
  failed: [string];
};

export interface SessionOptions {
  offer: Offer;
  /** Own endpoint id. */
  id: string;
  /** Own full address. */
  responder: string;
  /** Whether this one may send: the audience does not. */
  isSending: boolean;
  local: LocalMedia;
  codecs: string[];
  iceServers: RTCIceServer[];
  /** Sends a Jingle element to the focus; rejects if it is refused. */
  send: (jingle: Element) => Promise<unknown>;
}

const newSsrc = (): number => 1 + Math.floor(Math.random() * 0xfffffffe);
const HAS_SSRC_SIMULCAST = !/firefox/i.test(navigator.userAgent);
const CAMERA_HEIGHT = 720;

export class MediaSession extends Emitter<Events> {
  readonly pc: RTCPeerConnection;
  readonly slots = new Slots();
  private channel?: BridgeChannel;
  private chain: Promise<void> = Promise.resolve();
  private version = 1;
  private hasScreen = false;
  private screenAnnounced = false;
  private isAccepted = false;
  private isClosed = false;
  private held: BridgeMessage[] = [];
  private simulcast?: Simulcast;
  private sections = new Map<string, Section>();
  private wanted = new Map<string, number>();
  private renegotiation?: ReturnType<typeof setTimeout>;
  private view?: View;
  private sentView = '';

  constructor(private readonly options: SessionOptions) {
    super();
    this.pc = new RTCPeerConnection({
      bundlePolicy: 'max-bundle',
      rtcpMuxPolicy: 'require',
      iceServers: options.iceServers,
    });
    this.pc.onconnectionstatechange = () => {
      this.emit('state', this.pc.connectionState);
      if (this.pc.connectionState === 'failed') void this.restart();
    };
  }

  /** Answers the offer. */
  async accept(): Promise<void> {
    const { offer } = this.options;
    if (offer.sctpPort !== undefined) this.open(BridgeChannel.overData(this.pc));
    else if (offer.webSocket) this.open(BridgeChannel.overWebSocket(offer.webSocket));
    if (this.options.local.screen.peek()) this.hasScreen = this.options.isSending;
    await this.queue(() => this.negotiate());
    const answer = readAnswer(this.pc.localDescription?.sdp ?? '');
    const section = (mid: string) => {
      const s = answer.sections.get(mid);
      return s && { description: s.description, isSending: /sendrecv|sendonly/.test(s.direction) };
    };
    const audio = section('audio');
    if (!audio) throw new Error('The browser did not accept audio.');
    const sources = this.sent();
    this.screenAnnounced = sources.some((s) => s.videoType === 'desktop');
    await this.options.send(
      acceptElement({ offer, responder: this.options.responder, transport: answer.transport, audio, video: section('video'), sources }),
    );
    this.isAccepted = true;
    const held = this.held;
    this.held = [];
    held.forEach((m) => this.handle(m));
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    clearTimeout(this.renegotiation);
    this.channel?.close();
    this.pc.onconnectionstatechange = null;
    this.pc.close();
    this.clear();
  }

  /** The tracks that are received, with what is on them. */
  get tracks(): RemoteTrack[] {
    const byMid = new Map(this.pc.getTransceivers().map((t) => [t.mid, t.receiver.track]));
    return this.slots.list.flatMap((slot) => {
      const track = byMid.get(slot.mid);
      return track && slot.source ? [{ slot, track }] : [];
    });
  }

  // ---- sending ----------------------------------------------------------------------------------------------------------

  /** Sends the tracks that `LocalMedia` has now. */
  async syncTracks(): Promise<void> {
    if (!this.options.isSending || this.isClosed) return;
    const { microphone, isMicOn, camera, screen } = this.options.local;
    await this.queue(async () => {
      await this.replace('audio', isMicOn.peek() ? microphone.peek() : null);
      await this.replace('video', camera.peek());
      if (this.hasScreen) await this.replace('screen', screen.peek());
    });
    if (screen.peek() && !this.hasScreen) await this.addScreen();
    await this.applyConstraints();
  }

  private async addScreen(): Promise<void> {
    this.hasScreen = true;
    await this.queue(() => this.negotiate());
    const added = this.sent().filter((s) => s.videoType === 'desktop');
    if (this.screenAnnounced || added.length === 0 || !this.isAccepted) return;
    try {
      await this.options.send(sourcesElement('source-add', this.options.offer, added));
      this.screenAnnounced = true;
    } catch {
      await this.options.local.setScreen(false);
      this.emit('failed', 'The screen cannot be shared now.');
    }
  }

  private async replace(mid: string, track: MediaStreamTrack | null): Promise<void> {
    const transceiver = this.transceiver(mid);
    if (transceiver && transceiver.sender.track !== track) await transceiver.sender.replaceTrack(track);
    if (track && mid !== 'audio') this.tellVideoType(mid, mid === 'screen' ? 'desktop' : 'camera');
    else if (mid !== 'audio') this.tellVideoType(mid, 'none');
  }

  private videoTypes = new Map<string, string>();

  private tellVideoType(mid: string, videoType: string): void {
    if (this.videoTypes.get(mid) === videoType) return;
    this.videoTypes.set(mid, videoType);
    this.channel?.send({ colibriClass: 'SourceVideoTypeMessage', sourceName: this.sourceName(mid), videoType } as BridgeMessage);
  }

  private sourceName(mid: string): string {
    const suffix = { audio: 'a0', video: 'v0', screen: 'v1' }[mid] ?? mid;
    return `${this.options.id}-${suffix}`;
  }

  private transceiver(mid: string): RTCRtpTransceiver | undefined {
    return this.pc.getTransceivers().find((t) => t.mid === mid);
  }

  /** The sources that the last answer sends. */
  private sent(): SentSource[] {
    if (!this.options.isSending) return [];
    const { id } = this.options;
    return ['audio', 'video', 'screen'].flatMap((mid) => {
      const s = this.sections.get(mid);
      if (!s || !/sendrecv|sendonly/.test(s.direction) || s.ssrcs.length === 0) return [];
      const kind = mid === 'audio' ? ('audio' as const) : ('video' as const);
      return [
        {
          kind,
          name: this.sourceName(mid),
          msid: `${id}-${kind}-${mid === 'screen' ? 1 : 0}-1 ${id}-${mid}`,
          videoType: mid === 'video' ? ('camera' as const) : mid === 'screen' ? ('desktop' as const) : undefined,
          ssrcs: s.ssrcs,
          groups: s.groups,
        },
      ];
    });
  }

  /** Sets the encoders to what the bridge asked for. */
  private async applyConstraints(): Promise<void> {
    for (const mid of ['video', 'screen']) {
      const sender = this.transceiver(mid)?.sender;
      if (!sender?.track) continue;
      const parameters = sender.getParameters();
      if (!parameters.encodings?.length) continue;
      const codec = this.sections.get(mid)?.description.payloadTypes[0]?.name.toLowerCase();
      const isScreen = mid === 'screen';
      const height = isScreen ? (sender.track.getSettings().height ?? 1080) : Math.min(sender.track.getSettings().height ?? CAMERA_HEIGHT, 1080);
      const svc = (codec === 'vp9' || codec === 'av1') && parameters.encodings.length === 1;
      const maxHeight = this.wanted.get(this.sourceName(mid)) ?? -1;
      encodings(parameters.encodings.length, height, maxHeight, isScreen, svc).forEach((e, i) => {
        Object.assign(parameters.encodings[i]!, e);
      });
      parameters.degradationPreference = isScreen ? 'maintain-resolution' : 'maintain-framerate';
      try {
        await sender.setParameters(parameters);
      } catch (error) {
        // Some browsers do not know a mode; without it one layer is sent.
        parameters.encodings.forEach((e) => delete (e as { scalabilityMode?: string }).scalabilityMode);
        await sender.setParameters(parameters).catch(() => console.warn('The encoder refused its settings.', error));
      }
    }
  }

  // ---- negotiating ------------------------------------------------------------------------------------------------------

  private queue(step: () => Promise<void>): Promise<void> {
    const next = this.chain.then(() => (this.isClosed ? undefined : step()));
    this.chain = next.catch((error) => {
      if (!this.isClosed) console.error(error);
    });
    return next;
  }

  private lines(): Line[] {
    const { offer, isSending } = this.options;
    const own = (kind: 'audio' | 'video'): Partial<Line> => {
      const source = offer.own[kind];
      return source ? { direction: 'sendrecv', ssrc: source.ssrc, msid: source.msid } : {};
    };
    const lines: Line[] = [{ mid: 'audio', kind: 'audio', direction: 'recvonly', ...own('audio') }];
    if (offer.video) lines.push({ mid: 'video', kind: 'video', direction: 'recvonly', ...own('video') });
    if (offer.sctpPort !== undefined) lines.push({ mid: 'data', kind: 'data', direction: 'sendrecv' });
    // Sections keep their places for good; new ones are appended in the order in which they came.
    const more = this.order.map((mid): Line | undefined => {
      if (mid === 'screen') return { mid, kind: 'video', direction: 'recvonly' };
      const slot = this.slots.list.find((s) => s.mid === mid);
      return slot && { mid, kind: slot.kind, direction: 'sendonly', ssrc: slot.ssrc, rtx: slot.rtx, msid: `remote-${mid} ${mid}` };
    });
    return [...lines, ...more.filter((l): l is Line => l !== undefined && (isSending || l.mid !== 'screen'))];
  }

  private order: string[] = [];

  private async negotiate(): Promise<void> {
    if (this.hasScreen && !this.order.includes('screen')) this.order.push('screen');
    for (const slot of this.slots.list) {
      if (!this.order.includes(slot.mid) && (slot.kind === 'audio' || this.options.offer.video)) this.order.push(slot.mid);
    }
    const { offer, local, isSending } = this.options;
    const sdp = offerSdp(offer, this.lines(), this.version++, this.options.codecs);
    await this.pc.setRemoteDescription({ type: 'offer', sdp });
    const sending: [string, MediaStreamTrack | null][] = [
      ['audio', local.isMicOn.peek() ? local.microphone.peek() : null],
      ['video', local.camera.peek()],
      ['screen', local.screen.peek()],
    ];
    for (const [mid, track] of sending) {
      const transceiver = this.transceiver(mid);
      if (!transceiver) continue;
      transceiver.direction = isSending ? (offer.own[mid as 'audio'] ? 'sendrecv' : 'sendonly') : 'recvonly';
      if (isSending && transceiver.sender.track !== track) await transceiver.sender.replaceTrack(track);
    }
    const answer = await this.pc.createAnswer();
    let local_ = answer.sdp ?? '';
    const codec = readAnswer(local_).sections.get('video')?.description.payloadTypes[0]?.name.toLowerCase();
    if (isSending && HAS_SSRC_SIMULCAST && (codec === 'vp8' || codec === 'h264' || this.simulcast)) {
      const munged = withSimulcast(local_, 'video', this.simulcast, newSsrc);
      this.simulcast = munged.simulcast;
      local_ = munged.sdp;
    }
    await this.pc.setLocalDescription({ type: 'answer', sdp: local_ });
    this.sections = readAnswer(local_).sections;
    await this.applyConstraints();
  }

  /** Sections for new SSRCs. Maps that come together are negotiated together. */
  private renegotiate(): void {
    clearTimeout(this.renegotiation);
    this.renegotiation = setTimeout(() => {
      this.queue(() => this.negotiate()).then(
        () => this.emit('tracks'),
        (error: Error) => this.emit('failed', error.message),
      );
    }, 10);
  }

  // ---- the bridge channel -----------------------------------------------------------------------------------------------

  private open(channel: BridgeChannel): void {
    this.channel = channel;
    channel.on('open', () => {
      this.sentView = '';
      this.emit('channel', true);
      if (this.view) this.show(this.view);
      else channel.send({ colibriClass: 'ReceiverVideoConstraints', assumedBandwidthBps: -1, lastN: -1 } as BridgeMessage);
      const types = [...this.videoTypes];
      this.videoTypes.clear();
      types.forEach(([mid, type]) => this.tellVideoType(mid, type));
    });
    channel.on('closed', () => this.emit('channel', false));
    channel.on('message', (m) => this.handle(m));
  }

  /** Tells the bridge what is shown. */
  show(view: View): void {
    this.view = view;
    if (!this.channel?.isOpen) return;
    const message = receiverConstraints(view);
    const text = JSON.stringify(message);
    if (text === this.sentView) return;
    this.sentView = text;
    this.channel.send(message as unknown as BridgeMessage);
  }

  sendStats(stats: Record<string, unknown>): void {
    if (this.options.isSending) this.channel?.send({ colibriClass: 'EndpointStats', ...stats });
  }

  broadcast(payload: unknown, to = ''): void {
    this.channel?.send({ colibriClass: 'EndpointMessage', to, msgPayload: payload } as BridgeMessage);
  }

  private handle(m: BridgeMessage): void {
    switch (m.colibriClass) {
      case 'AudioSourcesMap':
      case 'VideoSourcesMap': {
        // Maps wait until the answer was taken (spec/client.md 17).
        if (!this.isAccepted) return void this.held.push(m);
        const kind = m.colibriClass === 'AudioSourcesMap' ? 'audio' : 'video';
        const mine = `${this.options.id}-`;
        const change = this.slots.apply(kind, readMap(m.mappedSources).filter((s) => !s.source.startsWith(mine)));
        if (change.added) this.renegotiate();
        else if (change.changed) this.emit('tracks');
        return;
      }
      case 'DominantSpeakerEndpointChangeEvent':
        if (typeof m.dominantSpeakerEndpoint === 'string') {
          const previous = Array.isArray(m.previousSpeakers) ? m.previousSpeakers.filter((s) => typeof s === 'string') : [];
          this.emit('speaker', m.dominantSpeakerEndpoint, previous as string[]);
        }
        return;
      case 'ForwardedSources':
        if (Array.isArray(m.forwardedSources)) this.emit('forwarded', m.forwardedSources.filter((s) => typeof s === 'string') as string[]);
        return;
      case 'SenderSourceConstraints':
        if (typeof m.sourceName === 'string' && typeof m.maxHeight === 'number') {
          this.wanted.set(m.sourceName, m.maxHeight);
          void this.queue(() => this.applyConstraints());
        }
        return;
      case 'EndpointConnectivityStatusChangeEvent':
        return this.emit('connectivity', String(m.endpoint), String(m.active) === 'true');
      case 'ConnectionStats':
        if (typeof m.estimatedDownlinkBandwidth === 'number') this.emit('downlink', m.estimatedDownlinkBandwidth);
        return;
      case 'EndpointStats':
        return this.emit('endpointStats', String(m.from), m);
      case 'EndpointMessage':
        return this.emit('endpointMessage', String(m.from), m.msgPayload);
    }
  }

  private async restart(): Promise<void> {
    if (this.isClosed) return;
    this.emit('failed', 'The connection to the media server broke; it is made again.');
    await this.options.send(restartElement(this.options.offer)).catch(() => undefined);
  }
}
