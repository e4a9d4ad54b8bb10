/** One clip in the making, a call at a time. */
import type { Connection } from "./connection.js";
import type { FrameChunk, SessionCall, SessionInfo, StepInfo, TextInfo } from "./messages.js";

/**
 * The lower-level way to make a clip: `encode()` once, `step()` until it gives `undefined`, `nextFrames()` until it
 * gives `undefined`; where the clip has several windows, the same for each of them, until `nextWindow()` gives false.
 * Not calling is pausing. Calls reject with `cancelled` once the session's signal has aborted, and with `wrong_state`
 * in the wrong order. `close()` frees what the session holds on the device; always call it.
 */
export class Session {
  readonly width: number;
  readonly height: number;
  /** Frames of the whole clip. */
  readonly frames: number;
  /** Denoising steps of each window. */
  readonly steps: number;
  /** Stretches that are made one after the other; one where the clip is no longer than the model's own. */
  readonly windows: number;
  /** Given frames that are made anew, because they share a latent frame with frames to be made. */
  readonly droppedFrames: number;
  readonly #connection: Connection;
  readonly #id: number;
  readonly #signal: AbortSignal | undefined;
  #closed: Promise<void> | undefined;

  /** @internal Sessions come from `model.session()`. */
  constructor(connection: Connection, info: SessionInfo, signal?: AbortSignal) {
    this.#connection = connection;
    this.#id = info.session;
    this.#signal = signal;
    this.width = info.width;
    this.height = info.height;
    this.frames = info.frames;
    this.steps = info.steps;
    this.windows = info.windows;
    this.droppedFrames = info.droppedFrames;
  }

  /** Runs the text encoder on the prompt and, with guidance, on the negative prompt. */
  encode(): Promise<TextInfo> {
    return this.#call("encode");
  }

  /** Makes one denoising step; `undefined` after the last. */
  step(): Promise<StepInfo | undefined> {
    return this.#call("step");
  }

  /** Decodes the next latent frame; `undefined` after the window's last. Frames that the next window shares come with it. */
  nextFrames(): Promise<FrameChunk | undefined> {
    return this.#call("frames");
  }

  /** Goes on to the next window; false after the last. */
  nextWindow(): Promise<boolean> {
    return this.#call("nextWindow");
  }

  /** The window's latents as they are now, [C, T, H, W], normalised as the transformer sees them. */
  latents(): Promise<Float32Array<ArrayBuffer>> {
    return this.#call("latents");
  }

  /** The prompt's embedding, [tokens, dim], padded with zeros; after `encode()`. */
  promptEmbeds(): Promise<Float32Array<ArrayBuffer>> {
    return this.#call("promptEmbeds");
  }

  /** Stops what is running and frees the session; safe to call twice and after an error. */
  close(): Promise<void> {
    // A worker that has ended holds nothing any more, so its rejection is no failure to close.
    this.#closed ??= this.#connection.call({ type: "close", session: this.#id }).then(
      () => undefined,
      () => undefined,
    );
    return this.#closed;
  }

  #call<Name extends Exclude<SessionCall, "close">>(type: Name) {
    return this.#connection.call<Name>({ type, session: this.#id }, { signal: this.#signal });
  }
}
