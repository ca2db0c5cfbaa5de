// The stage: a grid of everybody, or one large with the others beside it.

import { useEffect, useRef, useState } from 'preact/hooks';
import { focusOf, grid, tiles, viewOf } from '../meeting/layout';
import type { Meeting } from '../meeting/meeting';
import { Tile } from './Tile';
import { Icon } from './icons';
import { copy } from './parts';

const GAP = 10;
const MOST = 25;
const STRIP = 12;

export function Stage({ meeting }: { meeting: Meeting }) {
  const { state, local } = meeting;
  const ref = useRef<HTMLDivElement>(null);
  const [size, setSize] = useState({ width: 800, height: 450 });
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setSize({ width: entry.contentRect.width, height: entry.contentRect.height });
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  const isOnStage = state.role.value === 'stage';
  const all = tiles({
    me: state.me.value,
    isOnStage,
    people: state.stage.value,
    tracks: state.tracks.value,
    camera: local.camera.value,
    screen: local.screen.value,
    isMicOn: local.isMicOn.value,
    speaker: state.speaker.value,
    poor: state.poor.value,
  });
  const focus = focusOf(all, state.pinned.value, state.speaker.value, !isOnStage);
  const others = focus ? all.filter((t) => t !== focus) : all;
  const isTall = size.width < size.height;

  // The strip is beside the large tile on a wide page, below it on a tall one.
  const thumb = isTall ? { w: 116, h: 78 } : { w: 190, h: 107 };
  const room = Math.max(1, Math.floor(isTall ? size.width / (thumb.w + GAP) : size.height / (thumb.h + GAP)));
  const strip = focus ? others.slice(0, Math.min(STRIP, Math.max(room, 2))) : [];
  const shown = focus ? strip : others.slice(0, MOST);
  const hiddenCount = others.length - shown.length;
  const g = grid(shown.length + (!focus && hiddenCount > 0 ? 1 : 0), size.width, size.height, GAP);
  const ratio = Math.min(2, devicePixelRatio || 1);

  const view = focus ? viewOf([focus], strip, size.height * ratio, thumb.h * ratio) : viewOf([], shown, 0, g.height * ratio);
  const key = JSON.stringify(view);
  useEffect(() => meeting.show(view), [key]);

  return (
    <div class={`stage ${focus ? 'has-focus' : ''} ${isTall ? 'tall' : ''}`} ref={ref} role="region" aria-label="Stage">
      {all.length === 0 && <EmptyStage />}
      {focus ? (
        <>
          <Tile key={focus.key} tile={focus} meeting={meeting} isLarge avatar={Math.max(72, Math.min(160, size.height / 4))} />
          {strip.length > 0 && (
            <div class="strip">
              {strip.map((t) => (
                <Tile key={t.key} tile={t} meeting={meeting} avatar={48} style={{ width: `${thumb.w}px`, height: `${thumb.h}px` }} />
              ))}
              {hiddenCount > 0 && <div class="tile more-tile" style={{ width: `${thumb.w}px` }}>{hiddenCount} more</div>}
            </div>
          )}
        </>
      ) : (
        <div class="grid" style={{ gap: `${GAP}px`, maxWidth: `${g.columns * g.width + (g.columns - 1) * GAP}px` }}>
          {shown.map((t) => (
            <Tile key={t.key} tile={t} meeting={meeting} avatar={Math.max(44, Math.min(132, g.height / 2.6))} style={{ width: `${g.width}px`, height: `${g.height}px` }} />
          ))}
          {hiddenCount > 0 && <div class="tile more-tile" style={{ width: `${g.width}px`, height: `${g.height}px` }}>{hiddenCount} more</div>}
        </div>
      )}
      {all.length === 1 && isOnStage && <Alone />}
    </div>
  );
}

function EmptyStage() {
  return (
    <div class="empty">
      <h2>The stage is empty</h2>
      <p>You see the speakers here as soon as they come.</p>
    </div>
  );
}

function Alone() {
  const [done, setDone] = useState(false);
  return (
    <div class="alone">
      <p>You are the first one here.</p>
      <button type="button" class="primary" onClick={() => void copy(location.href).then(setDone)}>
        <Icon name={done ? 'check' : 'link'} size={18} /> {done ? 'Link copied' : 'Copy the link'}
      </button>
    </div>
  );
}
