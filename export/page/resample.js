/**
 * Scaling as the training data was: the middle of a picture, by Lanczos' kernel of three lobes,
 * antialiased, first across and then down, each rounded to whole levels.
 */

const LOBES = 3;

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const kernel = (x) => (Math.abs(x) < LOBES ? sinc(x) * sinc(x / LOBES) : 0);

/** The largest box of this ratio in the middle of a picture: [left, top, width, height]. */
export function middleOf([width, height], [wide, high]) {
  const ratio = wide / high;
  const box = width / height >= ratio ? [ratio * height, height] : [width, width / ratio];
  return [(width - box[0]) / 2, (height - box[1]) / 2, ...box];
}

/** Weights of each of `size` new values: where they begin, and which they are. */
function weightsOf(length, start, extent, size) {
  const scale = extent / size;
  const reach = LOBES * Math.max(scale, 1);
  return Array.from({ length: size }, (_, place) => {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const last = Math.min(length, Math.trunc(centre + reach + 0.5));
    const values = Array.from({ length: last - first }, (_, at) => (
      kernel((first + at - centre + 0.5) / Math.max(scale, 1))));
    const sum = values.reduce((total, value) => total + value, 0);
    return { first, values: values.map((value) => value / sum) };
  });
}

const level = (value) => Math.min(255, Math.max(0, Math.round(value)));

/** A plane of `width` columns whose rows are scaled, or, with `down`, its columns. */
function scaled(plane, width, height, weights, down) {
  const [columns, rows] = down ? [width, weights.length] : [weights.length, height];
  const step = down ? width : 1;
  const result = new Uint8Array(columns * rows);
  for (let row = 0, to = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1, to += 1) {
      const { first, values } = weights[down ? row : column];
      let from = down ? first * width + column : row * width + first;
      let sum = 0;
      for (const value of values) {
        sum += value * plane[from];
        from += step;
      }
      result[to] = level(sum);
    }
  }
  return result;
}

/** A plane of bytes, the box of it that is [left, top, width, height], as one of another size. */
export function resample(plane, [width, height], [left, top, wide, high], [toWidth, toHeight]) {
  const across = weightsOf(width, left, wide, toWidth);
  const down = weightsOf(height, top, high, toHeight);
  const narrow = scaled(plane, width, height, across, false);
  return scaled(narrow, toWidth, height, down, true);
}
