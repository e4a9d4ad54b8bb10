/** Errors as plain sentences, with what to do about them. */
import type { ErrorCode, KinetoscopeError } from "../errors.js";

/** What the page shows for an error; `fix` is something it can do by itself. */
export interface Explanation {
  readonly sentence: string;
  readonly fix?: Fix;
}

export type Fix =
  | { readonly kind: "size"; readonly label: string; readonly width: number; readonly height: number }
  | { readonly kind: "frames"; readonly label: string; readonly frames: number }
  | { readonly kind: "reload"; readonly label: string };

/** Errors after which the model in memory is of no use. */
const MODEL_GONE: ReadonlySet<ErrorCode> = new Set([
  "device_lost",
  "worker_failed",
  "out_of_memory",
  "device_error",
]);
/** Errors of a model folder, which may be put right and tried again. */
const FOLDER_WRONG: ReadonlySet<ErrorCode> = new Set([
  "file_missing",
  "component_missing",
  "file_truncated",
  "file_invalid",
  "read_failed",
  "access_denied",
  "network_failed",
  "connection_lost",
  "hash_mismatch",
  "file_changed",
  "manifest_invalid",
  "tensor_missing",
  "tensor_shape",
  "tensor_dtype",
  "tensor_not_finite",
  "config_unsupported",
  "architecture_unknown",
]);

/** Whether the model has to be loaded again after this error. */
export function losesModel(error: KinetoscopeError): boolean {
  return MODEL_GONE.has(error.code);
}

export function explain(error: KinetoscopeError): Explanation {
  const fact = (name: string): number | undefined => {
    const value = error.details[name];
    return typeof value === "number" ? value : undefined;
  };
  switch (error.code) {
    case "size_unsupported": {
      const [width, height] = [fact("nearestWidth"), fact("nearestHeight")];
      const asked = `${fact("width") ?? "?"} × ${fact("height") ?? "?"}`;
      const sentence = `This model cannot make a film of ${asked}: both sides have to be multiples of ${fact("multiple") ?? "its stride"}.`;
      return width !== undefined && height !== undefined
        ? { sentence, fix: { kind: "size", label: `Use ${width} × ${height}`, width, height } }
        : { sentence };
    }
    case "frames_unsupported": {
      const frames = fact("nearest");
      const sentence = `This model cannot make a film of ${fact("frames") ?? "that many"} frames.`;
      return frames !== undefined
        ? { sentence, fix: { kind: "frames", label: `Use ${frames} frames`, frames } }
        : { sentence };
    }
    case "worker_failed":
    case "device_lost":
      return {
        sentence: sentenceCase(error.message),
        fix: { kind: "reload", label: "Load the model again" },
      };
    default:
      return FOLDER_WRONG.has(error.code)
        ? { sentence: sentenceCase(error.message), fix: { kind: "reload", label: "Try again" } }
        : { sentence: sentenceCase(error.message) };
  }
}

/** Messages of the library start small, as parts of sentences; file names keep their case. */
export function sentenceCase(message: string): string {
  const startsWithWord = /^[a-z]+ /.test(message);
  const sentence = startsWithWord ? message.charAt(0).toUpperCase() + message.slice(1) : message;
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}
