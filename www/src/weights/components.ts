/**
 * A model put together from files of different places. A component that is one file stands in for its whole folder, as
 * `model.safetensors` or `model.gguf`, and a tokenizer as `tokenizer.json`; nothing else of that folder is seen, its
 * config neither: what the tensors are says the file itself.
 */
import { fileMissing } from "./failures.js";
import type { ByteSource, Span } from "./source.js";

/** The folders of components that a file can stand in for. */
export type ComponentFolder = "transformer" | "text_encoder" | "vae" | "tokenizer";

const GGUF_MAGIC = [0x47, 0x47, 0x55, 0x46];

export class ComponentSource implements ByteSource {
  readonly #base: ByteSource | undefined;
  readonly #components: ReadonlyMap<string, ByteSource>;
  readonly #names = new Map<string, Promise<string>>();

  /** A component's source gives its one file under any path. */
  constructor(base: ByteSource | undefined, components: ReadonlyMap<ComponentFolder, ByteSource>) {
    this.#base = base;
    this.#components = components;
  }

  async size(path: string): Promise<number> {
    const { source, inside } = await this.#find(path);
    return source.size(inside);
  }

  async read(path: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const { source, inside } = await this.#find(path);
    return source.read(inside, start, end);
  }

  giveBack(bytes: Uint8Array<ArrayBuffer>): void {
    // Each knows what is its own.
    this.#all().forEach((source) => source.giveBack(bytes));
  }

  async fetch(path: string, start: number, end: number): Promise<void> {
    const { source, inside } = await this.#find(path);
    return source.fetch(inside, start, end);
  }

  plan(spans: readonly Span[]): void {
    this.#base?.plan(spans.filter(({ path }) => !this.#components.has(folderOf(path))));
    for (const [folder, source] of this.#components) {
      const own = spans.filter(({ path }) => folderOf(path) === folder);
      source.plan(own.map((span) => ({ ...span, path: folder })));
    }
  }

  async markComplete(): Promise<void> {
    await Promise.all(this.#all().map((source) => source.markComplete()));
  }

  release(): void {
    this.#all().forEach((source) => source.release());
  }

  #all(): ByteSource[] {
    return [...this.#components.values(), ...(this.#base ? [this.#base] : [])];
  }

  /** A component's one file goes by the name of its folder, whatever its format turns out to be. */
  async #find(path: string): Promise<{ source: ByteSource; inside: string }> {
    const folder = folderOf(path);
    const component = this.#components.get(folder);
    const source = component ?? this.#base;
    if (!source || (component && path !== `${folder}/${await this.#nameOf(folder, component)}`)) {
      throw fileMissing(path);
    }
    return { source, inside: component ? folder : path };
  }

  /** The name that tells the format, which the file's first bytes do. */
  #nameOf(folder: string, component: ByteSource): Promise<string> {
    let name = this.#names.get(folder);
    if (!name) {
      name = folder === "tokenizer" ? Promise.resolve("tokenizer.json") : weightsName(folder, component);
      this.#names.set(folder, name);
      name.catch(() => this.#names.delete(folder));
    }
    return name;
  }
}

async function weightsName(folder: string, component: ByteSource): Promise<string> {
  const long = (await component.size(folder)) >= GGUF_MAGIC.length;
  const magic = long ? await component.read(folder, 0, GGUF_MAGIC.length) : [];
  return GGUF_MAGIC.every((byte, index) => magic[index] === byte) ? "model.gguf" : "model.safetensors";
}

function folderOf(path: string): string {
  return path.slice(0, Math.max(path.indexOf("/"), 0));
}
