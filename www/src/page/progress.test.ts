import { describe, expect, it } from "vitest";
import { KinetoscopeError } from "../errors.js";
import type { GenerateEvent } from "../model.js";
import { explain } from "./explain.js";
import { Progress, loadWords, timeLeftWords } from "./progress.js";

const step = (index: number, seconds: number): Extract<GenerateEvent, { type: "step" }> => ({
  type: "step",
  index,
  steps: 4,
  sigma: 0,
  timestep: 0,
  cached: false,
  seconds,
  window: 0,
  windows: 1,
});
const frame = (index: number, seconds: number): GenerateEvent => ({
  type: "frame",
  index,
  count: 5,
  width: 1,
  height: 1,
  rgba: new Uint8ClampedArray(4),
  seconds,
});

describe("Progress", () => {
  it("only goes up, from 0 to 1", () => {
    const progress = new Progress({ steps: 4, frames: 5, frameStride: 4, windows: 1 });
    const seen = [progress.fraction];
    progress.add({
      type: "text",
      tokens: 1,
      truncated: false,
      dropped: 0,
      seconds: 1,
      window: 0,
      windows: 1,
    });
    seen.push(progress.fraction);
    for (let k = 0; k < 4; k++) {
      progress.add(step(k, 1));
      seen.push(progress.fraction);
    }
    for (const k of [0, 1]) {
      progress.add(frame(k, 1));
      seen.push(progress.fraction);
    }
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(new Set(seen).size).toBe(seen.length);
    expect([seen[0], seen.at(-1)]).toEqual([0, 1]);
  });

  it("counts the steps of every window", () => {
    const progress = new Progress({ steps: 4, frames: 9, frameStride: 4, windows: 2 });
    progress.add(step(3, 1));
    expect(progress.secondsLeft).toBe(4 + 3);
    progress.add({ ...step(1, 1), window: 1, windows: 2 });
    expect(progress.secondsLeft).toBe(2 + 3);
  });

  it("learns of fewer steps than were asked for", () => {
    const progress = new Progress({ steps: 10, frames: 5, frameStride: 4, windows: 1 });
    progress.add(step(1, 1));
    expect(progress.secondsLeft).toBe(2 + 2);
  });

  it("knows nothing of the time before the first step, and forgets a slow first step", () => {
    const progress = new Progress({ steps: 10, frames: 5, frameStride: 4, windows: 1 });
    expect(progress.secondsLeft).toBeUndefined();
    [30, 1, 1, 1].forEach((seconds, index) => progress.add({ ...step(index, seconds), steps: 10 }));
    expect(progress.secondsLeft).toBeCloseTo(6 + 2);
  });

  it("uses the pace of the clip before", () => {
    const progress = new Progress(
      { steps: 4, frames: 5, frameStride: 4, windows: 1 },
      { step: 2, latent: 1 },
    );
    expect(progress.secondsLeft).toBe(4 * 2 + 2 * 1);
    progress.add(step(0, 2));
    progress.add(frame(0, 3));
    expect(progress.secondsLeft).toBe(3 * 2 + 3);
    // Frames 1 to 4 come from the second latent frame, and share its time.
    progress.add(frame(1, 0.75));
    expect(progress.pace).toEqual({ step: 2, latent: 3 });
  });
});

it("says time in words", () => {
  expect([-1, 1, 4.4, 31, 70, 150, 9000].map(timeLeftWords)).toEqual([
    "a moment left",
    "a moment left",
    "about 4 s left",
    "about 30 s left",
    "about a minute left",
    "about 3 min left",
    "about 2.5 h left",
  ]);
});

it("says how much of a model is there, and how fast or from where it comes", () => {
  const read = {
    type: "weights",
    component: "vae",
    loaded: 2e6,
    total: 40e6,
    bytesPerSecond: 5.25e6,
  } as const;
  expect(loadWords({ ...read, from: "network" })).toBe("2.0 MB of 40 MB, 5.3 MB a second");
  expect(loadWords({ ...read, bytesPerSecond: 0, from: "network" })).toBe("2.0 MB of 40 MB");
  expect(loadWords({ ...read, from: "cache" })).toBe("2.0 MB of 40 MB, from this device");
});

describe("explain", () => {
  it("offers the nearest size", () => {
    const details = { width: 70, height: 64, multiple: 16, nearestWidth: 64, nearestHeight: 64 };
    const { sentence, fix } = explain(new KinetoscopeError("size_unsupported", "70x64 ...", details));
    expect(sentence).toBe("This model cannot make a film of 70 × 64: both sides have to be multiples of 16.");
    expect(fix).toEqual({ kind: "size", label: "Use 64 × 64", width: 64, height: 64 });
  });

  it("makes a sentence of the library's message, and keeps a file's name as it is", () => {
    expect(explain(new KinetoscopeError("out_of_memory", "the device ran out of memory")).sentence).toBe(
      "The device ran out of memory.",
    );
    const missing = explain(new KinetoscopeError("file_missing", "vae/config.json is missing"));
    expect(missing).toEqual({
      sentence: "vae/config.json is missing.",
      fix: { kind: "reload", label: "Try again" },
    });
  });
});
