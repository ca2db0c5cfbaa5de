// The lobby as moderators of the meeting have it: whether there is one, who waits in it, who is let in.

import { LobbyRoom } from '../xmpp/lobby';
import type { Room } from '../xmpp/room';
import type { MeetingState } from './state';

export class Lobby {
  private room?: LobbyRoom;

  constructor(
    private readonly state: MeetingState,
    private readonly meeting: () => Room | undefined,
    private readonly tell: (words: string, tone?: 'plain' | 'good' | 'bad') => void,
  ) {}

  /** Looks into the lobby, or no longer: called when the meeting's settings or one's own role change. */
  watch(address: string | undefined): void {
    const meeting = this.meeting();
    const { state } = this;
    state.canHaveLobby.value = meeting?.services.has('lobbyrooms') ?? false;
    const wanted = meeting && state.isModerator.peek() ? address : undefined;
    if (this.room?.jid === wanted) return;
    this.close();
    if (!meeting || !wanted) return;
    const room = (this.room = new LobbyRoom(meeting.stream, wanted, meeting.nick, meeting.jid));
    room.on('here', (k) => {
      const others = state.knockers.peek().filter((o) => o.id !== k.id);
      if (others.length === state.knockers.peek().length) this.tell(`${k.name || 'Somebody'} asks to be let in.`);
      state.knockers.value = [...others, { id: k.id, name: k.name || 'Guest' }];
    });
    room.on('gone', (id) => this.forget([id]));
    room.on('closed', () => room === this.room && this.close());
    room.join().catch((error: Error) => {
      if (this.room !== room) return;
      this.close();
      this.tell(`The lobby cannot be seen (${error.message}).`, 'bad');
    });
  }

  close(): void {
    const { room } = this;
    this.room = undefined;
    room?.leave();
    this.state.knockers.value = [];
  }

  set(on: boolean): void {
    const what = this.meeting()?.setMembersOnly(on);
    what?.catch((error: Error) => this.tell(`The lobby could not be ${on ? 'opened' : 'closed'} (${error.message}).`, 'bad'));
  }

  approve(ids: string[]): void {
    this.room?.approve(ids);
    this.forget(ids);
  }

  deny(id: string): void {
    this.room?.deny(id).catch((error: Error) => this.tell(`They could not be turned away (${error.message}).`, 'bad'));
    this.forget([id]);
  }

  private forget(ids: string[]): void {
    this.state.knockers.value = this.state.knockers.peek().filter((k) => !ids.includes(k.id));
  }
}
