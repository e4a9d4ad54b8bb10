/** The words and settings of the clip to make. */
import type { ClipOptions, ModelInfo } from "../messages.js";
import { element } from "./dom.js";

/** The value of the size list that shows the two number fields. */
const OTHER_SIZE = "other";
/** What the values of the length list that are in seconds begin with; the others are frames. */
const SECONDS = "s:";
/** Longest film that can be asked for. */
export const LONGEST_SECONDS = 60;
/** Lengths on offer beside those around the model's own, in seconds. */
const LONGER = [3, 5, 10, 20, 30, LONGEST_SECONDS];
/** Shapes on offer, as width divided by height, each with about as many pixels as the model's own size. */
const SHAPES: readonly (readonly [name: string, aspect: number])[] = [
  ["Square", 1],
  ["Wide", 3 / 2],
  ["Tall", 2 / 3],
  ["Widescreen", 16 / 9],
  ["Phone", 9 / 16],
];

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
    this.#frames.replaceChildren(
      ...lengths(info).map((frames) => this.#lengthOption(frames)),
      ...LONGER.filter((seconds) => seconds * info.fps > 2 * info.frames).map((seconds) =>
        option(`${SECONDS}${seconds}`, seconds < 60 ? `${seconds} s` : "A minute"),
      ),
    );
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
    const length = this.#frames.value;
    return {
      prompt: this.#prompt.value.trim() || this.#prompt.placeholder,
      negative: this.#negative.value.trim(),
      ...(length.startsWith(SECONDS)
        ? { seconds: Number(length.slice(SECONDS.length)) }
        : { frames: Number(length) }),
      ...defined({
        width,
        height,
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

/** The model's own size first, then the other shapes that come out different. */
function sizes(info: ModelInfo): { name: string; width: number; height: number }[] {
  const { sizeMultiple } = info;
  const round = (length: number): number => Math.max(1, Math.round(length / sizeMultiple)) * sizeMultiple;
  const pixels = info.width * info.height;
  const own = info.width / info.height;
  const [ownName] = [...SHAPES].sort(([, a], [, b]) => Math.abs(a - own) - Math.abs(b - own))[0] ?? [""];
  const all = [
    { name: ownName, width: info.width, height: info.height },
    ...SHAPES.map(([name, aspect]) => ({
      name,
      width: round(Math.sqrt(pixels * aspect)),
      height: round(Math.sqrt(pixels / aspect)),
    })),
  ];
  const same = (a: { width: number; height: number }, b: typeof a): boolean =>
    a.width === b.width && a.height === b.height;
  return all.filter((size, index) => all.findIndex((other) => same(size, other)) === index);
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
