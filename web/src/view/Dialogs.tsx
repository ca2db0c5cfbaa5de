// Windows over the meeting.

import { useEffect, useState } from 'preact/hooks';
import type { Meeting } from '../meeting/meeting';
import { DeviceSelects } from './Settings';
import { Icon } from './icons';
import { Dialog, copy, now } from './parts';

interface Props {
  meeting: Meeting;
  onClose: () => void;
}

export function Share({ onClose }: Props) {
  const [done, setDone] = useState(false);
  const link = location.origin + location.pathname;
  const share = () => {
    if (navigator.share && matchMedia('(pointer: coarse)').matches) void navigator.share({ url: link }).catch(() => undefined);
    else void copy(link).then(setDone);
  };
  return (
    <Dialog title="Invite people" onClose={onClose}>
      <p>Whoever has this link can come in. When the stage is full, people get a seat in the audience.</p>
      <div class="row">
        <input readOnly value={link} aria-label="Link to this meeting" onFocus={(e) => e.currentTarget.select()} />
        <button type="button" class="primary" onClick={share}>
          <Icon name={done ? 'check' : 'copy'} size={18} /> {done ? 'Copied' : 'Copy'}
        </button>
      </div>
      <p class="hidden" role="status">{done ? 'The link was copied.' : ''}</p>
    </Dialog>
  );
}

export function Devices({ meeting, onClose }: Props) {
  useEffect(() => void meeting.local.list(), []);
  const named = meeting.local.devices.value.some((d) => d.label);
  return (
    <Dialog title="Devices" onClose={onClose}>
      <DeviceSelects local={meeting.local} kinds={['audioinput', 'videoinput', 'audiooutput']} />
      {named ? <p class="hint-line">Only kinds of which there are several are listed.</p> : <p>Turn the microphone or the camera on once; then the devices can be chosen here.</p>}
    </Dialog>
  );
}

const KEYS: [string, string][] = [
  ['M', 'Microphone on or off'],
  ['Space', 'Speak while it is held down'],
  ['V', 'Camera on or off'],
  ['S', 'Share the screen'],
  ['H', 'Raise or lower your hand'],
  ['C', 'Chat'],
  ['P', 'People'],
  ['?', 'This list'],
  ['Esc', 'Close what is open'],
];

export function Keys({ onClose }: Props) {
  return (
    <Dialog title="Keyboard" onClose={onClose}>
      <dl class="keys">
        {KEYS.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}

export function Leave({ meeting, onClose }: Props) {
  return (
    <Dialog title="Leave the meeting?" onClose={onClose}>
      <p>The others can go on without you, or you end the meeting for everybody.</p>
      <div class="row end">
        <button type="button" class="danger" onClick={() => (onClose(), meeting.moderation.endForAll())}>
          End for everybody
        </button>
        <button type="button" class="primary" onClick={() => (onClose(), meeting.leave())}>
          Just leave
        </button>
      </div>
    </Dialog>
  );
}

export function PasswordDialog({ meeting, onClose }: Props) {
  const [password, setPassword] = useState('');
  const save = (e: Event) => {
    e.preventDefault();
    meeting.setPassword(password);
    onClose();
  };
  return (
    <Dialog title="Password of the meeting" onClose={onClose}>
      <form onSubmit={save}>
        <p>Whoever comes from now on has to know it. Leave it empty to open the meeting to all.</p>
        <label for="new-password">Password</label>
        <input id="new-password" type="text" value={password} onInput={(e) => setPassword(e.currentTarget.value)} maxLength={100} autoComplete="off" />
        <div class="row end">
          <button class="primary" type="submit">
            {password ? 'Lock the meeting' : 'Open to all'}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** The host invites somebody from the audience. */
export function Invitation({ meeting }: { meeting: Meeting }) {
  const { state, local } = meeting;
  const invitation = state.invitation.value;
  const left = invitation ? Math.max(0, Math.ceil((invitation.until - now.value) / 1000)) : 0;
  useEffect(() => {
    if (invitation && left === 0) meeting.declineInvitation();
  }, [left, invitation]);
  if (!invitation) return null;
  const come = async (camera: boolean, microphone: boolean) => {
    meeting.acceptInvitation();
    if (microphone) await local.setMicrophone(true);
    if (camera) await local.setCamera(true);
  };
  return (
    <Dialog title="You are invited on stage" onClose={() => meeting.declineInvitation()}>
      <p>Everybody will see your name there. How do you want to come?</p>
      <div class="choices">
        <button type="button" class="primary big" onClick={() => void come(true, true)} autoFocus>
          <Icon name="camera" /> With camera and microphone
        </button>
        <button type="button" class="big" onClick={() => void come(false, true)}>
          <Icon name="mic" /> With microphone
        </button>
        <button type="button" class="big" onClick={() => void come(false, false)}>
          <Icon name="micOff" /> Silently
        </button>
      </div>
      <div class="row end">
        <span class="hint-line">The seat is kept for {left} s.</span>
        <button type="button" class="text-button" onClick={() => meeting.declineInvitation()}>
          Not now
        </button>
      </div>
    </Dialog>
  );
}
