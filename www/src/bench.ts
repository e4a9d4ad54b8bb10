/**
 * Measures how fast a device is, in the thread that it is called in: a worker, unless the page has nothing else to do. Not
 * a part of the library, whose wasm does without it: `./build.sh wasm-bench` builds the one that has it.
 */
import init, {
  Bench,
  type BenchCase,
  type BenchHeader,
  type BenchReport,
  CancelFlag,
} from "./wasm-bench/kinetoscope.js";

export type {
  BenchCase,
  BenchHeader,
  BenchMeasurement,
  BenchReport,
  BenchSuite,
} from "./wasm-bench/kinetoscope.js";

/** Everything that was measured, as `kinetoscope bench --json` writes it. */
export interface BenchResults {
  header: BenchHeader;
  cases: BenchReport[];
}

/** A device and the cases that can be run on it. */
export interface KernelBench {
  readonly header: BenchHeader;
  /** The cases of some suites: `peak`, `gemm`, `attention`, `conv`, `model`, `gpu` (all), `quick`. */
  cases(...suites: string[]): BenchCase[];
  /** Runs a case, as often as one likes; one at a time. */
  run(id: string, signal?: AbortSignal): Promise<BenchReport>;
  close(): void;
}

/** Opens a device, and measures its f32 peak. A case may take about `secondsPerCase`, or is skipped. */
export async function openBench(device: "webgpu" | "cpu", secondsPerCase = 10): Promise<KernelBench> {
  await init();
  const bench = await Bench.open(device, secondsPerCase);
  return {
    header: bench.header(),
    cases: (...suites) => bench.cases(suites),
    run: async (id, signal) => {
      const cancel = new CancelFlag();
      const abort = (): void => cancel.cancel();
      if (signal?.aborted) {
        abort();
      }
      signal?.addEventListener("abort", abort);
      try {
        return await bench.run(id, cancel);
      } finally {
        signal?.removeEventListener("abort", abort);
        cancel.free();
      }
    },
    close: () => bench.free(),
  };
}
