/**
 * How fast the loader is next to what the browser gives: the network beside one bare fetch of the same file, the store
 * beside a bare read of one file of the origin private file system. Medians, and every run.
 *
 *     npm run build:lib && node scripts/loading-bench.mjs [MEGABYTES]
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { serve } from "./static.mjs";
import { visit } from "./visit.mjs";

const megabytes = Number(process.argv[2] ?? 256);
const bytes = megabytes * 1_000_000;
const folder = await mkdtemp(join(tmpdir(), "kinetoscope-bench-"));
await writeFile(join(folder, "weights"), randomBytes(bytes));
await writeFile(join(folder, "worker.js"), `(${worker})();`);
await writeFile(join(folder, "index.html"), `<!doctype html><script>(${page})(${bytes})</script>`);
const server = await serve({
  "/": folder,
  "/lib/": fileURLToPath(new URL("../dist-lib", import.meta.url)),
  "/scripts/": fileURLToPath(new URL(".", import.meta.url)),
});
try {
  await visit(server, join(folder, "profile"), (seconds) => {
    if (typeof seconds === "string") {
      throw new Error(seconds);
    }
    const speed = (/** @type {number[]} */ all) =>
      megabytes / ([...all].sort((a, b) => a - b)[all.length >> 1] ?? NaN);
    for (const [what, all] of Object.entries(seconds)) {
      const each = all.map((/** @type {number} */ took) => (megabytes / took).toFixed(0)).join(", ");
      console.log(`${what.padEnd(38)} ${speed(all).toFixed(0).padStart(6)} MB/s  (${each})`);
    }
    return true;
  });
} finally {
  server.close();
  await rm(folder, { recursive: true });
}

/** Runs in the page: tells what the worker found, or what went wrong. */
function page(/** @type {number} */ bytes) {
  const worker = new Worker("/worker.js", { type: "module" });
  const tell = (/** @type {unknown} */ what) =>
    fetch("/told", { method: "POST", body: JSON.stringify(what) });
  worker.onmessage = ({ data }) => void tell(data);
  worker.onerror = ({ message }) => void tell(message);
  worker.postMessage(bytes);
}

/** Runs in a worker of the page, where the loader runs too. */
function worker() {
  const [SPAN, PASSES] = [4 << 20, 5];
  /** @param {() => Promise<unknown>} action */
  const time = async (action) => {
    const began = performance.now();
    await action();
    return (performance.now() - began) / 1000;
  };

  globalThis.onmessage = async ({ data: bytes }) => {
    const [opfs, scripts] = ["/lib/weights/opfs.js", "/scripts/loading.mjs"];
    const { OpfsStore } = await import(opfs);
    const { fetchBare, keepBare, openBare, readBare, readThroughLoader } = await import(scripts);
    const readAll = (/** @type {unknown} */ store) => readThroughLoader("weights", store);
    const root = await navigator.storage.getDirectory();
    const file = await openBare("bare");
    await keepBare("/weights", file);
    const bareKeep = async () => {
      const kept = await openBare("kept");
      await keepBare("/weights", kept);
      kept.close();
      await root.removeEntry("kept");
    };
    const bareRanges = async () => {
      let next = 0;
      const fetchRanges = async () => {
        while (next < bytes) {
          const start = next;
          next = Math.min(start + SPAN, bytes);
          const headers = { Range: `bytes=${start}-${next - 1}` };
          await (await fetch("/weights", { cache: "no-store", headers })).arrayBuffer();
        }
      };
      await Promise.all([fetchRanges(), fetchRanges(), fetchRanges()]);
    };
    /** @type {[string, () => Promise<unknown>][]} */
    const runs = [
      ["bare fetch", () => fetchBare("/weights")],
      ["bare fetch into a private file", bareKeep],
      ["bare fetches of 4 MiB, three at once", bareRanges],
      ["loader, network, nothing stored", () => readAll(undefined)],
      ["loader, network, stored", async () => readAll(await OpfsStore.openToKeep(console.error))],
      ["bare read of a private file", async () => readBare(file, bytes)],
      ["loader, from the store", async () => readAll(await OpfsStore.openToKeep(console.error))],
    ];
    /** @type {Record<string, number[]>} */
    const seconds = Object.fromEntries(runs.map(([what]) => [what, []]));
    // In turns: other work on the machine hits all alike.
    for (let pass = 0; pass < PASSES; pass++) {
      for (const [what, run] of runs) {
        seconds[what]?.push(await time(run));
      }
      await root.removeEntry("kinetoscope", { recursive: true });
    }
    file.close();
    postMessage(seconds);
  };
}
