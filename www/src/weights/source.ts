/** Where a model's files come from: what callers may hand in, and the bytes the wasm asks for. */
import { KinetoscopeError } from "../errors.js";
import type { SourceSpec } from "../messages.js";
import { DirectorySource, FileSource } from "./files.js";
import { HttpSource } from "./http.js";

/**
 * A diffusers folder: the URL it is served under; or on this device the files of an `<input webkitdirectory>`, blobs
 * by their path inside the folder, or a directory handle.
 */
export type ModelSource =
  | string
  | URL
  | { readonly files: FileList | readonly File[] | ReadonlyMap<string, Blob> | FileSystemDirectoryHandle };

/** The bytes of a folder's files. Paths are relative to the folder, with `/`. Rejections are KinetoscopeErrors. */
export interface ByteSource {
  /** Length of a file, in bytes; rejects with `file_missing` where there is none. */
  size(path: string): Promise<number>;
  /** Exactly `end - start` bytes from `start`. Cheapest when each file is read from its beginning to its end. */
  read(path: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Lets go of connections that are only kept for the next read; reading goes on to work. */
  release(): void;
}

/** Puts what the caller handed in into the form that crosses to the worker. */
export function describeSource(source: ModelSource): SourceSpec {
  if (typeof source === "string" || source instanceof URL) {
    return { kind: "http", url: folderUrl(source) };
  }
  const { files } = source;
  if ("getFileHandle" in files) {
    return { kind: "directory", handle: files };
  }
  if (files instanceof Map) {
    return { kind: "files", files };
  }
  const byPath = new Map<string, Blob>();
  for (const file of files as Iterable<File>) {
    byPath.set(pathInFolder(file), file);
  }
  return { kind: "files", files: byPath };
}

/** Opens a source for reading; `signal` ends every read in flight. */
export function openSource(spec: SourceSpec, signal: AbortSignal): ByteSource {
  switch (spec.kind) {
    case "http":
      return new HttpSource(spec.url, signal);
    case "files":
      return new FileSource(spec.files, signal);
    case "directory":
      return new DirectorySource(spec.handle, signal);
  }
}

/** The folder's absolute URL, ending in a slash; a query, such as an access token, stays. */
function folderUrl(source: string | URL): string {
  let url: URL;
  try {
    url = new URL(source, globalThis.location?.href);
  } catch {
    throw new KinetoscopeError(
      "option_invalid",
      `source is ${String(source)}, expected the URL of a model folder`,
      {
        option: "source",
        expected: "the URL of a model folder",
        found: String(source),
      },
    );
  }
  if (!url.pathname.endsWith("/")) {
    url.pathname += "/";
  }
  url.hash = "";
  return url.href;
}

/** Directory inputs give paths that start with the chosen folder's own name. */
function pathInFolder(file: File): string {
  const path = file.webkitRelativePath || file.name;
  return file.webkitRelativePath ? path.slice(path.indexOf("/") + 1) : path;
}
