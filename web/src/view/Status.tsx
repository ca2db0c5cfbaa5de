// Pages between the lobby and the meeting: joining, waiting, a password, the end.

import { useState } from 'preact/hooks';
import type { Meeting } from '../meeting/meeting';
import type { Phase } from '../meeting/state';
import { Icon, Logo } from './icons';

type Of<K extends Phase['kind']> = Extract<Phase, { kind: K }>;

export function Joining({ phase, meeting }: { phase: Of<'joining'>; meeting: Meeting }) {
  return (
    <main class="status">
      <div class="pulse" aria-hidden="true">
        <Logo size={56} />
      </div>
      <h1 aria-live="polite">{phase.words}…</h1>
      <p>{meeting.roomName}</p>
      <button class="text-button" type="button" onClick={() => meeting.leave()}>
        Cancel
      </button>
    </main>
  );
}

export function Waiting({ phase, meeting }: { phase: Of<'waiting'>; meeting: Meeting }) {
  return (
    <main class="status">
      <div class="pulse slow" aria-hidden="true">
        <Logo size={72} />
      </div>
      <p class="eyebrow">{meeting.roomName}</p>
      <h1 aria-live="polite">{phase.returning ? 'It begins. Taking you in…' : 'The meeting has not begun yet'}</h1>
      <p>{phase.returning ? 'Everybody comes in one after another; it is your turn in a moment.' : 'Stay here: you come in by yourself when the host goes live.'}</p>
      <button class="text-button" type="button" onClick={() => meeting.leave()}>
        Leave
      </button>
    </main>
  );
}

/** In the lobby. Whoever knows the password need not wait. */
export function Knocking({ phase, meeting }: { phase: Of<'knocking'>; meeting: Meeting }) {
  const [password, setPassword] = useState('');
  return (
    <main class="status">
      <div class="pulse slow" aria-hidden="true">
        <Logo size={72} />
      </div>
      <p class="eyebrow">{meeting.roomName}</p>
      <h1 aria-live="polite">The host lets you in soon</h1>
      <p>They see that you are waiting. You come in by yourself as soon as they let you.</p>
      {phase.wasWrong && (
        <p class="problem" role="alert">
          <Icon name="warn" size={18} /> That password was not it.
        </p>
      )}
      <details>
        <summary>I know the password</summary>
        <form
          onSubmit={(e) => {
            e.preventDefault();
            meeting.retryWithPassword(password);
          }}
        >
          <label for="lobby-password">Password</label>
          <input id="lobby-password" type="password" value={password} onInput={(e) => setPassword(e.currentTarget.value)} required />
          <button class="primary" type="submit">
            Join
          </button>
        </form>
      </details>
      <button class="text-button" type="button" onClick={() => meeting.leave()}>
        Leave
      </button>
    </main>
  );
}

export function Password({ phase, meeting }: { phase: Of<'password'>; meeting: Meeting }) {
  const [password, setPassword] = useState('');
  return (
    <main class="status">
      <Icon name="lock" size={48} />
      <h1>This meeting has a password</h1>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          meeting.retryWithPassword(password);
        }}
      >
        <label for="password">Password</label>
        <input id="password" type="password" value={password} onInput={(e) => setPassword(e.currentTarget.value)} autoFocus required aria-invalid={phase.wasWrong} aria-describedby={phase.wasWrong ? 'wrong' : undefined} />
        {phase.wasWrong && (
          <p class="problem" role="alert" id="wrong">
            <Icon name="warn" size={18} /> That was not it.
          </p>
        )}
        <button class="primary big" type="submit">
          Join
        </button>
      </form>
    </main>
  );
}

export function Ended({ phase, meeting }: { phase: Of<'ended'>; meeting: Meeting }) {
  return (
    <main class="status">
      <Logo size={56} />
      <h1 aria-live="polite">{phase.title}</h1>
      {phase.words && <p>{phase.words}</p>}
      <div class="row">
        {phase.canReturn && (
          <button class="primary" type="button" onClick={() => meeting.rejoin()} autoFocus>
            Join again
          </button>
        )}
        <a class="button" href="/">
          To the start
        </a>
      </div>
    </main>
  );
}
