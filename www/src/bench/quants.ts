/** Quantised matrices for both sides: ggml's blocks of 32, and what ONNX Runtime's MatMulNBits reads; the same numbers. */
import type { Random } from "./random.js";

const BLOCK = 32;

export interface QuantisedMatrix {
  /** Blocks of rows of `k`, as in a GGUF file. */
  readonly ggml: Uint8Array<ArrayBuffer>;
  /** `[n, k / 32, bytes]`, unsigned around 2^(bits - 1), which is MatMulNBits' zero point unless it is given one. */
  readonly packed: Uint8Array<ArrayBuffer>;
  /** `[n, k / 32]`. */
  readonly scales: Float32Array<ArrayBuffer>;
  /** The weight from input `k` to output `n`. */
  at(k: number, n: number): number;
}

/** A random matrix of `n` outputs and `k` inputs, whose weights deviate by about `deviation`. */
export function quantisedMatrix(
  bits: 4 | 8,
  n: number,
  k: number,
  deviation: number,
  random: Random,
): QuantisedMatrix {
  const [zero, bytes] = [2 ** (bits - 1), (BLOCK * bits) / 8];
  const blocks = (n * k) / BLOCK;
  const ggml = new Uint8Array(blocks * (2 + bytes));
  const packed = new Uint8Array(blocks * bytes);
  const scales = new Float32Array(blocks);
  const quants = new Int8Array(n * k);
  const exponent = Math.floor(Math.log2((deviation * Math.sqrt(12)) / 2 ** bits));
  for (let block = 0; block < blocks; block++) {
    // 1 to 1.25 times a power of two, exact as f16.
    const mantissa = random.bits() >>> 24;
    scales[block] = (1 + mantissa / 1024) * 2 ** exponent;
    const scale = ((exponent + 15) << 10) | mantissa;
    const start = block * (2 + bytes);
    ggml.set([scale & 255, scale >> 8], start);
    const values = random.bytes(BLOCK).map((byte) => byte >> (8 - bits));
    quants.set(
      Array.from(values, (value) => value - zero),
      block * BLOCK,
    );
    const at = (index: number): number => values[index] ?? 0;
    for (let byte = 0; byte < bytes; byte++) {
      if (bits === 8) {
        ggml[start + 2 + byte] = at(byte) - zero;
        packed[block * bytes + byte] = at(byte);
      } else {
        ggml[start + 2 + byte] = at(byte) | (at(byte + 16) << 4);
        packed[block * bytes + byte] = at(2 * byte) | (at(2 * byte + 1) << 4);
      }
    }
  }
  return {
    ggml,
    packed,
    scales,
    at: (input, output) => {
      const index = output * k + input;
      return (quants[index] ?? NaN) * (scales[Math.floor(index / BLOCK)] ?? NaN);
    },
  };
}
