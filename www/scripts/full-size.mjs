/**
 * A model of full size in Chromium: what loading it takes of memory, how fast it comes from the network and from this device, and
 * one prompt and one step with it. A folder of random weights: `kinetoscope synth --config wan2.1-1.3b --quant q4_k FOLDER`.
 *
 *     npm run build:lib && node scripts/full-size.mjs FOLDER [MEMORY]
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "@playwright/test";
import { args, executablePath } from "./chromium.mjs";
import { serve } from "./static.mjs";

const [model = "", memory] = process.argv.slice(2);
const scratch = await mkdtemp(join(tmpdir(), "kinetoscope-full-size-"));
await writeFile(join(scratch, "index.html"), "<!doctype html><title>full size</title>");
const server = await serve({
  "/": scratch,
  "/model/": model,
  "/lib/": fileURLToPath(new URL("../dist-lib", import.meta.url)),
});
const profile = join(scratch, "profile");
const context = await chromium.launchPersistentContext(profile, { executablePath, args });
try {
  for (const visit of ["first visit, from the network", "second visit, from this device"]) {
    const page = await context.newPage();
    page.setDefaultTimeout(0);
    page.on("console", (message) => console.log(`  ${message.text()}`));
    await page.goto(server.url);
    console.log(visit);
    const empty = await renderers();
    let most = empty;
    const watch = setInterval(async () => {
      most = Math.max(most, await renderers());
    }, 200);
    const found = await page.evaluate(run, memory === undefined ? undefined : Number(memory));
    clearInterval(watch);
    for (const [what, value] of Object.entries(found)) {
      console.log(`  ${what}: ${value}`);
    }
    console.log(`  most that the page's processes grew by: ${((most - empty) / 1e6).toFixed(0)} MB`);
    await page.close();
  }
} finally {
  await context.close();
  server.close();
  await rm(scratch, { recursive: true });
}

/** Memory of all renderers of this Chromium, in bytes: JavaScript's heap, the wasm, buffers; not what is on the device. */
async function renderers() {
  const list = execFileSync("pgrep", [
    "-f",
    `type=renderer.*${profile}|${profile}.*type=renderer`,
  ]).toString();
  const sizes = await Promise.all(
    list
      .trim()
      .split("\n")
      .map(async (id) => {
        const status = await readFile(`/proc/${id}/status`, "utf8").catch(() => "");
        const kibibytes = (/** @type {string} */ what) =>
          Number(new RegExp(`${what}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
        // What is shared with the browser's processes is not the page's.
        return (kibibytes("RssAnon") + kibibytes("RssShmem")) * 1024;
      }),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Runs in the page. */
async function run(/** @type {number | undefined} */ memory) {
  const path = "/lib/index.js";
  const { load, plan } = await import(path);
  const clip = { prompt: "a red ball", width: 128, height: 128, frames: 5, steps: 1, guidance: 1 };
  const options = { device: "webgpu", ...(memory === undefined ? {} : { memory }) };
  /** @type {Record<string, string>} */
  const found = {};
  const seconds = async (/** @type {string} */ what, /** @type {() => Promise<any>} */ action) => {
    const began = performance.now();
    const result = await action();
    const took = (performance.now() - began) / 1000;
    found[what] = `${took.toFixed(1)} s`;
    console.log(`${what}: ${took.toFixed(1)} s`);
    return { result, took };
  };
  const { result: advice } = await seconds("plan", () => plan("/model/", clip, options));
  const stages = advice.plan?.stages ?? [];
  found["planned"] = stages
    .map((/** @type {any} */ s) => `${s.stage} ${(s.totalBytes / 1e6).toFixed(0)} MB (${s.weights})`)
    .join(", ");
  let last;
  const onProgress = (/** @type {any} */ progress) => (last = progress);
  const { result: model, took } = await seconds("load", () => load("/model/", { ...options, onProgress }));
  found["loaded"] = `${(last.loaded / 1e6).toFixed(0)} MB, ${(last.loaded / 1e6 / took).toFixed(0)} MB/s`;
  const session = await model.session(clip);
  await seconds("encode", () => session.encode());
  await seconds("step", () => session.step());
  const { device, worker } = await model.memory();
  found["memory"] = `device ${(device / 1e6).toFixed(0)} MB, wasm ${(worker / 1e6).toFixed(0)} MB`;
  const latents = await session.latents();
  found["latents"] = latents.every((/** @type {number} */ v) => Number.isFinite(v)) ? "finite" : "NOT FINITE";
  await session.close();
  model.dispose();
  return found;
}
