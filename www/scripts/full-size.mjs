/**
 * A model of full size in Chromium: what loading it takes of memory, how fast it comes from the network and from this device, next to
 * what the browser gives without the loader, and one prompt and one step with it. A folder of random weights:
 * `kinetoscope synth --config wan2.1-1.3b --quant q4_k FOLDER`.
 *
 *     npm run build:lib && node scripts/full-size.mjs FOLDER [MEMORY]
 */
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
await writeFile(join(scratch, "alone.js"), `onmessage = ${alone}`);
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
}, 500);
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

/**
 * Memory of all renderers of this Chromium, in bytes: JavaScript's heap, the wasm, buffers; not what is on the device. Read from
 * the system without a program that would have to be started: this process is the server too.
 */
async function renderers() {
  const all = await Promise.all(
    (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(memoryOfRenderer),
  );
  return all.reduce((sum, bytes) => sum + bytes, 0);
}

async function memoryOfRenderer(/** @type {string} */ id) {
  const read = (/** @type {string} */ what) => readFile(`/proc/${id}/${what}`, "utf8").catch(() => "");
  const command = await read("cmdline");
  if (!command.includes("type=renderer") || !command.includes(profile)) {
    return 0;
  }
  const status = await read("status");
  const kibibytes = (/** @type {string} */ what) =>
    Number(new RegExp(`${what}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
  // What is shared with the browser's processes is not the page's.
  return (kibibytes("RssAnon") + kibibytes("RssShmem")) * 1024;
}

/**
 * Runs in a worker: a file of the server, with the loader and without it. Fetched once for nothing, so that the server's disk is
 * not what is measured.
 */
async function alone(/** @type {{ data: string }} */ { data: url }) {
  const [opfs, scripts] = ["/lib/weights/opfs.js", "/scripts/loading.mjs"];
  const { OpfsStore } = await import(opfs);
  const { fetchBare, keepBare, openBare, readBare, readThroughLoader } = await import(scripts);
  const root = await navigator.storage.getDirectory();
  const path = url.slice(1);
  const bytes = await fetchBare(url);
  const speed = async (/** @type {() => unknown} */ action) => {
    const began = performance.now();
    await action();
    return `${(bytes / 1000 / (performance.now() - began)).toFixed(0)} MB/s`;
  };
  const told = [
    `bare fetch ${await speed(() => fetchBare(url))}`,
    `the loader with nothing stored ${await speed(() => readThroughLoader(path))}`,
  ];
  const file = await openBare("bare");
  told.push(`bare fetch into a private file ${await speed(() => keepBare(url, file))}`);
  told.push(`bare read of it ${await speed(() => readBare(file, bytes))}`);
  file.close();
  await root.removeEntry("bare");
  const store = await OpfsStore.openToKeep(console.error);
  told.push(`the loader, stored ${await speed(() => readThroughLoader(path, store))}`);
  told.push(`the loader from the store ${await speed(() => readThroughLoader(path, store))}`);
  await root.removeEntry("kinetoscope", { recursive: true });
  postMessage(`largest file: ${told.join(", ")}`);
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
    const worker = new Worker("/alone.js");
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
    }, 2000);
    await tell({ began: true });
    const timed = async (/** @type {string} */ what, /** @type {() => Promise<any>} */ action) => {
      const began = performance.now();
      const result = await action();
      const ended = performance.now();
      const took = (ended - began) / 1000;
      const grown = ((most - empty) / 1e6).toFixed(0);
      await say(
        `${what}: ${took.toFixed(1)} s; heap, buffers and wasm so far at most ${grown} MB above the empty page`,
      );
      return { result, took, ended };
    };
    const { result: advice } = await timed("plan", () => plan("/model/", clip, options));
    const stages = advice.plan?.stages ?? [];
    const planned = stages.map(
      (/** @type {any} */ s) => `${s.stage} ${(s.totalBytes / 1e6).toFixed(0)} MB (${s.weights})`,
    );
    await say(`planned: ${planned.join(", ")}`);
    /** @type {any} */
    let last;
    let began = NaN;
    const onProgress = (/** @type {any} */ progress) => {
      if (Number.isNaN(began) && progress.type === "weights") {
        began = performance.now();
      }
      last = progress;
    };
    const {
      result: model,
      took,
      ended,
    } = await timed("load", () => load("/model/", { ...options, onProgress }));
    const megabytes = last.loaded / 1e6;
    const speeds = [(ended - began) / 1000, took].map((seconds) => (megabytes / seconds).toFixed(0));
    await say(
      last.from === "network"
        ? `fetched and stored: ${megabytes.toFixed(0)} MB, ${speeds[0]} MB/s from the first weight on, ${speeds[1]} in all`
        : `in the store: ${megabytes.toFixed(0)} MB`,
    );
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
