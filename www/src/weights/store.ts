/** What is kept of models between visits: chunks by what is in them, and for each model the list of its chunks. */

/** Length of the chunks of a file that no manifest describes. */
export const CHUNK_BYTES = 8 << 20;

/** A file of a stored model. */
export interface StoredFile {
  readonly path: string;
  readonly bytes: number;
  readonly chunkBytes: number;
  /** What the host said of the file's version; none where the chunks' hashes say more. */
  readonly validator?: string | undefined;
  /** The names of its chunks, in order. */
  readonly chunks: readonly string[];
}

/** A stored model: a folder, a manifest, or a single file of a component. */
export interface StoredRecord {
  readonly format: "kinetoscope-store";
  readonly version: 1;
  readonly id: string;
  readonly name: string;
  /** Its address, without a query, which may hold an access token. */
  readonly source: string;
  /** Whether it was once loaded to the end, so that there is nothing it needs that is not listed. */
  readonly complete: boolean;
  /** The text of its manifest. */
  readonly manifest?: string | undefined;
  readonly files: readonly StoredFile[];
}

/** The beginning of a chunk, kept while the rest is on its way. Nothing of it throws: a disk that fails ends the keeping. */
export interface PartialChunk {
  /** How many bytes are there. More than `limit` are of no chunk of this name, and forgotten. */
  size(limit: number): number;
  /** Fills `into` from the front with what is there; gives how much that is. */
  read(into: Uint8Array<ArrayBuffer>): number;
  write(piece: Uint8Array<ArrayBuffer>, at: number): void;
  /** Forgets what is there. */
  restart(): void;
  /** Makes a whole chunk of it. */
  finish(): Promise<void>;
}

/** Where chunks are kept. A failure ends the keeping of new ones and is told once; what is there can still be read. */
export interface ChunkStore {
  /** Whether a chunk is there whole. */
  has(key: string, bytes: number): Promise<boolean>;
  /** Reads a chunk into memory of its length; whether it was there, whole. */
  read(key: string, into: Uint8Array<ArrayBuffer>): Promise<boolean>;
  /**
   * Lets `use` fill a chunk; no other tab fills it meanwhile. There is no part where the chunk is whole by then, and none
   * once keeping has ended.
   */
  fill<T>(key: string, signal: AbortSignal, use: (part: PartialChunk | undefined) => Promise<T>): Promise<T>;
  /** What is known of a model. */
  record(id: string): Promise<StoredRecord | undefined>;
  /**
   * Changes what is known of a model, with no other tab doing so meanwhile; nothing happens where `change` gives back what
   * it got. Chunks that the model named before and that now no model names are removed.
   */
  update(id: string, change: (old: StoredRecord | undefined) => StoredRecord | undefined): Promise<void>;
}

/** Whether a text is a record as this version writes it; what is not counts as none. */
export function isRecord(value: unknown): value is StoredRecord {
  const record = value as Partial<StoredRecord> | null;
  return (
    typeof record === "object" &&
    record !== null &&
    record.format === "kinetoscope-store" &&
    record.version === 1 &&
    typeof record.id === "string" &&
    typeof record.name === "string" &&
    typeof record.source === "string" &&
    typeof record.complete === "boolean" &&
    (record.manifest === undefined || typeof record.manifest === "string") &&
    Array.isArray(record.files) &&
    record.files.every(
      (file: Partial<StoredFile> | null) =>
        typeof file?.path === "string" &&
        Number.isSafeInteger(file.bytes) &&
        Number.isSafeInteger(file.chunkBytes) &&
        Array.isArray(file.chunks) &&
        file.chunks.every((key) => typeof key === "string" && isKey(key)),
    )
  );
}

/** Keys are names of files: a SHA-256, and the number of a chunk where the hash is that of a file. */
export function isKey(key: string): boolean {
  return /^[0-9a-f]{64}(?:-\d+)?$/.test(key);
}

/** SHA-256 in hexadecimal. */
export async function sha256(data: string | Uint8Array<ArrayBuffer>): Promise<string> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** How many bytes chunk `index` of a file has. */
export function chunkLength(
  file: { readonly bytes: number; readonly chunkBytes: number },
  index: number,
): number {
  return Math.max(0, Math.min(file.chunkBytes, file.bytes - index * file.chunkBytes));
}
