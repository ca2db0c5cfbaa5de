// What is asked of the bridge for a layout, and what the bridge asks of the encoders (spec/client.md 17). Pure.

export interface View {
  /** Sources that are shown large, most important first. */
  large: string[];
  /** Sources that are shown small. */
  small: string[];
  /** Height in pixels at which they are shown. */
  largeHeight: number;
  smallHeight: number;
  /** Nothing is shown at all, as in a hidden page. */
  isHidden: boolean;
}

const STEPS = [180, 360, 720, 1080, 2160];

/** The step that serves a height: a tile of 300 pixels gets 360 lines. */
export function step(height: number): number {
  return STEPS.find((s) => height <= s * 1.1) ?? 2160;
}

export interface ReceiverConstraints {
  colibriClass: 'ReceiverVideoConstraints';
  lastN: number;
  assumedBandwidthBps: number;
  defaultConstraints: { maxHeight: number };
  constraints: Record<string, { maxHeight: number }>;
  onStageSources: string[];
  selectedSources: string[];
}

export function receiverConstraints(view: View): ReceiverConstraints {
  const constraints: ReceiverConstraints['constraints'] = {};
  if (!view.isHidden) {
    for (const s of view.small) constraints[s] = { maxHeight: step(view.smallHeight) };
    for (const s of view.large) constraints[s] = { maxHeight: step(view.largeHeight) };
  }
  return {
    colibriClass: 'ReceiverVideoConstraints',
    lastN: view.isHidden ? 0 : -1,
    assumedBandwidthBps: -1,
    defaultConstraints: { maxHeight: 0 },
    constraints,
    onStageSources: view.isHidden ? [] : view.large,
    selectedSources: [],
  };
}

/** How one encoding is to be sent. */
export interface Encoding {
  active: boolean;
  scaleResolutionDownBy: number;
  maxBitrate: number;
  scalabilityMode?: string;
}

const BITRATES: [number, number][] = [
  [180, 200_000],
  [360, 500_000],
  [720, 1_800_000],
  [1080, 3_500_000],
  [2160, 6_000_000],
];

function bitrate(height: number): number {
  return BITRATES.find(([h]) => height <= h * 1.1)?.[1] ?? 6_000_000;
}

/**
 * Encodings of a source. `layers` is 3 with simulcast, 1 otherwise; `maxHeight` is what the bridge asked for: -1 everything, 0
 * nothing.
 */
export function encodings(layers: number, height: number, maxHeight: number, isScreen: boolean, svc: boolean): Encoding[] {
  if (layers > 1) {
    return Array.from({ length: layers }, (_, i) => {
      const scale = 2 ** (layers - 1 - i);
      const h = height / scale;
      const isSmallest = i === 0;
      const active = maxHeight < 0 || (maxHeight > 0 && (isSmallest || h <= maxHeight * 1.1));
      return { active, scaleResolutionDownBy: scale, maxBitrate: bitrate(h) };
    });
  }
  const wanted = maxHeight < 0 ? height : Math.min(height, maxHeight);
  const scale = wanted > 0 ? Math.max(1, height / wanted) : 1;
  return [
    {
      active: maxHeight !== 0,
      // Text that is scaled down cannot be read: a shared screen keeps its size.
      scaleResolutionDownBy: isScreen ? 1 : scale,
      maxBitrate: isScreen ? 2_500_000 : bitrate(height / scale),
      ...(svc ? { scalabilityMode: isScreen ? 'L1T3' : 'L3T3_KEY' } : {}),
    },
  ];
}
