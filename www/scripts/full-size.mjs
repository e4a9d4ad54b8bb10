/**
 * A model of full size in Chromium: what loading it takes of memory, how fast it comes from the network and from this device, next to
 * what the browser gives without the loader, and one prompt and one step with it. A folder of random weights:
 * `kinetoscope synth --config wan2.1-1.3b --quant q4_k FOLDER`.
 *
 *     npm run build:lib && node scripts/full-size.mjs FOLDER [MEMORY]
 */
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { serve } from "./static.mjs";
import { visit } from "./visit.mjs";

const [model = "", memory] = process.argv.slice(2);
const scratch = await mkdtemp(join(tmpdir(), "kinetoscope-full-size-"));
const given = memory === undefined ? "undefined" : String(Number(memory));
const paths = await readdir(model, { recursive: true });
const sizes = await Promise.all(paths.map(async (path) => (await stat(join(model, path))).size));
const largest = paths[sizes.indexOf(Math.max(...sizes))];
await writeFile(join(scratch, "bare.js"), `onmessage = ${bare}`);
await writeFile(
  join(scratch, "index.html"),
  `<!doctype html><script type="module">(${run})(${given}, "/model/${largest}")</script>`,
);
const server = await serve(
  {
    "/": scratch,
    "/model/": model,
    "/lib/": fileURLToPath(new URL("../dist-lib", import.meta.url)),
    "/scripts/": fileURLToPath(new URL(".", import.meta.url)),
  },
  {
    // Only isolated pages are told their memory.
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
  },
);
const profile = join(scratch, "profile");
/** Memory of the page's processes before it loads anything, and the most of it since. */
let [empty, most] = [NaN, 0];
const watch = setInterval(async () => {
  if (!Number.isNaN(empty)) {
    most = Math.max(most, await renderers());
  }
}, 200);
try {
  for (const what of ["first visit, from the network", "second visit, from this device"]) {
    console.log(what);
    await visit(
      server,
      profile,
      async ({ began, told, failed, finished }) => {
        if (began) {
          [empty, most] = [await renderers(), 0];
        }
        if (failed) {
          throw new Error(failed);
        }
        if (told) {
          console.log(`  ${told}`);
        }
        return finished === true;
      },
      // Memory is measured at once, not at the next collection of garbage.
      ["--enable-blink-features=ForceEagerMeasureMemory"],
    );
    console.log(`  most that the page's processes grew by: ${((most - empty) / 1e6).toFixed(0)} MB`);
    empty = NaN;
  }
} finally {
  clearInterval(watch);
  server.close();
  await rm(scratch, { recursive: true });
}

/** Memory of all renderers of this Chromium, in bytes: JavaScript's heap, the wasm, buffers; not what is on the device. */
async function renderers() {
  const { stdout: list } = spawnSync("pgrep", ["-f", `type=renderer.*${profile}|${profile}.*type=renderer`], {
    encoding: "utf8",
  });
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

/**
 * Runs in a worker: a file of the server fetched, fetched into a private file, and read from there, without the loader. Fetched
 * once for nothing, so that the server's disk is not what is measured.
 */
async function bare(/** @type {{ data: string }} */ { data: url }) {
  const scripts = "/scripts/bare.mjs";
  const { fetchBare, keepBare, openBare, readBare } = await import(scripts);
  const file = await openBare("bare");
  const bytes = await fetchBare(url);
  const speed = async (/** @type {() => unknown} */ action) => {
    const began = performance.now();
    await action();
    return `${(bytes / 1000 / (performance.now() - began)).toFixed(0)} MB/s`;
  };
  const fetching = await speed(() => fetchBare(url));
  const keeping = await speed(() => keepBare(url, file));
  const reading = await speed(() => readBare(file, bytes));
  file.close();
  await (await navigator.storage.getDirectory()).removeEntry("bare");
  postMessage(`bare fetch ${fetching}, into a private file ${keeping}, bare read of it ${reading}`);
}

/** Runs in the page. */
async function run(/** @type {number | undefined} */ memory, /** @type {string} */ largest) {
  const tell = (/** @type {object} */ what) => fetch("/told", { method: "POST", body: JSON.stringify(what) });
  const say = (/** @type {string} */ told) => tell({ told });
  const measure = async () => (await /** @type {any} */ (performance).measureUserAgentSpecificMemory()).bytes;
  try {
    const path = "/lib/index.js";
    const { load, plan } = await import(path);
    const clip = { prompt: "a red ball", width: 128, height: 128, frames: 5, steps: 1, guidance: 1 };
    const options = { device: "webgpu", ...(memory === undefined ? {} : { memory }) };
    const worker = new Worker("/bare.js");
    const told = new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
    });
    worker.postMessage(largest);
    await say(await told);
    worker.terminate();
    const empty = await measure();
    let most = empty;
    const watch = setInterval(async () => {
      most = Math.max(most, await measure());
    }, 500);
    await tell({ began: true });
    const timed = async (/** @type {string} */ what, /** @type {() => Promise<any>} */ action) => {
      const began = performance.now();
      const result = await action();
      const took = (performance.now() - began) / 1000;
      const grown = ((most - empty) / 1e6).toFixed(0);
      await say(
        `${what}: ${took.toFixed(1)} s; heap, buffers and wasm so far at most ${grown} MB above the empty page`,
      );
      return { result, took };
    };
    const { result: advice } = await timed("plan", () => plan("/model/", clip, options));
    const stages = advice.plan?.stages ?? [];
    const planned = stages.map(
      (/** @type {any} */ s) => `${s.stage} ${(s.totalBytes / 1e6).toFixed(0)} MB (${s.weights})`,
    );
    await say(`planned: ${planned.join(", ")}`);
    /** @type {any} */
    let last;
    const onProgress = (/** @type {any} */ progress) => (last = progress);
    const { result: model, took } = await timed("load", () => load("/model/", { ...options, onProgress }));
    await say(`loaded: ${(last.loaded / 1e6).toFixed(0)} MB, ${(last.loaded / 1e6 / took).toFixed(0)} MB/s`);
    const session = await model.session(clip);
    await timed("encode", () => session.encode());
    await timed("step", () => session.step());
    const taken = await model.memory();
    const [device, wasm] = [taken.device, taken.worker].map((bytes) => (bytes / 1e6).toFixed(0));
    await say(`memory: device ${device} MB, wasm ${wasm} MB`);
    const latents = await session.latents();
    const finite = latents.every((/** @type {number} */ v) => Number.isFinite(v));
    await say(`latents: ${finite ? "finite" : "NOT FINITE"}`);
    clearInterval(watch);
    await session.close();
    model.dispose();
    await tell({ finished: true });
  } catch (thrown) {
    await tell({ failed: String(thrown) });
  }
}
