/**
 * The cases of `kinetoscope bench` in a worker. Its wasm is one that the page of clips does without: `./build.sh wasm-bench`
 * builds it.
 */
import { withSubgroups } from "../subgroups.js";
import init, { Bench, type BenchHeader, type BenchReport, CancelFlag } from "../wasm-bench/kinetoscope.js";
import { number, spread } from "./numbers.js";
import { type Asked, type Message, answer } from "./report.js";

const COLUMNS = ["Case", "ms", "GFLOP/s", "% of the f32 peak", "Largest difference", "Dispatches", "Kernels"];

answer(run);

async function run({ suite, only, seconds }: Asked, tell: (message: Message) => void): Promise<void> {
  await init();
  const bench = await withSubgroups(() => Bench.open("webgpu", seconds));
  const cancel = new CancelFlag();
  // As `kinetoscope bench --json` writes it.
  const header: BenchHeader = bench.header();
  tell({ type: "header", words: describe(header), columns: COLUMNS, report: { header }, rows: "cases" });
  for (const { id } of bench.cases([suite]).filter((found) => found.id.includes(only))) {
    tell({ type: "doing", id });
    const row = await bench.run(id, cancel);
    tell({ type: "row", outcome: row.outcome, cells: cells(row), row });
  }
  tell({ type: "done" });
}

/** Those of a case that was not measured end with the reason. */
function cells(report: BenchReport): string[] {
  if (report.outcome !== "measured") {
    return [report.id, `${report.outcome}: ${report.reason}`];
  }
  const { id, seconds, gflops, percentOfPeak, error, dispatches, kernels, operations } = report;
  const parts = operations
    ? operations.times.map(({ name, percent }) => `${number(percent)}% ${name}`)
    : Object.entries(kernels).map(([name, count]) => (count === 1 ? name : `${count} ${name}`));
  return [
    id,
    spread(seconds, 1000),
    number(gflops),
    number(percentOfPeak),
    error ? `${error.relative.toExponential(1)} from ${error.against}` : "",
    String(dispatches),
    parts.join(", "),
  ];
}

function describe({ device, peak, latency }: BenchHeader): string {
  const kind = device.software ? "a software adapter" : "a GPU";
  return (
    `On ${device.name || "an adapter without a name"} (${kind}) with the features ` +
    `${device.features.join(", ") || "none"}: ${number(peak / 1e9)} GFLOP/s in f32 at best, ` +
    `${number(latency * 1000)} ms from a submit to the news of its end.`
  );
}
