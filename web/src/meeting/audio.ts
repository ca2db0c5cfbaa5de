// Plays what is heard. One element for each audio track, outside of the page's layout.

import type { RemoteTrack } from '../media/session';

export class AudioSinks {
  private elements = new Map<MediaStreamTrack, HTMLAudioElement>();
  private device = '';

  /** Called when the browser refuses to play before the person does something. */
  onBlocked: () => void = () => {};

  set(tracks: readonly RemoteTrack[]): void {
    const wanted = new Set(tracks.filter((t) => t.slot.kind === 'audio').map((t) => t.track));
    for (const [track, element] of this.elements) {
      if (wanted.has(track)) continue;
      element.srcObject = null;
      this.elements.delete(track);
    }
    for (const track of wanted) {
      if (this.elements.has(track)) continue;
      const element = new Audio();
      element.srcObject = new MediaStream([track]);
      element.autoplay = true;
      this.elements.set(track, element);
      this.route(element);
      element.play().catch(() => this.onBlocked());
    }
  }

  setDevice(id: string): void {
    this.device = id;
    this.elements.forEach((e) => this.route(e));
  }

  resume(): void {
    this.elements.forEach((e) => void e.play().catch(() => undefined));
  }

  private route(element: HTMLAudioElement): void {
    if (this.device && 'setSinkId' in element) void element.setSinkId(this.device).catch(() => undefined);
  }
}
