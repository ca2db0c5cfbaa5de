// One person or one shared screen.

import type { Meeting } from '../meeting/meeting';
import type { Tile as TileState } from '../meeting/state';
import { Icon } from './icons';
import { Avatar, Video } from './parts';

export function Tile({ tile, meeting, style, isLarge, avatar }: { tile: TileState; meeting: Meeting; style?: Record<string, string | number>; isLarge?: boolean; avatar: number }) {
  const { pinned } = meeting.state;
  const isPinned = pinned.value === tile.key;
  const toggle = () => (pinned.value = isPinned ? null : tile.key);
  const label = tile.isScreen ? `Screen of ${tile.name}` : tile.isLocal ? `${tile.name} (you)` : tile.name;
  const look = [
    'tile',
    tile.isSpeaking && !tile.isScreen && !tile.isAudioMuted ? 'speaking' : '',
    tile.isScreen ? 'is-screen' : '',
    tile.isPoor ? 'poor' : '',
    isLarge ? 'large' : '',
  ].join(' ');
  return (
    <article class={look} style={style} aria-label={label} data-source={tile.source} onDblClick={toggle}>
      {tile.track ? (
        <Video track={tile.track} mirrored={tile.isLocal && !tile.isScreen} contain={tile.isScreen} />
      ) : (
        <div class="tile-avatar">
          <Avatar id={tile.owner} name={tile.name} size={avatar} />
        </div>
      )}
      {tile.hand > 0 && !tile.isScreen && (
        <span class="hand-mark" title="Hand raised">
          <Icon name="hand" size={18} />
          <span class="hidden">Hand raised</span>
        </span>
      )}
      <div class="tile-name">
        {tile.isScreen ? <Icon name="screen" size={15} /> : tile.isAudioMuted ? <Icon name="micOff" size={15} /> : tile.isSpeaking ? <span class="bars" aria-hidden="true"><i /><i /><i /></span> : null}
        {!tile.isScreen && tile.isAudioMuted && <span class="hidden">muted, </span>}
        <span class="tile-words">{label}</span>
        {tile.isPoor && <Icon name="warn" size={15} />}
      </div>
      <button type="button" class={`icon-button quiet small pin ${isPinned ? 'on' : ''}`} aria-pressed={isPinned} aria-label={isPinned ? `Unpin ${label}` : `Pin ${label}`} title={isPinned ? 'Unpin' : 'Pin'} onClick={toggle}>
        <Icon name="pin" size={18} />
      </button>
    </article>
  );
}
