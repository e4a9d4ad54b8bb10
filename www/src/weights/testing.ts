/** For the tests of this folder: a web host with every fault there is, and a store in memory. */
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "vitest";
import { KinetoscopeError } from "../errors.js";
import type { RetryPolicy } from "./retry.js";
import { type ChunkStore, type PartialChunk, type StoredRecord, sha256 } from "./store.js";

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** Waits that a test can afford. */
export const QUICK: RetryPolicy = { retries: 3, firstWaitMs: 2, longestWaitMs: 1500, stallMs: 300 };

/** 300 kB, no byte of which is at the right place when it is off by any amount below 251. */
export const BYTES = Uint8Array.from({ length: 300_000 }, (_, index) => index % 251);

/** A web server on this machine that notes what it is asked for. */
export class Host {
  readonly requests: { method: string; url: string; range: string | undefined }[] = [];
  readonly #server: Server;

  private constructor(public handler: Handler) {
    this.#server = createServer((request, response) => {
      const { method = "", url = "" } = request;
      this.requests.push({ method, url, range: request.headers.range });
      this.handler(request, response);
    });
  }

  static async start(handler: Handler): Promise<Host> {
    const host = new Host(handler);
    await new Promise<void>((ready) => host.#server.listen(0, "127.0.0.1", ready));
    return host;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  /** Ranges asked for with GET. */
  get ranges(): (string | undefined)[] {
    return this.requests.filter(({ method }) => method === "GET").map(({ range }) => range);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((closed) => this.#server.close(closed));
  }
}

/** A host as it should be, with one file under every path. */
export function ranged(bytes: Uint8Array = BYTES, headers: Record<string, string> = {}): Handler {
  return (request, response) => {
    const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    if (!match || request.method === "HEAD") {
      response.writeHead(200, { ...headers, "content-length": bytes.length });
      response.end(request.method === "HEAD" ? undefined : bytes);
      return;
    }
    const start = Number(match[1]);
    const end = Math.min(match[2] ? Number(match[2]) + 1 : Infinity, bytes.length);
    if (start >= bytes.length) {
      response.writeHead(416, { "content-range": `bytes */${bytes.length}` });
      response.end();
      return;
    }
    response.writeHead(206, {
      ...headers,
      "content-length": end - start,
      "content-range": `bytes ${start}-${end - 1}/${bytes.length}`,
    });
    response.end(bytes.subarray(start, end));
  };
}

/** A host that knows no ranges, and sends without saying how much. */
export function whole(bytes: Uint8Array = BYTES, headers: Record<string, string> = {}): Handler {
  return (request, response) => {
    response.writeHead(200, headers);
    response.end(request.method === "HEAD" ? undefined : bytes);
  };
}

/** A store as the real one, without a disk. */
export class MemoryStore implements ChunkStore {
  readonly chunks = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly parts = new Map<string, Uint8Array<ArrayBuffer>>();
  readonly records = new Map<string, StoredRecord>();
  /** What the disk waits for before a chunk is whole. */
  disk: Promise<unknown> = Promise.resolve();
  readonly #turns = new Map<string, Promise<unknown>>();

  async has(key: string, bytes: number): Promise<boolean> {
    return this.chunks.get(key)?.length === bytes;
  }

  async read(key: string, into: Uint8Array<ArrayBuffer>): Promise<boolean> {
    // As much out of order as a disk can be.
    await new Promise((ready) => setTimeout(ready, Math.random() * 5));
    const chunk = this.chunks.get(key);
    if (chunk?.length !== into.length) {
      return false;
    }
    into.set(chunk);
    return true;
  }

  async fill<T>(
    key: string,
    _: AbortSignal,
    use: (part: PartialChunk | undefined) => Promise<T>,
  ): Promise<T> {
    const part: PartialChunk = {
      size: (limit) => {
        const there = this.parts.get(key)?.length ?? 0;
        expect(there).toBeLessThanOrEqual(limit);
        return there;
      },
      read: (into) => {
        const there = this.parts.get(key) ?? new Uint8Array();
        into.set(there);
        return there.length;
      },
      write: (piece, at) => {
        const before = this.parts.get(key) ?? new Uint8Array();
        expect(at).toBe(before.length);
        const after = new Uint8Array(at + piece.length);
        after.set(before);
        after.set(piece, at);
        this.parts.set(key, after);
      },
      restart: () => void this.parts.delete(key),
      finish: async () => {
        await this.disk;
        this.chunks.set(key, this.parts.get(key) ?? new Uint8Array());
        this.parts.delete(key);
      },
    };
    const filled = (this.#turns.get(key) ?? Promise.resolve()).then(() =>
      use(this.chunks.has(key) ? undefined : part),
    );
    this.#turns.set(
      key,
      filled.catch(() => undefined),
    );
    return filled;
  }

  async record(id: string): Promise<StoredRecord | undefined> {
    return this.records.get(id);
  }

  async update(
    id: string,
    change: (old: StoredRecord | undefined) => StoredRecord | undefined,
  ): Promise<void> {
    const old = this.records.get(id);
    const changed = change(old);
    if (!changed) {
      return;
    }
    this.records.set(id, changed);
    const named = new Set(
      [...this.records.values()].flatMap(({ files }) => files.flatMap(({ chunks }) => chunks)),
    );
    for (const key of old?.files.flatMap(({ chunks }) => chunks) ?? []) {
      if (!named.has(key)) {
        this.chunks.delete(key);
        this.parts.delete(key);
      }
    }
  }
}

/** A manifest of one file in one or more parts. */
export async function manifestOf(bytes: Uint8Array<ArrayBuffer>, chunkBytes: number, partBytes: number) {
  const parts = Array.from({ length: Math.ceil(bytes.length / partBytes) }, (_, index) =>
    bytes.slice(index * partBytes, (index + 1) * partBytes),
  );
  const chunks = await Promise.all(
    Array.from({ length: Math.ceil(bytes.length / chunkBytes) }, (_, index) =>
      sha256(bytes.slice(index * chunkBytes, (index + 1) * chunkBytes)),
    ),
  );
  const manifest = {
    format: "kinetoscope-manifest",
    version: 1,
    name: "A model",
    licence: null,
    components: { vae: { bytes: bytes.length, dtype: "f16" } },
    defaults: {},
    chunk_bytes: chunkBytes,
    part_bytes: partBytes,
    files: [
      {
        path: "vae/weights",
        bytes: bytes.length,
        parts: parts.map((_, index) => `parts/vae-${index}.bin`),
        chunks,
      },
    ],
  };
  return { manifest, parts };
}

export async function errorOf(promise: Promise<unknown>): Promise<KinetoscopeError> {
  const thrown = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(KinetoscopeError);
  return thrown as KinetoscopeError;
}

/** As `toEqual`, which takes its time with long arrays. */
export function expectBytes(found: Uint8Array | undefined, expected: Uint8Array): void {
  expect(found && Buffer.compare(found, expected)).toBe(0);
}
