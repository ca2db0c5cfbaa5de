// The meeting itself: header, stage, panel, bar, and what is said in passing.

import { useEffect, useRef, useState } from 'preact/hooks';
import type { Meeting } from '../meeting/meeting';
import { Chat } from './Chat';
import { Devices, Invitation, Keys, Leave, PasswordDialog, Share } from './Dialogs';
import { People } from './People';
import { Stage } from './Stage';
import { type Actions, type Panel, Toolbar } from './Toolbar';
import { Icon, Logo } from './icons';
import { IconButton, clock, count, now, ordinal } from './parts';

type Open = 'share' | 'settings' | 'keys' | 'leave' | 'password' | null;

export function MeetingView({ meeting }: { meeting: Meeting }) {
  const { state, local } = meeting;
  const [panel, setPanel] = useState<Panel>(null);
  const [open, setOpen] = useState<Open>(null);
  const onStage = () => state.role.peek() === 'stage';
  const actions: Actions = {
    microphone: () => onStage() && void local.setMicrophone(!local.isMicOn.peek()).then((ok) => tellProblem(meeting, ok, 'microphone')),
    camera: () => onStage() && void local.setCamera(!local.isCameraOn.peek()).then((ok) => tellProblem(meeting, ok, 'camera')),
    screen: () => onStage() && void local.setScreen(!local.isSharing.peek()),
    hand: () => meeting.setHand(state.myHand.peek() === 0),
    panel: setPanel,
    dialog: setOpen,
  };
  useShortcuts(meeting, actions, panel, open);
  const close = () => setOpen(null);
  return (
    <div class={`meeting ${panel ? 'has-panel' : ''}`}>
      <Header meeting={meeting} onShare={() => setOpen('share')} />
      <main class="room">
        <h1 class="hidden">{meeting.roomName}</h1>
        <Stage meeting={meeting} />
        {state.role.value === 'audience' && <AudienceBar meeting={meeting} />}
      </main>
      {panel && (
        <aside class="side">
          {panel === 'chat' && <Chat meeting={meeting} onClose={() => setPanel(null)} />}
          {panel === 'people' && <People meeting={meeting} onClose={() => setPanel(null)} onChat={() => setPanel('chat')} />}
        </aside>
      )}
      <Toolbar meeting={meeting} actions={actions} panel={panel} />
      <Notices meeting={meeting} />
      {open === 'share' && <Share meeting={meeting} onClose={close} />}
      {open === 'settings' && <Devices meeting={meeting} onClose={close} />}
      {open === 'keys' && <Keys meeting={meeting} onClose={close} />}
      {open === 'leave' && <Leave meeting={meeting} onClose={close} />}
      {open === 'password' && <PasswordDialog meeting={meeting} onClose={close} />}
      {state.invitation.value && <Invitation meeting={meeting} />}
    </div>
  );
}

function tellProblem(meeting: Meeting, ok: boolean, what: 'microphone' | 'camera'): void {
  if (!ok) meeting.tell(`Your ${what} could not be started. Look at the permissions of this page.`, 'bad');
}

function Header({ meeting, onShare }: { meeting: Meeting; onShare: () => void }) {
  const { state } = meeting;
  return (
    <header class="top">
      <Logo size={26} />
      <span class="room-name" title={meeting.roomName}>
        {state.subject.value || meeting.roomName}
      </span>
      {state.isLocked.value && <Icon name="lock" size={17} />}
      {state.createdAt.value > 0 && <Clock since={state.createdAt.value} />}
      <span class="gap" />
      {!state.isLive.value && <span class="chip gold">not live</span>}
      <Connection meeting={meeting} />
      <span class="chip" title="On stage">
        <Icon name="people" size={17} /> {state.stage.value.length}
        <span class="hidden"> on stage</span>
      </span>
      <span class="chip" title="In the audience" data-audience={state.audience.value}>
        <Icon name="audience" size={17} /> {count(state.audience.value)}
        <span class="hidden"> in the audience</span>
      </span>
      <IconButton icon="link" label="Share the link" tone="quiet small" size={20} onClick={onShare} />
    </header>
  );
}

function Clock({ since }: { since: number }) {
  return <span class="clock">{clock(now.value - since)}</span>;
}

function Connection({ meeting }: { meeting: Meeting }) {
  const { state } = meeting;
  const words = state.isOffline.value
    ? 'No network'
    : state.transition.value
    ? state.transition.value
    : state.link.value === 'broken'
      ? 'Reconnecting'
      : state.media.value === 'broken'
        ? 'Media interrupted'
        : state.media.value === 'connecting'
          ? 'Connecting media'
          : '';
  const q = state.quality.value;
  return (
    <>
      <span role="status" class={words ? 'chip busy' : 'hidden'}>
        {words && <i class="spinner" aria-hidden="true" />}
        {words}
      </span>
      {!words && q !== null && (
        <span class={`quality ${q > 75 ? 'good' : q > 45 ? 'fair' : 'poor'}`} title={`Connection: ${q} of 100`}>
          <i />
          <i />
          <i />
          <span class="hidden">Connection {q > 75 ? 'good' : q > 45 ? 'fair' : 'poor'}</span>
        </span>
      )}
    </>
  );
}

function inLine(place: number): string {
  if (place === 0) return 'Your hand is up. The host decides when you come on stage.';
  return place === 1 ? 'Your hand is up. You are next in line.' : `Your hand is up. You are ${ordinal(place)} in line.`;
}

function AudienceBar({ meeting }: { meeting: Meeting }) {
  const { state } = meeting;
  const up = state.myHand.value;
  return (
    <p class={`audience-bar ${up ? 'gold' : ''}`} role="status">
      {up ? (
        <>
          <Icon name="hand" size={18} />
          <span data-place={state.myPlace.value}>{inLine(state.myPlace.value)}</span>
        </>
      ) : (
        <>
          <Icon name="audience" size={18} /> You are in the audience: you see and hear, nobody sees or hears you.
        </>
      )}
    </p>
  );
}

function Notices({ meeting }: { meeting: Meeting }) {
  return (
    <div class="notices" role="log" aria-label="Notices">
      {meeting.state.notices.value.map((n) => (
        <div class={`notice ${n.tone}`} key={n.id}>
          <span>{n.words}</span>
          <IconButton icon="close" label="Dismiss" tone="quiet small" size={16} onClick={() => meeting.dismiss(n.id)} />
        </div>
      ))}
    </div>
  );
}

/** Keys work unless somebody writes; Space speaks while it is held. */
function useShortcuts(meeting: Meeting, actions: Actions, panel: Panel, open: Open): void {
  const latest = useRef({ actions, panel, open });
  latest.current = { actions, panel, open };
  useEffect(() => {
    let isTalking = false;
    const isWriting = (e: Event) => (e.target as HTMLElement).closest?.('input, textarea, select, [contenteditable]') !== null;
    const down = (e: KeyboardEvent) => {
      const { actions: a, panel: p, open: o } = latest.current;
      if (e.key === 'Escape' && p && !o) return a.panel(null);
      if (isWriting(e) || e.ctrlKey || e.metaKey || e.altKey || document.querySelector('dialog[open]')) return;
      if (e.code === 'Space' && !(e.target as HTMLElement).closest('button, a, [role="menuitem"]')) {
        e.preventDefault();
        if (!e.repeat && !meeting.local.isMicOn.peek() && meeting.state.role.peek() === 'stage') {
          isTalking = true;
          a.microphone();
        }
        return;
      }
      if (e.repeat) return;
      const key = e.key.toLowerCase();
      const action: Record<string, () => void> = {
        m: a.microphone,
        v: a.camera,
        s: a.screen,
        h: a.hand,
        c: () => a.panel(p === 'chat' ? null : 'chat'),
        p: () => a.panel(p === 'people' ? null : 'people'),
        '?': () => a.dialog('keys'),
      };
      if (!action[key]) return;
      e.preventDefault();
      action[key]();
    };
    const up = (e: KeyboardEvent) => {
      if (e.code !== 'Space' || !isTalking) return;
      isTalking = false;
      void meeting.local.setMicrophone(false);
    };
    addEventListener('keydown', down);
    addEventListener('keyup', up);
    return () => {
      removeEventListener('keydown', down);
      removeEventListener('keyup', up);
    };
  }, []);
}
