/** Loading over a network, and keeping, with everything that can go wrong, in Chromium with its own storage. */
import type { BrowserContext, Page } from "@playwright/test";
import type { LoadOptions, LoadProgress } from "../../www/src/index.js";
import { FaultyHost, type PackedChunk, filesOf, pack, sha256 } from "./faults.js";
import { expect, test as base } from "./fixtures.js";

type Library = typeof import("../../www/src/index.js");

type Options = Pick<LoadOptions, "cache" | "retries" | "hub">;

/** What came of a load. */
interface Outcome {
  /** `loaded`, or the code of the error. */
  readonly code: string;
  readonly details: Record<string, unknown>;
  readonly told: LoadProgress[];
  /** A short clip that the model made, as base64, where it was asked for. */
  readonly clip: string | undefined;
}

interface Loading {
  readonly aborter: AbortController;
  readonly outcome: Promise<Outcome>;
}
declare global {
  // eslint-disable-next-line no-var
  var loading: Loading;
}

const MODEL = filesOf(new URL("../golden/wan21/pipeline/", import.meta.url));
const LARGER = filesOf(new URL("../../models/small/", import.meta.url));
const [CHUNK, PART] = [64 << 10, 256 << 10];
const GRID = 8 << 20;
const WEIGHTS = "transformer/diffusion_pytorch_model.safetensors";

const test = base.extend<{ visit: Visit }, { host: FaultyHost }>({
  host: [
    async ({}, use) => {
      const host = await FaultyHost.start();
      await use(host);
      host.close();
    },
    { scope: "worker" },
  ],
  visit: async ({ context, server, host }, use) => {
    host.reset();
    host.files.clear();
    serve(host, "folder", MODEL);
    server.handlers.clear();
    const visit = new Visit(context, `${server.url}blank/`);
    await visit.open();
    await use(visit);
  },
});

/** A visitor: one page after the other, with one storage. */
class Visit {
  page!: Page;

  constructor(
    readonly context: BrowserContext,
    readonly blank: string,
  ) {}

  async open(): Promise<void> {
    this.page = await this.context.newPage();
    await this.page.goto(this.blank);
  }

  async leave(): Promise<void> {
    await this.page.close();
    await this.open();
  }

  /** Begins a load, and leaves it to itself. */
  async begin(source: string, options: Options = {}, clip = false): Promise<void> {
    await this.page.evaluate(beginLoad, { source, options, clip });
  }

  async end(): Promise<Outcome> {
    return this.page.evaluate(() => globalThis.loading.outcome);
  }

  async load(source: string, options: Options = {}, clip = false): Promise<Outcome> {
    await this.begin(source, options, clip);
    return this.end();
  }

  stored() {
    return this.page.evaluate(async () => {
      const path = "/lib/index.js";
      return ((await import(path)) as Library).storedModels();
    });
  }

  remove(id: string) {
    return this.page.evaluate(async (id) => {
      const path = "/lib/index.js";
      await ((await import(path)) as Library).removeModel(id);
    }, id);
  }

  /** Names and lengths of what is in a folder of the store. */
  async kept(folder: "chunks" | "parts"): Promise<Map<string, number>> {
    const list = await this.page.evaluate(async (folder) => {
      const root = await navigator.storage.getDirectory();
      const kept: [string, number][] = [];
      try {
        const files = await (await root.getDirectoryHandle("kinetoscope")).getDirectoryHandle(folder);
        for await (const [name, handle] of files.entries()) {
          kept.push([name, (await (handle as FileSystemFileHandle).getFile()).size]);
        }
      } catch {
        // There is no store yet.
      }
      return kept;
    }, folder);
    return new Map(list);
  }
}

interface Begin {
  readonly source: string;
  readonly options: Options;
  readonly clip: boolean;
}

/** Runs in the page. */
async function beginLoad({ source, options, clip }: Begin): Promise<void> {
  const path = "/lib/index.js";
  const { KinetoscopeError, load } = (await import(path)) as Library;
  const aborter = new AbortController();
  const told: LoadProgress[] = [];
  const run = async (): Promise<Outcome> => {
    try {
      const { signal } = aborter;
      const onProgress = (progress: LoadProgress): void => void told.push(progress);
      const model = await load(source, { device: "cpu", ...options, signal, onProgress });
      let bytes = "";
      if (clip) {
        for await (const event of model.generate({ prompt: "a red ball", steps: 1, frames: 5, seed: 3 })) {
          if (event.type === "frame") {
            bytes += Array.from(event.rgba, (byte) => String.fromCharCode(byte)).join("");
          }
        }
      }
      model.dispose();
      return { code: "loaded", details: {}, told, clip: clip ? btoa(bytes) : undefined };
    } catch (thrown) {
      const { code, details } = KinetoscopeError.from(thrown);
      return { code, details, told, clip: undefined };
    }
  };
  globalThis.loading = { aborter, outcome: run() };
}

function serve(host: FaultyHost, folder: string, files: ReadonlyMap<string, Buffer>): void {
  files.forEach((bytes, path) => host.files.set(`/${folder}/${path}`, bytes));
}

const warnings = ({ told }: Outcome) => told.flatMap((one) => (one.type === "warning" ? [one.code] : []));
const origins = ({ told }: Outcome) =>
  new Set(told.flatMap((one) => (one.type === "weights" ? [one.from] : [])));

/** Random numbers that are the same every time. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

test("a second visit loads from this device, until the model is removed", async ({ visit, host }) => {
  const first = await visit.load(`${host.url}folder/?token=secret`, {}, true);
  expect(first.code).toBe("loaded");
  expect(origins(first)).toEqual(new Set(["network"]));
  const [model] = await visit.stored();
  expect(model).toMatchObject({ name: "folder", source: `${host.url}folder/`, complete: true });
  expect(model?.bytes).toBe(model?.totalBytes);
  expect(model?.ownBytes).toBe(model?.bytes);

  await visit.leave();
  host.log.length = 0;
  const second = await visit.load(`${host.url}folder/?token=another`, {}, true);
  expect(host.gets).toEqual([]);
  expect(origins(second)).toEqual(new Set(["cache"]));
  expect(second.clip).toBe(first.clip);

  host.die();
  const away = await visit.load(`${host.url}folder/`, { retries: 0 }, true);
  expect([away.code, away.clip]).toEqual(["loaded", first.clip]);
  host.revive();

  await visit.remove(model?.id ?? "");
  expect(await visit.stored()).toEqual([]);
  expect((await visit.kept("chunks")).size).toBe(0);
  expect((await visit.load(`${host.url}folder/`, { cache: false })).code).toBe("loaded");
  expect((await visit.kept("chunks")).size).toBe(0);
});

test("a hub's address leads to its files, redirected or not", async ({ visit, host }) => {
  serve(host, "cdn", MODEL);
  for (const path of MODEL.keys()) {
    host.answers.set(`/owner/name/resolve/v1/sub/${path}`, (_, response) =>
      response.writeHead(302, { location: `${host.url}cdn/${path}` }).end(),
    );
  }
  expect((await visit.load("hf:owner/name@v1/sub", { hub: host.url })).code).toBe("loaded");
  const missing = await visit.load("hf:owner/name", { hub: host.url });
  expect([missing.code, missing.details]).toEqual(["file_missing", { path: "model_index.json" }]);
});

test("models share chunks, which stay until the last of them goes", async ({ visit, host }) => {
  const packed = pack("One", MODEL, CHUNK, PART);
  serve(host, "one", packed.served);
  // The same but for one file.
  const changed = new Map(MODEL).set("words.json", Buffer.from("{}"));
  serve(host, "two", pack("Two", changed, CHUNK, PART).served);
  expect((await visit.load(`${host.url}one/manifest.json`)).code).toBe("loaded");
  host.log.length = 0;
  expect((await visit.load(`${host.url}two/manifest.json`)).code).toBe("loaded");
  expect(host.gets.map(({ path }) => path)).toEqual(["/two/manifest.json"]);
  const models = await visit.stored();
  expect(models.map(({ name }) => name).sort()).toEqual(["One", "Two"]);
  expect(models.map(({ ownBytes }) => ownBytes)).toEqual([0, 0]);

  await visit.remove(models[0]?.id ?? "");
  const [left] = await visit.stored();
  expect([left?.name, left?.ownBytes]).toEqual([models[1]?.name, models[1]?.bytes]);
  await visit.remove(left?.id ?? "");
  expect((await visit.kept("chunks")).size).toBe(0);
});

test("a host without ranges is kept as well", async ({ visit, host }) => {
  host.ranges = false;
  expect((await visit.load(`${host.url}folder/`)).code).toBe("loaded");
  host.log.length = 0;
  const again = await visit.load(`${host.url}folder/`);
  expect([again.code, host.gets]).toEqual(["loaded", []]);
});

test("a connection that breaks is taken up in the middle of a chunk", async ({ visit, host }) => {
  const bytes = MODEL.get(WEIGHTS) ?? Buffer.alloc(0);
  let broken = 0;
  host.answers.set(`/folder/${WEIGHTS}`, (request, response) => {
    if (request.method === "GET" && broken++ === 0) {
      response.writeHead(206, {
        "content-length": bytes.length,
        "content-range": `bytes 0-${bytes.length - 1}/${bytes.length}`,
      });
      response.write(bytes.subarray(0, 100_000));
      setTimeout(() => response.destroy(), 100);
    } else {
      host.send(`/folder/${WEIGHTS}`, bytes, request, response);
    }
  });
  expect((await visit.load(`${host.url}folder/`)).code).toBe("loaded");
  expect(host.gets.filter(({ path }) => path.endsWith(WEIGHTS)).map(({ start }) => start)).toEqual([100_000]);
});

test("each fault of a host has a code of its own, and costs nothing of what is stored", async ({
  visit,
  host,
}) => {
  const packed = pack("Packed", MODEL, CHUNK, PART);
  serve(host, "packed", packed.served);
  const source = `${host.url}packed/manifest.json`;
  const file = `/packed/parts/${WEIGHTS.replaceAll("/", "-")}-1.bin`;
  const bytes = host.files.get(file) ?? Buffer.alloc(0);
  const outcome = async (options: Options = {}) => {
    const { code, details } = await visit.load(source, { retries: 0, ...options });
    return { code, ...details };
  };

  host.answers.set(file, (_, response) => response.writeHead(403).end());
  expect(await outcome()).toMatchObject({
    code: "access_denied",
    path: file.slice("/packed/".length),
    status: 403,
  });
  host.answers.set(file, (_, response) => response.writeHead(404).end());
  expect(await outcome()).toMatchObject({ code: "file_missing" });
  host.answers.set(file, (_, response) => response.writeHead(500).end());
  expect(await outcome()).toMatchObject({ code: "read_failed" });
  host.answers.set(file, (_, response) => {
    response.writeHead(206, {
      "content-length": CHUNK,
      "content-range": `bytes 0-${CHUNK - 1}/${bytes.length}`,
    });
    response.write(bytes.subarray(0, 1000));
    setTimeout(() => response.destroy(), 50);
  });
  expect(await outcome()).toMatchObject({ code: "connection_lost" });
  const damaged = Buffer.from(bytes);
  damaged[CHUNK + 5] = (damaged[CHUNK + 5] ?? 0) ^ 1;
  host.answers.clear();
  host.files.set(file, damaged);
  expect(await outcome()).toMatchObject({ code: "hash_mismatch", path: WEIGHTS, chunk: PART / CHUNK + 1 });
  host.files.set(file, bytes);
  host.cors = false;
  expect(await outcome()).toMatchObject({ code: "network_failed" });
  host.cors = true;
  host.answers.set("/packed/manifest.json", (_, response) => response.end("{}"));
  expect(await outcome()).toMatchObject({ code: "manifest_invalid", field: "format" });
  host.answers.clear();

  const kept = new Set((await visit.kept("chunks")).keys());
  expect(kept.size).toBeGreaterThan(4);
  host.log.length = 0;
  expect(await outcome()).toMatchObject({ code: "loaded" });
  expectNotFetched(host, "packed", packed.chunks, kept);
});

test("a stored chunk that was damaged is fetched anew", async ({ visit, host }) => {
  const source = `${host.url}folder/`;
  const first = await visit.load(source, {}, true);
  const whole = await visit.kept("chunks");
  const [key = ""] = [...whole].find(([, length]) => length > 100_000) ?? [];
  await visit.page.evaluate(async (key) => {
    const store = await (await navigator.storage.getDirectory()).getDirectoryHandle("kinetoscope");
    const chunk = await (await store.getDirectoryHandle("chunks")).getFileHandle(key);
    const writable = await chunk.createWritable();
    await writable.write(new Uint8Array(100));
    await writable.close();
  }, key);
  host.log.length = 0;
  const second = await visit.load(source, {}, true);
  expect([second.code, second.clip, host.gets.length]).toEqual(["loaded", first.clip, 1]);
  expect(await visit.kept("chunks")).toEqual(whole);
});

test("a file that changed between two visits is noticed, and only that is fetched", async ({
  visit,
  host,
}) => {
  await visit.load(`${host.url}folder/`);
  const before = await visit.kept("chunks");
  host.log.length = 0;
  host.etags.set(`/folder/${WEIGHTS}`, "2");
  const again = await visit.load(`${host.url}folder/`);
  expect([again.code, warnings(again)]).toEqual(["loaded", ["file_changed"]]);
  expect(host.gets.map(({ path }) => path)).toEqual([`/folder/${WEIGHTS}`]);
  const after = await visit.kept("chunks");
  expect(after.size).toBe(before.size);
  expect([...after.keys()].filter((key) => !before.has(key)).length).toBe(1);
});

test("a full disk is told once, and the model loads uncached", async ({ visit, host, server }) => {
  const devtools = await visit.context.newCDPSession(visit.page);
  const origin = new URL(server.url).origin;
  const { usage } = await devtools.send("Storage.getUsageAndQuota", { origin });
  await devtools.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: usage + 300_000 });
  const full = await visit.load(`${host.url}folder/`, {}, true);
  expect([full.code, warnings(full)]).toEqual(["loaded", ["storage_full"]]);
  const kept = await visit.kept("chunks");
  expect(kept.size).toBeGreaterThan(0);
  await devtools.send("Storage.overrideQuotaForOrigin", { origin });
  const roomy = await visit.load(`${host.url}folder/`, {}, true);
  expect([roomy.code, warnings(roomy), roomy.clip]).toEqual(["loaded", [], full.clip]);
});

test("two tabs that load at once fetch every chunk once", async ({ visit, host, server }) => {
  const packed = pack("Packed", MODEL, CHUNK, PART);
  serve(host, "packed", packed.served);
  const other = new Visit(visit.context, `${server.url}blank/`);
  await other.open();
  const source = `${host.url}packed/manifest.json`;
  const [one, two] = await Promise.all([visit.load(source, {}, true), other.load(source, {}, true)]);
  expect([one.code, two.code]).toEqual(["loaded", "loaded"]);
  expect(one.clip).toBe(two.clip);
  const asked = host.gets
    .filter(({ path }) => path.includes("/parts/"))
    .map(({ path, start }) => `${path} ${start}`);
  expect(new Set(asked).size).toBe(asked.length);
  expect((await visit.kept("parts")).size).toBe(0);
});

test("files of this device are read where they are, and not kept", async ({ visit, server }) => {
  const urls = [...MODEL.keys()].map((path) => [
    path,
    new URL(`golden/wan21/pipeline/${path}`, server.url).href,
  ]);
  const code = await visit.page.evaluate(async (urls) => {
    const path = "/lib/index.js";
    const { load } = (await import(path)) as Library;
    const files = new Map<string, Blob>();
    for (const [path = "", url = ""] of urls) {
      files.set(path, await (await fetch(url)).blob());
    }
    const from = new Set<string>();
    const onProgress = (told: LoadProgress): void => void (told.type === "weights" && from.add(told.from));
    (await load({ files }, { device: "cpu", onProgress })).dispose();
    return [...from].join();
  }, urls);
  expect(code).toBe("files");
  expect((await visit.kept("chunks")).size).toBe(0);
});

/** No request since touched a chunk that was stored. */
function expectNotFetched(
  host: FaultyHost,
  folder: string,
  chunks: ReadonlyMap<string, PackedChunk>,
  stored: ReadonlySet<string>,
): void {
  for (const [key, { path, start, end }] of chunks) {
    if (stored.has(key)) {
      const again = host.gets.filter(
        (got) => got.path === `/${folder}/${path}` && got.start < end && start < got.end,
      );
      expect(again, key).toEqual([]);
    }
  }
}

/** Where the chunks of a folder's files are, by the names they are stored under. */
function folderChunks(host: FaultyHost, folder: string, files: ReadonlyMap<string, Buffer>) {
  const chunks = new Map<string, PackedChunk>();
  for (const [path, { length }] of files) {
    const version = sha256(JSON.stringify([`${host.url}${folder}/${path}`, length, 'etag "1"']));
    for (let start = 0; start < length; start += GRID) {
      chunks.set(`${version}-${start / GRID}`, { path, start, end: Math.min(start + GRID, length) });
    }
  }
  return chunks;
}

for (const { name, files, kills, seed } of [
  // Many small chunks, most of which are whole or not begun; and a few large ones, which are mostly gone on with.
  { name: "packed", files: MODEL, kills: 50, seed: 5 },
  { name: "folder", files: LARGER, kills: 8, seed: 11 },
] as const) {
  test(`a load of a ${name} model killed ${kills} times ends as one in peace`, async ({
    visit,
    host,
    server,
    browser,
  }) => {
    const packed = pack("Packed", files, CHUNK / 8, PART);
    host.files.clear();
    serve(host, "packed", packed.served);
    serve(host, "folder", files);
    const source = name === "packed" ? `${host.url}packed/manifest.json` : `${host.url}folder/`;
    const chunks = name === "packed" ? packed.chunks : folderChunks(host, "folder", files);
    const weights = [...files.values()].reduce((sum, { length }) => sum + length, 0);
    const random = seeded(seed);
    const stored = new Set<string>();
    let [killed, resumed] = [0, 0];

    while (killed < kills) {
      host.log.length = 0;
      // Some of the load each time, so that the kills are spread over all of it.
      const reached = host.stallAfter(Math.floor((random() * 1.6 * weights) / kills));
      const how = Math.floor(random() * 3);
      const parts = await visit.kept("parts");
      await visit.begin(source, { retries: 0 });
      await Promise.race([reached, visit.end().catch(() => undefined)]);
      if (how === 0) {
        host.die();
        const { code } = await visit.end();
        expect(["connection_lost", "network_failed"]).toContain(code);
      } else if (how === 1) {
        await visit.page.evaluate(() => globalThis.loading.aborter.abort());
        expect((await visit.end()).code).toBe("cancelled");
      } else {
        await visit.leave();
      }
      host.revive();
      killed += 1;

      expectNotFetched(host, name, chunks, stored);
      for (const [key, length] of parts) {
        const { path = "", start = 0, end = 0 } = chunks.get(key) ?? {};
        const again = host.gets.filter(
          (got) => got.path === `/${name}/${path}` && got.start < end && start < got.end,
        );
        // Nothing of the beginning that was kept.
        expect(again.every((got) => got.start >= start + length)).toBe(true);
        resumed += again.length > 0 && length > 0 ? 1 : 0;
      }
      for (const [key, length] of await visit.kept("chunks")) {
        const chunk = chunks.get(key);
        expect(length).toBe((chunk?.end ?? 0) - (chunk?.start ?? 0));
        stored.add(key);
      }
    }
    if (name === "folder") {
      // Kept beginnings that were gone on with. A small chunk is cut in two by chance, and by the machine's speed.
      expect(resumed).toBeGreaterThan(0);
    }

    host.log.length = 0;
    const survived = await visit.load(source, {}, true);
    expectNotFetched(host, name, chunks, stored);
    const other = await browser.newContext();
    const peaceful = new Visit(other, `${server.url}blank/`);
    await peaceful.open();
    const peace = await peaceful.load(source, {}, true);
    await other.close();
    expect([survived.code, peace.code]).toEqual(["loaded", "loaded"]);
    expect(survived.clip?.length).toBeGreaterThan(1000);
    expect(survived.clip).toBe(peace.clip);
  });
}
