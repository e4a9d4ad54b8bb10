/** The bytes of one response, from front to back; holds at most the piece the network handed over last. */
export class ForwardStream {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | undefined;
  readonly #stallMs: number;
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
    // Fails where the connection has failed before, which is known by then.
    void this.#reader?.cancel().catch(() => undefined);
  }

  async #more(): Promise<boolean> {
    while (this.#piece.length === 0) {
      if (!this.#reader) {
        return false;
      }
      const stalled = setTimeout(() => this.cancel(), this.#stallMs);
      const next = await this.#reader.read().finally(() => clearTimeout(stalled));
      if (next.done) {
        return false;
      }
      this.#piece = next.value;
    }
    return true;
  }

  #take(length: number): Uint8Array<ArrayBuffer> {
    const piece = this.#piece.subarray(0, length);
    this.#piece = this.#piece.subarray(length);
    this.position += length;
    return piece;
  }
}
