// Before joining: name, a look at oneself, microphone and camera.

import { useEffect, useState } from 'preact/hooks';
import { PROBLEMS, remembered } from '../media/devices';
import type { Meeting } from '../meeting/meeting';
import { DeviceSelects } from './Settings';
import { Icon, Logo } from './icons';
import { Avatar, IconButton, Video } from './parts';

export function Prejoin({ meeting }: { meeting: Meeting }) {
  const { local } = meeting;
  const [name, setName] = useState(meeting.state.myName.value || remembered('name'));
  useEffect(() => void local.list(), []);
  const join = (e: Event) => {
    e.preventDefault();
    meeting.join(name);
  };
  const problems = Object.entries(local.problems.value).filter(([, p]) => p);
  return (
    <div class="prejoin">
      <header class="brand">
        <Logo /> <span>Amphi</span>
      </header>
      <main>
        <section class="preview" aria-label="How you look">
          {local.camera.value ? (
            <Video track={local.camera.value} mirrored />
          ) : (
            <Avatar id={name || 'you'} name={name || 'You'} size={96} />
          )}
          <div class="preview-bar">
            <IconButton
              icon={local.isMicOn.value ? 'mic' : 'micOff'}
              label={local.isMicOn.value ? 'Turn the microphone off' : 'Turn the microphone on'}
              tone={local.isMicOn.value ? 'on' : 'off'}
              pressed={local.isMicOn.value}
              onClick={() => void local.setMicrophone(!local.isMicOn.value)}
            />
            <IconButton
              icon={local.isCameraOn.value ? 'camera' : 'cameraOff'}
              label={local.isCameraOn.value ? 'Turn the camera off' : 'Turn the camera on'}
              tone={local.isCameraOn.value ? 'on' : 'off'}
              pressed={local.isCameraOn.value}
              onClick={() => void local.setCamera(!local.isCameraOn.value)}
            />
          </div>
          {local.isMicOn.value && (
            <div class="meter" role="meter" aria-label="Loudness of your microphone" aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(local.level.value * 100)}>
              <i style={{ transform: `scaleX(${local.level.value})` }} />
            </div>
          )}
        </section>
        <section class="join-card">
          <p class="eyebrow">You are about to join</p>
          <h1>{meeting.roomName}</h1>
          <form onSubmit={join}>
            <label for="name">Your name</label>
            <input id="name" value={name} onInput={(e) => setName(e.currentTarget.value)} placeholder="How others see you" maxLength={60} autoComplete="name" autoFocus required />
            <DeviceSelects local={local} kinds={['audioinput', 'videoinput']} />
            {problems.map(([what, problem]) => (
              <p class="problem" role="alert" key={what}>
                <Icon name="warn" size={18} /> Your {what} {PROBLEMS[problem!]}
              </p>
            ))}
            <button class="primary big" type="submit">
              Join the meeting
            </button>
            <button class="text-button" type="button" onClick={() => name.trim() && meeting.join(name, true)} disabled={!name.trim()}>
              Join as audience, to watch only
            </button>
          </form>
        </section>
      </main>
    </div>
  );
}
