// Figures of a session: what goes in and out, what is lost, how good the connection is. Pure but for `collect`.

export interface Figures {
  bitrateUp: number;
  bitrateDown: number;
  /** Share of lost packets, 0 to 1. */
  lossUp: number;
  lossDown: number;
  rttMs: number;
  /** Loudness of received audio by SSRC, 0 to 1. */
  levels: Map<number, number>;
  framesDecoded: number;
  framesSent: number;
}

export interface Totals {
  at: number;
  bytesUp: number;
  bytesDown: number;
  received: number;
  lost: number;
}

type Entry = Record<string, unknown> & { type: string };

const n = (v: unknown): number => (typeof v === 'number' && Number.isFinite(v) ? v : 0);

export function figures(entries: Iterable<Entry>, now: number, before: Totals | undefined): { figures: Figures; totals: Totals } {
  const totals: Totals = { at: now, bytesUp: 0, bytesDown: 0, received: 0, lost: 0 };
  const f: Figures = { bitrateUp: 0, bitrateDown: 0, lossUp: 0, lossDown: 0, rttMs: 0, levels: new Map(), framesDecoded: 0, framesSent: 0 };
  let lossUp = 0;
  for (const e of entries) {
    if (e.type === 'outbound-rtp') {
      totals.bytesUp += n(e.bytesSent);
      f.framesSent += n(e.framesSent);
    } else if (e.type === 'inbound-rtp') {
      totals.bytesDown += n(e.bytesReceived);
      totals.received += n(e.packetsReceived);
      totals.lost += Math.max(0, n(e.packetsLost));
      f.framesDecoded += n(e.framesDecoded);
      if (e.kind === 'audio') f.levels.set(n(e.ssrc), n(e.audioLevel));
    } else if (e.type === 'remote-inbound-rtp') {
      lossUp = Math.max(lossUp, n(e.fractionLost));
    } else if (e.type === 'candidate-pair' && e.nominated === true) {
      f.rttMs = Math.round(n(e.currentRoundTripTime) * 1000);
    }
  }
  f.lossUp = lossUp;
  if (before && now > before.at) {
    const seconds = (now - before.at) / 1000;
    f.bitrateUp = Math.max(0, Math.round(((totals.bytesUp - before.bytesUp) * 8) / seconds / 1000));
    f.bitrateDown = Math.max(0, Math.round(((totals.bytesDown - before.bytesDown) * 8) / seconds / 1000));
    const lost = totals.lost - before.lost;
    const all = totals.received - before.received + lost;
    f.lossDown = all > 0 ? Math.max(0, lost / all) : 0;
  }
  return { figures: f, totals };
}

/** 0 to 100, as other clients show it. */
export function quality(f: Figures): number {
  const loss = Math.max(f.lossDown, f.lossUp);
  const penalty = Math.min(80, loss * 400) + Math.min(20, Math.max(0, f.rttMs - 150) / 20);
  return Math.round(100 - penalty);
}

export async function collect(pc: RTCPeerConnection, before: Totals | undefined): Promise<ReturnType<typeof figures>> {
  const report = await pc.getStats();
  const entries: Entry[] = [];
  report.forEach((e: Entry) => entries.push(e));
  return figures(entries, Date.now(), before);
}
