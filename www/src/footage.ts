/** Pictures and clips from files, canvases or elements, brought to the size of the clip that they are given to. */
import { BlobSource, CanvasSink, Input, MATROSKA, MP4, MPEG_TS, QTFF, WEBM } from "mediabunny";
import { KinetoscopeError } from "./errors.js";
import type { Footage } from "./messages.js";

/** The containers of video; mediabunny knows others too, of sound alone. */
const FORMATS = [MP4, QTFF, MATROSKA, WEBM, MPEG_TS];

/** How a picture of another shape is brought to the clip's: filling it and cut off, whole with black beside it, or out of shape. */
export type Fit = "cover" | "contain" | "stretch";

/** What to make of a picture. */
export interface FootageOptions {
  /** Pixels of the clip. */
  readonly width: number;
  readonly height: number;
  /** Default `cover`. */
  readonly fit?: Fit;
}

/** What to make of a clip. */
export interface ClipFootageOptions extends FootageOptions {
  /** Pictures a second to take: the model's. */
  readonly fps: number;
  /** Most pictures to take; all that the clip has, if left out. */
  readonly frames?: number;
}

type Canvas = HTMLCanvasElement | OffscreenCanvas;

/** A picture: a file, an element, a canvas. Rejects with `file_invalid` for what does not decode. */
export async function readPicture(picture: ImageBitmapSource, options: FootageOptions): Promise<Footage> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(picture);
  } catch (thrown) {
    throw invalid(picture, thrown);
  }
  const { width, height, fit = "cover" } = options;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) {
    throw invalid(picture, "a 2D canvas is not available");
  }
  context.fillStyle = "black";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, ...placed(bitmap, { width, height }, fit));
  bitmap.close();
  return { width, height, rgba: context.getImageData(0, 0, width, height).data };
}

/** A clip in a file that the browser can decode. Rejects with `file_invalid` for any other, and where it has no picture. */
export async function readClip(file: Blob, options: ClipFootageOptions): Promise<Footage> {
  const { width, height, fit = "cover", fps, frames = Infinity } = options;
  const input = new Input({ formats: FORMATS, source: new BlobSource(file) });
  try {
    const track = await input.getPrimaryVideoTrack();
    if (!track || !(await track.canDecode())) {
      throw new Error(track ? "this browser does not decode its codec" : "there are no pictures in it");
    }
    const sink = new CanvasSink(track, { width, height, fit: fit === "stretch" ? "fill" : fit, poolSize: 2 });
    const [start, end] = [await track.getFirstTimestamp(), await track.computeDuration()];
    // A time on the border of two pictures would take the one before it.
    const count = Math.min(frames, Math.max(1, Math.round((end - start) * fps)));
    const times = Array.from({ length: count }, (_, index) => start + (index + 0.5) / fps);
    const rgba = new Uint8ClampedArray(count * width * height * 4);
    let taken = 0;
    for await (const picture of sink.canvasesAtTimestamps(times)) {
      if (picture) {
        rgba.set(pixels(picture.canvas, width, height), taken * width * height * 4);
        taken += 1;
      }
    }
    if (taken === 0) {
      throw new Error("none of its pictures decodes");
    }
    return { width, height, rgba: rgba.subarray(0, taken * width * height * 4) };
  } catch (thrown) {
    throw invalid(file, thrown);
  } finally {
    input.dispose();
  }
}

/** Where a picture of one size is drawn in another: x, y, width, height. */
export function placed(
  from: { readonly width: number; readonly height: number },
  to: { readonly width: number; readonly height: number },
  fit: Fit,
): [x: number, y: number, width: number, height: number] {
  if (fit === "stretch") {
    return [0, 0, to.width, to.height];
  }
  const [across, down] = [to.width / from.width, to.height / from.height];
  const scale = fit === "cover" ? Math.max(across, down) : Math.min(across, down);
  const [width, height] = [from.width * scale, from.height * scale];
  return [(to.width - width) / 2, (to.height - height) / 2, width, height];
}

function pixels(canvas: Canvas, width: number, height: number): Uint8ClampedArray {
  const context = canvas.getContext("2d") as
    CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D | null;
  if (!context) {
    throw new Error("a 2D canvas is not available");
  }
  return context.getImageData(0, 0, width, height).data;
}

function invalid(source: unknown, thrown: unknown): KinetoscopeError {
  const path = source instanceof File ? source.name : "the picture";
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  return new KinetoscopeError("file_invalid", `${path} cannot be read: ${reason}`, { path, reason });
}
