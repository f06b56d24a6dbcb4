/** A file of the user's as the bytes that the encoder takes, and what was done to it in words. */

import { middleOf, resample } from "./resample.js";

const MOST_PIXELS = 5e7;
const GREY = [19595, 38470, 7471]; // of red, green and blue, in 65536ths (ITU-R 601)
const KINDS = { 1: "grey", 3: "in colour" };

/** Whether a model takes pictures that a browser can open. */
export const takesPictures = ([channels]) => channels in KINDS;

/** Channel-first bytes of a file, and words of how they were made. */
export async function readPicture(file, shape) {
  const [channels, height, width] = shape;
  const { planes, size, clear } = await decoded(file);
  const done = [];
  let grey = planes.slice(1).every((plane) => plane.every((value, at) => value === planes[0][at]));
  let chosen = channels === 1 && !grey ? [toGrey(planes)] : planes.slice(0, channels);
  if (channels === 1 && !grey) done.push("turned to grey");
  if (channels === 3 && grey) done.push("grey, where the model knows colour");
  if (clear) done.push("what is transparent made black");
  if (size[0] !== width || size[1] !== height) {
    const box = middleOf(size, [width, height]);
    if (box[0] > 0 || box[1] > 0) done.push("cut to its middle");
    done.push(`resized to ${width} \u00d7 ${height}`);
    chosen = chosen.map((plane) => resample(plane, size, box, [width, height]));
  }
  const bytes = new Uint8Array(channels * height * width);
  chosen.forEach((plane, channel) => bytes.set(plane, channel * height * width));
  const words = `${file.name}, ${size[0]} \u00d7 ${size[1]}: ${done.join(", ") || "taken as it is"}`;
  return { bytes, words, name: file.name };
}

/** Red, green and blue of a file, transparent parts on black. */
async function decoded(file) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(file, options).catch(() => {
    const kind = file.type || "a file of no kind that is known";
    throw new Error(`${file.name} is no picture that this browser opens (${kind}); take a PNG, JPEG or WebP`);
  });
  const size = [bitmap.width, bitmap.height];
  const area = size[0] * size[1];
  if (area > MOST_PIXELS) {
    throw new Error(`${file.name} has ${size.join(" \u00d7 ")} pixels; take one of at most ${MOST_PIXELS / 1e6} million`);
  }
  const context = new OffscreenCanvas(...size).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, ...size);
  const planes = [0, 1, 2].map(() => new Uint8Array(area));
  let clear = false;
  for (let at = 0, from = 0; at < area; at += 1, from += 4) {
    const alpha = data[from + 3];
    clear ||= alpha < 255;
    for (let band = 0; band < 3; band += 1) planes[band][at] = Math.round((data[from + band] * alpha) / 255);
  }
  return { planes, size, clear };
}

function toGrey([red, green, blue]) {
  return red.map((value, at) => (
    (value * GREY[0] + green[at] * GREY[1] + blue[at] * GREY[2] + 0x8000) >> 16));
}
