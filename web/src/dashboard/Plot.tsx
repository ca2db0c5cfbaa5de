import { signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { samples } from './state';
import type { Sample } from './api';

export type Color = 'blue' | 'gold' | 'green' | 'red' | 'violet' | 'cyan' | 'pink' | 'olive';
export const COLORS: Color[] = ['green', 'blue', 'gold', 'violet', 'red', 'cyan', 'pink', 'olive'];

export interface Line { label: string; color: Color; of: (s: Sample) => number | null; fill?: boolean }

const FONT = '11px ui-sans-serif, system-ui, sans-serif';
/** What a variable of the style sheet is now: a plot is painted and does not follow it by itself. */
const paint = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const isLight = signal(matchMedia('(prefers-color-scheme: light)').matches);
matchMedia('(prefers-color-scheme: light)').addEventListener('change', (e) => (isLight.value = e.matches));

/** The last minutes of some figures. */
export function Plot({ title, unit, lines, format, floor = 1 }: {
  title: string; unit: string; lines: Line[]; format: (v: number) => string; floor?: number;
}) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const all = samples.value;
  const data = [all.map((s) => s.at / 1000), ...lines.map((l) => all.map(l.of))] as uPlot.AlignedData;

  useEffect(() => {
    const el = box.current!;
    const axis = { stroke: paint('axis'), grid: { stroke: paint('grid'), width: 1 }, ticks: { show: false }, font: FONT };
    const u = new uPlot({
      width: el.clientWidth || 300,
      height: 150,
      padding: [8, 6, 0, 0],
      cursor: { points: { size: 6 }, y: false },
      legend: { show: false },
      scales: { y: { range: (_u, _min, max) => [0, Math.max(floor, (max || 0) * 1.15)] } },
      axes: [
        { ...axis, size: 26, space: 70, values: (_u, ts) => ts.map((t) => new Date(t * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })) },
        { ...axis, size: 52, space: 34, values: (_u, vs) => vs.map((v) => format(v)) },
      ],
      series: [{}, ...lines.map((l) => ({ label: l.label, stroke: paint(`c-${l.color}`), width: 1.75, points: { show: false }, fill: l.fill ? `${paint(`c-${l.color}`)}22` : undefined, spanGaps: false }))],
    }, data, el);
    plot.current = u;
    const watch = new ResizeObserver(() => u.setSize({ width: el.clientWidth, height: 150 }));
    watch.observe(el);
    return () => {
      watch.disconnect();
      u.destroy();
    };
  }, [lines.map((l) => l.label).join(), isLight.value]);
  useEffect(() => plot.current?.setData(data));

  const last = all.at(-1);
  const now = lines.map((l) => `${l.label} ${last ? (l.of(last) === null ? 'none' : format(l.of(last)!)) : 'unknown'}`).join(', ');
  return (
    <figure class="card plot">
      <figcaption>
        <span>{title}</span>
        <span class="legend">
          {lines.map((l) => {
            const v = last ? l.of(last) : null;
            return <span key={l.label}><i style={{ background: `var(--c-${l.color})` }} />{l.label} <b>{v === null ? '–' : format(v)}</b></span>;
          })}
          <span class="soft">{unit}</span>
        </span>
      </figcaption>
      <div ref={box} role="img" aria-label={`${title}: ${now} ${unit}`} />
    </figure>
  );
}

/** With its unit: 1.2 Mbit/s. */
export const bits = (v: number): string => short(v).replace(/^([\d.]+)(\D?)$/, '$1 $2bit/s');

export const short = (v: number): string =>
  v >= 1e9 ? `${+(v / 1e9).toFixed(1)}G` : v >= 1e6 ? `${+(v / 1e6).toFixed(1)}M` : v >= 1e4 ? `${+(v / 1e3).toFixed(1)}k` : `${+v.toFixed(1)}`;
