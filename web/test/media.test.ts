import { describe, expect, it } from 'vitest';
import { encodings, receiverConstraints, step } from '../src/media/constraints';
import { Slots, readMap } from '../src/media/slots';
import { figures, quality } from '../src/media/stats';

const on = (source: string, ssrc: number, more = {}) => ({ source, owner: source.split('-')[0]!, ssrc, ...more });

describe('slots', () => {
  it('a new SSRC gets a section, a known one only another source', () => {
    const s = new Slots();
    expect(s.apply('video', [on('a-v0', 1, { rtx: 2 })])).toEqual({ added: true, changed: true });
    const mid = s.list[0]!.mid;
    expect(s.apply('video', [on('b-v0', 1)])).toEqual({ added: false, changed: true });
    expect(s.list).toHaveLength(1);
    expect(s.list[0]).toMatchObject({ mid, source: 'b-v0', owner: 'b', rtx: 2 });
  });

  it('a source is in one place: moving it empties the other', () => {
    const s = new Slots();
    s.apply('video', [on('a-v0', 1), on('b-v0', 2)]);
    s.apply('video', [on('a-v0', 2)]);
    expect(s.bySource('a-v0')!.ssrc).toBe(2);
    expect(s.list.find((x) => x.ssrc === 1)!.source).toBeUndefined();
  });

  it('the same map again changes nothing', () => {
    const s = new Slots();
    const map = [on('a-a0', 7)];
    s.apply('audio', map);
    expect(s.apply('audio', map)).toEqual({ added: false, changed: false });
  });

  it('sections have names of their own and keep them when people leave', () => {
    const s = new Slots();
    s.apply('audio', [on('a-a0', 1)]);
    s.apply('video', [on('a-v0', 2), on('b-v1', 3, { videoType: 'desktop' })]);
    expect(new Set(s.list.map((x) => x.mid)).size).toBe(3);
    expect(s.list[2]!.isScreen).toBe(true);
    expect(s.forget('a')).toBe(true);
    expect(s.forget('a')).toBe(false);
    expect(s.list).toHaveLength(3);
  });

  it('the number of sections is bounded', () => {
    const s = new Slots(2);
    s.apply('video', [on('a-v0', 1), on('b-v0', 2), on('c-v0', 3)]);
    expect(s.list).toHaveLength(2);
  });
});

describe('source maps', () => {
  it('are read, and nonsense is left out', () => {
    const map = readMap([
      { source: 'x-v0', owner: 'x', ssrc: 6001, rtx: 6002, videoType: 'CAMERA' },
      { source: 'y-a0', owner: 'y', ssrc: 5001, rtx: '-1' },
      { source: 'z-a0', owner: 'z', ssrc: -4 },
      { owner: 'z', ssrc: 5 },
      null,
    ]);
    expect(map).toEqual([
      { source: 'x-v0', owner: 'x', ssrc: 6001, rtx: 6002, videoType: 'camera' },
      { source: 'y-a0', owner: 'y', ssrc: 5001, rtx: undefined, videoType: undefined },
    ]);
    expect(readMap('no')).toEqual([]);
  });
});

describe('what is asked of the bridge', () => {
  const view = { large: ['a-v1'], small: ['b-v0'], largeHeight: 700, smallHeight: 107, isHidden: false };
  it('follows the layout', () => {
    expect(receiverConstraints(view)).toMatchObject({
      lastN: -1,
      defaultConstraints: { maxHeight: 0 },
      constraints: { 'a-v1': { maxHeight: 720 }, 'b-v0': { maxHeight: 180 } },
      onStageSources: ['a-v1'],
    });
  });
  it('is nothing for a page that nobody sees', () => {
    expect(receiverConstraints({ ...view, isHidden: true })).toMatchObject({ lastN: 0, constraints: {}, onStageSources: [] });
  });
  it('goes in steps', () => {
    expect([0, 180, 190, 200, 360, 700, 4000].map(step)).toEqual([180, 180, 180, 360, 360, 720, 2160]);
  });
});

describe('encoders', () => {
  it('send the layers that are wanted', () => {
    const active = (h: number) => encodings(3, 720, h, false, false).map((e) => e.active);
    expect(active(-1)).toEqual([true, true, true]);
    expect(active(360)).toEqual([true, true, false]);
    expect(active(180)).toEqual([true, false, false]);
    expect(active(90)).toEqual([true, false, false]);
    expect(active(0)).toEqual([false, false, false]);
    expect(encodings(3, 720, -1, false, false).map((e) => e.scaleResolutionDownBy)).toEqual([4, 2, 1]);
  });
  it('with one layer scale the picture, but never a screen', () => {
    expect(encodings(1, 720, 180, false, true)[0]).toMatchObject({ active: true, scaleResolutionDownBy: 4, scalabilityMode: 'L3T3_KEY' });
    expect(encodings(1, 1080, 180, true, false)[0]).toMatchObject({ active: true, scaleResolutionDownBy: 1 });
    expect(encodings(1, 720, 0, false, false)[0]!.active).toBe(false);
  });
});

describe('figures', () => {
  it('are rates since the time before', () => {
    const at = (n: number) => [
      { type: 'outbound-rtp', bytesSent: 1000 * n },
      { type: 'inbound-rtp', kind: 'audio', ssrc: 5, audioLevel: 0.5, bytesReceived: 2000 * n, packetsReceived: 90 * n, packetsLost: 10 * n },
      { type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.04 },
    ];
    const first = figures(at(1), 0, undefined);
    const { figures: f } = figures(at(2), 1000, first.totals);
    expect(f).toMatchObject({ bitrateUp: 8, bitrateDown: 16, lossDown: 0.1, rttMs: 40 });
    expect(f.levels.get(5)).toBe(0.5);
    expect(quality(f)).toBe(60);
  });
});
