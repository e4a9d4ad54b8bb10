/**
 * A model folder on a web host, read by byte ranges. Where the host ignores `Range` and answers with the whole file,
 * the spans are cut from that one response as it streams by, so no file is ever whole in memory either way.
 */
import { KinetoscopeError, cancelled } from "../errors.js";
import { fileMissing, fileTruncated, readFailed } from "./failures.js";
import type { ByteSource } from "./source.js";

/** Tries for one request before its failure is believed, and the wait before the second, doubling after. */
const TRIES = 4;
const FIRST_WAIT_MS = 250;

export class HttpSource implements ByteSource {
  readonly #folder: URL;
  readonly #signal: AbortSignal;
  readonly #files = new Map<string, HttpFile>();

  constructor(folder: string, signal: AbortSignal) {
    this.#folder = new URL(folder);
    this.#signal = signal;
  }

  async size(path: string): Promise<number> {
    return this.#file(path).size();
  }

  async read(path: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    return end > start ? this.#file(path).read(start, end) : new Uint8Array();
  }

  release(): void {
    for (const file of this.#files.values()) {
      file.release();
    }
  }

  #file(path: string): HttpFile {
    let file = this.#files.get(path);
    if (!file) {
      file = new HttpFile(path, fileUrl(this.#folder, path), this.#signal);
      this.#files.set(path, file);
    }
    return file;
  }
}

/** One file of the folder: finds out with its first read whether the host does ranges. */
class HttpFile {
  readonly #path: string;
  readonly #url: string;
  readonly #signal: AbortSignal;
  #size: number | undefined;
  #ranged: Promise<boolean> | undefined;
  #stream: ForwardStream | undefined;
  #streamTurn: Promise<unknown> = Promise.resolve();

  constructor(path: string, url: string, signal: AbortSignal) {
    this.#path = path;
    this.#url = url;
    this.#signal = signal;
  }

  async size(): Promise<number> {
    this.#size ??= await this.#retry(async () => (await this.#sizeByHead()) ?? (await this.#sizeByGet()));
    return this.#size;
  }

  async read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#ranged === undefined) {
      return this.#firstRead(start, end);
    }
    return (await this.#ranged) ? this.#readRange(start, end) : this.#readStream(start, end);
  }

  release(): void {
    this.#stream?.cancel();
    this.#stream = undefined;
  }

  /** Asks for the range and takes what comes; reads that arrive meanwhile wait for what this one finds out. */
  async #firstRead(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    let found = (_ranged: boolean): void => undefined;
    this.#ranged = new Promise((resolve) => (found = resolve));
    let response: Response;
    try {
      response = await this.#retry(() => this.#get({ start, end }));
    } catch (thrown) {
      // The next read asks anew; those waiting fail on their own request with the same reason.
      this.#ranged = undefined;
      found(true);
      throw thrown;
    }
    if (response.status === 206) {
      found(true);
      return this.#readRange(start, end, response);
    }
    this.#stream = new ForwardStream(response);
    const read = this.#readStream(start, end);
    found(false);
    return read;
  }

  /** Collects a range; a connection that breaks is taken up again where it broke. */
  async #readRange(start: number, end: number, first?: Response): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(end - start);
    let filled = 0;
    let ready = first;
    return this.#retry(async () => {
      const from = start + filled;
      const response = ready ?? (await this.#get({ start: from, end }));
      ready = undefined;
      const range = contentRange(response);
      const stream = new ForwardStream(response);
      try {
        if (response.status !== 206) {
          // Some hosts answer a range that is the whole file with the file.
          await stream.skipTo(from);
        } else if (range && range.start !== from) {
          throw readFailed(this.#path, `byte ${from} was asked for and byte ${range.start} came`);
        }
        filled += await stream.fill(bytes.subarray(filled));
      } catch (thrown) {
        filled += stream.filled;
        throw thrown;
      } finally {
        stream.cancel();
      }
      if (filled < bytes.length) {
        throw fileTruncated(this.#path, end, range?.total ?? start + filled);
      }
      return bytes;
    });
  }

  /** Cuts a span from the response that streams by; one span after the other, from front to back. */
  async #readStream(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const read = this.#streamTurn.then(() =>
      this.#retry(async () => {
        let stream = this.#stream;
        if (!stream || stream.position > start) {
          stream?.cancel();
          stream = new ForwardStream(await this.#get());
          this.#stream = stream;
        }
        try {
          const bytes = new Uint8Array(end - start);
          await stream.skipTo(start);
          if ((await stream.fill(bytes)) < bytes.length) {
            throw fileTruncated(this.#path, end, stream.position);
          }
          return bytes;
        } catch (thrown) {
          stream.cancel();
          this.#stream = undefined;
          throw thrown;
        }
      }),
    );
    this.#streamTurn = read.catch(() => undefined);
    return read;
  }

  /** `undefined` where the host does not say. The range makes browsers ask for the file as it is, not compressed. */
  async #sizeByHead(): Promise<number | undefined> {
    const response = await this.#fetch({ method: "HEAD", headers: { Range: "bytes=0-" } });
    // Hosts differ in what they answer to HEAD, signed addresses refuse it: only GET says what is wrong.
    return response.ok && !isPage(response)
      ? (contentRange(response)?.total ?? contentLength(response))
      : undefined;
  }

  async #sizeByGet(): Promise<number> {
    const response = await this.#get({ start: 0, end: 1 });
    const known = response.status === 200 ? contentLength(response) : contentRange(response)?.total;
    if (known !== undefined) {
      void response.body?.cancel();
      return known;
    }
    // Neither header is there, or the host's CORS rules hide it: count the bytes, keeping none.
    const stream = new ForwardStream(response.status === 200 ? response : await this.#get());
    await stream.skipTo(Infinity);
    return stream.position;
  }

  /** A response with the file's bytes; one without any, 416, only for a file that is empty. */
  async #get(range?: { start: number; end: number }): Promise<Response> {
    const response = await this.#fetch(
      range ? { headers: { Range: `bytes=${range.start}-${range.end - 1}` } } : {},
    );
    if (response.status === 416) {
      const total = contentRange(response)?.total;
      if (total === 0 && range?.start === 0) {
        return response;
      }
      throw fileTruncated(this.#path, range?.end ?? 0, total ?? this.#size ?? 0);
    }
    this.#checkStatus(response);
    return response;
  }

  async #fetch(init: RequestInit): Promise<Response> {
    return fetch(this.#url, { ...init, signal: this.#signal });
  }

  #checkStatus(response: Response): void {
    const page = isPage(response);
    if (response.ok && !page) {
      return;
    }
    void response.body?.cancel();
    if (page || response.status === 404 || response.status === 410) {
      throw fileMissing(this.#path);
    }
    const error = readFailed(
      this.#path,
      `the host answered ${response.status} ${response.statusText}`.trimEnd(),
    );
    throw isWorthRetrying(response.status) ? new Passing(error) : error;
  }

  /** Tries again after what may pass: a connection that fails, a host that is busy. */
  async #retry<T>(attempt: () => Promise<T>): Promise<T> {
    for (let tried = 1; ; tried++) {
      try {
        return await attempt();
      } catch (thrown) {
        if (this.#signal.aborted) {
          throw cancelled();
        }
        if (thrown instanceof KinetoscopeError) {
          throw thrown;
        }
        if (tried === TRIES) {
          throw thrown instanceof Passing ? thrown.error : readFailed(this.#path, reasonOf(thrown));
        }
        await wait(FIRST_WAIT_MS * 2 ** (tried - 1), this.#signal);
      }
    }
  }
}

/** A failure that may pass, around the error it becomes when it does not. */
class Passing extends Error {
  constructor(readonly error: KinetoscopeError) {
    super(error.message);
  }
}

/** The bytes of one response, from front to back; holds at most the chunk the network handed over last. */
class ForwardStream {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #chunk: Uint8Array = new Uint8Array();
  /** Bytes gone by. */
  position = 0;
  /** Bytes put into the target of the last `fill`, also when it failed half-way. */
  filled = 0;

  constructor(response: Response) {
    this.#reader = response.body?.getReader();
  }

  /** Drops bytes up to `position`; stops at the end of the response. */
  async skipTo(position: number): Promise<void> {
    while (this.position < position && (await this.#more())) {
      this.#take(Math.min(this.#chunk.length, position - this.position));
    }
  }

  /** Fills `target`; gives how many bytes there were, fewer at the end of the response. */
  async fill(target: Uint8Array): Promise<number> {
    this.filled = 0;
    while (this.filled < target.length && (await this.#more())) {
      const piece = this.#take(Math.min(this.#chunk.length, target.length - this.filled));
      target.set(piece, this.filled);
      this.filled += piece.length;
    }
    return this.filled;
  }

  cancel(): void {
    // Fails where the connection has failed before, which is known by then.
    void this.#reader?.cancel().catch(() => undefined);
  }

  async #more(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const next = await this.#reader?.read();
      if (!next || next.done) {
        return false;
      }
      this.#chunk = next.value;
    }
    return true;
  }

  #take(length: number): Uint8Array {
    const piece = this.#chunk.subarray(0, length);
    this.#chunk = this.#chunk.subarray(length);
    this.position += length;
    return piece;
  }
}

/** URL of a file inside the folder; the folder's query goes along. A path that leaves the folder is no file of it. */
function fileUrl(folder: URL, path: string): string {
  const parts = path.split("/");
  if (parts.some((part) => part === "" || part === "." || part === "..")) {
    throw fileMissing(path);
  }
  const url = new URL(parts.map(encodeURIComponent).join("/"), folder);
  url.search = folder.search;
  return url.href;
}

function contentLength(response: Response): number | undefined {
  const text = response.headers.get("content-length");
  // A compressed answer's length is not the file's.
  return text === null || response.headers.has("content-encoding") ? undefined : Number(text);
}

function contentRange(
  response: Response,
): { start: number | undefined; total: number | undefined } | undefined {
  const match = /^bytes (?:(\d+)-\d+|\*)\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
  if (!match) {
    return undefined;
  }
  const number = (text: string | undefined): number | undefined =>
    /^\d+$/.test(text ?? "") ? Number(text) : undefined;
  return { start: number(match[1]), total: number(match[2]) };
}

/** Hosts of single-page apps answer every unknown path with their page; no file of a model is HTML. */
function isPage(response: Response): boolean {
  return response.ok && (response.headers.get("content-type")?.startsWith("text/html") ?? false);
}

function isWorthRetrying(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}

function reasonOf(thrown: unknown): string {
  // What browsers throw for every network failure says only "Failed to fetch".
  return thrown instanceof TypeError
    ? "the connection failed; check the address and the network, and that the host allows this page (CORS)"
    : String(thrown);
}

function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      signal.removeEventListener("abort", abort);
      resolve();
    }
    function abort(): void {
      clearTimeout(timer);
      reject(cancelled());
    }
    signal.addEventListener("abort", abort, { once: true });
  });
}
