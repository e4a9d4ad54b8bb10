import { afterEach, describe, expect, it, vi } from "vitest";
import { withSubgroups } from "./subgroups.js";

/** An adapter that gives what it was asked for. */
class FakeAdapter {
  constructor(readonly features: ReadonlySet<string>) {}

  async requestDevice(descriptor: { requiredFeatures?: Iterable<string> } = {}): Promise<string[]> {
    return [...(descriptor.requiredFeatures ?? [])];
  }
}

describe("a device opened with subgroups", () => {
  afterEach(() => vi.unstubAllGlobals());

  const ask = (features: string[], requiredFeatures: string[]) =>
    new FakeAdapter(new Set(features)).requestDevice({ requiredFeatures });

  it("has them where the adapter does, besides what was asked for", async () => {
    vi.stubGlobal("GPUAdapter", FakeAdapter);
    expect(await withSubgroups(() => ask(["subgroups", "shader-f16"], ["shader-f16"]))).toEqual([
      "shader-f16",
      "subgroups",
    ]);
    expect(await withSubgroups(() => ask([], []))).toEqual([]);
  });

  it("changes nothing for others, also after a failure", async () => {
    vi.stubGlobal("GPUAdapter", FakeAdapter);
    await expect(withSubgroups(() => Promise.reject(new Error("none")))).rejects.toThrow("none");
    expect(await ask(["subgroups"], [])).toEqual([]);
  });

  it("is opened without where there is no WebGPU", async () => {
    expect(await withSubgroups(async () => 1)).toBe(1);
  });
});
