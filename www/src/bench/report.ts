/** What the bench says: rows as they come, and all of them as JSON. */
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

export interface Report extends Header {
  readonly rows: readonly Row[];
}

/** What the worker tells the page. */
export type Message =
  | { readonly type: "header"; readonly header: Header }
  | { readonly type: "row"; readonly row: Row }
  | { readonly type: "doing"; readonly id: string }
  | { readonly type: "done" }
  | { readonly type: "error"; readonly reason: string };
