import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ByteSource, type OpenOptions, openSource } from "./source.js";
import {
  BYTES,
  type Handler,
  Host,
  MemoryStore,
  QUICK,
  errorOf,
  expectBytes,
  manifestOf,
  ranged,
  whole,
} from "./testing.js";
import { Traffic } from "./traffic.js";
import type { LoadWarning } from "./warnings.js";

let host: Host;
let aborter: AbortController;
let warnings: LoadWarning[];

beforeEach(async () => {
  host = await Host.start(ranged());
  aborter = new AbortController();
  warnings = [];
});

afterEach(() => host.stop());

function open(
  kind: "folder" | "manifest" | "single",
  path: string,
  some: Partial<OpenOptions> = {},
): ByteSource {
  return openSource(
    { kind, url: `${host.url}${path}` },
    { signal: aborter.signal, retry: QUICK, onWarning: (warning) => warnings.push(warning), ...some },
  );
}

/** The folder, on a grid of chunks that the file does not fit. */
function source(query = "", some: Partial<OpenOptions> = {}): ByteSource {
  return open("folder", `model/${query}`, { chunkBytes: 7000, ...some });
}

/** Sends a part of a range, then breaks. */
function breaksAfter(bytes: number): Handler {
  return (request, response) => {
    const [, start = 0, last = 0] = (/^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? []).map(
      Number,
    );
    response.writeHead(206, {
      "content-length": last + 1 - start,
      "content-range": `bytes ${start}-${last}/${BYTES.length}`,
    });
    response.write(BYTES.subarray(start, start + bytes));
    setTimeout(() => response.destroy(), 20);
  };
}

const [first, second] = ["bytes=0-6999", "bytes=7000-13999"];

describe("a host with ranges", () => {
  it("gives sizes and exact spans, also several at once and backwards", async () => {
    const files = source();
    expect(await files.size("vae/weights")).toBe(BYTES.length);
    const spans: [number, number][] = [
      [0, 8],
      [8, 100_000],
      [299_999, 300_000],
      [6999, 7001],
      [5, 6],
    ];
    const read = await Promise.all(spans.map(([start, end]) => files.read("vae/weights", start, end)));
    for (const [k, [start, end]] of spans.entries()) {
      expectBytes(read[k], BYTES.slice(start, end));
    }
  });

  it("asks for each chunk once, and for no more of them at once than is polite", async () => {
    let [open, most] = [0, 0];
    host.handler = (request, response) => {
      most = Math.max(most, ++open);
      response.on("close", () => (open -= 1));
      setTimeout(() => ranged()(request, response), 3);
    };
    const files = source();
    const spans = Array.from({ length: 30 }, (_, k) => [k * 10_000, (k + 1) * 10_000] as const);
    const read = await Promise.all(spans.map(([start, end]) => files.read("w", start, end)));
    expect(new Uint8Array(read.flatMap((span) => [...span]))).toEqual(BYTES);
    expect(host.ranges.length).toBe(Math.ceil(BYTES.length / 7000));
    expect(new Set(host.ranges).size).toBe(host.ranges.length);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(6);
  });

  it("asks for nothing of the content to read nothing", async () => {
    expect(await source().read("vae/weights", 7, 7)).toEqual(new Uint8Array());
    expect(host.ranges).toEqual([]);
  });

  it("asks for a small span beside the plan alone, without its chunk", async () => {
    const files = source("", { store: new MemoryStore() });
    host.handler = ranged(BYTES, { etag: '"1"' });
    await files.read("w", 0, 10);
    files.plan([{ path: "w", start: 20_000, end: 28_000 }]);
    await Promise.resolve();
    expectBytes(await files.read("w", 15_000, 15_100), BYTES.slice(15_000, 15_100));
    expectBytes(await files.read("w", 22_000, 22_100), BYTES.slice(22_000, 22_100));
    expect(host.ranges).toEqual([first, "bytes=15000-15099", "bytes=21000-27999"]);
  });

  it("brings what is planned before it is read, and nothing else", async () => {
    const files = source();
    await files.size("w");
    files.plan([{ path: "w", start: 0, end: 15_000 }]);
    await Promise.resolve();
    await files.read("w", 0, 10);
    await new Promise((settled) => setTimeout(settled, 50));
    expect(host.ranges).toEqual([first, second, "bytes=14000-20999"]);
    expectBytes(await files.read("w", 0, 15_000), BYTES.slice(0, 15_000));
    expect(host.ranges.length).toBe(3);
  });

  it("forgets what was planned before: nobody would take what is brought of it", async () => {
    const files = source();
    await files.size("w");
    files.plan([{ path: "w", start: 0, end: 28_000 }]);
    files.plan([{ path: "w", start: 0, end: 10 }]);
    await Promise.resolve();
    await files.read("w", 0, 10);
    await new Promise((settled) => setTimeout(settled, 50));
    expect(host.ranges).toEqual([first]);
  });

  it("calls a file that ends early truncated", async () => {
    const error = await errorOf(source().read("vae/weights", 299_990, 300_010));
    expect(error.code).toBe("file_truncated");
    expect(error.details).toEqual({ path: "vae/weights", expected: 300_010, found: 300_000 });
  });

  it("takes a broken connection up where it broke", async () => {
    const files = source();
    await files.size("vae/weights");
    host.handler = (request, response) =>
      (host.ranges.length > 1 ? ranged() : breaksAfter(400))(request, response);
    expectBytes(await files.read("vae/weights", 0, 1000), BYTES.slice(0, 1000));
    expect(host.ranges).toEqual([first, "bytes=400-6999"]);
  });

  it("goes on with a host that breaks every time, as long as bytes come", async () => {
    const files = source();
    await files.size("w");
    host.handler = breaksAfter(1000);
    expectBytes(await files.read("w", 0, 7000), BYTES.slice(0, 7000));
    expect(host.ranges.length).toBe(7);
  });

  it("gives up on one that breaks without a byte, and says where", async () => {
    const files = source();
    await files.size("w");
    host.handler = (request, response) => breaksAfter(host.ranges.length > 1 ? 0 : 400)(request, response);
    const error = await errorOf(files.read("w", 0, 1000));
    expect(error.code).toBe("connection_lost");
    expect(error.details).toEqual({ path: "w", received: 400, expected: 7000 });
    expect(host.ranges.length).toBe(1 + QUICK.retries);
  });

  it("counts a connection on which nothing comes as broken", async () => {
    const files = source();
    await files.size("w");
    host.handler = (request, response) => {
      if (host.ranges.length > 1) {
        ranged()(request, response);
      } else {
        response.writeHead(206, { "content-length": 7000, "content-range": `bytes 0-6999/${BYTES.length}` });
        response.write(BYTES.subarray(0, 100));
      }
    };
    expectBytes(await files.read("w", 0, 1000), BYTES.slice(0, 1000));
    expect(host.ranges).toEqual([first, "bytes=100-6999"]);
  });

  it("tries again where the host is busy, and says so when it stays so", async () => {
    const files = source();
    await files.size("w");
    host.handler = (request, response) => {
      if (host.ranges.length < 3) {
        response.writeHead(503).end();
      } else {
        ranged()(request, response);
      }
    };
    expectBytes(await files.read("w", 10, 20), BYTES.slice(10, 20));
    expect(host.ranges.length).toBe(3);

    host.handler = (_, response) => response.writeHead(429).end();
    const error = await errorOf(files.read("w", 8000, 8001));
    expect(error.code).toBe("read_failed");
    expect(error.message).toContain("429");
  });

  it("waits as long as a busy host asks, and fails where that is too long", async () => {
    const files = source();
    await files.size("w");
    let asked = 0;
    host.handler = (request, response) => {
      if (asked === 0) {
        asked = Date.now();
        response.writeHead(429, { "retry-after": "1" }).end();
      } else {
        ranged()(request, response);
      }
    };
    await files.read("w", 0, 1);
    expect(Date.now() - asked).toBeGreaterThanOrEqual(990);

    host.handler = (_, response) => response.writeHead(503, { "retry-after": "3600" }).end();
    expect((await errorOf(files.read("w", 8000, 8001))).code).toBe("read_failed");
    expect(host.ranges.length).toBe(3);
  });

  it("does not mix a file with another version of it", async () => {
    host.handler = ranged(BYTES, { etag: '"1"' });
    const files = source();
    await files.read("w", 0, 10);
    host.handler = ranged(BYTES, { etag: '"2"' });
    expect((await errorOf(files.read("w", 10_000, 10_001))).code).toBe("file_changed");
    host.handler = ranged(BYTES.subarray(0, 20_000), { etag: '"1"' });
    expect((await errorOf(files.read("w", 10_000, 10_001))).code).toBe("file_changed");
    expect((await errorOf(files.read("w", 290_000, 290_001))).code).toBe("file_changed");
  });

  it("keeps the folder's query, and stays in the folder", async () => {
    await source("?token=abc").read("a b/c#d", 0, 1);
    expect(host.requests[0]?.url).toBe("/model/a%20b/c%23d?token=abc");
    expect((await errorOf(source().read("../secret", 0, 1))).code).toBe("file_missing");
  });
});

describe.each([
  ["without a store", false],
  ["with a store", true],
])("a host that ignores ranges, %s", (_, stored) => {
  let files: ByteSource;

  beforeEach(async () => {
    host.handler = whole(BYTES, { etag: '"1"' });
    files = source("", stored ? { store: new MemoryStore() } : {});
  });

  it("counts the size", async () => {
    expect(await files.size("vae/weights")).toBe(BYTES.length);
  });

  it("is cut from one response as it streams by, skipped spans included", async () => {
    await files.size("vae/weights");
    const before = host.ranges.length;
    const spans: [number, number][] = [
      [0, 8],
      [8, 70_000],
      [200_000, 200_001],
      [299_000, 300_000],
    ];
    const read = await Promise.all(spans.map(([start, end]) => files.read("vae/weights", start, end)));
    for (const [k, [start, end]] of spans.entries()) {
      expectBytes(read[k], BYTES.slice(start, end));
    }
    expect(host.ranges.length - before).toBe(1);
  });

  it("starts over where the connection breaks", async () => {
    await files.size("w");
    const before = host.ranges.length;
    host.handler = (request, response) => {
      if (host.ranges.length > before + 1) {
        whole(BYTES, { etag: '"1"' })(request, response);
        return;
      }
      response.writeHead(200, { "content-length": BYTES.length });
      response.write(BYTES.subarray(0, 1500));
      setTimeout(() => response.destroy(), 50);
    };
    expectBytes(await files.read("w", 1000, 2000), BYTES.slice(1000, 2000));
  });

  it("lets go of the response and reads on afterwards", async () => {
    await files.read("w", 0, 10);
    files.release();
    expectBytes(await files.read("w", 10_000, 10_020), BYTES.slice(10_000, 10_020));
  });
});

describe("what a host that ignores ranges sends on the way", () => {
  it("is stored, so that nothing is asked for a second time", async () => {
    host.handler = whole(BYTES, { etag: '"1"' });
    const store = new MemoryStore();
    const files = source("", { store });
    await files.read("w", 0, 10);
    await files.read("w", 250_000, 250_010);
    const before = host.ranges.length;
    expectBytes(await files.read("w", 100_000, 110_000), BYTES.slice(100_000, 110_000));
    expectBytes(await source("", { store }).read("w", 0, 250_000), BYTES.slice(0, 250_000));
    // The second visit asks for the size, which this host does not say, and for nothing else.
    expect(host.ranges.slice(before).filter((range) => range !== "bytes=0-0")).toEqual([]);
  });
});

describe("a file that is not to be had", () => {
  it.each([404, 410])("is missing by status %i", async (status) => {
    host.handler = (_, response) => response.writeHead(status).end("no");
    const files = source();
    expect((await errorOf(files.size("vae/config.json"))).code).toBe("file_missing");
    const error = await errorOf(files.read("vae/config.json", 0, 5));
    expect(error.code).toBe("file_missing");
    expect(error.details).toEqual({ path: "vae/config.json" });
  });

  it("is missing where the host answers with its page", async () => {
    host.handler = (_, response) => {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
      response.end("<!doctype html>");
    };
    expect((await errorOf(source().size("vae/config.json"))).code).toBe("file_missing");
  });

  it.each([401, 403])("is refused by status %i", async (status) => {
    host.handler = (_, response) => response.writeHead(status).end();
    const error = await errorOf(source().size("w"));
    expect(error.code).toBe("access_denied");
    expect(error.details).toEqual({ path: "w", status });
  });

  it("is out of reach where nobody answers", async () => {
    host.handler = (request) => request.socket.destroy();
    const error = await errorOf(source().size("w"));
    expect(error.code).toBe("network_failed");
    expect(error.message).toContain("CORS");
    expect(host.requests.length).toBe(1 + QUICK.retries);
  });
});

describe("an abort", () => {
  it("ends a read in the middle, and every later one", async () => {
    const files = source();
    await files.size("w");
    host.handler = (_, response) => {
      response.writeHead(206, { "content-length": 7000, "content-range": `bytes 0-6999/${BYTES.length}` });
      response.write(BYTES.subarray(0, 400));
      setTimeout(() => aborter.abort(), 20);
    };
    expect((await errorOf(files.read("w", 0, 1000))).code).toBe("cancelled");
    expect((await errorOf(files.read("w", 0, 1000))).code).toBe("cancelled");
    expect(host.ranges.length).toBe(1);
  });

  it("ends the wait before another try", async () => {
    const files = source("", { retry: { ...QUICK, firstWaitMs: 60_000, longestWaitMs: 60_000 } });
    await files.size("w");
    host.handler = (_, response) => {
      response.writeHead(503).end();
      setTimeout(() => aborter.abort(), 20);
    };
    expect((await errorOf(files.read("w", 0, 10))).code).toBe("cancelled");
    expect(host.ranges.length).toBe(1);
  });
});

describe("a store", () => {
  let store: MemoryStore;

  beforeEach(() => {
    store = new MemoryStore();
    host.handler = ranged(BYTES, { etag: 'W/"1"' });
  });

  it("gives on the second visit what the first one brought", async () => {
    await source("", { store }).read("w", 0, 300_000);
    const asked = host.ranges.length;
    const traffic = new Traffic();
    const again = source("?token=other", { store, traffic });
    expectBytes(await again.read("w", 0, 300_000), BYTES);
    expect(host.ranges.length).toBe(asked);
    expect(traffic.pace.from).toBe("cache");
    expect([...store.records.values()][0]?.source).toBe(`${host.url}model/`);
  });

  it("goes on in the middle of a chunk", async () => {
    const files = source("", { store, retry: { ...QUICK, retries: 0 } });
    await files.size("w");
    host.handler = breaksAfter(400);
    await errorOf(files.read("w", 7000, 7001));
    host.handler = ranged(BYTES, { etag: '"1"' });
    expectBytes(await source("", { store }).read("w", 7000, 14_000), BYTES.slice(7000, 14_000));
    expect(host.ranges).toEqual([second, "bytes=7400-13999"]);
  });

  it("keeps no read waiting for the disk, and is complete once all is stored", async () => {
    let ready = (): void => undefined;
    store.disk = new Promise<void>((resolve) => (ready = resolve));
    const files = source("", { store });
    expectBytes(await files.read("vae/weights", 0, BYTES.length), BYTES);
    expect(store.chunks.size).toBe(0);
    const complete = files.markComplete();
    await new Promise((passed) => setTimeout(passed, 20));
    expect([...store.records.values()].map((record) => record.complete)).toEqual([false]);
    ready();
    await complete;
    expect(store.chunks.size).toBe(Math.ceil(BYTES.length / 7000));
    expect([...store.records.values()].map((record) => record.complete)).toEqual([true]);
  });

  it("drops a file that changed between two visits, and says so", async () => {
    await source("", { store }).read("w", 0, 300_000);
    const changed = BYTES.map((byte) => 255 - byte);
    host.handler = ranged(changed, { etag: '"2"' });
    expectBytes(await source("", { store }).read("w", 0, 10_000), changed.slice(0, 10_000));
    expect(warnings).toMatchObject([{ code: "file_changed", details: { path: "w" } }]);
    expect(store.chunks.size).toBe(2);
  });

  it("keeps nothing that could change unnoticed", async () => {
    host.handler = ranged();
    await source("", { store }).read("w", 0, 10_000);
    expect(store.chunks.size).toBe(0);
  });

  it("stands in for the network once the model was loaded to the end", async () => {
    const files = source("", { store });
    await files.read("w", 0, 300_000);
    host.handler = (request) => request.socket.destroy();
    expect((await errorOf(source("", { store }).read("w", 0, 10))).code).toBe("network_failed");
    await files.markComplete();
    const away = source("", { store });
    expectBytes(await away.read("w", 0, 300_000), BYTES);
    const asked = host.requests.length;
    expect((await errorOf(away.size("x"))).code).toBe("file_missing");
    // It is not asked for every file whether the host is still gone.
    expect(host.requests.length).toBe(asked);
  });
});

describe("a packed folder", () => {
  const [CHUNK, PART] = [7000, 28_000];
  let files: Map<string, Uint8Array>;
  let text: string;

  beforeEach(async () => {
    const { manifest, parts } = await manifestOf(BYTES, CHUNK, PART);
    text = JSON.stringify(manifest);
    files = new Map(parts.map((part, index) => [`/model/parts/vae-${index}.bin`, part]));
    host.handler = (request, response) => {
      const path = new URL(request.url ?? "", host.url).pathname;
      const bytes = path === "/model/manifest.json" ? new TextEncoder().encode(text) : files.get(path);
      if (bytes) {
        ranged(bytes)(request, response);
      } else {
        response.writeHead(404).end();
      }
    };
  });

  const packed = (some: Partial<OpenOptions> = {}): ByteSource =>
    open("manifest", "model/manifest.json", some);

  it("gives sizes and exact spans, across chunks and parts, and knows what is not there", async () => {
    const model = packed();
    expect(await model.size("vae/weights")).toBe(BYTES.length);
    for (const [start, end] of [
      [0, 8],
      [27_999, 28_001],
      [5, 299_999],
    ] as const) {
      expectBytes(await model.read("vae/weights", start, end), BYTES.slice(start, end));
    }
    const asked = host.requests.length;
    expect((await errorOf(model.size("vae/config.json"))).code).toBe("file_missing");
    expect(host.requests.length).toBe(asked);
  });

  it("takes a hash that does not match for an accident once, then for an error that names the chunk", async () => {
    const part = files.get("/model/parts/vae-1.bin") ?? new Uint8Array();
    const damaged = part.map((byte, index) => (index === 7500 ? byte + 1 : byte));
    files.set("/model/parts/vae-1.bin", damaged);
    const store = new MemoryStore();
    const error = await errorOf(packed({ store }).read("vae/weights", 35_000, 35_001));
    expect(error.code).toBe("hash_mismatch");
    expect(error.details).toMatchObject({ path: "vae/weights", chunk: 5 });
    expect(host.ranges.filter((range) => range === "bytes=7000-13999").length).toBe(2);
    expect([store.chunks.size, store.parts.size]).toEqual([0, 0]);

    let served = 0;
    const handler = host.handler;
    host.handler = (request, response) => {
      files.set("/model/parts/vae-1.bin", served++ < 2 ? damaged : part);
      handler(request, response);
    };
    expectBytes(await packed({ store }).read("vae/weights", 28_000, 56_000), BYTES.slice(28_000, 56_000));
  });

  it("heals a part that was stored wrong", async () => {
    const store = new MemoryStore();
    const key = (JSON.parse(text) as { files: { chunks: string[] }[] }).files[0]?.chunks[1] ?? "";
    store.parts.set(key, new Uint8Array(100));
    expectBytes(await packed({ store }).read("vae/weights", 7000, 14_000), BYTES.slice(7000, 14_000));
    expectBytes(store.chunks.get(key), BYTES.slice(7000, 14_000));
  });

  it("shares chunks by what is in them", async () => {
    const store = new MemoryStore();
    await packed({ store }).read("vae/weights", 0, BYTES.length);
    const asked = host.ranges.length;
    const copy = open("manifest", "other/manifest.json", { store });
    const handler = host.handler;
    host.handler = (request, response) => {
      request.url = request.url?.replace("/other/", "/model/") ?? "";
      handler(request, response);
    };
    expectBytes(await copy.read("vae/weights", 0, BYTES.length), BYTES);
    expect(host.ranges.length).toBe(asked + 1);
  });

  it("says of a part of another length that it changed", async () => {
    files.set("/model/parts/vae-0.bin", BYTES.subarray(0, 20_000));
    expect((await errorOf(packed().read("vae/weights", 0, 10))).code).toBe("file_changed");
  });

  it("refuses a manifest that cannot be right", async () => {
    text = text.replace('"version":1', '"version":2');
    const error = await errorOf(packed().size("vae/weights"));
    expect(error.code).toBe("manifest_invalid");
    expect(error.details).toMatchObject({ path: "manifest.json", field: "version" });
  });
});
