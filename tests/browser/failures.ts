/** Tells once more, at the end, what failed and why in a few words: the end is what is kept of a long log. */
import { stripVTControlCharacters } from "node:util";
import type { Reporter, TestCase, TestResult } from "@playwright/test/reporter";

/** Lines of an error that say what was expected and what came. */
const LINES = 5;

export default class Failures implements Reporter {
  readonly #failed: string[] = [];

  onTestEnd(test: TestCase, result: TestResult): void {
    if (result.status !== test.expectedStatus) {
      const errors = result.errors.map(({ message = "" }) =>
        stripVTControlCharacters(message)
          .split("\n")
          .filter((line) => line.trim() !== "")
          .slice(0, LINES)
          .join("\n    "),
      );
      const said = result.annotations.map(({ type, description = "" }) => `${type}: ${description}`);
      this.#failed.push([test.title, ...errors, ...said].join("\n    "));
    }
  }

  onEnd(): void {
    if (this.#failed.length > 0) {
      console.log(`\n${this.#failed.join("\n")}`);
    }
  }
}
