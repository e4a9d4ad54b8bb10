/** How fast the bytes of a model come, and from where. */

/** Where bytes come from: a host, this browser's store, or files that the visitor chose. */
export type Origin = "network" | "cache" | "files";

/** What is told of a load's bytes. */
export interface Pace {
  /** Over the last seconds; 0 before the first bytes. */
  readonly bytesPerSecond: number;
  /** Where the latest came from. */
  readonly from: Origin;
}

/** The speed is that of the last so many milliseconds. */
const WINDOW_MS = 3000;

/** Bytes as they come, whatever is made of them. */
export class Traffic {
  readonly #now: () => number;
  readonly #came: { at: number; bytes: number }[] = [];
  #began: number | undefined;
  #from: Origin = "network";

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  add(bytes: number, from: Origin): void {
    const at = this.#now();
    this.#began ??= at;
    this.#from = from;
    const last = this.#came.at(-1);
    // Pieces that come within a frame of the screen are one entry, which keeps the list short.
    if (last && at - last.at < 16) {
      last.bytes += bytes;
    } else {
      this.#came.push({ at, bytes });
    }
    this.#forget(at);
  }

  get pace(): Pace {
    const at = this.#now();
    this.#forget(at);
    const bytes = this.#came.reduce((sum, entry) => sum + entry.bytes, 0);
    // At the beginning the window is not full; a first moment says nothing of a speed.
    const ms = Math.min(Math.max(at - (this.#began ?? at), 100), WINDOW_MS);
    return { bytesPerSecond: Math.round((bytes / ms) * 1000), from: this.#from };
  }

  #forget(at: number): void {
    while (this.#came[0] && at - this.#came[0].at > WINDOW_MS) {
      this.#came.shift();
    }
  }
}
