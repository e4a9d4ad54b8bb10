/** Model files on this device. */
import { KinetoscopeError, cancelled } from "../errors.js";
import { fileMissing, fileTruncated, readFailed } from "./failures.js";
import type { ByteSource, OpenOptions } from "./source.js";

/** What they have in common: they are read in place, so there is nothing to plan, to keep or to let go of. */
abstract class LocalSource implements ByteSource {
  readonly #options: OpenOptions;

  constructor(options: OpenOptions) {
    this.#options = options;
  }

  async size(path: string): Promise<number> {
    return (await this.file(path)).size;
  }

  async read(path: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = await readBlob(path, await this.file(path), start, end, this.#options.signal);
    this.#options.traffic.add(bytes.length, "files");
    return bytes;
  }

  giveBack(): void {}

  async fetch(): Promise<void> {}

  plan(): void {}

  async markComplete(): Promise<void> {}

  release(): void {}

  protected abstract file(path: string): Promise<Blob>;
}

/** Blobs by their path inside the folder. */
export class FileSource extends LocalSource {
  readonly #files: ReadonlyMap<string, Blob>;

  constructor(files: ReadonlyMap<string, Blob>, options: OpenOptions) {
    super(options);
    this.#files = files;
  }

  protected override async file(path: string): Promise<Blob> {
    const file = this.#files.get(path);
    if (!file) {
      throw fileMissing(path);
    }
    return file;
  }
}

/** One file, whatever path it is asked for by. */
export class SingleFileSource extends LocalSource {
  readonly #file: Blob;

  constructor(file: Blob, options: OpenOptions) {
    super(options);
    this.#file = file;
  }

  protected override async file(): Promise<Blob> {
    return this.#file;
  }
}

/** A folder that the visitor chose, or one of the origin's private file system. */
export class DirectorySource extends LocalSource {
  readonly #root: FileSystemDirectoryHandle;
  readonly #files = new Map<string, Promise<File>>();

  constructor(root: FileSystemDirectoryHandle, options: OpenOptions) {
    super(options);
    this.#root = root;
  }

  override release(): void {
    this.#files.clear();
  }

  protected override file(path: string): Promise<File> {
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
