/** A place for a picture or a clip: dropped there, chosen from the device, or taken from the screen. */
import { KinetoscopeError } from "../errors.js";
import { context2d } from "./dom.js";
import { type Material, framesOf, materialOf } from "./material.js";

export interface SlotOptions {
  readonly id: string;
  /** What it is for, as its heading. */
  readonly label: string;
  readonly accepts: readonly Material["kind"][];
  /** What is on the screen, where it could be taken. */
  readonly onScreen: (accepts: readonly Material["kind"][]) => Material | undefined;
  /** Its content is another one. */
  readonly onChange: () => void;
  readonly onError: (error: KinetoscopeError) => void;
}

const THUMBNAIL = 144;
const FILE_TYPES = { picture: "image/*", clip: "video/*" } as const;

export class Slot {
  readonly element = document.createElement("div");
  readonly accepts: readonly Material["kind"][];
  readonly #options: SlotOptions;
  readonly #thumbnail = document.createElement("canvas");
  readonly #name = document.createElement("p");
  readonly #file = document.createElement("input");
  readonly #take: HTMLButtonElement;
  readonly #remove: HTMLButtonElement;
  #material: Material | undefined;

  constructor(options: SlotOptions) {
    this.#options = options;
    this.accepts = options.accepts;
    const { id, label, accepts } = options;
    this.element.className = "slot";
    this.element.id = id;
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", label);
    const heading = document.createElement("p");
    heading.className = "slot-label";
    heading.textContent = label;
    this.#thumbnail.width = this.#thumbnail.height = THUMBNAIL;
    this.#thumbnail.setAttribute("aria-hidden", "true");
    this.#name.className = "slot-name";
    this.#file.type = "file";
    this.#file.hidden = true;
    this.#file.accept = accepts.map((kind) => FILE_TYPES[kind]).join(",");
    this.#file.setAttribute("aria-label", `File: ${label}`);
    this.#file.addEventListener("change", () => {
      const [file] = this.#file.files ?? [];
      this.#file.value = "";
      if (file) {
        this.drop(file);
      }
    });
    const choose = button("Choose a file…", () => this.#file.click());
    const screen = accepts.includes("clip") ? "Take the film shown" : "Take the frame shown";
    this.#take = button(screen, () => this.put(options.onScreen(accepts)));
    this.#remove = button("Remove", () => {
      this.put(undefined);
      choose.focus();
    });
    const buttons = document.createElement("div");
    buttons.className = "slot-buttons";
    buttons.append(choose, this.#take, this.#remove);
    const words = document.createElement("div");
    words.append(heading, this.#name, buttons);
    this.element.append(this.#thumbnail, words, this.#file);
    this.#show();
  }

  get material(): Material | undefined {
    return this.#material;
  }

  /** Whether it is to be seen, with the mode that is chosen. */
  set shown(shown: boolean) {
    this.element.hidden = !shown;
  }

  /** Takes a file; says so where it is of the wrong kind. */
  drop(file: File): void {
    try {
      const material = materialOf(file);
      if (!this.accepts.includes(material.kind)) {
        const reason = `a ${this.accepts.join(" or a ")} is needed here, and this is a ${material.kind}`;
        throw new KinetoscopeError("file_invalid", `${file.name} cannot be used: ${reason}`, {
          path: file.name,
          reason,
        });
      }
      this.put(material);
    } catch (thrown) {
      this.#options.onError(KinetoscopeError.from(thrown));
    }
  }

  put(material: Material | undefined): void {
    this.#material = material;
    this.#show();
    this.#options.onChange();
    if (material) {
      void this.#draw(material);
    }
  }

  /** What is on the screen has changed. */
  refresh(): void {
    this.#take.disabled = this.#options.onScreen(this.accepts) === undefined;
  }

  #show(): void {
    const material = this.#material;
    this.element.toggleAttribute("data-filled", material !== undefined);
    this.#name.textContent = material?.name ?? `Drop a ${this.accepts.join(" or a ")} here`;
    this.#remove.hidden = material === undefined;
    context2d(this.#thumbnail).clearRect(0, 0, THUMBNAIL, THUMBNAIL);
    this.refresh();
  }

  /** The first picture; what does not decode is told at once and is not kept. */
  async #draw(material: Material): Promise<void> {
    try {
      const shape = { width: THUMBNAIL, height: THUMBNAIL, fps: 1, fit: "cover", most: 1 } as const;
      const [pixels] = await framesOf(material, shape);
      if (pixels && this.#material === material) {
        context2d(this.#thumbnail).putImageData(new ImageData(pixels, THUMBNAIL, THUMBNAIL), 0, 0);
      }
    } catch (thrown) {
      if (this.#material === material) {
        this.put(undefined);
        this.#options.onError(KinetoscopeError.from(thrown));
      }
    }
  }
}

function button(text: string, click: () => void): HTMLButtonElement {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", click);
  return made;
}
