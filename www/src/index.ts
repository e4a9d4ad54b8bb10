/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Video from text in the browser.
 *
 *     const model = await load("https://example.org/models/wan/", { onProgress });
 *     for await (const event of model.generate({ prompt: "a red ball bounces on green grass" })) {
 *       if (event.type === "frame") context.putImageData(new ImageData(event.rgba, event.width, event.height), 0, 0);
 *     }
 */
import { Connection } from "./connection.js";
import { KinetoscopeError, cancelled } from "./errors.js";
import type {
  Advice,
  ClipOptions,
  Device,
  DeviceCall,
  LoadProgress,
  Precision,
  SourceSpec,
} from "./messages.js";
import { Model } from "./model.js";
import { RETRY } from "./weights/retry.js";
import { type ModelSource, describeSource } from "./weights/source.js";

export { KinetoscopeError, type ErrorCode, type ErrorDetails, type ErrorFacts } from "./errors.js";
export type {
  Advice,
  ClipOptions,
  ClipPlan,
  Device,
  DeviceInfo,
  Edit,
  Footage,
  FrameChunk,
  Given,
  LoadProgress,
  LoadWarning,
  Mask,
  MemoryInfo,
  ModelInfo,
  Precision,
  Preview,
  Solver,
  StepInfo,
  TextInfo,
  TimedPrompt,
} from "./messages.js";
export {
  Model,
  type ClipSeconds,
  type Frame,
  type GenerateEvent,
  type GenerateOptions,
  type WindowInfo,
} from "./model.js";
export { Session } from "./session.js";
export { type Support, isSupported } from "./support.js";
export type { Manifest, ManifestComponent, ManifestFile } from "./weights/manifest.js";
export type { ComponentFile, ModelComponents, ModelFolder, ModelSource } from "./weights/source.js";
export { type StoredModel, persist, removeModel, storedModels } from "./weights/stored.js";
export type { Origin } from "./weights/traffic.js";

/** Where to compute, and how to reach what is not on this device. */
export interface PlanOptions {
  /** Default `auto`: WebGPU where it works, else the CPU. */
  readonly device?: Device;
  /**
   * Bytes of the device that may be taken. Where a model's weights have no room beside the clip, its parts take turns and are
   * read again. Default: half of the machine's memory, as far as the browser tells that; 4 GiB elsewhere.
   */
  readonly memory?: number;
  /**
   * What linear layers and convolutions may be multiplied in where the device is faster so, each allowing what is before it: `f32`,
   * the default; `f16`, 16 products at a time; `i8`, 8-bit integers, where weights are quantised. Less costs digits. What is
   * used then is in `model.device`.
   */
  readonly precision?: Precision;
  readonly signal?: AbortSignal | undefined;
  /** How often a request that failed is made again, without any progress in between; default 4. */
  readonly retries?: number;
  /** Where `hf:` addresses lead; default `https://huggingface.co/`. */
  readonly hub?: string;
}

/** How to load a model. */
export interface LoadOptions extends PlanOptions {
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Aborting ends the download and frees what was loaded; what was stored stays, and the next load goes on from there. */
  readonly signal?: AbortSignal | undefined;
  /** Whether what comes from the network is kept on this device; default yes. Files of this device never are. */
  readonly cache?: boolean;
}

/**
 * Loads a model, an ordinary diffusers folder, a packed one, or components of different places, into a worker of its own.
 * Weights are streamed to the device; no file is ever whole in memory.
 */
export async function load(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
  const { onProgress, signal, cache = true } = options;
  const call = described(source, options);
  const connection = new Connection(startWorker());
  try {
    const loaded = await connection.call({ type: "load", ...call, cache }, { signal, onProgress });
    return new Model(connection, loaded.model, loaded.device);
  } catch (thrown) {
    const error = KinetoscopeError.from(thrown);
    connection.end(error);
    throw error;
  }
}

/**
 * What a clip of a model would take, before any weights are read: bytes to download by component, memory by stage, and,
 * where it does not fit, the nearest clips that do. Rejects as `load` does.
 */
export async function plan(
  source: ModelSource,
  clip: ClipOptions,
  options: PlanOptions = {},
): Promise<Advice> {
  const call = described(source, options);
  const connection = new Connection(startWorker());
  try {
    return await connection.call({ type: "advise", ...call, options: clip }, { signal: options.signal });
  } catch (thrown) {
    throw KinetoscopeError.from(thrown);
  } finally {
    connection.end(cancelled());
  }
}

/** What both ask of the worker. */
function described(
  source: ModelSource,
  { device = "auto", memory, precision, signal, retries = RETRY.retries, hub }: PlanOptions,
): DeviceCall & { readonly source: SourceSpec; readonly retries: number } {
  if (signal?.aborted) {
    throw cancelled();
  }
  if (!Number.isSafeInteger(retries) || retries < 0) {
    const [expected, found] = ["a whole number from 0", String(retries)];
    throw new KinetoscopeError("option_invalid", `retries is ${found}, expected ${expected}`, {
      option: "retries",
      expected,
      found,
    });
  }
  return { source: describeSource(source, hub), device, memory, precision, retries };
}

function startWorker(): Worker {
  try {
    return new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "kinetoscope" });
  } catch (thrown) {
    throw KinetoscopeError.from(thrown);
  }
}
