// The room beside a meeting in which newcomers wait until a moderator lets them in (spec/client.md 19). Both sides of it: knocking,
// and looking who knocks. It shares the stream of the meeting.

import { Emitter } from '../emitter';
import { bare, resource } from './jid';
import { readMessage } from './messages';
import * as ns from './ns';
import { readPresence, readRefusal } from './presence';
import { JoinError } from './room';
import type { Stream } from './stream';
import { attr, nameOf, x } from './xml';

/** Somebody who waits. */
export interface Knocker {
  id: string;
  jid: string;
  name: string;
}

type Events = {
  here: [Knocker];
  gone: [string];
  closed: [];
};

const PATIENCE = 60_000;

export class LobbyRoom extends Emitter<Events> {
  private readonly knockers = new Map<string, Knocker>();
  private off: () => void;
  private isIn = false;
  private isOver = false;
  private entered?: { resolve: () => void; reject: (e: Error) => void };
  private decided?: { resolve: () => void; reject: (e: Error) => void };

  constructor(
    private readonly stream: Stream,
    readonly jid: string,
    private readonly nick: string,
    private readonly meeting: string,
  ) {
    super();
    this.off = stream.on('stanza', (s) => this.handle(s));
  }

  join(name = ''): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('The lobby does not answer.')), PATIENCE);
      this.entered = { resolve: () => (clearTimeout(timer), resolve()), reject: (e) => (clearTimeout(timer), reject(e)) };
      this.stream.send(
        x('presence', { xmlns: ns.CLIENT, to: this.me }, x('x', { xmlns: ns.MUC }), name ? x('nick', { xmlns: ns.NICK }, name) : null),
      );
    });
  }

  /** Waits in the lobby. Resolves when the way into the meeting is free; fails when it is not. */
  async knock(name: string): Promise<void> {
    const decision = new Promise<void>((resolve, reject) => (this.decided = { resolve, reject }));
    decision.catch(() => undefined);
    try {
      await this.join(name);
      await decision;
    } catch (error) {
      // The lobby was closed while this one was on its way to it.
      if (!(error instanceof JoinError && error.refusal.kind === 'again')) throw error;
    } finally {
      this.leave();
    }
  }

  leave(): void {
    if (this.isOver) return;
    this.end();
    if (this.isIn) this.stream.send(x('presence', { xmlns: ns.CLIENT, to: this.me, type: 'unavailable' }));
  }

  private end(): void {
    this.isOver = true;
    this.off();
    this.entered?.reject(new Error('left'));
    this.decided?.reject(new Error('left'));
    this.clear();
  }

  private get me(): string {
    return `${this.jid}/${this.nick}`;
  }

  // ---- what moderators do -----------------------------------------------------------------------------------------------

  approve(ids: readonly string[]): void {
    const known = ids.map((id) => this.knockers.get(id)).filter((k) => k !== undefined);
    if (known.length === 0) return;
    const invites = known.map((k) => x('invite', { to: k.jid }));
    this.stream.send(x('message', { xmlns: ns.CLIENT, to: this.meeting, id: this.stream.id() }, x('x', { xmlns: ns.MUC_USER }, ...invites)));
  }

  async deny(id: string): Promise<void> {
    await this.stream.iq('set', this.jid, x('query', { xmlns: ns.MUC_ADMIN }, x('item', { nick: id, role: 'none' })));
  }

  // ---- what comes -------------------------------------------------------------------------------------------------------

  private handle(stanza: Element): void {
    const from = attr(stanza, 'from') ?? '';
    const name = nameOf(stanza);
    // The invitation is the meeting's.
    if (name === 'message' && from === this.meeting && readMessage(stanza, 0, () => '')?.kind === 'invite') this.decided?.resolve();
    if (name === 'presence' && bare(from) === this.jid) this.presence(stanza, from);
  }

  private presence(stanza: Element, from: string): void {
    if (attr(stanza, 'type') === 'error') return this.entered?.reject(new JoinError(readRefusal(stanza)));
    const p = readPresence(stanza);
    if (!p) return;
    const isMe = from === this.me || p.statuses.includes('110');
    if (!p.isGone) {
      if (isMe) {
        this.isIn = true;
        return this.entered?.resolve();
      }
      const { id, jid, name } = p.occupant;
      if (!jid || p.occupant.role === 'moderator') return;
      const knocker = { id, jid, name };
      this.knockers.set(id, knocker);
      return this.emit('here', knocker);
    }
    if (!isMe) {
      const id = resource(from);
      if (this.knockers.delete(id)) this.emit('gone', id);
      return;
    }
    this.isIn = false;
    if (p.destroyed?.jid) this.decided?.resolve();
    else if (p.destroyed) this.decided?.reject(new JoinError({ kind: 'over' }));
    else this.decided?.reject(new JoinError({ kind: 'turned-away', words: p.reason ?? '' }));
    this.emit('closed');
    this.end();
  }
}
