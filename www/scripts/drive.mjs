/** A script that drives a page in headless Chromium. */
import { chromium } from "@playwright/test";
import { args, executablePath } from "./chromium.mjs";

/**
 * Gives `action` a page without time limits, and closes browser and server after it; what goes wrong is said, and is the script's
 * exit status.
 * @param {Awaited<ReturnType<typeof import("./static.mjs").serve>>} server
 * @param {(page: import("@playwright/test").Page) => Promise<void>} action
 */
export async function drive(server, action) {
  const browser = await chromium.launch({ executablePath, args });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(0);
    page.on("pageerror", (error) => console.error(error.message));
    await action(page);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  } finally {
    await browser.close();
    server.close();
  }
}
