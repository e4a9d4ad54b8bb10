/** What is worth knowing of a load that goes on all the same. */
import type { ErrorDetails } from "../errors.js";
import type { StoreFailure } from "./opfs.js";

export interface LoadWarning {
  readonly code: "storage_full" | "storage_failed" | "file_changed";
  /** For people. */
  readonly message: string;
  readonly details: ErrorDetails;
}

/** The store keeps no more; told once a load. */
export function storageWarning({ full, reason }: StoreFailure): LoadWarning {
  return full
    ? {
        code: "storage_full",
        message:
          "there is no room left to keep the model on this device: it loads all the same, and the rest of it will be " +
          "downloaded again next time; remove other models or free some disk space",
        details: { reason },
      }
    : {
        code: "storage_failed",
        message: `the browser's storage failed (${reason}): the model loads all the same, but is not kept`,
        details: { reason },
      };
}

/** A file is not what it was on the last visit. */
export function changedWarning(path: string): LoadWarning {
  return {
    code: "file_changed",
    message: `${path} has changed on the host since the last visit: what was kept of it is dropped, and it is downloaded anew`,
    details: { path },
  };
}
