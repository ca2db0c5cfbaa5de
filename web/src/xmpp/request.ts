// The conference request: asks the focus to prepare the room, before any XMPP (spec/client.md 7).

import type { Config } from '../config';

export interface Admission {
  /** Account of the focus. */
  focusJid?: string;
  /** Visitor node to go to. */
  vnode?: string;
  /** False: the meeting has not begun for its audience. */
  live: boolean;
  ready: boolean;
  sessionId?: string;
  visitorsSupported: boolean;
}

export class RequestError extends Error {
  constructor(
    readonly kind: 'login' | 'session' | 'ended' | 'refused' | 'unreachable',
    message: string,
  ) {
    super(message);
  }
}

export interface Asking {
  room: string;
  roomName: string;
  machineUid: string;
  token?: string;
  visitor?: boolean;
  sessionId?: string;
  /** The meeting that this client was in; the focus knows whether it was ended meanwhile. */
  meetingId?: string;
}

export function requestBody(asking: Asking): string {
  return JSON.stringify({
    room: asking.room,
    machineUid: asking.machineUid,
    ...(asking.sessionId ? { sessionId: asking.sessionId } : {}),
    properties: { rtcstatsEnabled: false, 'visitors-version': 1, ...(asking.visitor ? { visitor: true } : {}), ...(asking.meetingId ? { 'meeting-id': asking.meetingId } : {}) },
  });
}

export function readAdmission(value: unknown): Admission {
  const v = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const properties = (typeof v.properties === 'object' && v.properties !== null ? v.properties : {}) as Record<string, unknown>;
  const text = (t: unknown) => (typeof t === 'string' && t !== '' ? t : undefined);
  return {
    focusJid: text(v.focusJid),
    vnode: text(v.vnode),
    sessionId: text(v.sessionId),
    ready: v.ready === true || v.ready === 'true',
    live: String(properties.live) !== 'false',
    visitorsSupported: String(properties['visitors-supported']) === 'true',
  };
}

/** Asks once. */
export async function ask(config: Config, asking: Asking, tenant: string, signal?: AbortSignal): Promise<Admission> {
  const path = `${tenant ? `/${encodeURIComponent(tenant)}` : ''}/conference-request/v1`;
  let answer: Response;
  try {
    answer = await fetch(`${config.http}${path}?room=${encodeURIComponent(asking.roomName)}`, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        ...(asking.token ? { Authorization: `Bearer ${asking.token}` } : {}),
      },
      body: requestBody(asking),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RequestError('unreachable', 'The server is out of reach.');
  }
  if (answer.ok) return readAdmission(await answer.json().catch(() => undefined));
  const words = (await answer.text().catch(() => '')).slice(0, 300);
  if (answer.status === 403) throw new RequestError('login', words || 'This meeting needs a login.');
  if (answer.status === 400 && words.includes('invalid-session')) throw new RequestError('session', words);
  if (answer.status === 410) throw new RequestError('ended', words);
  if (answer.status >= 500 || answer.status === 429) {
    throw new RequestError('unreachable', words || 'The server is busy.');
  }
  throw new RequestError('refused', words || `The server refused (${answer.status}).`);
}

/** Pause before the next try: 1, 2, 4 s and so on, with some spread so that a crowd does not come back as one. */
export function pause(attempt: number, random: () => number = Math.random, most = 120_000): number {
  return Math.min(1000 * 2 ** attempt, most) * (0.75 + random() / 2);
}
