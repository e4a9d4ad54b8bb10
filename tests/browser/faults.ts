/** A host of models, of another origin than the page, with every fault a host can have. */
import { createHash } from "node:crypto";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { readFileSync, readdirSync, statSync } from "node:fs";

/** A request for bytes, and how many of them went out. */
export interface Served {
  readonly method: string;
  readonly path: string;
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  sent: number;
}

export type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** What goes out at once, so that there are moments in between. */
const PIECE = 16 << 10;

export class FaultyHost {
  /** By path, such as `/folder/vae/config.json`. */
  readonly files = new Map<string, Buffer>();
  /** Versions of files; all are of version 1 else. */
  readonly etags = new Map<string, string>();
  /** Answers instead of files. */
  readonly answers = new Map<string, Answer>();
  readonly log: Served[] = [];
  cors = true;
  ranges = true;
  /** Nobody answers. */
  down = false;
  #left = Infinity;
  #reached = (): void => undefined;
  readonly #server = createServer((request, response) => this.#answer(request, response));

  static async start(): Promise<FaultyHost> {
    const host = new FaultyHost();
    await new Promise<void>((ready) => host.#server.listen(0, "127.0.0.1", ready));
    return host;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  /** Requests for the content of files. */
  get gets(): Served[] {
    return this.log.filter(({ method }) => method === "GET");
  }

  /** Faultless, with no memory of what was. */
  reset(): void {
    this.revive();
    this.answers.clear();
    this.etags.clear();
    this.log.length = 0;
    [this.cors, this.ranges] = [true, true];
  }

  /** Sends nothing more after so many bytes; the promise is kept then. */
  stallAfter(bytes: number): Promise<void> {
    this.#left = bytes;
    return new Promise((reached) => (this.#reached = reached));
  }

  /** Cuts every connection, and refuses new ones. */
  die(): void {
    this.down = true;
    this.#server.closeAllConnections();
  }

  revive(): void {
    this.#server.closeAllConnections();
    this.down = false;
    this.#left = Infinity;
    this.#reached = () => undefined;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    if (this.down) {
      request.socket.destroy();
      return;
    }
    const path = decodeURIComponent(new URL(request.url ?? "", this.url).pathname);
    if (this.cors) {
      // No more than the least: headers that are not exposed are not seen by the page.
      response.setHeader("access-control-allow-origin", "*");
    }
    const answer = this.answers.get(path);
    const file = this.files.get(path);
    if (answer) {
      answer(request, response);
    } else if (file) {
      this.send(path, file, request, response);
    } else {
      response.writeHead(404).end();
    }
  }

  send(path: string, file: Buffer, request: IncomingMessage, response: ServerResponse): void {
    const { method = "" } = request;
    response.setHeader("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT");
    response.setHeader("etag", `"${this.etags.get(path) ?? "1"}"`);
    response.setHeader("access-control-expose-headers", "etag");
    const range = this.ranges ? /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") : null;
    const start = range ? Number(range[1]) : 0;
    const end = range?.[2] ? Math.min(Number(range[2]) + 1, file.length) : file.length;
    const served = { method, path, start, end, sent: 0 };
    this.log.push(served);
    if (range && start >= file.length) {
      response.writeHead(416, { "content-range": `bytes */${file.length}` }).end();
      return;
    }
    response.writeHead(range ? 206 : 200, {
      "content-length": end - start,
      ...(range ? { "content-range": `bytes ${start}-${end - 1}/${file.length}` } : {}),
    });
    if (method === "HEAD") {
      response.end();
    } else {
      this.#pour(file.subarray(start, end), served, response);
    }
  }

  #pour(bytes: Buffer, served: Served, response: ServerResponse): void {
    while (served.sent < bytes.length) {
      const length = Math.min(PIECE, bytes.length - served.sent, this.#left);
      if (length === 0) {
        this.#reached();
        return;
      }
      const piece = bytes.subarray(served.sent, served.sent + length);
      served.sent += length;
      this.#left -= length;
      if (!response.write(piece)) {
        response.once("drain", () => this.#pour(bytes, served, response));
        return;
      }
    }
    response.end();
  }
}

/** Every file of a folder on disk, by its path inside. */
export function filesOf(folder: URL, inside = ""): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (const name of readdirSync(new URL(inside || ".", folder))) {
    const path = `${inside}${name}`;
    if (statSync(new URL(path, folder)).isDirectory()) {
      filesOf(folder, `${path}/`).forEach((bytes, below) => files.set(below, bytes));
    } else if (!name.endsWith(".jpg") && !name.endsWith(".md")) {
      files.set(path, readFileSync(new URL(path, folder)));
    }
  }
  return files;
}

export const sha256 = (bytes: Buffer | string): string => createHash("sha256").update(bytes).digest("hex");

/** A chunk of a packed model, and where it is. */
export interface PackedChunk {
  readonly path: string;
  readonly start: number;
  readonly end: number;
}

/** A model as `kinetoscope pack` lays it out; `chunks` are by their hash. */
export function pack(
  name: string,
  files: ReadonlyMap<string, Buffer>,
  chunkBytes: number,
  partBytes: number,
) {
  const served = new Map<string, Buffer>();
  const chunks = new Map<string, PackedChunk>();
  const listed = [...files].map(([path, bytes]) => {
    const parts: string[] = [];
    const hashes: string[] = [];
    for (let start = 0; start < bytes.length; start += partBytes) {
      const part = `parts/${path.replaceAll("/", "-")}-${parts.length}.bin`;
      served.set(part, bytes.subarray(start, start + partBytes));
      parts.push(part);
    }
    for (let start = 0; start < bytes.length; start += chunkBytes) {
      const end = Math.min(start + chunkBytes, bytes.length);
      const hash = sha256(bytes.subarray(start, end));
      const [part, at] = [parts[Math.floor(start / partBytes)] ?? "", start % partBytes];
      hashes.push(hash);
      chunks.set(hash, { path: part, start: at, end: at + end - start });
    }
    return { path, bytes: bytes.length, parts, chunks: hashes };
  });
  const manifest = {
    format: "kinetoscope-manifest",
    version: 1,
    name,
    licence: "MIT",
    components: {},
    defaults: {},
    chunk_bytes: chunkBytes,
    part_bytes: partBytes,
    files: listed,
  };
  served.set("manifest.json", Buffer.from(JSON.stringify(manifest)));
  return { served, chunks };
}
