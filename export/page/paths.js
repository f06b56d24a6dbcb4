/** Ways through the noise: between two of its vectors, and along one of its numbers. */

export const STEPS = 11;

/** Where the pictures of a traversal lie: percent of what the prior draws is below, and the noise. */
export const QUANTILES = [
  [1, -2.3263478740408408], [5, -1.6448536269514722], [10, -1.2815515655446004],
  [20, -0.8416212335729143], [35, -0.38532046640756773], [50, 0], [65, 0.38532046640756773],
  [80, 0.8416212335729143], [90, 1.2815515655446004], [95, 1.6448536269514722],
  [99, 2.3263478740408408],
];

const dot = (a, b) => a.reduce((sum, value, at) => sum + value * b[at], 0);

/**
 * Makes `at(t)`, 0 to 1, from `a` to `b`: direction and length change evenly, since noise of many
 * numbers has nearly always the same length. The same as `Sampler.interpolate` in Python.
 */
export function greatCircle(a, b) {
  const lengths = [a, b].map((end) => Math.sqrt(dot(Array.from(end), end)));
  const unit = (vector, length) => Array.from(vector, (value) => value / (length || 1));
  const lone = unit(a.map((value, at) => value + b[at]), lengths[0] + lengths[1]);
  const units = lengths.every(Boolean) ? [unit(a, lengths[0]), unit(b, lengths[1])] : [lone, lone];
  const cosine = dot(...units);
  const across = units[1].map((value, at) => value - cosine * units[0][at]);
  const sine = Math.sqrt(dot(across, across));
  const angle = Math.atan2(sine, cosine);
  return function at(t) {
    if (t <= 0) return a.slice();
    if (t >= 1) return b.slice();
    const length = (1 - t) * lengths[0] + t * lengths[1];
    const [along, aside] = [Math.cos(t * angle), Math.sin(t * angle) / (sine || 1)];
    return Float32Array.from(units[0], (value, place) => length * (along * value + aside * across[place]));
  };
}
