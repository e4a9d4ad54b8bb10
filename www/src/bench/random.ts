/** Random numbers that are the same in every run: the mulberry32 generator. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** From 0 up to, but not, 2^32. */
  bits(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** Evenly about 0, of this deviation. */
  floats(count: number, deviation: number): Float32Array<ArrayBuffer> {
    const width = deviation * Math.sqrt(12);
    return Float32Array.from({ length: count }, () => (this.bits() / 2 ** 32 - 0.5) * width);
  }

  bytes(count: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length: count }, () => this.bits() >>> 24);
  }
}
