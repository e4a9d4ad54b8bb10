/** The countdown on the screen while there is no frame to show. */
import { element } from "./dom.js";

export class Leader {
  readonly #leader = element("leader", HTMLElement);
  readonly #count = element("count", HTMLElement);

  /** `turn`: how far round the hand is, 0 to 1; `count`: the steps to go. */
  show(turn: number, count?: number): void {
    this.#leader.style.setProperty("--turn", turn.toFixed(4));
    this.#count.textContent = count === undefined ? "" : String(count);
  }
}
