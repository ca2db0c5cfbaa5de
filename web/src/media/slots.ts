// Which remote source is on which SSRC. The bridge has a bounded number of SSRCs for each receiver and moves sources between
// them (spec/client.md 17, source maps). Pure.

import type { Kind } from './jingle';

export interface Mapped {
  source: string;
  owner: string;
  ssrc: number;
  rtx?: number;
  videoType?: string;
}

export interface Slot {
  kind: Kind;
  ssrc: number;
  rtx?: number;
  mid: string;
  /** What is on it now; nothing after its source moved elsewhere. */
  source?: string;
  owner?: string;
  isScreen: boolean;
}

export interface Change {
  /** The session has to be negotiated again. */
  added: boolean;
  /** Something is shown elsewhere than before. */
  changed: boolean;
}

/** Reads a source map; entries that make no sense are left out. */
export function readMap(value: unknown): Mapped[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((v: Record<string, unknown>) => {
    const ssrc = Number(v?.ssrc);
    if (typeof v?.source !== 'string' || typeof v.owner !== 'string' || !isSsrc(ssrc)) return [];
    const rtx = Number(v.rtx);
    const videoType = typeof v.videoType === 'string' ? v.videoType.toLowerCase() : undefined;
    return [{ source: v.source, owner: v.owner, ssrc, rtx: isSsrc(rtx) ? rtx : undefined, videoType }];
  });
}

function isSsrc(n: number): boolean {
  return Number.isInteger(n) && n > 0 && n <= 0xffffffff;
}

export class Slots {
  private all = new Map<number, Slot>();

  /** At most as many sections as this; a bridge that wants more is not followed. */
  constructor(private readonly most = 200) {}

  get list(): Slot[] {
    return [...this.all.values()];
  }

  /** Takes over a map: SSRCs that are new get a section, known ones get their new source. */
  apply(kind: Kind, map: readonly Mapped[]): Change {
    const change: Change = { added: false, changed: false };
    for (const m of map) {
      for (const other of this.all.values()) {
        if (other.source === m.source && other.ssrc !== m.ssrc) {
          other.source = undefined;
          other.owner = undefined;
          change.changed = true;
        }
      }
      const isScreen = m.videoType !== undefined && m.videoType !== 'camera' && m.videoType !== 'none';
      const slot = this.all.get(m.ssrc);
      if (!slot) {
        if (this.all.size >= this.most) continue;
        const { ssrc, rtx, source, owner } = m;
        this.all.set(ssrc, { kind, ssrc, rtx, source, owner, isScreen, mid: `${kind === 'audio' ? 'ra' : 'rv'}${this.all.size}` });
        change.added = true;
        change.changed = true;
      } else if (slot.source !== m.source || slot.owner !== m.owner || slot.isScreen !== isScreen) {
        Object.assign(slot, { source: m.source, owner: m.owner, isScreen });
        change.changed = true;
      }
    }
    return change;
  }

  /** Somebody left. */
  forget(owner: string): boolean {
    let changed = false;
    for (const slot of this.all.values()) {
      if (slot.owner !== owner) continue;
      slot.source = undefined;
      slot.owner = undefined;
      changed = true;
    }
    return changed;
  }

  bySource(source: string): Slot | undefined {
    return this.list.find((s) => s.source === source);
  }
}
