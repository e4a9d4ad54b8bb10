import { defineConfig } from "@playwright/test";
import { args, executablePath } from "../../www/scripts/chromium.mjs";

export default defineConfig({
  testDir: ".",
  outputDir: "../../test-results",
  // A software adapter takes all cores for one clip.
  workers: 1,
  timeout: 300_000,
  expect: { timeout: 60_000 },
  forbidOnly: true,
  reporter: [["list"], ["./failures.ts"]],
  use: {
    launchOptions: {
      executablePath,
      // A name that is not localhost: its pages are not secure, and get no WebGPU.
      args: [...args, "--host-resolver-rules=MAP kinetoscope.test 127.0.0.1"],
    },
  },
});
