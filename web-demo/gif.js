import { GIFEncoder, applyPalette, quantize } from "./gifenc/gifenc.esm.js";

const COLORS = 256;

/** Encode a video, {frames, width, height, fps}, as an endless GIF with a palette for each frame. */
export function encodeGif({ frames, width, height, fps }) {
  const gif = GIFEncoder();
  for (const frame of frames) {
    const palette = quantize(frame, COLORS);
    gif.writeFrame(applyPalette(frame, palette), width, height, { palette, delay: 1000 / fps });
  }
  gif.finish();
  return new Blob([gif.bytes()], { type: "image/gif" });
}
