/** Components of different places, plans before a load, and little memory, in Chromium. */
import type { Advice, ClipOptions, ModelSource, PlanOptions } from "../../www/src/index.js";
import { expect, test } from "./fixtures.js";
import {
  RELATIVE_TOLERANCE,
  clipOptions,
  floats,
  goldens,
  readCase,
  readSafetensors,
  relativeError,
  tensor,
} from "./goldens.js";

type Library = typeof import("../../www/src/index.js");

const call = readCase("wan21");
const folder = `golden/wan21/${call.pipeline}/`;
const files = "golden/wan21/files/";

/** The latents after the last step, as diffusers has them. */
function expectedLatents(): Float32Array {
  const steps = tensor(readSafetensors(new URL("wan21/golden.safetensors", goldens)), "steps");
  return steps.slice(-(steps.length / call.steps));
}

test("products are in less than f32 only where that is asked for and pays", async ({ page, server }) => {
  server.handlers.clear();
  await page.goto(`${server.url}blank/`);
  const found = await page.evaluate(
    async ({ source }) => {
      const path = "/lib/index.js";
      const { load } = (await import(path)) as Library;
      const outcome = async (precision: unknown) => {
        try {
          const model = await load(source, { device: "webgpu", precision: precision as "i8" });
          model.dispose();
          return model.device.precision;
        } catch (thrown) {
          return (thrown as { details: unknown }).details;
        }
      };
      return [await outcome(undefined), await outcome("i8"), await outcome("f64")];
    },
    { source: new URL(folder, server.url).href },
  );
  // A software adapter has nothing to gain by it.
  expect(found).toEqual([
    "f32",
    "f32",
    {
      option: "precision",
      expected: '"f32", "f16" or "i8"',
      found: expect.stringContaining("f64") as unknown,
    },
  ]);
});

for (const device of ["webgpu", "cpu"] as const) {
  test(`a model of single files on ${device} is what diffusers computes`, async ({ page, server }) => {
    server.handlers.clear();
    await page.goto(`${server.url}blank/`);
    const at = (path: string): string => new URL(path, server.url).href;
    const component = {
      transformer: at(`${files}transformer.gguf`),
      textEncoder: at(`${files}text_encoder.gguf`),
      vae: at(`${files}vae.gguf`),
    };
    for (const source of [
      // The tokenizer is the text encoder's own.
      component,
      { model: at(folder), transformer: component.transformer },
      { ...component, tokenizer: at(`${folder}tokenizer/tokenizer.json`) },
    ]) {
      const { latents } = await page.evaluate(make, {
        source,
        options: { device },
        clip: clipOptions(call),
      });
      expect(relativeError(floats(latents), expectedLatents())).toBeLessThan(RELATIVE_TOLERANCE);
    }
  });

  test(`weights that have no room together on ${device} take turns`, async ({ page, server }) => {
    server.handlers.clear();
    await page.goto(`${server.url}blank/`);
    const source = new URL(folder, server.url).href;
    const clip = clipOptions(call);
    const { peak, latents } = await page.evaluate(make, {
      source,
      options: { device },
      clip,
    });
    const memory = peak - 1;
    const turns = await page.evaluate(make, {
      source,
      options: { device, memory },
      clip,
    });
    expect(turns.peak).toBeLessThan(peak);
    expect(turns.latents).toBe(latents);
  });
}

test("a clip is planned before anything is loaded", async ({ page, server }) => {
  server.handlers.clear();
  await page.goto(`${server.url}blank/`);
  const source = new URL("models/small/", server.url).href;
  const plan = (clip: Partial<ClipOptions>, options: PlanOptions): Promise<Advice> =>
    page.evaluate(
      async ({ source, clip, options }) => {
        const path = "/lib/index.js";
        const library = (await import(path)) as Library;
        return library.plan(source, { prompt: "a red ball", ...clip }, options);
      },
      { source, clip, options },
    );
  const advice = await plan({}, { device: "webgpu" });
  expect(advice.obstacle).toBeUndefined();
  expect(advice.alternatives).toEqual([]);
  expect(advice.plan?.stages.map(({ stage }) => stage)).toEqual(["text", "context", "step", "decode"]);
  const all = Object.values(advice.download).reduce((sum, bytes) => sum + bytes, 0);
  expect(all).toBeGreaterThan(6e6);
  const enough = advice.plan?.peakBytes ?? 0;
  // Which multiplies in f32 whatever is allowed.
  const allowed = await plan({}, { device: "webgpu", precision: "i8" });
  expect(allowed.plan?.peakBytes).toBe(enough);
  await expect(plan({}, { precision: "f64" as "f32" })).rejects.toThrow("precision");
  const large = await plan({ width: 256, height: 256 }, { device: "webgpu", memory: enough });
  if (!large.obstacle) {
    throw new Error("four times the pixels fit into the same memory");
  }
  expect(large.obstacle.what).toContain("decode");
  // One latent frame is too large to be decoded, however few there are; no tiny decoder is published for this model's latents.
  expect(large.alternatives.map(({ changes }) => changes)).toEqual([["smaller"]]);
  expect(large.alternatives[0]?.remedy).toMatch(/^\d+x\d+$/);
  for (const { width, height, frames, peakBytes } of large.alternatives) {
    expect(peakBytes).toBeLessThanOrEqual(enough);
    const again = await plan({ width, height, frames }, { device: "webgpu", memory: enough });
    expect(again.plan?.peakBytes).toBe(peakBytes);
  }
});

interface Make {
  readonly source: ModelSource;
  readonly options: PlanOptions;
  readonly clip: ClipOptions;
}

/** Runs in the page: loads, makes a clip's latents, and says what was planned for it. */
async function make({ source, options, clip }: Make): Promise<{ latents: string; peak: number }> {
  const path = "/lib/index.js";
  const { load } = (await import(path)) as Library;
  const model = await load(source, { ...options, cache: false });
  const { peakBytes } = await model.plan(clip);
  const session = await model.session(clip);
  await session.encode();
  while (await session.step());
  const latents = await session.latents();
  while (await session.nextFrames());
  await session.close();
  model.dispose();
  const bytes = new Uint8Array(latents.buffer, latents.byteOffset, latents.byteLength);
  return {
    latents: btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join("")),
    peak: peakBytes,
  };
}
