// Nodes: the main node and those of the audience.

import { ask } from './api';
import type { Node } from './api';
import { Plot, short } from './Plot';
import { act, Ask, Badge, Events, Facts, percent, Table, useLoaded } from './parts';
import { events, nodes, samples } from './state';

function NodeActions({ n }: { n: Node }) {
  if (n.kind === 'main' || n.connected === null) return null;
  const path = `/nodes/${encodeURIComponent(n.name)}`;
  return n.draining
    ? <button class="small primary" onClick={() => void act(`${n.name} is in service again.`, () => ask(`${path}/undrain`, 'POST', {}))}>Undrain</button>
    : <Ask label="Drain" title={`Drain ${n.name}?`} text="It gets no new visitors; those who are there stay." onYes={() => void act(`${n.name} gets no new visitors.`, () => ask(`${path}/drain`, 'POST', {}))} />;
}

export function NodesView() {
  return (
    <section class="card">
      <h2>Nodes</h2>
      <Table head={['Node', 'State', 'Link', 'Rooms', 'Stage', 'Visitors', 'Load', '']} empty="There is no node."
        rows={nodes.value.map((n) => ({
          key: n.name, to: `nodes/${n.name}`,
          cells: [<b>{n.name}</b>, <Badge of={n.state} />, n.link === null ? '–' : <Badge of={n.link ? 'up' : 'down'} />, n.rooms ?? '–', n.stage ?? '–', n.kind === 'main' ? '–' : `${short(n.visitors ?? 0)} of ${short(n.capacity ?? 0)}`, percent(n.load), <div class="row end tight"><NodeActions n={n} /></div>],
        }))} />
    </section>
  );
}

export function NodeView({ name }: { name: string }) {
  const { value: n, error } = useLoaded(() => ask<Node>(`/nodes/${encodeURIComponent(name)}`), name);
  if (!n) return <section class="card"><h2>{name}</h2><p class="empty">{error || 'Looking…'}</p></section>;
  const known = samples.value.some((s) => s.nodes.some((x) => x.name === name));
  return (
    <>
      <section class="card">
        <div class="row"><h2>{n.name} <Badge of={n.state} /></h2><NodeActions n={n} /></div>
        <Facts of={[['Kind', n.kind], ['Domain', n.domain], ['In this process', n.here], ['Focus connected', n.connected], ['Link to main node', n.link], ['Connections', n.sessions], ['Visitors', n.visitors], ['Under way', n.pending], ['Capacity', n.capacity], ['Load', percent(n.load)]]} />
      </section>
      {known && <div class="plots"><Plot title="Visitors" unit="" format={short} floor={5} lines={[{ label: name, color: 'blue', fill: true, of: (s) => s.nodes.find((x) => x.name === name)?.visitors ?? null }]} /></div>}
      <section class="card">
        <h2>Rooms here</h2>
        <Table head={n.kind === 'main' ? ['Room', 'Stage', 'Visitors'] : ['Room', 'Visitors', 'Under way', 'Link']} empty="No room is here."
          rows={(n.in_rooms ?? []).map((r) => ({ key: r.room, to: `rooms/${encodeURIComponent(r.room)}`, cells: n.kind === 'main' ? [r.room.split('@')[0], r.stage, short(r.visitors)] : [r.room.split('@')[0], short(r.visitors), r.pending, <Badge of={r.state ?? ''} />] }))} />
      </section>
      <section class="card">
        <h2>Links</h2>
        <Table head={['Domain', 'State', 'By']} empty="It has none."
          rows={(n.links ?? []).map((l) => ({ key: l.domain, cells: [l.domain, l.up ? <Badge of="up" /> : l.in_memory ? <Badge of="down" /> : <span class="badge soft">idle</span>, l.in_memory ? 'memory' : l.address ?? 'resolver'] }))} />
      </section>
      <section class="card"><h2>Events</h2><Events list={events.value.filter((e) => e.node === name).slice(-12).reverse()} empty="None that are kept." /></section>
    </>
  );
}
