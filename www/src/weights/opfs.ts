/**
 * The store in the origin private file system, in the folder `kinetoscope`: whole chunks under `chunks`, begun ones under
 * `parts`, a record a model under `models`. What has its final name is whole: it is written elsewhere, flushed, and
 * then moved. Web Locks keep tabs out of each other's way, and fall with the tab that held them.
 */
import { Flusher } from "./flusher.js";
import {
  type StoreFolders,
  type SyncAccessHandle,
  type WorkerFileHandle,
  openSync,
  remove,
  storeFolders,
} from "./folders.js";
import { type ChunkStore, type PartialChunk, type StoredRecord, isKey, isRecord } from "./store.js";

/** A disk that keeps no more; `full` where the browser says that there is no room. */
export interface StoreFailure {
  readonly full: boolean;
  readonly reason: string;
}

const RECORDS_LOCK = "kinetoscope records";

export class OpfsStore implements ChunkStore {
  readonly #chunks: FileSystemDirectoryHandle;
  readonly #parts: FileSystemDirectoryHandle;
  readonly #models: FileSystemDirectoryHandle;
  readonly #onFailure: (failure: StoreFailure) => void;
  #keeps = true;

  private constructor(folders: StoreFolders, onFailure: (failure: StoreFailure) => void) {
    this.#chunks = folders.chunks;
    this.#parts = folders.parts;
    this.#models = folders.models;
    this.#onFailure = onFailure;
  }

  /** Opens the store to keep what is loaded, in a worker. */
  static async openToKeep(onFailure: (failure: StoreFailure) => void): Promise<OpfsStore | undefined> {
    const can = "FileSystemFileHandle" in globalThis ? FileSystemFileHandle.prototype : {};
    return "createSyncAccessHandle" in can && "move" in can ? OpfsStore.open(onFailure) : undefined;
  }

  /**
   * Opens the store to look at it, and to remove from it. There is none in pages that are not secure, in some private
   * windows, and in older browsers.
   */
  static async open(
    onFailure: (failure: StoreFailure) => void = () => undefined,
  ): Promise<OpfsStore | undefined> {
    try {
      return "locks" in navigator ? new OpfsStore(await storeFolders(), onFailure) : undefined;
    } catch {
      return undefined;
    }
  }

  async has(key: string, bytes: number): Promise<boolean> {
    try {
      const file = await (await this.#chunks.getFileHandle(key)).getFile();
      return file.size === bytes;
    } catch {
      return false;
    }
  }

  async read(key: string, into: Uint8Array<ArrayBuffer>): Promise<boolean> {
    try {
      const handle = (await this.#chunks.getFileHandle(key)) as WorkerFileHandle;
      const whole = (await readSync(handle, into)) || (await readBlob(handle, into));
      if (!whole) {
        // One of another length is damaged: it is fetched anew.
        await remove(this.#chunks, key);
      }
      return whole;
    } catch {
      return false;
    }
  }

  async fill<T>(
    key: string,
    signal: AbortSignal,
    use: (part: PartialChunk | undefined) => Promise<T>,
  ): Promise<T> {
    if (!this.#keeps) {
      return use(undefined);
    }
    return navigator.locks.request(`kinetoscope chunk ${key}`, { signal }, async () => {
      // What another tab has stored meanwhile needs no part.
      const part = (await isThere(this.#chunks, key)) ? undefined : await this.#openPart(key);
      try {
        return await use(part);
      } finally {
        part?.close();
      }
    });
  }

  async record(id: string): Promise<StoredRecord | undefined> {
    return readRecord(this.#models, `${id}.json`);
  }

  async update(
    id: string,
    change: (old: StoredRecord | undefined) => StoredRecord | undefined,
  ): Promise<void> {
    if (!this.#keeps) {
      return;
    }
    await navigator.locks.request(RECORDS_LOCK, async () => {
      const old = await this.record(id);
      const changed = change(old);
      if (!changed || changed === old) {
        return;
      }
      try {
        await this.#writeRecord(id, JSON.stringify(changed));
        const named = new Set(changed.files.flatMap((file) => file.chunks));
        const dropped = old?.files.flatMap((file) => file.chunks).filter((key) => !named.has(key)) ?? [];
        if (dropped.length > 0) {
          await this.#removeUnnamed(dropped);
        }
      } catch (thrown) {
        this.#fail(thrown);
      }
    });
  }

  /** Every model that is stored, in part or whole, with what each chunk it names takes here. */
  async list(): Promise<{ record: StoredRecord; sizes: ReadonlyMap<string, number> }[]> {
    const records = await this.#records();
    const stored = new Map<string, number>();
    for (const folder of [this.#parts, this.#chunks]) {
      for await (const [key, handle] of folder.entries()) {
        if (isFile(handle)) {
          // One that is just being moved away is counted where it goes.
          const size = await handle.getFile().then(
            (file) => file.size,
            () => 0,
          );
          stored.set(key, (stored.get(key) ?? 0) + size);
        }
      }
    }
    return records.map((record) => {
      const sizes = new Map<string, number>();
      for (const key of record.files.flatMap((file) => file.chunks)) {
        const size = stored.get(key);
        if (size !== undefined) {
          sizes.set(key, size);
        }
      }
      return { record, sizes };
    });
  }

  /** Forgets a model, and every chunk that no other one names. */
  async remove(id: string): Promise<void> {
    await navigator.locks.request(RECORDS_LOCK, async () => {
      await remove(this.#models, `${id}.json`);
      const keys: string[] = [];
      for (const folder of [this.#parts, this.#chunks]) {
        for await (const key of folder.keys()) {
          keys.push(key);
        }
      }
      await this.#removeUnnamed(keys);
    });
  }

  /** Removes those of the chunks that no record names. */
  async #removeUnnamed(keys: readonly string[]): Promise<void> {
    const named = new Set(
      (await this.#records()).flatMap((record) => record.files.flatMap((file) => file.chunks)),
    );
    for (const key of new Set(keys)) {
      if (!named.has(key)) {
        await Promise.all([remove(this.#chunks, key), remove(this.#parts, key)]);
      }
    }
  }

  async #records(): Promise<StoredRecord[]> {
    const records: StoredRecord[] = [];
    for await (const name of this.#models.keys()) {
      const record = await readRecord(this.#models, name);
      if (record) {
        records.push(record);
      }
    }
    return records;
  }

  async #writeRecord(id: string, text: string): Promise<void> {
    const { handle, file } = await openSync(this.#parts, `${id}.json`, { create: true });
    try {
      file.truncate(0);
      writeAll(file, new TextEncoder().encode(text), 0);
      file.flush();
    } finally {
      file.close();
    }
    await handle.move(this.#models, `${id}.json`);
  }

  async #openPart(key: string): Promise<OpfsPart | undefined> {
    if (!isKey(key)) {
      return undefined;
    }
    try {
      const { file } = await openSync(this.#parts, key, { create: true });
      return new OpfsPart(file, {
        finish: () => Flusher.flush(key),
        remove: () => remove(this.#parts, key),
        failed: (thrown) => this.#fail(thrown),
      });
    } catch (thrown) {
      this.#fail(thrown);
      return undefined;
    }
  }

  #fail(thrown: unknown): void {
    if (!this.#keeps) {
      return;
    }
    this.#keeps = false;
    const { name, message } = thrown instanceof Error ? thrown : { name: "", message: String(thrown) };
    this.#onFailure({ full: name === "QuotaExceededError", reason: message });
  }
}

class OpfsPart implements PartialChunk {
  #file: SyncAccessHandle | undefined;
  readonly #then: { finish(): Promise<void>; remove(): Promise<void>; failed(thrown: unknown): void };

  constructor(
    file: SyncAccessHandle,
    then: { finish(): Promise<void>; remove(): Promise<void>; failed(thrown: unknown): void },
  ) {
    this.#file = file;
    this.#then = then;
  }

  size(limit: number): number {
    let there = 0;
    this.#try((file) => {
      const size = file.getSize();
      if (size > limit) {
        file.truncate(0);
      } else {
        there = size;
      }
    });
    return there;
  }

  read(into: Uint8Array<ArrayBuffer>): number {
    const size = this.size(into.length);
    let there = 0;
    this.#try((file) => (there = file.read(into.subarray(0, size), { at: 0 })));
    return there;
  }

  write(piece: Uint8Array<ArrayBuffer>, at: number): void {
    this.#try((file) => writeAll(file, piece, at));
  }

  restart(): void {
    this.#try((file) => file.truncate(0));
  }

  async finish(): Promise<void> {
    if (!this.#file) {
      return;
    }
    this.close();
    try {
      await this.#then.finish();
    } catch (thrown) {
      this.#then.failed(thrown);
    }
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  /** A part that failed is given up, and its room with it. */
  #try(action: (file: SyncAccessHandle) => unknown): void {
    if (!this.#file) {
      return;
    }
    try {
      action(this.#file);
    } catch (thrown) {
      this.close();
      void this.#then.remove();
      this.#then.failed(thrown);
    }
  }
}

/** Several times as fast as a blob; false too where another tab has the file, in browsers that let only one have it. */
async function readSync(handle: WorkerFileHandle, into: Uint8Array<ArrayBuffer>): Promise<boolean> {
  const file = await handle.createSyncAccessHandle({ mode: "read-only" }).catch(() => undefined);
  try {
    return file?.getSize() === into.length && file.read(into, { at: 0 }) === into.length;
  } finally {
    file?.close();
  }
}

async function readBlob(handle: FileSystemFileHandle, into: Uint8Array<ArrayBuffer>): Promise<boolean> {
  const file = await handle.getFile();
  if (file.size !== into.length) {
    return false;
  }
  into.set(new Uint8Array(await file.arrayBuffer()));
  return true;
}

function writeAll(file: SyncAccessHandle, bytes: Uint8Array<ArrayBuffer>, at: number): void {
  if (file.write(bytes, { at }) < bytes.length) {
    throw new DOMException("the disk took only a part of what was written", "QuotaExceededError");
  }
}

async function readRecord(
  folder: FileSystemDirectoryHandle,
  name: string,
): Promise<StoredRecord | undefined> {
  try {
    const file = await (await folder.getFileHandle(name)).getFile();
    const found: unknown = JSON.parse(await file.text());
    return isRecord(found) && `${found.id}.json` === name ? found : undefined;
  } catch {
    return undefined;
  }
}

async function isThere(folder: FileSystemDirectoryHandle, name: string): Promise<boolean> {
  return folder.getFileHandle(name).then(
    () => true,
    () => false,
  );
}

function isFile(handle: FileSystemHandle): handle is FileSystemFileHandle {
  return handle.kind === "file";
}
