/** What the page is doing, what went wrong, and what screen readers are told of it. */
import type { Explanation, Fix } from "./explain.js";
import { element } from "./dom.js";
import { timeLeftWords } from "./progress.js";

export class Status {
  readonly #work = element("work", HTMLElement);
  readonly #bar = element("progress", HTMLProgressElement);
  readonly #doing = element("doing", HTMLElement);
  readonly #left = element("left", HTMLElement);
  readonly #hint = element("hint", HTMLElement);
  readonly #error = element("error", HTMLElement);
  readonly #errorText = element("error-text", HTMLElement);
  readonly #errorAction = element("error-action", HTMLButtonElement);
  readonly #announce = element("announce", HTMLElement);
  #fix: Fix | undefined;
  #endsAt: number | undefined;
  #timer = 0;

  constructor(onFix: (fix: Fix) => void) {
    this.#errorAction.addEventListener("click", () => {
      if (this.#fix) {
        onFix(this.#fix);
      }
    });
  }

  /** Shows the bar. `left` is a text, or the seconds to go, which then count down by themselves. */
  show(doing: string, fraction: number, left: string | number | undefined): void {
    this.#work.hidden = false;
    this.#doing.textContent = doing;
    this.#bar.value = fraction;
    clearInterval(this.#timer);
    if (typeof left === "number") {
      this.#endsAt = performance.now() + left * 1000;
      this.#timer = window.setInterval(() => this.#countDown(), 1000);
      this.#countDown();
    } else {
      this.#left.textContent = left ?? "";
    }
  }

  hide(): void {
    clearInterval(this.#timer);
    this.#work.hidden = true;
  }

  showError({ sentence, fix }: Explanation): void {
    this.hide();
    this.#fix = fix;
    this.#errorText.textContent = sentence;
    this.#errorAction.textContent = fix?.label ?? "";
    this.#errorAction.hidden = fix === undefined;
    this.#error.hidden = false;
  }

  clearError(): void {
    this.#error.hidden = true;
    this.#hint.hidden = true;
  }

  /** Something worth knowing that is no error. */
  hint(text: string): void {
    this.#hint.textContent = text;
    this.#hint.hidden = false;
  }

  /** For screen readers: only what is new at this moment, a few times a clip. */
  announce(text: string): void {
    if (this.#announce.textContent !== text) {
      this.#announce.textContent = text;
    }
  }

  #countDown(): void {
    if (this.#endsAt !== undefined) {
      this.#left.textContent = timeLeftWords((this.#endsAt - performance.now()) / 1000);
    }
  }
}
