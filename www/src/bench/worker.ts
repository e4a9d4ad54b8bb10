/** Runs the comparison: what computes on the CPU would freeze the page. */
import { answer } from "./report.js";
import { runSuite } from "./suite.js";

answer(runSuite);
