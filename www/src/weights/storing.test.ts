/** What is fetched for the store alone, and read from there later. */
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

const CHUNK = 7000;
const CHUNKS = Math.ceil(BYTES.length / CHUNK);

let host: Host;
let store: MemoryStore;

beforeEach(async () => {
  host = await Host.start(ranged(BYTES, { etag: '"1"' }));
  store = new MemoryStore();
});

afterEach(() => host.stop());

function source(some: Partial<OpenOptions> = {}): ByteSource {
  return openSource({ kind: "folder", url: host.url }, { retry: QUICK, chunkBytes: CHUNK, store, ...some });
}

/** As the wasm fetches: spans that share chunks, several at once. */
async function fetchAll(files: ByteSource): Promise<void> {
  const spans = Array.from({ length: 100 }, (_, index) => index * 3000);
  let next = 0;
  const fetch = async (): Promise<void> => {
    for (let start = spans[next++]; start !== undefined; start = spans[next++]) {
      await files.fetch("w", start, start + 3000);
    }
  };
  await Promise.all(Array.from({ length: 10 }, fetch));
}

describe("fetching for the store", () => {
  it("asks for each chunk once, and never again", async () => {
    await fetchAll(source());
    expect(host.ranges.length).toBe(CHUNKS);
    expect(new Set(host.ranges).size).toBe(CHUNKS);
    const files = source();
    await fetchAll(files);
    expectBytes(await files.read("w", 0, BYTES.length), BYTES);
    expect(host.ranges.length).toBe(CHUNKS);
  });

  it("is complete once the disk has all of it, and keeps nothing waiting until then", async () => {
    let ready = (): void => undefined;
    store.disk = new Promise<void>((resolve) => (ready = resolve));
    const files = source();
    await fetchAll(files);
    expect(store.chunks.size).toBe(0);
    const read = files.read("w", 0, BYTES.length);
    const complete = files.markComplete();
    ready();
    await complete;
    expect(store.chunks.size).toBe(CHUNKS);
    expectBytes(await read, BYTES);
    expect(host.ranges.length).toBe(CHUNKS);
  });

  it("shares what is read at the same time", async () => {
    const files = source();
    const [, read] = await Promise.all([fetchAll(files), files.read("w", 0, BYTES.length)]);
    expectBytes(read, BYTES);
    expect(host.ranges.length).toBe(CHUNKS);
  });

  it("goes on in the middle of a chunk", async () => {
    const breaks: Handler = (_, response) => {
      response.writeHead(206, { "content-range": `bytes 7000-13999/${BYTES.length}` });
      response.write(BYTES.subarray(7000, 7400));
      setTimeout(() => response.destroy(), 20);
    };
    const files = source({ retry: { ...QUICK, retries: 0 } });
    await files.size("w");
    host.handler = breaks;
    expect((await errorOf(files.fetch("w", 7000, 14_000))).code).toBe("connection_lost");
    host.handler = ranged(BYTES, { etag: '"1"' });
    await source().fetch("w", 7000, 14_000);
    expect(host.ranges).toEqual(["bytes=7000-13999", "bytes=7400-13999"]);
    expectBytes(await source().read("w", 7000, 14_000), BYTES.slice(7000, 14_000));
  });

  it("cuts all from the one response of a host that ignores ranges", async () => {
    host.handler = whole(BYTES, { etag: '"1"' });
    const files = source();
    await files.size("w");
    const before = host.ranges.length;
    await fetchAll(files);
    expectBytes(await files.read("w", 0, BYTES.length), BYTES);
    expect(host.ranges.length - before).toBe(1);
  });

  it("checks what has a hash, and fetches it again where it does not match", async () => {
    const { manifest, parts } = await manifestOf(BYTES, CHUNK, 4 * CHUNK);
    let damaged = 2;
    host.handler = (request, response) => {
      const part = parts[Number(/vae-(\d+)/.exec(request.url ?? "")?.[1])];
      const isDamaged = part === parts[0] && request.headers.range === "bytes=0-6999" && damaged-- > 0;
      const bytes = part ?? new TextEncoder().encode(JSON.stringify(manifest));
      ranged(isDamaged ? bytes.map((byte, index) => (index === 17 ? byte + 1 : byte)) : bytes)(
        request,
        response,
      );
    };
    const packed = (): ByteSource =>
      openSource({ kind: "manifest", url: `${host.url}manifest.json` }, { retry: QUICK, store });
    const error = await errorOf(packed().fetch("vae/weights", 0, 14_000));
    expect(error.code).toBe("hash_mismatch");
    const files = packed();
    await files.fetch("vae/weights", 0, BYTES.length);
    await files.markComplete();
    expect(store.chunks.size).toBe(CHUNKS);
    expectBytes(await files.read("vae/weights", 0, BYTES.length), BYTES);
  });

  it("does nothing where nothing can be kept", async () => {
    host.handler = ranged();
    await source().fetch("w", 0, BYTES.length);
    await source({ store: undefined }).fetch("w", 0, BYTES.length);
    expect(host.ranges).toEqual([]);
  });
});
