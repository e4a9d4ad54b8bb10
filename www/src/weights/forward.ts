/** What is asked of the network at once: as much as browsers hold ready of a response, and little enough to stay in a cache. */
const PIECE_BYTES = 512 << 10;
/** Memory for pieces that no response uses. Pages of fresh memory cost more than what is copied into them. */
const idle: ArrayBuffer[] = [];

/** The bytes of one response, from front to back; holds at most the piece the network handed over last. */
export class ForwardStream {
  readonly #reader: PieceReader | undefined;
  readonly #stallMs: number;
  /** When what is waited for was asked for. */
  #askedAt: number | undefined;
  #watch: ReturnType<typeof setTimeout> | undefined;
  #piece: Uint8Array<ArrayBuffer> = new Uint8Array();
  /** Bytes gone by. */
  position = 0;

  /** Where nothing comes for `stallMs` although it is waited for, the response ends there. */
  constructor(response: Response, stallMs: number) {
    this.#reader = response.body ? new PieceReader(response.body) : undefined;
    this.#stallMs = stallMs;
  }

  /** Drops bytes up to `position`; stops at the end of the response. */
  async skipTo(position: number): Promise<void> {
    while (this.position < position && (await this.#more())) {
      this.#take(Math.min(this.#piece.length, position - this.position));
    }
  }

  /** The next bytes, at most `limit`, which are there until the next call; `undefined` at the end of the response. */
  async next(limit: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return (await this.#more()) ? this.#take(Math.min(this.#piece.length, limit)) : undefined;
  }

  cancel(): void {
    clearTimeout(this.#watch);
    this.#piece = new Uint8Array();
    this.#reader?.cancel();
  }

  async #more(): Promise<boolean> {
    while (this.#piece.length === 0) {
      if (!this.#reader) {
        return false;
      }
      this.#askedAt = performance.now();
      this.#watch ??= setTimeout(this.#look, this.#stallMs);
      const piece = await this.#reader.next().finally(() => (this.#askedAt = undefined));
      if (!piece) {
        clearTimeout(this.#watch);
        return false;
      }
      this.#piece = piece;
    }
    return true;
  }

  /** Gives up what stalls, or looks again when it could. One timer for all pieces, of which there are thousands. */
  readonly #look = (): void => {
    const waited = this.#askedAt === undefined ? 0 : performance.now() - this.#askedAt;
    if (waited >= this.#stallMs) {
      this.cancel();
    } else {
      this.#watch = setTimeout(this.#look, this.#stallMs - waited);
    }
  };

  #take(length: number): Uint8Array<ArrayBuffer> {
    const piece = this.#piece.subarray(0, length);
    this.#piece = this.#piece.subarray(length);
    this.position += length;
    return piece;
  }
}

/** Reads a response piece by piece, all into the same memory where the browser can. */
class PieceReader {
  readonly #into: ReadableStreamBYOBReader | undefined;
  readonly #each: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | undefined;
  /** Gone while a piece is read into it, and not seen again where that fails. */
  #buffer: ArrayBuffer | undefined;

  constructor(body: ReadableStream<Uint8Array<ArrayBuffer>>) {
    try {
      this.#into = body.getReader({ mode: "byob" });
      this.#buffer = idle.pop() ?? new ArrayBuffer(PIECE_BYTES);
    } catch {
      // Not of bytes, as in Safari, but of pieces that the browser chooses.
      this.#each = body.getReader();
    }
  }

  /** `undefined` at the end. */
  async next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (!this.#into) {
      return (await this.#each?.read())?.value;
    }
    const buffer = this.#buffer;
    if (!buffer) {
      return undefined;
    }
    this.#buffer = undefined;
    const { done, value } = await this.#into.read(new Uint8Array(buffer));
    this.#buffer = value?.buffer;
    if (done) {
      this.#giveBack();
      return undefined;
    }
    return value;
  }

  cancel(): void {
    this.#giveBack();
    // Fails where the connection has failed before, which is known by then.
    void (this.#into ?? this.#each)?.cancel().catch(() => undefined);
  }

  #giveBack(): void {
    if (this.#buffer) {
      idle.push(this.#buffer);
      this.#buffer = undefined;
    }
  }
}
