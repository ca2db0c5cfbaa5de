import { describe, expect, it } from 'vitest';
import { type Scene, focusOf, grid, tiles, viewOf } from '../src/meeting/layout';
import type { Occupant } from '../src/xmpp/presence';

const person = (id: string, more: Partial<Occupant> = {}): Occupant => ({
  id, name: id, role: 'participant', affiliation: 'none', hand: 0, codecs: [], sources: { [`${id}-a0`]: { muted: false, videoType: 'camera' }, [`${id}-v0`]: { muted: false, videoType: 'camera' } }, ...more,
});
const scene = (more: Partial<Scene> = {}): Scene => ({
  me: person('me'), isOnStage: true, people: [person('me'), person('a'), person('b')], tracks: [], camera: null, screen: null, isMicOn: false, speaker: null, poor: new Set(), ...more,
});

describe('tiles', () => {
  it('there is one for everybody on stage', () => {
    expect(tiles(scene()).map((t) => t.key)).toEqual(['me-v0', 'a-v0', 'b-v0']);
  });
  it('there is none of oneself in the audience', () => {
    expect(tiles(scene({ isOnStage: false })).map((t) => t.owner)).toEqual(['a', 'b']);
  });
  it('a screen that is shared is one more, one that is not is none', () => {
    const sharing = (muted: boolean) => person('a', { sources: { 'a-v1': { muted, videoType: 'desktop' } } });
    expect(tiles(scene({ people: [sharing(false)] })).map((t) => [t.key, t.isScreen])).toEqual([['a-v0', false], ['a-v1', true]]);
    expect(tiles(scene({ people: [sharing(true)] }))).toHaveLength(1);
  });
  it('a muted camera shows no track though there is one', () => {
    const track = {} as MediaStreamTrack;
    const a = person('a', { sources: { 'a-v0': { muted: true, videoType: 'camera' } } });
    const slot = { kind: 'video' as const, ssrc: 1, mid: 'rv0', source: 'a-v0', owner: 'a', isScreen: false };
    expect(tiles(scene({ people: [a], tracks: [{ slot, track }] }))[0]).toMatchObject({ track: null, hasVideo: false });
  });
});

describe('the large tile', () => {
  const all = tiles(scene({ people: [person('me'), person('a'), person('b', { sources: { 'b-v1': { muted: false, videoType: 'desktop' } } })] }));
  it('is what is pinned, else a screen', () => {
    expect(focusOf(all, 'a-v0', null, false)?.key).toBe('a-v0');
    expect(focusOf(all, null, 'a', true)?.key).toBe('b-v1');
    expect(focusOf(all, 'gone-v0', null, false)?.key).toBe('b-v1');
  });
  it('is who speaks, in the audience only', () => {
    const plain = tiles(scene({ isOnStage: false }));
    expect(focusOf(plain, null, 'b', true)?.owner).toBe('b');
    expect(focusOf(plain, null, null, true)?.owner).toBe('a');
    expect(focusOf(plain, null, 'b', false)).toBeUndefined();
    expect(focusOf([], null, 'b', true)).toBeUndefined();
  });
});

describe('the grid', () => {
  it('fits', () => {
    for (let n = 1; n <= 25; n++) {
      for (const [w, h] of [[1280, 700], [375, 560], [900, 900]] as const) {
        const g = grid(n, w, h, 10);
        expect(g.columns * g.rows).toBeGreaterThanOrEqual(n);
        expect(g.columns * g.width + (g.columns - 1) * 10).toBeLessThanOrEqual(w);
        expect(g.rows * g.height + (g.rows - 1) * 10).toBeLessThanOrEqual(h);
        expect(g.width).toBeGreaterThan(30);
      }
    }
  });
});

describe('what is asked for', () => {
  it('leaves out oneself and whoever has no picture', () => {
    const all = tiles(scene({ people: [person('me'), person('a'), person('b', { sources: {} })] }));
    expect(viewOf([], all, 0, 200)).toMatchObject({ large: [], small: ['a-v0'], smallHeight: 200 });
  });
});
