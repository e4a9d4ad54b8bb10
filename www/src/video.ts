/** Saves a clip as a WebM file, with the browser's own video encoder. */
import {
  BufferTarget,
  Output,
  VideoSample,
  VideoSampleSource,
  WebMOutputFormat,
  getFirstEncodableVideoCodec,
} from "mediabunny";
import { KinetoscopeError } from "./errors.js";

/** A finished clip. */
export interface Clip {
  readonly width: number;
  readonly height: number;
  /** Frames a second. */
  readonly fps: number;
  /** Each `height * width * 4` bytes of RGBA. */
  readonly frames: readonly Uint8ClampedArray<ArrayBuffer>[];
}

/** Bits for each pixel of each frame: generated clips are small and short, so quality costs little. */
const BITS_PER_PIXEL = 0.5;
/** Encoders give up detail below this, however small the picture. */
const LEAST_BITRATE = 2_000_000;

/**
 * Encodes the clip as VP9, or as VP8 where the browser has no VP9 encoder. Rejects with `write_failed` where it has
 * neither.
 */
export async function encodeWebM({ width, height, fps, frames }: Clip): Promise<Blob> {
  const bitrate = Math.max(LEAST_BITRATE, width * height * fps * BITS_PER_PIXEL);
  const codec = await getFirstEncodableVideoCodec(["vp9", "vp8"], { width, height, bitrate });
  if (codec === null) {
    throw writeFailed("this browser encodes neither VP9 nor VP8; a current Chrome, Edge or Firefox does");
  }
  const target = new BufferTarget();
  const output = new Output({ format: new WebMOutputFormat(), target });
  try {
    const track = new VideoSampleSource({ codec, bitrate });
    output.addVideoTrack(track, { frameRate: fps });
    await output.start();
    for (const [index, rgba] of frames.entries()) {
      const timing = { timestamp: index / fps, duration: 1 / fps };
      const sample = new VideoSample(rgba, {
        format: "RGBA",
        codedWidth: width,
        codedHeight: height,
        ...timing,
      });
      await track.add(sample);
      sample.close();
    }
    await output.finalize();
  } catch (thrown) {
    await output.cancel().catch(() => undefined);
    throw writeFailed(thrown instanceof Error ? thrown.message : String(thrown));
  }
  if (target.buffer === null) {
    throw writeFailed("the encoder gave no bytes");
  }
  return new Blob([target.buffer], { type: "video/webm" });
}

function writeFailed(reason: string): KinetoscopeError {
  return new KinetoscopeError("write_failed", `the clip cannot be saved: ${reason}`, {
    path: "clip.webm",
    reason,
  });
}
