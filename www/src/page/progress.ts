/** How far a clip is, and how long it will still take. */
import type { GenerateEvent } from "../model.js";

/** Seconds of the parts of a clip: one denoising step, one frame decoded. */
export interface Pace {
  readonly step: number;
  readonly frame: number;
}

/** Before anything is measured: a frame takes about this part of a step. */
const FRAME_TO_STEP = 0.3;
/** Reading the prompt counts like this many steps in the bar. */
const TEXT_STEPS = 0.5;

/** Follows one clip's events. `earlier` is the pace of a clip of the same size made before, where there is one. */
export class Progress {
  readonly #steps: number;
  readonly #frames: number;
  readonly #frameToStep: number;
  #textDone = false;
  #stepsDone = 0;
  #framesDone = 0;
  #stepSeconds: number | undefined;
  #frameSeconds: number | undefined;
  readonly #recentSteps: number[] = [];

  constructor(steps: number, frames: number, earlier?: Pace) {
    this.#steps = steps;
    this.#frames = frames;
    this.#frameToStep = earlier && earlier.step > 0 ? earlier.frame / earlier.step : FRAME_TO_STEP;
    this.#stepSeconds = earlier?.step;
    this.#frameSeconds = earlier?.frame;
  }

  add(event: GenerateEvent): void {
    switch (event.type) {
      case "text":
        this.#textDone = true;
        break;
      case "step":
        this.#textDone = true;
        this.#stepsDone = event.index + 1;
        // The first step compiles shaders, so only the latest few tell the pace.
        this.#recentSteps.push(event.seconds);
        this.#stepSeconds = mean(this.#recentSteps.slice(-3));
        break;
      case "frame":
        this.#framesDone = event.index + 1;
        this.#frameSeconds = event.seconds;
        break;
      case "done":
        this.#stepsDone = this.#steps;
        this.#framesDone = this.#frames;
        break;
    }
  }

  /** Part of the work done, 0 to 1. */
  get fraction(): number {
    const done = (this.#textDone ? TEXT_STEPS : 0) + this.#stepsDone + this.#framesDone * this.#frameToStep;
    return done / (TEXT_STEPS + this.#steps + this.#frames * this.#frameToStep);
  }

  /** Seconds still to go, or `undefined` before the first step has been measured. */
  get secondsLeft(): number | undefined {
    const step = this.#stepSeconds;
    if (step === undefined) {
      return undefined;
    }
    const frame = this.#frameSeconds ?? step * this.#frameToStep;
    return (this.#steps - this.#stepsDone) * step + (this.#frames - this.#framesDone) * frame;
  }

  get stepsLeft(): number {
    return this.#steps - this.#stepsDone;
  }

  /** What was measured, for the next clip of this size. */
  get pace(): Pace | undefined {
    return this.#stepSeconds !== undefined && this.#frameSeconds !== undefined
      ? { step: this.#stepSeconds, frame: this.#frameSeconds }
      : undefined;
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

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
