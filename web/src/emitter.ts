// Typed events. `E` maps names to the arguments of their listeners.

export class Emitter<E extends { [K in keyof E]: unknown[] }> {
  private listeners = new Map<keyof E, Set<(...args: never[]) => void>>();

  /** Listens; the result stops it. */
  on<K extends keyof E>(event: K, listener: (...args: E[K]) => void): () => void {
    let all = this.listeners.get(event);
    if (!all) this.listeners.set(event, (all = new Set()));
    all.add(listener as unknown as (...args: never[]) => void);
    return () => void all.delete(listener as unknown as (...args: never[]) => void);
  }

  emit<K extends keyof E>(event: K, ...args: E[K]): void {
    for (const listener of [...(this.listeners.get(event) ?? [])]) {
      // One listener's fault must not keep the others from hearing.
      try {
        (listener as unknown as (...a: E[K]) => void)(...args);
      } catch (error) {
        console.error(error);
      }
    }
  }

  clear(): void {
    this.listeners.clear();
  }
}
