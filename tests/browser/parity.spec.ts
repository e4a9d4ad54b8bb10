/** The wasm build in Chromium against diffusers: the golden pipelines, by the library's sessions. */
import { existsSync, readdirSync } from "node:fs";
import type { ClipOptions } from "../../www/src/index.js";
import { expect, test } from "./fixtures.js";
import {
  RELATIVE_TOLERANCE,
  clipOptions,
  floats,
  goldens,
  readCase,
  readSafetensors,
  relativeError,
  tensor,
} from "./goldens.js";

type Library = typeof import("../../www/src/index.js");

/** Two of 255, half of one that rounding to bytes takes, and what the golden's half precision takes. */
const FRAME_TOLERANCE = (2 + 0.5 + 0.06) / 255;

const names = readdirSync(goldens).filter((name) => existsSync(new URL(`${name}/case.json`, goldens)));

test("there are goldens", () => {
  expect(names.length).toBeGreaterThanOrEqual(4);
});

for (const device of ["webgpu", "cpu"] as const) {
  for (const name of names) {
    test(`${name} on ${device} is what diffusers computes`, async ({ page, server }) => {
      // The default model's clip is tested through the page; here it would take minutes for the software adapter.
      test.slow(name === "small");
      const golden = readSafetensors(new URL(`${name}/golden.safetensors`, goldens));
      const call = readCase(name);
      const folder = new URL(`golden/${name}/${call.pipeline}/`, server.url);
      server.handlers.clear();
      await page.goto(`${server.url}blank/`);
      const source = name === "small" ? `${server.url}models/small/` : folder.href;
      const made = await page.evaluate(makeClip, { options: clipOptions(call), source, device });

      expect(made.device.device).toBe(device);
      // Chromium's software adapter has subgroups; a shader that it refuses would go unnoticed otherwise.
      expect(made.device.quads).toBe(device === "webgpu" && made.device.software);
      expect(relativeError(floats(made.promptEmbeds), tensor(golden, "prompt_embeds"))).toBeLessThan(
        RELATIVE_TOLERANCE,
      );
      const steps = tensor(golden, "steps");
      const length = steps.length / call.steps;
      expect(made.steps.length).toBe(call.steps);
      for (const [index, latents] of made.steps.entries()) {
        const expected = steps.subarray(index * length, (index + 1) * length);
        expect(relativeError(floats(latents), expected), `step ${index}`).toBeLessThan(RELATIVE_TOLERANCE);
      }
      const frames = tensor(golden, "frames");
      const rgba = made.frames.flatMap((chunk) => [...Buffer.from(chunk, "base64")]);
      expect(rgba.length).toBe((frames.length / 3) * 4);
      let worst = 0;
      for (let k = 0; k < frames.length; k++) {
        const byte = rgba[Math.floor(k / 3) * 4 + (k % 3)] ?? Infinity;
        worst = Math.max(worst, Math.abs(byte / 255 - (frames[k] ?? Infinity)));
      }
      expect(worst).toBeLessThanOrEqual(FRAME_TOLERANCE);
    });
  }
}

/** The goldens are all too small for it: 512 tokens are enough. */
test("a step that reads textures on WebGPU is the CPU's", async ({ page, server }) => {
  server.handlers.clear();
  await page.goto(`${server.url}blank/`);
  const options = { prompt: "a red ball", width: 256, height: 256, frames: 5, steps: 1, seed: 7 };
  const made = async (device: "webgpu" | "cpu") =>
    page.evaluate(makeClip, { options, source: `${server.url}models/small/`, device, decoded: false });
  const [webgpu, cpu] = [await made("webgpu"), await made("cpu")];
  expect(webgpu.device.device).toBe("webgpu");
  expect([webgpu.steps.length, cpu.steps.length]).toEqual([1, 1]);
  expect(relativeError(floats(webgpu.steps[0] ?? ""), floats(cpu.steps[0] ?? ""))).toBeLessThan(
    RELATIVE_TOLERANCE,
  );
});

/** Runs in the page: makes the golden's clip a call at a time, and gives everything it saw as base64. */
async function makeClip({
  options,
  source,
  device,
  decoded = true,
}: {
  options: ClipOptions;
  source: string;
  device: "webgpu" | "cpu";
  decoded?: boolean;
}) {
  const path = "/lib/index.js";
  const { load } = (await import(path)) as Library;
  const base64 = (data: ArrayBufferView): string => {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  };
  const model = await load(source, { device });
  const session = await model.session(options);
  await session.encode();
  const promptEmbeds = base64(await session.promptEmbeds());
  const steps: string[] = [];
  while (await session.step()) {
    steps.push(base64(await session.latents()));
  }
  const frames: string[] = [];
  while (decoded) {
    const chunk = await session.nextFrames();
    if (!chunk) {
      break;
    }
    frames.push(base64(chunk.rgba));
  }
  await session.close();
  model.dispose();
  return { device: model.device, promptEmbeds, steps, frames };
}
