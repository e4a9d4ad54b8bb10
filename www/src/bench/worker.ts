/** Runs the comparison: what computes on the CPU would freeze the page. */
import type { BenchOptions, Message } from "./report.js";
import { runSuite } from "./suite.js";

/** The part of the worker's scope that is used; the DOM's types describe a window instead. */
interface WorkerScope {
  postMessage(message: Message): void;
  onmessage: ((event: MessageEvent<BenchOptions>) => void) | null;
}
const scope = globalThis as unknown as WorkerScope;

scope.onmessage = ({ data }) => {
  runSuite(data, (message) => scope.postMessage(message)).catch((error: unknown) =>
    scope.postMessage({ type: "error", reason: error instanceof Error ? error.message : String(error) }),
  );
};
