/** The errors of reading files, in the words of the Rust library's error enum. */
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
