// STOMP 1.2 as far as the waiting room needs it: connect, subscribe, messages, heart-beats (spec/client.md 15.1). Frames are
// pure functions; `StompClient` adds the socket and tries again by itself.

export interface Frame {
  command: string;
  headers: Record<string, string>;
  body: string;
}

const escape = (v: string) =>
  v.replace(/[\\\r\n:]/g, (c) => ({ '\\': '\\\\', '\r': '\\r', '\n': '\\n', ':': '\\c' })[c] ?? c);
const unescape = (v: string) =>
  v.replace(/\\(.)/g, (_, c: string) => ({ '\\': '\\', r: '\r', n: '\n', c: ':' })[c] ?? '');

export function writeFrame(f: Frame): string {
  // Headers of CONNECT are not escaped (STOMP 1.2, "Value Encoding").
  const keep = f.command === 'CONNECT';
  const lines = Object.entries(f.headers).map(([k, v]) => (keep ? `${k}:${v}` : `${escape(k)}:${escape(v)}`));
  return `${[f.command, ...lines].join('\n')}\n\n${f.body}\0`;
}

/** Reads one frame; a heart-beat or garbage is nothing. */
export function readFrame(data: string): Frame | undefined {
  const head = data.replace(/^[\r\n]+/, '');
  const split = /\r?\n\r?\n/.exec(head);
  if (!split) return undefined;
  const [command, ...lines] = head.slice(0, split.index).split(/\r?\n/);
  if (!command) return undefined;
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const at = line.indexOf(':');
    const key = unescape(line.slice(0, at));
    // The first of several counts.
    if (at > 0 && !(key in headers)) headers[key] = unescape(line.slice(at + 1));
  }
  const rest = head.slice(split.index + split[0].length);
  const end = rest.indexOf('\0');
  return { command, headers, body: end < 0 ? rest : rest.slice(0, end) };
}

const HEART_BEAT = 20_000;

export class StompClient {
  private socket?: WebSocket;
  private timers: ReturnType<typeof setTimeout>[] = [];
  private beat?: ReturnType<typeof setInterval>;
  private isClosed = false;
  private attempt = 0;

  constructor(
    private readonly url: string,
    private readonly destinations: Record<string, (body: unknown) => void>,
    private readonly token?: string,
  ) {
    this.open();
  }

  close(): void {
    this.isClosed = true;
    clearInterval(this.beat);
    this.timers.forEach(clearTimeout);
    this.socket?.close();
  }

  private open(): void {
    if (this.isClosed) return;
    const socket = new WebSocket(this.url, ['v12.stomp']);
    socket.binaryType = 'arraybuffer';
    this.socket = socket;
    socket.onopen = () => {
      const headers: Record<string, string> = { 'accept-version': '1.2', host: location.host, 'heart-beat': `${HEART_BEAT},${HEART_BEAT * 2}` };
      if (this.token) headers.Authorization = `Bearer ${this.token}`;
      socket.send(writeFrame({ command: 'CONNECT', headers, body: '' }));
    };
    socket.onmessage = (e: MessageEvent<string | ArrayBuffer>) => {
      const f = readFrame(typeof e.data === 'string' ? e.data : new TextDecoder().decode(e.data));
      if (f) this.handle(f, socket);
    };
    socket.onclose = () => {
      clearInterval(this.beat);
      if (this.isClosed) return;
      const pause = Math.min(1000 * 2 ** this.attempt++, 30_000) * (0.7 + Math.random() * 0.6);
      this.timers = [setTimeout(() => this.open(), pause)];
    };
  }

  private handle(f: Frame, socket: WebSocket): void {
    if (f.command === 'CONNECTED') {
      this.attempt = 0;
      Object.keys(this.destinations).forEach((destination, id) =>
        socket.send(writeFrame({ command: 'SUBSCRIBE', headers: { id: String(id), destination }, body: '' })),
      );
      this.beat = setInterval(() => socket.readyState === WebSocket.OPEN && socket.send('\n'), HEART_BEAT);
    } else if (f.command === 'MESSAGE') {
      const listener = this.destinations[f.headers.destination ?? ''];
      try {
        listener?.(JSON.parse(f.body));
      } catch {
        console.warn('The queue sent what is no JSON.');
      }
    }
  }
}
