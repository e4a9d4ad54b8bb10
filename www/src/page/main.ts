/** The page: one form, one film at a time. */
import {
  KinetoscopeError,
  type LoadProgress,
  type Model,
  type ModelSource,
  isSupported,
  load,
} from "../index.js";
import { Additions } from "./additions.js";
import { deviceWords, fallbackNotice, megabytes } from "./device.js";
import { element } from "./dom.js";
import { type Fix, explain, losesModel, sentenceCase } from "./explain.js";
import { Form } from "./form.js";
import { History, type MadeClip } from "./history.js";
import { type Part, joined } from "./job.js";
import { Leader } from "./leader.js";
import type { Material, Pixels } from "./material.js";
import { Models } from "./models.js";
import { Modes } from "./modes.js";
import { Picker } from "./picker.js";
import { Player } from "./player.js";
import { type Pace, Progress, loadWords } from "./progress.js";
import { Status } from "./status.js";
import { Timeline } from "./timeline.js";
import type { ClipSize } from "./verdict.js";
import { readWords } from "./words.js";

const DEFAULT_MODEL = "models/small/";

const stage = element("stage", HTMLElement);
const generateButton = element("generate", HTMLButtonElement);
const cancelButton = element("cancel", HTMLButtonElement);
const saveButton = element("save", HTMLButtonElement);
const notice = element("notice", HTMLElement);
const secondsList = element("seconds", HTMLElement);

const query = new URLSearchParams(location.search);
const device = query.get("device") === "cpu" ? "cpu" : query.get("device") === "webgpu" ? "webgpu" : "auto";
const player = new Player();
const leader = new Leader();
const form = new Form(() => void generate());
const picker = new Picker((prompt) => form.setPrompt(prompt));
const additions = new Additions();
const status = new Status(applyFix);
const history = new History(showClip);
const timeline = new Timeline();
const modes = new Modes({ onScreen, onError: showError });
const models = new Models({
  device,
  use: (next, start) => {
    cancel();
    useSource(next, start);
    element("work", HTMLElement).scrollIntoView({ block: "nearest" });
  },
  back: () => {
    cancel();
    useSource(DEFAULT_MODEL);
  },
});
/** Pace of the last clip, by its size and frames. */
const paces = new Map<string, Pace>();

let source: ModelSource = query.get("model") ?? DEFAULT_MODEL;
/** What the first clip of the source is to be, where its own size is none for this device. */
let startSize: ClipSize | undefined;
let model: Promise<Model> | undefined;
/** Ends the load of the source before, where it is still going on. */
let loading = new AbortController();
let loadSeconds = 0;
let making: AbortController | undefined;
let shown: MadeClip | undefined;

cancelButton.addEventListener("click", cancel);
saveButton.addEventListener("click", () => void save());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && making) {
    event.preventDefault();
    cancel();
  }
});
void start();

async function start(): Promise<void> {
  const support = await isSupported();
  if (!support.supported) {
    showNotice(`Films cannot be made here: ${support.reason ?? "this browser is too old"}.`);
    generateButton.disabled = true;
    return;
  }
  useSource(source);
}

/** Loads the model ahead of the first clip; an error is shown, and the next clip tries again. */
function useSource(next: ModelSource, start?: ClipSize): void {
  source = next;
  startSize = start;
  loading.abort();
  loading = new AbortController();
  void model?.then(
    (old) => old.dispose(),
    () => undefined,
  );
  model = undefined;
  status.clearError();
  void readWords(next).then((words) => {
    if (source === next) {
      picker.useWords(words);
      additions.shown = words === undefined;
    }
  });
  void theModel().catch((thrown: unknown) => {
    const error = KinetoscopeError.from(thrown);
    if (!making && error.code !== "cancelled") {
      showError(error);
    }
  });
}

function theModel(): Promise<Model> {
  const coming = (model ??= loadModel());
  coming.catch(() => {
    if (model === coming) {
      model = undefined;
    }
  });
  return coming;
}

async function loadModel(): Promise<Model> {
  const began = performance.now();
  const { signal } = loading;
  status.show("Loading the model", 0, undefined);
  const own = source === DEFAULT_MODEL;
  models.model = own ? "own" : "loading";
  try {
    const loaded = await load(source, {
      device,
      signal,
      // The page's own model is small and in the browser's cache like the page itself: kept once more it would only be
      // in the way among the models that visitors chose to keep.
      cache: !own,
      onProgress: showLoad,
    });
    loadSeconds = (performance.now() - began) / 1000;
    status.hide();
    leader.show(0);
    showModel(loaded);
    return loaded;
  } finally {
    // Another load has taken its place where it was stopped.
    if (!signal.aborted) {
      models.model = own ? "own" : "other";
    }
  }
}

function showLoad(progress: LoadProgress): void {
  if (progress.type === "warning") {
    status.hint(sentenceCase(progress.message));
    return;
  }
  const { component, loaded, total } = progress;
  const fraction = total > 0 ? loaded / total : 0;
  status.show(`Loading the model: ${component.replace("_", " ")}`, fraction, loadWords(progress));
  leader.show(fraction);
}

function showModel({ info, device: deviceInfo }: Model): void {
  form.useModel(info);
  element("settings", HTMLFieldSetElement).disabled = false;
  if (startSize) {
    form.setSize(startSize.width, startSize.height);
    form.setFrames(startSize.frames);
  }
  element("model", HTMLElement).textContent =
    `${info.name || "unnamed"}, ${megabytes(info.weightBytes)} in memory`;
  const badge = element("device", HTMLElement);
  badge.textContent = deviceWords(deviceInfo);
  badge.dataset["device"] = deviceInfo.device;
  badge.toggleAttribute("data-software", deviceInfo.software);
  if (deviceInfo.fallbackReason !== undefined) {
    showNotice(fallbackNotice(deviceInfo.fallbackReason));
  }
  player.clear(info.width, info.height, info.frames, info.fps);
  timeline.show([], info.fps);
}

/** What could be taken from the screen: the film where a clip is wanted, else the frame that is to be seen. */
function onScreen(accepts: readonly Material["kind"][]): Material | undefined {
  const picture = player.frame;
  if (!shown || !picture) {
    return undefined;
  }
  return accepts.includes("clip")
    ? { kind: "clip", name: `“${shown.prompt}”`, clip: shown }
    : { kind: "picture", name: `A frame of “${shown.prompt}”`, picture };
}

async function generate(): Promise<void> {
  if (making || generateButton.disabled) {
    return;
  }
  const controller = new AbortController();
  making = controller;
  setBusy(true);
  try {
    const ready = await orAborted(theModel(), controller.signal);
    await makeClip(ready, controller.signal);
  } catch (thrown) {
    await clipFailed(KinetoscopeError.from(thrown));
  } finally {
    making = undefined;
    setBusy(false);
  }
}

/** What the form and the mode ask for, as far as the model can make it. */
async function ask(ready: Model) {
  const { info } = ready;
  const asked = form.read();
  // A clip to change is as long as it is, in one window.
  const oneWindow = { seconds: undefined };
  const shape = await ready.plan(modes.mode === "edit" ? { ...asked, ...oneWindow } : asked);
  status.show("Reading what was brought", 0, undefined);
  const job = await modes.job({ ...shape, frameStride: info.frameStride, fps: info.fps });
  const length = job.options.edit ? { ...oneWindow, frames: job.frames } : {};
  const options = { ...asked, ...length, ...job.options, preview: info.preview };
  return { options, job, plan: await ready.plan(options), steps: asked.steps ?? info.steps };
}

async function makeClip(ready: Model, signal: AbortSignal): Promise<void> {
  const { info } = ready;
  const { fps, frameStride } = info;
  // Asked before the screen is cleared: a clip that cannot be made leaves the last one standing.
  const { options, job, plan, steps } = await ask(ready);
  const { width, height, frames, windows } = plan;
  const size = `${width}x${height}x${frames / windows}`;
  const progress = new Progress({ steps, frames, frameStride, windows }, paces.get(size));
  const film: Pixels[] = [];
  const total = job.before.length + frames + job.after.length;
  const add = (rgba: Pixels, seconds: number): void => {
    player.add({ index: film.length, count: total, width, height, rgba, seconds });
    film.push(rgba);
  };
  const keep = (parts: readonly Part[], seconds: Record<string, number>): void => {
    const { prompt, seed } = options;
    const how = { prompt, seed: String(seed), steps, parts };
    clipDone({ width, height, fps, frames: film, ...how, seconds: { load: loadSeconds, ...seconds } });
  };
  shown = undefined;
  modes.refresh();
  history.mark(undefined);
  saveButton.disabled = true;
  secondsList.hidden = true;
  element("caption", HTMLElement).textContent = "";
  player.clear(width, height, total, fps);
  player.describe(`A film in the making: ${options.prompt}`);
  timeline.show(job.parts, fps);
  element("screen", HTMLElement).scrollIntoView({ block: "nearest" });
  status.announce("Making the film");
  status.show("Reading the prompt", 0, undefined);
  leader.show(0, steps);

  let finished = false;
  try {
    for await (const event of ready.generate({ ...options, signal })) {
      progress.add(event);
      switch (event.type) {
        case "text":
          if (event.truncated) {
            status.hint(
              `The prompt is longer than this model reads (${info.maxTokens} tokens): its last ${event.dropped} were left out.`,
            );
          }
          status.show(windowWords(event) + stepWords(-1, steps), progress.fraction, progress.secondsLeft);
          break;
        case "step":
          status.show(
            windowWords(event) + stepWords(event.index, event.steps),
            progress.fraction,
            progress.secondsLeft,
          );
          leader.show((event.index + 1) / event.steps, event.steps - event.index - 1);
          announceQuarter(event.index + 1, event.steps);
          if (event.preview) {
            player.preview(event.preview);
          }
          break;
        case "frame": {
          if (event.index === 0) {
            job.before.forEach((rgba) => add(rgba, 0));
          }
          add(joined(job, event.index, event.rgba), event.seconds);
          const next = Math.min(event.index + 2, frames);
          status.show(`Developing frame ${next} of ${frames}`, progress.fraction, progress.secondsLeft);
          break;
        }
        case "done": {
          job.after.forEach((rgba) => add(rgba, 0));
          finished = true;
          const { text, steps: stepping, frames: decoding } = event.seconds;
          keep(job.parts, { text, steps: stepping, frames: decoding });
          break;
        }
      }
    }
  } finally {
    // Of a film that was stopped, what there is stays.
    if (!finished && film.length > 0) {
      player.open(width, height, fps, film);
      keep([], {});
    }
  }
  const { pace } = progress;
  if (pace) {
    paces.set(size, pace);
  }
}

/** Which window it is, where there are several. */
function windowWords({ window, windows }: { readonly window: number; readonly windows: number }): string {
  return windows > 1 ? `Part ${window + 1} of ${windows} · ` : "";
}

function stepWords(index: number, steps: number): string {
  return index + 1 < steps ? `Step ${index + 2} of ${steps}` : "Developing the first frame";
}

function announceQuarter(done: number, steps: number): void {
  const quarter = Math.floor((4 * done) / steps);
  if (quarter > Math.floor((4 * (done - 1)) / steps)) {
    status.announce(quarter === 4 ? "Developing the frames" : `${quarter * 25} percent of the steps done`);
  }
}

function clipDone(clip: MadeClip): void {
  status.announce("The film is ready");
  history.add(clip);
  showFacts(clip);
}

async function clipFailed(error: KinetoscopeError): Promise<void> {
  if (losesModel(error)) {
    const lost = model;
    model = undefined;
    await lost?.then(
      (old) => old.dispose(),
      () => undefined,
    );
  }
  if (error.code === "cancelled") {
    status.announce("Cancelled");
  } else {
    showError(error);
  }
  if (!shown) {
    leader.show(0);
    player.describe("No film yet");
  }
}

function cancel(): void {
  making?.abort();
}

/** Opens a clip made before. */
function showClip(clip: MadeClip): void {
  if (making) {
    return;
  }
  player.open(clip.width, clip.height, clip.fps, clip.frames);
  showFacts(clip);
}

function showFacts(clip: MadeClip): void {
  shown = clip;
  modes.refresh();
  timeline.show(clip.parts, clip.fps);
  saveButton.disabled = false;
  const { prompt, seed, width, height, steps, seconds } = clip;
  player.describe(`A film: ${prompt}`);
  element("caption", HTMLElement).textContent =
    `“${prompt}” · seed ${seed} · ${width} × ${height} · ${steps} ${steps === 1 ? "step" : "steps"}`;
  secondsList.hidden = false;
  secondsList.replaceChildren(
    ...Object.entries(seconds).map(([part, value]) => {
      const row = document.createElement("div");
      const [term, number] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = part;
      number.textContent = `${value < 10 ? value.toFixed(2) : value.toFixed(0)} s`;
      number.dataset["part"] = part;
      number.dataset["seconds"] = value.toFixed(3);
      row.append(term, number);
      return row;
    }),
  );
}

async function save(): Promise<void> {
  if (!shown) {
    return;
  }
  saveButton.disabled = true;
  try {
    // The muxer is only fetched by those who save.
    const { encodeWebM } = await import("../video.js");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await encodeWebM(shown));
    link.download = `${fileName(shown.prompt)}.webm`;
    link.click();
    // Browsers read the blob when the download starts, after the click has returned.
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (thrown) {
    showError(KinetoscopeError.from(thrown));
  } finally {
    saveButton.disabled = false;
  }
}

function fileName(prompt: string): string {
  const words = prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  return words.join("-").slice(0, 60) || "film";
}

function applyFix(fix: Fix): void {
  status.clearError();
  switch (fix.kind) {
    case "size":
      form.setSize(fix.width, fix.height);
      void generate();
      break;
    case "frames":
      form.setFrames(fix.frames);
      void generate();
      break;
    case "reload":
      useSource(source);
      break;
  }
}

function showError(error: KinetoscopeError): void {
  const explanation = explain(error);
  status.showError(explanation);
  if (
    explanation.fix?.kind === "size" ||
    explanation.fix?.kind === "frames" ||
    (error.code === "option_invalid" && error.details["option"] !== "materials")
  ) {
    form.showSettings();
  }
}

function showNotice(text: string): void {
  notice.textContent = text;
  notice.hidden = false;
}

/** Swaps the two buttons; the keyboard's place stays where it was. */
function setBusy(busy: boolean): void {
  stage.dataset["state"] = busy ? "generating" : "idle";
  const [from, to] = busy ? [generateButton, cancelButton] : [cancelButton, generateButton];
  const hadFocus = document.activeElement === from;
  from.hidden = true;
  to.hidden = false;
  if (hadFocus) {
    to.focus();
  }
  if (busy) {
    status.clearError();
  } else {
    status.hide();
  }
}

/** Waits for the model, or until the visitor cancels; the model goes on loading for the next clip. */
function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(new KinetoscopeError("cancelled", "cancelled")), {
      once: true,
    });
    promise.then(resolve, reject);
  });
}
