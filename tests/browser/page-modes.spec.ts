/** Each mode of the page, with a real file dropped on it. */
import type { Locator, Page } from "@playwright/test";
import { type Kinetoscope, type Pixels, difference, expect, meanColour, test } from "./fixtures.js";

type VideoLibrary = typeof import("../../www/src/video.js");

interface Brought {
  /** A red disc on a meadow, as PNG. */
  readonly picture: Buffer;
  /** The same disc on its way from left to right in twelve frames, as WebM. */
  readonly clip: Buffer;
  /** What was drawn, frame by frame. */
  readonly drawn: readonly Pixels[];
}

let brought: Brought;

test.beforeAll(async ({ browser, server }) => {
  const page = await browser.newPage();
  await page.goto(`${server.url}blank/`);
  const { picture, clip, drawn } = await page.evaluate(draw);
  await page.close();
  brought = { picture: Buffer.from(picture, "base64"), clip: Buffer.from(clip, "base64"), drawn };
});

test.beforeEach(async ({ kinetoscope, page, server }) => {
  await page.goto(`${server.url}?device=webgpu`);
  await kinetoscope.chooseShortClip();
  await page.getByLabel("Length").selectOption("9");
  await kinetoscope.prompt.fill("a red ball rolls to the right on green grass");
});

test("a picture dropped on the page comes alive", async ({ kinetoscope, page }) => {
  await drop(page.locator("body"), "meadow.png", "image/png", brought.picture);
  await expect(mode(page, "Picture")).toBeChecked();
  await expect(page.locator("#slot-picture")).toContainText("meadow.png");
  const frames = await make(kinetoscope);
  expect(frames.length).toBe(9);
  expect(apart(frames[0], brought.drawn[0])).toBeLessThan(12);
  expect(apart(frames[0], frames[8])).toBeGreaterThan(0.5);
  await expect(parts(page)).toHaveText(["0.1 s brought along", "0.7 s made here"]);
});

for (const [direction, words] of [
  ["forwards", "It goes on"],
  ["backwards", "It begins earlier"],
] as const) {
  test(`a clip is extended ${direction}`, async ({ kinetoscope, page }) => {
    await mode(page, "Extend").check();
    await page.getByLabel("Which way").selectOption(words);
    await drop(page.locator("#slot-source"), "disc.webm", "video/webm", brought.clip);
    const frames = await make(kinetoscope);
    const { drawn } = brought;
    // Of 9 frames made, 5 go over the clip's end, or 4 over its beginning.
    const [length, kept, from] = direction === "forwards" ? [16, 7, 0] : [17, 8, 9];
    expect(frames.length).toBe(length);
    const clip = direction === "forwards" ? drawn.slice(0, kept) : drawn.slice(12 - kept);
    for (const [index, frame] of clip.entries()) {
      expect(apart(frames[from + index], frame), `frame ${from + index}`).toBeLessThan(8);
    }
    // Seen through the model's VAE, and without a jump where it takes over.
    const all = frames.slice(1).map((frame, index) => apart(frames[index], frame));
    expect(Math.max(...all)).toBeLessThan(30);
    await expect(parts(page)).toHaveText(
      direction === "forwards"
        ? ["1.0 s brought along", "0.3 s made here"]
        : ["0.4 s made here", "1.0 s brought along"],
    );
  });
}

test("what lies between two pictures is made, or a loop of one", async ({ kinetoscope, page }) => {
  await mode(page, "Fill").check();
  await drop(page.locator("body"), "first.png", "image/png", brought.picture);
  await drop(page.locator("#slot-last"), "disc.webm", "video/webm", brought.clip);
  let frames = await make(kinetoscope);
  const { drawn } = brought;
  // The picture, four frames of the gap, four that the clip begins with, and its other eight.
  expect(frames.length).toBe(17);
  expect(apart(frames[0], drawn[0])).toBeLessThan(12);
  expect(apart(frames[16], drawn[11])).toBeLessThan(8);

  await page.getByLabel("A loop").check();
  await expect(page.locator("#slot-last")).toBeHidden();
  frames = await make(kinetoscope);
  expect(frames.length).toBe(9);
  expect(apart(frames[0], drawn[0])).toBeLessThan(12);
  expect(apart(frames[8], drawn[0])).toBeLessThan(12);
});

test("a clip is changed by the prompt, everywhere or in a half", async ({ kinetoscope, page }) => {
  await mode(page, "Edit").check();
  await drop(page.locator("body"), "disc.webm", "video/webm", brought.clip);
  const strength = page.getByLabel("How much");
  await strength.fill("0");
  await kinetoscope.prompt.fill("a blue fish swims to the right underwater");
  const same = await make(kinetoscope);
  expect(same.length).toBe(9);
  expect(apart(same[4], brought.drawn[4])).toBeLessThan(12);

  await strength.fill("1");
  await page.locator("#where").selectOption("The left half");
  const half = await make(kinetoscope);
  expect(apart(side(half[4], "right"), side(same[4], "right"))).toBeLessThan(10);
  expect(apart(side(half[4], "left"), side(same[4], "left"))).toBeGreaterThan(15);

  await page.locator("#where").selectOption("Where a picture says");
  await kinetoscope.generate.click();
  await expect(kinetoscope.alert).toContainText("picture is missing");
});

test("the film just made goes on, and the picture shown comes alive", async ({ kinetoscope, page }) => {
  const first = await make(kinetoscope);
  await mode(page, "Extend").check();
  await page.locator("#slot-source").getByRole("button", { name: "Take the film shown" }).click();
  const longer = await make(kinetoscope);
  expect(longer.length).toBe(13);
  expect(apart(longer[0], first[0])).toBe(0);
  await mode(page, "Picture").check();
  await page.locator("#slot-picture").getByRole("button", { name: "Take the frame shown" }).click();
  const shown = await kinetoscope.pixels();
  const [opening] = await make(kinetoscope);
  expect(apart(opening, shown)).toBeLessThan(12);
});

test("what is missing or does not decode is told, and nothing is lost", async ({ kinetoscope, page }) => {
  const before = await make(kinetoscope);
  await mode(page, "Extend").check();
  await kinetoscope.generate.click();
  await expect(kinetoscope.alert).toContainText("A clip is missing: choose a file");
  await drop(page.locator("#slot-source"), "meadow.png", "image/png", brought.picture);
  await expect(kinetoscope.alert).toContainText("a clip is needed here, and this is a picture");
  await drop(page.locator("#slot-source"), "broken.webm", "video/webm", Buffer.from("not a film"));
  await expect(kinetoscope.alert).toContainText("broken.webm cannot be read");
  await drop(page.locator("body"), "notes.txt", "text/plain", Buffer.from("words"));
  await expect(kinetoscope.alert).toContainText(
    "notes.txt cannot be used: it is neither a picture nor a clip",
  );
  const after = await kinetoscope.frames();
  expect(after.map((frame, index) => apart(frame, before[index]))).toEqual(before.map(() => 0));
});

test("a long film begins on the screen while the rest is made, and what there is stays", async ({
  kinetoscope,
  page,
}) => {
  await page.getByLabel("Steps").fill("6");
  await page.getByLabel("Length").selectOption("3 s");
  await kinetoscope.generate.click();
  // Where the clip is going is to be seen before there is a frame.
  const screen = page.locator("#screen");
  await expect(screen).toHaveAttribute("data-preview", "");
  await expect(screen).toHaveAttribute("data-frames", "0");
  const preview = await kinetoscope.pixels();
  expect(new Set(preview.rgba).size).toBeGreaterThan(10);
  await expect(kinetoscope.doing).toHaveText(/^Part 2 of 3 · Step/);
  await expect(screen).toHaveAttribute("data-frames", "12");
  await kinetoscope.cancel.click();
  await expect(kinetoscope.generate).toBeVisible();
  await expect(kinetoscope.save).toBeEnabled();
  const frames = await kinetoscope.frames();
  expect(frames.length).toBe(12);
  const [red = 0, green = 0] = frames[11] ? meanColour(frames[11], 0.75, 1) : [];
  expect(green).toBeGreaterThan(red + 10);
});

function mode(page: Page, name: string): Locator {
  return page.getByRole("radio", { name, exact: true });
}

function parts(page: Page): Locator {
  return page.locator("#timeline li");
}

async function make(kinetoscope: Kinetoscope): Promise<Pixels[]> {
  await kinetoscope.generate.click();
  await expect(kinetoscope.cancel).toBeVisible();
  await kinetoscope.done();
  return kinetoscope.frames();
}

function apart(a: Pixels | undefined, b: Pixels | undefined): number {
  return a && b ? difference(a, b) : NaN;
}

/** Half of a frame. */
function side(
  { width, height, rgba }: Pixels = { width: 0, height: 0, rgba: [] },
  which: "left" | "right",
): Pixels {
  const inside = (byte: number): boolean => (byte / 4) % width < width / 2 === (which === "left");
  return { width: width / 2, height, rgba: rgba.filter((_, byte) => inside(byte)) };
}

/** Drops a file, as a visitor would from the desktop. */
async function drop(target: Locator, name: string, type: string, bytes: Buffer): Promise<void> {
  const file = { name, type, base64: bytes.toString("base64") };
  const transfer = await target.page().evaluateHandle(({ name, type, base64 }) => {
    const transfer = new DataTransfer();
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
    return transfer;
  }, file);
  await target.dispatchEvent("dragover", { dataTransfer: transfer });
  await target.dispatchEvent("drop", { dataTransfer: transfer });
}

/** Runs in a page: draws what is brought. */
async function draw() {
  const path = "/lib/video.js";
  const { encodeWebM } = (await import(path)) as VideoLibrary;
  const [width, height] = [64, 64];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  if (!context) {
    throw new Error("no canvas");
  }
  const base64 = async (blob: Blob): Promise<string> =>
    btoa(Array.from(new Uint8Array(await blob.arrayBuffer()), (byte) => String.fromCharCode(byte)).join(""));
  const scene = (x: number): void => {
    context.fillStyle = "rgb(120, 180, 240)";
    context.fillRect(0, 0, width, height);
    context.fillStyle = "rgb(90, 160, 60)";
    context.fillRect(0, 40, width, height);
    context.fillStyle = "rgb(210, 40, 40)";
    context.beginPath();
    context.arc(x, 34, 9, 0, 2 * Math.PI);
    context.fill();
  };
  const frames = Array.from({ length: 12 }, (_, index) => {
    scene(16 + 2.5 * index);
    return Uint8ClampedArray.from(context.getImageData(0, 0, width, height).data);
  });
  scene(16);
  const picture = await base64(await canvas.convertToBlob({ type: "image/png" }));
  const clip = await base64(await encodeWebM({ width, height, fps: 12, frames }));
  return { picture, clip, drawn: frames.map((rgba) => ({ width, height, rgba: [...rgba] })) };
}
