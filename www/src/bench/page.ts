/** The bench's page: starts it, shows rows as they come, and offers them as JSON. */
import { element } from "../page/dom.js";
import type { Asked, Message } from "./report.js";

const form = element("form", HTMLFormElement);
const button = element("run", HTMLButtonElement);
const state = element("state", HTMLElement);
const body = element("rows", HTMLTableSectionElement);
const save = element("save", HTMLAnchorElement);
const asMarkdown = element("as-markdown", HTMLElement);

let header: Extract<Message, { type: "header" }> | undefined;
let rows: Extract<Message, { type: "row" }>[] = [];

/** Fields can be given in the address, as in `bench.html?only=MatMul&start`. */
const given = new URLSearchParams(location.search);
for (const field of form.elements) {
  if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) {
    field.value = given.get(field.name) ?? field.value;
  }
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
if (given.has("start")) {
  start();
}

function start(): void {
  [header, rows] = [undefined, []];
  body.replaceChildren();
  button.disabled = true;
  save.hidden = asMarkdown.hidden = true;
  show("running", "Opening the device");
  const options = asked();
  const worker = options.suite
    ? new Worker(new URL("./kernels.ts", import.meta.url), { type: "module" })
    : new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const end = (how: "done" | "failed", words: string): void => {
    worker.terminate();
    button.disabled = false;
    show(how, words);
  };
  worker.onmessage = ({ data }: MessageEvent<Message>) => {
    switch (data.type) {
      case "header":
        begin(data);
        break;
      case "doing":
        show("running", data.id);
        break;
      case "row":
        addRow(data);
        break;
      case "done":
        offer();
        end("done", "Done");
        break;
      case "error":
        end("failed", data.reason);
    }
  };
  worker.onerror = ({ message }) => end("failed", message);
  worker.postMessage(options);
}

function asked(): Asked {
  const fields = new FormData(form);
  const text = (name: string): string => String(fields.get(name) ?? "").trim();
  const folder = (name: string): string => new URL(`${text(name).replace(/\/$/, "")}/`, location.href).href;
  return {
    suite: text("suite"),
    model: folder("model"),
    ...(text("graphs") ? { graphs: folder("graphs") } : {}),
    only: text("only"),
    samples: Number(text("samples")),
    seconds: Number(text("seconds")),
  };
}

function begin(message: Extract<Message, { type: "header" }>): void {
  header = message;
  element("device", HTMLElement).textContent = message.words;
  const headings = message.columns.map((column) => {
    const heading = document.createElement("th");
    heading.textContent = column;
    return heading;
  });
  element("columns", HTMLElement).replaceChildren(...headings);
}

function addRow(message: Extract<Message, { type: "row" }>): void {
  rows.push(message);
  const columns = header?.columns.length ?? 0;
  const line = body.insertRow();
  line.dataset["outcome"] = message.outcome;
  message.cells.forEach((text, index) => {
    const cell = line.insertCell();
    cell.textContent = text;
    // A reason takes the rest of the line.
    cell.colSpan = index === message.cells.length - 1 ? columns - index : 1;
  });
}

function offer(): void {
  if (!header) {
    return;
  }
  const { words, columns, report } = header;
  const json = JSON.stringify({ ...report, [header.rows]: rows.map(({ row }) => row) }, null, 1);
  save.href = URL.createObjectURL(new Blob([json], { type: "application/json" }));
  const line = (all: readonly string[]): string =>
    `| ${columns.map((_, index) => all[index] ?? "").join(" | ")} |`;
  const lines = rows.map(({ cells }) => line(cells));
  element("markdown", HTMLElement).textContent = [
    words,
    "",
    line(columns),
    `|${"---|".repeat(columns.length)}`,
    ...lines,
    "",
  ].join("\n");
  save.hidden = asMarkdown.hidden = false;
}

/** `data-state` is for scripts. */
function show(how: "running" | "done" | "failed", words: string): void {
  state.dataset["state"] = how;
  state.textContent = words;
}
