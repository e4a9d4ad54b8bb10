/** A minute: it ends, in the memory of a window, without seams to be seen. */
import { expect, test } from "./fixtures.js";

type Library = typeof import("../../www/src/index.js");

test("a minute is made window by window, in the memory of one", async ({ page, server }) => {
  test.setTimeout(900_000);
  server.handlers.clear();
  await page.goto(`${server.url}blank/`);
  const inspector = await page.context().newCDPSession(page);
  // What the page's JavaScript holds, without what it has let go of.
  await page.exposeFunction("heapBytes", async () => {
    await inspector.send("HeapProfiler.collectGarbage");
    return (await inspector.send("Runtime.getHeapUsage")).usedSize;
  });
  const made = await page.evaluate(makeMinute, new URL("models/small/", server.url).href);
  // 720 frames at 12 a second, brought up to whole latent frames.
  expect(made.frames).toBe(721);
  expect(made.windows).toBeGreaterThan(50);
  expect(made.firstFrameInWindow).toBe(0);
  const [second, last] = [made.memory[1], made.memory.at(-1)];
  expect(made.memory.length).toBe(made.windows);
  for (const part of ["device", "worker", "page"] as const) {
    const growth = (last?.[part] ?? Infinity) / (second?.[part] ?? 0);
    expect(growth, `${part} memory, last window to second`).toBeLessThanOrEqual(1.05);
  }
  const median = (values: readonly number[]): number =>
    [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
  const seams = new Set(made.seams);
  const across = made.differences.filter((_, index) => seams.has(index + 1));
  const within = made.differences.filter((_, index) => !seams.has(index + 1));
  test.info().annotations.push({
    type: "seams",
    description: `${median(across).toFixed(2)} across seams, ${median(within).toFixed(2)} within windows`,
  });
  expect(across.length).toBe(made.windows - 1);
  expect(median(across)).toBeLessThanOrEqual(1.5 * median(within));
});

/** Runs in the page: a minute of the embedded model, small and in few steps, with nothing kept but two frames. */
async function makeMinute(source: string) {
  const path = "/lib/index.js";
  const { load } = (await import(path)) as Library;
  const model = await load(source, { device: "webgpu" });
  const memory: { device: number; worker: number; page: number }[] = [];
  const differences: number[] = [];
  const seams: number[] = [];
  let [frames, windows, window, firstFrameInWindow] = [0, 0, 0, -1];
  let before: Uint8ClampedArray | undefined;
  const measure = async (): Promise<void> => {
    const { heapBytes } = globalThis as unknown as { heapBytes: () => Promise<number> };
    memory.push({ ...(await model.memory()), page: await heapBytes() });
  };
  for await (const event of model.generate({
    prompt: "a red ball rolls to the right on green grass",
    seconds: 60,
    width: 32,
    height: 32,
    steps: 3,
    guidance: 1,
    seed: 1,
  })) {
    if (event.type === "text") {
      window = event.window;
      windows = event.windows;
      if (window > 0) {
        await measure();
        seams.push(frames);
      }
    } else if (event.type === "frame") {
      if (firstFrameInWindow < 0) {
        firstFrameInWindow = window;
      }
      if (event.index !== frames) {
        throw new Error(`frame ${event.index} came as number ${frames}`);
      }
      frames += 1;
      const { rgba } = event;
      if (before) {
        const earlier = before;
        differences.push(
          rgba.reduce((sum, value, byte) => sum + Math.abs(value - (earlier[byte] ?? 0)), 0) / rgba.length,
        );
      }
      before = rgba.slice();
    }
  }
  await measure();
  model.dispose();
  return { frames, windows, firstFrameInWindow, memory, differences, seams };
}
