/** What was compared, as text. */
import { number, spread } from "./numbers.js";
import type { Header, Row } from "./report.js";

export const COLUMNS = [
  "Case",
  "GFLOP",
  "Kinetoscope, ms",
  "ONNX Runtime Web, ms",
  "Ratio",
  "GFLOP/s",
  "Largest difference",
  "From f64: Kinetoscope, ONNX Runtime",
] as const;

/** A row's cells; those of one that was not measured end with the reason. */
export function cells(row: Row): string[] {
  if (!("difference" in row)) {
    return [row.id, `${row.outcome}: ${row.reason}`];
  }
  const id = row.subgroups ? row.id : `${row.id}; ONNX Runtime without subgroups`;
  const off = [
    row.difference.toExponential(1),
    row.exact ? `${row.exact.ours.toExponential(1)}, ${row.exact.theirs.toExponential(1)}` : "",
  ];
  if (!("ratio" in row)) {
    return [id, `not timed: ${row.reason}`, "", "", "", "", ...off];
  }
  const { gflop, ours, theirs, ratio } = row;
  return [
    id,
    gflop === null ? "" : number(gflop),
    spread(ours, 1000),
    spread(theirs, 1000),
    spread(ratio, 1),
    gflop === null ? "" : `${number(gflop / ours.median)}, ${number(gflop / theirs.median)}`,
    ...off,
  ];
}

/** What is true of all rows, in a sentence. */
export function describe({ browser, adapter, software, onnxRuntime, features }: Header): string {
  const kind = software ? "a software adapter" : "a GPU";
  return (
    `On ${adapter || "an adapter without a name"} (${kind}); ONNX Runtime Web ${onnxRuntime} with the features ` +
    `${features.join(", ") || "none"}; ${browser}.`
  );
}
