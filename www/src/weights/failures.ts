/** The errors of reading files: the first three in the words of the Rust library's error enum. */
import { KinetoscopeError } from "../errors.js";

export function fileMissing(path: string): KinetoscopeError {
  return new KinetoscopeError(
    "file_missing",
    `${path} is missing from the model folder: it needs every file of a diffusers pipeline; download it again`,
    { path },
  );
}

export function fileTruncated(path: string, expected: number, found: number): KinetoscopeError {
  return new KinetoscopeError(
    "file_truncated",
    `${path} is truncated: ${expected} bytes expected, ${found} found; download it again`,
    { path, expected, found },
  );
}

export function readFailed(path: string, reason: string): KinetoscopeError {
  return new KinetoscopeError("read_failed", `reading ${path} failed: ${reason}`, { path, reason });
}

/** 401 and 403. Buckets that may not be listed say 403 for a file that is not there. */
export function accessDenied(path: string, status: number): KinetoscopeError {
  return new KinetoscopeError(
    "access_denied",
    `the host refuses ${path} (status ${status}): check that the address is right and its access token, if it has one, ` +
      "still valid, or download the model and choose its folder",
    { path, status },
  );
}

/** No answer at all. Browsers do not tell a page whether the network or CORS is the reason. */
export function networkFailed(path: string, host: string): KinetoscopeError {
  return new KinetoscopeError(
    "network_failed",
    `${path} could not be asked for: either ${host} cannot be reached (check the network and the address), or it does not ` +
      "allow this page to read it (its CORS headers have to)",
    { path, host },
  );
}

/** The host stopped in the middle, and did so again each time the rest was asked for. */
export function connectionLost(path: string, received: number, expected: number): KinetoscopeError {
  return new KinetoscopeError(
    "connection_lost",
    `the connection broke at byte ${received} of the ${expected} asked for from ${path}: load again, which goes on ` +
      "from there where the browser keeps files",
    { path, received, expected },
  );
}

export function hashMismatch(path: string, chunk: number, expected: string, found: string): KinetoscopeError {
  return new KinetoscopeError(
    "hash_mismatch",
    `chunk ${chunk} of ${path} is not what its manifest says, twice over (SHA-256 ${found} instead of ${expected}): the ` +
      "file on the host is damaged or of another version; tell whoever keeps it, or use another copy",
    { path, chunk, expected, found },
  );
}

export function fileChanged(path: string, reason: string): KinetoscopeError {
  return new KinetoscopeError(
    "file_changed",
    `${path} changed on the host (${reason}): load the model again`,
    {
      path,
      reason,
    },
  );
}

export function manifestInvalid(path: string, field: string, reason: string): KinetoscopeError {
  return new KinetoscopeError(
    "manifest_invalid",
    `${path} is no manifest that can be used: ${field} ${reason}; pack the model again`,
    { path, field, reason },
  );
}
