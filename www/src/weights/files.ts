/** Model files on this device. */
import { KinetoscopeError, cancelled } from "../errors.js";
import { fileMissing, fileTruncated, readFailed } from "./failures.js";
import type { ByteSource } from "./source.js";

/** Blobs by their path inside the folder. */
export class FileSource implements ByteSource {
  readonly #files: ReadonlyMap<string, Blob>;
  readonly #signal: AbortSignal;

  constructor(files: ReadonlyMap<string, Blob>, signal: AbortSignal) {
    this.#files = files;
    this.#signal = signal;
  }

  async size(path: string): Promise<number> {
    return this.#file(path).size;
  }

  async read(path: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    return readBlob(path, this.#file(path), start, end, this.#signal);
  }

  release(): void {}

  #file(path: string): Blob {
    const file = this.#files.get(path);
    if (!file) {
      throw fileMissing(path);
    }
    return file;
  }
}

/** A folder that the visitor chose, or one of the origin's private file system. */
export class DirectorySource implements ByteSource {
  readonly #root: FileSystemDirectoryHandle;
  readonly #signal: AbortSignal;
  readonly #files = new Map<string, Promise<File>>();

  constructor(root: FileSystemDirectoryHandle, signal: AbortSignal) {
    this.#root = root;
    this.#signal = signal;
  }

  async size(path: string): Promise<number> {
    return (await this.#file(path)).size;
  }

  async read(path: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    return readBlob(path, await this.#file(path), start, end, this.#signal);
  }

  release(): void {
    this.#files.clear();
  }

  #file(path: string): Promise<File> {
    let file = this.#files.get(path);
    if (!file) {
      file = this.#open(path);
      this.#files.set(path, file);
    }
    return file;
  }

  async #open(path: string): Promise<File> {
    const folders = path.split("/");
    const name = folders.pop() ?? "";
    try {
      let folder = this.#root;
      for (const part of folders) {
        folder = await folder.getDirectoryHandle(part);
      }
      return await (await folder.getFileHandle(name)).getFile();
    } catch (thrown) {
      throw fromDomException(path, thrown);
    }
  }
}

async function readBlob(
  path: string,
  blob: Blob,
  start: number,
  end: number,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  if (signal.aborted) {
    throw cancelled();
  }
  if (end > blob.size) {
    throw fileTruncated(path, end, blob.size);
  }
  try {
    return new Uint8Array(await blob.slice(start, end).arrayBuffer());
  } catch (thrown) {
    throw fromDomException(path, thrown);
  }
}

function fromDomException(path: string, thrown: unknown): KinetoscopeError {
  const name = thrown instanceof Error ? thrown.name : "";
  if (name === "NotFoundError" || name === "TypeMismatchError") {
    return fileMissing(path);
  }
  // Browsers say NotReadableError both for a lost permission and for a file that changed after it was chosen.
  return readFailed(
    path,
    thrown instanceof Error ? `${thrown.message}; choose the folder again` : String(thrown),
  );
}
