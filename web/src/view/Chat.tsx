// Chat: to everybody, or to one person.

import { signal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { Meeting } from '../meeting/meeting';
import type { Line } from '../meeting/state';
import { Icon } from './icons';
import { Avatar, IconButton, hue } from './parts';

/** Whom the next message goes to; nobody: everybody. */
export const recipient = signal<{ jid: string; name: string } | null>(null);

const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const LINK = /(https?:\/\/[^\s<>"]+[^\s<>".,;:!?)\]])/g;

/** Text with its links. */
function Body({ text }: { text: string }) {
  return (
    <>
      {text.split(LINK).map((part, i) =>
        i % 2 === 1 ? (
          <a key={i} href={part} target="_blank" rel="noopener noreferrer nofollow">
            {part}
          </a>
        ) : (
          part
        ),
      )}
    </>
  );
}

export function Chat({ meeting, onClose }: { meeting: Meeting; onClose: () => void }) {
  const { state } = meeting;
  const [draft, setDraft] = useState('');
  const list = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLTextAreaElement>(null);
  const isAtEnd = useRef(true);
  const lines = state.lines.value;

  useEffect(() => {
    state.unread.value = 0;
  }, [lines]);
  useLayoutEffect(() => {
    if (isAtEnd.current && list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [lines]);
  useLayoutEffect(() => input.current?.focus(), [recipient.value]);

  const send = (e?: Event) => {
    e?.preventDefault();
    if (!draft.trim()) return;
    meeting.say(draft, recipient.value ?? undefined);
    setDraft('');
    isAtEnd.current = true;
  };
  const onKeyDown = (e: KeyboardEvent) => {
    if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) send(e);
  };

  return (
    <section class="panel" aria-label="Chat">
      <header>
        <h2>Chat</h2>
        <IconButton icon="close" label="Close the chat" tone="quiet small" size={20} onClick={onClose} />
      </header>
      <div
        class="lines"
        ref={list}
        role="log"
        aria-label="Messages"
        tabIndex={0}
        onScroll={(e) => {
          const l = e.currentTarget;
          isAtEnd.current = l.scrollHeight - l.scrollTop - l.clientHeight < 60;
        }}
      >
        {lines.length === 0 && (
          <div class="hint">
            <Icon name="chat" size={34} />
            <p>Nothing was written yet. Everybody in the meeting can read what you write, the audience too.</p>
          </div>
        )}
        {lines.map((l, i) => (
          <LineView key={`${l.id}-${i}`} line={l} before={lines[i - 1]} onAnswer={() => (recipient.value = { jid: l.replyTo, name: l.author })} />
        ))}
      </div>
      <form class="compose" onSubmit={send}>
        {recipient.value && (
          <p class="to">
            <Icon name="lock" size={15} /> Only to <b>{recipient.value.name}</b>
            <button type="button" class="text-button" onClick={() => (recipient.value = null)}>
              To everybody
            </button>
          </p>
        )}
        <div class="compose-row">
          <textarea
            ref={input}
            rows={1}
            value={draft}
            onInput={(e) => setDraft(e.currentTarget.value)}
            onKeyDown={onKeyDown}
            maxLength={4000}
            aria-label={recipient.value ? `Message to ${recipient.value.name} alone` : 'Message to everybody'}
            placeholder={recipient.value ? `To ${recipient.value.name}` : 'Write to everybody'}
          />
          <button class="icon-button accent small" type="submit" aria-label="Send" title="Send" disabled={!draft.trim()}>
            <Icon name="send" size={19} />
          </button>
        </div>
      </form>
    </section>
  );
}

function LineView({ line, before, onAnswer }: { line: Line; before: Line | undefined; onAnswer: () => void }) {
  const continues =
    before !== undefined && before.from === line.from && before.author === line.author && before.isPrivate === line.isPrivate && line.at - before.at < 120_000;
  const who = line.isMine ? (line.to ? `You to ${line.to}` : 'You') : line.author;
  return (
    <article class={`line ${line.isMine ? 'mine' : ''} ${line.isPrivate ? 'private' : ''} ${continues ? 'continues' : ''}`}>
      {!continues && (
        <header>
          <Avatar id={line.from || line.author} name={line.author} size={26} />
          <b style={{ '--hue': hue(line.from || line.author) }}>{who}</b>
          {line.isVisitor && <span class="tag">audience</span>}
          {line.isPrivate && <span class="tag private">only you two</span>}
          <time dateTime={new Date(line.at).toISOString()}>{time.format(line.at)}</time>
          {line.isPrivate && !line.isMine && (
            <button type="button" class="text-button" onClick={onAnswer}>
              Answer
            </button>
          )}
        </header>
      )}
      <p>
        <Body text={line.body} />
      </p>
    </article>
  );
}
