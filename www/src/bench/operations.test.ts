/** The ONNX models that are made while running: ONNX Runtime's CPU provider computes what plain JavaScript does in f64. */
import * as ort from "onnxruntime-web";
import { expect, test } from "vitest";
import { difference } from "./compare.js";
import { OUTPUT, onnxModel } from "./onnx.js";
import { attention, conv3d, matMul, matMulBits } from "./operations.js";

// Odd sizes; blocks are of 32.
const OPERATIONS = {
  MatMul: matMul(3, 10, 7),
  "MatMulNBits, 8 bits": matMulBits(8, 3, 64, 5),
  "MatMulNBits, 4 bits": matMulBits(4, 3, 96, 5),
  MultiHeadAttention: attention(3, 5, 7, 4),
  "Conv of three frames": conv3d(3, 3, 4, 5, 2, 3),
  "Conv of one frame": conv3d(1, 1, 3, 2, 5, 4),
};

for (const [name, { onnx, reorder, exact }] of Object.entries(OPERATIONS)) {
  test(`${name} as an ONNX model`, async () => {
    const session = await ort.InferenceSession.create(onnxModel(onnx), { executionProviders: ["wasm"] });
    const feeds = Object.entries(onnx.inputs).map(([input, { dims, data }]) => [
      input,
      new ort.Tensor("float32", data as Float32Array, dims),
    ]);
    const found = (await session.run(Object.fromEntries(feeds) as ort.InferenceSession.FeedsType))[OUTPUT];
    await session.release();
    expect(found?.dims).toEqual(onnx.output);
    const values = reorder(found?.data as Float32Array);
    // A hundred products in f32, whose roundings are 6e-8 each.
    expect(
      difference(
        values,
        Array.from(values, (_, index) => exact(index)),
      ),
    ).toBeLessThan(1e-5);
  });
}
