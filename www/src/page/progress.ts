/** How far a load or a clip is, and how long it will still take. */
import type { LoadProgress } from "../messages.js";
import type { GenerateEvent } from "../model.js";
import { megabytes } from "./device.js";

/** Seconds of the parts of a clip: one denoising step, one latent frame decoded. */
export interface Pace {
  readonly step: number;
  readonly latent: number;
}

/** Before anything is measured: a latent frame takes about as long as a step. */
const LATENT_TO_STEP = 1;
/** Reading the prompt counts like this many steps in the bar. */
const TEXT_STEPS = 0.5;

/** What is to be made. */
export interface Work {
  /** Steps of each window. */
  readonly steps: number;
  /** Frames of the whole clip. */
  readonly frames: number;
  readonly frameStride: number;
  readonly windows: number;
}

/**
 * Follows one clip's events. Frames are decoded a latent frame at a time: the first gives one frame, each later one
 * `frameStride`. `earlier` is the pace of a clip of the same size made before, where there is one.
 */
export class Progress {
  #steps: number;
  readonly #windows: number;
  readonly #frameStride: number;
  readonly #latents: number;
  readonly #latentToStep: number;
  #textsDone = 0;
  /** In all windows so far. */
  #stepsDone = 0;
  #latentsDone = 0;
  #stepSeconds: number | undefined;
  #latentSeconds: number | undefined;
  readonly #recentSteps: number[] = [];

  constructor({ steps, frames, frameStride, windows }: Work, earlier?: Pace) {
    this.#steps = steps;
    this.#windows = windows;
    this.#frameStride = frameStride;
    this.#latents = this.#latentOf(frames - 1) + 1;
    this.#latentToStep = earlier && earlier.step > 0 ? earlier.latent / earlier.step : LATENT_TO_STEP;
    this.#stepSeconds = earlier?.step;
    this.#latentSeconds = earlier?.latent;
  }

  add(event: GenerateEvent): void {
    switch (event.type) {
      case "text":
        this.#textsDone = event.window + 1;
        break;
      case "step":
        this.#textsDone = event.window + 1;
        // A clip to change is entered in the middle: it has fewer steps than were asked for.
        this.#steps = event.steps;
        this.#stepsDone = event.window * this.#steps + event.index + 1;
        // The first step compiles shaders, so only the latest few tell the pace.
        this.#recentSteps.push(event.seconds);
        this.#stepSeconds = mean(this.#recentSteps.slice(-3));
        break;
      case "frame":
        this.#latentsDone = this.#latentOf(event.index) + 1;
        this.#latentSeconds = event.seconds * (event.index === 0 ? 1 : this.#frameStride);
        break;
      case "done":
        this.#textsDone = this.#windows;
        this.#stepsDone = this.#steps * this.#windows;
        this.#latentsDone = this.#latents;
        break;
    }
  }

  /** Part of the work done, 0 to 1. */
  get fraction(): number {
    const done = this.#textsDone * TEXT_STEPS + this.#stepsDone + this.#latentsDone * this.#latentToStep;
    return done / (this.#windows * (TEXT_STEPS + this.#steps) + this.#latents * this.#latentToStep);
  }

  /** Seconds still to go, or `undefined` before the first step has been measured. */
  get secondsLeft(): number | undefined {
    const step = this.#stepSeconds;
    if (step === undefined) {
      return undefined;
    }
    const latent = this.#latentSeconds ?? step * this.#latentToStep;
    return this.#stepsLeft * step + (this.#latents - this.#latentsDone) * latent;
  }

  get #stepsLeft(): number {
    return this.#steps * this.#windows - this.#stepsDone;
  }

  /** What was measured, for the next clip of this size. */
  get pace(): Pace | undefined {
    return this.#stepSeconds !== undefined && this.#latentSeconds !== undefined
      ? { step: this.#stepSeconds, latent: this.#latentSeconds }
      : undefined;
  }

  /** The latent frame that a frame is decoded from. */
  #latentOf(frame: number): number {
    return Math.ceil(frame / this.#frameStride);
  }
}

/** Time left in the words people use for it. */
export function timeLeftWords(seconds: number): string {
  if (seconds < 1.5) {
    return "a moment left";
  }
  if (seconds < 10) {
    return `about ${Math.round(seconds)} s left`;
  }
  if (seconds < 55) {
    return `about ${Math.round(seconds / 5) * 5} s left`;
  }
  if (seconds < 90) {
    return "about a minute left";
  }
  return seconds < 3600
    ? `about ${Math.round(seconds / 60)} min left`
    : `about ${(seconds / 3600).toFixed(1)} h left`;
}

/** How much of a model is loaded, and how fast or from where it comes. */
export function loadWords({
  loaded,
  total,
  bytesPerSecond,
  from,
}: Extract<LoadProgress, { type: "weights" }>): string {
  const amount = `${megabytes(loaded)} of ${megabytes(total)}`;
  if (from !== "network") {
    return `${amount}, from this device`;
  }
  return bytesPerSecond > 0 ? `${amount}, ${megabytes(bytesPerSecond)} a second` : amount;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
