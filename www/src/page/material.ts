/** What a visitor brings: a picture or a clip, from a file or from the screen. */
import { KinetoscopeError } from "../errors.js";
import type { Fit } from "../footage.js";
import type { Clip } from "../video.js";

/** The pixels of one frame, `height * width * 4` bytes. */
export type Pixels = Clip["frames"][number];

export type Material =
  | { readonly kind: "picture"; readonly name: string; readonly picture: Blob | ImageData }
  | { readonly kind: "clip"; readonly name: string; readonly clip: File | Clip };

/** What is to become of it. */
export interface Shape {
  readonly width: number;
  readonly height: number;
  readonly fps: number;
  readonly fit: Fit;
  /** Most frames to take, from the beginning. */
  readonly most: number;
}

/** Takes a file for what its type says it is. Throws `file_invalid` for what is neither. */
export function materialOf(file: File): Material {
  if (file.type.startsWith("image/")) {
    return { kind: "picture", name: file.name, picture: file };
  }
  if (file.type.startsWith("video/")) {
    return { kind: "clip", name: file.name, clip: file };
  }
  const reason = "it is neither a picture nor a clip";
  throw new KinetoscopeError("file_invalid", `${file.name} cannot be used: ${reason}`, {
    path: file.name,
    reason,
  });
}

/** Its frames, in the shape asked for; one for a picture. Rejects with `file_invalid` for what does not decode. */
export async function framesOf(material: Material, shape: Shape): Promise<Pixels[]> {
  // The decoders are only fetched by those who bring something.
  const { readClip, readPicture } = await import("../footage.js");
  const { width, height, fps, fit, most } = shape;
  if (material.kind === "picture") {
    return split(await readPicture(material.picture, { width, height, fit }), 1);
  }
  const { clip } = material;
  if (clip instanceof File) {
    const footage = await readClip(clip, { width, height, fps, fit, frames: most });
    return split(footage, footage.rgba.length / (width * height * 4));
  }
  const count = Math.min(most, Math.max(1, Math.round((clip.frames.length * fps) / clip.fps)));
  const frames: Pixels[] = [];
  for (let index = 0; index < count; index++) {
    const frame = clip.frames[Math.floor(((index + 0.5) * clip.fps) / fps)];
    if (frame) {
      const image = new ImageData(frame, clip.width, clip.height);
      const same = clip.width === width && clip.height === height;
      frames.push(...(same ? [frame] : split(await readPicture(image, { width, height, fit }), 1)));
    }
  }
  return frames;
}

function split({ rgba }: { rgba: Uint8Array | Uint8ClampedArray }, count: number): Pixels[] {
  const length = rgba.length / count;
  return Array.from({ length: count }, (_, k) =>
    Uint8ClampedArray.from(rgba.subarray(k * length, (k + 1) * length)),
  );
}
