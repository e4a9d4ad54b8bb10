/** Words of style and motion to add to a prompt, for models that know more of the world than a list could say. */
import { element } from "./dom.js";

/** What text-to-video models are trained to follow, by the kind of word. */
const ADDITIONS: Readonly<Record<string, readonly string[]>> = {
  Style: [
    "cinematic",
    "watercolour painting",
    "claymation",
    "anime",
    "pixel art",
    "black and white film",
    "paper cut-out",
    "3D animation",
  ],
  Motion: [
    "slow motion",
    "time-lapse",
    "the camera pans to the left",
    "the camera pans to the right",
    "the camera zooms in",
    "aerial shot",
    "handheld camera",
  ],
};

/** Puts `words` at the end of a prompt, or takes them out where they are in it. */
export function toggled(prompt: string, words: string): string {
  const parts = prompt
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean);
  const others = parts.filter((part) => part !== words);
  return (others.length < parts.length ? others : [...parts, words]).join(", ");
}

export class Additions {
  readonly #groups = element("additions", HTMLElement);
  readonly #prompt = element("prompt", HTMLTextAreaElement);

  constructor() {
    for (const [kind, all] of Object.entries(ADDITIONS)) {
      const group = document.createElement("div");
      group.className = "chips";
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", kind);
      for (const words of all) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = words;
        button.addEventListener("click", () => {
          // Nothing written stands for the example that is shown.
          this.#prompt.value = toggled(this.#prompt.value || this.#prompt.placeholder, words);
          this.#mark();
        });
        group.append(button);
      }
      this.#groups.append(group);
    }
    this.#prompt.addEventListener("input", () => this.#mark());
    this.#mark();
  }

  /** For models without a list of their own. */
  set shown(shown: boolean) {
    this.#groups.hidden = !shown;
  }

  #mark(): void {
    const parts = this.#prompt.value.split(",").map((part) => part.trim());
    for (const button of this.#groups.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(parts.includes(button.textContent)));
    }
  }
}
