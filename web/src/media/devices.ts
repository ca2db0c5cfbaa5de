// The microphone, camera and screen of this machine. Tracks live here, whatever session sends them: they outlast promotion,
// re-invitations and reconnects.

import { computed, signal } from '@preact/signals';

export type DeviceKind = 'audioinput' | 'videoinput' | 'audiooutput';
export type DeviceProblem = 'denied' | 'missing' | 'busy' | 'insecure' | 'failed';

const remembered = (key: string): string => {
  try {
    return localStorage.getItem(`amphi.${key}`) ?? '';
  } catch {
    return '';
  }
};
const remember = (key: string, value: string): void => {
  try {
    localStorage.setItem(`amphi.${key}`, value);
  } catch {
    // A page without storage forgets.
  }
};

export { remember, remembered };

function problemOf(error: unknown): DeviceProblem {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'NotAllowedError' || name === 'SecurityError') return 'denied';
  if (name === 'NotFoundError' || name === 'OverconstrainedError') return 'missing';
  if (name === 'NotReadableError' || name === 'AbortError') return 'busy';
  return 'failed';
}

export const PROBLEMS: Record<DeviceProblem, string> = {
  denied: 'is blocked. Allow it in the address bar of the browser.',
  missing: 'was not found.',
  busy: 'is used by another program.',
  insecure: 'works on secure pages (https) and on this machine only.',
  failed: 'could not be started.',
};

export class LocalMedia {
  readonly microphone = signal<MediaStreamTrack | null>(null);
  readonly camera = signal<MediaStreamTrack | null>(null);
  readonly screen = signal<MediaStreamTrack | null>(null);
  readonly isMicOn = signal(false);
  readonly isCameraOn = computed(() => this.camera.value !== null);
  readonly isSharing = computed(() => this.screen.value !== null);
  readonly devices = signal<MediaDeviceInfo[]>([]);
  readonly chosen = signal<Record<DeviceKind, string>>({
    audioinput: remembered('audioinput'),
    videoinput: remembered('videoinput'),
    audiooutput: remembered('audiooutput'),
  });
  readonly problems = signal<Partial<Record<'microphone' | 'camera', DeviceProblem>>>({});
  /** Loudness of the microphone, 0 to 1. */
  readonly level = signal(0);
  private meter?: { context: AudioContext; timer: ReturnType<typeof setInterval> };

  constructor() {
    navigator.mediaDevices?.addEventListener('devicechange', () => void this.list());
  }

  async list(): Promise<void> {
    if (!navigator.mediaDevices) return;
    this.devices.value = (await navigator.mediaDevices.enumerateDevices()).filter((d) => d.deviceId);
  }

  async setMicrophone(on: boolean): Promise<boolean> {
    if (!on) {
      const track = this.microphone.value;
      if (track) track.enabled = false;
      this.isMicOn.value = false;
      return true;
    }
    let track = this.microphone.value;
    if (!track || track.readyState === 'ended') {
      track = await this.open('microphone', {
        audio: { ...this.wanted('audioinput'), echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      });
      if (!track) return false;
      this.microphone.value = track;
      this.measure(track);
      track.onended = () => {
        this.microphone.value = null;
        this.isMicOn.value = false;
      };
    }
    track.enabled = true;
    this.isMicOn.value = true;
    return true;
  }

  async setCamera(on: boolean): Promise<boolean> {
    if (!on) {
      this.camera.value?.stop();
      this.camera.value = null;
      return true;
    }
    if (this.camera.value) return true;
    const track = await this.open('camera', {
      video: { ...this.wanted('videoinput'), width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } },
    });
    if (!track) return false;
    track.contentHint = 'motion';
    track.onended = () => {
      if (this.camera.value === track) this.camera.value = null;
    };
    this.camera.value = track;
    return true;
  }

  /** Resolves to false if the person changed their mind. */
  async setScreen(on: boolean): Promise<boolean> {
    this.screen.value?.stop();
    this.screen.value = null;
    if (!on) return true;
    try {
      const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 30 } }, audio: false });
      const track = stream.getVideoTracks()[0];
      if (!track) return false;
      track.contentHint = 'detail';
      track.onended = () => {
        if (this.screen.value === track) this.screen.value = null;
      };
      this.screen.value = track;
      return true;
    } catch {
      return false;
    }
  }

  async choose(kind: DeviceKind, id: string): Promise<void> {
    this.chosen.value = { ...this.chosen.value, [kind]: id };
    remember(kind, id);
    if (kind === 'videoinput' && this.camera.value) {
      await this.setCamera(false);
      await this.setCamera(true);
    }
    if (kind === 'audioinput' && this.microphone.value) {
      const on = this.isMicOn.value;
      this.stopMicrophone();
      if (on) await this.setMicrophone(true);
    }
  }

  /** Lets go of everything. */
  stop(): void {
    this.stopMicrophone();
    void this.setCamera(false);
    void this.setScreen(false);
  }

  private stopMicrophone(): void {
    this.microphone.value?.stop();
    this.microphone.value = null;
    this.isMicOn.value = false;
    this.unmeasure();
  }

  private wanted(kind: DeviceKind): MediaTrackConstraints {
    const id = this.chosen.value[kind];
    return id ? { deviceId: { ideal: id } } : {};
  }

  private async open(what: 'microphone' | 'camera', constraints: MediaStreamConstraints): Promise<MediaStreamTrack | null> {
    const tell = (problem?: DeviceProblem) => (this.problems.value = { ...this.problems.value, [what]: problem });
    if (!navigator.mediaDevices) {
      tell('insecure');
      return null;
    }
    try {
      const stream = await navigator.mediaDevices.getUserMedia(constraints);
      tell(undefined);
      void this.list();
      return stream.getTracks()[0] ?? null;
    } catch (error) {
      tell(problemOf(error));
      return null;
    }
  }

  private measure(track: MediaStreamTrack): void {
    this.unmeasure();
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 512;
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const rms = Math.sqrt(samples.reduce((sum, s) => sum + s * s, 0) / samples.length);
      const level = this.isMicOn.value ? Math.min(1, Math.max(0, (20 * Math.log10(rms + 1e-5) + 60) / 50)) : 0;
      // Steps of a twentieth, so that a still room does not redraw.
      this.level.value = Math.round(level * 20) / 20;
    }, 120);
    this.meter = { context, timer };
  }

  private unmeasure(): void {
    if (!this.meter) return;
    clearInterval(this.meter.timer);
    void this.meter.context.close();
    this.meter = undefined;
    this.level.value = 0;
  }
}
