// Raised hands: one's own with its place in line, those of the audience in front of a moderator, and the invitation on stage
// (spec/client.md 15.3).

import type { Room } from '../xmpp/room';
import type { MeetingState } from './state';

const INVITATION_MS = 45_000;

export class Hands {
  constructor(
    private readonly state: MeetingState,
    private readonly tell: (words: string) => void,
  ) {}

  /** Raises or lowers one's own. */
  set(room: Room | undefined, up: boolean): void {
    const at = up ? Date.now() : 0;
    this.state.myHand.value = at;
    this.state.myPlace.value = 0;
    room?.update({ hand: at });
  }

  /** Somebody of the audience asks, or no longer asks. */
  asked(value: Record<string, unknown>): void {
    const s = this.state;
    const id = String(value.from);
    const before = s.hands.peek();
    if (value.on === false) {
      s.hands.value = before.filter((h) => h.id !== id);
    } else if (!before.some((h) => h.id === id)) {
      const name = typeof value.nick === 'string' && value.nick ? value.nick : 'Guest';
      s.hands.value = [...before, { id, name, at: Date.now() }];
      this.tell(`${name} asks to come on stage.`);
    }
  }

  /** A moderator has answered some. */
  answered(ids: readonly unknown[]): void {
    this.state.hands.value = this.state.hands.peek().filter((h) => !ids.includes(h.id));
  }

  /** The answer to one's own hand. */
  decided(room: Room, p: { allowed: boolean; username: string; focusJid?: string }): void {
    if (p.allowed && p.username) {
      this.state.invitation.value = { username: p.username, focusJid: p.focusJid, until: Date.now() + INVITATION_MS };
    } else {
      this.set(room, false);
      this.tell('The host cannot take you on stage now.');
    }
  }
}
