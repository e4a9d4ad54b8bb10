/** What the film is made from: words, a picture, a clip to go on with, a gap to fill, a clip to change. */
import { KinetoscopeError } from "../errors.js";
import type { Fit } from "../footage.js";
import { LONGEST_SECONDS } from "./form.js";
import { element } from "./dom.js";
import {
  type Asked,
  type Job,
  type Mode,
  edit,
  extend,
  fill,
  fromPicture,
  fromText,
  pictureMask,
  plainMask,
} from "./job.js";
import { type Material, type Pixels, framesOf } from "./material.js";
import { Slot, type SlotOptions } from "./slot.js";

const WORDS: Readonly<Record<Mode, string>> = {
  text: "A film from your words alone.",
  picture: "Your picture is the first frame; your words say what happens then.",
  extend: "Your clip goes on, or begins earlier.",
  fill: "You give the beginning and the end; what lies between is made.",
  edit: "Your clip, made anew as your words say.",
};

type SlotName = "picture" | "source" | "first" | "last" | "mask";

export class Modes {
  readonly #choice = element("modes", HTMLFieldSetElement);
  readonly #words = element("mode-words", HTMLElement);
  readonly #materials = element("materials", HTMLElement);
  readonly #direction = element("direction", HTMLSelectElement);
  readonly #loop = element("loop", HTMLInputElement);
  readonly #strength = element("strength", HTMLInputElement);
  readonly #where = element("where", HTMLSelectElement);
  readonly #fit = element("fit", HTMLSelectElement);
  readonly #slots: Readonly<Record<SlotName, Slot>>;

  constructor(common: Pick<SlotOptions, "onScreen" | "onError">) {
    const slot = (name: SlotName, label: string, ...accepts: Material["kind"][]): Slot =>
      new Slot({ id: `slot-${name}`, label, accepts, onChange: () => this.#update(), ...common });
    this.#slots = {
      picture: slot("picture", "The first frame", "picture"),
      source: slot("source", "The clip", "clip"),
      first: slot("first", "The beginning", "picture", "clip"),
      last: slot("last", "The end", "picture", "clip"),
      mask: slot("mask", "Where it is light, the clip may change", "picture"),
    };
    element("slots", HTMLElement).append(...Object.values(this.#slots).map((each) => each.element));
    this.#choice.addEventListener("change", () => this.#update());
    this.#materials.addEventListener("change", () => this.#update());
    this.#takeDrops();
    this.#update();
  }

  get mode(): Mode {
    return (this.#choice.querySelector<HTMLInputElement>("input:checked")?.value ?? "text") as Mode;
  }

  set mode(mode: Mode) {
    for (const input of this.#choice.querySelectorAll("input")) {
      input.checked = input.value === mode;
    }
    this.#update();
  }

  /** What is on the screen has changed. */
  refresh(): void {
    Object.values(this.#slots).forEach((slot) => slot.refresh());
  }

  /**
   * What to ask of the model for a film of this shape. Rejects with `option_invalid` where something has yet to be
   * brought, and with `file_invalid` for a file that does not decode.
   */
  async job(asked: Asked & { readonly fps: number }): Promise<Job> {
    const { width, height, fps } = asked;
    const fit = this.#fit.value as Fit;
    const most = Math.floor(LONGEST_SECONDS * fps);
    const from = (slot: SlotName): Promise<Pixels[]> => {
      const { material } = this.#slots[slot];
      return material ? framesOf(material, { width, height, fps, fit, most }) : Promise.resolve([]);
    };
    const one = async (slot: SlotName): Promise<Pixels> => required(await from(slot), "a picture");
    const clip = async (): Promise<Pixels[]> => {
      const frames = await from("source");
      required(frames, "a clip");
      return frames;
    };
    switch (this.mode) {
      case "text":
        return fromText(asked);
      case "picture":
        return fromPicture(await one("picture"), asked);
      case "extend":
        return extend(await clip(), this.#direction.value as "forwards" | "backwards", asked);
      case "fill": {
        const loop = this.#loop.checked;
        const [beginning, end] = [await from("first"), loop ? [] : await from("last")];
        required(beginning, "a beginning");
        if (!loop) {
          required(end, "an end");
        }
        return fill({ first: beginning, last: end, loop }, asked);
      }
      case "edit": {
        const source = await clip();
        const where = this.#where.value;
        const mask =
          where === "everywhere"
            ? undefined
            : where === "mask"
              ? pictureMask(await one("mask"), width, height)
              : plainMask(where, width, height);
        return edit(source, this.#strength.valueAsNumber, mask, asked);
      }
    }
  }

  #visible(): SlotName[] {
    switch (this.mode) {
      case "text":
        return [];
      case "picture":
        return ["picture"];
      case "extend":
        return ["source"];
      case "fill":
        return this.#loop.checked ? ["first"] : ["first", "last"];
      case "edit":
        return this.#where.value === "mask" ? ["source", "mask"] : ["source"];
    }
  }

  #update(): void {
    const { mode } = this;
    this.#words.textContent = WORDS[mode];
    this.#materials.hidden = mode === "text";
    this.#materials.querySelectorAll<HTMLElement>("[data-mode]").forEach((option) => {
      option.hidden = option.dataset["mode"] !== mode;
    });
    const visible = this.#visible();
    for (const [name, slot] of Object.entries(this.#slots)) {
      slot.shown = visible.includes(name as SlotName);
    }
    this.refresh();
  }

  /** A file dropped on a place goes there; anywhere else, to the first empty place that takes it, in another mode if need be. */
  #takeDrops(): void {
    const hasFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
    document.addEventListener("dragover", (event) => {
      if (hasFiles(event)) {
        event.preventDefault();
        document.body.toggleAttribute("data-dragging", true);
      }
    });
    document.addEventListener("dragleave", (event) => {
      // Also fired from one element to the next; only out of the window there is no next.
      if (!event.relatedTarget) {
        document.body.toggleAttribute("data-dragging", false);
      }
    });
    document.addEventListener("drop", (event) => {
      document.body.toggleAttribute("data-dragging", false);
      const [file] = event.dataTransfer?.files ?? [];
      if (!file) {
        return;
      }
      event.preventDefault();
      const target = Object.values(this.#slots).find((slot) => slot.element.contains(event.target as Node));
      (target ?? this.#placeFor(file)).drop(file);
    });
  }

  #placeFor(file: File): Slot {
    const kind = file.type.startsWith("image/") ? "picture" : "clip";
    const fitting = this.#visible()
      .map((name) => this.#slots[name])
      .filter(({ accepts }) => accepts.includes(kind));
    const place = fitting.find(({ material }) => !material) ?? fitting[0];
    if (place) {
      return place;
    }
    this.mode = kind === "picture" ? "picture" : "extend";
    return this.#slots[kind === "picture" ? "picture" : "source"];
  }
}

/** The first frame of what has to be there. */
function required(frames: readonly Pixels[], what: string): Pixels {
  const [frame] = frames;
  if (!frame) {
    throw new KinetoscopeError(
      "option_invalid",
      `${what} is missing: choose a file, drop one on the page, or take what is on the screen`,
      { option: "materials", expected: what, found: "nothing" },
    );
  }
  return frame;
}
