/** Models on web hosts: a folder, a packed folder by its manifest, and the single file of a component. */
import { KinetoscopeError } from "../errors.js";
import { type ChunkLayout, ChunkReader, ChunkedFile, plainLayout } from "./chunks.js";
import { fileMissing, manifestInvalid, readFailed } from "./failures.js";
import { type FileState, HttpFile, type HttpOptions, fileUrl } from "./http.js";
import { LARGEST_MANIFEST, type Manifest, type ManifestFile, parseManifest } from "./manifest.js";
import { Shelf, versionKeys } from "./shelf.js";
import type { ByteSource, OpenOptions, Span } from "./source.js";
import { type StoredFile, chunkLength } from "./store.js";
import { changedWarning } from "./warnings.js";

/** What all three have: files that are opened once, and a place in the store. */
abstract class RemoteSource implements ByteSource {
  protected readonly options: OpenOptions;
  protected readonly reader: ChunkReader;
  readonly #address: URL;
  readonly #files = new Map<string, Promise<ChunkedFile>>();
  readonly #remotes: HttpFile[] = [];
  #shelf: Promise<Shelf | undefined> | undefined;
  /** Whether some file cannot be kept. */
  #passing = false;
  /** Why the host is not asked any more: each file would take its time to find out the same. */
  #unreachable: KinetoscopeError | undefined;

  constructor(address: URL, options: OpenOptions) {
    this.#address = address;
    this.options = options;
    this.reader = new ChunkReader(options.store, options.traffic, options.signal);
  }

  async size(path: string): Promise<number> {
    return (await this.#file(path)).bytes;
  }

  async read(path: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const file = await this.#file(path);
    return end > start ? file.read(start, end) : new Uint8Array();
  }

  giveBack(bytes: Uint8Array<ArrayBuffer>): void {
    this.reader.memory.drop(bytes);
  }

  async fetch(path: string, start: number, end: number): Promise<void> {
    await (await this.#file(path)).fetch(start, end);
  }

  plan(spans: readonly Span[]): void {
    for (const [path, opened] of this.#files) {
      // Only what was opened is planned; a file that could not be says so when it is read.
      void opened.then(
        (file) => file.plan(spans.filter((span) => span.path === path)),
        () => undefined,
      );
    }
  }

  async markComplete(): Promise<void> {
    await this.reader.settle();
    if (!this.#passing) {
      await (await this.shelf())?.markComplete();
    }
  }

  release(): void {
    this.reader.release();
    this.#remotes.forEach((remote) => remote.release());
  }

  protected abstract open(path: string): Promise<ChunkedFile>;

  protected shelf(): Promise<Shelf | undefined> {
    const { store } = this.options;
    this.#shelf ??= store ? Shelf.open(store, this.#address) : Promise.resolve(undefined);
    return this.#shelf;
  }

  protected remote(path: string, url: URL, size?: number): HttpFile {
    const { signal, retry, store } = this.options;
    const http: HttpOptions = { signal, retry, cache: store ? "no-store" : "default" };
    const file = new HttpFile(
      path,
      url,
      http,
      size === undefined ? undefined : { size, validator: undefined },
    );
    this.#remotes.push(file);
    return file;
  }

  /** A file that is one file on its host; `path` is its name in the model. */
  protected async openPlain(path: string, url: URL): Promise<ChunkedFile> {
    const shelf = await this.shelf();
    const remote = this.remote(path, url);
    const layout = (bytes: number, grid: number, keys?: readonly string[]): ChunkLayout =>
      plainLayout(path, bytes, grid, remote, keys);
    let state: FileState;
    try {
      state = await this.#stateOf(remote);
    } catch (thrown) {
      if (!shelf?.complete || !isNetworkFailure(thrown)) {
        throw thrown;
      }
      // Away from the network, a model that is here whole is as it was; what it did not need then it has not.
      this.#unreachable = thrown;
      const kept = shelf.earlier?.files.find((file) => file.path === path);
      if (!kept) {
        throw fileMissing(path);
      }
      return new ChunkedFile(layout(kept.bytes, kept.chunkBytes, kept.chunks), this.reader);
    }
    const { size, validator } = state;
    const { chunkBytes } = this.options;
    if (!shelf || validator === undefined) {
      // Without a validator nothing would tell that the file has changed.
      this.#passing = true;
      return new ChunkedFile(layout(size, chunkBytes), this.reader);
    }
    const keys = await versionKeys(url, { size, validator }, Math.ceil(size / chunkBytes));
    const stored: StoredFile = { path, bytes: size, chunkBytes, validator, chunks: keys };
    this.warnChanged(await shelf.put([stored]));
    return new ChunkedFile(layout(size, chunkBytes, keys), this.reader);
  }

  protected warnChanged(paths: readonly string[]): void {
    paths.forEach((path) => this.options.onWarning(changedWarning(path)));
  }

  async #stateOf(remote: HttpFile): Promise<FileState> {
    if (this.#unreachable) {
      throw this.#unreachable;
    }
    return remote.state();
  }

  #file(path: string): Promise<ChunkedFile> {
    let file = this.#files.get(path);
    if (!file) {
      file = this.open(path);
      this.#files.set(path, file);
      // A failure is not remembered: the next one to ask may have more luck.
      file.catch(() => this.#files.delete(path));
    }
    return file;
  }
}

/** A diffusers folder, file by file. */
export class FolderSource extends RemoteSource {
  readonly #folder: URL;

  constructor(folder: string, options: OpenOptions) {
    const url = new URL(folder);
    super(url, options);
    this.#folder = url;
  }

  protected override open(path: string): Promise<ChunkedFile> {
    return this.openPlain(path, fileUrl(this.#folder, path));
  }
}

/** One file, whatever path it is asked for by. */
export class SingleSource extends RemoteSource {
  readonly #url: URL;

  constructor(url: string, options: OpenOptions) {
    const address = new URL(url);
    super(address, options);
    this.#url = address;
  }

  protected override open(path: string): Promise<ChunkedFile> {
    return this.openPlain(path, this.#url);
  }
}

/** A packed folder: its manifest says what is in it, so that nothing is asked for that is not there. */
export class ManifestSource extends RemoteSource {
  readonly #url: URL;
  readonly #path: string;
  #manifest: Promise<Manifest> | undefined;
  /** Files of a model may share parts; each is opened once. */
  readonly #parts = new Map<string, HttpFile>();

  constructor(url: string, options: OpenOptions) {
    const address = new URL(url);
    super(address, options);
    this.#url = address;
    this.#path = address.pathname.split("/").at(-1) ?? "";
  }

  protected override async open(path: string): Promise<ChunkedFile> {
    this.#manifest ??= this.#load();
    let manifest;
    try {
      manifest = await this.#manifest;
    } catch (thrown) {
      this.#manifest = undefined;
      throw thrown;
    }
    const file = manifest.files.find((entry) => entry.path === path);
    if (!file) {
      throw fileMissing(path);
    }
    return new ChunkedFile(this.#layout(manifest, file), this.reader);
  }

  async #load(): Promise<Manifest> {
    // Pages that are not secure have neither a store nor hashes.
    if (!("subtle" in crypto)) {
      throw readFailed(this.#path, "its hashes cannot be checked in a page that is not served over https");
    }
    const shelf = await this.shelf();
    let text: string;
    try {
      text = await this.#text();
    } catch (thrown) {
      if (!shelf?.complete || shelf.earlier?.manifest === undefined || !isNetworkFailure(thrown)) {
        throw thrown;
      }
      return parseManifest(this.#path, shelf.earlier.manifest);
    }
    const manifest = parseManifest(this.#path, text);
    const { name, chunk_bytes: chunkBytes } = manifest;
    const files = manifest.files.map(({ path, bytes, chunks }) => ({ path, bytes, chunkBytes, chunks }));
    this.warnChanged((await shelf?.put(files, { name, manifest: text })) ?? []);
    return manifest;
  }

  async #text(): Promise<string> {
    const remote = this.remote(this.#path, this.#url);
    const { size } = await remote.state();
    if (size > LARGEST_MANIFEST) {
      throw manifestInvalid(this.#path, "the file", `has ${size} bytes, more than a manifest can have`);
    }
    const bytes = new Uint8Array(size);
    let filled = 0;
    await remote.fetch({ start: 0, end: size }, (piece) => {
      bytes.set(piece, filled);
      filled += piece.length;
    });
    return new TextDecoder().decode(bytes);
  }

  #layout(manifest: Manifest, { path, bytes, parts, chunks }: ManifestFile): ChunkLayout {
    const { chunk_bytes: chunkBytes, part_bytes: partBytes } = manifest;
    return {
      path,
      bytes,
      chunkBytes,
      chunk: (index) => {
        const at = index * chunkBytes;
        const part = Math.floor(at / partBytes);
        const hash = chunks[index];
        return {
          index,
          bytes: chunkLength({ bytes, chunkBytes }, index),
          remote: this.#part(parts[part] ?? "", chunkLength({ bytes, chunkBytes: partBytes }, part)),
          start: at % partBytes,
          key: hash,
          sha256: hash,
        };
      },
    };
  }

  #part(path: string, size: number): HttpFile {
    let part = this.#parts.get(path);
    if (!part) {
      part = this.remote(path, fileUrl(this.#url, path), size);
      this.#parts.set(path, part);
    }
    return part;
  }
}

function isNetworkFailure(thrown: unknown): thrown is KinetoscopeError {
  return thrown instanceof KinetoscopeError && thrown.code === "network_failed";
}
