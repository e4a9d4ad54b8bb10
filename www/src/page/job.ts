/** What a mode asks of the model, and how what it makes is joined to what was brought. */
import { KinetoscopeError } from "../errors.js";
import type { ClipOptions, Footage, Mask } from "../messages.js";
import type { Pixels } from "./material.js";

/** What a film is made from. */
export type Mode = "text" | "picture" | "extend" | "fill" | "edit";

/** A stretch of the film: brought along, made, or brought along and changed. */
export interface Part {
  readonly kind: "given" | "made" | "changed";
  readonly frames: number;
}

/** Frames in a row. `frames` are the model's to make: the first and the last of them are given, and fade from and to what was brought. */
export interface Job {
  readonly options: Pick<ClipOptions, "given" | "edit">;
  /** Frames that the model makes. */
  readonly frames: number;
  /** What was brought that comes before all that the model sees. */
  readonly before: readonly Pixels[];
  /** What the film fades from: the model's first frames are these, seen through its VAE. */
  readonly head: readonly Pixels[];
  /** What the film fades to. */
  readonly tail: readonly Pixels[];
  readonly after: readonly Pixels[];
  readonly parts: readonly Part[];
}

/** Frames that the model is to make, and its temporal stride. */
export interface Asked {
  readonly width: number;
  readonly height: number;
  readonly frames: number;
  readonly frameStride: number;
}

type Materials = Readonly<{ first?: readonly Pixels[]; last?: readonly Pixels[]; loop?: boolean }>;

/** A film from words alone. */
export function fromText({ frames }: Asked): Job {
  return job({}, frames, {}, [{ kind: "made", frames }]);
}

/** A still picture brought to life. */
export function fromPicture(picture: Pixels, asked: Asked): Job {
  return fill({ first: [picture] }, asked);
}

/** A clip that goes on, or that begins earlier. Half of what the model makes is the clip's end, or its beginning. */
export function extend(clip: readonly Pixels[], direction: "forwards" | "backwards", asked: Asked): Job {
  return fill(direction === "forwards" ? { first: clip } : { last: clip }, asked);
}

/**
 * What is between a beginning and an end, a picture or a clip each; with `loop` the film ends as it begins. The model sees of
 * a clip what moves next to the gap: half of the film where there is one side, a third from each where there are two.
 */
export function fill({ first = [], last = [], loop = false }: Materials, asked: Asked): Job {
  const { frames, frameStride } = asked;
  const latents = (frames - 1) / frameStride + 1;
  const sides = first.length > 0 && last.length > 0 ? 3 : 2;
  // A latent frame after the first stands for several frames; the VAE's first stands for one.
  const share = Math.floor(latents / sides) * frameStride;
  const seenFirst = first.length > share ? share + 1 : largest(first.length, frameStride);
  const seenLast = last.length >= share ? Math.max(1, share) : whole(last.length, frameStride);
  const head = first.slice(first.length - seenFirst);
  const tail = last.slice(0, seenLast);
  const [opening] = first;
  const end = loop && opening ? [opening] : tail;
  if (head.length + end.length >= frames) {
    throw invalid("frames", "a film longer than what is given to it", String(frames));
  }
  const given = [
    ...(head.length > 0 ? [{ at: 0, ...footage(head, asked) }] : []),
    ...(end.length > 0 ? [{ at: -1, ...footage(end, asked) }] : []),
  ];
  const [before, after] = [first.slice(0, first.length - head.length), last.slice(tail.length)];
  const parts: Part[] = [
    { kind: "given", frames: before.length + head.length },
    { kind: "made", frames: frames - head.length - end.length },
    { kind: "given", frames: end.length + after.length },
  ];
  // A lone picture is shown as the model has it: there is nothing beside it that it would have to go with.
  const faded = { before, head: first.length > 1 ? head : [], tail: last.length > 1 ? tail : [], after };
  return job({ given }, frames, faded, parts);
}

/** A clip changed by the prompt, everywhere or where a mask is open. */
export function edit(clip: readonly Pixels[], strength: number, mask: Mask | undefined, asked: Asked): Job {
  const frames = largest(Math.min(clip.length, asked.frames), asked.frameStride);
  const source = footage(clip.slice(0, frames), asked);
  return job({ edit: { ...source, strength, ...(mask && { mask }) } }, frames, {}, [
    { kind: "changed", frames },
  ]);
}

/** A frame of the film from the model's `index`th. */
export function joined({ frames, head, tail }: Job, index: number, made: Pixels): Pixels {
  const from = head[index];
  if (from) {
    return mixed(from, made, (index + 1) / (head.length + 1));
  }
  const place = index - (frames - tail.length);
  const to = tail[place];
  return to ? mixed(made, to, (place + 1) / (tail.length + 1)) : made;
}

/** Where a clip may change, as plain choices: a half, the middle. */
export function plainMask(where: string, width: number, height: number): Mask {
  const inside = (x: number, y: number): boolean => {
    switch (where) {
      case "left":
        return x < 0.5;
      case "right":
        return x >= 0.5;
      case "top":
        return y < 0.5;
      case "bottom":
        return y >= 0.5;
      default:
        return Math.abs(x - 0.5) < 0.3 && Math.abs(y - 0.5) < 0.3;
    }
  };
  const values = Uint8Array.from({ length: width * height }, (_, place) =>
    inside(((place % width) + 0.5) / width, (Math.floor(place / width) + 0.5) / height) ? 255 : 0,
  );
  return { width, height, values };
}

/** A mask from a picture: what is light may change. */
export function pictureMask(picture: Pixels, width: number, height: number): Mask {
  const values = Uint8Array.from({ length: width * height }, (_, place) => {
    const [red = 0, green = 0, blue = 0] = picture.subarray(4 * place, 4 * place + 3);
    return 0.299 * red + 0.587 * green + 0.114 * blue;
  });
  return { width, height, values };
}

function job(
  options: Job["options"],
  frames: number,
  beside: Partial<Pick<Job, "before" | "head" | "tail" | "after">>,
  parts: readonly Part[],
): Job {
  const none = { before: [], head: [], tail: [], after: [] };
  return { options, frames, ...none, ...beside, parts: parts.filter((part) => part.frames > 0) };
}

/** The largest `stride * n + 1` up to `count`. */
function largest(count: number, stride: number): number {
  return count < 1 ? 0 : Math.floor((count - 1) / stride) * stride + 1;
}

/** Whole latent frames of a clip that is given at the end; a single picture stands for one. */
function whole(count: number, stride: number): number {
  return count < stride ? Math.min(count, 1) : Math.floor(count / stride) * stride;
}

function footage(frames: readonly Pixels[], { width, height }: Asked): Footage {
  const rgba = new Uint8ClampedArray(frames.length * width * height * 4);
  frames.forEach((frame, index) => rgba.set(frame, index * width * height * 4));
  return { width, height, rgba };
}

/** `share` of `to`, the rest of `from`. */
function mixed(from: Pixels, to: Pixels, share: number): Pixels {
  return from.map((value, byte) => value + ((to[byte] ?? value) - value) * share);
}

function invalid(option: string, expected: string, found: string): KinetoscopeError {
  return new KinetoscopeError("option_invalid", `${option} is ${found}, expected ${expected}`, {
    option,
    expected,
    found,
  });
}
