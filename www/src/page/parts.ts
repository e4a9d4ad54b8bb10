/** The parts of a model that come from files of their own: an address or a file each. */
import type { ComponentFile, ModelComponents } from "../index.js";
import { element } from "./dom.js";

const PARTS = [
  ["transformer", "Transformer"],
  ["textEncoder", "Text encoder"],
  ["vae", "VAE, or a tiny one"],
  ["tokenizer", "Tokenizer"],
] as const;

type Name = (typeof PARTS)[number][0];

export class Parts {
  readonly #fields = new Map<Name, Field>();

  constructor() {
    const list = element("parts", HTMLElement);
    for (const [name, label] of PARTS) {
      const field = new Field(
        `part-${name}`,
        label,
        name === "tokenizer" ? ".json" : ".safetensors,.sft,.gguf",
      );
      this.#fields.set(name, field);
      list.append(field.element);
    }
  }

  /** What is given; `undefined` where nothing is. */
  read(): Pick<ModelComponents, Name> | undefined {
    const given = [...this.#fields].flatMap(([name, { value }]) =>
      value === undefined ? [] : [[name, value]],
    );
    return given.length > 0 ? Object.fromEntries(given) : undefined;
  }
}

/** An address to write, or a file to choose, whose name then stands in the field. */
class Field {
  readonly element = document.createElement("div");
  readonly #text = document.createElement("input");
  readonly #file = document.createElement("input");
  #chosen: File | undefined;

  constructor(id: string, label: string, accept: string) {
    const caption = document.createElement("label");
    caption.htmlFor = this.#text.id = id;
    caption.textContent = label;
    this.#text.type = "text";
    this.#text.inputMode = "url";
    this.#text.autocomplete = "off";
    this.#text.spellcheck = false;
    this.#text.placeholder = "its address";
    this.#text.addEventListener("input", () => (this.#chosen = undefined));
    this.#file.type = "file";
    this.#file.accept = accept;
    this.#file.hidden = true;
    this.#file.setAttribute("aria-label", `File: ${label}`);
    this.#file.addEventListener("change", () => {
      const [file] = this.#file.files ?? [];
      this.#file.value = "";
      if (file) {
        this.#chosen = file;
        this.#text.value = file.name;
      }
    });
    const choose = document.createElement("button");
    choose.type = "button";
    choose.textContent = "File…";
    choose.setAttribute("aria-label", `Choose a file: ${label}`);
    choose.addEventListener("click", () => this.#file.click());
    const row = document.createElement("div");
    row.className = "joined";
    row.append(this.#text, choose, this.#file);
    this.element.append(caption, row);
  }

  get value(): ComponentFile | undefined {
    return this.#chosen ?? (this.#text.value.trim() || undefined);
  }
}
