// When to try a broken stream again (spec/client.md 5): soon, then slower, until the server has forgotten it.

export interface Patience {
  /** Longest time over which a stream is resumed. */
  total: number;
  first: number;
  most: number;
}

export const PATIENCE: Patience = { total: 55_000, first: 400, most: 6_000 };

/** The pause before attempt `n` (from 0), or nothing if time is up. `since` is how long the stream has been broken. */
export function resumePause(n: number, since: number, random: number, p: Patience = PATIENCE): number | undefined {
  if (since >= p.total) return undefined;
  const pause = Math.min(p.first * 2 ** n, p.most);
  return pause * (0.6 + random * 0.8);
}
