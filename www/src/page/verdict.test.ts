import { describe, expect, it } from "vitest";
import type { Advice } from "../messages.js";
import { verdictOf } from "./verdict.js";

const download = { text_encoder: 11_361e6, transformer: 2838e6, vae: 254e6 };
const plan = { width: 832, height: 480, frames: 81, peakBytes: 4.3e9 } as NonNullable<Advice["plan"]>;

describe("what a plan says in words", () => {
  it("tells the size, and that it fits", () => {
    expect(verdictOf({ download, alternatives: [], plan })).toEqual({
      words:
        "14.5 GB of weights: text encoder 11.4 GB, transformer 2.8 GB, VAE 254 MB. " +
        "It fits: 832 × 480 with 81 frames takes 4.3 GB at the worst moment.",
      usable: true,
      ways: [],
    });
  });

  it("tells what would be faster", () => {
    const remedy = "weights in 4 bits (kinetoscope pack --transformer q4_k)";
    const better = {
      changes: ["fourBitTransformer"],
      remedy,
      width: 832,
      height: 480,
      frames: 81,
      peakBytes: 3e9,
    };
    const { words, ways } = verdictOf({ download, alternatives: [better], plan } as Advice);
    expect(words).toContain("read again at every step");
    expect(ways).toEqual([`${remedy}, which takes 3.0 GB`]);
  });

  it("tells what does not fit, and what does", () => {
    const obstacle = { what: "this clip (stage decode)", needed: 4.3e9, allowed: 2e9 };
    const tiny = { changes: ["tinyDecoder"], remedy: "the tiny decoder", ...plan, peakBytes: 1.9e9 };
    const smaller = {
      changes: ["smaller"],
      remedy: "416x240",
      width: 416,
      height: 240,
      frames: 81,
      peakBytes: 2e9,
    };
    const verdict = verdictOf({ download, alternatives: [tiny, smaller], obstacle } as Advice);
    expect(verdict.words).toContain("this clip (stage decode) needs 4.3 GB of the 2.0 GB there are");
    expect(verdict.ways).toEqual(["the tiny decoder, which takes 1.9 GB", "416x240, which takes 2.0 GB"]);
    expect(verdict.start).toMatchObject({ width: 416, height: 240, frames: 81 });
    expect(verdictOf({ download, alternatives: [], obstacle }).usable).toBe(false);
  });
});
