/** Where a model's files come from: what callers may hand in, and the bytes the wasm asks for. */
import { KinetoscopeError } from "../errors.js";
import type { PlaceSpec, SourceSpec } from "../messages.js";
import { type ComponentFolder, ComponentSource } from "./components.js";
import { DirectorySource, FileSource, SingleFileSource } from "./files.js";
import { hubUrl, isHubAddress } from "./hub.js";
import { FolderSource, ManifestSource, SingleSource } from "./remote.js";
import { RETRY, type RetryPolicy } from "./retry.js";
import { CHUNK_BYTES, type ChunkStore } from "./store.js";
import { Traffic } from "./traffic.js";
import type { LoadWarning } from "./warnings.js";

/**
 * A diffusers folder: the URL it is served under, `hf:owner/name[@revision][/path]`, or the URL of a packed folder's
 * manifest, which ends in `.json`; or on this device the files of an `<input webkitdirectory>`, blobs by their path inside
 * the folder, or a directory handle.
 */
export type ModelFolder =
  | string
  | URL
  | { readonly files: FileList | readonly File[] | ReadonlyMap<string, Blob> | FileSystemDirectoryHandle };

/** A single file: its URL, `hf:owner/name[@revision]/path`, or the file itself. */
export type ComponentFile = string | URL | Blob;

/** Components as single files, safetensors or GGUF, instead of those of `model`, or without any. */
export interface ModelComponents {
  readonly model?: ModelFolder | undefined;
  readonly transformer?: ComponentFile | undefined;
  readonly textEncoder?: ComponentFile | undefined;
  readonly vae?: ComponentFile | undefined;
  /** A `tokenizer.json`. */
  readonly tokenizer?: ComponentFile | undefined;
}

export type ModelSource = ModelFolder | ModelComponents;

/** A span of a file's bytes; `end` is exclusive. */
export interface Span {
  readonly path: string;
  readonly start: number;
  readonly end: number;
}

/** The bytes of a folder's files. Paths are relative to the folder, with `/`. Rejections are KinetoscopeErrors. */
export interface ByteSource {
  /** Length of a file, in bytes; rejects with `file_missing` where there is none. */
  size(path: string): Promise<number>;
  /**
   * Exactly `end - start` bytes from `start`, to be looked at and not changed. Cheapest when each file is read from its
   * beginning to its end.
   */
  read(path: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
  /** What `read` gave is not looked at any more: its memory may be used for the next. Not to do so only costs time. */
  giveBack(bytes: Uint8Array<ArrayBuffer>): void;
  /** Has a span kept on this device, where what comes from the network is; nothing is done where it is not. */
  fetch(path: string, start: number, end: number): Promise<void>;
  /** Takes note of the spans that are going to be read next, and forgets what was planned before. */
  plan(spans: readonly Span[]): void;
  /** Takes note that everything the model needs has been read. */
  markComplete(): Promise<void>;
  /** Lets go of what is only kept for the next read; reading goes on to work. */
  release(): void;
}

/** How a source is read. */
export interface OpenOptions {
  /** Ends every read in flight. */
  readonly signal: AbortSignal;
  /** Where what came from the network is kept; nothing is without. */
  readonly store?: ChunkStore | undefined;
  readonly traffic: Traffic;
  readonly retry: RetryPolicy;
  /** The grid of files whose manifest does not say another. */
  readonly chunkBytes: number;
  readonly onWarning: (warning: LoadWarning) => void;
}

/** Puts what the caller handed in into the form that crosses to the worker. `hub` is where `hf:` leads. */
export function describeSource(source: ModelSource, hub?: string): SourceSpec {
  if (typeof source === "string" || source instanceof URL || "files" in source) {
    return describeFolder(source, hub);
  }
  const { model, transformer, textEncoder, vae, tokenizer } = source;
  const components = new Map<ComponentFolder, PlaceSpec>();
  for (const [folder, file] of [
    ["transformer", transformer],
    ["text_encoder", textEncoder],
    ["vae", vae],
    ["tokenizer", tokenizer],
  ] as const) {
    if (file !== undefined) {
      components.set(
        folder,
        file instanceof Blob
          ? { kind: "file", file }
          : { kind: "single", url: absolute(file, hub, "file").href },
      );
    }
  }
  if (model === undefined && components.size === 0) {
    throw sourceInvalid("{}", "a model folder or its components");
  }
  return {
    kind: "components",
    ...(model === undefined ? {} : { base: describeFolder(model, hub) }),
    components,
  };
}

/** Opens a source for reading. */
export function openSource(spec: SourceSpec, some: Partial<OpenOptions> = {}): ByteSource {
  const options: OpenOptions = {
    signal: new AbortController().signal,
    traffic: new Traffic(),
    retry: RETRY,
    chunkBytes: CHUNK_BYTES,
    onWarning: () => undefined,
    ...some,
  };
  if (spec.kind !== "components") {
    return openPlace(spec, options);
  }
  const components = new Map(
    [...spec.components].map(([folder, place]) => [folder, openPlace(place, options)]),
  );
  return new ComponentSource(spec.base && openPlace(spec.base, options), components);
}

function openPlace(spec: PlaceSpec, options: OpenOptions): ByteSource {
  switch (spec.kind) {
    case "folder":
      return new FolderSource(spec.url, options);
    case "manifest":
      return new ManifestSource(spec.url, options);
    case "single":
      return new SingleSource(spec.url, options);
    case "files":
      return new FileSource(spec.files, options);
    case "directory":
      return new DirectorySource(spec.handle, options);
    case "file":
      return new SingleFileSource(spec.file, options);
  }
}

function describeFolder(source: ModelFolder, hub: string | undefined): PlaceSpec {
  if (typeof source === "string" || source instanceof URL) {
    const url = absolute(source, hub, "model folder");
    if (url.pathname.endsWith(".json")) {
      return { kind: "manifest", url: url.href };
    }
    if (!url.pathname.endsWith("/")) {
      url.pathname += "/";
    }
    return { kind: "folder", url: url.href };
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

/** The absolute URL; a query, such as an access token, stays. */
function absolute(source: string | URL, hub: string | undefined, what: string): URL {
  const text = String(source);
  let url: URL;
  try {
    url = new URL(isHubAddress(text) ? hubUrl(text, hub) : text, globalThis.location?.href);
  } catch (thrown) {
    throw thrown instanceof KinetoscopeError ? thrown : sourceInvalid(text, `the URL of a ${what}`);
  }
  url.hash = "";
  return url;
}

function sourceInvalid(found: string, expected: string): KinetoscopeError {
  return new KinetoscopeError("option_invalid", `source is ${found}, expected ${expected}`, {
    option: "source",
    expected,
    found,
  });
}

/** Directory inputs give paths that start with the chosen folder's own name. */
function pathInFolder(file: File): string {
  const path = file.webkitRelativePath || file.name;
  return file.webkitRelativePath ? path.slice(path.indexOf("/") + 1) : path;
}
