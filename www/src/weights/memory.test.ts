import { afterEach, describe, expect, it } from "vitest";
import { ChunkMemory } from "./memory.js";
import { type OpenOptions, openSource } from "./source.js";
import { type Handler, Host, MemoryStore, QUICK, expectBytes, ranged } from "./testing.js";

const CHUNK_BYTES = 2 << 20;

describe("memory for chunks", () => {
  it("is used again once its last holder has dropped it, for as much or less", () => {
    const memory = new ChunkMemory();
    const bytes = memory.take(CHUNK_BYTES);
    memory.hold(bytes.subarray(10, 20));
    memory.drop(bytes);
    expect(memory.take(CHUNK_BYTES).buffer).not.toBe(bytes.buffer);
    memory.drop(bytes.subarray(10, 20));
    expect(memory.take(CHUNK_BYTES + 1).buffer).not.toBe(bytes.buffer);
    const again = memory.take(CHUNK_BYTES - 1);
    expect(again.buffer).toBe(bytes.buffer);
    expect(again.length).toBe(CHUNK_BYTES - 1);
  });

  it("keeps neither what is small, nor what is not its own, nor much, nor anything once released", () => {
    const memory = new ChunkMemory();
    const small = memory.take(1000);
    const foreign = new Uint8Array(CHUNK_BYTES);
    [small, foreign].forEach((bytes) => memory.drop(bytes));
    expect(memory.take(1000).buffer).not.toBe(small.buffer);
    expect(memory.take(CHUNK_BYTES).buffer).not.toBe(foreign.buffer);

    const many = Array.from({ length: 40 }, () => memory.take(CHUNK_BYTES));
    many.forEach((bytes) => memory.drop(bytes));
    const before = new Set(many.map(({ buffer }) => buffer));
    const found = many.filter(() => before.has(memory.take(CHUNK_BYTES).buffer));
    expect(found.length).toBe(16);

    const last = memory.take(CHUNK_BYTES);
    memory.drop(last);
    memory.release();
    expect(memory.take(CHUNK_BYTES).buffer).not.toBe(last.buffer);
  });
});

describe("reads that give their memory back", () => {
  const file = new Uint8Array(Uint32Array.from({ length: 12 << 20 }, (_, index) => index).buffer);
  let host: Host;
  afterEach(() => host.stop());

  /** Reads everything, some at once, some twice, each held for a while; gives how many memories that took. */
  async function readAll(some: Partial<OpenOptions>): Promise<number> {
    const files = openSource(
      { kind: "folder", url: host.url },
      { retry: QUICK, chunkBytes: CHUNK_BYTES, ...some },
    );
    const bytes = await files.size("w");
    files.plan([{ path: "w", start: 0, end: bytes }]);
    const memories = new Set<ArrayBuffer>();
    let next = 0;
    const read = async (): Promise<void> => {
      while (next < bytes) {
        const start = next;
        const end = Math.min(bytes, start + 1 + Math.floor(Math.random() * 2 * CHUNK_BYTES));
        next = end;
        const spans = await Promise.all([files.read("w", start, end), files.read("w", start, end)]);
        for (const span of spans) {
          memories.add(span.buffer);
          await new Promise((done) => setTimeout(done, Math.random() * 10));
          expectBytes(span, file.subarray(start, end));
          files.giveBack(span);
        }
      }
    };
    await Promise.all([read(), read(), read()]);
    await files.markComplete();
    return memories.size;
  }

  it("see what they asked for, from a host that breaks, into a store, and from there", async () => {
    const ok = ranged(file, { etag: '"1"' });
    const breaking: Handler = (request, response) => {
      ok(request, response);
      if (request.method === "GET" && Math.random() < 0.3) {
        setTimeout(() => response.destroy(), Math.random() * 5);
      }
    };
    host = await Host.start(breaking);
    const retry = { ...QUICK, retries: 50 };
    expect(await readAll({ retry })).toBeLessThan(30);
    const store = new MemoryStore();
    await readAll({ retry, store });
    expect(store.chunks.size).toBe(file.length / CHUNK_BYTES);
    host.handler = ok;
    expect(await readAll({ store })).toBeLessThan(30);
  });
});
