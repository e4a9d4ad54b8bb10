/** All cases of the comparison with ONNX Runtime Web, one after the other. */
import init, { Engine, Operation } from "../wasm-bench/kinetoscope.js";
import { withSubgroups } from "../subgroups.js";
import { type Budget, type Side, compare, difference } from "./compare.js";
import { onnxModel } from "./onnx.js";
import { type OnnxRuntime, OnnxSide, onnxRuntimeOnCpu, onnxRuntimeOnGpu } from "./onnxruntime.js";
import { OPERATIONS, type OperationCase } from "./operations.js";
import { KinetoscopePass, fetchGraphs, openOnnxPass } from "./pass.js";
import { Random } from "./random.js";
import type { BenchOptions, Check, Header, Message, Outcome, Row } from "./report.js";
import { COLUMNS, cells, describe } from "./table.js";

/** Both compute in f32, and add in other orders: some 1e-6 apart. What is computed wrongly is some 1e-1 off. */
const TOLERANCE = 1e-3;

/** Elements of an operation's output that are computed in f64. */
const SAMPLES = 64;

export async function runSuite(options: BenchOptions, tell: (message: Message) => void): Promise<void> {
  await init();
  const engine = await withSubgroups(() => Engine.create("webgpu", undefined));
  const onGpu = [await onnxRuntimeOnGpu(true), await onnxRuntimeOnGpu(false)] as const;
  const about = header(engine, onGpu[0], options);
  tell({ type: "header", words: describe(about), columns: COLUMNS, report: about, rows: "rows" });
  const tellRow = (row: Row): void => tell({ type: "row", outcome: row.outcome, cells: cells(row), row });
  const software = engine.info().software;
  /** With the first runtime, or the next where the results differ. */
  const run = async (
    id: string,
    skipped: string | undefined,
    runtimes: () => Promise<readonly OnnxRuntime[]>,
    measure: (runtime: OnnxRuntime) => Promise<Outcome>,
  ): Promise<void> => {
    if (!id.includes(options.only)) {
      return;
    }
    tell({ type: "doing", id });
    if (skipped !== undefined) {
      tellRow({ id, outcome: "skipped", reason: skipped });
      return;
    }
    let outcome: Outcome = { outcome: "skipped", reason: "there is no runtime" };
    try {
      for (const runtime of await runtimes()) {
        outcome = await measure(runtime);
        if (outcome.outcome !== "differs") {
          break;
        }
      }
    } catch (error) {
      outcome = { outcome: "failed", reason: error instanceof Error ? error.message : String(error) };
    }
    tellRow({ id, ...outcome });
  };
  for (const operation of OPERATIONS) {
    const skipped = software && !operation.small ? "too large for a software adapter" : undefined;
    await run(
      operation.id,
      skipped,
      async () => onGpu,
      (runtime) => compareOperation(operation, engine, runtime, options),
    );
  }
  const noGraphs = options.graphs ? undefined : "no ONNX graphs: models/recipe/onnx_export.py writes them";
  await run(
    "transformer pass, WebGPU",
    noGraphs,
    async () => onGpu,
    (runtime) => comparePass(engine, runtime, options),
  );
  engine.free();
  const cpu = await Engine.create("cpu", undefined);
  await run(
    "transformer pass, CPU in wasm, one thread",
    noGraphs,
    async () => [await onnxRuntimeOnCpu()],
    (runtime) => comparePass(cpu, runtime, options),
  );
  cpu.free();
  tell({ type: "done" });
}

function header(engine: Engine, { ort, device }: OnnxRuntime, options: BenchOptions): Header {
  const { adapter, software } = engine.info();
  return {
    browser: navigator.userAgent,
    adapter,
    software,
    onnxRuntime: ort.env.versions.web ?? ort.env.versions.common,
    features: [...(device?.features ?? [])],
    options,
  };
}

async function compareOperation(
  { flops, prepare }: OperationCase,
  engine: Engine,
  runtime: OnnxRuntime,
  budget: Budget,
): Promise<Outcome> {
  const prepared = prepare();
  const operation = prepared.open(Operation, engine);
  let repetitions = 0;
  const ours: Side = {
    // So many repetitions are one program, which the first run makes.
    ready: async (times) => {
      if (times !== repetitions) {
        await operation.run(times);
        repetitions = times;
      }
    },
    run: (times) => operation.run(times),
    close: () => operation.free(),
  };
  const inputs = Object.entries(prepared.onnx.inputs).map(([name, { data }]) => [name, data]);
  const theirs = await OnnxSide.open(
    runtime,
    onnxModel(prepared.onnx),
    Object.fromEntries(inputs) as Record<string, Float32Array<ArrayBuffer>>,
  );
  try {
    const results = [await operation.output(), prepared.reorder(await theirs.output())] as const;
    const random = new Random(5);
    const indices = Array.from({ length: SAMPLES }, () => random.bits() % results[0].length);
    const exact = indices.map(prepared.exact);
    const [oursOff, theirsOff] = results.map((all) =>
      difference(
        indices.map((index) => all[index] ?? NaN),
        exact,
      ),
    ) as [number, number];
    const check = {
      subgroups: runtime.subgroups,
      difference: difference(results[0], results[1]),
      exact: { ours: oursOff, theirs: theirsOff },
    };
    return await checkedComparison(flops / 1e9, check, ours, theirs, budget);
  } finally {
    ours.close();
    await theirs.close();
  }
}

async function comparePass(engine: Engine, runtime: OnnxRuntime, options: BenchOptions): Promise<Outcome> {
  const graphs = await fetchGraphs(options.graphs ?? "");
  const ours = await KinetoscopePass.open(engine, options.model);
  try {
    const first = await ours.first();
    const theirs = await openOnnxPass(runtime, graphs, first);
    try {
      const check = {
        subgroups: runtime.subgroups,
        difference: difference(first.velocity, await theirs.output()),
      };
      return await checkedComparison(null, check, ours, theirs, options);
    } finally {
      await theirs.close();
    }
  } finally {
    ours.close();
  }
}

/** Times what both sides agree on. */
async function checkedComparison(
  gflop: number | null,
  check: Check,
  ours: Side,
  theirs: Side,
  budget: Budget,
): Promise<Outcome> {
  if (check.difference <= TOLERANCE) {
    return { outcome: "measured", gflop, ...check, ...(await compare(ours, theirs, budget)) };
  }
  const { exact } = check;
  if (!exact) {
    return { outcome: "differs", reason: "the results differ", wrong: null, ...check };
  }
  const wrong = exact.ours > TOLERANCE ? "ours" : "theirs";
  const reason = `${wrong === "ours" ? "Kinetoscope" : "ONNX Runtime Web"} computes something else than f64`;
  return { outcome: "differs", reason, wrong, ...check };
}
