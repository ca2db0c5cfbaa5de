// The bar of buttons.

import type { Meeting } from '../meeting/meeting';
import { Icon } from './icons';
import { IconButton, Menu, type MenuItem } from './parts';

export type Panel = 'chat' | 'people' | null;

export interface Actions {
  microphone: () => void;
  camera: () => void;
  screen: () => void;
  hand: () => void;
  panel: (panel: Panel) => void;
  dialog: (dialog: 'share' | 'settings' | 'keys' | 'leave' | 'password') => void;
}

export function Toolbar({ meeting, actions, panel }: { meeting: Meeting; actions: Actions; panel: Panel }) {
  const { state, local } = meeting;
  const isOnStage = state.role.value === 'stage';
  const isModerator = state.isModerator.value && isOnStage;
  const handUp = state.myHand.value > 0;
  const more: MenuItem[] = [
    { label: 'Share the link', icon: 'link', onClick: () => actions.dialog('share') },
    { label: 'Devices', icon: 'settings', onClick: () => actions.dialog('settings') },
    { label: 'Keyboard', icon: 'keyboard', onClick: () => actions.dialog('keys') },
  ];
  if (isOnStage && 'getDisplayMedia' in (navigator.mediaDevices ?? {})) {
    more.unshift({ label: local.isSharing.value ? 'Stop sharing' : 'Share the screen', icon: 'screen', onClick: actions.screen });
  }
  if (isOnStage && state.visitorsEnabled.value) more.push({ label: 'Step down to the audience', icon: 'stepDown', onClick: () => meeting.stepDown() });
  if (isModerator) more.push({ label: state.isLocked.value ? 'Change the password' : 'Lock with a password', icon: 'lock', onClick: () => actions.dialog('password') });
  const unread = panel === 'chat' ? 0 : state.unread.value;
  const hands = state.hands.value.length;
  const knocking = state.knockers.value.length;
  const asked = hands + knocking;
  const waits = (n: number) => (n > 99 ? '99+' : n);
  const asking = [hands > 0 && `${waits(hands)} raised hands`, knocking > 0 && `${waits(knocking)} waiting`].filter(Boolean).join(', ');

  return (
    <nav class="toolbar" aria-label="Controls">
      {isOnStage ? (
        <>
          <IconButton icon={local.isMicOn.value ? 'mic' : 'micOff'} label={local.isMicOn.value ? 'Mute' : 'Unmute'} shortcut="M" tone={local.isMicOn.value ? 'on' : 'off'} pressed={local.isMicOn.value} onClick={actions.microphone} caption="Mic" />
          <IconButton icon={local.isCameraOn.value ? 'camera' : 'cameraOff'} label={local.isCameraOn.value ? 'Turn the camera off' : 'Turn the camera on'} shortcut="V" tone={local.isCameraOn.value ? 'on' : 'off'} pressed={local.isCameraOn.value} onClick={actions.camera} caption="Camera" />
          <span class="wide-only">
            <IconButton icon={local.isSharing.value ? 'screenOff' : 'screen'} label={local.isSharing.value ? 'Stop sharing' : 'Share the screen'} shortcut="S" tone={local.isSharing.value ? 'accent' : ''} pressed={local.isSharing.value} onClick={actions.screen} caption="Share" />
          </span>
          <IconButton icon="hand" label={handUp ? 'Lower your hand' : 'Raise your hand'} shortcut="H" tone={handUp ? 'gold' : ''} pressed={handUp} onClick={actions.hand} caption="Hand" />
        </>
      ) : (
        <button type="button" class={`hand-button ${handUp ? 'gold' : ''}`} aria-pressed={handUp} aria-keyshortcuts="H" onClick={actions.hand}>
          <Icon name="hand" /> {handUp ? 'Lower hand' : 'Raise hand'}
        </button>
      )}
      <span class="gap" />
      <IconButton icon="chat" label={unread > 0 ? `Chat, ${unread > 99 ? '99+' : unread} unread` : 'Chat'} shortcut="C" tone={panel === 'chat' ? 'open' : ''} expanded={panel === 'chat'} badge={unread} onClick={() => actions.panel(panel === 'chat' ? null : 'chat')} caption="Chat" />
      <IconButton icon="people" label={asked > 0 ? `People, ${asking}` : 'People'} shortcut="P" tone={panel === 'people' ? 'open' : ''} expanded={panel === 'people'} badge={asked} onClick={() => actions.panel(panel === 'people' ? null : 'people')} caption="People" />
      <Menu label="More" items={more} tone="" />
      <IconButton icon="leave" label="Leave" tone="leave" onClick={() => (isModerator ? actions.dialog('leave') : meeting.leave())} caption="Leave" />
    </nav>
  );
}
