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
import type { Device, LoadProgress } from "./messages.js";
import { Model } from "./model.js";
import { RETRY } from "./weights/retry.js";
import { type ModelSource, describeSource } from "./weights/source.js";

export { KinetoscopeError, type ErrorCode, type ErrorDetails, type ErrorFacts } from "./errors.js";
export type {
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

/** How to load a model. */
export interface LoadOptions {
  /** Default `auto`: WebGPU where it works, else the CPU. */
  readonly device?: Device;
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Aborting ends the download and frees what was loaded; what was stored stays, and the next load goes on from there. */
  readonly signal?: AbortSignal | undefined;
  /** Whether what comes from the network is kept on this device; default yes. Files of this device never are. */
  readonly cache?: boolean;
  /** How often a request that failed is made again, without any progress in between; default 4. */
  readonly retries?: number;
  /** Where `hf:` addresses lead; default `https://huggingface.co/`. */
  readonly hub?: string;
}

/**
 * Loads a model, an ordinary diffusers folder, a packed one, or components of different places, into a worker of its own.
 * Weights are streamed to the device; no file is ever whole in memory.
 */
export async function load(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
  const { device = "auto", onProgress, signal, cache = true, retries = RETRY.retries, hub } = options;
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
  const spec = describeSource(source, hub);
  const connection = new Connection(startWorker());
  try {
    const loaded = await connection.call(
      { type: "load", source: spec, device, cache, retries },
      { signal, onProgress },
    );
    return new Model(connection, loaded.model, loaded.device);
  } catch (thrown) {
    const error = KinetoscopeError.from(thrown);
    connection.end(error);
    throw error;
  }
}

function startWorker(): Worker {
  try {
    return new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "kinetoscope" });
  } catch (thrown) {
    throw KinetoscopeError.from(thrown);
  }
}
