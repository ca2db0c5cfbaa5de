// What this tab remembers of its seat, so that a reload comes back to it without a question. It is forgotten with the tab, and
// when the person leaves.

export interface Seat {
  room: string;
  name: string;
  isAudience: boolean;
  microphone: boolean;
  camera: boolean;
  hand: boolean;
  password?: string;
}

const KEY = 'amphi.seat';

export function keepSeat(seat: Seat): void {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(seat));
  } catch {
    // A page without storage asks again.
  }
}

export function forgetSeat(): void {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // Nothing was kept either.
  }
}

/** The seat that was left by reloading the page; a link that is followed anew asks for a name first. */
export function seatOf(room: string): Seat | undefined {
  const [navigation] = performance.getEntriesByType('navigation') as PerformanceNavigationTiming[];
  if (navigation?.type !== 'reload') return undefined;
  try {
    const seat = JSON.parse(sessionStorage.getItem(KEY) ?? 'null') as Seat | null;
    return seat?.room === room && typeof seat.name === 'string' ? seat : undefined;
  } catch {
    return undefined;
  }
}
