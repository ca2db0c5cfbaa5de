// What the page shows of a meeting. Signals that only `Meeting` writes.

import { computed, signal } from '@preact/signals';
import type { RemoteTrack } from '../media/session';
import type { ChatMessage } from '../xmpp/messages';
import type { Occupant } from '../xmpp/presence';

export type Phase =
  | { kind: 'lobby' }
  | { kind: 'joining'; words: string }
  /** The meeting has not begun for its audience. */
  | { kind: 'waiting'; returning: boolean }
  /** Waits in the meeting's lobby. */
  | { kind: 'knocking'; wasWrong: boolean }
  | { kind: 'password'; wasWrong: boolean }
  | { kind: 'meeting' }
  | { kind: 'ended'; title: string; words: string; canReturn: boolean };

/** Somebody in the audience who asks to come on stage. */
export interface Hand {
  id: string;
  name: string;
  at: number;
}

export interface Notice {
  id: number;
  words: string;
  tone: 'plain' | 'good' | 'bad';
}

export interface Line extends ChatMessage {
  /** Shown name. */
  author: string;
  isMine: boolean;
  /** For own private messages: to whom. */
  to?: string;
}

export interface Tile {
  key: string;
  /** Endpoint id. */
  owner: string;
  name: string;
  isScreen: boolean;
  isLocal: boolean;
  track: MediaStreamTrack | null;
  source: string;
  hasVideo: boolean;
  isAudioMuted: boolean;
  isSpeaking: boolean;
  hand: number;
  isModerator: boolean;
  isPoor: boolean;
}

export interface Invitation {
  username: string;
  focusJid?: string;
  until: number;
}

export class MeetingState {
  readonly phase = signal<Phase>({ kind: 'lobby' });
  readonly role = signal<'stage' | 'audience'>('stage');
  /** A change within the meeting that takes a moment: coming on stage, reconnecting. */
  readonly transition = signal<string | null>(null);
  readonly link = signal<'good' | 'broken'>('good');
  /** This machine has no network at all. */
  readonly isOffline = signal(false);
  readonly media = signal<'none' | 'connecting' | 'connected' | 'broken'>('none');
  readonly me = signal<Occupant | null>(null);
  readonly myName = signal('');
  readonly people = signal<ReadonlyMap<string, Occupant>>(new Map());
  readonly audience = signal(0);
  readonly audienceNames = signal<ReadonlyMap<string, string>>(new Map());
  readonly hands = signal<readonly Hand[]>([]);
  readonly myHand = signal(0);
  /** The place of one's own hand in the line of those who ask to come on stage; 0 when it is not known. */
  readonly myPlace = signal(0);
  readonly invitation = signal<Invitation | null>(null);
  readonly lines = signal<readonly Line[]>([]);
  readonly unread = signal(0);
  readonly notices = signal<readonly Notice[]>([]);
  readonly tracks = signal<readonly RemoteTrack[]>([]);
  readonly speaker = signal<string | null>(null);
  readonly pinned = signal<string | null>(null);
  readonly poor = signal<ReadonlySet<string>>(new Set());
  readonly forwarded = signal<ReadonlySet<string> | null>(null);
  readonly quality = signal<number | null>(null);
  readonly subject = signal('');
  readonly isLive = signal(true);
  readonly waiting = signal(0);
  readonly isLocked = signal(false);
  /** The server has lobbies. */
  readonly canHaveLobby = signal(false);
  /** Newcomers wait until they are let in. */
  readonly hasLobby = signal(false);
  readonly knockers = signal<readonly { id: string; name: string }[]>([]);
  readonly createdAt = signal(0);
  readonly visitorsEnabled = signal(false);

  readonly isModerator = computed(() => this.me.value?.role === 'moderator');
  /** Everybody on stage, longest there first. */
  readonly stage = computed(() => [...this.people.value.values()].filter((p) => p.role !== 'visitor' && p.role !== 'none'));

  /** Forgets what belonged to a room that was left. */
  clearRoom(): void {
    this.link.value = 'good';
    this.people.value = new Map();
    this.me.value = null;
    this.hands.value = [];
    this.knockers.value = [];
    this.hasLobby.value = false;
    this.audienceNames.value = new Map();
    this.waiting.value = 0;
    this.myHand.value = 0;
    this.myPlace.value = 0;
    this.speaker.value = null;
    this.pinned.value = null;
  }

  nameOf(id: string): string {
    return this.people.peek().get(id)?.name || 'Guest';
  }
}
