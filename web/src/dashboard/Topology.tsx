import type { Bridge, Node } from './api';
import { bridges, go, nodes } from './state';
import { bits, short } from './Plot';

const WIDTH = 960;
const BOX = { w: 232, h: 58 };
const GAP = 16;

/** Most boxes of one column: those that are not well first, then the fullest. */
const MOST = 8;

const cut = (name: string, state: string): string => {
  const room = 22 - state.length;
  return name.length > room ? `${name.slice(0, room - 1)}…` : name;
};

const tone = (state: string): string =>
  ({ up: 'good', draining: 'gold', leaving: 'gold', full: 'gold', down: 'bad', ill: 'bad' })[state] ?? 'soft';

function Box({ x, y, name, state, text, load, to }: {
  x: number; y: number; name: string; state: string; text: string; load: number | null; to: string;
}) {
  const open = (e: Event): void => {
    e.preventDefault();
    go(to);
  };
  return (
    <a href={`#/${to}`} onClick={open} class={`box ${tone(state)}`}>
      <rect x={x} y={y} width={BOX.w} height={BOX.h} rx="12" />
      <circle cx={x + 18} cy={y + 21} r="4.5" />
      <text x={x + 32} y={y + 26} class="name">{cut(name, state)}{' '}</text>
      <title>{`${name} ${state} ${text}`}</title>
      <text x={x + BOX.w - 14} y={y + 26} class="state" text-anchor="end">{state}{' '}</text>
      <text x={x + 32} y={y + 44} class="facts">{text}</text>
      {load !== null && (
        <>
          <rect x={x + 12} y={y + BOX.h - 6} width={BOX.w - 24} height="3" rx="1.5" class="track" />
          <rect x={x + 12} y={y + BOX.h - 6} width={Math.max(0, Math.min(1, load)) * (BOX.w - 24)} height="3" rx="1.5" class={`load ${load > 0.8 ? 'hot' : ''}`} />
        </>
      )}
    </a>
  );
}

function worst<T>(all: T[], isWell: (x: T) => boolean, load: (x: T) => number): T[] {
  if (all.length <= MOST) return all;
  const chosen = new Set([...all].sort((a, b) => Number(isWell(a)) - Number(isWell(b)) || load(b) - load(a)).slice(0, MOST - 1));
  return all.filter((x) => chosen.has(x));
}

function More({ x, y, n, what, to }: { x: number; y: number; n: number; what: string; to: string }) {
  return n > 0 ? (
    <a href={`#/${to}`} class="more">
      <text x={x + 18} y={y + 24} class="facts">{`and ${n} more ${what}`}</text>
    </a>
  ) : null;
}

const place = (i: number, n: number, height: number): number => (height - (n * (BOX.h + GAP) - GAP)) / 2 + i * (BOX.h + GAP);

function Wire({ from, to, state, label }: { from: [number, number]; to: [number, number]; state: string; label: string }) {
  const mid = (from[0] + to[0]) / 2;
  return (
    <path class={`wire ${state}`} d={`M${from[0]},${from[1]} C${mid},${from[1]} ${mid},${to[1]} ${to[0]},${to[1]}`}>
      <title>{label}</title>
    </path>
  );
}

/** Who is connected with whom: visitor nodes, the main node, bridges. */
export function Topology() {
  const main = nodes.value.filter((n) => n.kind === 'main');
  const everyNode = nodes.value.filter((n) => n.kind === 'visitor');
  const audience = worst(everyNode, (n) => n.state === 'up', (n) => n.load ?? 0);
  const media = worst(bridges.value, (b) => b.state === 'up', (b) => b.stress);
  const hidden = [everyNode.length - audience.length, bridges.value.length - media.length] as const;
  const rows = (n: number, more: number): number => n + (more > 0 ? 1 : 0);
  const tallest = Math.max(main.length, rows(audience.length, hidden[0]), rows(media.length, hidden[1]), 2);
  const height = tallest * (BOX.h + GAP) + GAP;
  const cx = (WIDTH - BOX.w) / 2;
  const rx = WIDTH - BOX.w - 4;
  const yMain = place(0, Math.max(1, main.length), height);
  const facts = (n: Node): string =>
    n.kind === 'main'
      ? `${n.rooms ?? 0} ${n.rooms === 1 ? 'room' : 'rooms'} · ${short(n.stage ?? 0)} on stage`
      : `${short(n.visitors ?? 0)}${n.pending ? ` +${n.pending}` : ''} of ${short(n.capacity ?? 0)} visitors`;
  const media_facts = (b: Bridge): string =>
    `${short(b.endpoints)} endpoints · ${b.rates?.bits_out ? bits(b.rates.bits_out) : `${Math.round(b.stress * 100)} %`}`;
  return (
    <section class="card topology" aria-label="Topology">
      <svg viewBox={`0 0 ${WIDTH} ${height + 26}`} role="group">
        <text x="4" y="14" class="column">AUDIENCE</text>
        <text x={cx} y="14" class="column">STAGE</text>
        <text x={rx} y="14" class="column">MEDIA</text>
        <g transform="translate(0 22)">
          {audience.map((n, i) => {
            const up = n.link !== false && n.connected !== false;
            const words = n.link === false ? 'link down' : n.connected === false ? 'focus not connected' : 'link up';
            return <Wire key={n.name} from={[4 + BOX.w, place(i, rows(audience.length, hidden[0]), height) + BOX.h / 2]} to={[cx, yMain + BOX.h / 2]} state={up ? 'good' : 'bad'} label={`${n.name} – main: ${words}`} />;
          })}
          {media.map((b, i) => (
            <Wire key={b.name} from={[cx + BOX.w, yMain + BOX.h / 2]} to={[rx, place(i, rows(media.length, hidden[1]), height) + BOX.h / 2]} state={tone(b.state) === 'bad' ? 'bad' : 'good'} label={`focus – ${b.name}: ${b.state}`} />
          ))}
          {audience.map((n, i) => <Box key={n.name} x={4} y={place(i, rows(audience.length, hidden[0]), height)} name={n.name} state={n.state} text={facts(n)} load={n.load} to={`nodes/${n.name}`} />)}
          {main.map((n, i) => <Box key={n.name} x={cx} y={place(i, main.length, height)} name={n.name} state={n.state} text={facts(n)} load={null} to={`nodes/${n.name}`} />)}
          {media.map((b, i) => <Box key={b.name} x={rx} y={place(i, rows(media.length, hidden[1]), height)} name={b.name} state={b.state} text={media_facts(b)} load={b.stress} to={`bridges/${encodeURIComponent(b.name)}`} />)}
          <More x={4} y={place(audience.length, audience.length + 1, height)} n={hidden[0]} what="nodes" to="nodes" />
          <More x={rx} y={place(media.length, media.length + 1, height)} n={hidden[1]} what="bridges" to="bridges" />
          {!media.length && <text x={rx} y={height / 2} class="facts">No bridge has announced itself.</text>}
          {!audience.length && <text x="4" y={height / 2} class="facts">There is no visitor node.</text>}
        </g>
      </svg>
    </section>
  );
}
