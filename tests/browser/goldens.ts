/** The golden data of tests/golden, and how near to it is near enough. */
import { readFileSync } from "node:fs";
import type { ClipOptions } from "../../www/src/index.js";

export const goldens = new URL("../golden/", import.meta.url);

/** The call that a golden was made with: tests/golden/README.md. */
export interface Case {
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
export const RELATIVE_TOLERANCE = 1e-3;

/** The call as options of the library. */
export function clipOptions(call: Case): ClipOptions {
  return {
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
  };
}

export function readCase(name: string): Case {
  return JSON.parse(readFileSync(new URL(`${name}/case.json`, goldens), "utf8")) as Case;
}

export function floats(base64: string): Float32Array {
  return new Float32Array(new Uint8Array(Buffer.from(base64, "base64")).buffer);
}

/** RMS of the difference over RMS. Infinite where the lengths differ or a value is not finite. */
export function relativeError(found: Float32Array, expected: Float32Array): number {
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

export interface Safetensors {
  readonly bytes: Buffer;
  readonly start: number;
  readonly header: Record<string, { dtype: string; data_offsets: [number, number] } | undefined>;
}

export function readSafetensors(file: URL): Safetensors {
  const bytes = readFileSync(file);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  return {
    bytes,
    start,
    header: JSON.parse(bytes.toString("utf8", 8, start)) as Safetensors["header"],
  };
}

/** A tensor's bytes. */
export function tensorBytes({ bytes, start, header }: Safetensors, name: string): Uint8Array<ArrayBuffer> {
  const entry = header[name];
  if (!entry) {
    throw new Error(`the golden has no tensor ${name}`);
  }
  const [from, to] = entry.data_offsets;
  return new Uint8Array(bytes.subarray(start + from, start + to));
}

/** A tensor's values, from f32 or f16. */
export function tensor(file: Safetensors, name: string): Float32Array {
  const data = tensorBytes(file, name).buffer;
  const dtype = file.header[name]?.dtype;
  if (dtype === "F32") {
    return new Float32Array(data);
  }
  if (dtype !== "F16") {
    throw new Error(`${name} is ${dtype}`);
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
