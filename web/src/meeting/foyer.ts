// Who is before the door and who sits in the dark: the queue of those who wait for the meeting to begin, and the list of the
// audience, which moderators see (spec/client.md 15.1).

import { StompClient } from '../xmpp/stomp';
import type { MeetingState } from './state';

interface Place {
  roomJid: string;
  meetingId: string;
  nick: string;
}

interface Entry {
  r?: string;
  n?: string;
  s?: string;
}

export class Foyer {
  private queue?: StompClient;
  private list?: StompClient;

  constructor(
    private readonly state: MeetingState,
    private readonly origin: string,
    private readonly token: string | undefined,
  ) {}

  close(): void {
    this.queue?.close();
    this.list?.close();
    this.queue = this.list = undefined;
  }

  /** Waits for the beginning; `enter` is called when it is this one's turn. */
  wait(roomJid: string, enter: () => void): void {
    this.close();
    let isCalled = false;
    this.queue = new StompClient(`${this.origin}/visitor/websocket`, {
      [`/secured/conference/visitor/topic.${roomJid}`]: (body) => {
        const b = body as { status?: string; randomDelayMs?: number };
        if (b.status !== 'live' || isCalled) return;
        isCalled = true;
        this.state.phase.value = { kind: 'waiting', returning: true };
        setTimeout(enter, Math.random() * Math.max(0, b.randomDelayMs ?? 0));
      },
    }, this.token);
  }

  /** Looks at what a moderator may see, and stops looking when it is no longer one. */
  watch({ roomJid, meetingId, nick }: Place): void {
    const s = this.state;
    const isModerator = s.isModerator.peek() && s.role.peek() === 'stage';
    const wantsQueue = isModerator && s.isLive.peek() === false;
    if (wantsQueue && !this.queue) {
      this.queue = new StompClient(`${this.origin}/visitor/websocket`, {
        [`/secured/conference/state/topic.${roomJid}`]: (body) => {
          s.waiting.value = Number((body as { visitorsWaiting?: unknown }).visitorsWaiting) || 0;
        },
      }, this.token);
    } else if (!wantsQueue && this.queue) {
      this.queue.close();
      this.queue = undefined;
      s.waiting.value = 0;
    }
    if (!isModerator) {
      this.list?.close();
      this.list = undefined;
      s.audienceNames.value = new Map();
      return;
    }
    if (this.list || !meetingId) return;
    const change = (entries: unknown) => this.change(Array.isArray(entries) ? (entries as Entry[]) : []);
    this.list = new StompClient(`${this.origin}/visitors-list/websocket`, {
      // Changes first, so that none is missed before the whole list.
      [`/secured/conference/visitors-list/topic/${meetingId}`]: change,
      [`/secured/conference/visitors-list/queue/${meetingId}/${nick}`]: change,
    }, this.token);
  }

  private change(entries: Entry[]): void {
    const names = new Map(this.state.audienceNames.peek());
    for (const e of entries) {
      if (!e.r) continue;
      if (e.s === 'l') names.delete(e.r);
      else names.set(e.r, e.n || 'Guest');
    }
    this.state.audienceNames.value = names;
  }
}
