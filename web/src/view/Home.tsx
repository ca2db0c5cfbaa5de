// The page at `/`: name a meeting and go there.

import { useState } from 'preact/hooks';
import { Icon, Logo } from './icons';

const FIRST = ['amber', 'bright', 'calm', 'clear', 'early', 'gentle', 'golden', 'merry', 'quiet', 'silver', 'steady', 'swift', 'warm', 'wide'];
const SECOND = ['agora', 'arena', 'arch', 'chorus', 'forum', 'garden', 'harbour', 'lantern', 'meadow', 'odeon', 'orchard', 'plaza', 'theatre', 'tower'];

export function suggestion(random: () => number = Math.random): string {
  const of = (words: string[]) => words[Math.floor(random() * words.length)]!;
  // A number of five digits: a name that was made up is not met by chance.
  return `${of(FIRST)}-${of(SECOND)}-${Math.floor(10_000 + random() * 90_000)}`;
}

export function Home() {
  const [suggested] = useState(suggestion);
  const [name, setName] = useState('');
  const go = (e: Event) => {
    e.preventDefault();
    location.assign(`/${encodeURIComponent((name.trim() || suggested).replace(/\s+/g, '-'))}`);
  };
  return (
    <div class="home">
      <header class="brand">
        <Logo /> <span>Amphi</span>
      </header>
      <main>
        <h1>
          A stage for a few.
          <br />
          <span>A seat for everyone.</span>
        </h1>
        <p class="lead">Name a meeting and share its link. The first people there are on stage; a crowd can watch, write and come up.</p>
        <form onSubmit={go}>
          <label for="room">Name of the meeting</label>
          <div class="row">
            <input id="room" value={name} onInput={(e) => setName(e.currentTarget.value)} placeholder={suggested} maxLength={80} autoComplete="off" autoFocus />
            <button class="primary" type="submit">
              Start <Icon name="live" size={18} />
            </button>
          </div>
        </form>
      </main>
      <footer>
        <a href="/health-view">State of this server</a>
      </footer>
      <div class="rings" aria-hidden="true">
        {[1, 2, 3, 4, 5, 6].map((n) => (
          <i key={n} style={{ '--n': n }} />
        ))}
      </div>
    </div>
  );
}
