/** What this browser can do. */

export interface Support {
  /** Whether clips can be made at all. */
  readonly supported: boolean;
  /** Whether they can be made on the GPU; else it is the CPU. */
  readonly webgpu: boolean;
  /** For people: what is missing. */
  readonly reason?: string;
}

/** A module of one function that uses a SIMD instruction: valid exactly where wasm SIMD is. */
const SIMD_MODULE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98,
  11,
]);

/** Looks, without loading anything, whether this browser can make clips, and on what. */
export async function isSupported(): Promise<Support> {
  if (
    typeof Worker === "undefined" ||
    typeof WebAssembly === "undefined" ||
    !WebAssembly.validate(SIMD_MODULE)
  ) {
    return {
      supported: false,
      webgpu: false,
      reason: "this browser is too old: it lacks WebAssembly with SIMD",
    };
  }
  if (!isSecureContext) {
    return {
      supported: true,
      webgpu: false,
      reason: "WebGPU needs a page served over https or from localhost",
    };
  }
  // Typed as always there, which older browsers and Firefox on some systems disprove.
  const gpu = navigator.gpu as GPU | undefined;
  if (!gpu) {
    return { supported: true, webgpu: false, reason: "this browser has no WebGPU" };
  }
  const adapter = await gpu.requestAdapter().catch(() => null);
  if (!adapter) {
    return { supported: true, webgpu: false, reason: "WebGPU found no graphics adapter that it can use" };
  }
  return { supported: true, webgpu: true };
}
