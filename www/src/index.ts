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
export type { ModelSource } from "./weights/source.js";

/** How to load a model. */
export interface LoadOptions {
  /** Default `auto`: WebGPU where it works, else the CPU. */
  readonly device?: Device;
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Aborting ends the download and frees what was loaded. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Loads a model, an ordinary diffusers folder, into a worker of its own. `source` is the URL of the folder, or its
 * files on this device. Weights are streamed to the device; no file is ever whole in memory.
 */
export async function load(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
  const { device = "auto", onProgress, signal } = options;
  if (signal?.aborted) {
    throw cancelled();
  }
  const spec = describeSource(source);
  const connection = new Connection(startWorker());
  try {
    const loaded = await connection.call({ type: "load", source: spec, device }, { signal, onProgress });
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
