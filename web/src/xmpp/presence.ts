// Presence in a room, read and written (spec/client.md 10 and 11). Pure.

import { resource } from './jid';
import * as ns from './ns';
import { attr, child, children, json, nameOf, text, x } from './xml';
import { capsElement } from './caps';

export interface SourceState {
  muted: boolean;
  videoType: 'camera' | 'desktop';
}

export type Role = 'moderator' | 'participant' | 'visitor' | 'none';

export interface Occupant {
  /** Nickname, which is the endpoint id. */
  id: string;
  jid?: string;
  name: string;
  role: Role;
  affiliation: string;
  /** When the hand was raised, in ms since the epoch; 0 when it is down. */
  hand: number;
  sources: Record<string, SourceState>;
  codecs: string[];
}

export interface Presence {
  occupant: Occupant;
  statuses: string[];
  isGone: boolean;
  reason?: string;
  actor?: string;
  destroyed?: { reason: string; jid?: string };
  ignored: boolean;
  properties?: Record<string, string>;
}

const ROLES = ['moderator', 'participant', 'visitor', 'none'];

export function readPresence(stanza: Element): Presence | undefined {
  const id = resource(attr(stanza, 'from') ?? '');
  const user = child(stanza, 'x', ns.MUC_USER);
  if (!id) return undefined;
  const item = child(user, 'item');
  const role = attr(item, 'role') ?? 'none';
  const gone = attr(stanza, 'type') === 'unavailable';
  const destroy = child(user, 'destroy');
  const occupant: Occupant = {
    id,
    jid: attr(item, 'jid'),
    name: text(child(stanza, 'nick', ns.NICK)).trim(),
    role: (ROLES.includes(role) ? role : 'participant') as Role,
    affiliation: attr(item, 'affiliation') ?? 'none',
    hand: Number(text(child(stanza, 'jitsi_participant_raisedHand'))) || 0,
    sources: readSources(text(child(stanza, 'SourceInfo')), id),
    codecs: text(child(stanza, 'jitsi_participant_codecList')).split(',').filter(Boolean),
  };
  return {
    occupant,
    statuses: children(user ?? stanza, 'status').map((s) => attr(s, 'code') ?? '').filter(Boolean),
    isGone: gone,
    reason: gone ? text(child(item, 'reason')) || text(child(stanza, 'status')) || undefined : undefined,
    actor: attr(child(item, 'actor'), 'nick'),
    destroyed: destroy && { reason: text(child(destroy, 'reason')), jid: attr(destroy, 'jid') },
    ignored: gone && child(stanza, 'ignore', `${ns.JITMEET}/`) !== undefined,
    properties: readProperties(stanza),
  };
}

/** `SourceInfo`; names that are not the occupant's own are left out. */
export function readSources(source: string, owner: string): Record<string, SourceState> {
  const all: Record<string, SourceState> = {};
  for (const [name, value] of Object.entries(json(source) ?? {})) {
    if (!name.startsWith(`${owner}-`) || typeof value !== 'object' || value === null) continue;
    const v = value as Record<string, unknown>;
    all[name] = { muted: v.muted !== false, videoType: v.videoType === 'desktop' ? 'desktop' : 'camera' };
  }
  return all;
}

function readProperties(stanza: Element): Record<string, string> | undefined {
  const all = child(stanza, 'conference-properties', ns.FOCUS);
  if (!all) return undefined;
  return Object.fromEntries(children(all, 'property').map((p) => [attr(p, 'key') ?? '', attr(p, 'value') ?? '']));
}

/** What this client says of itself. */
export interface Own {
  name: string;
  hand: number;
  sources: Record<string, SourceState>;
  codecs: string[];
}

/** The extensions of an own presence; every one carries all of them. */
export function ownExtensions(own: Own): Element[] {
  const sources = Object.fromEntries(
    Object.entries(own.sources).map(([name, s]) => [
      name,
      { muted: s.muted, ...(s.videoType === 'desktop' ? { videoType: 'desktop' } : {}) },
    ]),
  );
  return [
    capsElement(),
    x('SourceInfo', {}, JSON.stringify(sources)),
    x('jitsi_participant_codecList', {}, own.codecs.join(',')),
    ...(own.name ? [x('nick', { xmlns: ns.NICK }, own.name)] : []),
    x('jitsi_participant_raisedHand', {}, own.hand ? String(own.hand) : ''),
  ];
}

/** Why a room cannot be joined. */
export type JoinRefusal =
  | { kind: 'password' }
  | { kind: 'members-only'; lobby?: string; waitingForHost: boolean }
  /** A moderator does not let this one in. */
  | { kind: 'turned-away'; words: string }
  /** The meeting ended while this one waited. */
  | { kind: 'over' }
  | { kind: 'full' }
  | { kind: 'name' }
  | { kind: 'again' }
  | { kind: 'nobody-on-stage' }
  | { kind: 'promotion-refused' }
  | { kind: 'no-visitors' }
  | { kind: 'login' }
  | { kind: 'refused'; words: string };

/** Reads an error on joining (spec/client.md 10.3). */
export function readRefusal(stanza: Element): JoinRefusal {
  const error = child(stanza, 'error');
  const has = (name: string) => children(error ?? stanza).find((c) => nameOf(c) === name);
  const words = text(has('text'));
  if (has('not-authorized')) return { kind: 'password' };
  if (has('registration-required')) {
    const lobby = has('lobbyroom');
    return { kind: 'members-only', lobby: lobby && text(lobby), waitingForHost: has('waiting-for-host') !== undefined };
  }
  if (has('service-unavailable')) return { kind: 'full' };
  if (has('displayname-required')) return { kind: 'name' };
  if (has('no-main-participants')) return { kind: 'nobody-on-stage' };
  if (has('promotion-not-allowed')) return { kind: 'promotion-refused' };
  if (has('no-visitors-lobby')) return { kind: 'no-visitors' };
  if (has('authentication-required')) return { kind: 'login' };
  if (has('room-does-not-exist') || words === 'Room creation is restricted') return { kind: 'again' };
  return { kind: 'refused', words: words || nameOf(children(error ?? stanza)[0] ?? stanza) };
}
