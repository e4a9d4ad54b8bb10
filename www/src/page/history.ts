/** The clips made in this visit, as small pictures to go back to. */
import type { Clip } from "../video.js";
import { context2d, element } from "./dom.js";
import type { Part } from "./job.js";

/** A clip and how it came to be. */
export interface MadeClip extends Clip {
  readonly prompt: string;
  readonly seed: string;
  readonly steps: number;
  /** What of it was brought along, and what was made. */
  readonly parts: readonly Part[];
  readonly seconds: Readonly<Record<string, number>>;
}

/** The oldest go when there are more, or when the frames of all take more memory. */
const MOST_CLIPS = 24;
const MOST_BYTES = 512e6;

export class History {
  readonly #section = element("made", HTMLElement);
  readonly #list = element("history", HTMLOListElement);
  readonly #open: (clip: MadeClip) => void;
  #clips: { clip: MadeClip; item: HTMLLIElement; button: HTMLButtonElement }[] = [];

  constructor(open: (clip: MadeClip) => void) {
    this.#open = open;
  }

  add(clip: MadeClip): void {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.title = clip.prompt;
    button.setAttribute("aria-label", `Show “${clip.prompt}”, seed ${clip.seed}`);
    button.append(thumbnail(clip));
    button.addEventListener("click", () => {
      this.mark(clip);
      this.#open(clip);
    });
    item.append(button);
    this.#list.prepend(item);
    this.#clips.unshift({ clip, item, button });
    this.#forget();
    this.mark(clip);
    this.#section.hidden = false;
  }

  /** Marks the clip that is on the screen; none while one is being made. */
  mark(shown: MadeClip | undefined): void {
    for (const { clip, button } of this.#clips) {
      if (clip === shown) {
        button.setAttribute("aria-current", "true");
      } else {
        button.removeAttribute("aria-current");
      }
    }
  }

  #forget(): void {
    const bytes = (): number =>
      this.#clips.reduce((sum, { clip }) => sum + clip.frames.length * clip.width * clip.height * 4, 0);
    while (this.#clips.length > MOST_CLIPS || (this.#clips.length > 1 && bytes() > MOST_BYTES)) {
      this.#clips.pop()?.item.remove();
    }
  }
}

function thumbnail({ width, height, frames }: Clip): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const middle = frames[Math.floor(frames.length / 2)];
  if (middle) {
    context2d(canvas).putImageData(new ImageData(middle, width, height), 0, 0);
  }
  return canvas;
}
