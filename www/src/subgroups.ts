/** Subgroups for wgpu, whose web backend (30) knows no such feature and so never asks for it. */

/** The part of WebGPU that is used; workers have it where the browser does. */
interface Adapter {
  readonly features: ReadonlySet<string>;
  requestDevice(descriptor?: { requiredFeatures?: Iterable<string> }): Promise<unknown>;
}

/** Has what `open` asks WebGPU for come with subgroups, where the adapter has them. */
export async function withSubgroups<T>(open: () => Promise<T>): Promise<T> {
  const { GPUAdapter } = globalThis as { GPUAdapter?: { prototype: Adapter } };
  if (!GPUAdapter) {
    return open();
  }
  const { prototype } = GPUAdapter;
  const { requestDevice } = prototype;
  prototype.requestDevice = function (descriptor = {}) {
    const wanted = [...(descriptor.requiredFeatures ?? [])];
    const requiredFeatures = this.features.has("subgroups") ? [...wanted, "subgroups"] : wanted;
    return requestDevice.call(this, { ...descriptor, requiredFeatures });
  };
  try {
    return await open();
  } finally {
    prototype.requestDevice = requestDevice;
  }
}
