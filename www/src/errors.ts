/**
 * The stable names of everything that can go wrong: those of the Rust library (`crate/src/error.rs`), then those of
 * the network and of the files on it, then the worker's.
 */
export type ErrorCode =
  | "cancelled"
  | "file_missing"
  | "component_missing"
  | "file_truncated"
  | "file_invalid"
  | "read_failed"
  | "write_failed"
  | "tensor_missing"
  | "tensor_shape"
  | "tensor_dtype"
  | "tensor_not_finite"
  | "result_not_finite"
  | "config_unsupported"
  | "architecture_unknown"
  | "size_unsupported"
  | "frames_unsupported"
  | "option_invalid"
  | "device_unavailable"
  | "device_too_small"
  | "out_of_memory"
  | "device_lost"
  | "device_error"
  | "shape_mismatch"
  | "wrong_state"
  | "access_denied"
  | "network_failed"
  | "connection_lost"
  | "hash_mismatch"
  | "file_changed"
  | "manifest_invalid"
  | "worker_failed";

/** Facts of an error, by name, such as `{ path: "vae/config.json" }` or `{ width: 70, nearestWidth: 64 }`. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/** An error as plain data: what crosses between the worker and the page. */
export interface ErrorFacts {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: ErrorDetails;
}

/** The one error class of this package: `message` is for people, `code` and `details` are for programs. */
export class KinetoscopeError extends Error implements ErrorFacts {
  override readonly name = "KinetoscopeError";
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message);
    this.code = code;
    this.details = details;
  }

  /** Turns whatever was thrown into a KinetoscopeError; what has no code of ours is a fault of the worker. */
  static from(thrown: unknown): KinetoscopeError {
    if (thrown instanceof KinetoscopeError) {
      return thrown;
    }
    if (isFacts(thrown)) {
      return new KinetoscopeError(thrown.code, thrown.message, thrown.details);
    }
    const reason = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
    return new KinetoscopeError("worker_failed", `the worker failed (${reason}): load the model again`, {
      reason,
    });
  }

  /** The same error as plain data, which `postMessage` keeps whole (it drops own properties of an Error). */
  toFacts(): ErrorFacts {
    return { code: this.code, message: this.message, details: this.details };
  }
}

/** The error of everything that was asked to stop. */
export function cancelled(): KinetoscopeError {
  return new KinetoscopeError("cancelled", "cancelled");
}

function isFacts(value: unknown): value is ErrorFacts {
  return (
    typeof value === "object" &&
    value !== null &&
    "code" in value &&
    typeof value.code === "string" &&
    "message" in value &&
    typeof value.message === "string" &&
    "details" in value &&
    typeof value.details === "object"
  );
}
