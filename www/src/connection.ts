/** The page's end of the messages: pairs every request with its answer, and makes a dead worker a typed error. */
import { KinetoscopeError, cancelled } from "./errors.js";
import type { Call, FromWorker, LoadProgress, Results, ToWorker } from "./messages.js";

/** The part of a Worker that is used. */
export interface WorkerPort {
  postMessage(message: ToWorker): void;
  terminate(): void;
  onmessage: ((event: MessageEvent<FromWorker>) => void) | null;
  onmessageerror: ((event: MessageEvent) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
}

/** What can go along with a call. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: KinetoscopeError): void;
  readonly onProgress: ((progress: LoadProgress) => void) | undefined;
}

/** One worker and the requests it has not answered yet. */
export class Connection {
  readonly #worker: WorkerPort;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #ended: KinetoscopeError | undefined;

  constructor(worker: WorkerPort) {
    this.#worker = worker;
    worker.onmessage = (event) => this.#receive(event.data);
    worker.onmessageerror = () => this.end(workerFailed("an answer could not be read"));
    // A module worker that cannot be fetched or parsed says so with an event that has no message.
    worker.onerror = (event) => this.end(workerFailed(event.message || "its script did not load"));
  }

  /**
   * Asks the worker. Rejects with a KinetoscopeError: the worker's own, `cancelled` as soon as `signal` aborts (the
   * worker is told, and what it still answers is dropped), or `worker_failed`.
   */
  call<Name extends Call["type"]>(
    request: Extract<Call, { type: Name }> | (Call & { type: Name }),
    { signal, onProgress }: CallOptions = {},
  ): Promise<Results[Name]> {
    if (this.#ended) {
      return Promise.reject(this.#ended);
    }
    if (signal?.aborted) {
      return Promise.reject(cancelled());
    }
    const id = this.#nextId++;
    return new Promise<Results[Name]>((resolve, reject) => {
      const abort = (): void => {
        this.#pending.delete(id);
        this.#worker.postMessage({ type: "abort", id });
        reject(cancelled());
      };
      const settled = (): void => signal?.removeEventListener("abort", abort);
      signal?.addEventListener("abort", abort, { once: true });
      this.#pending.set(id, {
        // `Results` pairs the answer with the call; the id is what carries that pairing across the worker.
        resolve: (value) => (settled(), resolve(value as Results[Name])),
        reject: (error) => (settled(), reject(error)),
        onProgress,
      });
      try {
        this.#worker.postMessage({ ...request, id });
      } catch (thrown) {
        this.#settle(id)?.reject(KinetoscopeError.from(thrown));
      }
    });
  }

  /** Ends the worker; whatever is unanswered, and every later call, rejects with `error`. */
  end(error: KinetoscopeError): void {
    if (this.#ended) {
      return;
    }
    this.#ended = error;
    this.#worker.terminate();
    for (const id of [...this.#pending.keys()]) {
      this.#settle(id)?.reject(error);
    }
  }

  #receive(message: FromWorker): void {
    switch (message.type) {
      case "progress":
        this.#pending.get(message.id)?.onProgress?.(message.progress);
        break;
      case "result":
        this.#settle(message.id)?.resolve(message.value);
        break;
      case "error":
        this.#settle(message.id)?.reject(KinetoscopeError.from(message.error));
        break;
    }
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }
}

function workerFailed(reason: string): KinetoscopeError {
  return new KinetoscopeError("worker_failed", `the worker failed (${reason}): load the model again`, {
    reason,
  });
}
