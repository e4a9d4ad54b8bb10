/** Stands between the wasm and a source: remembers what went wrong there, of which the wasm passes on only a part. */
import { KinetoscopeError } from "../errors.js";
import type { WasmSource, WasmSpan } from "../wasm/kinetoscope.js";
import type { ByteSource } from "./source.js";

export class Witness implements WasmSource {
  readonly #source: ByteSource;
  readonly #failures = new Map<string, KinetoscopeError>();

  constructor(source: ByteSource) {
    this.#source = source;
  }

  size(path: string): Promise<number> {
    return this.#watch(path, this.#source.size(path));
  }

  read(path: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#watch(path, this.#source.read(path, start, end));
  }

  giveBack(bytes: Uint8Array<ArrayBuffer>): void {
    this.#source.giveBack(bytes);
  }

  fetch(path: string, start: number, end: number): Promise<void> {
    return this.#watch(path, this.#source.fetch(path, start, end));
  }

  plan(spans: WasmSpan[]): void {
    this.#source.plan(spans);
  }

  /** The error behind a `read_failed` of the wasm, which knows no finer codes; any other as it is. */
  explain(thrown: unknown): unknown {
    const error = KinetoscopeError.from(thrown);
    const path = error.details["path"];
    return (error.code === "read_failed" && typeof path === "string" && this.#failures.get(path)) || thrown;
  }

  async #watch<T>(path: string, reading: Promise<T>): Promise<T> {
    try {
      return await reading;
    } catch (thrown) {
      this.#failures.set(path, KinetoscopeError.from(thrown));
      throw thrown;
    }
  }
}
