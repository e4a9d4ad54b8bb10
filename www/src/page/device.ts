/** What the model runs on, in words. */
import type { DeviceInfo } from "../messages.js";

/** A few words for the masthead. */
export function deviceWords(info: DeviceInfo): string {
  if (info.device === "cpu") {
    return "Runs on the processor";
  }
  const name = info.adapter.trim();
  if (info.software) {
    return `Runs on software graphics, slowly${name ? ` (${name})` : ""}`;
  }
  return name ? `Runs on your GPU: ${name}` : "Runs on your GPU";
}

/** What to tell where a GPU was wanted and the processor computes. */
export function fallbackNotice(reason: string): string {
  const why = reason.replace(/[.\s]+$/, "");
  return (
    `No GPU to use here: ${why}. Films are made all the same, on the processor. ` +
    "A current Chrome or Edge, Safari 26 or Firefox on Windows can use the GPU."
  );
}

export function megabytes(bytes: number): string {
  return bytes < 9.95e6
    ? `${(bytes / 1e6).toFixed(1)} MB`
    : bytes < 1e9
      ? `${Math.round(bytes / 1e6)} MB`
      : `${(bytes / 1e9).toFixed(1)} GB`;
}
