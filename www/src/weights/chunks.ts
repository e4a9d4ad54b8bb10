/** Files read by whole chunks of a fixed grid: from the store where they are kept, else from the host. */
import { fileTruncated, hashMismatch } from "./failures.js";
import type { HttpFile, Range } from "./http.js";
import { ChunkMemory } from "./memory.js";
import { type ChunkStore, type PartialChunk, chunkLength, sha256 } from "./store.js";
import type { Traffic } from "./traffic.js";

/** Connections at once. */
const PARALLEL_CHUNKS = 6;
/** Chunks of one read that the store is asked for at once. */
const STORED_CHUNKS_OF_READ = 2;
/** Chunks brought before they are read, where the plan has them: so the network need not wait for disk and device. */
const CHUNKS_AHEAD = 3;
/** Chunks kept in memory for the next reads, which mostly begin inside the last one. */
const RECENT_BYTES = 24 << 20;
/** Bytes written to the store at once: the network's pieces are so small that each one's write costs more than its bytes. */
const WRITE_BYTES = 1 << 20;
/** A read of no more than this, of what was not announced, is not worth a whole chunk: a row of an embedding table. */
const ASIDE_BYTES = 256 << 10;

/** A chunk, and where on which host it is. */
export interface Chunk {
  readonly index: number;
  readonly bytes: number;
  readonly remote: HttpFile;
  /** Its first byte there. */
  readonly start: number;
  /** The name it is stored under; none where it cannot be told from one of another version. */
  readonly key: string | undefined;
  readonly sha256: string | undefined;
}

/** A file, cut into chunks. */
export interface ChunkLayout {
  readonly path: string;
  readonly bytes: number;
  readonly chunkBytes: number;
  chunk(index: number): Chunk;
}

/**
 * Brings single chunks. Shared by the files of a source, so that all of them together stay in bounds. Whoever is given a
 * chunk holds its memory, and drops it when done.
 */
export class ChunkReader {
  readonly memory = new ChunkMemory();
  readonly #store: ChunkStore | undefined;
  readonly #traffic: Traffic;
  readonly #signal: AbortSignal;
  /** Oldest first. */
  readonly #recent = new Map<string, Uint8Array<ArrayBuffer>>();
  #recentBytes = 0;
  #running = 0;
  readonly #storing = new Set<Promise<void>>();
  readonly #waiting: (() => void)[] = [];

  constructor(store: ChunkStore | undefined, traffic: Traffic, signal: AbortSignal) {
    this.#store = store;
    this.#traffic = traffic;
    this.#signal = signal;
  }

  get stores(): boolean {
    return this.#store !== undefined;
  }

  /** The chunk, if it is on this device. */
  async kept(path: string, chunk: Chunk): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const recent = this.#recent.get(nameOf(path, chunk));
    if (recent) {
      this.memory.hold(recent);
      return recent;
    }
    if (chunk.key === undefined || !this.#store) {
      return undefined;
    }
    const bytes = this.memory.take(chunk.bytes);
    if (!(await this.#store.read(chunk.key, bytes))) {
      this.memory.drop(bytes);
      return undefined;
    }
    this.#traffic.add(bytes.length, "cache");
    this.#remember(path, chunk, bytes);
    return bytes;
  }

  /** Whether the chunk is in the store. */
  async isStored({ key, bytes }: Chunk): Promise<boolean> {
    return key !== undefined && (await this.#store?.has(key, bytes)) === true;
  }

  /** The chunk from its host, checked. Where there is a store it is stored too, which may end after the bytes are here. */
  async download(path: string, chunk: Chunk): Promise<Uint8Array<ArrayBuffer>> {
    const { key } = chunk;
    return this.#connected(async (arrived) => {
      const fetch = async (part?: PartialChunk): Promise<Uint8Array<ArrayBuffer>> => {
        const bytes = await this.#fetch(path, chunk, part);
        this.#remember(path, chunk, bytes);
        return bytes;
      };
      if (!this.#store || key === undefined) {
        arrived(await fetch());
        return;
      }
      await this.#store.fill(key, this.#signal, async (part) => {
        // No part: the store is full, or another tab has stored the chunk while this one waited for its turn.
        const kept = part ? undefined : await this.kept(path, chunk);
        arrived(kept ?? (await fetch(part)));
        await part?.finish();
      });
    });
  }

  /** The chunk from its host into the store, checked, if it can be stored; that may end after it is here. */
  async downloadToStore(path: string, chunk: Chunk): Promise<void> {
    const [store, { key }] = [this.#store, chunk];
    if (!store || key === undefined) {
      return;
    }
    return this.#connected((arrived) =>
      store.fill(key, this.#signal, async (part) => {
        if (part && chunk.sha256 === undefined) {
          await this.#pass(chunk, part);
        } else if (part) {
          this.memory.drop(await this.#fetch(path, chunk, part));
        }
        arrived();
        await part?.finish();
      }),
    );
  }

  /** Settles once what was downloaded is stored. */
  async settle(): Promise<void> {
    await Promise.all(this.#storing);
  }

  /** Bytes from the host that are not kept. */
  async fetchAside({ remote, start }: Chunk, range: Range): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(range.end - range.start);
    let filled = 0;
    await this.#enter();
    try {
      await remote.fetch({ start: start + range.start, end: start + range.end }, (piece) => {
        bytes.set(piece, filled);
        filled += piece.length;
        this.#traffic.add(piece.length, "network");
      });
    } finally {
      this.#leave();
    }
    return bytes;
  }

  release(): void {
    this.#recent.clear();
    this.#recentBytes = 0;
    this.memory.release();
  }

  /** Brings something over a connection of its own, which is the next one's once it has arrived: the disk may be behind. */
  async #connected<T>(bring: (arrived: (what: T) => void) => Promise<void>): Promise<T> {
    await this.#enter();
    const arrives = new Promise<T>((arrived, failed) => {
      const stored = bring(arrived)
        .catch(failed)
        .finally(() => this.#storing.delete(stored));
      this.#storing.add(stored);
    });
    return arrives.finally(() => this.#leave());
  }

  /** From the host to the disk, with nothing of it held here. */
  async #pass({ remote, start, bytes }: Chunk, part: PartialChunk): Promise<void> {
    let filled = part.size(bytes);
    this.#traffic.add(filled, "cache");
    await remote.fetch({ start: start + filled, end: start + bytes }, (piece) => {
      part.write(piece, filled);
      filled += piece.length;
      this.#traffic.add(piece.length, "network");
    });
  }

  async #fetch(path: string, chunk: Chunk, part: PartialChunk | undefined): Promise<Uint8Array<ArrayBuffer>> {
    const { remote, start } = chunk;
    // Where it fails, what still comes may go into this memory: it is not dropped then.
    const bytes = this.memory.take(chunk.bytes);
    let filled = part?.read(bytes) ?? 0;
    let written = filled;
    this.#traffic.add(filled, "cache");
    const write = (): void => {
      part?.write(bytes.subarray(written, filled), written);
      written = filled;
    };
    for (let again = false; ; again = true) {
      const range = { start: start + filled, end: start + chunk.bytes };
      const take = (piece: Uint8Array<ArrayBuffer>): void => {
        bytes.set(piece, filled);
        filled += piece.length;
        this.#traffic.add(piece.length, "network");
        if (filled - written >= WRITE_BYTES) {
          write();
        }
      };
      try {
        await remote.fetch(range, take, again);
      } finally {
        // What came before a failure need not come again.
        write();
      }
      const found = chunk.sha256 === undefined ? undefined : await sha256(bytes);
      if (found === chunk.sha256) {
        break;
      }
      part?.restart();
      filled = written = 0;
      if (again) {
        throw hashMismatch(path, chunk.index, chunk.sha256 ?? "", found ?? "");
      }
    }
    return bytes;
  }

  #remember(path: string, chunk: Chunk, bytes: Uint8Array<ArrayBuffer>): void {
    const name = nameOf(path, chunk);
    if (this.#recent.has(name)) {
      return;
    }
    this.memory.hold(bytes);
    this.#recent.set(name, bytes);
    this.#recentBytes += bytes.length;
    for (const [first, oldest] of this.#recent) {
      if (this.#recentBytes <= RECENT_BYTES) {
        break;
      }
      this.#recent.delete(first);
      this.#recentBytes -= oldest.length;
      this.memory.drop(oldest);
    }
  }

  async #enter(): Promise<void> {
    if (this.#running >= PARALLEL_CHUNKS) {
      await new Promise<void>((turn) => this.#waiting.push(turn));
    } else {
      this.#running += 1;
    }
  }

  /** Hands the place on, or gives it up. */
  #leave(): void {
    const next = this.#waiting.shift();
    if (next) {
      next();
    } else {
      this.#running -= 1;
    }
  }
}

/** A chunk on its way, and how many reads wait for it. */
interface Coming {
  readonly chunk: Promise<Uint8Array<ArrayBuffer>>;
  readers: number;
}

/** Reads spans of one file. */
export class ChunkedFile {
  readonly #layout: ChunkLayout;
  readonly #reader: ChunkReader;
  readonly #coming = new Map<number, Coming>();
  /** Chunks on their way to the store alone, and those that are there, which the disk may have later. */
  readonly #storing = new Map<number, Promise<void>>();
  readonly #stored = new Set<number>();
  /** What is going to be read. */
  #planned: readonly Range[] = [];
  /** Whether anything ever was. */
  #announced = false;
  /** Until the host is known to do ranges, one chunk is asked for after the other, in the order of the reads. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(layout: ChunkLayout, reader: ChunkReader) {
    this.#layout = layout;
    this.#reader = reader;
  }

  get bytes(): number {
    return this.#layout.bytes;
  }

  /**
   * Takes note of what is going to be read, and of nothing else: what is brought ahead and then not read would stay in
   * memory.
   */
  plan(spans: readonly Range[]): void {
    this.#planned = spans;
    this.#announced ||= spans.length > 0;
  }

  /** Stores the chunks of a span, where there is a store that can keep them. */
  async fetch(start: number, end: number): Promise<void> {
    const { chunkBytes } = this.#layout;
    if (!this.#reader.stores) {
      return;
    }
    for (let index = Math.floor(start / chunkBytes); index * chunkBytes < end; index++) {
      // What is read meanwhile is stored by whoever reads it.
      await (this.#coming.get(index)?.chunk ?? this.#beginStoring(index));
    }
  }

  /** Bytes that the caller holds. */
  async read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const { path, bytes, chunkBytes } = this.#layout;
    if (end > bytes) {
      throw fileTruncated(path, end, bytes);
    }
    const [first, last] = [Math.floor(start / chunkBytes), Math.ceil(end / chunkBytes) - 1];
    if (first === last) {
      const within = { start: start - first * chunkBytes, end: end - first * chunkBytes };
      if (this.#isAside(first, { start, end })) {
        return this.#readAside(first, within);
      }
      const chunk = this.#chunk(first);
      this.#bringAhead(last);
      return (await chunk).subarray(within.start, within.end);
    }
    const span = this.#reader.memory.take(end - start);
    let next = first;
    const copyChunks = async (): Promise<void> => {
      while (next <= last) {
        const index = next++;
        const at = index * chunkBytes;
        const chunk = await this.#chunk(index);
        span.set(chunk.subarray(Math.max(start - at, 0), end - at), Math.max(at - start, 0));
        this.#reader.memory.drop(chunk);
      }
    };
    // Without a store the chunks of a read come before those of the next one, as a host without ranges sends them.
    const atOnce = this.#reader.stores ? STORED_CHUNKS_OF_READ : last - first + 1;
    const copying = Array.from({ length: atOnce }, copyChunks);
    if (last - first < CHUNKS_AHEAD) {
      this.#bringAhead(last);
    }
    await Promise.all(copying);
    return span;
  }

  async #chunk(index: number): Promise<Uint8Array<ArrayBuffer>> {
    const coming = this.#begin(index);
    coming.readers += 1;
    try {
      const chunk = await coming.chunk;
      // Held once for whoever brought it, which the last of those who waited takes over.
      if (coming.readers > 1) {
        this.#reader.memory.hold(chunk);
      }
      return chunk;
    } finally {
      coming.readers -= 1;
      // A failure too was of this read: the next one tries anew.
      if (this.#coming.get(index) === coming) {
        this.#coming.delete(index);
      }
    }
  }

  /** Begins what is going to be read after a chunk; what fails of it says so when it is read. */
  #bringAhead(last: number): void {
    const { bytes, chunkBytes } = this.#layout;
    for (let index = last + 1; index <= last + CHUNKS_AHEAD && index * chunkBytes < bytes; index++) {
      const chunk = { start: index * chunkBytes, end: (index + 1) * chunkBytes };
      if (this.#isPlanned(chunk)) {
        this.#begin(index).chunk.catch(() => undefined);
      }
    }
  }

  #begin(index: number): Coming {
    let coming = this.#coming.get(index);
    if (!coming) {
      coming = { chunk: this.#bring(this.#layout.chunk(index), this.#turn), readers: 0 };
      this.#coming.set(index, coming);
      this.#follow(coming.chunk);
    }
    return coming;
  }

  async #bring(chunk: Chunk, turn: Promise<unknown>): Promise<Uint8Array<ArrayBuffer>> {
    const { path } = this.#layout;
    // Where that fails, this read is to say so.
    await this.#storing.get(chunk.index)?.catch(() => undefined);
    const kept = await this.#reader.kept(path, chunk);
    if (kept) {
      return kept;
    }
    await this.#awaitTurn(chunk, turn);
    return this.#reader.download(path, chunk);
  }

  #beginStoring(index: number): Promise<void> {
    let storing = this.#storing.get(index);
    if (!storing) {
      storing = this.#store(this.#layout.chunk(index), this.#turn).finally(() => this.#storing.delete(index));
      this.#storing.set(index, storing);
      this.#follow(storing);
    }
    return storing;
  }

  async #store(chunk: Chunk, turn: Promise<unknown>): Promise<void> {
    if (chunk.key === undefined || this.#stored.has(chunk.index)) {
      return;
    }
    if (!(await this.#reader.isStored(chunk))) {
      await this.#awaitTurn(chunk, turn);
      await this.#reader.downloadToStore(this.#layout.path, chunk);
    }
    this.#stored.add(chunk.index);
  }

  /** The next one's turn is after that. */
  #follow(coming: Promise<unknown>): void {
    // Without their values: the last promise would hold every chunk there ever was.
    this.#turn = Promise.allSettled([this.#turn, coming]).then(() => undefined);
  }

  async #awaitTurn(chunk: Chunk, turn: Promise<unknown>): Promise<void> {
    if (!chunk.remote.ranged) {
      await Promise.race([turn, chunk.remote.foundRanged]);
      await this.#keepWhatPasses(chunk);
    }
  }

  /** Without ranges all that lies before a chunk comes along: it is stored rather than asked for again later. */
  async #keepWhatPasses({ index, remote, start }: Chunk): Promise<void> {
    const { path, chunkBytes } = this.#layout;
    if (!this.#reader.stores || remote.streamsAt === undefined || remote.streamsAt > start) {
      return;
    }
    for (let before = index - Math.floor((start - remote.streamsAt) / chunkBytes); before < index; before++) {
      const passing = this.#layout.chunk(before);
      if (!(await this.#reader.isStored(passing))) {
        await this.#reader.downloadToStore(path, passing);
      }
    }
  }

  #isAside(index: number, { start, end }: Range): boolean {
    const { remote, sha256 } = this.#layout.chunk(index);
    return (
      sha256 === undefined &&
      remote.ranged === true &&
      end - start <= ASIDE_BYTES &&
      this.#announced &&
      !this.#isPlanned({ start, end })
    );
  }

  #isPlanned({ start, end }: Range): boolean {
    return this.#planned.some((span) => span.start < end && start < span.end);
  }

  async #readAside(index: number, range: Range): Promise<Uint8Array<ArrayBuffer>> {
    const chunk = this.#layout.chunk(index);
    const kept = await this.#reader.kept(this.#layout.path, chunk);
    return kept ? kept.subarray(range.start, range.end) : this.#reader.fetchAside(chunk, range);
  }
}

function nameOf(path: string, { index }: Chunk): string {
  return `${index} ${path}`;
}

/** The chunks of a file that is one file on its host too. */
export function plainLayout(
  path: string,
  bytes: number,
  chunkBytes: number,
  remote: HttpFile,
  keys: readonly string[] | undefined,
): ChunkLayout {
  return {
    path,
    bytes,
    chunkBytes,
    chunk: (index) => ({
      index,
      bytes: chunkLength({ bytes, chunkBytes }, index),
      remote,
      start: index * chunkBytes,
      key: keys?.[index],
      sha256: undefined,
    }),
  };
}
