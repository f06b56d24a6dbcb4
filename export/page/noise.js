/**
 * Gaussian noise by counter: image i of a seed is the same here and in `distvae sample`.
 *
 * The raw words are the Philox4x64-10 stream of numpy (Salmon et al. 2011, "Parallel random
 * numbers: as easy as 1, 2, 3"); the normals are made from them by the Box-Muller transform.
 */

const MASK = (1n << 64n) - 1n;
const ROUNDS = 10;
const MULTIPLIERS = [0xd2e7470ee14c6c93n, 0xca5a826395121157n];
const WEYL = [0x9e3779b97f4a7c15n, 0xbb67ae8584caa73bn];
const WORDS = 4; // one counter becomes four 64-bit words
const RADIANS_PER_STEP = 2 * Math.PI * 2 ** -53;

/** Seeds are numpy's Philox keys: 0 to 2^128 - 1. */
export const SEEDS = 1n << 128n;

/** The four words of a counter of up to 256 bits. */
export function philox(seed, counter) {
  let [a, b, c, d] = [0n, 64n, 128n, 192n].map((shift) => (counter >> shift) & MASK);
  let [left, right] = [seed & MASK, (seed >> 64n) & MASK];
  for (let round = 0; round < ROUNDS; round += 1) {
    const first = a * MULTIPLIERS[0];
    const second = c * MULTIPLIERS[1];
    [a, b, c, d] = [(second >> 64n) ^ b ^ left, second & MASK, (first >> 64n) ^ d ^ right, first & MASK];
    left = (left + WEYL[0]) & MASK;
    right = (right + WEYL[1]) & MASK;
  }
  return [a, b, c, d];
}

/** Noise vector `number` of a seed: a Float32Array of length `dim`. */
export function standardNormal(seed, number, dim) {
  const counts = Math.ceil(dim / WORDS);
  const normals = new Float32Array(counts * WORDS);
  for (let count = 0; count < counts; count += 1) {
    // numpy counts on before it draws, so its first block is that of counter 1
    const words = philox(seed, BigInt(number) * BigInt(counts) + BigInt(count) + 1n);
    for (let pair = 0; pair < WORDS; pair += 2) {
      const radius = Math.sqrt(-2 * Math.log((Number(words[pair] >> 11n) + 1) * 2 ** -53));
      const angle = Number(words[pair + 1] >> 11n) * RADIANS_PER_STEP;
      normals[count * WORDS + pair] = radius * Math.cos(angle);
      normals[count * WORDS + pair + 1] = radius * Math.sin(angle);
    }
  }
  return normals.slice(0, dim);
}
