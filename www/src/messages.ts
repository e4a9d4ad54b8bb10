/**
 * What the page and the worker say to each other. Every request has an id, its one answer carries the same id, and
 * `abort` names the request to stop. A session is named by the id of the `open` request that made it, so that an
 * abort which crosses the answer to `open` on its way still finds the session to free.
 */
import type { ErrorFacts } from "./errors.js";
import type {
  Advice,
  ClipPlan,
  Edit,
  EngineInfo,
  Footage,
  GenerateOptions as ClipOptions,
  Given,
  LoadProgress as WeightsRead,
  Mask,
  ModelInfo,
  Precision,
  Preview,
  StepEvent,
  TextEvent,
  TimedPrompt,
} from "./wasm/kinetoscope.js";
import type { ComponentFolder } from "./weights/components.js";
import type { Pace } from "./weights/traffic.js";
import type { LoadWarning } from "./weights/warnings.js";

export type {
  Advice,
  ClipOptions,
  ClipPlan,
  Edit,
  Footage,
  Given,
  LoadWarning,
  Mask,
  ModelInfo,
  Precision,
  Preview,
  TimedPrompt,
};

/** Where the computing is to happen: `auto` takes WebGPU where it works and the CPU elsewhere. */
export type Device = "auto" | "webgpu" | "cpu";

/** What the model runs on. */
export type DeviceInfo = EngineInfo;

/** How the latents go from noise to the clip. */
export type Solver = ModelInfo["solver"];

/** What became of the prompt. */
export type TextInfo = TextEvent;

/** A denoising step that was made. */
export type StepInfo = StepEvent;

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

/** How far a load is, or what happened in it that it goes on after. */
export type LoadProgress =
  | ({ readonly type: "weights" } & Readonly<WeightsRead> & Pace)
  | ({ readonly type: "warning" } & LoadWarning);

/** Where files are, in a form that crosses to the worker. */
export type PlaceSpec =
  | { readonly kind: "folder" | "manifest" | "single"; readonly url: string }
  | { readonly kind: "files"; readonly files: ReadonlyMap<string, Blob> }
  | { readonly kind: "directory"; readonly handle: FileSystemDirectoryHandle }
  | { readonly kind: "file"; readonly file: Blob };

/** Where the files of a model are: in one place, or some of its components in places of their own. */
export type SourceSpec =
  | PlaceSpec
  | {
      readonly kind: "components";
      readonly base?: PlaceSpec;
      readonly components: ReadonlyMap<ComponentFolder, PlaceSpec>;
    };

/** A session just opened, with every option settled. */
export interface SessionInfo {
  readonly session: number;
  readonly width: number;
  readonly height: number;
  readonly frames: number;
  readonly steps: number;
  readonly droppedFrames: number;
  readonly windows: number;
}

/** Calls on an open session that take nothing else. */
export type SessionCall = "encode" | "step" | "frames" | "nextWindow" | "latents" | "promptEmbeds" | "close";

/** What a model holds at the moment, in bytes. */
export interface MemoryInfo {
  /** Buffers on the device: the weights, and what the clip in the making takes. */
  readonly device: number;
  /** The worker's own memory, as large as it ever had to be. */
  readonly worker: number;
}

/** Which device is asked for, and how it is to be used. */
export interface DeviceCall {
  readonly device: Device;
  readonly memory: number | undefined;
  readonly precision: Precision | undefined;
}

/** What can be asked of the worker. */
export type Call =
  | (DeviceCall & {
      readonly type: "load";
      readonly source: SourceSpec;
      readonly cache: boolean;
      readonly retries: number;
    })
  | (DeviceCall & {
      readonly type: "advise";
      readonly source: SourceSpec;
      readonly retries: number;
      readonly options: ClipOptions;
    })
  | { readonly type: "memory" }
  | { readonly type: "plan"; readonly options: ClipOptions }
  | { readonly type: "open"; readonly options: ClipOptions }
  | { readonly type: SessionCall; readonly session: number };

/** What each call answers. */
export interface Results {
  load: { readonly model: ModelInfo; readonly device: DeviceInfo };
  advise: Advice;
  memory: MemoryInfo;
  plan: ClipPlan;
  open: SessionInfo;
  encode: TextInfo;
  step: StepInfo | undefined;
  frames: FrameChunk | undefined;
  nextWindow: boolean;
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
  if (typeof value === "object" && "rgba" in value) {
    return [value.rgba.buffer];
  }
  return [];
}
