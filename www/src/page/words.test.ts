import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Words, anotherSentence, anySentence, choices, prompt, readWords, settle } from "./words.js";

const file = readFileSync(new URL("../../../models/small/words.json", import.meta.url));
const words = JSON.parse(file.toString()) as Words;

/** Numbers that look random and are the same on every run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 16807) % 2147483647) / 2147483647;
}

describe("words of a model", () => {
  it("makes sentences", () => {
    const sentence = {
      colour: "orange",
      thing: "cat",
      motion: "sits",
      place: "beach",
      time: "night",
      camera: "zoom in",
    };
    expect(settle(words, sentence)).toEqual(sentence);
    expect(prompt(words, sentence)).toBe("an orange cat sits on the beach at night, the camera zooms in");
  });

  it("takes the first of what goes together where something does not", () => {
    const settled = settle(words, { thing: "fish", motion: "bounces", place: "desert", colour: "blue" });
    expect(settled.motion).toBe("swims to the right");
    expect(settled.place).toBe("underwater");
    expect(settled.colour).not.toBe("blue");
    expect(settled.camera).toBe("static");
  });

  it("makes only sentences whose parts go together", () => {
    const random = numbers(7);
    const seen = new Set<string>();
    for (let i = 0; i < 2000; i++) {
      const sentence = anySentence(words, random);
      expect(settle(words, sentence)).toEqual(sentence);
      const text = prompt(words, sentence);
      expect(text).toMatch(/^an? [a-z]+ [a-z]+ /);
      expect(text).not.toMatch(/undefined| {2}| ,|^a [aeiou]|^an [^aeiou]/);
      seen.add(text);
    }
    expect(seen.size).toBeGreaterThan(1000);
    expect(choices(words, "colour", { place: "snow", time: "day" })).not.toContain("white");
  });

  it("makes another sentence than the last, if there is one", () => {
    const last = anySentence(words, numbers(7));
    expect(anySentence(words, numbers(7))).toEqual(last);
    const another = anotherSentence(words, last, numbers(7));
    expect(another).not.toEqual(last);
    expect(settle(words, another)).toEqual(another);
    // The same numbers again and again.
    expect(anotherSentence(words, settle(words, {}), () => 0)).toEqual(settle(words, {}));
  });

  it("is read from a folder, and left out where there is none or it makes no sense", async () => {
    const folder = (text: string): { files: Map<string, Blob> } => ({
      files: new Map([["words.json", new Blob([text])]]),
    });
    expect(await readWords(folder(file.toString()))).toEqual(words);
    expect(await readWords({ files: new Map() })).toBeUndefined();
    for (const text of [
      "",
      "null",
      "[]",
      "{}",
      JSON.stringify({ ...words, things: { ball: { rolls: 1 } } }),
    ]) {
      expect(await readWords(folder(text)), text).toBeUndefined();
    }
  });
});
