/** ONNX Runtime Web's side: sessions whose inputs and outputs stay where they compute. */
import type * as Ort from "onnxruntime-common";
import type { Side } from "./compare.js";

/** Which TypeScript's types of WebGPU leave out. */
declare const GPUBufferUsage: Readonly<Record<"STORAGE" | "COPY_DST" | "COPY_SRC" | "MAP_READ", number>>;
declare const GPUMapMode: Readonly<Record<"READ", number>>;

/** A build of the package, and the device it is to compute on: the CPU if there is none. */
export interface OnnxRuntime {
  readonly ort: typeof Ort;
  readonly device?: GPUDevice;
  /** Whether it may use all that the adapter has. */
  readonly subgroups: boolean;
}

/** The CPU provider, of the build that has nothing else: the others compute on the CPU several times slower. */
export async function onnxRuntimeOnCpu(): Promise<OnnxRuntime> {
  const ort = await import("onnxruntime-web/wasm");
  // As Kinetoscope, which asks no page for the headers that threads need.
  ort.env.wasm.numThreads = 1;
  return { ort, subgroups: true };
}

/** What ONNX Runtime's attention uses where an adapter has it. On Chromium's software adapter, with its subgroups of 4, its results are wrong then. */
const SUBGROUPS = ["subgroups", "subgroup-size-control"];

/** The WebGPU provider on a device of its own, with all that the adapter has, or all but subgroups. */
export async function onnxRuntimeOnGpu(subgroups: boolean): Promise<OnnxRuntime> {
  const ort = await import("onnxruntime-web/webgpu");
  ort.env.wasm.numThreads = 1;
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) {
    throw new Error("WebGPU found no adapter");
  }
  const requiredLimits: Record<string, number> = {};
  for (const name in adapter.limits) {
    const limit = adapter.limits[name as keyof GPUSupportedLimits];
    if (typeof limit === "number") {
      requiredLimits[name] = limit;
    }
  }
  const requiredFeatures = [...adapter.features].filter((name) => subgroups || !SUBGROUPS.includes(name));
  const device = await adapter.requestDevice({
    requiredFeatures: requiredFeatures as GPUFeatureName[],
    requiredLimits,
  });
  return { ort, device, subgroups };
}

/**
 * A model of one output, with its inputs; on a GPU in buffers that stay. Its graph is not captured (`enableGraphCapture`): version 1.30 lets go
 * of the caller's buffers after the first run, fails in some later one, and was no faster on a software adapter.
 */
export class OnnxSide implements Side {
  private constructor(
    private readonly session: Ort.InferenceSession,
    private readonly device: GPUDevice | undefined,
    private readonly feeds: Record<string, Ort.Tensor>,
    private readonly fetches: Record<string, Ort.Tensor | null>,
  ) {}

  /** `inputs` are of the extents that the model says. */
  static async open(
    { ort, device }: OnnxRuntime,
    model: Uint8Array,
    inputs: Readonly<Record<string, Float32Array<ArrayBuffer>>>,
  ): Promise<OnnxSide> {
    const session = await ort.InferenceSession.create(model, {
      executionProviders: [device ? { name: "webgpu", device } : "wasm"],
      graphOptimizationLevel: "all",
    });
    const onGpu = (device: GPUDevice, dims: number[], data?: Float32Array<ArrayBuffer>): Ort.Tensor => {
      const gpuBuffer = device.createBuffer({
        size: Math.ceil(count(dims) / 4) * 16,
        usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
      });
      if (data) {
        device.queue.writeBuffer(gpuBuffer, 0, data);
      }
      return ort.Tensor.fromGpuBuffer(gpuBuffer, { dataType: "float32", dims });
    };
    const feeds = session.inputMetadata.map((input): [string, Ort.Tensor] => {
      const [data, dims] = [inputs[input.name], extents(input)];
      if (data?.length !== count(dims)) {
        const found = data?.length ?? "none";
        throw new Error(`the model wants ${count(dims)} numbers as ${input.name}, not ${found}`);
      }
      return [input.name, device ? onGpu(device, dims, data) : new ort.Tensor("float32", data, dims)];
    });
    const fetches = session.outputMetadata.map((output): [string, Ort.Tensor | null] => [
      output.name,
      device ? onGpu(device, extents(output)) : null,
    ]);
    return new OnnxSide(session, device, Object.fromEntries(feeds), Object.fromEntries(fetches));
  }

  async ready(): Promise<void> {}

  async run(times: number): Promise<void> {
    for (let time = 0; time < times; time++) {
      await this.session.run(this.feeds, this.fetches);
    }
    await this.device?.queue.onSubmittedWorkDone();
  }

  async output(): Promise<Float32Array<ArrayBuffer>> {
    const [result, ...others] = Object.values(await this.session.run(this.feeds, this.fetches));
    if (!result || others.length > 0) {
      throw new Error("the model has another number of outputs than one");
    }
    const data = this.device ? await read(this.device, result as Ort.Tensor) : result.data;
    if (!(data instanceof Float32Array)) {
      throw new Error("ONNX Runtime gave something else than floats");
    }
    return new Float32Array(data);
  }

  async close(): Promise<void> {
    await this.session.release();
    for (const tensor of [...Object.values(this.feeds), ...Object.values(this.fetches)]) {
      if (tensor?.location === "gpu-buffer") {
        tensor.gpuBuffer.destroy();
      }
    }
  }
}

function extents(value: Ort.InferenceSession.ValueMetadata): number[] {
  return value.isTensor ? value.shape.map(Number) : [];
}

function count(dims: readonly number[]): number {
  return dims.reduce((product, size) => product * size, 1);
}

/** The floats of a tensor whose buffer is the caller's own, which ONNX Runtime does not read back. */
async function read(device: GPUDevice, tensor: Ort.Tensor): Promise<Float32Array> {
  const size = tensor.size * Float32Array.BYTES_PER_ELEMENT;
  const copy = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(tensor.gpuBuffer as GPUBuffer, 0, copy, 0, size);
  device.queue.submit([encoder.finish()]);
  await copy.mapAsync(GPUMapMode.READ);
  const values = new Float32Array(copy.getMappedRange().slice(0));
  copy.destroy();
  return values;
}
