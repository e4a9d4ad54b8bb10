/** The page of the comparison: starts it, shows rows as they come, and offers them as JSON. */
import { element } from "../page/dom.js";
import type { BenchOptions, Header, Message, Report, Row } from "./report.js";
import { COLUMNS, cells, describe, markdown } from "./table.js";

const form = element("form", HTMLFormElement);
const button = element("run", HTMLButtonElement);
const state = element("state", HTMLElement);
const body = element("rows", HTMLTableSectionElement);
const save = element("save", HTMLAnchorElement);
const asMarkdown = element("as-markdown", HTMLElement);

let header: Header | undefined;
let rows: Row[] = [];

for (const column of COLUMNS) {
  const heading = document.createElement("th");
  heading.textContent = column;
  element("columns", HTMLElement).append(heading);
}
/** Fields can be given in the address, as in `bench.html?only=MatMul&start`. */
const asked = new URLSearchParams(location.search);
for (const field of form.elements) {
  if (field instanceof HTMLInputElement) {
    field.value = asked.get(field.name) ?? field.value;
  }
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
if (asked.has("start")) {
  start();
}

function start(): void {
  [header, rows] = [undefined, []];
  body.replaceChildren();
  button.disabled = true;
  save.hidden = asMarkdown.hidden = true;
  show("running", "Opening the device");
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const end = (how: "done" | "failed", words: string): void => {
    worker.terminate();
    button.disabled = false;
    show(how, words);
  };
  worker.onmessage = ({ data }: MessageEvent<Message>) => {
    switch (data.type) {
      case "header":
        header = data.header;
        element("device", HTMLElement).textContent = describe(header);
        break;
      case "doing":
        show("running", data.id);
        break;
      case "row":
        addRow(data.row);
        break;
      case "done":
        if (header) {
          offer({ ...header, rows });
        }
        end("done", "Done");
        break;
      case "error":
        end("failed", data.reason);
    }
  };
  worker.onerror = ({ message }) => end("failed", message);
  worker.postMessage(options());
}

function options(): BenchOptions {
  const fields = new FormData(form);
  const text = (name: string): string => String(fields.get(name) ?? "").trim();
  const folder = (name: string): string => new URL(`${text(name).replace(/\/$/, "")}/`, location.href).href;
  return {
    model: folder("model"),
    ...(text("graphs") ? { graphs: folder("graphs") } : {}),
    only: text("only"),
    samples: Number(text("samples")),
    seconds: Number(text("seconds")),
  };
}

function addRow(row: Row): void {
  rows.push(row);
  const line = body.insertRow();
  line.dataset["outcome"] = row.outcome;
  const all = cells(row);
  all.forEach((text, index) => {
    const cell = line.insertCell();
    cell.textContent = text;
    // A reason takes the rest of the line.
    cell.colSpan = index === all.length - 1 ? COLUMNS.length - index : 1;
  });
}

function offer(report: Report): void {
  const json = JSON.stringify(report, null, 1);
  save.href = URL.createObjectURL(new Blob([json], { type: "application/json" }));
  element("markdown", HTMLElement).textContent = markdown(report);
  save.hidden = asMarkdown.hidden = false;
}

/** `data-state` is for scripts. */
function show(how: "running" | "done" | "failed", words: string): void {
  state.dataset["state"] = how;
  state.textContent = words;
}
