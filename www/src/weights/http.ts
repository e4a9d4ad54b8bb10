/**
 * A file on a web host, read by byte ranges. Where the host ignores `Range` and answers with the whole file, the ranges
 * are cut from that one response as it streams by, so no file is ever whole in memory either way.
 */
import { KinetoscopeError, cancelled } from "../errors.js";
import {
  accessDenied,
  connectionLost,
  fileChanged,
  fileMissing,
  networkFailed,
  readFailed,
} from "./failures.js";
import { ForwardStream } from "./forward.js";
import { Passing, type RetryPolicy, retryAfterMs, retrying } from "./retry.js";

/** How requests are made. */
export interface HttpOptions {
  readonly signal: AbortSignal;
  readonly retry: RetryPolicy;
  /** `no-store` where the bytes are kept elsewhere: the browser's own cache would only double them. */
  readonly cache: RequestCache;
}

/** What a host says of a file without sending it. */
export interface FileState {
  readonly size: number;
  /** Changes when the file does: its ETag, or the date of its last change. Hosts may say neither. */
  readonly validator: string | undefined;
}

/** A range of bytes; `end` is exclusive. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

export class HttpFile {
  readonly #path: string;
  readonly #url: URL;
  readonly #options: HttpOptions;
  #expected: FileState | undefined;
  #finding: Promise<boolean> | undefined;
  #ranged: boolean | undefined;
  #foundRanged = (): void => undefined;
  /** Settles once the host is found to do ranges. */
  readonly foundRanged = new Promise<void>((resolve) => (this.#foundRanged = resolve));
  #stream: ForwardStream | undefined;
  #streamTurn: Promise<unknown> = Promise.resolve();

  /** `path` names the file in errors; `expected` is what is known of it, which responses then have to agree with. */
  constructor(path: string, url: URL, options: HttpOptions, expected?: FileState) {
    this.#path = path;
    this.#url = url;
    this.#options = options;
    this.#expected = expected;
  }

  /** Asks the host; later responses that say something else fail with `file_changed`. */
  async state(): Promise<FileState> {
    this.#expected ??= await this.#retrying(
      async () => (await this.#stateByHead()) ?? (await this.#stateByGet()),
    );
    return this.#expected;
  }

  /** Whether the host does ranges; not known before it was asked for the first. */
  get ranged(): boolean | undefined {
    return this.#ranged;
  }

  /** Where the one response stands that everything has to be cut from, if the host is one without ranges. */
  get streamsAt(): number | undefined {
    return this.#ranged === false ? (this.#stream?.position ?? 0) : undefined;
  }

  /**
   * Hands the bytes of a range to `take` in order, as they arrive; a connection that breaks is taken up where it broke.
   * `reload` passes by whatever caches lie between.
   */
  async fetch(range: Range, take: (piece: Uint8Array<ArrayBuffer>) => void, reload = false): Promise<void> {
    if (range.end <= range.start) {
      return;
    }
    const cache = reload ? "reload" : this.#options.cache;
    if (this.#finding === undefined) {
      return this.#firstFetch(range, take, cache);
    }
    return (await this.#finding)
      ? this.#fetchRange(range, take, cache)
      : this.#fetchStream(range, take, cache);
  }

  /** Lets go of a response kept for the next range; fetching goes on to work. */
  release(): void {
    this.#stream?.cancel();
    this.#stream = undefined;
  }

  /** Asks for the range and takes what comes; fetches made meanwhile wait for what this one finds out. */
  async #firstFetch(
    range: Range,
    take: (piece: Uint8Array<ArrayBuffer>) => void,
    cache: RequestCache,
  ): Promise<void> {
    let found = (_ranged: boolean): void => undefined;
    this.#finding = new Promise((resolve) => (found = resolve));
    let response: Response;
    try {
      response = await this.#retrying(() => this.#get(range, cache));
    } catch (thrown) {
      // The next one asks anew; those waiting fail on their own request with the same reason.
      this.#finding = undefined;
      found(true);
      throw thrown;
    }
    this.#ranged = response.status === 206;
    if (this.#ranged) {
      this.#foundRanged();
      found(true);
      return this.#fetchRange(range, take, cache, response);
    }
    this.#stream = this.#forward(response);
    const fetched = this.#fetchStream(range, take, cache);
    found(false);
    return fetched;
  }

  async #fetchRange(
    { start, end }: Range,
    take: (piece: Uint8Array<ArrayBuffer>) => void,
    cache: RequestCache,
    first?: Response,
  ): Promise<void> {
    let [at, ready] = [start, first];
    await this.#retrying(
      async () => {
        const response = ready ?? (await this.#get({ start: at, end }, cache));
        ready = undefined;
        const stream = this.#forward(response);
        try {
          const from = contentRange(response)?.start;
          if (response.status === 206 && from !== undefined && from !== at) {
            throw readFailed(this.#path, `byte ${at} was asked for and byte ${from} came`);
          }
          await this.#pump(stream, response.status === 206 ? at : 0, { start: at, end }, (piece) => {
            at += piece.length;
            take(piece);
          });
        } finally {
          stream.cancel();
        }
      },
      () => at,
    );
  }

  /** Cuts a range from the response that streams by; one range after the other, from front to back. */
  async #fetchStream(
    { start, end }: Range,
    take: (piece: Uint8Array<ArrayBuffer>) => void,
    cache: RequestCache,
  ): Promise<void> {
    let at = start;
    const fetched = this.#streamTurn.then(() =>
      this.#retrying(
        async () => {
          let stream = this.#stream;
          if (!stream || stream.position > at) {
            stream?.cancel();
            stream = this.#forward(await this.#get(undefined, cache));
            this.#stream = stream;
          }
          try {
            await this.#pump(stream, 0, { start: at, end }, (piece) => {
              at += piece.length;
              take(piece);
            });
          } catch (thrown) {
            this.release();
            throw thrown;
          }
        },
        () => at,
      ),
    );
    this.#streamTurn = fetched.catch(() => undefined);
    return fetched;
  }

  /** Takes a range out of a response whose first byte is byte `first` of the file. */
  async #pump(
    stream: ForwardStream,
    first: number,
    { start, end }: Range,
    take: (piece: Uint8Array<ArrayBuffer>) => void,
  ): Promise<void> {
    let reason: unknown;
    try {
      await stream.skipTo(start - first);
      while (stream.position < end - first) {
        const piece = await stream.next(end - first - stream.position);
        if (!piece) {
          break;
        }
        take(piece);
      }
    } catch (thrown) {
      reason = thrown;
    }
    if (reason instanceof KinetoscopeError) {
      throw reason;
    }
    if (reason !== undefined || stream.position < end - first) {
      throw new Passing(connectionLost(this.#path, first + stream.position, end));
    }
  }

  /** `undefined` where the host does not say. The range makes browsers ask for the file as it is, not compressed. */
  async #stateByHead(): Promise<FileState | undefined> {
    const response = await this.#request({
      method: "HEAD",
      headers: { Range: "bytes=0-" },
      cache: this.#options.cache,
    });
    if (!response.ok || isPage(response)) {
      // Hosts differ in what they answer to HEAD, signed addresses refuse it: only GET says what is wrong.
      return undefined;
    }
    const size = contentRange(response)?.total ?? contentLength(response);
    return size === undefined ? undefined : { size, validator: validatorOf(response) };
  }

  async #stateByGet(): Promise<FileState> {
    const response = await this.#get({ start: 0, end: 1 }, this.#options.cache);
    const validator = validatorOf(response);
    const known = response.status === 200 ? contentLength(response) : contentRange(response)?.total;
    if (known !== undefined) {
      void response.body?.cancel();
      return { size: known, validator };
    }
    // Neither header is there, or the host's CORS rules hide it: count the bytes, keeping none.
    const stream = this.#forward(
      response.status === 200 ? response : await this.#get(undefined, this.#options.cache),
    );
    try {
      await stream.skipTo(Infinity);
    } catch {
      throw new Passing(connectionLost(this.#path, stream.position, stream.position + 1));
    }
    return { size: stream.position, validator };
  }

  #forward(response: Response): ForwardStream {
    return new ForwardStream(response, this.#options.retry.stallMs);
  }

  /** A response with the file's bytes; one without any, 416, only for a file that is empty. */
  async #get(range: Range | undefined, cache: RequestCache): Promise<Response> {
    const response = await this.#request({
      cache,
      ...(range ? { headers: { Range: `bytes=${range.start}-${range.end - 1}` } } : {}),
    });
    if (response.status === 416) {
      const total = contentRange(response)?.total;
      if (total === 0 && range?.start === 0) {
        return response;
      }
      throw fileChanged(this.#path, `it has ${total ?? "fewer"} bytes, ${range?.end ?? 0} were to be read`);
    }
    this.#checkStatus(response);
    this.#checkState(response);
    return response;
  }

  async #request(init: RequestInit): Promise<Response> {
    const { signal, retry } = this.#options;
    const stalled = new AbortController();
    const timer = setTimeout(() => stalled.abort(), retry.stallMs);
    try {
      return await fetch(this.#url, { ...init, signal: AbortSignal.any([signal, stalled.signal]) });
    } catch {
      throw signal.aborted ? cancelled() : new Passing(networkFailed(this.#path, this.#url.host));
    } finally {
      clearTimeout(timer);
    }
  }

  #checkStatus(response: Response): void {
    const page = isPage(response);
    if (response.ok && !page) {
      return;
    }
    void response.body?.cancel();
    const { status } = response;
    if (page || status === 404 || status === 410) {
      throw fileMissing(this.#path);
    }
    if (status === 401 || status === 403) {
      throw accessDenied(this.#path, status);
    }
    const error = readFailed(this.#path, `the host answered ${status} ${response.statusText}`.trimEnd());
    throw isWorthRetrying(status)
      ? new Passing(error, retryAfterMs(response.headers.get("retry-after")))
      : error;
  }

  /** A file must not change while it is read. */
  #checkState(response: Response): void {
    if (!this.#expected) {
      return;
    }
    const { size, validator } = this.#expected;
    const found = response.status === 200 ? contentLength(response) : contentRange(response)?.total;
    if (found !== undefined && found !== size) {
      void response.body?.cancel();
      throw fileChanged(this.#path, `it has ${found} bytes and should have ${size}`);
    }
    const foundValidator = validatorOf(response);
    if (differ(validator, foundValidator)) {
      void response.body?.cancel();
      throw fileChanged(this.#path, `now ${foundValidator}, before ${validator}`);
    }
  }

  #retrying<T>(attempt: () => Promise<T>, progress?: () => number): Promise<T> {
    return retrying(this.#options.retry, this.#options.signal, attempt, progress);
  }
}

/** URL of a file inside the folder; the folder's query goes along. A path that leaves the folder is no file of it. */
export function fileUrl(folder: URL, path: string): URL {
  const parts = path.split("/");
  if (parts.some((part) => part === "" || part === "." || part === "..")) {
    throw fileMissing(path);
  }
  const url = new URL(`./${parts.map(encodeURIComponent).join("/")}`, folder);
  url.search = folder.search;
  return url;
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

/** An ETag counts the same whether it is weak: only the file's change is of interest, not that of its encoding. */
function validatorOf(response: Response): string | undefined {
  const etag = response.headers.get("etag");
  const changed = response.headers.get("last-modified");
  return etag !== null ? `etag ${etag.replace(/^W\//, "")}` : changed !== null ? `of ${changed}` : undefined;
}

/** Whether two validators are of one kind and differ; hosts may say more with one method than with another. */
function differ(a: string | undefined, b: string | undefined): boolean {
  return a !== undefined && b !== undefined && a.split(" ")[0] === b.split(" ")[0] && a !== b;
}

/** Hosts of single-page apps answer every unknown path with their page; no file of a model is HTML. */
function isPage(response: Response): boolean {
  return response.ok && (response.headers.get("content-type")?.startsWith("text/html") ?? false);
}

function isWorthRetrying(status: number): boolean {
  return status === 408 || status === 429 || status >= 500;
}
