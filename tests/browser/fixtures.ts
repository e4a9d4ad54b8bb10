/** What the browser tests share: the server, and the page as a visitor handles it. */
import { fileURLToPath } from "node:url";
import { type Locator, type Page, test as base } from "@playwright/test";
import { serve } from "../../www/scripts/static.mjs";

const folder = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

type Server = Awaited<ReturnType<typeof serve>>;

/** One frame read back from the canvas. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  /** RGBA, rows from the top. */
  readonly rgba: readonly number[];
}

/** The page, by what it says on it. */
export class Kinetoscope {
  readonly prompt: Locator;
  readonly generate: Locator;
  readonly cancel: Locator;
  readonly save: Locator;
  readonly alert: Locator;
  readonly scrub: Locator;
  readonly more: Locator;
  readonly device: Locator;
  readonly doing: Locator;

  constructor(readonly page: Page) {
    this.prompt = page.getByLabel("What happens in the film?");
    this.generate = page.getByRole("button", { name: "Generate" });
    this.cancel = page.getByRole("button", { name: "Cancel" });
    this.save = page.getByRole("button", { name: "Save as WebM" });
    this.alert = page.getByRole("alert");
    this.scrub = page.getByRole("slider", { name: "Frame" });
    this.more = page.getByText("More", { exact: true });
    this.device = page.locator("#device");
    this.doing = page.locator("#doing");
  }

  /** Waits until the model is loaded; settings are off before. */
  async ready(): Promise<void> {
    await this.page.locator("#settings:enabled").waitFor({ state: "attached" });
  }

  /** Chooses the quickest clip that still has several steps and frames. */
  async chooseShortClip(steps = 3): Promise<void> {
    await this.ready();
    if (!(await this.page.getByLabel("Steps").isVisible())) {
      await this.more.click();
    }
    await this.page.getByLabel("Steps").fill(String(steps));
    await this.page.getByLabel("Length").selectOption("5");
    await this.page.getByLabel("Seed", { exact: true }).fill("7");
  }

  /**
   * Presses Generate, and Cancel as soon as what the page is doing matches `when`. The page itself looks out for it:
   * its answers to the test may be seconds late, as its frames are while a software adapter works.
   */
  async generateAndCancel(when: RegExp): Promise<void> {
    const cancelled = this.page.evaluate(async (when) => {
      const doing = document.getElementById("doing");
      const cancel = document.getElementById("cancel");
      const error = document.getElementById("error");
      if (!doing || !cancel || !error) {
        throw new Error("the page has changed its ids");
      }
      await new Promise<void>((resolve, reject) => {
        const look = new MutationObserver(() => {
          if (when.test(doing.textContent)) {
            look.disconnect();
            cancel.click();
            resolve();
          } else if (!error.hidden) {
            look.disconnect();
            reject(new Error(error.textContent));
          }
        });
        for (const element of [doing, error]) {
          look.observe(element, { attributes: true, childList: true, characterData: true, subtree: true });
        }
      });
    }, when);
    await Promise.all([cancelled, this.generate.click()]);
  }

  /** Waits for the end of the clip in the making; fails with the page's own words if it goes wrong. */
  async done(): Promise<void> {
    await this.page.locator("#save:enabled, #error:not([hidden])").first().waitFor({ timeout: 280_000 });
    base.expect(await this.alert.allInnerTexts()).toEqual([]);
    await base.expect(this.generate).toBeVisible();
  }

  /** Every frame of the clip on the screen, by going through them with the keyboard. */
  async frames(): Promise<Pixels[]> {
    const pause = this.page.getByRole("button", { name: "Pause" });
    if (await pause.isVisible()) {
      await pause.click();
    }
    await this.scrub.focus();
    await this.page.keyboard.press("Home");
    const count = Number(await this.scrub.getAttribute("max")) + 1;
    const frames: Pixels[] = [];
    for (let index = 0; index < count; index++) {
      await base.expect(this.scrub).toHaveValue(String(index));
      frames.push(await this.pixels());
      await this.page.keyboard.press("ArrowRight");
    }
    return frames;
  }

  /** What the canvas shows now. */
  async pixels(): Promise<Pixels> {
    return this.page.locator("#picture").evaluate((canvas) => {
      if (!(canvas instanceof HTMLCanvasElement)) {
        throw new Error("the picture is no canvas");
      }
      const { width, height } = canvas;
      return {
        width,
        height,
        rgba: [...(canvas.getContext("2d")?.getImageData(0, 0, width, height).data ?? [])],
      };
    });
  }
}

/** Mean colour of the rows from `top` to `bottom`, as parts of the height: [red, green, blue]. */
export function meanColour({ width, height, rgba }: Pixels, top: number, bottom: number): number[] {
  const rows = rgba.slice(Math.round(top * height) * width * 4, Math.round(bottom * height) * width * 4);
  return [0, 1, 2].map((channel) => {
    const values = rows.filter((_, byte) => byte % 4 === channel);
    return values.reduce((sum, value) => sum + value, 0) / values.length;
  });
}

/** Standard deviation of all colour values: 0 for a frame of one grey. */
export function deviation({ rgba }: Pixels): number {
  const values = rgba.filter((_, byte) => byte % 4 !== 3);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/** Mean difference of two frames' values, 0 to 255. */
export function difference(a: Pixels, b: Pixels): number {
  return a.rgba.reduce((sum, value, byte) => sum + Math.abs(value - (b.rgba[byte] ?? 0)), 0) / a.rgba.length;
}

export const test = base.extend<{ kinetoscope: Kinetoscope }, { server: Server }>({
  server: [
    async ({}, use) => {
      const server = await serve({
        "/": folder("../../www/dist"),
        "/lib/": folder("../../www/dist-lib"),
        "/golden/": folder("../golden"),
        "/blank/": folder("blank"),
        "/mediabunny/": folder("../../www/node_modules/mediabunny/dist/bundles"),
      });
      await use(server);
      server.close();
    },
    { scope: "worker" },
  ],
  kinetoscope: async ({ page, server }, use, testInfo) => {
    server.handlers.clear();
    // No test may pass while the page throws where nobody looks.
    const thrown: string[] = [];
    page.on("pageerror", (error) => thrown.push(String(error)));
    const kinetoscope = new Kinetoscope(page);
    await use(kinetoscope);
    if (testInfo.status !== testInfo.expectedStatus && !page.isClosed()) {
      const words = await Promise.all(
        [kinetoscope.doing, kinetoscope.alert].map((part) => part.allTextContents()),
      );
      testInfo.annotations.push({ type: "the page said", description: words.flat().join(" / ") });
    }
    base.expect(thrown).toEqual([]);
  },
});

export { expect } from "@playwright/test";
