/** ONNX Runtime Web's side: sessions whose inputs and outputs stay where they compute. */
import type * as Ort from "onnxruntime-common";
import type { Side } from "./compare.js";

/** Which TypeScript's types of WebGPU leave out. */
declare const GPUBufferUsage: Readonly<Record<"STORAGE" | "COPY_DST" | "COPY_SRC", number>>;

/** A build of the package, and the device it is to compute on: the CPU if there is none. */
export interface OnnxRuntime {
  readonly ort: typeof Ort;
  readonly device?: GPUDevice;
}

/** The CPU provider, of the build that has nothing else: the others compute on the CPU several times slower. */
export async function onnxRuntimeOnCpu(): Promise<OnnxRuntime> {
  const ort = await import("onnxruntime-web/wasm");
  // As Kinetoscope, which asks no page for the headers that threads need.
  ort.env.wasm.numThreads = 1;
  return { ort };
}

/** The WebGPU provider on a device of its own with all that the adapter has, but for features `without`. */
export async function onnxRuntimeOnGpu(without: readonly string[]): Promise<OnnxRuntime> {
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
  const requiredFeatures = [...adapter.features].filter((name) => !without.includes(name));
  const device = await adapter.requestDevice({
    requiredFeatures: requiredFeatures as GPUFeatureName[],
    requiredLimits,
  });
  return { ort, device };
}

/** A model of one output, with its inputs. */
export class OnnxSide implements Side {
  private constructor(
    private readonly session: Ort.InferenceSession,
    private readonly device: GPUDevice | undefined,
    private readonly feeds: Record<string, Ort.Tensor>,
  ) {}

  /** `inputs` are of the extents that the model says. */
  static async open(
    { ort, device }: OnnxRuntime,
    model: Uint8Array,
    inputs: Readonly<Record<string, Float32Array<ArrayBuffer>>>,
  ): Promise<OnnxSide> {
    const session = await ort.InferenceSession.create(model, {
      executionProviders: [device ? { name: "webgpu", device } : "wasm"],
      preferredOutputLocation: device ? "gpu-buffer" : "cpu",
      graphOptimizationLevel: "all",
    });
    const feeds: Record<string, Ort.Tensor> = {};
    for (const input of session.inputMetadata) {
      const data = inputs[input.name];
      const dims = input.isTensor ? input.shape.map(Number) : [];
      const count = dims.reduce((product, size) => product * size, 1);
      if (data?.length !== count) {
        throw new Error(`the model wants ${count} numbers as ${input.name}, not ${data?.length ?? "none"}`);
      }
      if (!device) {
        feeds[input.name] = new ort.Tensor("float32", data, dims);
        continue;
      }
      const gpuBuffer = device.createBuffer({
        size: Math.ceil(data.byteLength / 16) * 16,
        usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
      });
      device.queue.writeBuffer(gpuBuffer, 0, data);
      feeds[input.name] = ort.Tensor.fromGpuBuffer(gpuBuffer, { dataType: "float32", dims });
    }
    return new OnnxSide(session, device, feeds);
  }

  async ready(): Promise<void> {}

  async run(times: number): Promise<void> {
    for (let time = 0; time < times; time++) {
      (await this.once()).dispose();
    }
    await this.device?.queue.onSubmittedWorkDone();
  }

  async output(): Promise<Float32Array<ArrayBuffer>> {
    const data = await (await this.once()).getData(true);
    if (!(data instanceof Float32Array)) {
      throw new Error("ONNX Runtime gave something else than floats");
    }
    return new Float32Array(data);
  }

  private async once(): Promise<Ort.Tensor> {
    const [result, ...others] = Object.values(await this.session.run(this.feeds));
    if (!result || others.length > 0) {
      throw new Error("the model has another number of outputs than one");
    }
    return result as Ort.Tensor;
  }

  async close(): Promise<void> {
    await this.session.release();
    for (const tensor of Object.values(this.feeds)) {
      if (tensor.location === "gpu-buffer") {
        tensor.gpuBuffer.destroy();
      }
    }
  }
}
