/**
 * Makes whole chunks of what was written, in a worker of its own: a flush waits for the disk, and the worker that would wait is
 * the one that reads the network.
 */

/** The name of a chunk all of which is written, and which nobody has open. */
export type ToFlusher = string;

export interface FromFlusher {
  readonly key: string;
  readonly failure?: { readonly name: string; readonly message: string };
}

interface Waiting {
  resolve(): void;
  reject(thrown: Error): void;
}

/** All stores of a worker have one, from when it is first needed until that worker ends. */
let running: Flusher | undefined;

export class Flusher {
  readonly #worker: Worker;
  readonly #waiting = new Map<string, Waiting>();
  #dead: Error | undefined;

  private constructor() {
    this.#worker = new Worker(new URL("./flusher-worker.js", import.meta.url), {
      type: "module",
      name: "kinetoscope flusher",
    });
    this.#worker.onmessage = ({ data: { key, failure } }: MessageEvent<FromFlusher>) => {
      const waiting = this.#waiting.get(key);
      this.#waiting.delete(key);
      if (failure) {
        waiting?.reject(new DOMException(failure.message, failure.name));
      } else {
        waiting?.resolve();
      }
    };
    // A module worker that cannot be fetched or parsed says so with an event that has no message.
    this.#worker.onerror = ({ message }) => {
      const dead = new Error(message || "the script of the worker that flushes did not load");
      this.#dead = dead;
      this.#waiting.forEach(({ reject }) => reject(dead));
      this.#waiting.clear();
    };
  }

  /**
   * Moves a part to the chunks once the disk has it; whoever asks has the lock of its name. Rejects where the browser starts
   * no worker, or the disk fails.
   */
  static async flush(key: string): Promise<void> {
    running ??= new Flusher();
    return running.#flush(key);
  }

  #flush(key: string): Promise<void> {
    if (this.#dead) {
      return Promise.reject(this.#dead);
    }
    return new Promise((resolve, reject) => {
      this.#waiting.set(key, { resolve, reject });
      this.#worker.postMessage(key satisfies ToFlusher);
    });
  }
}
