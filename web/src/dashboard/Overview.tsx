// Everything at a glance: figures, who is connected with whom, plots of the last minutes.

import { bits, COLORS, Plot, short } from './Plot';
import { Topology } from './Topology';
import { Events } from './parts';
import { bridges, events, findings, nodes, overview, samples } from './state';

function Tile({ label, value, note, tone }: { label: string; value: string; note?: string; tone?: string }) {
  return (
    <div class={`card tile ${tone ?? ''}`}>
      <span class="label">{label}</span>
      <strong>{value}</strong>
      <span class="soft">{note ?? ' '}</span>
    </div>
  );
}

export function OverviewView() {
  const o = overview.value!;
  const invited = o.focus ? o.focus.invitations_waiting + o.focus.reinvitations_waiting : 0;
  const last = samples.value.at(-1);
  const wrong = (findings.value ?? []).filter((f) => f.level !== 'note');
  const out = last?.bits_out ?? null;
  const audience = nodes.value.filter((n) => n.kind === 'visitor');
  return (
    <>
      <div class="tiles">
        <Tile label="Rooms" value={short(o.rooms)} note={`${short(o.sessions)} connections`} />
        <Tile label="On stage" value={short(o.stage)} note={invited > 0 ? `${short(invited)} wait for media` : `in ${o.rooms === 1 ? 'one room' : `${short(o.rooms)} rooms`}`} />
        <Tile label="Audience" value={short(o.audience)} note={`${audience.filter((n) => n.state === 'up').length} of ${audience.length} nodes up`} />
        <Tile label="Joins" value={last ? short(last.joins_stage + last.joins_audience) : '–'} note="a second" />
        <Tile label="Fan-out delay" value={last?.fanout_p99 == null ? '–' : `${short(last.fanout_p99)} ms`} note={last?.fanout_p99 == null ? 'no broadcast just now' : '99 of 100 broadcasts'} tone={(last?.fanout_p99 ?? 0) > 250 ? 'gold' : ''} />
        <Tile label="Media out" value={out === null ? '–' : bits(out)} note={`${o.bridges.up} of ${o.bridges.total} bridges up`} />
        <a class={`card tile ${wrong.some((f) => f.level === 'error') ? 'bad' : wrong.length ? 'gold' : 'good'}`} href="#/check">
          <span class="label">Self-check</span>
          <strong>{wrong.length ? String(wrong.length) : 'Fine'}</strong>
          <span class="soft">{wrong.length ? (wrong.length === 1 ? 'thing to look at' : 'things to look at') : 'nothing is missing'}</span>
        </a>
      </div>
      <Topology />
      <div class="plots">
        <Plot title="Joins" unit="a second" format={short} floor={5} lines={[
          { label: 'audience', color: 'blue', of: (s) => s.joins_audience, fill: true },
          { label: 'stage', color: 'gold', of: (s) => s.joins_stage },
        ]} />
        <Plot title="People" unit="" format={short} floor={5} lines={[
          { label: 'audience', color: 'blue', of: (s) => s.audience, fill: true },
          { label: 'stage', color: 'gold', of: (s) => s.stage },
        ]} />
        <Plot title="Fan-out delay" unit="ms" format={short} floor={10} lines={[
          { label: '99 %', color: 'red', of: (s) => s.fanout_p99 },
          { label: 'half', color: 'green', of: (s) => s.fanout_p50 },
        ]} />
        <Plot title="Stanzas sent" unit="a second" format={short} floor={10} lines={[
          { label: 'to clients', color: 'violet', of: (s) => s.stanzas_out, fill: true },
        ]} />
        <BridgePlots />
      </div>
      <section class="card">
        <h2>Lately</h2>
        <Events list={events.value.slice(-8).reverse()} empty="Nothing has happened yet." />
      </section>
    </>
  );
}

export function BridgePlots() {
  const names = bridges.value.map((b) => b.name).slice(0, COLORS.length);
  const hasRate = samples.value.at(-1)?.bits_out != null;
  return (
    <>
      {names.length > 0 && (
        <Plot title="Bridge load" unit="%" format={short} floor={100} lines={names.map((n, i) => ({
          label: n.length > 14 ? `${n.slice(0, 13)}…` : n, color: COLORS[i]!, of: (s) => {
            const b = s.bridges.find((x) => x.name === n);
            return b ? b.stress * 100 : null;
          },
        }))} />
      )}
      {hasRate && (
        <Plot title="Bitrate of this bridge" unit="bit/s" format={short} floor={1000} lines={[
          { label: 'out', color: 'green', of: (s) => s.bits_out, fill: true },
          { label: 'in', color: 'blue', of: (s) => s.bits_in },
        ]} />
      )}
    </>
  );
}
