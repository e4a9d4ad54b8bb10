/**
 * Chromium as a visitor has it, for measuring: nothing drives it. Whoever drives a browser has what goes over its network
 * copied to them, which halves the loader's speed and costs a hundred megabytes.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { args, executablePath } from "./chromium.mjs";

/**
 * Opens a page of a server, which tells what it has to say by sending JSON to `/told`: each goes to `told`, until that gives
 * true.
 * @param {Awaited<ReturnType<typeof import("./static.mjs").serve>>} server
 * @param {string} profile A folder. One that is not named would be in memory, and the private files with it.
 * @param {(what: any) => boolean | Promise<boolean>} told
 * @param {string[]} more Arguments for Chromium.
 */
export async function visit(server, profile, told, more = []) {
  const finished = new Promise((resolve, reject) =>
    server.handlers.set("/told", async (request, response) => {
      const pieces = await request.toArray();
      response.end();
      try {
        if (await told(JSON.parse(Buffer.concat(pieces).toString()))) {
          resolve(undefined);
        }
      } catch (thrown) {
        reject(thrown);
      }
    }),
  );
  const given = [...args, ...more, "--headless", "--no-first-run", `--user-data-dir=${profile}`, server.url];
  const browser = spawn(executablePath, given, { stdio: "ignore" });
  const ended = once(browser, "exit");
  try {
    await Promise.race([
      finished,
      ended.then(() => {
        throw new Error("Chromium ended before the page had told everything");
      }),
    ]);
  } finally {
    browser.kill();
    await ended;
  }
}
