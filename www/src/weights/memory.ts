/**
 * Memory that chunks and spans are brought into, used again once nobody looks at them: pages of fresh memory cost the
 * processor more than all the rest that happens to the bytes in them.
 */

/** Less than this is not worth it, and not worth a whole chunk's memory either. */
const SMALLEST_BYTES = 1 << 20;
/** As much as is kept for the next one. */
const IDLE_BYTES = 32 << 20;

/**
 * Counts who holds what it gave out. Whoever gets such bytes from a function holds them, and drops them when done; what is
 * never dropped is left to the garbage collector.
 */
export class ChunkMemory {
  readonly #holders = new WeakMap<ArrayBuffer, number>();
  #idle: ArrayBuffer[] = [];

  /** Bytes of any content, held once. */
  take(bytes: number): Uint8Array<ArrayBuffer> {
    if (bytes < SMALLEST_BYTES) {
      return new Uint8Array(bytes);
    }
    const found = this.#idle.findIndex(({ byteLength }) => byteLength >= bytes);
    const buffer = found < 0 ? new ArrayBuffer(bytes) : this.#idle.splice(found, 1)[0];
    const taken = new Uint8Array(buffer ?? new ArrayBuffer(bytes), 0, bytes);
    this.#holders.set(taken.buffer, 1);
    return taken;
  }

  /** Another holder of bytes, or of a part of them. */
  hold({ buffer }: Uint8Array<ArrayBuffer>): void {
    const holders = this.#holders.get(buffer);
    if (holders !== undefined) {
      this.#holders.set(buffer, holders + 1);
    }
  }

  /** One holder less. Bytes that were not taken from here are nobody's business. */
  drop({ buffer }: Uint8Array<ArrayBuffer>): void {
    const holders = this.#holders.get(buffer);
    if (holders === undefined) {
      return;
    }
    if (holders > 1) {
      this.#holders.set(buffer, holders - 1);
      return;
    }
    this.#holders.delete(buffer);
    const idle = this.#idle.reduce((sum, { byteLength }) => sum + byteLength, buffer.byteLength);
    if (idle <= IDLE_BYTES) {
      this.#idle.push(buffer);
    }
  }

  /** Lets go of what waits for the next one. */
  release(): void {
    this.#idle = [];
  }
}
