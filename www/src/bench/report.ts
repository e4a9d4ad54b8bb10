/** What is asked of the bench and what it says: rows as they come, and all of them as JSON. */
import type { Comparison } from "./compare.js";

export interface BenchOptions {
  /** Address of the model's folder. */
  readonly model: string;
  /** Address of the folder of its ONNX graphs; without it no pass is compared. */
  readonly graphs?: string;
  /** Cases whose names contain this. */
  readonly only: string;
  /** Samples of each side, if there is time. */
  readonly samples: number;
  /** Seconds for the samples of a case. */
  readonly seconds: number;
}

/** What the page asks a worker for. */
export interface Asked extends BenchOptions {
  /** Cases of Kinetoscope alone, as `kinetoscope bench --suite` names them; none for the comparison. */
  readonly suite: string;
}

export interface Header {
  readonly browser: string;
  /** In the browser's words. */
  readonly adapter: string;
  readonly software: boolean;
  readonly onnxRuntime: string;
  /** Of ONNX Runtime's device; a row may have had fewer. */
  readonly features: readonly string[];
  readonly options: BenchOptions;
}

/** How far results are from each other, relative to the root of their mean square. */
export interface Check {
  /** Whether ONNX Runtime had the subgroups that the adapter has. It goes without them where they make its result wrong. */
  readonly subgroups: boolean;
  /** The largest difference between both sides. */
  readonly difference: number;
  /** The largest difference from sampled elements in f64, of single operations. */
  readonly exact?: { readonly ours: number; readonly theirs: number };
}

export type Outcome =
  | ({ readonly outcome: "measured"; readonly gflop: number | null } & Check & Comparison)
  | ({
      readonly outcome: "differs";
      readonly reason: string;
      /** The side that differs from f64, where that is known. */
      readonly wrong: "ours" | "theirs" | null;
    } & Check)
  | { readonly outcome: "skipped" | "failed"; readonly reason: string };

export type Row = { readonly id: string } & Outcome;

/** What a worker tells the page. What is shown is text by then, what is saved is not. */
export type Message =
  | {
      readonly type: "header";
      readonly words: string;
      readonly columns: readonly string[];
      /** What is saved beside the rows, which go by the name `rows`. */
      readonly report: object;
      readonly rows: string;
    }
  | {
      readonly type: "row";
      readonly outcome: string;
      readonly cells: readonly string[];
      readonly row: object;
    }
  | { readonly type: "doing"; readonly id: string }
  | { readonly type: "done" }
  | { readonly type: "error"; readonly reason: string };

/** The part of a worker's scope that is used; the DOM's types describe a window instead. */
interface WorkerScope {
  postMessage(message: Message): void;
  onmessage: ((event: MessageEvent<Asked>) => void) | null;
}

/** Has a worker run what the page asks for. */
export function answer(run: (asked: Asked, tell: (message: Message) => void) => Promise<void>): void {
  const scope = globalThis as unknown as WorkerScope;
  const tell = (message: Message): void => scope.postMessage(message);
  scope.onmessage = ({ data }) => {
    run(data, tell).catch((error: unknown) =>
      tell({ type: "error", reason: error instanceof Error ? error.message : String(error) }),
    );
  };
}
