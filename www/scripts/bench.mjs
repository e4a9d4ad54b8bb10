/**
 * Kinetoscope next to ONNX Runtime Web in headless Chromium, or with `--suite` (quick, gpu, peak, gemm, attention, conv or
 * model) alone, and what came of it as JSON and as a table in markdown.
 *
 *     npm run build:bench && node scripts/bench.mjs [--suite NAME] [--graphs FOLDER] [--only NAME] [--samples N]
 *         [--seconds N] [--json FILE] [--markdown FILE]
 *
 * The folder of ONNX graphs is what `models/recipe/onnx_export.py` writes; without it transformer passes are skipped. Fails where Kinetoscope
 * computes something else than ONNX Runtime Web, unless it is the latter that differs from f64.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { drive } from "./drive.mjs";
import { serve } from "./static.mjs";

const text = /** @type {const} */ ({ type: "string" });
const { values } = parseArgs({
  options: {
    suite: text,
    graphs: text,
    only: text,
    samples: text,
    seconds: text,
    json: text,
    markdown: text,
  },
});

const server = await serve({
  "/": fileURLToPath(new URL("../dist-bench", import.meta.url)),
  "/graphs/": values.graphs ?? "",
});
await drive(server, compare);

/** @param {import("@playwright/test").Page} page */
async function compare(page) {
  const asked = new URLSearchParams({ start: "" });
  for (const name of /** @type {const} */ (["suite", "only", "samples", "seconds"])) {
    if (values[name] !== undefined) {
      asked.set(name, values[name]);
    }
  }
  if (values.graphs !== undefined) {
    asked.set("graphs", "graphs/");
  }
  await page.goto(`${server.url}bench.html?${asked}`);
  const state = page.locator("#state");
  let told = 0;
  let how = "running";
  while (how === "running") {
    await page.waitForTimeout(1000);
    how = (await state.getAttribute("data-state")) ?? how;
    const lines = await page.locator("#rows tr").all();
    for (const line of lines.slice(told)) {
      console.log((await line.locator("td").allInnerTexts()).join("  |  "));
    }
    told = lines.length;
  }
  if (how === "failed") {
    throw new Error(await state.innerText());
  }

  const downloading = page.waitForEvent("download");
  await page.getByRole("link", { name: "Save as JSON" }).click();
  const json = await readFile(await (await downloading).path(), "utf8");
  const table = (await page.locator("#markdown").textContent()) ?? "";
  for (const [file, content] of [
    [values.json, json],
    [values.markdown, table],
  ]) {
    if (file) {
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, `${content}\n`);
    }
  }

  const report = JSON.parse(json);
  /** @type {(import("../src/bench/report.js").Row)[]} */
  const rows = report.rows ?? report.cases;
  const wrong = rows.filter(
    (row) => row.outcome === "failed" || (row.outcome === "differs" && row.wrong !== "theirs"),
  );
  if (wrong.length > 0) {
    throw new Error(wrong.map((row) => `${row.id}: ${"reason" in row ? row.reason : ""}`).join("\n"));
  }
}
