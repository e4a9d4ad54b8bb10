/** The bar under the film: what of it was brought along, and what is made. */
import { element } from "./dom.js";
import type { Part } from "./job.js";

const WORDS = { given: "brought along", made: "made here", changed: "changed by the prompt" } as const;

export class Timeline {
  readonly #bar = element("timeline", HTMLElement);

  /** `parts` in their order; `fps` for the seconds they are told in. Hidden where all is made: the bar would say nothing. */
  show(parts: readonly Part[], fps: number): void {
    this.#bar.hidden = parts.every(({ kind }) => kind === "made");
    this.#bar.replaceChildren(
      ...parts.map(({ kind, frames }) => {
        const part = document.createElement("li");
        part.dataset["kind"] = kind;
        part.dataset["frames"] = String(frames);
        part.style.flexGrow = String(frames);
        const words = document.createElement("span");
        words.textContent = `${(frames / fps).toFixed(1)} s ${WORDS[kind]}`;
        part.title = words.textContent;
        part.append(words);
        return part;
      }),
    );
  }
}
