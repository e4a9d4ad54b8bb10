/** Plays what has been decoded so far, in a loop; pauses and scrubs. */
import type { Preview } from "../messages.js";
import type { Frame } from "../model.js";
import { context2d, element } from "./dom.js";
import { Strip } from "./strip.js";

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

export class Player {
  readonly #viewer = element("screen", HTMLElement);
  readonly #picture = element("picture", HTMLCanvasElement);
  readonly #context = context2d(this.#picture);
  readonly #strip = new Strip(element("strip", HTMLCanvasElement));
  readonly #scrub = element("scrub", HTMLInputElement);
  readonly #play = element("play", HTMLButtonElement);
  readonly #place = element("place", HTMLElement);
  #frames: ImageData[] = [];
  #count = 0;
  #fps = 8;
  #current = 0;
  #playing = false;
  #shownAt = 0;
  #request = 0;
  #previewing = 0;

  constructor() {
    this.#scrub.addEventListener("input", () => {
      this.pause();
      this.#show(Math.min(this.#scrub.valueAsNumber, this.#frames.length - 1));
    });
    this.#play.addEventListener("click", () => this.toggle());
    this.#picture.addEventListener("click", () => this.toggle());
    this.clear(1, 1, 0, 8);
  }

  /** Gets ready for a clip of `count` frames, none decoded yet. */
  clear(width: number, height: number, count: number, fps: number): void {
    this.pause();
    this.#endPreview();
    this.#frames = [];
    this.#count = count;
    this.#fps = fps;
    this.#current = 0;
    this.#picture.width = width;
    this.#picture.height = height;
    const style = this.#viewer.parentElement?.style;
    style?.setProperty("--wide", String(width));
    style?.setProperty("--high", String(height));
    this.#strip.reset(count, width / height);
    this.#scrub.max = String(Math.max(0, count - 1));
    this.#scrub.value = "0";
    this.#update();
  }

  /** Shows where a clip is going, while there is no frame of it yet: the latent frames one after the other, four times a second. */
  preview({ width, height, frames, rgba }: Preview): void {
    if (this.#frames.length > 0) {
      return;
    }
    this.#endPreview();
    this.#viewer.toggleAttribute("data-preview", true);
    const small = document.createElement("canvas");
    [small.width, small.height] = [width, height];
    let index = 0;
    const draw = (): void => {
      const length = width * height * 4;
      const pixels = Uint8ClampedArray.from(rgba.subarray(index * length, (index + 1) * length));
      context2d(small).putImageData(new ImageData(pixels, width, height), 0, 0);
      this.#context.imageSmoothingQuality = "high";
      this.#context.drawImage(small, 0, 0, this.#picture.width, this.#picture.height);
      index = (index + 1) % frames;
    };
    draw();
    if (!reducedMotion.matches) {
      this.#previewing = window.setInterval(draw, 250);
    }
  }

  /** The frame on the screen. */
  get frame(): ImageData | undefined {
    return this.#frames[this.#current];
  }

  /** Adds a frame as it is decoded. */
  add(frame: Frame): void {
    this.#endPreview();
    const image = new ImageData(frame.rgba, frame.width, frame.height);
    this.#frames.push(image);
    this.#context.putImageData(image, 0, 0);
    this.#strip.add(frame.index, this.#picture);
    if (this.#playing) {
      this.#draw();
    } else {
      this.#show(frame.index);
    }
    if (this.#frames.length === 2 && !reducedMotion.matches) {
      this.play();
    }
    this.#update();
  }

  /** Shows a finished clip. */
  open(width: number, height: number, fps: number, frames: readonly Uint8ClampedArray<ArrayBuffer>[]): void {
    this.clear(width, height, frames.length, fps);
    for (const [index, rgba] of frames.entries()) {
      this.add({ index, count: frames.length, width, height, rgba, seconds: 0 });
    }
    this.#show(0);
  }

  /** Says what the picture shows to those who cannot see it. */
  describe(words: string): void {
    this.#picture.setAttribute("aria-label", words);
  }

  toggle(): void {
    if (this.#playing) {
      this.pause();
    } else {
      this.play();
    }
  }

  play(): void {
    if (this.#frames.length > 1 && !this.#playing) {
      this.#playing = true;
      this.#shownAt = performance.now();
      this.#request = requestAnimationFrame((now) => this.#tick(now));
      this.#update();
    }
  }

  pause(): void {
    this.#playing = false;
    cancelAnimationFrame(this.#request);
    this.#update();
  }

  #endPreview(): void {
    clearInterval(this.#previewing);
    this.#viewer.toggleAttribute("data-preview", false);
  }

  #tick(now: number): void {
    const step = 1000 / this.#fps;
    if (now - this.#shownAt >= step) {
      // A page that was hidden goes on from here, and does not catch up.
      this.#shownAt = now - this.#shownAt > 4 * step ? now : this.#shownAt + step;
      this.#show((this.#current + 1) % this.#frames.length);
    }
    this.#request = requestAnimationFrame((next) => this.#tick(next));
  }

  #show(index: number): void {
    this.#current = index;
    this.#draw();
    this.#strip.show(index);
    this.#scrub.value = String(index);
    this.#update();
  }

  #draw(): void {
    const image = this.#frames[this.#current];
    if (image) {
      this.#context.putImageData(image, 0, 0);
    }
  }

  #update(): void {
    const ready = this.#frames.length;
    this.#viewer.dataset["frames"] = String(ready);
    this.#scrub.disabled = ready < 2;
    this.#play.disabled = ready < 2;
    this.#play.toggleAttribute("data-playing", this.#playing);
    this.#play.setAttribute("aria-label", this.#playing ? "Pause" : "Play");
    this.#scrub.setAttribute("aria-valuetext", `frame ${this.#current + 1} of ${this.#count}`);
    this.#place.textContent =
      ready === 0
        ? ""
        : ready < this.#count
          ? `${ready} of ${this.#count} frames`
          : `${((this.#current + 1) / this.#fps).toFixed(1)} of ${(this.#count / this.#fps).toFixed(1)} s`;
  }
}
