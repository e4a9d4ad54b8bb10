/** The wasm build in Chromium against diffusers: the golden pipelines, by the library's sessions. */
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { expect, test } from "./fixtures.js";

type Library = typeof import("../../www/src/index.js");

/** The call that a golden was made with: tests/golden/README.md. */
interface Case {
  readonly pipeline: string;
  readonly prompt: string;
  readonly negative_prompt: string;
  readonly width: number;
  readonly height: number;
  readonly frames: number;
  readonly steps: number;
  readonly guidance_scale: number;
  readonly seed: number;
  readonly max_sequence_length: number;
  readonly solver: "unipc" | "euler";
  readonly shift: number;
}

/** Relative error, RMS of the difference over RMS, of prompt embeddings and of every step's latents. */
const RELATIVE_TOLERANCE = 1e-3;
/** Two of 255, half of one that rounding to bytes takes, and what the golden's half precision takes. */
const FRAME_TOLERANCE = (2 + 0.5 + 0.06) / 255;

const goldens = new URL("../golden/", import.meta.url);
const names = readdirSync(goldens).filter((name) => existsSync(new URL(`${name}/case.json`, goldens)));

test("there are goldens", () => {
  expect(names.length).toBeGreaterThanOrEqual(4);
});

for (const device of ["webgpu", "cpu"] as const) {
  for (const name of names) {
    test(`${name} on ${device} is what diffusers computes`, async ({ page, server }) => {
      // The default model's clip is tested through the page; here it would take minutes for the software adapter.
      test.slow(name === "interim");
      const golden = readSafetensors(new URL(`${name}/golden.safetensors`, goldens));
      const call = JSON.parse(readCase(name)) as Case;
      const folder = new URL(`golden/${name}/${call.pipeline}/`, server.url);
      server.handlers.clear();
      await page.goto(`${server.url}blank/`);
      const source = name === "interim" ? `${server.url}models/interim/` : folder.href;
      const made = await page.evaluate(makeClip, { call, source, device });

      expect(made.device).toBe(device);
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

/** Runs in the page: makes the golden's clip a call at a time, and gives everything it saw as base64. */
async function makeClip({ call, source, device }: { call: Case; source: string; device: "webgpu" | "cpu" }) {
  const path = "/lib/index.js";
  const { load } = (await import(path)) as Library;
  const base64 = (data: ArrayBufferView): string => {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  };
  const model = await load(source, { device });
  const session = await model.session({
    prompt: call.prompt,
    negative: call.negative_prompt,
    width: call.width,
    height: call.height,
    frames: call.frames,
    steps: call.steps,
    guidance: call.guidance_scale,
    shift: call.shift,
    solver: call.solver,
    seed: call.seed,
    maxTokens: call.max_sequence_length,
  });
  await session.encode();
  const promptEmbeds = base64(await session.promptEmbeds());
  const steps: string[] = [];
  while (await session.step()) {
    steps.push(base64(await session.latents()));
  }
  const frames: string[] = [];
  for (let chunk = await session.nextFrames(); chunk; chunk = await session.nextFrames()) {
    frames.push(base64(chunk.rgba));
  }
  await session.close();
  model.dispose();
  return { device: model.device.device, promptEmbeds, steps, frames };
}

function readCase(name: string): string {
  return readFileSync(new URL(`${name}/case.json`, goldens), "utf8");
}

function floats(base64: string): Float32Array {
  return new Float32Array(new Uint8Array(Buffer.from(base64, "base64")).buffer);
}

/** RMS of the difference over RMS. Infinite where the lengths differ or a value is not finite. */
function relativeError(found: Float32Array, expected: Float32Array): number {
  if (found.length !== expected.length || found.length === 0) {
    return Infinity;
  }
  let [error, norm] = [0, 0];
  for (const [k, value] of expected.entries()) {
    error += ((found[k] ?? NaN) - value) ** 2;
    norm += value ** 2;
  }
  const relative = Math.sqrt(error / norm);
  return Number.isFinite(relative) ? relative : Infinity;
}

interface Safetensors {
  readonly bytes: Buffer;
  readonly start: number;
  readonly header: Record<string, { dtype: string; data_offsets: [number, number] } | undefined>;
}

function readSafetensors(file: URL): Safetensors {
  const bytes = readFileSync(file);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  return {
    bytes,
    start,
    header: JSON.parse(bytes.toString("utf8", 8, start)) as Safetensors["header"],
  };
}

/** A tensor's values, from f32 or f16. */
function tensor({ bytes, start, header }: Safetensors, name: string): Float32Array {
  const entry = header[name];
  if (!entry) {
    throw new Error(`the golden has no tensor ${name}`);
  }
  const [from, to] = entry.data_offsets;
  const data = new Uint8Array(bytes.subarray(start + from, start + to)).buffer;
  if (entry.dtype === "F32") {
    return new Float32Array(data);
  }
  if (entry.dtype !== "F16") {
    throw new Error(`${name} is ${entry.dtype}`);
  }
  return Float32Array.from(new Uint16Array(data), halfToFloat);
}

function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) {
    return fraction ? NaN : sign * Infinity;
  }
  return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
}
