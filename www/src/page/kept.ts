/** The models kept on this device: what they take, their use and their removal. */
import { type StoredModel, persist, removeModel } from "../index.js";
import { lookAtStore } from "../weights/stored.js";
import { megabytes } from "./device.js";
import { element } from "./dom.js";

export class Kept {
  readonly #list = element("kept", HTMLUListElement);
  readonly #none = element("kept-none", HTMLElement);
  readonly #total = element("kept-total", HTMLElement);
  readonly #firmly = element("kept-firmly", HTMLElement);
  readonly #words = element("kept-words", HTMLElement);
  readonly #persist = element("persist", HTMLButtonElement);
  readonly #use: (source: string) => void;

  constructor(use: (source: string) => void) {
    this.#use = use;
    this.#persist.addEventListener("click", () => void persist().then(() => this.refresh()));
  }

  /** Shows what is there now. */
  async refresh(): Promise<void> {
    const { models, bytes } = await lookAtStore();
    this.#none.hidden = models.length > 0;
    this.#total.textContent = models.length > 0 ? megabytes(bytes) : "";
    this.#list.replaceChildren(...models.map((model) => this.#row(model)));
    const firm = models.length > 0 && (await navigator.storage.persisted());
    this.#firmly.hidden = models.length === 0;
    this.#persist.hidden = firm;
    this.#words.textContent = firm
      ? "The browser keeps them until you remove them."
      : "The browser may drop them when the disk gets full.";
  }

  #row(model: StoredModel): HTMLLIElement {
    const { id, name, source, bytes, ownBytes, totalBytes, complete } = model;
    const row = document.createElement("li");
    const title = text("p", "kept-name", name);
    const size = complete ? megabytes(bytes) : `${megabytes(bytes)} of ${megabytes(totalBytes)}`;
    title.append(" ", text("span", "small", size));
    const from = text("p", "kept-source small", source);
    from.title = source;
    const words = document.createElement("div");
    words.append(title, from);
    row.append(words);
    if (isWhole(source)) {
      row.append(button(complete ? "Use" : "Go on", `Use ${name}`, () => this.#use(source)));
    }
    const remove = button("Remove", `Remove ${name}, which frees ${megabytes(ownBytes)}`, () => {
      remove.disabled = true;
      void removeModel(id)
        .then(() => this.refresh())
        .then(() =>
          (
            this.#list.querySelector("button") ?? this.#list.closest("details")?.querySelector("summary")
          )?.focus(),
        );
    });
    row.append(remove);
    return row;
  }
}

/** Whether an address is a model's, and not that of a part of one. */
function isWhole(source: string): boolean {
  return source.endsWith("/") || (source.endsWith(".json") && !source.endsWith("/tokenizer.json"));
}

function text(tag: "p" | "span", className: string, words: string): HTMLElement {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = words;
  return made;
}

function button(words: string, label: string, click: () => void): HTMLButtonElement {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = words;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", click);
  return made;
}
