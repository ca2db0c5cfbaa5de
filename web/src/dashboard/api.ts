// The admin API, as far as the dashboard uses it. The token stays in this tab.

export interface Overview {
  version: string; domain: string; roles: string[]; healthy: boolean; problem: string | null; url: string | null;
  rooms: number; stage: number; audience: number; sessions: number;
  nodes: { total: number; up: number }; bridges: { total: number; up: number };
  focus: { ready: boolean; invitations_waiting: number; reinvitations_waiting: number } | null;
}
export interface RoomNode { node: string; visitors: number; pending: number; state: string }
export interface Room {
  room: string; name: string; shown: string; meeting_id: string | null; created: number | null; stage: number; audience: number;
  moderators: number | null; hands: number | null; has_password: boolean | null; members_only: boolean | null;
  waiting: number | null; seats_pending: number | null; nodes: RoomNode[];
  bridges: { bridge: string; jid: string; endpoints: number }[];
  hands_raised?: { visitor: string; node: string; name: string | null }[];
}
export interface Link { domain: string; up: boolean; in_memory: boolean; address?: string }
export interface Node {
  name: string; kind: 'main' | 'visitor'; state: string; here: boolean; domain: string | null; connected: boolean | null;
  draining: boolean; link: boolean | null; sessions: number | null; rooms: number | null; stage: number | null;
  visitors: number | null; pending: number | null; capacity: number | null; load: number | null; links: Link[] | null;
  in_rooms?: { room: string; stage?: number; visitors: number; pending?: number; state?: string }[];
}
export interface Bridge {
  name: string; jid: string | null; state: string; here: boolean; region: string | null; version: string | null; stress: number;
  draining: boolean; failing_ice: boolean; endpoints: number; conferences: number; illness: string | null;
  restart_requests: number; endpoints_moved: number;
  rates: { bits_in: number; bits_out: number; packets_in: number; packets_out: number } | null;
  in_rooms?: { room: string; endpoints: number }[];
}
export interface Entry { id: number; at: number; kind: string; text: string; room?: string; node?: string; endpoint?: string }
export interface Sample {
  at: number; joins_stage: number; joins_audience: number; stage: number; audience: number; rooms: number; sessions: number;
  stanzas_out: number; fanout_p50: number | null; fanout_p99: number | null; bits_in: number | null; bits_out: number | null;
  nodes: { name: string; visitors: number }[]; bridges: { name: string; stress: number; endpoints: number }[];
}
export interface Finding { level: 'error' | 'warning' | 'note'; about: string; text: string; fix: string }
export interface Occupant {
  id: string; place: 'stage' | 'audience'; node: string | null; jid: string | null; role: string; name: string | null;
  machine: string | null; user: string | null; region: string | null; bridge: string | null;
}
export interface Decision { id: number; at: number; room: string; place: string; why: string; node?: string; peer?: string; machine?: string; user?: string }
export interface Why { text: string; promoted: boolean; decisions: Decision[]; occupant: Occupant }

const BASE = '/admin/v1';
const KEY = 'amphi-admin-token';

let token = sessionStorage.getItem(KEY) ?? '';

export const hasToken = (): boolean => token !== '';

export function setToken(t: string): void {
  token = t;
  if (t) sessionStorage.setItem(KEY, t);
  else sessionStorage.removeItem(KEY);
}

/** What the server said against it. */
export class Refused extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

export async function ask<T>(path: string, method = 'GET', body?: unknown): Promise<T> {
  const headers: Record<string, string> = { authorization: `Bearer ${token}` };
  if (body !== undefined) headers['content-type'] = 'application/json';
  const answer = await fetch(BASE + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, (value as { error?: string }).error ?? `The server answered ${answer.status}.`);
  return value as T;
}

export const roomPath = (room: string): string => `/rooms/${encodeURIComponent(room)}`;
export const occupantPath = (room: string, id: string): string => `${roomPath(room)}/occupants/${encodeURIComponent(id)}`;

/** Follows the event stream until it ends; `fetch`, because EventSource cannot show a token. */
export async function follow(last: number, on: (event: string, data: unknown) => void, signal: AbortSignal): Promise<void> {
  const headers: Record<string, string> = { authorization: `Bearer ${token}` };
  if (last) headers['last-event-id'] = String(last);
  const answer = await fetch(`${BASE}/events/stream`, { headers, signal });
  if (!answer.ok || !answer.body) throw new Refused(answer.status, `The stream answered ${answer.status}.`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const block = text.slice(0, end);
      text = text.slice(end + 2);
      let event = '';
      let data = '';
      for (const line of block.split('\n')) {
        if (line.startsWith('event:')) event = line.slice(6).trim();
        else if (line.startsWith('data:')) data += line.slice(5).trim();
      }
      if (data) on(event, JSON.parse(data));
    }
  }
}
