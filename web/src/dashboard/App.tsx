import { useEffect, useState } from 'preact/hooks';
import { findings, go, isIn, isLive, notice, overview, route, signIn, signInError, signOut } from './state';
import { BridgesView, BridgeView } from './Bridges';
import { CheckView, EventsView } from './Log';
import { NodesView, NodeView } from './Nodes';
import { OverviewView } from './Overview';
import { RoomsView, RoomView } from './Rooms';

const VIEWS = [
  { to: '', name: 'Overview' }, { to: 'rooms', name: 'Rooms' }, { to: 'nodes', name: 'Nodes' }, { to: 'bridges', name: 'Bridges' },
  { to: 'events', name: 'Events' }, { to: 'check', name: 'Self-check' },
];

function SignIn() {
  const [token, set] = useState('');
  return (
    <main class="sign-in">
      <form class="card" onSubmit={(e) => {
        e.preventDefault();
        void signIn(token.trim());
      }}>
        <h1>Amphi</h1>
        <p class="soft">The operator's side. The token lies in the server's <code>data_dir</code>, in the file <code>admin-token</code>.</p>
        <label for="token">Token</label>
        <input id="token" type="password" autocomplete="current-password" autofocus value={token} onInput={(e) => set(e.currentTarget.value)} />
        <p class="bad-text" role="alert">{signInError.value}</p>
        <button class="primary" type="submit" disabled={!token.trim()}>Come in</button>
      </form>
    </main>
  );
}

function View({ path }: { path: string }) {
  const [view, ...rest] = path.split('/');
  const what = decodeURIComponent(rest.join('/'));
  switch (view) {
    case 'rooms': return what ? <RoomView key={what} room={what} /> : <RoomsView />;
    case 'nodes': return what ? <NodeView key={what} name={what} /> : <NodesView />;
    case 'bridges': return what ? <BridgeView key={what} name={what} /> : <BridgesView />;
    case 'events': return <EventsView />;
    case 'check': return <CheckView />;
    default: return <OverviewView />;
  }
}

/** Digits lead to the views, a slash to the search, Escape one level up. */
function onKey(e: KeyboardEvent): void {
  if (e.ctrlKey || e.metaKey || e.altKey || (e.target as Element).closest('input, textarea, dialog[open]')) return;
  const n = Number(e.key);
  if (n >= 1 && n <= VIEWS.length) go(VIEWS[n - 1]!.to);
  else if (e.key === '/') {
    e.preventDefault();
    go('rooms');
    setTimeout(() => document.getElementById('search')?.focus(), 50);
  } else if (e.key === 'Escape' && route.value.includes('/')) go(route.value.split('/')[0]!);
}

export function App() {
  useEffect(() => {
    void signIn();
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
  if (!isIn.value || !overview.value) return <SignIn />;
  const o = overview.value;
  const at = route.value.split('/')[0];
  const wrong = (findings.value ?? []).filter((f) => f.level !== 'note').length;
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => {
        e.preventDefault();
        document.getElementById('main')?.focus();
      }}>To the content</a>
      <header>
        <span class="brand">Amphi <span class="soft">{o.domain}</span></span>
        <nav aria-label="Views">
          {VIEWS.map((v, i) => (
            <a key={v.to} href={`#/${v.to}`} class={at === v.to ? 'on' : ''} aria-current={at === v.to ? 'page' : undefined} title={`Key ${i + 1}`}>
              {v.name}{v.to === 'check' && wrong > 0 && <span class="count">{wrong}</span>}
            </a>
          ))}
        </nav>
        <span class="row tight">
          <span class={`live ${isLive.value ? 'good' : 'bad'}`} role="status">{isLive.value ? 'live' : 'reconnecting'}</span>
          <button class="small" onClick={signOut}>Leave</button>
        </span>
      </header>
      {!o.healthy && <p class="banner" role="alert">{o.problem}</p>}
      <main id="main" tabIndex={-1}>
        {route.value.includes('/') && <a class="back" href={`#/${at}`}>← {VIEWS.find((v) => v.to === at)?.name}</a>}
        <View path={route.value} />
      </main>
      <div class="notices" role="status" aria-live="polite">
        {notice.value && <p class={notice.value.bad ? 'bad' : ''}>{notice.value.text}</p>}
      </div>
    </>
  );
}
