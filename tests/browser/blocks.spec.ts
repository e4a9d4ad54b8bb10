/** Quantised weights in Chromium: one tiny random pipeline, against what diffusers computes from the same numbers. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { serve } from "../../www/scripts/static.mjs";
import { expect, test } from "./fixtures.js";
import { floats, goldens, readSafetensors, relativeError, tensor } from "./goldens.js";

type Library = typeof import("../../www/src/index.js");

/** Of tests/native/blocks.rs. */
const TOLERANCE = 2e-3;

const repository = fileURLToPath(new URL("../../", import.meta.url));

/** The weights come from a seed: tests/golden/blocks.py. */
function synth(format: string, folder: string): void {
  const options = ["--config", "tiny", "--quant", format, "--seed", "5", folder];
  execFileSync("cargo", ["run", "--quiet", "--features", "cli", "--", "synth", ...options], {
    cwd: repository,
  });
}

for (const format of ["q8_0", "q4_0", "q4_k"]) {
  test(`a model in ${format} is what diffusers computes`, async ({ page, server }) => {
    const folder = mkdtempSync(join(tmpdir(), "kinetoscope-blocks-"));
    synth(format, folder);
    const host = await serve({ "/": folder });
    // The test's own page is of another origin.
    server.handlers.clear();
    try {
      await page.goto(`${server.url}blank/`);
      await page.route(`${server.url}model/**`, async (route) => {
        const path = new URL(route.request().url()).pathname.slice("/model/".length);
        await route.fulfill({
          response: await route.fetch({ url: `${host.url}${path}` }),
        });
      });
      const source = `${server.url}model/`;
      const steps = tensor(readSafetensors(new URL("blocks.safetensors", goldens)), `${format}.steps`);
      for (const device of ["webgpu", "cpu"] as const) {
        const made = await page.evaluate(makeSteps, { source, device });
        expect(made.length).toBe(2);
        for (const [index, latents] of made.entries()) {
          const expected = steps.slice((index * steps.length) / 2, ((index + 1) * steps.length) / 2);
          expect(relativeError(floats(latents), expected), `${device}, step ${index}`).toBeLessThan(
            TOLERANCE,
          );
        }
      }
    } finally {
      host.close();
      rmSync(folder, { recursive: true });
    }
  });
}

/** Runs in the page: the latents after each step. */
async function makeSteps({
  source,
  device,
}: {
  source: string;
  device: "webgpu" | "cpu";
}): Promise<string[]> {
  const path = "/lib/index.js";
  const { load } = (await import(path)) as Library;
  const model = await load(source, { device, cache: false });
  const prompt = "a red ball bounces on green grass";
  const session = await model.session({
    prompt,
    negative: "blurry",
    guidance: 3,
    seed: 11,
  });
  await session.encode();
  const made: string[] = [];
  while (await session.step()) {
    const latents = await session.latents();
    const bytes = new Uint8Array(latents.buffer, latents.byteOffset, latents.byteLength);
    made.push(btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")));
  }
  await session.close();
  model.dispose();
  return made;
}
