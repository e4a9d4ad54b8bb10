/** What a plan says of a model from elsewhere, in words. */
import type { Advice } from "../messages.js";
import { megabytes } from "./device.js";

export interface Verdict {
  /** How large it is, and whether a clip of the model's own size fits on the device. */
  readonly words: string;
  /** Whether there is any clip that it can make here. */
  readonly usable: boolean;
  /** What would fit, or be better. */
  readonly ways: readonly string[];
  /** What to ask of it at first, where its own size and length do not fit. */
  readonly start?: ClipSize | undefined;
}

export interface ClipSize {
  readonly width: number;
  readonly height: number;
  readonly frames: number;
}

const NAMES: Readonly<Record<string, string>> = { text_encoder: "text encoder", vae: "VAE" };

export function verdictOf({ download, alternatives, plan, obstacle }: Advice): Verdict {
  const parts = Object.entries(download).map(
    ([component, bytes]) => `${NAMES[component] ?? component} ${megabytes(bytes)}`,
  );
  const all = Object.values(download).reduce((sum, bytes) => sum + bytes, 0);
  const size = `${megabytes(all)} of weights: ${parts.join(", ")}.`;
  const ways = alternatives.map(({ remedy, peakBytes }) => `${remedy}, which takes ${megabytes(peakBytes)}`);
  if (plan) {
    const { width, height, frames, peakBytes } = plan;
    const fits = `It fits: ${width} × ${height} with ${frames} frames takes ${megabytes(peakBytes)} at the worst moment.`;
    const slow =
      ways.length > 0
        ? " But its transformer is read again at every step, which is slow. It would stay with:"
        : "";
    return { words: `${size} ${fits}${slow}`, usable: true, ways };
  }
  const { what, needed, allowed } = obstacle;
  const why = `Its own size does not fit: ${what} needs ${megabytes(needed)} of the ${megabytes(allowed)} there are.`;
  const start = alternatives.find(
    ({ changes }) => changes.includes("fewerFrames") || changes.includes("smaller"),
  );
  const end = ways.length > 0 ? "What would fit:" : "Nothing smaller does either.";
  return { words: `${size} ${why} ${end}`, usable: ways.length > 0, ways, start };
}
