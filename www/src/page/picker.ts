/** Lists of the words that a model knows, which write the prompt. */
import { element } from "./dom.js";
import {
  PARTS,
  type Part,
  type Sentence,
  type Words,
  anotherSentence,
  anySentence,
  choices,
  prompt,
  settle,
} from "./words.js";

/** Example prompts that are shown, new ones at every visit. */
const EXAMPLES = 4;

export class Picker {
  readonly #group = element("words", HTMLFieldSetElement);
  readonly #examples = element("examples", HTMLElement);
  readonly #lists: Record<Part, HTMLSelectElement>;
  readonly #write: (prompt: string) => void;
  #words: Words | undefined;

  /** `write` takes the prompt that was put together. */
  constructor(write: (prompt: string) => void) {
    this.#write = write;
    const list = (part: Part): HTMLSelectElement => element(`word-${part}`, HTMLSelectElement);
    this.#lists = {
      colour: list("colour"),
      thing: list("thing"),
      motion: list("motion"),
      place: list("place"),
      time: list("time"),
      camera: list("camera"),
    };
    for (const part of PARTS) {
      this.#lists[part].addEventListener("change", () => this.#choose(this.#chosen()));
    }
    element("surprise", HTMLButtonElement).addEventListener("click", () => {
      if (this.#words) {
        this.#choose(anotherSentence(this.#words, this.#chosen()));
      }
    });
  }

  /** Offers the words of another model, or of none. */
  useWords(words: Words | undefined): void {
    this.#words = words;
    this.#group.hidden = words === undefined;
    this.#examples.replaceChildren();
    if (!words) {
      return;
    }
    this.#show(words, settle(words, {}));
    const things = new Map<string, Sentence>();
    // Of each thing one, so that the examples show how much there is; a model of few things has as many examples.
    for (let tries = 0; things.size < EXAMPLES && tries < 20 * EXAMPLES; tries++) {
      const sentence = anySentence(words);
      things.set(sentence.thing, sentence);
    }
    for (const sentence of things.values()) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = prompt(words, sentence);
      button.addEventListener("click", () => this.#choose(sentence));
      this.#examples.append(button);
    }
  }

  #choose(wanted: Partial<Sentence>): void {
    if (this.#words) {
      const sentence = settle(this.#words, wanted);
      this.#show(this.#words, sentence);
      this.#write(prompt(this.#words, sentence));
    }
  }

  #chosen(): Sentence {
    const value = (part: Part): string => this.#lists[part].value;
    return {
      colour: value("colour"),
      thing: value("thing"),
      motion: value("motion"),
      place: value("place"),
      time: value("time"),
      camera: value("camera"),
    };
  }

  #show(words: Words, sentence: Sentence): void {
    for (const part of PARTS) {
      const possible = choices(words, part, sentence);
      this.#lists[part].replaceChildren(...possible.map((name) => new Option(label(part, name), name)));
      this.#lists[part].value = sentence[part];
      this.#lists[part].disabled = possible.length < 2;
    }
  }
}

function label(part: Part, name: string): string {
  return part === "camera" && name === "static" ? "still" : name;
}
