/** A minute: it ends, in the memory of a window, without seams to be seen. */
import type { ClipOptions } from "../../www/src/index.js";
import { expect, test } from "./fixtures.js";

type Library = typeof import("../../www/src/index.js");

test.setTimeout(900_000);

test("a minute takes the memory of one window", async ({ page, server }) => {
  server.handlers.clear();
  await page.goto(`${server.url}blank/`);
  const inspector = await page.context().newCDPSession(page);
  // What the page's JavaScript holds, without what it has let go of.
  await page.exposeFunction("heapBytes", async () => {
    await inspector.send("HeapProfiler.collectGarbage");
    return (await inspector.send("Runtime.getHeapUsage")).usedSize;
  });
  // Small and in few steps: a software adapter takes its time, and memory is measured by shapes alone.
  const made = await page.evaluate(makeMinute, {
    source: new URL("models/small/", server.url).href,
    device: "webgpu" as const,
    options: { width: 32, height: 32, steps: 3, guidance: 1 },
  });
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
});

test("a minute shows no seams", async ({ page, server }) => {
  server.handlers.clear();
  await page.goto(`${server.url}blank/`);
  await page.exposeFunction("heapBytes", () => 0);
  const { differences, seams, windows } = await page.evaluate(makeMinute, {
    source: new URL("models/small/", server.url).href,
    device: "cpu" as const,
    options: {},
  });
  const isSeam = (index: number): boolean => seams.includes(index + 1);
  const across = differences.filter((_, index) => isSeam(index));
  const within = differences.filter((_, index) => !isSeam(index)).sort((a, b) => a - b);
  const median = within[Math.floor(within.length / 2)] ?? NaN;
  expect(across.length).toBe(windows - 1);
  expect(Math.max(...across)).toBeLessThanOrEqual(1.5 * median);
});

/** Runs in the page: a minute of the embedded model, with nothing kept but two frames. */
async function makeMinute({
  source,
  device,
  options,
}: {
  source: string;
  device: "webgpu" | "cpu";
  options: Pick<ClipOptions, "width" | "height" | "steps" | "guidance">;
}) {
  const path = "/lib/index.js";
  const { load } = (await import(path)) as Library;
  const model = await load(source, { device });
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
    seed: 1,
    ...options,
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
