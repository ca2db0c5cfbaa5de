// What a moderator does to the meeting and to others. The room or the focus decides whether it is allowed.

import type { Room } from '../xmpp/room';
import type { MeetingState } from './state';

export class Moderation {
  constructor(
    private readonly state: MeetingState,
    private readonly room: () => Room | undefined,
    private readonly tell: (words: string, tone: 'bad') => void,
  ) {}

  answerHands(ids: string[], approved: boolean): void {
    this.room()?.answerHands(ids, approved);
    this.state.hands.value = this.state.hands.peek().filter((h) => !ids.includes(h.id));
  }

  demote(id: string): void {
    this.room()?.demote(id);
  }

  mute(id: string, kind: 'audio' | 'video' | 'desktop'): void {
    this.attempt(this.room()?.mute(id, kind), 'This did not work');
  }

  kick(id: string): void {
    this.attempt(this.room()?.kick(id, 'The host removed you from the meeting.'), 'They could not be removed');
  }

  makeModerator(id: string): void {
    const o = this.state.people.peek().get(id);
    if (o) this.attempt(this.room()?.grantModerator(o), 'They could not be made a moderator');
  }

  setLive(live: boolean): void {
    this.room()?.setLive(live);
  }

  setPassword(password: string): void {
    this.attempt(this.room()?.setPassword(password), 'The password could not be set');
  }

  endForAll(): void {
    this.attempt(this.room()?.end(), 'The meeting could not be ended');
  }

  private attempt(what: Promise<unknown> | undefined, words: string): void {
    what?.catch((error: Error) => this.tell(`${words} (${error.message}).`, 'bad'));
  }
}
