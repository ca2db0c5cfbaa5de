// Rooms: a searchable list, largest first; and one room with its people, and why each of them is where it is.

import { useEffect, useRef, useState } from 'preact/hooks';
import { ask, occupantPath, roomPath } from './api';
import type { Decision, Occupant, Room, Why } from './api';
import { short } from './Plot';
import { act, Ask, Badge, Events, Facts, Table, time, useLoaded } from './parts';
import { events, go } from './state';

const PAGE = 50;

/** The server searches and sorts: there may be thousands. */
export function RoomsView() {
  const [q, setQuery] = useState('');
  const [from, setFrom] = useState(0);
  const found = useLoaded(() => ask<{ total: number; rooms: Room[] }>(`/rooms?limit=${PAGE}&offset=${from}&q=${encodeURIComponent(q.trim())}`), `${q} ${from}`, true);
  const total = found.value?.total ?? 0;
  const list = found.value?.rooms ?? [];
  return (
    <section class="card">
      <div class="row">
        <h2>Rooms <span class="soft">{short(total)}</span></h2>
        <input id="search" type="search" placeholder="Find a room" aria-label="Find a room" value={q} onInput={(e) => {
          setQuery(e.currentTarget.value);
          setFrom(0);
        }} />
      </div>
      {found.error && <p class="bad-text">{found.error}</p>}
      <Table head={['Room', 'Stage', 'Audience', 'Hands', 'Visitor nodes', 'Bridges']} numbers={[1, 2]} empty={!found.value ? 'Looking…' : q ? 'No room has this in its name.' : 'Nobody meets at the moment.'}
        rows={list.map((r) => ({
          key: r.room, to: `rooms/${encodeURIComponent(r.room)}`,
          cells: [
            <b title={r.name}>{r.name}</b>, r.stage, short(r.audience), r.hands ? <span class="badge gold">{r.hands}</span> : '–',
            r.nodes.length ? r.nodes.map((n) => <span class="pair" key={n.node}>{n.node} {short(n.visitors)}</span>) : '–',
            r.bridges.length ? r.bridges.map((b) => <span class="pair" key={b.jid}>{b.bridge} {b.endpoints}</span>) : '–',
          ],
        }))} />
      {total > PAGE && (
        <nav class="pager" aria-label="Pages">
          <span>{from + 1} to {Math.min(from + PAGE, total)} of {short(total)}</span>
          <button class="small" disabled={from === 0} onClick={() => setFrom(Math.max(0, from - PAGE))}>Previous</button>
          <button class="small" disabled={from + PAGE >= total} onClick={() => setFrom(from + PAGE)}>Next</button>
        </nav>
      )}
    </section>
  );
}

function WhyCard({ room, id, onClose }: { room: string; id: string; onClose: () => void }) {
  const card = useRef<HTMLElement>(null);
  // The list of people may be long, and the button far below.
  useEffect(() => card.current?.scrollIntoView({ block: 'nearest' }), [id, !!card.current]);
  const { value, error } = useLoaded(() => ask<Why>(`${occupantPath(room, id)}/why`), `${room} ${id}`);
  return (
    <section class="card why" aria-live="polite" ref={card}>
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
            key: h.visitor, cells: [h.name ?? 'Guest', h.node.split('.')[0], <div class="row end tight"><button class="small primary" onClick={() => post(h.visitor, 'promote', 'Invited onto the stage.')}>Let onto the stage</button></div>],
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
              <Ask label="Kick" title={`Throw ${o.name ?? o.id} out?`} text="The person may come back unless the room has a password." danger onYes={() => post(o.id, 'kick', 'Thrown out.')} />
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
