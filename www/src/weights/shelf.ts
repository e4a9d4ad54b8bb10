/** One source's place in the store: which files it has, in which version, by which chunks. */
import { type ChunkStore, type StoredFile, type StoredRecord, sha256 } from "./store.js";

export class Shelf {
  readonly #store: ChunkStore;
  readonly #blank: StoredRecord;
  /** The files of this visit. */
  readonly #paths = new Set<string>();
  /** As it was found, before this visit. */
  readonly earlier: StoredRecord | undefined;

  private constructor(store: ChunkStore, blank: StoredRecord, earlier: StoredRecord | undefined) {
    this.#store = store;
    this.#blank = blank;
    this.earlier = earlier;
  }

  static async open(store: ChunkStore, address: URL): Promise<Shelf> {
    const source = addressOf(address);
    const id = (await sha256(source)).slice(0, 32);
    const blank: StoredRecord = {
      format: "kinetoscope-store",
      version: 1,
      id,
      name: nameOf(source),
      source,
      complete: false,
      files: [],
    };
    return new Shelf(store, blank, await store.record(id));
  }

  /** Whether the model can be had from here alone. */
  get complete(): boolean {
    return this.earlier?.complete ?? false;
  }

  /**
   * Notes files before their chunks are stored, and gives those that were here in another version. `manifest` says that
   * these are all there are.
   */
  async put(
    files: readonly StoredFile[],
    manifest?: { readonly name: string; readonly manifest: string },
  ): Promise<string[]> {
    const changed: string[] = [];
    files.forEach(({ path }) => this.#paths.add(path));
    await this.#store.update(this.#blank.id, (old) => {
      const before = new Map((old?.files ?? []).map((file) => [file.path, file.chunks.join()]));
      changed.push(
        ...files
          .filter(({ path, chunks }) => before.has(path) && before.get(path) !== chunks.join())
          .map(({ path }) => path),
      );
      if (old && files.every(({ path, chunks }) => before.get(path) === chunks.join())) {
        if (manifest === undefined || manifest.manifest === old.manifest) {
          return old;
        }
      }
      const now = new Set(files.map(({ path }) => path));
      const others = manifest ? [] : (old?.files ?? []).filter(({ path }) => !now.has(path));
      const complete = (old?.complete ?? false) && changed.length === 0;
      return { ...this.#blank, ...old, ...manifest, complete, files: [...others, ...files] };
    });
    return changed;
  }

  /** Notes that the model was loaded to the end, unless it was removed in between. */
  async markComplete(): Promise<void> {
    await this.#store.update(this.#blank.id, (old) => {
      const known = new Set(old?.files.map(({ path }) => path));
      const whole = [...this.#paths].every((path) => known.has(path));
      return old && whole && !old.complete ? { ...old, complete: true } : old;
    });
  }
}

/** The address as it may be kept and told: without a query or a name, which may be secrets. */
export function addressOf(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

/** The last words of an address that say what is there; on a hub those before the revision, unless a path is behind it. */
function nameOf(source: string): string {
  const parts = source.split("/").filter((part) => part !== "" && part !== "manifest.json");
  return (parts.at(-2) === "resolve" ? parts.at(-3) : parts.at(-1)) ?? source;
}

/** The names of a file's chunks where nothing but its address and version says what is in them. */
export async function versionKeys(
  url: URL,
  { size, validator }: { readonly size: number; readonly validator: string },
  chunks: number,
): Promise<string[]> {
  const version = await sha256(JSON.stringify([addressOf(url), size, validator]));
  return Array.from({ length: chunks }, (_, index) => `${version}-${index}`);
}
