/** How Chromium is started, for the scripts and the browser tests: headless, with WebGPU also where there is no GPU. */

/** The system's browser; the packages of this project download none. */
export const executablePath = process.env["CHROME"] ?? "/usr/bin/chromium";

export const args = [
  "--no-sandbox",
  "--disable-dev-shm-usage",
  "--enable-unsafe-webgpu",
  // Chromium's own software adapter; set KINETOSCOPE_ADAPTER to "" where there is a GPU to use.
  ...(process.env["KINETOSCOPE_ADAPTER"] === ""
    ? []
    : [`--use-webgpu-adapter=${process.env["KINETOSCOPE_ADAPTER"] ?? "swiftshader"}`]),
];
