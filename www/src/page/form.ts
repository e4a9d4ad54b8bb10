/** The words and settings of the clip to make. */
import type { ClipOptions, ModelInfo } from "../messages.js";
import { element } from "./dom.js";

/** The value of the size list that shows the two number fields. */
const OTHER_SIZE = "other";

export class Form {
  readonly #prompt = element("prompt", HTMLTextAreaElement);
  readonly #negative = element("negative", HTMLInputElement);
  readonly #size = element("size", HTMLSelectElement);
  readonly #customSize = element("custom-size", HTMLElement);
  readonly #width = element("width", HTMLInputElement);
  readonly #height = element("height", HTMLInputElement);
  readonly #frames = element("frames", HTMLSelectElement);
  readonly #steps = element("steps", HTMLInputElement);
  readonly #guidance = element("guidance", HTMLInputElement);
  readonly #seed = element("seed", HTMLInputElement);
  readonly #more = document.querySelector<HTMLDetailsElement>("details.more");
  #fps = 8;

  constructor(submit: () => void) {
    const form = element("form", HTMLFormElement);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
    });
    // A prompt is one paragraph: Enter makes the film, Shift+Enter is still a new line.
    this.#prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        submit();
      }
    });
    element("dice", HTMLButtonElement).addEventListener(
      "click",
      () => (this.#seed.value = String(randomSeed())),
    );
    this.#size.addEventListener("change", () => this.#showCustomSize());
  }

  /** Fills in what the model can make, with its defaults chosen. */
  useModel(info: ModelInfo): void {
    this.#fps = info.fps;
    this.#size.replaceChildren(
      ...sizes(info).map(({ name, width, height }) =>
        option(`${width}x${height}`, `${name} · ${width} × ${height}`),
      ),
      option(OTHER_SIZE, "Another size"),
    );
    this.#width.value = String(info.width);
    this.#height.value = String(info.height);
    this.#width.step = this.#height.step = String(info.sizeMultiple);
    this.#width.min = this.#height.min = String(info.sizeMultiple);
    this.#showCustomSize();
    this.#frames.replaceChildren(...lengths(info).map((frames) => this.#lengthOption(frames)));
    this.#frames.value = String(info.frames);
    this.#steps.value = String(info.steps);
    this.#guidance.value = String(info.guidance);
    this.#negative.value = info.negative;
  }

  /** What is asked for; the seed is always settled, so that the clip can be made again. */
  read(): ClipOptions & { readonly seed: bigint } {
    const [width, height] =
      this.#size.value === OTHER_SIZE
        ? [this.#width.valueAsNumber, this.#height.valueAsNumber]
        : this.#size.value.split("x").map(Number);
    return {
      prompt: this.#prompt.value.trim() || this.#prompt.placeholder,
      negative: this.#negative.value.trim(),
      ...defined({
        width,
        height,
        frames: Number(this.#frames.value),
        steps: this.#steps.valueAsNumber,
        guidance: this.#guidance.valueAsNumber,
      }),
      seed: this.#readSeed(),
    };
  }

  setSize(width: number, height: number): void {
    this.#size.value = `${width}x${height}`;
    if (!this.#size.value) {
      this.#size.value = OTHER_SIZE;
    }
    this.#width.value = String(width);
    this.#height.value = String(height);
    this.#showCustomSize();
  }

  setFrames(frames: number): void {
    if (![...this.#frames.options].some(({ value }) => value === String(frames))) {
      this.#frames.append(this.#lengthOption(frames));
    }
    this.#frames.value = String(frames);
  }

  setPrompt(prompt: string): void {
    this.#prompt.value = prompt;
  }

  /** Opens the settings, where an error is about one of them. */
  showSettings(): void {
    if (this.#more) {
      this.#more.open = true;
    }
  }

  /** A seed of digits is taken as it is, up to 64 bits; without one a new one is drawn. */
  #readSeed(): bigint {
    const digits = this.#seed.value.trim();
    return /^\d+$/.test(digits) ? BigInt.asUintN(64, BigInt(digits)) : BigInt(randomSeed());
  }

  #showCustomSize(): void {
    this.#customSize.hidden = this.#size.value !== OTHER_SIZE;
  }

  #lengthOption(frames: number): HTMLOptionElement {
    const length = frames === 1 ? "A still" : `${(frames / this.#fps).toFixed(1)} s`;
    return option(String(frames), `${length} · ${frames} ${frames === 1 ? "frame" : "frames"}`);
  }
}

function option(value: string, text: string): HTMLOptionElement {
  return new Option(text, value);
}

/** The model's own size first, then other shapes of about as many pixels. */
function sizes(info: ModelInfo): { name: string; width: number; height: number }[] {
  const { width, height, sizeMultiple } = info;
  const round = (length: number): number => Math.max(1, Math.round(length / sizeMultiple)) * sizeMultiple;
  const side = Math.sqrt(width * height);
  const named = [
    { width, height },
    { width: round(side), height: round(side) },
    { width: round(side * Math.sqrt(1.5)), height: round(side / Math.sqrt(1.5)) },
    { width: round(side / Math.sqrt(1.5)), height: round(side * Math.sqrt(1.5)) },
  ].map((size) => ({ ...size, name: shapeName(size.width, size.height) }));
  return named.filter((size, index) => named.findIndex(({ name }) => name === size.name) === index);
}

function shapeName(width: number, height: number): string {
  return width === height ? "Square" : width > height ? "Wide" : "Tall";
}

/** Lengths around the model's own, each a whole number of latent frames and the first. */
function lengths({ frames, frameStride }: ModelInfo): number[] {
  const latents = (frames - 1) / frameStride;
  const choices = [0.25, 0.5, 0.75, 1, 1.5, 2].map(
    (factor) => Math.round(latents * factor) * frameStride + 1,
  );
  return [...new Set([...choices, frames])].sort((a, b) => a - b);
}

/** A field left empty is NaN: the model's default then holds. */
function defined<T extends Record<string, number | undefined>>(numbers: T): { [K in keyof T]?: number } {
  const entries = Object.entries(numbers).filter(([, value]) => value !== undefined && !Number.isNaN(value));
  return Object.fromEntries(entries) as { [K in keyof T]?: number };
}

function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
}
