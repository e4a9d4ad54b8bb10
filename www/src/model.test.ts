/** The page's half of the messages, against a worker that speaks them but computes nothing. */
import { describe, expect, it } from "vitest";
import { Connection, type WorkerPort } from "./connection.js";
import { KinetoscopeError } from "./errors.js";
import type { DeviceInfo, FromWorker, ModelInfo, Request, ToWorker } from "./messages.js";
import { type GenerateEvent, Model } from "./model.js";

const INFO = { width: 2, height: 1, frames: 3, steps: 2, fps: 8 } as ModelInfo;
const DEVICE = { device: "cpu" } as DeviceInfo;

/** Answers each request a tick later, in turn; `fail` names the request that goes wrong. */
class ScriptedWorker implements WorkerPort {
  onmessage: ((event: MessageEvent<FromWorker>) => void) | null = null;
  onmessageerror: ((event: MessageEvent) => void) | null = null;
  onerror: ((event: ErrorEvent) => void) | null = null;
  readonly heard: ToWorker[] = [];
  readonly open = new Map<number, { steps: number; frames: number; window: number }>();
  windows = 1;
  fail: string | undefined;
  terminated = false;
  #queue: Promise<void> = Promise.resolve();

  postMessage(message: ToWorker): void {
    // What cannot cross to a worker must not be in a message.
    this.heard.push(structuredClone(message));
    if (message.type === "abort") {
      this.open.delete(message.id);
      return;
    }
    this.#queue = this.#queue.then(async () => {
      await new Promise((tick) => setTimeout(tick, 1));
      if (!this.terminated) {
        this.onmessage?.({ data: this.#answer(message) } as MessageEvent<FromWorker>);
      }
    });
  }

  terminate(): void {
    this.terminated = true;
  }

  types(): string[] {
    return this.heard.map(({ type }) => type);
  }

  #answer(request: Request): FromWorker {
    const { id, type } = request;
    if (type === this.fail) {
      return {
        type: "error",
        id,
        error: { code: "out_of_memory", message: "full", details: { reason: "test" } },
      };
    }
    if (type === "open") {
      this.open.set(id, { steps: 0, frames: 0, window: 0 });
      return {
        type: "result",
        id,
        value: {
          session: id,
          width: 2,
          height: 1,
          frames: 3 * this.windows,
          steps: 2,
          droppedFrames: 0,
          windows: this.windows,
        },
      };
    }
    const state = "session" in request ? this.open.get(request.session) : undefined;
    if (type === "close") {
      this.open.delete(request.session);
    } else if (type === "encode") {
      return { type: "result", id, value: { tokens: 4, truncated: false, dropped: 0, seconds: 1 } };
    } else if (type === "step" && state && state.steps < 2) {
      const index = state.steps++;
      return {
        type: "result",
        id,
        value: { index, steps: 2, sigma: 1, timestep: 1000, cached: false, seconds: 2 },
      };
    } else if (type === "frames" && state && state.frames < 3) {
      const count = state.frames === 0 ? 1 : 2;
      const rgba = new Uint8ClampedArray(count * 8).map(
        (_, byte) => (state.frames + Math.floor(byte / 8)) * 10,
      );
      const value = { index: 3 * state.window + state.frames, count, rgba, seconds: 3 };
      state.frames += count;
      return { type: "result", id, value };
    } else if (type === "nextWindow" && state) {
      Object.assign(state, { steps: 0, frames: 0, window: state.window + 1 });
      return { type: "result", id, value: state.window < this.windows };
    }
    return { type: "result", id, value: undefined };
  }
}

function setUp(): { worker: ScriptedWorker; model: Model } {
  const worker = new ScriptedWorker();
  return { worker, model: new Model(new Connection(worker), INFO, DEVICE) };
}

async function collect(events: AsyncIterable<GenerateEvent>): Promise<GenerateEvent[]> {
  const collected: GenerateEvent[] = [];
  for await (const event of events) {
    collected.push(event);
  }
  return collected;
}

describe("generate", () => {
  it("goes from window to window of a long clip", async () => {
    const { worker, model } = setUp();
    worker.windows = 2;
    const events = await collect(model.generate({ prompt: "a", seconds: 1 }));
    const told = events.map((event) =>
      event.type === "frame" ? event.index : "window" in event ? `${event.type} ${event.window}` : event.type,
    );
    expect(told).toEqual([
      ...["text 0", "step 0", "step 0", 0, 1, 2],
      ...["text 1", "step 1", "step 1", 3, 4, 5],
      "done",
    ]);
    expect(events.at(-1)).toMatchObject({ seconds: { text: 2, steps: 8, frames: 12, total: 22 } });
    expect(worker.open.size).toBe(0);
  });

  it("tells of the text, the steps, the frames and the end, and closes the session", async () => {
    const { worker, model } = setUp();
    const events = await collect(model.generate({ prompt: "a" }));
    expect(events.map(({ type }) => type)).toEqual([
      "text",
      "step",
      "step",
      "frame",
      "frame",
      "frame",
      "done",
    ]);
    const frames = events.filter((event) => event.type === "frame");
    expect(frames.map(({ index, count, rgba }) => [index, count, rgba.length, rgba[0]])).toEqual([
      [0, 3, 8, 0],
      [1, 3, 8, 10],
      [2, 3, 8, 20],
    ]);
    expect(events.at(-1)).toEqual({
      type: "done",
      fps: 8,
      seconds: { text: 1, steps: 4, frames: 6, total: 11 },
    });
    expect(worker.open.size).toBe(0);
  });

  it("computes nothing that was not asked for", async () => {
    const { worker, model } = setUp();
    const events = model.generate({ prompt: "a" });
    await events.next();
    await new Promise((later) => setTimeout(later, 20));
    expect(worker.types()).toEqual(["open", "encode"]);
    await events.return();
  });

  it("frees the session when the loop is left", async () => {
    const { worker, model } = setUp();
    for await (const event of model.generate({ prompt: "a" })) {
      if (event.type === "step") {
        break;
      }
    }
    expect(worker.types()).toEqual(["open", "encode", "step", "close"]);
    expect(worker.open.size).toBe(0);
  });

  it.each(["open", "encode", "step", "frames"])(
    "can be aborted during %s, and a second clip is made",
    async (type) => {
      const { worker, model } = setUp();
      const aborter = new AbortController();
      const post = worker.postMessage.bind(worker);
      worker.postMessage = (message) => {
        post(message);
        if (message.type === type) {
          queueMicrotask(() => aborter.abort());
        }
      };
      await expect(collect(model.generate({ prompt: "a", signal: aborter.signal }))).rejects.toMatchObject({
        name: "KinetoscopeError",
        code: "cancelled",
      });
      expect(worker.types()).toContain("abort");
      worker.postMessage = post;
      expect((await collect(model.generate({ prompt: "b" }))).at(-1)?.type).toBe("done");
      if (type !== "open") {
        expect(worker.open.size).toBe(0);
      }
    },
  );

  it("notices an abort between events, frames decoded together included", async () => {
    const { worker, model } = setUp();
    const aborter = new AbortController();
    const seen: number[] = [];
    const clip = (async () => {
      for await (const event of model.generate({ prompt: "a", signal: aborter.signal })) {
        if (event.type === "frame") {
          seen.push(event.index);
          if (event.index === 1) {
            aborter.abort();
          }
        }
      }
    })();
    await expect(clip).rejects.toMatchObject({ code: "cancelled" });
    expect(seen).toEqual([0, 1]);
    expect(worker.open.size).toBe(0);
  });

  it("never starts with a signal that was aborted before", async () => {
    const { worker, model } = setUp();
    const events = collect(model.generate({ prompt: "a", signal: AbortSignal.abort() }));
    await expect(events).rejects.toMatchObject({ code: "cancelled" });
    expect(worker.heard).toEqual([]);
  });

  it.each(["open", "encode", "step", "frames"])("hands on an error of %s and closes", async (type) => {
    const { worker, model } = setUp();
    worker.fail = type;
    const thrown = await collect(model.generate({ prompt: "a" })).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(KinetoscopeError);
    expect(thrown).toMatchObject({ code: "out_of_memory", message: "full", details: { reason: "test" } });
    expect(worker.open.size).toBe(0);
  });

  it("makes one clip after the other", async () => {
    const { worker, model } = setUp();
    const [first, second] = await Promise.all([
      collect(model.generate({ prompt: "a" })),
      collect(model.generate({ prompt: "b" })),
    ]);
    expect(first).toEqual(second);
    const types = worker.types();
    expect(types.indexOf("close")).toBeLessThan(types.lastIndexOf("open"));
  });

  it("leaves the queue on an abort and lets the third go on", async () => {
    const { model } = setUp();
    const aborter = new AbortController();
    const first = collect(model.generate({ prompt: "a" }));
    const second = collect(model.generate({ prompt: "b", signal: aborter.signal }));
    const third = collect(model.generate({ prompt: "c" }));
    aborter.abort();
    await expect(second).rejects.toMatchObject({ code: "cancelled" });
    expect((await first).length).toBe(7);
    expect((await third).length).toBe(7);
  });

  it("refuses a prompt that is no text", async () => {
    const { model } = setUp();
    const options = JSON.parse("{}") as { prompt: string };
    await expect(collect(model.generate(options))).rejects.toMatchObject({ code: "option_invalid" });
  });
});

describe("a worker that ends", () => {
  it("rejects what is unanswered and everything after", async () => {
    const { worker, model } = setUp();
    const clip = collect(model.generate({ prompt: "a" }));
    await new Promise((later) => setTimeout(later, 3));
    worker.onerror?.({ message: "unreachable" } as ErrorEvent);
    await expect(clip).rejects.toMatchObject({ code: "worker_failed", details: { reason: "unreachable" } });
    await expect(model.plan({ prompt: "a" })).rejects.toMatchObject({ code: "worker_failed" });
    expect(worker.terminated).toBe(true);
  });

  it("is ended by dispose, which cancels", async () => {
    const { worker, model } = setUp();
    const clip = collect(model.generate({ prompt: "a" }));
    model.dispose();
    await expect(clip).rejects.toMatchObject({ code: "cancelled" });
    expect(worker.terminated).toBe(true);
    model.dispose();
  });
});

describe("progress", () => {
  it("reaches the call it belongs to", async () => {
    const worker = new ScriptedWorker();
    const connection = new Connection(worker);
    const seen: number[] = [];
    const call = connection.call(
      { type: "plan", options: { prompt: "a" } },
      { onProgress: (told) => told.type === "weights" && seen.push(told.loaded) },
    );
    const progress = {
      type: "weights",
      component: "vae",
      loaded: 5,
      total: 10,
      bytesPerSecond: 1,
      from: "network",
    };
    worker.onmessage?.({ data: { type: "progress", id: 1, progress } } as MessageEvent<FromWorker>);
    worker.onmessage?.({ data: { type: "progress", id: 99, progress } } as MessageEvent<FromWorker>);
    await call;
    expect(seen).toEqual([5]);
  });
});
