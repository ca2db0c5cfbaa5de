// Who is there: hands first, then the stage, then the audience. Moderators act from here.

import { useState } from 'preact/hooks';
import type { Meeting } from '../meeting/meeting';
import type { Occupant } from '../xmpp/presence';
import { recipient } from './Chat';
import { Icon } from './icons';
import { Avatar, IconButton, Menu, type MenuItem, clock, count, now } from './parts';

const LISTED = 200;

export function People({ meeting, onClose, onChat }: { meeting: Meeting; onClose: () => void; onChat: () => void }) {
  const { state } = meeting;
  const isModerator = state.isModerator.value && state.role.value === 'stage';
  const stage = state.stage.value;
  const raised = stage.filter((p) => p.hand > 0).sort((a, b) => a.hand - b.hand);
  const whisper = (jid: string, name: string) => {
    recipient.value = { jid, name };
    onChat();
  };
  return (
    <section class="panel" aria-label="People">
      <header>
        <h2>People</h2>
        <IconButton icon="close" label="Close the list" tone="quiet small" size={20} onClick={onClose} />
      </header>
      <div class="scroll" tabIndex={0} role="region" aria-label="Everybody in the meeting">
        {isModerator && <LiveSwitch meeting={meeting} />}
        {isModerator && <LobbySwitch meeting={meeting} />}
        {isModerator && <Knockers meeting={meeting} />}
        {isModerator && <Hands meeting={meeting} />}
        {raised.length > 0 && (
          <>
            <h3>
              Wants to speak <span>{raised.length}</span>
            </h3>
            <ol class="persons">
              {raised.map((p) => (
                <li key={p.id}>
                  <Avatar id={p.id} name={p.name || 'Guest'} size={34} />
                  <span class="person-name">{p.name || 'Guest'}</span>
                  <span class="raised">
                    <Icon name="hand" size={17} /> {clock(now.value - p.hand)}
                  </span>
                </li>
              ))}
            </ol>
          </>
        )}
        <h3>
          On stage <span>{stage.length}</span>
        </h3>
        <ul class="persons">
          {stage.map((p) => (
            <Person key={p.id} person={p} meeting={meeting} isModerator={isModerator} onWhisper={() => whisper(meeting.addressOf(p.id), p.name || 'Guest')} />
          ))}
        </ul>
        <Audience meeting={meeting} />
      </div>
    </section>
  );
}

function Person({ person: p, meeting, isModerator, onWhisper }: { person: Occupant; meeting: Meeting; isModerator: boolean; onWhisper: () => void }) {
  const { state, local } = meeting;
  const isMe = p.id === state.me.value?.id;
  const name = p.name || 'Guest';
  const muted = isMe ? !local.isMicOn.value : (p.sources[`${p.id}-a0`]?.muted ?? true);
  const cameraOff = isMe ? !local.isCameraOn.value : (p.sources[`${p.id}-v0`]?.muted ?? true);
  const items: MenuItem[] = [];
  if (!isMe) items.push({ label: 'Write privately', icon: 'chat', onClick: onWhisper });
  if (isModerator && !isMe) {
    if (!muted) items.push({ label: 'Mute', icon: 'micOff', onClick: () => meeting.moderation.mute(p.id, 'audio') });
    if (!cameraOff) items.push({ label: 'Turn camera off', icon: 'cameraOff', onClick: () => meeting.moderation.mute(p.id, 'video') });
    if (p.sources[`${p.id}-v1`]?.muted === false) items.push({ label: 'End screen share', icon: 'screenOff', onClick: () => meeting.moderation.mute(p.id, 'desktop') });
    if (p.role !== 'moderator') items.push({ label: 'Make moderator', icon: 'star', onClick: () => meeting.moderation.makeModerator(p.id) });
    if (state.visitorsEnabled.value) items.push({ label: 'Move to the audience', icon: 'stepDown', onClick: () => meeting.moderation.demote(p.id) });
    items.push({ label: 'Remove from the meeting', icon: 'close', tone: 'bad', onClick: () => meeting.moderation.kick(p.id) });
  }
  return (
    <li data-person={p.id}>
      <Avatar id={p.id} name={name} size={34} />
      <span class="person-name">
        {name}
        {isMe && <small> (you)</small>}
        {p.role === 'moderator' && <small class="role">moderator</small>}
      </span>
      <span class={`state ${muted ? '' : 'on'}`} title={muted ? 'Microphone off' : 'Microphone on'}>
        <Icon name={muted ? 'micOff' : 'mic'} size={17} />
        <span class="hidden">{muted ? 'microphone off' : 'microphone on'}</span>
      </span>
      <span class={`state ${cameraOff ? '' : 'on'}`} title={cameraOff ? 'Camera off' : 'Camera on'}>
        <Icon name={cameraOff ? 'cameraOff' : 'camera'} size={17} />
        <span class="hidden">{cameraOff ? 'camera off' : 'camera on'}</span>
      </span>
      {items.length > 0 && <Menu label={`More for ${name}`} items={items} />}
    </li>
  );
}

function Hands({ meeting }: { meeting: Meeting }) {
  const hands = meeting.state.hands.value;
  if (hands.length === 0) return null;
  return (
    <div class="hands" role="group" aria-label="Hands in the audience">
      <h3>
        <Icon name="hand" size={17} /> Raised hands <span>{hands.length}</span>
        {hands.length > 1 && (
          <button type="button" class="text-button" onClick={() => meeting.moderation.answerHands(hands.map((h) => h.id), true)}>
            Approve all
          </button>
        )}
      </h3>
      <ol class="persons">
        {hands.map((h, i) => (
          <li key={h.id}>
            <span class="place">{i + 1}</span>
            <span class="person-name">
              {h.name}
              <small class="since">{clock(now.value - h.at)}</small>
            </span>
            <IconButton icon="close" label={`Deny ${h.name}`} tone="small" size={17} onClick={() => meeting.moderation.answerHands([h.id], false)} />
            <button type="button" class="small-button good" aria-label={`Approve ${h.name}`} onClick={() => meeting.moderation.answerHands([h.id], true)}>
              Approve
            </button>
          </li>
        ))}
      </ol>
    </div>
  );
}

/** Those who wait in the lobby. */
function Knockers({ meeting }: { meeting: Meeting }) {
  const all = meeting.state.knockers.value;
  if (all.length === 0) return null;
  return (
    <div class="hands" role="group" aria-label="Waiting to be let in">
      <h3>
        <Icon name="lock" size={17} /> Waiting to be let in <span>{all.length}</span>
        {all.length > 1 && (
          <button type="button" class="text-button" onClick={() => meeting.lobby.approve(all.map((k) => k.id))}>
            Let all in
          </button>
        )}
      </h3>
      <ol class="persons">
        {all.map((k) => (
          <li key={k.id}>
            <Avatar id={k.id} name={k.name} size={28} />
            <span class="person-name">{k.name}</span>
            <IconButton icon="close" label={`Turn ${k.name} away`} tone="small" size={17} onClick={() => meeting.lobby.deny(k.id)} />
            <button type="button" class="small-button good" aria-label={`Let ${k.name} in`} onClick={() => meeting.lobby.approve([k.id])}>
              Let in
            </button>
          </li>
        ))}
      </ol>
    </div>
  );
}

/** A lobby takes nobody into the audience, so it is opened before there is one. */
function LobbySwitch({ meeting }: { meeting: Meeting }) {
  const { state } = meeting;
  const isOn = state.hasLobby.value;
  if (!state.canHaveLobby.value && !isOn) return null;
  const hasAudience = !isOn && state.audience.value > 0;
  return (
    <div class="live-switch lobby">
      <Icon name="lock" />
      <p>
        <b>Lobby</b>
        <small>{isOn ? 'Newcomers wait until you let them in.' : hasAudience ? 'Not while there is an audience.' : 'Everybody with the link comes in.'}</small>
      </p>
      <button type="button" class="small-button" aria-pressed={isOn} disabled={hasAudience} onClick={() => meeting.lobby.set(!isOn)}>
        {isOn ? 'Close the lobby' : 'Open a lobby'}
      </button>
    </div>
  );
}

function LiveSwitch({ meeting }: { meeting: Meeting }) {
  const { state } = meeting;
  if (!state.visitorsEnabled.value) return null;
  const isLive = state.isLive.value;
  return (
    <div class={`live-switch ${isLive ? 'live' : ''}`}>
      <Icon name="live" />
      <p>
        <b>{isLive ? 'You are live' : 'Not live'}</b>
        <small>{isLive ? 'The audience may enter.' : state.waiting.value > 0 ? `${count(state.waiting.value)} waiting to come in.` : 'The audience waits outside.'}</small>
      </p>
      <button type="button" class={isLive ? 'small-button' : 'small-button good'} onClick={() => meeting.moderation.setLive(!isLive)}>
        {isLive ? 'Hold' : 'Go live'}
      </button>
    </div>
  );
}

function Audience({ meeting }: { meeting: Meeting }) {
  const { state } = meeting;
  const [search, setSearch] = useState('');
  const names = state.audienceNames.value;
  const total = Math.max(state.audience.value, names.size);
  const all = [...names].filter(([, n]) => n.toLowerCase().includes(search.toLowerCase()));
  return (
    <>
      <h3>
        In the audience <span>{count(total)}</span>
      </h3>
      {names.size > 8 && <input class="search" type="search" aria-label="Search the audience" placeholder="Search" value={search} onInput={(e) => setSearch(e.currentTarget.value)} />}
      {names.size > 0 ? (
        <ul class="persons quiet">
          {all.slice(0, LISTED).map(([id, name]) => (
            <li key={id}>
              <Avatar id={id} name={name} size={28} />
              <span class="person-name">{name}</span>
            </li>
          ))}
          {all.length > LISTED && <li class="rest">{count(all.length - LISTED)} more</li>}
        </ul>
      ) : (
        <p class="hint-line">{total === 0 ? 'Nobody yet.' : state.role.value === 'audience' ? 'You are one of them.' : 'They watch, write and can raise a hand.'}</p>
      )}
    </>
  );
}
