/** The store's place in the origin private file system, and how its files are opened. */

/** A worker that has just ended may still hold its files for a moment. */
const HANDLE_TRIES = 5;
const HANDLE_WAIT_MS = 20;

/** What workers have, and the DOM's types leave out. */
export interface SyncAccessHandle {
  read(into: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  write(bytes: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  getSize(): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}
export interface WorkerFileHandle extends FileSystemFileHandle {
  createSyncAccessHandle(options?: { mode: "read-only" }): Promise<SyncAccessHandle>;
  move(folder: FileSystemDirectoryHandle, name: string): Promise<void>;
}

export interface StoreFolders {
  /** Whole chunks. */
  readonly chunks: FileSystemDirectoryHandle;
  /** Begun ones, and records before they are whole. */
  readonly parts: FileSystemDirectoryHandle;
  /** A record a model. */
  readonly models: FileSystemDirectoryHandle;
}

/** Fails in pages that are not secure, in some private windows, and in older browsers. */
export async function storeFolders(): Promise<StoreFolders> {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle("kinetoscope", { create: true });
  const open = (name: string): Promise<FileSystemDirectoryHandle> =>
    folder.getDirectoryHandle(name, { create: true });
  const [chunks, parts, models] = await Promise.all([open("chunks"), open("parts"), open("models")]);
  return { chunks, parts, models };
}

/** Opens a file to be written. */
export async function openSync(
  folder: FileSystemDirectoryHandle,
  name: string,
  options: FileSystemGetFileOptions,
): Promise<{ handle: WorkerFileHandle; file: SyncAccessHandle }> {
  const handle = (await folder.getFileHandle(name, options)) as WorkerFileHandle;
  for (let tried = 1; ; tried++) {
    try {
      return { handle, file: await handle.createSyncAccessHandle() };
    } catch (thrown) {
      if (
        tried === HANDLE_TRIES ||
        !(thrown instanceof Error) ||
        thrown.name !== "NoModificationAllowedError"
      ) {
        throw thrown;
      }
      await new Promise((resolve) => setTimeout(resolve, HANDLE_WAIT_MS * 2 ** tried));
    }
  }
}

/** Fails only for what is not there, or what another tab is just writing; the next removal finds that. */
export async function remove(folder: FileSystemDirectoryHandle, name: string): Promise<void> {
  await folder.removeEntry(name).catch(() => undefined);
}
