/** The encoder graph: a picture in, the noise out that the decoder turns into its reconstruction. */

import { givenInputs, openGraph, rowsOf } from "./runtime.js";

/** Makes `encode(bytes, given)`: one picture, channel first, to a Float32Array for each row given. */
export async function openEncoder(manifest, advance) {
  const { image_shape: shape, noise_dim: dim, given: kinds } = manifest;
  const graph = await openGraph("encoder.onnx", manifest, advance);
  return async function encode(bytes, given) {
    const image = rowsOf("uint8", Uint8Array, given.map(() => bytes), shape);
    const { noise } = await graph({ image, ...givenInputs(kinds, given) });
    return given.map((_, row) => noise.data.slice(row * dim, (row + 1) * dim));
  };
}
