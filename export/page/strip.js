/** A row of pictures, each a button. */

/**
 * Fills an element with `count` canvases; `choose(number)` is called for the one that was pressed.
 * Gives `paint(number, picture)` and `mark(number)`, which shows which one is on view.
 */
export function makeStrip(element, template, { count, shape, nameOf, choose, captionOf = () => "" }) {
  const [, height, width] = shape;
  const cells = Array.from({ length: count }, (_, number) => {
    const cell = template.content.cloneNode(true).firstElementChild;
    cell.setAttribute("aria-label", nameOf(number));
    cell.addEventListener("click", () => choose(number));
    Object.assign(cell.querySelector("canvas"), { width, height });
    cell.querySelector("span").textContent = captionOf(number);
    element.append(cell);
    return cell;
  });
  const contexts = cells.map((cell) => cell.querySelector("canvas").getContext("2d"));
  return {
    paint: (number, picture) => contexts[number].putImageData(picture, 0, 0),
    mark: (chosen) => cells.forEach((cell, number) => {
      cell.setAttribute("aria-pressed", number === chosen);
    }),
  };
}
