import { useState } from 'preact/hooks';
import { ask, occupantPath, roomPath } from './api';
import type { Bridge, Decision, Node, Occupant, Room, Why } from './api';
import { bits, Plot, short } from './Plot';
import { Topology } from './Topology';
import { act, Ask, Badge, Events, Table, time, useLoaded } from './parts';
import { bridges, events, findings, go, nodes, overview, rooms, samples } from './state';

const percent = (x: number | null): string => (x === null ? '–' : `${Math.round(x * 100)} %`);

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
  const last = samples.value.at(-1);
  const wrong = (findings.value ?? []).filter((f) => f.level !== 'note');
  const out = last?.bits_out ?? null;
  const audience = nodes.value.filter((n) => n.kind === 'visitor');
  return (
    <>
      <div class="tiles">
        <Tile label="Rooms" value={short(o.rooms)} note={`${short(o.sessions)} connections`} />
        <Tile label="On stage" value={short(o.stage)} note={o.focus ? `${short(o.focus.invitations_waiting + o.focus.reinvitations_waiting)} wait for their invitation` : undefined} />
        <Tile label="Audience" value={short(o.audience)} note={`${audience.filter((n) => n.state === 'up').length} of ${audience.length} nodes in service`} />
        <Tile label="Joins" value={last ? short(last.joins_stage + last.joins_audience) : '–'} note="a second" />
        <Tile label="Fan-out delay" value={last?.fanout_p99 == null ? '–' : `${short(last.fanout_p99)} ms`} note={last?.fanout_p99 == null ? 'no broadcast just now' : '99 of 100 broadcasts'} tone={(last?.fanout_p99 ?? 0) > 250 ? 'gold' : ''} />
        <Tile label="Media out" value={out === null ? '–' : bits(out)} note={`${o.bridges.up} of ${o.bridges.total} bridges in service`} />
        <a class={`card tile ${wrong.some((f) => f.level === 'error') ? 'bad' : wrong.length ? 'gold' : 'good'}`} href="#/check">
          <span class="label">Self-check</span>
          <strong>{wrong.length ? String(wrong.length) : 'Fine'}</strong>
          <span class="soft">{wrong.length ? (wrong.length === 1 ? 'thing to look at' : 'things to look at') : 'nothing is missing'}</span>
        </a>
      </div>
      <Topology />
      <div class="plots">
        <Plot title="Joins" unit="a second" format={short} floor={5} lines={[
          { label: 'audience', color: '#93b3ff', of: (s) => s.joins_audience, fill: true },
          { label: 'stage', color: '#ffd37a', of: (s) => s.joins_stage },
        ]} />
        <Plot title="People" unit="" format={short} floor={5} lines={[
          { label: 'audience', color: '#93b3ff', of: (s) => s.audience, fill: true },
          { label: 'stage', color: '#ffd37a', of: (s) => s.stage },
        ]} />
        <Plot title="Fan-out delay" unit="ms" format={short} floor={10} lines={[
          { label: '99 %', color: '#ff8f8a', of: (s) => s.fanout_p99 },
          { label: 'half', color: '#62d6a0', of: (s) => s.fanout_p50 },
        ]} />
        <Plot title="Stanzas sent" unit="a second" format={short} floor={10} lines={[
          { label: 'to clients', color: '#c3a6ff', of: (s) => s.stanzas_out, fill: true },
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

const COLORS = ['#62d6a0', '#93b3ff', '#ffd37a', '#c3a6ff', '#ff8f8a', '#7fdbe6', '#f5a3d7', '#b6d36a'];

function BridgePlots() {
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
          { label: 'out', color: '#62d6a0', of: (s) => s.bits_out, fill: true },
          { label: 'in', color: '#93b3ff', of: (s) => s.bits_in },
        ]} />
      )}
    </>
  );
}

export function RoomsView() {
  const [q, set] = useState('');
  const list = rooms.value.rooms.filter((r) => r.room.includes(q.toLowerCase()));
  return (
    <section class="card">
      <div class="row">
        <h2>Rooms <span class="soft">{rooms.value.total}</span></h2>
        <input id="search" type="search" placeholder="Find a room" aria-label="Find a room" value={q} onInput={(e) => set(e.currentTarget.value)} />
      </div>
      <Table head={['Room', 'Stage', 'Audience', 'Hands', 'Visitor nodes', 'Bridges']} empty={q ? 'No room has this in its name.' : 'Nobody meets at the moment.'}
        rows={list.map((r) => ({
          key: r.room, to: `rooms/${encodeURIComponent(r.room)}`,
          cells: [
            <b>{r.name}</b>, r.stage, short(r.audience), r.hands ? <span class="badge gold">{r.hands}</span> : '–',
            r.nodes.length ? r.nodes.map((n) => <span class="pair" key={n.node}>{n.node} {short(n.visitors)}</span>) : '–',
            r.bridges.length ? r.bridges.map((b) => <span class="pair" key={b.jid}>{b.bridge} {b.endpoints}</span>) : '–',
          ],
        }))} />
    </section>
  );
}

function Facts({ of }: { of: [string, unknown][] }) {
  return (
    <dl class="facts">
      {of.filter(([, v]) => v !== undefined).map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v === null || v === '' ? '–' : typeof v === 'boolean' ? (v ? 'yes' : 'no') : (v as never)}</dd></div>)}
    </dl>
  );
}

function WhyCard({ room, id, onClose }: { room: string; id: string; onClose: () => void }) {
  const { value, error } = useLoaded(() => ask<Why>(`${occupantPath(room, id)}/why`), `${room} ${id}`);
  return (
    <section class="card why" aria-live="polite">
      <div class="row"><h2>Why is {value?.occupant.name ?? id} here?</h2><button class="small" onClick={onClose}>Close</button></div>
      {error && <p class="bad-text">{error}</p>}
      {value && (
        <>
          <p class="answer">{value.text}</p>
          <Decisions list={value.decisions} />
          <Facts of={[['Endpoint', value.occupant.id], ['Address', value.occupant.jid], ['Browser', value.occupant.machine], ['User', value.occupant.user], ['Region', value.occupant.region], ['Bridge', value.occupant.bridge]]} />
        </>
      )}
    </section>
  );
}

function Decisions({ list }: { list: Decision[] }) {
  return (
    <Table head={['At', 'Sent to', 'Node', 'Because', 'From', 'Browser']} empty="No request of this person is kept."
      rows={list.map((d) => ({ key: String(d.id), cells: [time(d.at), <Badge of={d.place} />, d.node ?? '–', d.why, d.peer ?? '–', d.user ?? (d.machine ? <code>{d.machine.slice(-8)}</code> : '–')] }))} />
  );
}

export function RoomView({ room }: { room: string }) {
  const [asked, why] = useState<string | null>(null);
  const [place, setPlace] = useState<'stage' | 'audience'>('stage');
  const { value: r, error } = useLoaded(() => ask<Room>(roomPath(room)), room);
  const people = useLoaded(() => ask<{ total: number; occupants: Occupant[] }>(`${roomPath(room)}/occupants?place=${place}&limit=100`), `${room} ${place}`);
  const decisions = useLoaded(() => ask<{ decisions: Decision[] }>(`/decisions?room=${encodeURIComponent(room)}&limit=15`), `d ${room}`);
  if (error) return <section class="card"><h2>{room}</h2><p class="empty">{error === 'there is no such room' ? 'This meeting is over.' : error}</p></section>;
  if (!r) return <section class="card"><h2>{room}</h2><p class="empty">Looking…</p></section>;
  const post = (id: string, what: string, words: string, body?: unknown): void =>
    void act(words, () => ask(`${occupantPath(room, id)}/${what}`, 'POST', body ?? {}));
  return (
    <>
      <section class="card">
        <div class="row">
          <h2>{r.name} <span class="soft">{r.room.split('@')[1]}</span></h2>
          <Ask label="End room" title={`End ${r.name} for everybody?`} text={`${r.stage} people on stage and ${r.audience} in the audience are sent away.`} danger
            onYes={() => void act('The room was ended.', () => ask(roomPath(room), 'DELETE')).then(() => go('rooms'))} />
        </div>
        <Facts of={[['On stage', r.stage], ['Moderators', r.moderators], ['Audience', r.audience], ['Seats held', r.seats_pending], ['Password', r.has_password], ['Members only', r.members_only], ['Joins that wait', r.waiting], ['Since', r.created ? time(r.created) : null], ['Meeting', r.meeting_id]]} />
        {(r.nodes.length > 0 || r.bridges.length > 0) && (
          <div class="two">
            <div><h3>Visitor nodes</h3><Table head={['Node', 'Visitors', 'Under way', 'Link']} empty="No audience yet." rows={r.nodes.map((n) => ({ key: n.node, to: `nodes/${n.node}`, cells: [n.node, short(n.visitors), n.pending, <Badge of={n.state} />] }))} /></div>
            <div><h3>Bridges</h3><Table head={['Bridge', 'Endpoints']} empty="No media yet." rows={r.bridges.map((b) => ({ key: b.jid, to: `bridges/${encodeURIComponent(b.bridge)}`, cells: [b.bridge, b.endpoints] }))} /></div>
          </div>
        )}
      </section>
      {!!r.hands_raised?.length && (
        <section class="card">
          <h2>Raised hands <span class="soft">{r.hands_raised.length}</span></h2>
          <Table head={['Name', 'Node', '']} empty="" rows={r.hands_raised.map((h) => ({
            key: h.visitor, cells: [h.name ?? 'Guest', h.node.split('.')[0], <button class="small primary" onClick={() => post(h.visitor, 'promote', 'Invited onto the stage.')}>Let onto the stage</button>],
          }))} />
        </section>
      )}
      {asked && <WhyCard room={room} id={asked} onClose={() => why(null)} />}
      <section class="card">
        <div class="row">
          <div class="tabs" role="tablist" aria-label="People">
            {(['stage', 'audience'] as const).map((p) => (
              <button key={p} role="tab" aria-selected={place === p} class={place === p ? 'on' : ''} onClick={() => setPlace(p)}>{p === 'stage' ? `Stage ${r.stage}` : `Audience ${short(r.audience)}`}</button>
            ))}
          </div>
          {people.value && people.value.total > people.value.occupants.length && <span class="soft">the first {people.value.occupants.length} of {short(people.value.total)}</span>}
        </div>
        <Table head={['Person', 'Role', 'Node', 'Bridge', '']} empty={people.value ? 'Nobody is here.' : 'Looking…'} rows={(people.value?.occupants ?? []).map((o) => ({
          key: o.id,
          cells: [
            <><b>{o.name ?? 'Guest'}</b> <code>{o.id}</code></>, o.role, o.node ?? 'main', o.bridge ?? '–',
            <div class="row end tight">
              <button class="small" onClick={() => why(o.id)}>Why here?</button>
              {o.place === 'audience' && <button class="small" onClick={() => post(o.id, 'promote', 'Invited onto the stage.')}>Promote</button>}
              {o.place === 'stage' && <button class="small" onClick={() => post(o.id, 'moderator', 'Done.', { grant: o.role !== 'moderator' })}>{o.role === 'moderator' ? 'Take rights' : 'Make moderator'}</button>}
              {o.place === 'stage' && <button class="small" onClick={() => post(o.id, 'demote', 'Asked to go to the audience.')}>Demote</button>}
              <Ask label="Kick" title={`Throw ${o.name ?? o.id} out?`} text="The person may come back unless the room has a password or a lobby." danger onYes={() => post(o.id, 'kick', 'Thrown out.')} />
            </div>,
          ],
        }))} />
      </section>
      <section class="card">
        <h2>Where people were sent</h2>
        <Decisions list={decisions.value?.decisions ?? []} />
      </section>
      <section class="card">
        <h2>Events</h2>
        <Events list={events.value.filter((e) => e.room === r.room).slice(-12).reverse()} empty="None that are kept." />
      </section>
    </>
  );
}

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
      {known && <div class="plots"><Plot title="Visitors" unit="" format={short} floor={5} lines={[{ label: name, color: '#93b3ff', fill: true, of: (s) => s.nodes.find((x) => x.name === name)?.visitors ?? null }]} /></div>}
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

const GROUPS: [string, (k: string) => boolean][] = [
  ['All', () => true],
  ['Rooms', (k) => k.startsWith('room')],
  ['People', (k) => ['joined', 'left', 'promoted'].includes(k)],
  ['Fleet', (k) => k.startsWith('node') || k.startsWith('bridge')],
  ['Operators', (k) => k === 'operator'],
  ['Trouble', (k) => k === 'trouble' || k.endsWith('-down')],
];

export function EventsView() {
  const [group, set] = useState(0);
  return (
    <section class="card">
      <div class="row">
        <h2>Events</h2>
        <div class="tabs" role="tablist" aria-label="Which events">
          {GROUPS.map(([name], i) => <button key={name} role="tab" aria-selected={group === i} class={group === i ? 'on' : ''} onClick={() => set(i)}>{name}</button>)}
        </div>
      </div>
      <Events list={events.value.filter((e) => GROUPS[group]![1](e.kind)).slice(-300).reverse()} empty="None that are kept." />
    </section>
  );
}

export function CheckView() {
  const list = findings.value;
  return (
    <section class="card">
      <h2>Self-check</h2>
      <p class="soft">What is missing or half configured, looked at every two seconds.</p>
      {list && !list.length && <p class="empty good-text">Nothing is missing.</p>}
      <ul class="findings">
        {(list ?? []).map((f) => (
          <li key={f.about + f.text} class={f.level}>
            <Badge of={f.level} />
            <div><b>{f.text}</b><p>{f.fix}</p></div>
          </li>
        ))}
      </ul>
    </section>
  );
}
