import { defineConfig } from "vitest/config";

export default defineConfig({
  // Relative, so that the page works from any folder of a host.
  base: "./",
  // A missing file is a 404, not the page: model folders are probed for the files they have.
  appType: "mpa",
  worker: { format: "es" },
  build: { target: "es2022", modulePreload: { polyfill: false } },
  test: { include: ["src/**/*.test.ts"] },
});
