import { describe, expect, it } from "vitest";
import { placed } from "./footage.js";

describe("a picture in a clip of another shape", () => {
  const wide = { width: 200, height: 100 };
  const square = { width: 64, height: 64 };

  it("fills it and is cut off", () => {
    expect(placed(wide, square, "cover")).toEqual([-32, 0, 128, 64]);
  });

  it("is seen whole", () => {
    expect(placed(wide, square, "contain")).toEqual([0, 16, 64, 32]);
  });

  it("is drawn out of shape", () => {
    expect(placed(wide, square, "stretch")).toEqual([0, 0, 64, 64]);
  });

  it("is left as it is where the shapes are the same", () => {
    for (const fit of ["cover", "contain", "stretch"] as const) {
      expect(placed(square, square, fit)).toEqual([0, 0, 64, 64]);
    }
  });
});
