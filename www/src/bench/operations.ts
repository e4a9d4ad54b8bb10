/** Single operations for both sides, on the same numbers, and what comes out in f64. */
import type { Engine, Operation } from "../wasm-bench/kinetoscope.js";
import type { SingleOperation } from "./onnx.js";
import { quantisedMatrix } from "./quants.js";
import { Random } from "./random.js";

/** An operation with its inputs. */
export interface Prepared {
  readonly onnx: SingleOperation;
  /** Puts the inputs on our device. */
  open(operations: typeof Operation, engine: Engine): Operation;
  /** ONNX Runtime's output in our order. */
  reorder(theirs: Float32Array): Float32Array;
  /** An element of our output. */
  exact(index: number): number;
}

export interface OperationCase {
  readonly id: string;
  /** Multiplications and additions. */
  readonly flops: number;
  /** Whether a software adapter does it in some seconds. */
  readonly small: boolean;
  prepare(): Prepared;
}

const bytes = (values: Float32Array<ArrayBuffer>): Uint8Array => new Uint8Array(values.buffer);

/** `x [m, k]` times a matrix of floats. */
export function matMul(m: number, k: number, n: number): Prepared {
  const random = new Random(1);
  const [x, w] = [random.floats(m * k, 1), random.floats(k * n, 1 / Math.sqrt(k))];
  return {
    onnx: {
      op: "MatMul",
      inputs: { x: { dims: [m, k], data: x } },
      weights: { w: { dims: [k, n], data: w } },
      output: [m, n],
    },
    open: (operations, engine) => operations.linear(engine, { m, k, n }, x, "f32", bytes(w)),
    reorder: (theirs) => theirs,
    exact: product(x, k, n, (input, output) => w[input * n + output] ?? NaN),
  };
}

/** `x [m, k]` times a matrix in blocks of 32. */
export function matMulBits(bits: 4 | 8, m: number, k: number, n: number): Prepared {
  const random = new Random(2);
  const x = random.floats(m * k, 1);
  const matrix = quantisedMatrix(bits, n, k, 1 / Math.sqrt(k), random);
  return {
    onnx: {
      op: "MatMulNBits",
      domain: "com.microsoft",
      attributes: { K: k, N: n, bits, block_size: 32 },
      inputs: { x: { dims: [m, k], data: x } },
      weights: {
        w: { dims: [n, k / 32, (32 * bits) / 8], data: matrix.packed },
        scales: { dims: [n, k / 32], data: matrix.scales },
      },
      output: [m, n],
    },
    open: (operations, engine) =>
      operations.linear(engine, { m, k, n }, x, bits === 8 ? "q8_0" : "q4_0", matrix.ggml),
    reorder: (theirs) => theirs,
    exact: product(x, k, n, matrix.at),
  };
}

function product(x: Float32Array, k: number, n: number, weight: (input: number, output: number) => number) {
  return (index: number): number => {
    const [row, column] = [Math.floor(index / n), index % n];
    let sum = 0;
    for (let input = 0; input < k; input++) {
      sum += (x[row * k + input] ?? NaN) * weight(input, column);
    }
    return sum;
  };
}

/** Attention without a mask. Ours has the heads outside, ONNX Runtime's inside of a token. */
export function attention(heads: number, queries: number, keys: number, headDim: number): Prepared {
  const random = new Random(3);
  const width = heads * headDim;
  const [q, k, v] = [queries, keys, keys].map((tokens) => random.floats(tokens * width, 1)) as [
    Float32Array<ArrayBuffer>,
    Float32Array<ArrayBuffer>,
    Float32Array<ArrayBuffer>,
  ];
  const tokenMajor = (values: Float32Array, tokens: number): Float32Array<ArrayBuffer> => {
    const out = new Float32Array(values.length);
    for (let head = 0; head < heads; head++) {
      for (let token = 0; token < tokens; token++) {
        const start = (head * tokens + token) * headDim;
        out.set(values.subarray(start, start + headDim), token * width + head * headDim);
      }
    }
    return out;
  };
  return {
    onnx: {
      op: "MultiHeadAttention",
      domain: "com.microsoft",
      attributes: { num_heads: heads },
      inputs: {
        query: { dims: [1, queries, width], data: tokenMajor(q, queries) },
        key: { dims: [1, keys, width], data: tokenMajor(k, keys) },
        value: { dims: [1, keys, width], data: tokenMajor(v, keys) },
      },
      weights: {},
      output: [1, queries, width],
    },
    open: (operations, engine) => operations.attention(engine, { heads, queries, keys, headDim }, q, k, v),
    reorder: (theirs) => theirs,
    exact: (index) => {
      const [token, column] = [Math.floor(index / width), index % width];
      const head = Math.floor(column / headDim);
      const at = (values: Float32Array, tokens: number, row: number, i: number): number =>
        values[(head * tokens + row) * headDim + i] ?? NaN;
      let [sum, total] = [0, 0];
      for (let key = 0; key < keys; key++) {
        let score = 0;
        for (let i = 0; i < headDim; i++) {
          score += at(q, queries, token, i) * at(k, keys, key, i);
        }
        // Scores of such inputs are far from what exp cannot hold.
        const weight = Math.exp(score / Math.sqrt(headDim));
        total += weight;
        sum += weight * at(v, keys, key, column % headDim);
      }
      return sum / total;
    },
  };
}

/** One frame of a causal convolution. Ours has the channels innermost, ONNX Runtime's outermost. */
export function conv3d(
  frames: number,
  kernel: number,
  height: number,
  width: number,
  channelsIn: number,
  channelsOut: number,
): Prepared {
  const random = new Random(4);
  const [pixels, taps] = [height * width, frames * kernel * kernel];
  const x = random.floats(frames * pixels * channelsIn, 1);
  const w = random.floats(taps * channelsIn * channelsOut, 1 / Math.sqrt(taps * channelsIn));
  const pad = (kernel - 1) / 2;
  return {
    onnx: {
      op: "Conv",
      attributes: { kernel_shape: [frames, kernel, kernel], pads: [0, pad, pad, 0, pad, pad] },
      inputs: {
        x: {
          dims: [1, channelsIn, frames, height, width],
          data: transpose(x, frames * pixels, channelsIn),
        },
      },
      weights: {
        w: {
          dims: [channelsOut, channelsIn, frames, kernel, kernel],
          // [taps, in, out] to [out, in, taps].
          data: reversed(w, taps, channelsIn, channelsOut),
        },
      },
      output: [1, channelsOut, 1, height, width],
    },
    open: (operations, engine) =>
      operations.conv(engine, { frames, kernel, height, width, channelsIn, channelsOut }, x, w),
    reorder: (theirs) => transpose(theirs, channelsOut, pixels),
    exact: (index) => {
      const [pixel, out] = [Math.floor(index / channelsOut), index % channelsOut];
      const [row, column] = [Math.floor(pixel / width), pixel % width];
      let sum = 0;
      for (let tap = 0; tap < taps; tap++) {
        const y = row - pad + (Math.floor(tap / kernel) % kernel);
        const xAt = column - pad + (tap % kernel);
        if (y < 0 || y >= height || xAt < 0 || xAt >= width) {
          continue;
        }
        const frame = Math.floor(tap / (kernel * kernel));
        const from = ((frame * height + y) * width + xAt) * channelsIn;
        for (let channel = 0; channel < channelsIn; channel++) {
          sum += (x[from + channel] ?? NaN) * (w[(tap * channelsIn + channel) * channelsOut + out] ?? NaN);
        }
      }
      return sum;
    },
  };
}

function transpose(values: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      out[column * rows + row] = values[row * columns + column] ?? NaN;
    }
  }
  return out;
}

/** `[a, b, c]` to `[c, b, a]`. */
function reversed(values: Float32Array, a: number, b: number, c: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(values.length);
  for (let i = 0; i < a; i++) {
    for (let j = 0; j < b; j++) {
      for (let k = 0; k < c; k++) {
        out[(k * b + j) * a + i] = values[(i * b + j) * c + k] ?? NaN;
      }
    }
  }
  return out;
}

const linear = (bits: 4 | 8 | 32, small: boolean, m: number, k: number, n: number): OperationCase => ({
  id: `${bits === 32 ? "MatMul" : `MatMulNBits, ${bits} bits,`} ${m}x${k}x${n}`,
  flops: 2 * m * k * n,
  small,
  prepare: () => (bits === 32 ? matMul(m, k, n) : matMulBits(bits, m, k, n)),
});

const heads = (small: boolean, count: number, d: number, queries: number, keys: number): OperationCase => ({
  id: `MultiHeadAttention ${count}x${d}, ${queries} on ${keys} tokens`,
  flops: 4 * count * d * queries * keys,
  small,
  prepare: () => attention(count, queries, keys, d),
});

const conv = (small: boolean, frames: number, side: [number, number], [cin, cout]: [number, number]) => ({
  id: `Conv ${frames}x3x3, ${cin} to ${cout} channels, ${side[1]}x${side[0]}`,
  flops: 2 * side[0] * side[1] * frames * 9 * cin * cout,
  small,
  prepare: () => conv3d(frames, 3, side[0], side[1], cin, cout),
});

/** Widths of Wan 1.3B and of the embedded model; tokens of its default clip, of short ones at 416x240, and of longer. */
export const OPERATIONS: readonly OperationCase[] = [
  linear(32, true, 80, 192, 640),
  linear(32, true, 80, 1536, 1536),
  linear(32, true, 390, 1536, 1536),
  linear(32, true, 1560, 1536, 1536),
  linear(32, false, 1560, 1536, 8960),
  linear(32, false, 8190, 1536, 1536),
  linear(32, false, 8190, 1536, 8960),
  linear(32, false, 32760, 1536, 1536),
  linear(8, true, 80, 1536, 1536),
  linear(8, true, 390, 1536, 1536),
  linear(8, false, 8190, 1536, 1536),
  linear(4, true, 80, 1536, 1536),
  linear(4, true, 390, 1536, 1536),
  linear(4, false, 8190, 1536, 1536),
  heads(true, 4, 48, 80, 80),
  heads(true, 12, 128, 390, 390),
  heads(true, 12, 128, 390, 512),
  heads(false, 12, 128, 1560, 1560),
  heads(false, 12, 128, 8190, 8190),
  heads(false, 12, 128, 8190, 512),
  heads(false, 12, 128, 32760, 32760),
  conv(true, 3, [32, 32], [32, 32]),
  conv(true, 3, [32, 32], [96, 96]),
  conv(true, 3, [16, 16], [384, 384]),
  conv(false, 3, [60, 104], [384, 384]),
  conv(false, 3, [240, 416], [96, 96]),
  conv(false, 3, [480, 832], [96, 96]),
];
