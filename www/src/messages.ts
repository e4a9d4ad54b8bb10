/**
 * What the page and the worker say to each other. Every request has an id, its one answer carries the same id, and
 * `abort` names the request to stop. A session is named by the id of the `open` request that made it, so that an
 * abort which crosses the answer to `open` on its way still finds the session to free.
 */
import type { ErrorFacts } from "./errors.js";

/** Where the computing is to happen: `auto` takes WebGPU where it works and the CPU elsewhere. */
export type Device = "auto" | "webgpu" | "cpu";

/** What the model runs on. */
export interface DeviceInfo {
  readonly device: "webgpu" | "cpu";
  /** Name of the adapter, in the browser's words; may be empty. */
  readonly adapter: string;
  /** Whether the adapter is a software one: right, but slow. */
  readonly software: boolean;
  /** Largest storage buffer binding, in bytes. */
  readonly maxBinding: number;
  /** Largest buffer, in bytes. */
  readonly maxBuffer: number;
  /** Why `auto` did not take WebGPU. */
  readonly fallbackReason?: string;
}

/** A loaded model: its defaults, and what it can make. */
export interface ModelInfo {
  readonly name: string;
  /** Default size, in pixels. */
  readonly width: number;
  readonly height: number;
  /** Default number of frames. */
  readonly frames: number;
  /** Frames a second that the model was trained for. */
  readonly fps: number;
  readonly steps: number;
  readonly guidance: number;
  readonly shift: number;
  readonly solver: Solver;
  /** Longest prompt, in tokens; the rest is cut off. */
  readonly maxTokens: number;
  /** Default negative prompt. */
  readonly negative: string;
  /** Width and height are multiples of this. */
  readonly sizeMultiple: number;
  /** A clip has `frameStride * n + 1` frames. */
  readonly frameStride: number;
  readonly weightBytes: number;
}

export type Solver = "unipc" | "euler";

/** What to make. Everything but the prompt has the model's default. */
export interface ClipOptions {
  readonly prompt: string;
  readonly negative?: string;
  /** Pixels; a multiple of the model's `sizeMultiple`. */
  readonly width?: number;
  readonly height?: number;
  /** `frameStride * n + 1`. */
  readonly frames?: number;
  /** Denoising steps. */
  readonly steps?: number;
  /** Classifier-free guidance scale; 1 switches it off and halves the work. */
  readonly guidance?: number;
  readonly shift?: number;
  readonly solver?: Solver;
  /** The same seed gives the same clip; the noise is torch's for this seed. */
  readonly seed?: number | bigint;
  readonly maxTokens?: number;
}

/** What a clip would take of the device, known before anything runs. */
export interface PlanInfo {
  readonly peakBytes: number;
  readonly weightBytes: number;
  readonly largestBinding: number;
}

/** Bytes of the model read so far. */
export interface LoadProgress {
  /** Part of the pipeline, such as `transformer`. */
  readonly component: string;
  readonly loaded: number;
  readonly total: number;
}

export interface TextInfo {
  /** Tokens of the prompt. */
  readonly tokens: number;
  /** Whether the prompt was longer than `maxTokens` and was cut. */
  readonly truncated: boolean;
  readonly seconds: number;
}

export interface StepInfo {
  /** The step just made, from 0. */
  readonly index: number;
  readonly steps: number;
  readonly sigma: number;
  readonly timestep: number;
  readonly seconds: number;
}

/** Decoded frames that follow each other: one latent frame's worth. */
export interface FrameChunk {
  /** The first one's place in the clip, from 0. */
  readonly index: number;
  /** How many there are. */
  readonly count: number;
  /** `count * height * width * 4` bytes. */
  readonly rgba: Uint8ClampedArray<ArrayBuffer>;
  readonly seconds: number;
}

/** Where the files of a model are, in a form that crosses to the worker. */
export type SourceSpec =
  | { readonly kind: "http"; readonly url: string }
  | { readonly kind: "files"; readonly files: ReadonlyMap<string, Blob> }
  | { readonly kind: "directory"; readonly handle: FileSystemDirectoryHandle };

/** A session just opened, with every option settled. */
export interface SessionInfo {
  readonly session: number;
  readonly width: number;
  readonly height: number;
  readonly frames: number;
  readonly steps: number;
}

/** Calls on an open session that take nothing else. */
export type SessionCall = "encode" | "step" | "frames" | "latents" | "promptEmbeds" | "close";

/** What can be asked of the worker. */
export type Call =
  | { readonly type: "load"; readonly source: SourceSpec; readonly device: Device }
  | { readonly type: "plan"; readonly options: ClipOptions }
  | { readonly type: "open"; readonly options: ClipOptions }
  | { readonly type: SessionCall; readonly session: number };

/** What each call answers. */
export interface Results {
  load: { readonly model: ModelInfo; readonly device: DeviceInfo };
  plan: PlanInfo;
  open: SessionInfo;
  encode: TextInfo;
  step: StepInfo | undefined;
  frames: FrameChunk | undefined;
  latents: Float32Array<ArrayBuffer>;
  promptEmbeds: Float32Array<ArrayBuffer>;
  close: undefined;
}

export type Request = Call & { readonly id: number };

export type ToWorker = Request | { readonly type: "abort"; readonly id: number };

export type FromWorker =
  | { readonly type: "result"; readonly id: number; readonly value: Results[keyof Results] }
  | { readonly type: "error"; readonly id: number; readonly error: ErrorFacts }
  | { readonly type: "progress"; readonly id: number; readonly progress: LoadProgress };

/** The buffers of an answer that move to the page instead of being copied. */
export function transferables(value: Results[keyof Results]): ArrayBuffer[] {
  if (value instanceof Float32Array) {
    return [value.buffer];
  }
  if (value !== undefined && "rgba" in value) {
    return [value.rgba.buffer];
  }
  return [];
}
