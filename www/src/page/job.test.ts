import { describe, expect, it } from "vitest";
import { edit, extend, fill, fromPicture, fromText, joined, pictureMask, plainMask } from "./job.js";
import type { Pixels } from "./material.js";

const asked = { width: 2, height: 1, frames: 17, frameStride: 4 };
/** Frames whose first byte is their number. */
const clip = (count: number, from = 0): Pixels[] =>
  Array.from({ length: count }, (_, k) => Uint8ClampedArray.from([from + k, 0, 0, 255, 0, 0, 0, 255]));
const numbers = (frames: readonly Pixels[]): (number | undefined)[] => frames.map(([number]) => number);
const given = ({ options }: ReturnType<typeof fill>) =>
  options.given?.map(({ at, rgba }) => [at, Array.from({ length: rgba.length / 8 }, (_, k) => rgba[8 * k])]);

describe("a job", () => {
  it("of words alone gives nothing", () => {
    expect(fromText(asked)).toMatchObject({ options: {}, parts: [{ kind: "made", frames: 17 }] });
  });

  it("of a picture gives the first frame", () => {
    const job = fromPicture(clip(1)[0]!, asked);
    expect(given(job)).toEqual([[0, [0]]]);
    expect([job.before, job.head, job.tail, job.after]).toEqual([[], [], [], []]);
  });

  it("goes on from the end of a clip, which it fades from", () => {
    const job = extend(clip(12), "forwards", asked);
    expect(given(job)).toEqual([[0, [3, 4, 5, 6, 7, 8, 9, 10, 11]]]);
    expect(numbers(job.before)).toEqual([0, 1, 2]);
    expect(numbers(job.head)).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(job.parts).toEqual([
      { kind: "given", frames: 12 },
      { kind: "made", frames: 8 },
    ]);
    const [made] = clip(1, 100);
    expect(made && [0, 4, 8, 9].map((index) => joined(job, index, made)[0])).toEqual([13, 54, 91, 100]);
  });

  it("begins earlier, with whole latent frames of the clip at its end", () => {
    const job = extend(clip(12), "backwards", asked);
    expect(given(job)).toEqual([[-1, [0, 1, 2, 3, 4, 5, 6, 7]]]);
    expect(numbers(job.after)).toEqual([8, 9, 10, 11]);
    const [made] = clip(1, 100);
    expect(made && [8, 9, 16].map((index) => joined(job, index, made)[0])).toEqual([100, 89, 17]);
  });

  it("takes a short clip as far as it fills latent frames", () => {
    expect(given(extend(clip(4), "forwards", asked))).toEqual([[0, [3]]]);
    expect(given(extend(clip(6), "forwards", asked))).toEqual([[0, [1, 2, 3, 4, 5]]]);
    expect(given(extend(clip(3), "backwards", asked))).toEqual([[-1, [0]]]);
    expect(given(extend(clip(7), "backwards", asked))).toEqual([[-1, [0, 1, 2, 3]]]);
  });

  it("fills a gap, with less from either side", () => {
    const job = fill({ first: clip(12), last: clip(12, 50) }, asked);
    expect(given(job)).toEqual([
      [0, [7, 8, 9, 10, 11]],
      [-1, [50, 51, 52, 53]],
    ]);
    expect(job.parts.map(({ frames }) => frames)).toEqual([12, 8, 12]);
  });

  it("ends a loop as it begins", () => {
    expect(given(fill({ first: clip(1, 7), loop: true }, asked))).toEqual([
      [0, [7]],
      [-1, [7]],
    ]);
  });

  it("has something to make", () => {
    expect(() => fromPicture(clip(1)[0]!, { ...asked, frames: 1 })).toThrow("expected a film longer than");
  });

  it("changes as much of a clip as the model makes at once", () => {
    expect(edit(clip(30), 0.5, undefined, asked)).toMatchObject({ frames: 17, parts: [{ frames: 17 }] });
    const short = edit(clip(12), 0.5, plainMask("left", 2, 1), asked);
    expect(short.frames).toBe(9);
    expect(short.options.edit).toMatchObject({ strength: 0.5, mask: { values: Uint8Array.of(255, 0) } });
    expect(short.options.edit?.rgba.length).toBe(9 * 8);
  });
});

describe("a mask", () => {
  it("is half of the picture, or its middle", () => {
    expect([...plainMask("right", 2, 2).values]).toEqual([0, 255, 0, 255]);
    expect([...plainMask("top", 2, 2).values]).toEqual([255, 255, 0, 0]);
    expect([...plainMask("bottom", 1, 2).values]).toEqual([0, 255]);
    expect([...plainMask("middle", 5, 1).values]).toEqual([0, 255, 255, 255, 0]);
  });

  it("is open where a picture is light", () => {
    const picture = Uint8ClampedArray.from([255, 255, 255, 255, 0, 0, 255, 255]);
    expect([...pictureMask(picture, 2, 1).values]).toEqual([255, 29]);
  });
});
