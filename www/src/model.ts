/** A loaded model: makes clips. */
import type { Connection } from "./connection.js";
import { KinetoscopeError, cancelled } from "./errors.js";
import type {
  ClipOptions,
  ClipPlan,
  DeviceInfo,
  FrameChunk,
  MemoryInfo,
  ModelInfo,
  StepInfo,
  TextInfo,
} from "./messages.js";
import { Session } from "./session.js";

/** What to make, and the signal that stops it. */
export interface GenerateOptions extends ClipOptions {
  readonly signal?: AbortSignal | undefined;
}

/** One decoded frame. */
export interface Frame {
  /** Place in the clip, from 0. */
  readonly index: number;
  /** Frames of the whole clip. */
  readonly count: number;
  readonly width: number;
  readonly height: number;
  /** `height * width * 4` bytes, rows from the top; frames decoded together share one buffer. */
  readonly rgba: Uint8ClampedArray<ArrayBuffer>;
  /** Time since the frame before; frames decoded together share theirs out evenly. */
  readonly seconds: number;
}

/** Seconds of work by part: `text`, all `steps`, all `frames`, and their `total`; pauses do not count. */
export interface ClipSeconds {
  readonly text: number;
  readonly steps: number;
  readonly frames: number;
  readonly total: number;
}

/** Which stretch of the clip is in the making. */
export interface WindowInfo {
  /** From 0. */
  readonly window: number;
  /** In all; one where the clip is no longer than the model's own. */
  readonly windows: number;
}

/**
 * What `generate()` tells while it works, in this order: one `text`, the `step`s, the `frame`s, the same again for every
 * further window of a long clip, one `done`.
 */
export type GenerateEvent =
  | ({ readonly type: "text" } & TextInfo & WindowInfo)
  | ({ readonly type: "step" } & StepInfo & WindowInfo)
  | ({ readonly type: "frame" } & Frame)
  | { readonly type: "done"; readonly seconds: ClipSeconds; readonly fps: number };

/** A model that is ready, in a worker of its own. */
export class Model {
  /** The model's defaults, and what it can make. */
  readonly info: ModelInfo;
  /** What it runs on. */
  readonly device: DeviceInfo;
  readonly #connection: Connection;
  #turn: Promise<void> = Promise.resolve();

  /** @internal Models come from `load()`. */
  constructor(connection: Connection, info: ModelInfo, device: DeviceInfo) {
    this.#connection = connection;
    this.info = info;
    this.device = device;
  }

  /** Device memory that a clip would take; rejects as `generate` would for options that cannot be made. */
  plan(options: ClipOptions): Promise<ClipPlan> {
    return this.#connection.call({ type: "plan", options: clipOptions(options) });
  }

  /** What the model holds now, on the device and in its worker. */
  memory(): Promise<MemoryInfo> {
    return this.#connection.call({ type: "memory" });
  }

  /** Opens a session, for the caller to drive; see {@link Session}. */
  async session(options: GenerateOptions): Promise<Session> {
    const { signal } = options;
    const info = await this.#connection.call({ type: "open", options: clipOptions(options) }, { signal });
    return new Session(this.#connection, info, signal);
  }

  /**
   * Makes a clip. The work goes on only while the next event is awaited, so a slow consumer pauses it. Leaving the
   * loop early, or aborting `signal`, stops the work and frees what it held; after an abort the iterator rejects with
   * a KinetoscopeError whose code is `cancelled`. A model makes one clip at a time: a second `generate()` waits until
   * the first one's loop has ended.
   */
  async *generate(options: GenerateOptions): AsyncGenerator<GenerateEvent, void, undefined> {
    const { signal } = options;
    const release = await this.#takeTurn(signal);
    try {
      const session = await this.session(options);
      try {
        yield* this.#run(session, signal);
      } finally {
        await session.close();
      }
    } finally {
      release();
    }
  }

  /** Frees everything the model holds and ends its worker. Clips in the making reject with `cancelled`. */
  dispose(): void {
    this.#connection.end(cancelled());
  }

  async *#run(session: Session, signal?: AbortSignal): AsyncGenerator<GenerateEvent, void, undefined> {
    const { windows } = session;
    const seconds = { text: 0, steps: 0, frames: 0 };
    let window = 0;
    do {
      const text = await session.encode();
      seconds.text += text.seconds;
      yield { type: "text", ...text, window, windows };

      for (let step = await session.step(); step; step = await session.step()) {
        seconds.steps += step.seconds;
        yield { type: "step", ...step, window, windows };
      }
      for (let chunk = await session.nextFrames(); chunk; chunk = await session.nextFrames()) {
        seconds.frames += chunk.seconds;
        for (const frame of framesOf(chunk, session)) {
          if (signal?.aborted) {
            throw cancelled();
          }
          yield { type: "frame", ...frame };
        }
      }
      window += 1;
    } while (await session.nextWindow());
    const total = seconds.text + seconds.steps + seconds.frames;
    yield { type: "done", seconds: { ...seconds, total }, fps: this.info.fps };
  }

  /** Waits for the clips asked for earlier; gives the function that lets the next one start. */
  async #takeTurn(signal?: AbortSignal): Promise<() => void> {
    const earlier = this.#turn;
    const { promise, resolve } = withResolvers();
    this.#turn = earlier.then(() => promise);
    if (signal?.aborted) {
      resolve();
      throw cancelled();
    }
    await new Promise<void>((ready, reject) => {
      const abort = (): void => {
        resolve();
        reject(cancelled());
      };
      signal?.addEventListener("abort", abort, { once: true });
      void earlier.then(() => {
        signal?.removeEventListener("abort", abort);
        ready();
      });
    });
    return resolve;
  }
}

/** One by one, what was decoded together. */
function* framesOf(chunk: FrameChunk, { width, height, frames }: Session): Generator<Frame> {
  const bytes = width * height * 4;
  for (let k = 0; k < chunk.count; k++) {
    yield {
      index: chunk.index + k,
      count: frames,
      width,
      height,
      rgba: chunk.rgba.subarray(k * bytes, (k + 1) * bytes),
      seconds: chunk.seconds / chunk.count,
    };
  }
}

/** The options without the signal, which cannot cross to the worker. */
function clipOptions({ signal: _, ...options }: GenerateOptions): ClipOptions {
  if (typeof options.prompt !== "string") {
    throw new KinetoscopeError("option_invalid", "prompt is missing, expected a text", {
      option: "prompt",
      expected: "a text",
      found: String(options.prompt),
    });
  }
  return options;
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
