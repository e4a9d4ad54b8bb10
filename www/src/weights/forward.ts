/** The bytes of one response, from front to back; holds at most the piece the network handed over last. */
export class ForwardStream {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | undefined;
  readonly #stallMs: number;
  /** When what is waited for was asked for. */
  #askedAt: number | undefined;
  #watch: ReturnType<typeof setTimeout> | undefined;
  #piece: Uint8Array<ArrayBuffer> = new Uint8Array();
  /** Bytes gone by. */
  position = 0;

  /** Where nothing comes for `stallMs` although it is waited for, the response ends there. */
  constructor(response: Response, stallMs: number) {
    this.#reader = response.body?.getReader();
    this.#stallMs = stallMs;
  }

  /** Drops bytes up to `position`; stops at the end of the response. */
  async skipTo(position: number): Promise<void> {
    while (this.position < position && (await this.#more())) {
      this.#take(Math.min(this.#piece.length, position - this.position));
    }
  }

  /** The next bytes, at most `limit`; `undefined` at the end of the response. */
  async next(limit: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return (await this.#more()) ? this.#take(Math.min(this.#piece.length, limit)) : undefined;
  }

  cancel(): void {
    clearTimeout(this.#watch);
    // Fails where the connection has failed before, which is known by then.
    void this.#reader?.cancel().catch(() => undefined);
  }

  async #more(): Promise<boolean> {
    while (this.#piece.length === 0) {
      if (!this.#reader) {
        return false;
      }
      this.#askedAt = performance.now();
      this.#watch ??= setTimeout(this.#look, this.#stallMs);
      const next = await this.#reader.read().finally(() => (this.#askedAt = undefined));
      if (next.done) {
        clearTimeout(this.#watch);
        return false;
      }
      this.#piece = next.value;
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
