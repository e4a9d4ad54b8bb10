/** Makes one clip with the real page in headless Chromium: `node scripts/clip.mjs PROMPT OUT.webm`. */
import { mkdir } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { drive } from "./drive.mjs";
import { serve } from "./static.mjs";

const [prompt, out] = process.argv.slice(2);
if (!prompt || !out?.endsWith(".webm")) {
  console.error("usage: node scripts/clip.mjs PROMPT OUT.webm");
  process.exit(2);
}

let told = "";
const server = await serve({ "/": fileURLToPath(new URL("../dist", import.meta.url)) });
await drive(server, makeClip);

/** @param {import("@playwright/test").Page} page */
async function makeClip(page) {
  // Of itself the page would compute on the processor where the only adapter is a software one.
  await page.goto(`${server.url}?device=webgpu`);
  await page.getByLabel("What happens in the film?").fill(prompt ?? "");
  await page.getByRole("button", { name: "Generate" }).click();

  const save = page.getByRole("button", { name: "Save as WebM" });
  const failed = page.getByRole("alert");
  const ticker = setInterval(() => void tellProgress(page), 1000);
  await page.locator("#save:enabled").or(failed.locator("visible=true")).first().waitFor();
  clearInterval(ticker);
  if (await failed.isVisible()) {
    throw new Error(await failed.locator("p").innerText());
  }

  const path = resolve(out ?? "");
  await mkdir(dirname(path), { recursive: true });
  const downloading = page.waitForEvent("download");
  await save.click();
  await (await downloading).saveAs(path);

  console.log(await page.locator("#device").innerText());
  console.log(await page.locator("#caption").innerText());
  for (const part of await page.locator("#seconds dd").all()) {
    const name = await part.getAttribute("data-part");
    console.log(`  ${name?.padEnd(7)} ${(await part.getAttribute("data-seconds"))?.padStart(8)} s`);
  }
  console.log(path);
}

/** @param {import("@playwright/test").Page} page */
async function tellProgress(page) {
  // The page may be gone by the time the timer's last call asks it.
  const doing = await page
    .locator("#work")
    .innerText()
    .catch(() => "");
  const line = doing.replace(/\s+/g, " ").trim();
  if (line && line !== told) {
    told = line;
    console.log(line);
  }
}
