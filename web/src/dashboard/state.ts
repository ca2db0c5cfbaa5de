// What the dashboard knows, kept fresh: figures by polling, events and samples by the stream.

import { signal } from '@preact/signals';
import { ask, follow, hasToken, Refused, setToken } from './api';
import type { Bridge, Entry, Finding, Node, Overview, Sample } from './api';

export const isIn = signal(false);
export const signInError = signal('');
export const isLive = signal(false);
export const overview = signal<Overview | null>(null);
export const nodes = signal<Node[]>([]);
export const bridges = signal<Bridge[]>([]);
export const events = signal<Entry[]>([]);
export const samples = signal<Sample[]>([]);
export const findings = signal<Finding[] | null>(null);
/** Joins and leaves of the audience seen on the stream; the log does not keep them. */
export const notice = signal<{ text: string; bad: boolean } | null>(null);
export const route = signal(location.hash.slice(2));

const KEPT_EVENTS = 500;
const KEPT_SAMPLES = 600;
const NOISE = new Set(['visitor-joined', 'visitor-left']);

addEventListener('hashchange', () => (route.value = location.hash.slice(2)));

export function go(to: string): void {
  location.hash = `/${to}`;
}

let noticeTimer = 0;
export function tell(text: string, bad = false): void {
  notice.value = { text, bad };
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => (notice.value = null), bad ? 8000 : 4000) as unknown as number;
}

export async function refresh(): Promise<void> {
  const o = await ask<Overview>('/overview');
  const [n, b, c] = await Promise.all([
    ask<{ nodes: Node[] }>('/nodes'), ask<{ bridges: Bridge[] }>('/bridges'),
    ask<{ findings: Finding[] }>('/check'),
  ]);
  overview.value = o;
  nodes.value = n.nodes;
  bridges.value = b.bridges;
  findings.value = c.findings;
}

let stop: AbortController | null = null;

export async function signIn(token?: string): Promise<void> {
  if (token !== undefined) setToken(token);
  if (!hasToken()) return;
  try {
    await refresh();
    samples.value = (await ask<{ samples: Sample[] }>('/series')).samples;
    events.value = (await ask<{ events: Entry[] }>(`/events?limit=${KEPT_EVENTS}`)).events;
    signInError.value = '';
    isIn.value = true;
    stop?.abort();
    stop = new AbortController();
    void poll(stop.signal);
    void stream(stop.signal);
  } catch (e) {
    if (e instanceof Refused && e.status === 401) setToken('');
    signInError.value = e instanceof Refused ? e.message : 'The server cannot be reached.';
  }
}

export function signOut(): void {
  stop?.abort();
  setToken('');
  isIn.value = false;
}

const pause = (ms: number): Promise<void> => new Promise((r) => setTimeout(r, ms));

async function poll(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await pause(2000);
    if (document.hidden) continue;
    await refresh().catch((e: unknown) => {
      if (e instanceof Refused && e.status === 401) signOut();
    });
  }
}

async function stream(signal: AbortSignal): Promise<void> {
  let wait = 500;
  while (!signal.aborted) {
    const last = events.peek().at(-1)?.id ?? 0;
    try {
      await follow(last, (event, data) => {
        isLive.value = true;
        wait = 500;
        if (event === 'sample') samples.value = [...samples.peek(), data as Sample].slice(-KEPT_SAMPLES);
        else if (event !== 'lost' && !NOISE.has(event)) {
          const e = data as Entry;
          if (!events.peek().some((x) => x.id === e.id)) events.value = [...events.peek(), e].slice(-KEPT_EVENTS);
        }
      }, signal);
    } catch {
      // Tried again below.
    }
    isLive.value = false;
    await pause(wait);
    wait = Math.min(wait * 2, 10_000);
  }
}
