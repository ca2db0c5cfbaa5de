// What a client receives, as a list that a test can wait on. Nothing that arrives early is lost.

export class Inbox {
  constructor() {
    this.stanzas = [];
    this.waiting = [];
  }

  put(stanza) {
    this.stanzas.push(stanza);
    for (const waiter of this.waiting.slice()) waiter();
  }

  // The first stanza from `start` on that fits; `start` is a position as in `mark`.
  async next(what, fits, { start = 0, seconds = 10 } = {}) {
    const found = () => this.stanzas.slice(start).find(fits);
    const now = found();
    if (now) return now;
    return new Promise((resolve, reject) => {
      const end = () => {
        this.waiting = this.waiting.filter((waiter) => waiter !== look);
        clearTimeout(timer);
      };
      const look = () => {
        const stanza = found();
        if (!stanza) return;
        end();
        resolve(stanza);
      };
      const timer = setTimeout(() => {
        end();
        reject(new Error(`${what} did not come within ${seconds} s`));
      }, seconds * 1000);
      this.waiting.push(look);
    });
  }

  // Where the list ends now.
  mark() {
    return this.stanzas.length;
  }

  position(fits) {
    return this.stanzas.findIndex(fits);
  }
}
