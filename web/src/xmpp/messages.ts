// Messages of a room (spec/client.md 14), read. Pure.

import { bare, resource } from './jid';
import * as ns from './ns';
import { attr, child, children, json, text } from './xml';

export interface ChatMessage {
  id: string;
  /** Nickname of the sender; empty for the room itself. */
  from: string;
  /** Its display name if the message says so. */
  name?: string;
  isVisitor: boolean;
  body: string;
  isPrivate: boolean;
  /** Where a private answer goes. */
  replyTo: string;
  at: number;
  isHistory: boolean;
}

export type RoomMessage =
  | { kind: 'chat'; message: ChatMessage }
  | { kind: 'json'; from: string; value: Record<string, unknown> }
  | { kind: 'subject'; subject: string }
  | { kind: 'configuration' }
  | { kind: 'error'; words: string }
  | { kind: 'invite'; password?: string };

export function readMessage(stanza: Element, now: number, newId: () => string): RoomMessage | undefined {
  const from = attr(stanza, 'from') ?? '';
  const type = attr(stanza, 'type');
  if (type === 'error') {
    const error = child(stanza, 'error');
    return { kind: 'error', words: text(error && children(error, 'text')[0]) || 'The message was not delivered.' };
  }
  const user = child(stanza, 'x', ns.MUC_USER);
  if (user) {
    if (children(user, 'status').some((s) => attr(s, 'code') === '104')) return { kind: 'configuration' };
    if (child(user, 'invite')) return { kind: 'invite', password: text(child(user, 'password')) || undefined };
  }
  const delay = child(stanza, 'delay', ns.DELAY);
  const carrier = child(stanza, 'json-message', ns.JITMEET);
  if (carrier) {
    const value = json(text(carrier));
    return value && typeof value.type === 'string' && !delay ? { kind: 'json', from, value } : undefined;
  }
  const body = child(stanza, 'body');
  const subject = child(stanza, 'subject');
  if (!body) return subject ? { kind: 'subject', subject: text(subject) } : undefined;
  const display = child(stanza, 'display-name', ns.DISPLAY_NAME);
  const address = children(child(stanza, 'addresses', ns.ADDRESSES) ?? stanza, 'address').find(
    (a) => attr(a, 'type') === 'ofrom',
  );
  const stamp = Date.parse(attr(delay, 'stamp') ?? '');
  return {
    kind: 'chat',
    message: {
      id: attr(stanza, 'id') ?? newId(),
      from: resource(from),
      name: text(display).trim() || undefined,
      isVisitor: attr(display, 'source') === 'visitor',
      body: text(body),
      isPrivate: type === 'chat',
      replyTo: attr(address, 'jid') ?? from,
      at: Number.isNaN(stamp) ? now : stamp,
      isHistory: delay !== undefined,
    },
  };
}

/** Whether a stanza is from the room, its occupants included. */
export function isFrom(stanza: Element, address: string): boolean {
  return bare(attr(stanza, 'from') ?? '') === address;
}
