/** The page as a visitor uses it, in headless Chromium, with the real model on WebGPU. */
import { readFile } from "node:fs/promises";
import { deviation, difference, expect, meanColour, test } from "./fixtures.js";

/** The page asked for WebGPU: of itself it would not take Chromium's software adapter. */
const onWebGpu = (url: string) => `${url}?device=webgpu`;

const PROMPT = "a red ball bounces on green grass";

/** Any step but the first: expectations look once a second, in which many may pass. */
const inTheMiddle = /^Step (?!1 )\d+ of 100$/;

test("makes a clip from a prompt, and saves it", async ({ kinetoscope, page, server }) => {
  await page.goto(onWebGpu(server.url));
  await kinetoscope.ready();
  await kinetoscope.more.click();
  await page.getByLabel("Seed", { exact: true }).fill("1");
  await kinetoscope.prompt.fill(PROMPT);
  await kinetoscope.generate.click();
  await kinetoscope.done();
  await expect(kinetoscope.device).toHaveAttribute("data-device", "webgpu");

  const frames = await kinetoscope.frames();
  expect(frames.length).toBe(17);
  for (const frame of frames) {
    expect([frame.width, frame.height]).toEqual([64, 64]);
    expect(deviation(frame)).toBeGreaterThan(15);
    const [red = 0, green = 0, blue = 0] = meanColour(frame, 0.75, 1);
    expect(green).toBeGreaterThan(red + 10);
    expect(green).toBeGreaterThan(blue + 10);
  }
  const [first, , , , , , , , middle] = frames;
  expect(first && middle && difference(first, middle)).toBeGreaterThan(2);

  const downloading = page.waitForEvent("download");
  await kinetoscope.save.click();
  const download = await downloading;
  expect(download.suggestedFilename()).toBe("a-red-ball-bounces-on-green-grass.webm");
  const bytes = await readFile(await download.path());
  const video = await page.evaluate(async (base64) => {
    const video = document.createElement("video");
    video.src = `data:video/webm;base64,${base64}`;
    video.muted = true;
    await new Promise<void>((resolve, reject) => {
      // `seeked` may come before the frame it is about can be drawn.
      const whenShown = (_now: number, { mediaTime }: VideoFrameCallbackMetadata): void => {
        if (Math.round(mediaTime * 12) === 8) {
          resolve();
        } else {
          video.requestVideoFrameCallback(whenShown);
        }
      };
      video.requestVideoFrameCallback(whenShown);
      video.onerror = () => reject(new Error(video.error?.message));
      video.onloadeddata = () => (video.currentTime = 8.5 / 12);
    });
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext("2d");
    context?.drawImage(video, 0, 0);
    const rgba = [...(context?.getImageData(0, 0, canvas.width, canvas.height).data ?? [])];
    return {
      duration: video.duration,
      width: canvas.width,
      height: canvas.height,
      rgba,
    };
  }, bytes.toString("base64"));
  expect(video.duration).toBeCloseTo(17 / 12, 1);
  // The frame shown in the middle, but for what the codec loses.
  const apart = frames.map((frame) => difference(video, frame));
  expect(apart.indexOf(Math.min(...apart)), `it differs from the frames by ${apart.join(", ")}`).toBe(8);
  expect(apart[8]).toBeLessThan(8);
});

test("the same seed gives the same clip, another seed another", async ({ kinetoscope, page, server }) => {
  await page.goto(onWebGpu(server.url));
  await kinetoscope.chooseShortClip();
  const clips = [];
  for (const seed of ["7", "7", "8"]) {
    await page.getByLabel("Seed", { exact: true }).fill(seed);
    await kinetoscope.generate.click();
    await kinetoscope.done();
    const [frame] = await kinetoscope.frames();
    clips.push(frame);
  }
  const [a, b, c] = clips;
  expect(a && b && difference(a, b)).toBe(0);
  expect(a && c && difference(a, c)).toBeGreaterThan(2);
  await expect(page.locator("#history button")).toHaveCount(3);
});

test("cancels in the middle, and makes a second clip after it", async ({ kinetoscope, page, server }) => {
  await page.goto(onWebGpu(server.url));
  await kinetoscope.chooseShortClip(100);
  await kinetoscope.generateAndCancel(inTheMiddle);
  await expect(kinetoscope.generate).toBeVisible();
  await expect(kinetoscope.alert).toBeHidden();
  await expect(kinetoscope.save).toBeDisabled();

  await kinetoscope.chooseShortClip();
  await kinetoscope.generate.click();
  await kinetoscope.done();
  expect((await kinetoscope.frames()).length).toBe(5);
});

test("an impossible size is an error with a way out", async ({ kinetoscope, page, server }) => {
  await page.goto(onWebGpu(server.url));
  await kinetoscope.chooseShortClip();
  await page.getByLabel("Size").selectOption("Another size");
  await page.getByLabel("Width").fill("70");
  await kinetoscope.generate.click();
  await expect(kinetoscope.alert).toContainText("cannot make a film of 70 × 64");
  await kinetoscope.alert.getByRole("button", { name: "Use 64 × 64" }).click();
  await kinetoscope.done();
  expect((await kinetoscope.frames()).length).toBe(5);
});

test("a model that is not there is an error", async ({ kinetoscope, page, server }) => {
  await page.goto(`${onWebGpu(server.url)}&model=${server.url}no/such/folder`);
  await expect(kinetoscope.alert).toContainText("model_index.json is missing");
});

test("a missing file is named, and another try finds it", async ({ kinetoscope, page, server }) => {
  const file = "/models/small/tokenizer/tokenizer.json";
  server.handlers.set(file, (_, response) => response.writeHead(404).end());
  await page.goto(onWebGpu(server.url));
  await expect(kinetoscope.alert).toContainText("tokenizer/tokenizer.json is missing");
  server.handlers.delete(file);
  await kinetoscope.alert.getByRole("button", { name: "Try again" }).click();
  await kinetoscope.ready();
  await expect(kinetoscope.alert).toBeHidden();
});

test("a truncated file is named", async ({ kinetoscope, page, server }) => {
  const whole = await readFile(
    new URL("../../models/small/vae/diffusion_pytorch_model.gguf", import.meta.url),
  );
  server.handlers.set("/models/small/vae/diffusion_pytorch_model.gguf", (request, response) => {
    // A host without ranges, with the file cut in the middle.
    const cut = whole.subarray(0, whole.length / 2);
    response.writeHead(200, { "content-length": cut.length });
    response.end(request.method === "HEAD" ? undefined : cut);
  });
  await page.goto(onWebGpu(server.url));
  await expect(kinetoscope.alert).toContainText("vae/diffusion_pytorch_model.gguf is truncated");
});

test("a host without ranges serves the model too", async ({ kinetoscope, page, server }) => {
  for (const path of [
    "text_encoder/model.safetensors",
    "transformer/diffusion_pytorch_model.gguf",
    "vae/diffusion_pytorch_model.gguf",
  ]) {
    const bytes = await readFile(new URL(`../../models/small/${path}`, import.meta.url));
    server.handlers.set(`/models/small/${path}`, (request, response) => {
      response.writeHead(200, { "content-length": bytes.length });
      response.end(request.method === "HEAD" ? undefined : bytes);
    });
  }
  await page.goto(onWebGpu(server.url));
  await kinetoscope.chooseShortClip();
  await kinetoscope.generate.click();
  await kinetoscope.done();
});

test("a prompt that is too long is cut, and the page says so", async ({ kinetoscope, page, server }) => {
  await page.goto(onWebGpu(server.url));
  await kinetoscope.chooseShortClip(1);
  await kinetoscope.prompt.fill(`${PROMPT}, `.repeat(20));
  await kinetoscope.generate.click();
  await kinetoscope.done();
  await expect(page.locator("#hint")).toContainText("longer than this model reads (40 tokens)");
});

test("without WebGPU the page says so, and the processor makes the clip", async ({
  kinetoscope,
  page,
  server,
}) => {
  await page.goto(`http://kinetoscope.test:${server.port}/`);
  expect(await page.evaluate(() => "gpu" in navigator)).toBe(false);
  await expect(page.locator("#notice")).toContainText("No GPU to use here");
  await kinetoscope.chooseShortClip();
  await kinetoscope.generate.click();
  await kinetoscope.done();
  await expect(kinetoscope.device).toHaveAttribute("data-device", "cpu");
  const onProcessor = await kinetoscope.frames();

  await page.goto(onWebGpu(server.url));
  await kinetoscope.chooseShortClip();
  await kinetoscope.generate.click();
  await kinetoscope.done();
  await expect(kinetoscope.device).toHaveAttribute("data-device", "webgpu");
  const worst = (await kinetoscope.frames()).flatMap(({ rgba }, index) =>
    rgba.map((value, byte) => Math.abs(value - (onProcessor[index]?.rgba[byte] ?? Infinity))),
  );
  expect(worst.reduce((a, b) => Math.max(a, b))).toBeLessThanOrEqual(2);
});

test("takes the processor, and says so, where there is only a software adapter", async ({
  kinetoscope,
  page,
  server,
}) => {
  await page.goto(server.url);
  await kinetoscope.ready();
  await expect(kinetoscope.device).toHaveAttribute("data-device", "cpu");
  await expect(page.locator("#notice")).toContainText("software adapter");
});

test("works with the keyboard alone", async ({ kinetoscope, page, server }) => {
  await page.goto(onWebGpu(server.url));
  await kinetoscope.ready();
  const focused = () =>
    page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent?.trim() || "");
  await page.keyboard.press("Tab");
  expect(await focused()).toBe("mode-text");
  // Arrow keys go through the choices; the last brings its slot and settings.
  for (let k = 0; k < 4; k++) {
    await page.keyboard.press("ArrowRight");
  }
  await expect(page.getByRole("radio", { name: "Edit" })).toBeChecked();
  const reached = [];
  for (let k = 0; k < 8 && reached.at(-1) !== "prompt"; k++) {
    await page.keyboard.press("Tab");
    reached.push(await focused());
  }
  expect(reached).toEqual(["Choose a file…", "strength", "where", "fit", "prompt"]);
  await page.getByRole("radio", { name: "Text" }).check();
  await kinetoscope.prompt.focus();
  await page.keyboard.type(PROMPT);
  const order = [];
  for (let k = 0; k < 40 && order.at(-1) !== "choose"; k++) {
    await page.keyboard.press("Tab");
    order.push(await focused());
    if (order.at(-1) === "More" || order.at(-1)?.startsWith("Models")) {
      await page.keyboard.press("Enter");
    }
    if (order.at(-1) === "steps") {
      await page.keyboard.type("100");
    }
  }
  expect(order).toEqual(
    expect.arrayContaining([
      "generate",
      "More",
      "size",
      "frames",
      "steps",
      "guidance",
      "seed",
      "dice",
      "negative",
      "address",
      "look",
      "choose",
    ]),
  );

  await kinetoscope.prompt.focus();
  await page.keyboard.press("Enter");
  await expect(kinetoscope.doing).toHaveText(inTheMiddle);
  await page.keyboard.press("Escape");
  await expect(kinetoscope.generate).toBeVisible();

  await kinetoscope.chooseShortClip(1);
  await kinetoscope.generate.focus();
  await page.keyboard.press("Enter");
  await expect(kinetoscope.cancel).toBeFocused();
  await kinetoscope.done();
  await expect(kinetoscope.generate).toBeFocused();

  const play = page.locator("#play");
  await play.focus();
  await expect(play).toHaveAccessibleName("Pause");
  await page.keyboard.press("Space");
  await expect(play).toHaveAccessibleName("Play");
});

test("fits a phone of 360 pixels", async ({ kinetoscope, page, server }) => {
  await page.setViewportSize({ width: 360, height: 740 });
  await page.goto(onWebGpu(server.url));
  const width = () => page.evaluate(() => document.documentElement.scrollWidth);
  expect(await width()).toBe(360);
  await kinetoscope.chooseShortClip(1);
  await page.getByLabel("Size").selectOption("Another size");
  await kinetoscope.prompt.fill("x".repeat(200));
  await kinetoscope.generate.click();
  expect(await width()).toBe(360);
  await kinetoscope.done();
  expect(await width()).toBe(360);
});

test("does not move by itself where motion is to be reduced", async ({ kinetoscope, page, server }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  await page.goto(onWebGpu(server.url));
  await kinetoscope.chooseShortClip(1);
  await kinetoscope.generate.click();
  await kinetoscope.done();
  await expect(page.locator("#play")).toHaveAccessibleName("Play");
});

test("the main thread has no task over 50 ms while a clip is made", async ({ kinetoscope, page, server }) => {
  await page.goto(onWebGpu(server.url));
  await kinetoscope.ready();
  await page.evaluate(() => {
    const tasks: number[] = [];
    new PerformanceObserver((list) =>
      tasks.push(...list.getEntries().map(({ duration }) => duration)),
    ).observe({
      type: "longtask",
    });
    Object.assign(globalThis, { longTasks: tasks });
    // The observer reports what it should: a task of 80 ms, once.
    setTimeout(() => {
      const end = performance.now() + 80;
      while (performance.now() < end);
    });
  });
  const longTasks = () => page.evaluate(() => (globalThis as unknown as { longTasks: number[] }).longTasks);
  await expect.poll(longTasks).toHaveLength(1);

  await kinetoscope.prompt.fill(PROMPT);
  await kinetoscope.generate.click();
  await kinetoscope.done();
  // Long enough for the observer to hear of the last task.
  await page.waitForTimeout(500);
  expect((await longTasks()).slice(1)).toEqual([]);
});

test("the words that the model knows make a prompt", async ({ kinetoscope, page, server }) => {
  await page.goto(onWebGpu(server.url));
  await kinetoscope.ready();
  const words = page.getByRole("group", { name: "Or choose the words" });
  await words.getByLabel("Thing").selectOption("cat");
  await words.getByLabel("Motion").selectOption("sits");
  await words.getByLabel("Place").selectOption("snow");
  await words.getByLabel("Colour").selectOption("orange");
  await words.getByLabel("Time").selectOption("night");
  await words.getByLabel("Camera").selectOption("zoom in");
  await expect(kinetoscope.prompt).toHaveValue(
    "an orange cat sits in the snow at night, the camera zooms in",
  );
  // What does not go together goes: a fish neither sits nor is it found in the snow.
  await words.getByLabel("Thing").selectOption("fish");
  await expect(kinetoscope.prompt).toHaveValue("an orange fish swims to the right underwater");
  await words.getByRole("button", { name: "Surprise me" }).click();
  await expect(kinetoscope.prompt).not.toHaveValue("an orange fish swims to the right underwater");
  const example = page.locator("#examples button").first();
  await example.click();
  await expect(kinetoscope.prompt).toHaveValue(await example.innerText());
});

test("a model without words of its own gets words of style and motion", async ({
  kinetoscope,
  page,
  server,
}) => {
  server.handlers.set("/models/small/words.json", (_, response) => response.writeHead(404).end());
  await page.goto(onWebGpu(server.url));
  await kinetoscope.ready();
  await kinetoscope.prompt.fill("a fox runs");
  const style = page.getByRole("group", { name: "Style" }).getByRole("button", { name: "anime" });
  await style.click();
  await page.getByRole("group", { name: "Motion" }).getByRole("button", { name: "slow motion" }).click();
  await expect(kinetoscope.prompt).toHaveValue("a fox runs, anime, slow motion");
  await expect(style).toHaveAttribute("aria-pressed", "true");
  await style.click();
  await expect(kinetoscope.prompt).toHaveValue("a fox runs, slow motion");
  await expect(page.getByRole("group", { name: "Or choose the words" })).toBeHidden();
});
