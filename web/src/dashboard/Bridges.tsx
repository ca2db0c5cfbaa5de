// Bridges: load, bitrate, what is there.

import { ask } from './api';
import type { Bridge } from './api';
import { BridgePlots } from './Overview';
import { bits } from './Plot';
import { act, Ask, Badge, Events, Facts, percent, Table, useLoaded } from './parts';
import { bridges, events } from './state';

function BridgeActions({ b }: { b: Bridge }) {
  const path = `/bridges/${encodeURIComponent(b.name)}`;
  if (b.draining) return <button class="small primary" onClick={() => void act(`${b.name} is in service again.`, () => ask(`${path}/undrain`, 'POST', {}))}>Undrain</button>;
  return (
    <>
      <Ask label="Drain" title={`Drain ${b.name}?`} text="Nothing new is placed there; what is there stays." onYes={() => void act(`Nothing new is placed on ${b.name}.`, () => ask(`${path}/drain`, 'POST', {}))} />
      <Ask label="Drain and move" title={`Empty ${b.name}?`} text={`Nothing new is placed there, and its ${b.endpoints} endpoints move to other bridges.`} danger onYes={() => void act(`${b.name} is being emptied.`, () => ask(`${path}/drain`, 'POST', { move: true }))} />
    </>
  );
}

export function BridgesView() {
  return (
    <>
      <section class="card">
        <h2>Bridges</h2>
        <Table head={['Bridge', 'State', 'Load', 'Endpoints', 'Rooms', 'In', 'Out', 'Region', '']} empty="No bridge has announced itself: nobody has sound or picture."
          rows={bridges.value.map((b) => ({
            key: b.name, to: `bridges/${encodeURIComponent(b.name)}`,
            cells: [<b>{b.name}</b>, <Badge of={b.state} />, percent(b.stress), b.endpoints, b.conferences, b.rates ? bits(b.rates.bits_in) : '–', b.rates ? bits(b.rates.bits_out) : '–', b.region ?? '–', <div class="row end tight"><BridgeActions b={b} /></div>],
          }))} />
      </section>
      <div class="plots"><BridgePlots /></div>
    </>
  );
}

export function BridgeView({ name }: { name: string }) {
  const { value: b, error } = useLoaded(() => ask<Bridge>(`/bridges/${encodeURIComponent(name)}`), name);
  if (!b) return <section class="card"><h2>{name}</h2><p class="empty">{error || 'Looking…'}</p></section>;
  return (
    <>
      <section class="card">
        <div class="row"><h2>{b.name} <Badge of={b.state} /></h2><div class="row tight"><BridgeActions b={b} /></div></div>
        {b.illness && <p class="bad-text">{b.illness}</p>}
        <Facts of={[['Load', percent(b.stress)], ['Endpoints', b.endpoints], ['Rooms', b.conferences], ['In', b.rates ? bits(b.rates.bits_in) : null], ['Out', b.rates ? bits(b.rates.bits_out) : null], ['Clients cannot connect', b.failing_ice], ['Restarts asked for', b.restart_requests], ['Moved away', b.endpoints_moved], ['Region', b.region], ['Version', b.version], ['Address', b.jid]]} />
      </section>
      <section class="card">
        <h2>Rooms here</h2>
        <Table head={['Room', 'Endpoints']} empty="No room is here." rows={(b.in_rooms ?? []).map((r) => ({ key: r.room, to: `rooms/${encodeURIComponent(r.room)}`, cells: [r.room.split('@')[0], r.endpoints] }))} />
      </section>
      <section class="card"><h2>Events</h2><Events list={events.value.filter((e) => e.node === name).slice(-12).reverse()} empty="None that are kept." /></section>
    </>
  );
}
