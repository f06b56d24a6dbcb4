/** The decoder graph: noise and what is given in, pictures out. */

import { checkProbe } from "./probe.js";
import { givenInputs, openGraph, rowsOf } from "./runtime.js";

/** Makes `decode(noises, given)`: Float32Arrays of noise, given one row each or one for all. */
export async function openDecoder(manifest, advance) {
  const { image_shape: shape, noise_dim: dim, given: kinds } = manifest;
  const graph = await openGraph("decoder.onnx", manifest, advance);

  async function run(noises, given) {
    const noise = rowsOf("float32", Float32Array, noises, [dim]);
    return (await graph({ noise, ...givenInputs(kinds, given) })).image.data;
  }

  await checkProbe(run, manifest);
  return async function decode(noises, given, rows = noises.map(() => given)) {
    const bytes = await run(noises, rows);
    return noises.map((_, row) => toPicture(bytes, row, shape));
  };
}

/** Image `row` of channel-first bytes; grey unless there are three channels or more. */
export function toPicture(bytes, row, [channels, height, width]) {
  const area = height * width;
  const start = row * channels * area;
  const [green, blue] = channels < 3 ? [0, 0] : [area, 2 * area];
  const picture = new ImageData(width, height);
  for (let from = start, to = 0; from < start + area; from += 1, to += 4) {
    picture.data[to] = bytes[from];
    picture.data[to + 1] = bytes[from + green];
    picture.data[to + 2] = bytes[from + blue];
    picture.data[to + 3] = 255;
  }
  return picture;
}
