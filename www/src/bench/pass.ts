/** A pass of the model's transformer: Kinetoscope's denoising step, next to the same transformer as ONNX graphs. */
import { CancelFlag, type Engine, type Model, type Session } from "../wasm-bench/kinetoscope.js";
import { openSource } from "../weights/source.js";
import type { Side } from "./compare.js";
import { type OnnxRuntime, OnnxSide } from "./onnxruntime.js";

const PROMPT = "a red ball bounces on the grass";

/** Steps of a session; another begins when they are used up. */
const STEPS = 100;

/** What a pass was given, and what it made of it. */
export interface FirstPass {
  readonly latents: Float32Array<ArrayBuffer>;
  readonly timestep: number;
  readonly prompt: Float32Array<ArrayBuffer>;
  readonly velocity: Float32Array<ArrayBuffer>;
}

/** Steps of the model's default clip. Euler's solver adds least to a pass: one multiplication and addition for each latent. */
export class KinetoscopePass implements Side {
  readonly #cancel = new CancelFlag();
  #session: Session | undefined;
  #left = 0;

  private constructor(private readonly model: Model) {}

  static async open(engine: Engine, folder: string): Promise<KinetoscopePass> {
    const cancel = new CancelFlag();
    const source = openSource({ kind: "folder", url: folder });
    try {
      return new KinetoscopePass(await engine.load(source, () => undefined, cancel));
    } finally {
      source.release();
      cancel.free();
    }
  }

  /** The first pass of the default clip. The solver is undone: it adds the velocity times the step in sigma. */
  async first(): Promise<FirstPass> {
    const session = await this.begin(this.model.info().steps);
    const latents = await session.latents();
    const prompt = await session.promptEmbeds();
    const before = await session.step();
    const after = await session.latents();
    const next = await session.step();
    session.free();
    if (!before || !next) {
      throw new Error("the model's default clip has fewer than two steps");
    }
    const step = next.sigma - before.sigma;
    const velocity = after.map((value, index) => (value - (latents[index] ?? NaN)) / step);
    return { latents, timestep: before.timestep, prompt, velocity };
  }

  async ready(times: number): Promise<void> {
    // What follows the last step of a clip is no part of a pass.
    if (this.#left <= times) {
      this.#session?.free();
      this.#session = await this.begin(Math.max(STEPS, times + 1));
      this.#left = this.#session.steps;
    }
  }

  async run(times: number): Promise<void> {
    for (let time = 0; time < times; time++) {
      await this.#session?.step();
    }
    this.#left -= times;
    // Some kilobytes come back: the device is done.
    await this.#session?.latents();
  }

  private async begin(steps: number): Promise<Session> {
    const session = this.model.session({ prompt: PROMPT, steps, guidance: 1, solver: "euler" }, this.#cancel);
    await session.encode();
    return session;
  }

  close(): void {
    this.#session?.free();
    this.model.free();
    this.#cancel.free();
  }
}

/** The graphs that `models/recipe/onnx_export.py` writes, from a folder. */
export async function fetchGraphs(folder: string): Promise<{ context: Uint8Array; pass: Uint8Array }> {
  const [context, pass] = await Promise.all(
    ["context.onnx", "pass.onnx"].map(async (name) => {
      const response = await fetch(new URL(name, folder));
      if (!response.ok) {
        throw new Error(`${name} is not there: ${response.status}`);
      }
      return new Uint8Array(await response.arrayBuffer());
    }),
  );
  return { context: context ?? new Uint8Array(), pass: pass ?? new Uint8Array() };
}

/** The same pass in ONNX Runtime; as in Kinetoscope, the prompt's keys and values are made once beforehand. */
export async function openOnnxPass(
  runtime: OnnxRuntime,
  graphs: { readonly context: Uint8Array; readonly pass: Uint8Array },
  { latents, timestep, prompt }: FirstPass,
): Promise<OnnxSide> {
  const context = await OnnxSide.open(runtime, graphs.context, { encoder_hidden_states: prompt });
  const keysValues = await context.output();
  await context.close();
  return OnnxSide.open(runtime, graphs.pass, {
    hidden_states: latents,
    timestep: Float32Array.of(timestep),
    keys_values: keysValues,
  });
}
