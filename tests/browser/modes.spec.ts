/** Pictures and clips in the place of noise alone: read in Chromium, and what becomes of them against diffusers. */
import type { ClipOptions } from "../../www/src/index.js";
import { type Pixels, expect, test } from "./fixtures.js";
import {
  RELATIVE_TOLERANCE,
  clipOptions,
  floats,
  goldens,
  readCase,
  readSafetensors,
  relativeError,
  tensor,
  tensorBytes,
} from "./goldens.js";

type Library = typeof import("../../www/src/index.js");
type FootageLibrary = typeof import("../../www/src/footage.js");
type VideoLibrary = typeof import("../../www/src/video.js");

for (const device of ["webgpu", "cpu"] as const) {
  for (const name of ["wan21", "wan22"]) {
    test(`modes of ${name} on ${device} are what diffusers computes`, async ({ page, server }) => {
      const golden = readSafetensors(new URL(`${name}/modes.safetensors`, goldens));
      const keys = Object.keys(golden.header).filter((key) => !["footage", "__metadata__"].includes(key));
      const call = readCase(name);
      const source = new URL(`golden/${name}/${call.pipeline}/`, server.url).href;
      const rgb = Buffer.from(tensorBytes(golden, "footage")).toString("base64");
      server.handlers.clear();
      await page.goto(`${server.url}blank/`);
      const made = await page.evaluate(makeLatents, {
        options: clipOptions(call),
        size: [call.width, call.height, call.frames] as const,
        source,
        device,
        rgb,
        keys,
      });
      expect(made.length).toBe(keys.length);
      for (const [index, latents] of made.entries()) {
        const key = keys[index] ?? "";
        expect(relativeError(floats(latents), tensor(golden, key)), key).toBeLessThan(RELATIVE_TOLERANCE);
      }
    });
  }
}

test("pictures and clips are read and fitted", async ({ page, server }) => {
  await page.goto(`${server.url}blank/`);
  const found = await page.evaluate(readFootage);
  // Left half red, right half blue, 40 x 20: cut to its middle, seen whole, drawn out of shape.
  const colour = ({ width, rgba }: Pixels, x: number, y: number): string => {
    const [red = 0, green = 0, blue = 0] = rgba.slice((y * width + x) * 4);
    return red > 200 && blue < 60
      ? "red"
      : blue > 200 && red < 60
        ? "blue"
        : red + green + blue < 60
          ? "black"
          : "?";
  };
  for (const picture of [found.cover, found.contain, found.stretch]) {
    expect([picture.width, picture.height, picture.rgba.length]).toEqual([16, 16, 16 * 16 * 4]);
    expect([colour(picture, 2, 8), colour(picture, 13, 8)]).toEqual(["red", "blue"]);
  }
  expect([colour(found.cover, 2, 1), colour(found.contain, 2, 1), colour(found.stretch, 2, 1)]).toEqual([
    "red",
    "black",
    "red",
  ]);
  // Six frames from dark to bright at 12 a second: all of them, the first four, and half as many at half the pace.
  const rising = (greys: readonly number[]): boolean =>
    greys.every((grey, i) => i === 0 || grey > (greys[i - 1] ?? 0) + 10);
  expect([found.all.length, found.four.length, found.half.length]).toEqual([6, 4, 3]);
  expect([found.all, found.four, found.half].map(rising)).toEqual([true, true, true]);
  expect(found.errors).toEqual(["file_invalid", "file_invalid"]);
});

/** Runs in the page: the last latents of each golden mode, as base64. */
async function makeLatents({
  options,
  size: [width, height, frames],
  source,
  device,
  rgb,
  keys,
}: {
  options: ClipOptions;
  size: readonly [number, number, number];
  source: string;
  device: "webgpu" | "cpu";
  rgb: string;
  keys: string[];
}): Promise<string[]> {
  const path = "/lib/index.js";
  const { load } = (await import(path)) as Library;
  const bytes = Uint8Array.from(atob(rgb), (character) => character.charCodeAt(0));
  const rgba = new Uint8ClampedArray((bytes.length / 3) * 4).map(
    (_, i) => bytes[(i >> 2) * 3 + (i & 3)] ?? 0,
  );
  const picture = (index: number) => ({
    width,
    height,
    rgba: rgba.subarray(index * width * height * 4, (index + 1) * width * height * 4),
  });
  const left = new Uint8Array(width * height).map((_, i) => (i % width < width / 2 ? 0 : 255));
  const model = await load(source, { device });
  const made: string[] = [];
  for (const key of keys) {
    const strength = Number(key.split("_").at(-1));
    const edit = {
      width,
      height,
      rgba,
      strength,
      mask: key.startsWith("masked") ? { width, height, values: left } : undefined,
    };
    const more = {
      first_frame: { given: [{ at: 0, ...picture(0) }] },
      ends: {
        given: [
          { at: 0, ...picture(0) },
          { at: -1, ...picture(frames - 1) },
        ],
      },
      dmd: { solver: "dmd", steps: 3, guidance: 1 } as const,
    }[key] ?? { edit };
    const session = await model.session({
      ...options,
      ...more,
    });
    await session.encode();
    while (await session.step());
    const latents = new Uint8Array((await session.latents()).buffer);
    made.push(btoa(Array.from(latents, (byte) => String.fromCharCode(byte)).join("")));
    await session.close();
  }
  model.dispose();
  return made;
}

/** Runs in the page: pictures and clips as the library reads them. */
async function readFootage() {
  const [footage, video] = ["/lib/footage.js", "/lib/video.js"];
  const { readClip, readPicture } = (await import(footage ?? "")) as FootageLibrary;
  const { encodeWebM } = (await import(video ?? "")) as VideoLibrary;
  const canvas = new OffscreenCanvas(40, 20);
  const context = canvas.getContext("2d");
  if (!context) {
    throw new Error("no canvas");
  }
  context.fillStyle = "rgb(255, 0, 0)";
  context.fillRect(0, 0, 20, 20);
  context.fillStyle = "rgb(0, 0, 255)";
  context.fillRect(20, 0, 20, 20);
  const file = await canvas.convertToBlob({ type: "image/png" });
  const size = { width: 16, height: 16 };
  const picture = async (fit: "cover" | "contain" | "stretch") => {
    const { rgba } = await readPicture(file, { ...size, fit });
    return { ...size, rgba: [...rgba] };
  };
  const frames = Array.from({ length: 6 }, (_, i) => new Uint8ClampedArray(64 * 64 * 4).fill(20 + 40 * i));
  const clip = await encodeWebM({ width: 64, height: 64, fps: 12, frames });
  const greys = async (fps: number, most?: number) => {
    const { rgba } = await readClip(clip, { ...size, fps, ...(most ? { frames: most } : {}) });
    const bytes = size.width * size.height * 4;
    return Array.from({ length: rgba.length / bytes }, (_, i) => rgba[i * bytes + 8 * 16 * 4] ?? NaN);
  };
  const text = new Blob(["no picture"]);
  const code = (thrown: unknown): string => (thrown as { code: string }).code;
  return {
    cover: await picture("cover"),
    contain: await picture("contain"),
    stretch: await picture("stretch"),
    all: await greys(12),
    four: await greys(12, 4),
    half: await greys(6),
    errors: [
      await readPicture(text, size).then(() => "read", code),
      await readClip(text, { ...size, fps: 12 }).then(() => "read", code),
    ],
  };
}
