/** Models from elsewhere: what one would take is shown before it is downloaded; those kept on this device are listed. */
import { type Device, KinetoscopeError, type ModelSource, plan } from "../index.js";
import { element } from "./dom.js";
import { explain } from "./explain.js";
import { Kept } from "./kept.js";
import { Parts } from "./parts.js";
import { type ClipSize, type Verdict, verdictOf } from "./verdict.js";

export interface ModelsOptions {
  readonly device: Device;
  /** Loads a model, and sets the form to a size and length other than the model's own. */
  readonly use: (source: ModelSource, start?: ClipSize) => void;
  /** Goes back to the page's own model, whether or not another is still being loaded. */
  readonly back: () => void;
}

export class Models {
  readonly #options: ModelsOptions;
  readonly #address = element("address", HTMLInputElement);
  readonly #parts = new Parts();
  readonly #kept: Kept;
  readonly #verdict = element("verdict", HTMLElement);
  readonly #words = element("verdict-words", HTMLElement);
  readonly #ways = element("verdict-ways", HTMLUListElement);
  readonly #use = element("use", HTMLButtonElement);
  readonly #decline = element("decline", HTMLButtonElement);
  readonly #back = element("back", HTMLButtonElement);
  #looking: AbortController | undefined;
  #found: { readonly source: ModelSource; readonly start: ClipSize | undefined } | undefined;

  constructor(options: ModelsOptions) {
    this.#options = options;
    this.#kept = new Kept((source) => this.#begin(source));
    const folder = element("folder", HTMLInputElement);
    element("choose", HTMLButtonElement).addEventListener("click", () => folder.click());
    folder.addEventListener("change", () => {
      if (folder.files?.length) {
        this.#begin({ files: [...folder.files] });
      }
    });
    element("model-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      const source = this.#asked();
      if (source === undefined) {
        this.#address.focus();
      } else {
        void this.#look(source);
      }
    });
    this.#use.addEventListener("click", () => {
      if (this.#found) {
        this.#begin(this.#found.source, this.#found.start);
      }
    });
    this.#decline.addEventListener("click", () => {
      this.#forget();
      this.#address.focus();
    });
    this.#back.addEventListener("click", () => {
      options.back();
      element("models", HTMLDetailsElement).querySelector("summary")?.focus();
    });
    void this.#kept.refresh();
  }

  /** Whose model the page has, or is loading. What is kept may have changed after a load. */
  set model(model: "own" | "loading" | "other") {
    this.#back.hidden = model === "own";
    this.#back.textContent = model === "loading" ? "Stop loading it" : "Back to this page’s own";
    if (model !== "loading") {
      void this.#kept.refresh();
    }
  }

  /** What the fields ask for. */
  #asked(): ModelSource | undefined {
    const address = this.#address.value.trim() || undefined;
    const parts = this.#parts.read();
    return parts ? { model: address, ...parts } : address;
  }

  /** Reads a model's headers and says what it would take. */
  async #look(source: ModelSource): Promise<void> {
    this.#forget();
    const looking = (this.#looking = new AbortController());
    this.#show({ words: "Reading what it says of itself…", usable: false, ways: [] });
    try {
      const { device } = this.#options;
      const verdict = verdictOf(await plan(source, { prompt: "" }, { device, signal: looking.signal }));
      this.#found = { source, start: verdict.start };
      this.#use.textContent = isLocal(source) ? "Use it" : "Download and use";
      this.#show(verdict);
    } catch (thrown) {
      const error = KinetoscopeError.from(thrown);
      if (error.code !== "cancelled") {
        this.#show({ words: explain(error).sentence, usable: false, ways: [] });
      }
    }
  }

  #show({ words, usable, ways }: Verdict): void {
    this.#words.textContent = words;
    this.#ways.replaceChildren(
      ...ways.map((way) => {
        const item = document.createElement("li");
        item.textContent = way;
        return item;
      }),
    );
    this.#use.hidden = !usable;
    this.#verdict.hidden = false;
    this.#verdict.scrollIntoView({ block: "nearest" });
  }

  #begin(source: ModelSource, start?: ClipSize): void {
    this.#forget();
    this.#options.use(source, start);
  }

  #forget(): void {
    this.#looking?.abort();
    this.#found = undefined;
    this.#verdict.hidden = true;
  }
}

/** Whether all of it is files of this device. */
function isLocal(source: ModelSource): boolean {
  const places = typeof source === "string" || source instanceof URL ? [source] : Object.values(source);
  return !places.some((place) => typeof place === "string" || place instanceof URL);
}
