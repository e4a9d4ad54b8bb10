import { defineConfig } from "vitest/config";

// `--mode bench` builds the comparison with ONNX Runtime Web instead of the page, which has nothing of it.
export default defineConfig(({ mode }) => ({
  // Relative, so that the page works from any folder of a host.
  base: "./",
  // A missing file is a 404, not the page: model folders are probed for the files they have.
  appType: "mpa",
  worker: { format: "es" },
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    ...(mode === "bench" ? { outDir: "dist-bench", rollupOptions: { input: "bench.html" } } : {}),
  },
  test: { include: ["src/**/*.test.ts"] },
}));
