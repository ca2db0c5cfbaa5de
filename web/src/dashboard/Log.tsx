// What happened, and what is missing.

import { useState } from 'preact/hooks';
import { Badge, Events } from './parts';
import { events, findings } from './state';

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
