/** A slider for each number of the noise: those that say most of an image first. */

import { clamp, REACH } from "./plane.js";

const DEAD = 0.01; // nats; below, a latent says nothing of an image
const FIRST = 16; // sliders that are seen without asking for more

/** With a minus sign, and none before zero. */
const shown = (value) => value.toFixed(2).replace(/^-(?=.*[1-9])/, "\u2212").replace("-", "");

/** The numbers of the noise, the highest rate first; before them those whose rate is not known. */
export function orderOf(dim, rates) {
  const numbers = Array.from({ length: dim }, (_, number) => number);
  if (!rates) return numbers;
  return numbers.sort((a, b) => (rates[b] ?? Infinity) - (rates[a] ?? Infinity) || a - b);
}

/** What a number of the noise is called. */
export const nameOf = (number) => `latent ${number}`;

/** The same with its rate, where `rates` has one. */
export function wholeNameOf(number, rates) {
  if (!rates) return nameOf(number);
  if (rates[number] === null) return `${nameOf(number)}, chooses a component`;
  return `${nameOf(number)}, ${rates[number].toFixed(2)} nats`;
}

/**
 * Fills the section; `move(number, value)` is called with what the user chose. Gives `show(noise)`
 * and `mark(numbers)`, which tells those on the plane apart.
 */
export function makeSliders(section, order, rates, move) {
  const template = section.querySelector("template");
  const sliders = [];
  function add(number, place) {
    const row = template.content.cloneNode(true);
    const slider = row.querySelector("input");
    Object.assign(slider, { min: -REACH, max: REACH, step: 0.01 });
    slider.setAttribute("aria-label", wholeNameOf(number, rates));
    slider.addEventListener("input", () => move(number, slider.valueAsNumber));
    row.querySelector("span").textContent = number;
    const rate = rates?.[number];
    row.querySelector("small").textContent = rate === undefined ? "" : (rate?.toFixed(2) ?? "choice");
    row.firstElementChild.title = wholeNameOf(number, rates);
    place.append(row);
    sliders[number] = slider;
  }
  const dead = order.filter((number) => rates && rates[number] !== null && rates[number] < DEAD);
  const alive = order.filter((number) => !dead.includes(number));
  const groups = { first: alive.slice(0, FIRST), more: alive.slice(FIRST), dead };
  for (const [name, numbers] of Object.entries(groups)) {
    const place = section.querySelector(`[data-sliders=${name}]`);
    numbers.forEach((number) => add(number, place));
    if (name !== "first") place.parentElement.hidden = numbers.length === 0;
  }
  const latents = (count) => `latent${count === 1 ? "" : "s"}`;
  const { length: more } = groups.more;
  section.querySelector("#more summary").textContent = `${more} more ${latents(more)}`;
  section.querySelector("#dead summary").textContent = (
    `${dead.length} ${latents(dead.length)} that the model does not use, below ${DEAD} nats`);
  return {
    show(noise) {
      sliders.forEach((slider, number) => {
        slider.value = clamp(noise[number]);
        slider.nextElementSibling.value = shown(noise[number]);
      });
    },
    mark(numbers) {
      sliders.forEach((slider, number) => {
        slider.parentElement.classList.toggle("on-plane", numbers.includes(number));
      });
    },
  };
}
