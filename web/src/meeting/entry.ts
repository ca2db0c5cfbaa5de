// How somebody comes in: the request to the focus until it is ready, and what a refusal means. Knows no room.

import type { Config } from '../config';
import { remember, remembered } from '../media/devices';
import type { JoinRefusal } from '../xmpp/presence';
import { type Admission, RequestError, ask, pause } from '../xmpp/request';

export interface Entry {
  /** Wants a seat in the audience. */
  visitor?: boolean;
  /** Was invited on stage. */
  invited?: { username: string; focusJid?: string };
  /** Joins from within the meeting, which stays on the screen. */
  within?: string;
  /** The hand is to be up again. */
  hand?: boolean;
  /** The meeting that this one was in: the way leads back to it, and not to another of the same name. */
  meeting?: string;
}

/** A way into the meeting that was overtaken by another. */
export class Overtaken extends Error {}

export interface Door {
  config: Config;
  roomJid: string;
  roomName: string;
  tenant: string;
  token?: string;
}

/** Asks at the door; remembers the session that the focus gave. */
export class Doorway {
  private sessionId?: string;

  constructor(private readonly door: Door) {}

  /** Asks once. */
  ask({ visitor, meeting }: Entry, signal?: AbortSignal): Promise<Admission> {
    const { config, roomJid, roomName, tenant, token } = this.door;
    const asking = { room: roomJid, roomName, machineUid: machineUid(), token, visitor, sessionId: this.sessionId, meetingId: meeting };
    return ask(config, asking, tenant, signal);
  }

  /** Asks until the focus is ready, or the meeting has to be waited for. `alive` throws when nobody wants to come in any more. */
  async enter(entry: Entry, alive: () => void, signal: AbortSignal, onWait: (words: string) => void): Promise<Admission> {
    for (let attempt = 0; ; attempt++) {
      let answer: Admission | undefined;
      try {
        answer = await this.ask(entry, signal);
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
      onWait(answer ? 'The server is busy; you are in line' : 'The server does not answer. Trying again');
      await new Promise((resolve) => setTimeout(resolve, pause(attempt, Math.random, 15_000)));
      alive();
    }
  }
}

/** Title and words of a refusal that ends the way in; nothing for those that are answered otherwise. */
export function wordsOf(refusal: JoinRefusal): [title: string, words: string] | undefined {
  switch (refusal.kind) {
    case 'full':
      return ['The meeting is full', 'Every seat is taken. Try again in a moment.'];
    case 'turned-away':
      return ['You were not let in', refusal.words || 'The host did not let you into the meeting.'];
    case 'members-only':
      return ['Members only', 'The host admits known people only. Ask for an invitation.'];
    case 'name':
      return ['A name is needed', 'The host wants everybody to have a name.'];
    case 'no-visitors':
      return ['No audience', 'This meeting takes no audience now.'];
    case 'login':
      return ['A login is needed', 'This meeting is for people with an account.'];
    case 'again':
      return ['The meeting is not open', 'The host has not opened it yet.'];
    case 'refused':
      return ['You cannot join', refusal.words];
    default:
      return undefined;
  }
}

/** An identifier of this browser, as the conference request wants it. */
export function machineUid(): string {
  let uid = remembered('machine');
  if (!/^[0-9a-f]{32}$/.test(uid)) {
    uid = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
    remember('machine', uid);
  }
  return uid;
}
