/** What work.js draws of the page's state, the image on view first. */

import { QUANTILES, STEPS } from "./paths.js";
import { makeMap } from "./plane.js";

export const SAMPLES = 24;
const MAP_CELLS = 11;
const LATER = { pause: 120, slowest: 4000 }; // milliseconds: what need not follow a slider

/** `noiseOf(number)` is the noise of a sample, `wayAt(t)` that on the way between two. */
export function makeJobs({ manifest, state, strips, canvases, noiseOf, wayAt }) {
  const changed = (values) => {
    const noise = state.noise.slice();
    for (const [number, value] of values) noise[number] = value;
    return noise;
  };
  const tempered = (noise) => noise.map((value) => value * Math.fround(state.temperature));
  const onPlane = (...point) => tempered(changed(state.axes.map((axis, which) => [axis, point[which]])));
  const image = canvases.image.getContext("2d");
  const defaults = { given: () => state.given, pause: 0, slowest: Infinity };
  const jobs = {
    image: {
      count: 1,
      noise: () => tempered(state.noise),
      paint: (_, picture) => image.putImageData(picture, 0, 0),
    },
    samples: {
      count: SAMPLES,
      noise: (number) => tempered(noiseOf(number)),
      paint: strips.samples.paint,
    },
    between: {
      count: STEPS,
      noise: (number) => tempered(wayAt(number / (STEPS - 1))),
      paint: strips.between.paint,
    },
    along: {
      count: QUANTILES.length,
      noise: (number) => tempered(changed([[state.latent, QUANTILES[number][1]]])),
      paint: strips.along.paint,
      ...LATER,
    },
    map: makeMap(canvases.map, manifest.image_shape, MAP_CELLS, onPlane),
  };
  return Object.fromEntries(
    Object.entries(jobs).map(([name, job]) => [name, { ...defaults, ...job }]));
}
