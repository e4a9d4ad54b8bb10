/**
 * The manifest of a packed model, as `kinetoscope pack` writes it: a folder for any static host, with the files of a model
 * in parts of a size that every host takes, and the SHA-256 of every chunk. Byte `i` of a file is byte `i % part_bytes`
 * of part `i / part_bytes`; chunk `k` begins at byte `k * chunk_bytes` of the file.
 */
import { manifestInvalid } from "./failures.js";

export interface Manifest {
  readonly format: "kinetoscope-manifest";
  readonly version: 1;
  readonly name: string;
  readonly licence: string | null;
  /** By the folder's name, such as `transformer`. */
  readonly components: Readonly<Record<string, ManifestComponent>>;
  /** What the model's `kinetoscope.json` says; empty where it has none. */
  readonly defaults: Readonly<Record<string, unknown>>;
  readonly chunk_bytes: number;
  /** A multiple of `chunk_bytes`. */
  readonly part_bytes: number;
  readonly files: readonly ManifestFile[];
}

export interface ManifestComponent {
  readonly bytes: number;
  /** The number format of most of its weights, such as `q8_0`. */
  readonly dtype: string;
}

export interface ManifestFile {
  /** Where the file is in the model's folder. */
  readonly path: string;
  readonly bytes: number;
  /** Where its parts are, from the manifest's own folder. All but the last have exactly `part_bytes`. */
  readonly parts: readonly string[];
  /** SHA-256 of each chunk, in hexadecimal. */
  readonly chunks: readonly string[];
}

/** A manifest of a 100 GB model has less. */
export const LARGEST_MANIFEST = 16 << 20;
/** Chunks are held in memory whole, and each is a file of its own in the store. */
const [SMALLEST_CHUNK, LARGEST_CHUNK] = [1 << 10, 32 << 20];

/** Checks all of a manifest, which comes from anywhere. `path` names it in errors. */
export function parseManifest(path: string, text: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw manifestInvalid(path, "the file", "is no JSON");
  }
  const check = (holds: boolean, field: string, reason: string): void => {
    if (!holds) {
      throw manifestInvalid(path, field, reason);
    }
  };
  check(isObject(value), "the file", "is no object");
  const manifest = value as Partial<Record<keyof Manifest, unknown>>;
  check(manifest.format === "kinetoscope-manifest", "format", 'is not "kinetoscope-manifest"');
  check(manifest.version === 1, "version", "is not 1, the one that is known");
  check(typeof manifest.name === "string", "name", "is no text");
  check(
    manifest.licence === null || typeof manifest.licence === "string",
    "licence",
    "is neither text nor null",
  );
  check(isObject(manifest.components), "components", "is no object");
  for (const [name, component] of Object.entries(manifest.components as object) as [string, unknown][]) {
    const field = `components.${name}`;
    check(isObject(component), field, "is no object");
    const { bytes, dtype } = component as Partial<Record<keyof ManifestComponent, unknown>>;
    check(isLength(bytes), `${field}.bytes`, "is no length");
    check(typeof dtype === "string", `${field}.dtype`, "is no text");
  }
  check(isObject(manifest.defaults), "defaults", "is no object");
  const { chunk_bytes: chunk, part_bytes: part, files } = manifest;
  check(
    isLength(chunk) && chunk >= SMALLEST_CHUNK && chunk <= LARGEST_CHUNK,
    "chunk_bytes",
    `is not from ${SMALLEST_CHUNK} to ${LARGEST_CHUNK}`,
  );
  check(
    isLength(part) && part > 0 && part % (chunk as number) === 0,
    "part_bytes",
    "is no multiple of chunk_bytes",
  );
  check(Array.isArray(files), "files", "is no list");
  const paths = new Set<string>();
  for (const [index, file] of (files as unknown[]).entries()) {
    const field = `files[${index}]`;
    check(isObject(file), field, "is no object");
    const { path: inside, bytes, parts, chunks } = file as Partial<Record<keyof ManifestFile, unknown>>;
    check(isInside(inside), `${field}.path`, "is no path inside the folder");
    check(!paths.has(inside as string), `${field}.path`, "is there twice");
    paths.add(inside as string);
    check(isLength(bytes), `${field}.bytes`, "is no length");
    check(Array.isArray(parts) && parts.every(isInside), `${field}.parts`, "are not paths inside the folder");
    check(
      (parts as unknown[]).length === Math.ceil((bytes as number) / (part as number)),
      `${field}.parts`,
      "are not as many as the file has",
    );
    check(Array.isArray(chunks) && chunks.every(isHash), `${field}.chunks`, "are not SHA-256 in hexadecimal");
    check(
      (chunks as unknown[]).length === Math.ceil((bytes as number) / (chunk as number)),
      `${field}.chunks`,
      "are not as many as the file has",
    );
  }
  return value as Manifest;
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isLength(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isHash(value: unknown): boolean {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

/** No scheme, no slash in front, no way up; a backslash is one to browsers. */
function isInside(value: unknown): boolean {
  return (
    typeof value === "string" &&
    !/[\\:?#]/.test(value) &&
    value.split("/").every((part) => part !== "" && part !== "." && part !== "..")
  );
}
