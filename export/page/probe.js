/** Whether this browser computes what the exported file says that its graph gives. */

import { attributesOf } from "./attributes.js";
import { standardNormal } from "./noise.js";

const MOST = 4; // images that are compared
const PIXELS = 2 ** 14; // of them together, or one image
const VALUES = 256; // kept of each
const GREY_LEVELS = { most: 6, unmeasured: 5 };

/**
 * Draws the probe's images by `run(noises, given)`, which gives the bytes of all, and compares them
 * with `manifest.probe`. A file of an earlier version has none.
 */
export async function checkProbe(run, manifest) {
  const { probe, image_shape: [, height, width], noise_dim: dim } = manifest;
  if (!probe) return;
  const count = Math.max(1, Math.min(MOST, Math.floor(PIXELS / (height * width))));
  const rows = Array.from({ length: count }, (_, row) => row);
  const given = rows.map((row) => attributesOf(manifest).map(({ labels, mean }) => (
    labels.length > 0 ? Math.floor((row * labels.length) / count) : mean)));
  const found = await run(rows.map((row) => standardNormal(0n, row, dim)), given);
  const expected = Uint8Array.from(atob(probe.image), (byte) => byte.charCodeAt(0));
  const off = Math.max(...rows.map((row) => difference(found, expected, row, count)));
  const limit = Math.min(probe.limits?.image ?? GREY_LEVELS.unmeasured, GREY_LEVELS.most);
  if (!(off <= limit)) {
    throw new Error(`this browser computes other images, ${off.toFixed(1)} grey levels off`);
  }
}

/** Mean difference of an image from the values that are kept of it. */
function difference(found, expected, row, count) {
  const size = found.length / count;
  const step = size > VALUES ? Math.ceil(size / VALUES) | 1 : 1;
  const kept = Math.ceil(size / step);
  if (expected.length !== count * kept) return NaN;
  let sum = 0;
  for (let i = 0; i < kept; i += 1) {
    sum += Math.abs(found[row * size + i * step] - expected[row * kept + i]);
  }
  return sum / kept;
}
