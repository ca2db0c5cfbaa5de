// One XMPP stream over WebSocket: login, IQs, liveness, resumption after a loss. Does not know rooms. The framing, SASL and
// stream management are those of the Strophe library.

import { Strophe } from 'strophe.js';
import { Emitter } from '../emitter';
import { PATIENCE, resumePause } from './backoff';
import * as ns from './ns';
import { attr, child, nameOf, text, x } from './xml';

export interface StreamOptions {
  url: string;
  domain: string;
}

export class IqError extends Error {
  constructor(
    readonly condition: string,
    readonly stanza?: Element,
  ) {
    super(condition);
  }
}

type Events = {
  stanza: [Element];
  /** The socket broke; resumption is tried. */
  broken: [];
  /** An attempt to resume did not even reach the server. */
  unanswered: [];
  /** The same stream goes on. */
  resumed: [];
  /** The stream is gone for good. */
  lost: [string];
};

type State = 'new' | 'connecting' | 'open' | 'broken' | 'closed';

interface PendingIq {
  resolve: (stanza: Element) => void;
  reject: (error: Error) => void;
  timer: ReturnType<typeof setTimeout>;
}

const PING_EVERY = 10_000;
const PING_PATIENCE = 5_000;
const CONNECT_PATIENCE = 12_000;

export class Stream extends Emitter<Events> {
  jid = '';
  private state: State = 'new';
  private connection: InstanceType<typeof Strophe.Connection>;
  private iqs = new Map<string, PendingIq>();
  private held: Element[] = [];
  private attempts = 0;
  private brokenAt = 0;
  private retry?: ReturnType<typeof setTimeout>;
  private watchdog?: ReturnType<typeof setTimeout>;
  private pinger?: ReturnType<typeof setInterval>;
  private heardAt = 0;
  private nextId = 1;
  private first?: { resolve: () => void; reject: (error: Error) => void };
  private reason = '';
  private refusal = '';

  constructor(private readonly options: StreamOptions) {
    super();
    this.connection = new Strophe.Connection(options.url, { enableStreamManagement: true });
    this.connection.maxRetries = 0;
    this.connection.xmlInput = (element: Element) => this.input(element);
    // Whoever listens answers IQs; what nobody answers is answered in `unanswered`.
    this.connection.iqFallbackHandler.isMatch = () => false;
    addEventListener('online', this.online);
  }

  /** Logs in; resolves when the stream is bound. */
  open(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.first = { resolve, reject };
      this.connect();
    });
  }

  get isOpen(): boolean {
    return this.state === 'open';
  }

  get isBroken(): boolean {
    return this.state === 'broken';
  }

  send(stanza: Element): void {
    if (this.state === 'open') this.connection.send(stanza);
    else if (this.state === 'broken') this.held.push(stanza);
  }

  /** Sends an IQ and waits for its answer, across a resumption too. */
  iq(type: 'get' | 'set', to: string | undefined, payload: Element, patience = 15_000): Promise<Element> {
    const id = this.id();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.iqs.delete(id);
        reject(new IqError('timeout'));
      }, patience);
      this.iqs.set(id, { resolve, reject, timer });
      this.send(x('iq', { xmlns: ns.CLIENT, type, to, id }, payload));
    });
  }

  /** Answers an IQ. */
  reply(request: Element, payload?: Element): void {
    this.send(x('iq', { xmlns: ns.CLIENT, type: 'result', to: attr(request, 'from'), id: attr(request, 'id') }, payload));
  }

  refuse(request: Element, condition: string, type = 'cancel', ...more: Element[]): void {
    const error = x('error', { type }, x(condition, { xmlns: ns.STANZAS }), ...more);
    this.send(x('iq', { xmlns: ns.CLIENT, type: 'error', to: attr(request, 'from'), id: attr(request, 'id') }, error));
  }

  id(): string {
    return `a${this.nextId++}-${Math.floor(Math.random() * 0xffffff).toString(16)}`;
  }

  /** Ends the stream at once: the server takes the occupant out of all rooms. */
  close(): void {
    if (this.state === 'closed') return;
    const wasOpen = this.state === 'open';
    this.end();
    if (wasOpen) {
      this.connection.send(x('presence', { xmlns: ns.CLIENT, type: 'unavailable' }));
      this.connection.disconnect('bye');
    } else {
      this.drop();
    }
  }

  /** For tests and for a network that changed: breaks the socket as a lost network would. */
  interrupt(): void {
    this.drop();
    if (this.state === 'open') this.broke('interrupted');
  }

  private online = () => {
    if (this.state === 'open') return this.probe();
    if (this.state !== 'broken') return;
    clearTimeout(this.retry);
    this.connect();
  };

  private connect(): void {
    if (this.state === 'closed') return;
    if (this.state === 'new') this.state = 'connecting';
    const previd = this.state === 'broken' && this.resumption;
    this.connection.service = previd ? `${this.options.url}&previd=${encodeURIComponent(previd)}` : this.options.url;
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => this.gaveUp('timeout'), CONNECT_PATIENCE);
    this.reason = '';
    this.connection.connect(this.options.domain, '', (status: number, condition?: string | null) => this.status(status, condition ?? ''));
  }

  /** The id of the stream to resume; Strophe forgets its copy when it connects again. */
  private resumption?: string | null;

  private status(status: number, condition: string): void {
    const { Status } = Strophe;
    if (condition) this.reason = condition;
    switch (status) {
      case Status.CONNECTED:
        clearTimeout(this.watchdog);
        this.bound();
        break;
      case Status.AUTHFAIL:
        this.gaveUp(this.refusal || condition || 'not-authorized', true);
        break;
      case Status.CONNFAIL:
      case Status.DISCONNECTED:
        if (this.state === 'open') this.broke(this.reason || 'connection lost');
        else this.gaveUp(this.reason || 'The connection could not be made.');
        break;
    }
  }

  private bound(): void {
    const resumed = this.connection.hasResumed();
    if (this.state === 'broken' && !resumed) {
      // The server has forgotten the old stream; whoever holds this one has to begin anew.
      this.fail('item-not-found');
      return;
    }
    this.jid = this.connection.jid;
    this.state = 'open';
    this.attempts = 0;
    this.heardAt = Date.now();
    clearInterval(this.pinger);
    this.pinger = setInterval(() => this.watch(), PING_EVERY / 2);
    const { sm } = this.connection;
    if (sm) sm.onEnabled = () => void (this.resumption = sm.state.id);
    if (resumed) {
      this.emit('resumed');
      const held = this.held;
      this.held = [];
      held.forEach((s) => this.connection.send(s));
    } else {
      this.first?.resolve();
      this.first = undefined;
    }
  }

  private broke(reason: string): void {
    clearInterval(this.pinger);
    if (!this.resumption) return this.fail(reason);
    this.state = 'broken';
    this.brokenAt = Date.now();
    this.attempts = 0;
    this.emit('broken');
    this.again();
  }

  private again(): void {
    const pause = resumePause(this.attempts++, Date.now() - this.brokenAt, Math.random(), PATIENCE);
    if (pause === undefined) return this.fail(this.reason || 'connection lost');
    clearTimeout(this.retry);
    this.retry = setTimeout(() => {
      if (navigator.onLine === false) this.again();
      else this.connect();
    }, pause);
  }

  private gaveUp(reason: string, refused = false): void {
    clearTimeout(this.watchdog);
    if (this.state === 'closed') return;
    if (this.state === 'broken' && !refused) {
      this.drop();
      this.again();
      this.emit('unanswered');
      return;
    }
    this.fail(reason);
  }

  private fail(reason: string): void {
    if (this.state === 'closed') return;
    const waiting = this.first;
    this.end();
    this.drop();
    if (waiting) waiting.reject(new Error(reason));
    else this.emit('lost', reason);
  }

  private end(): void {
    this.state = 'closed';
    removeEventListener('online', this.online);
    clearTimeout(this.retry);
    clearTimeout(this.watchdog);
    clearInterval(this.pinger);
    this.first = undefined;
    for (const iq of this.iqs.values()) {
      clearTimeout(iq.timer);
      iq.reject(new IqError('closed'));
    }
    this.iqs.clear();
  }

  /** Closes the socket without a word. */
  private drop(): void {
    const proto = this.connection._proto as { _closeSocket?: () => void };
    proto._closeSocket?.();
  }

  private watch(): void {
    if (this.state === 'open' && Date.now() - this.heardAt >= PING_EVERY) this.probe();
  }

  /** Breaks the stream unless something is heard soon. */
  private probe(): void {
    const before = this.heardAt;
    this.iq('get', this.options.domain, x('ping', { xmlns: ns.PING }), PING_PATIENCE).catch(() => {
      if (this.state === 'open' && this.heardAt === before) this.interrupt();
    });
  }

  private input(element: Element): void {
    this.heardAt = Date.now();
    const name = nameOf(element);
    if (name === 'failure') {
      const what = child(element, 'text');
      this.refusal = text(what);
      return;
    }
    if (name !== 'iq' && name !== 'message' && name !== 'presence') return;
    const type = attr(element, 'type');
    if (name === 'iq' && (type === 'result' || type === 'error')) {
      const id = attr(element, 'id') ?? '';
      const iq = this.iqs.get(id);
      if (!iq) return;
      this.iqs.delete(id);
      clearTimeout(iq.timer);
      if (type === 'result') iq.resolve(element);
      else iq.reject(new IqError(condition(child(element, 'error')), element));
      return;
    }
    this.emit('stanza', element);
  }
}

/** The defined condition of an error. */
export function condition(error: Element | undefined): string {
  for (const c of Array.from(error?.childNodes ?? [])) {
    if (c.nodeType === 1 && (c as Element).namespaceURI === ns.STANZAS && nameOf(c as Element) !== 'text') {
      return nameOf(c as Element);
    }
  }
  return 'undefined-condition';
}
