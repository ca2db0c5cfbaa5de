// Which tiles there are, in which order and size. Pure.

import type { RemoteTrack } from '../media/session';
import type { View } from '../media/constraints';
import type { Occupant, SourceState } from '../xmpp/presence';
import type { Tile } from './state';

export interface Scene {
  me: Occupant | null;
  isOnStage: boolean;
  people: readonly Occupant[];
  tracks: readonly RemoteTrack[];
  camera: MediaStreamTrack | null;
  screen: MediaStreamTrack | null;
  isMicOn: boolean;
  speaker: string | null;
  poor: ReadonlySet<string>;
}

const isScreenOf = (name: string, s: SourceState): boolean => s.videoType === 'desktop' && /-v\d+$/.test(name);

export function tiles(s: Scene): Tile[] {
  const byName = new Map(s.tracks.map((t) => [t.slot.source, t.track]));
  const all: Tile[] = [];
  for (const p of s.people) {
    const isLocal = p.id === s.me?.id;
    if (isLocal && !s.isOnStage) continue;
    const camera = `${p.id}-v0`;
    const common = {
      owner: p.id,
      name: p.name || 'Guest',
      isLocal,
      isAudioMuted: isLocal ? !s.isMicOn : (p.sources[`${p.id}-a0`]?.muted ?? true),
      isSpeaking: s.speaker === p.id,
      hand: p.hand,
      isModerator: p.role === 'moderator',
      isPoor: s.poor.has(p.id),
    };
    const cameraOn = isLocal ? s.camera !== null : p.sources[camera]?.muted === false;
    const track = isLocal ? s.camera : (byName.get(camera) ?? null);
    all.push({ ...common, key: camera, source: camera, isScreen: false, track: cameraOn ? track : null, hasVideo: cameraOn });
    for (const [name, state] of Object.entries(p.sources)) {
      if (isLocal || !isScreenOf(name, state) || state.muted) continue;
      all.push({ ...common, key: name, source: name, isScreen: true, track: byName.get(name) ?? null, hasVideo: true });
    }
    if (isLocal && s.screen) {
      all.push({ ...common, key: `${p.id}-v1`, source: `${p.id}-v1`, isScreen: true, track: s.screen, hasVideo: true });
    }
  }
  return all;
}

/** The tile that is shown large: what is pinned, else a shared screen, else who speaks. Nothing: all are shown alike. */
export function focusOf(all: readonly Tile[], pinned: string | null, speaker: string | null, follows: boolean): Tile | undefined {
  const byKey = pinned ? all.find((t) => t.key === pinned) : undefined;
  if (byKey) return byKey;
  const screen = [...all].reverse().find((t) => t.isScreen && !t.isLocal);
  if (screen) return screen;
  if (!follows) return undefined;
  return all.find((t) => t.owner === speaker && !t.isLocal && !t.isScreen) ?? all.find((t) => t.hasVideo) ?? all[0];
}

export interface Grid {
  columns: number;
  rows: number;
  width: number;
  height: number;
}

/** The arrangement that makes tiles of 16:9 largest; narrow pages get upright tiles. */
export function grid(count: number, width: number, height: number, gap: number): Grid {
  let best: Grid = { columns: 1, rows: Math.max(1, count), width: 0, height: 0 };
  const ratio = width < height ? (count <= 2 ? 1 : 4 / 5) : 16 / 9;
  for (let columns = 1; columns <= Math.max(1, count); columns++) {
    const rows = Math.ceil(count / columns);
    const w = (width - gap * (columns - 1)) / columns;
    const h = (height - gap * (rows - 1)) / rows;
    // Tiles may become somewhat wider or higher than the ratio, since faces are in the middle.
    const tileWidth = Math.min(w, h * ratio * 1.15);
    const tileHeight = Math.min(h, tileWidth / ratio * 1.15);
    if (tileWidth * tileHeight > best.width * best.height) {
      best = { columns, rows, width: Math.floor(tileWidth), height: Math.floor(tileHeight) };
    }
  }
  return best;
}

/** What is asked of the bridge. */
export function viewOf(large: readonly Tile[], small: readonly Tile[], largeHeight: number, smallHeight: number): View {
  const sources = (all: readonly Tile[]) => all.filter((t) => !t.isLocal && t.hasVideo).map((t) => t.source);
  return { large: sources(large), small: sources(small), largeHeight: Math.round(largeHeight), smallHeight: Math.round(smallHeight), isHidden: false };
}
