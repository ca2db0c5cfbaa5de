import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { Refused } from './api';
import type { Entry } from './api';
import { go, refresh, tell } from './state';

const TONES: Record<string, string> = {
  up: 'good', linked: 'good', stage: 'good', draining: 'gold', leaving: 'gold', full: 'gold', entering: 'gold', linking: 'gold',
  unlinking: 'gold', wait: 'gold', down: 'bad', ill: 'bad', away: 'bad', refused: 'bad', error: 'bad', warning: 'gold',
};

export function Badge({ of }: { of: string }) {
  return <span class={`badge ${TONES[of] ?? 'soft'}`}>{of}</span>;
}

export const time = (at: number): string => new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

/** Does something, says how it went, and looks again. */
export async function act(words: string, what: () => Promise<unknown>): Promise<void> {
  try {
    await what();
    tell(words);
  } catch (e) {
    tell(e instanceof Refused ? e.message : 'The server cannot be reached.', true);
  }
  await refresh().catch(() => undefined);
}

/** A button that asks first. */
export function Ask({ label, title, text, danger, onYes }: {
  label: string; title: string; text: string; danger?: boolean; onYes: () => void;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  return (
    <>
      <button class={danger ? 'small danger' : 'small'} onClick={() => dialog.current!.showModal()}>{label}</button>
      <dialog ref={dialog} aria-label={title} onClick={(e) => e.target === dialog.current && dialog.current!.close()}>
        <form method="dialog" class="ask">
          <h2>{title}</h2>
          <p>{text}</p>
          <div class="row end">
            <button value="no">Cancel</button>
            <button class={danger ? 'danger' : 'primary'} value="yes" autofocus onClick={onYes}>{label}</button>
          </div>
        </form>
      </dialog>
    </>
  );
}

export const percent = (x: number | null): string => (x === null ? '–' : `${Math.round(x * 100)} %`);

export function Facts({ of }: { of: [string, unknown][] }) {
  return (
    <dl class="facts">
      {of.filter(([, v]) => v !== undefined).map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v === null || v === '' ? '–' : typeof v === 'boolean' ? (v ? 'yes' : 'no') : (v as never)}</dd></div>)}
    </dl>
  );
}

/** A table whose rows lead somewhere; columns of `numbers` are aligned at their ends. */
export function Table({ head, rows, empty, numbers = [] }: {
  head: string[]; empty: string; numbers?: number[];
  rows: { key: string; to?: string; cells: ComponentChildren[] }[];
}) {
  if (!rows.length) return <p class="empty">{empty}</p>;
  return (
    <div class="scroll">
      <table>
        <thead><tr>{head.map((h, i) => <th key={h} scope="col" class={numbers.includes(i) ? 'number' : ''}>{h}</th>)}</tr></thead>
        <tbody>
          {rows.map((r) => (
            <tr key={r.key} class={r.to ? 'leads' : ''} onClick={(e) => r.to && !(e.target as Element).closest('button, a, dialog') && go(r.to)}>
              {r.cells.map((c, i) => <td key={i} class={numbers.includes(i) ? 'number' : ''}>{i === 0 && r.to ? <a href={`#/${r.to}`}>{c}</a> : c}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Events({ list, empty }: { list: Entry[]; empty: string }) {
  if (!list.length) return <p class="empty">{empty}</p>;
  const tone = (k: string): string =>
    k === 'trouble' || k.endsWith('-down') ? 'bad' : k === 'operator' || k === 'promoted' ? 'gold' : k.endsWith('-up') || k.endsWith('-linked') || k.endsWith('-created') ? 'good' : 'soft';
  return (
    <ol class="events">
      {list.map((e) => (
        <li key={e.id}>
          <time>{time(e.at)}</time>
          <span class={`badge ${tone(e.kind)}`}>{e.kind}</span>
          <span class="text">{e.text}</span>
          <span class="about">
            {e.room && <a href={`#/rooms/${encodeURIComponent(e.room)}`}>{e.room.split('@')[0]}</a>}
            {e.node && <span>{e.node}</span>}
            {e.endpoint && <code>{e.endpoint}</code>}
          </span>
        </li>
      ))}
    </ol>
  );
}

/** Loads something, again every two seconds. `keeps`: what was there is shown until the next is. */
export function useLoaded<T>(load: () => Promise<T>, of: string, keeps = false): { value: T | null; error: string } {
  const [state, set] = useState<{ of: string; value: T | null; error: string }>({ of, value: null, error: '' });
  useEffect(() => {
    let alive = true;
    const once = (): void => {
      load().then(
        (value) => alive && set({ of, value, error: '' }),
        (e: unknown) => alive && set({ of, value: null, error: e instanceof Refused ? e.message : 'The server cannot be reached.' }),
      );
    };
    once();
    const timer = setInterval(once, 2000);
    return () => {
      alive = false;
      clearInterval(timer);
    };
  }, [of]);
  return state.of === of || (keeps && state.value) ? state : { value: null, error: '' };
}
