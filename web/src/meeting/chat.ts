// What was said: the lines of the chat, those of others and one's own.

import type { ChatMessage } from '../xmpp/messages';
import type { Room } from '../xmpp/room';
import type { Line, MeetingState } from './state';

const KEPT = 500;

export class Chat {
  constructor(private readonly state: MeetingState) {}

  hear(room: Room, m: ChatMessage): void {
    const s = this.state;
    if (m.isHistory && s.lines.peek().some((l) => l.id === m.id && l.body === m.body)) return;
    const isMine = m.from === room.nick && !m.isPrivate;
    const author = isMine ? s.myName.peek() || 'You' : (m.name ?? s.nameOf(m.from));
    this.add({ ...m, author, isMine });
    if (!isMine && !m.isHistory) s.unread.value++;
  }

  /** A message of the operator or of a service. */
  announce(message: string, author: string): void {
    this.add({ id: `system-${Date.now()}`, from: '', author, body: message, isVisitor: false, isPrivate: false, isMine: false, isHistory: false, replyTo: '', at: Date.now() });
    this.state.unread.value++;
  }

  /** The room sends back what is said to everybody, and nothing of what is said to one. */
  say(room: Room, body: string, to?: { jid: string; name: string }): void {
    const text = body.trim();
    if (!text) return;
    if (!to) return room.say(text);
    const id = room.whisper(to.jid, text);
    const author = this.state.myName.peek() || 'You';
    this.add({ id, from: room.nick, author, body: text, isVisitor: false, isPrivate: true, isMine: true, to: to.name, isHistory: false, replyTo: to.jid, at: Date.now() });
  }

  private add(line: Line): void {
    this.state.lines.value = [...this.state.lines.peek(), line].slice(-KEPT);
  }
}
