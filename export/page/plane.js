/** A plane of two of the noise dimensions: drag the point, or move it with the arrow keys. */

const STEP = 0.05;
const LONG_STEP = 0.5; // with Shift
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** Values on the plane and on the sliders go from -REACH to REACH. */
export const REACH = 3;
export const clamp = (value) => Math.min(REACH, Math.max(-REACH, value));

/** Makes `show(x, y)`; `move(x, y)` is called with what the user chose. */
export function makePlane(element, move) {
  const point = element.querySelector(".point");
  let at = [0, 0];

  function fromPointer(event) {
    const box = element.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 2 - 1;
    const y = 1 - ((event.clientY - box.top) / box.height) * 2;
    move(clamp(x * REACH), clamp(y * REACH));
  }

  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    fromPointer(event);
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) fromPointer(event);
  });
  element.addEventListener("keydown", (event) => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault();
    const [right, up] = ARROWS[event.key];
    const step = event.shiftKey ? LONG_STEP : STEP;
    move(clamp(at[0] + right * step), clamp(at[1] + up * step));
  });

  return function show(x, y, names) {
    at = [x, y];
    point.style.left = `${50 + (clamp(x) / REACH) * 50}%`;
    point.style.top = `${50 - (clamp(y) / REACH) * 50}%`;
    element.setAttribute("aria-valuenow", clamp(x).toFixed(2));
    const words = `${names[0]} ${x.toFixed(2)}, ${names[1]} ${y.toFixed(2)}`;
    element.setAttribute("aria-valuetext", words);
  };
}

/** A job of work.js that draws what lies where on the plane, `cells` to a side. */
export function makeMap(canvas, [, height, width], cells, noiseAt) {
  const scale = Math.min(1, 64 / Math.max(height, width));
  const cell = [Math.ceil(width * scale), Math.ceil(height * scale)];
  [canvas.width, canvas.height] = [cells * cell[0], cells * cell[1]];
  const one = new OffscreenCanvas(width, height);
  const middle = (number) => (2 * REACH * (number + 0.5)) / cells - REACH;
  return {
    count: cells * cells,
    pause: 120, // milliseconds without a change
    slowest: 2000, // milliseconds; a slower decoder goes without
    noise: (number) => noiseAt(middle(number % cells), -middle(Math.floor(number / cells))),
    paint(number, picture) {
      one.getContext("2d").putImageData(picture, 0, 0);
      const corner = [(number % cells) * cell[0], Math.floor(number / cells) * cell[1]];
      canvas.getContext("2d").drawImage(one, ...corner, ...cell);
      if (number === cells * cells - 1) canvas.classList.add("fresh");
    },
  };
}
