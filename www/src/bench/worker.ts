/** Runs the comparison: what computes on the CPU would freeze the page. */
import type { WorkerScope } from "./report.js";
import { runSuite } from "./suite.js";

const scope = globalThis as unknown as WorkerScope;

scope.onmessage = ({ data }) => {
  runSuite(data, (message) => scope.postMessage(message)).catch((error: unknown) =>
    scope.postMessage({ type: "error", reason: error instanceof Error ? error.message : String(error) }),
  );
};
