/**
 * The worker: owns the wasm, and runs what the page asks for, one request after the other. Aborts and closes act at
 * once, on the request that is running too.
 */
import { KinetoscopeError, cancelled } from "./errors.js";
import {
  type DeviceCall,
  type FromWorker,
  type Request,
  type Results,
  type ToWorker,
  transferables,
} from "./messages.js";
import { withSubgroups } from "./subgroups.js";
import { rememberTuning, rememberedTunings } from "./tunings.js";
import init, { type Advice, CancelFlag, Engine, type Model, type Session } from "./wasm/kinetoscope.js";
import { OpfsStore } from "./weights/opfs.js";
import { RETRY } from "./weights/retry.js";
import { openSource } from "./weights/source.js";
import { Traffic } from "./weights/traffic.js";
import { type LoadWarning, storageWarning } from "./weights/warnings.js";
import { Witness } from "./weights/witness.js";

/** The part of the worker's scope that is used; the DOM's types describe a window instead. */
interface WorkerScope {
  postMessage(message: FromWorker, transfer: Transferable[]): void;
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
}
const scope = globalThis as unknown as WorkerScope;

/** A session and the flag that stops it. */
interface Open {
  readonly session: Session;
  readonly cancel: CancelFlag;
}

/** Sessions by the id of the request that opened them. */
const sessions = new Map<number, Open>();
/** Requests taken but not answered, by id, with the session they are for. */
const unanswered = new Map<number, number | undefined>();
const aborted = new Set<number>();
let memory: WebAssembly.Memory | undefined;
let engine: Engine | undefined;
let model: Model | undefined;
/** Set by a trap in the wasm: its memory is in no known state after that. */
let broken: KinetoscopeError | undefined;
/** Knows what went wrong where the model's weights come from; they may be read while clips are made. */
let witness: Witness | undefined;
let queue: Promise<void> = Promise.resolve();

scope.onmessage = ({ data }) => {
  if (data.type === "abort") {
    abort(data.id);
    return;
  }
  unanswered.set(data.id, "session" in data ? data.session : undefined);
  if (data.type === "close") {
    sessions.get(data.session)?.cancel.cancel();
  }
  queue = queue.then(() => answer(data));
};

async function answer(request: Request): Promise<void> {
  const { id } = request;
  try {
    if (aborted.delete(id)) {
      throw cancelled();
    }
    if (broken) {
      throw broken;
    }
    const value = await run(request);
    scope.postMessage({ type: "result", id, value }, transferables(value));
  } catch (thrown) {
    const error = KinetoscopeError.from(witness?.explain(thrown) ?? thrown);
    if (thrown instanceof WebAssembly.RuntimeError) {
      broken = error;
    }
    scope.postMessage({ type: "error", id, error: error.toFacts() }, []);
  } finally {
    unanswered.delete(id);
    aborted.delete(id);
  }
}

/** Stops a request: before its turn, while it runs, or, for an `open` that has been answered, what it opened. */
function abort(id: number): void {
  if (unanswered.has(id)) {
    aborted.add(id);
    const session = unanswered.get(id);
    if (session !== undefined) {
      sessions.get(session)?.cancel.cancel();
    }
  } else {
    close(id);
  }
}

async function run(request: Request): Promise<Results[keyof Results]> {
  switch (request.type) {
    case "load":
      return load(request);
    case "advise":
      return advise(request);
    case "memory":
      return { device: engine?.allocatedBytes() ?? 0, worker: memory?.buffer.byteLength ?? 0 };
    case "plan":
      return loaded().plan(request.options);
    case "open":
      return open(request);
    case "encode":
      return opened(request.session).encode();
    case "step":
      return opened(request.session).step();
    case "frames": {
      const chunk = await opened(request.session).nextFrames();
      // ImageData wants clamped bytes; the same buffer, seen as such.
      return (
        chunk && {
          ...chunk,
          rgba: new Uint8ClampedArray(chunk.rgba.buffer, chunk.rgba.byteOffset, chunk.rgba.length),
        }
      );
    }
    case "nextWindow":
      return opened(request.session).nextWindow();
    case "latents":
      return opened(request.session).latents();
    case "promptEmbeds":
      return opened(request.session).promptEmbeds();
    case "close":
      close(request.session);
      return undefined;
  }
}

async function load(request: Extract<Request, { type: "load" }>): Promise<Results["load"]> {
  const { id, source, cache, retries } = request;
  ({ memory } = await init());
  engine = await openEngine(request);
  const onWarning = (warning: LoadWarning): void =>
    scope.postMessage({ type: "progress", id, progress: { type: "warning", ...warning } }, []);
  const traffic = new Traffic();
  // The page ends the worker to abort a load, so neither the flag nor a signal is ever raised here.
  const files = openSource(source, {
    store: cache ? await OpfsStore.openToKeep((failure) => onWarning(storageWarning(failure))) : undefined,
    traffic,
    retry: { ...RETRY, retries },
    onWarning,
  });
  witness = new Witness(files);
  const cancel = new CancelFlag();
  try {
    model = await engine.load(
      witness,
      (read) =>
        scope.postMessage(
          { type: "progress", id, progress: { type: "weights", ...read, ...traffic.pace } },
          [],
        ),
      cancel,
    );
    await files.markComplete();
  } finally {
    cancel.free();
    files.release();
  }
  return { model: model.info(), device: engine.info() };
}

async function openEngine({ device, memory = defaultMemory(), precision }: DeviceCall): Promise<Engine> {
  const known = await rememberedTunings();
  const opened = await withSubgroups(() => Engine.create(device, memory, known, precision));
  await rememberTuning(opened.tuning(), known);
  return opened;
}

/** What a clip of a model takes here, from the headers of its files. */
async function advise(request: Extract<Request, { type: "advise" }>): Promise<Advice> {
  const { source, retries, options } = request;
  await init();
  engine = await openEngine(request);
  const files = openSource(source, { retry: { ...RETRY, retries } });
  witness = new Witness(files);
  try {
    return await engine.plan(witness, options);
  } finally {
    files.release();
  }
}

/**
 * Bytes of the device that are taken where the caller says nothing: WebGPU does not tell how many there are. Half of the
 * machine's memory, as far as the browser tells that, so that 8 GB are enough.
 */
function defaultMemory(): number {
  const { deviceMemory = 8 } = navigator as { deviceMemory?: number };
  return (deviceMemory / 2) * 2 ** 30;
}

function open({ id, options }: Extract<Request, { type: "open" }>): Results["open"] {
  const cancel = new CancelFlag();
  try {
    const session = loaded().session(options, cancel);
    sessions.set(id, { session, cancel });
    const { width, height, frames, steps, droppedFrames, windows } = session;
    return { session: id, width, height, frames, steps, droppedFrames, windows };
  } catch (thrown) {
    cancel.free();
    throw thrown;
  }
}

function close(id: number): void {
  const open = sessions.get(id);
  if (open) {
    sessions.delete(id);
    open.session.free();
    open.cancel.free();
  }
}

function loaded(): Model {
  if (!model) {
    throw wrongState("generate", "no model is loaded");
  }
  return model;
}

function opened(id: number): Session {
  const open = sessions.get(id);
  if (!open) {
    throw wrongState("step", "the session is closed");
  }
  return open.session;
}

function wrongState(call: string, reason: string): KinetoscopeError {
  return new KinetoscopeError("wrong_state", `${call} cannot be called now: ${reason}`, { call, reason });
}
