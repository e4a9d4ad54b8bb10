import { expect, it } from "vitest";
import { toggled } from "./additions.js";

it("words are added once, and taken out again", () => {
  const once = toggled("a fox runs, at night", "anime");
  expect(once).toBe("a fox runs, at night, anime");
  expect(toggled(once, "slow motion")).toBe("a fox runs, at night, anime, slow motion");
  expect(toggled(once, "anime")).toBe("a fox runs, at night");
  expect(toggled("", "anime")).toBe("anime");
  expect(toggled("anime", "anime")).toBe("");
});
