/** What an image is given: one label, or several labels and numbers, each with its controls. */

import { makeLabels } from "./labels.js";

const REACH = 3; // deviations from the mean, to either side
const STEPS = 200;

/** The attributes of a model; one label has no name. */
export function attributesOf({ label_names: names, attributes = [] }) {
  return names.length > 0 ? [{ name: "", labels: names, missing: false }] : attributes;
}

/** What stands for them at first: the first label, and numbers at their mean. */
export const firstOf = (attributes) => attributes.map(({ labels, mean }) => (labels.length ? 0 : mean));

/** A value in words; null is not known. */
export function wordOf({ labels }, value) {
  if (value === null) return "any";
  return labels.length > 0 ? labels[value] : String(Number(value.toPrecision(4)));
}

/**
 * Fills the section, and copies of it for further attributes; `choose(place, value)` is called with
 * the number of a label, a number, or null for what is not known. Returns `press(key)`, and
 * `set(place, label)`, which chooses as the user would.
 */
export function makeAttributes(section, attributes, choose) {
  const copies = attributes.slice(1).map(() => section.cloneNode(true));
  section.after(...copies);
  section.hidden = attributes.length === 0;
  const controls = [section, ...copies].slice(0, attributes.length).map((own, place) => {
    const { name, labels, missing } = attributes[place];
    own.id = place ? `labels-${place}` : own.id;
    const heading = own.querySelector("h2");
    heading.id = `labels-heading-${place}`;
    heading.textContent = name || heading.textContent;
    for (const part of [own, own.querySelector(".chips")]) {
      part.setAttribute("aria-labelledby", heading.id);
    }
    own.querySelector("template").content.querySelector("input").name = `given-${place}`;
    if (labels.length > 0) return makeLabels(own, labels, (value) => choose(place, value), missing);
    makeNumber(own, attributes[place], (value) => choose(place, value));
    return { press: () => false };
  });
  return {
    press: (key) => controls.some(({ press }) => press(key)),
    set: (place, label) => controls[place].select(label),
  };
}

/** A slider about the mean, and a box that says that the number is not known. */
function makeNumber(section, { name, mean, scale, missing }, choose) {
  section.classList.add("few");
  section.querySelector("input[type=search]").hidden = true;
  const row = document.createElement("label");
  row.className = "number";
  const slider = Object.assign(document.createElement("input"), {
    type: "range",
    min: mean - REACH * scale,
    max: mean + REACH * scale,
    step: (2 * REACH * scale) / STEPS,
    value: mean,
  });
  slider.setAttribute("aria-label", name);
  const output = document.createElement("output");
  row.append(slider, output);
  section.querySelector(".chips").replaceWith(row);
  const chip = section.querySelector("template").content.cloneNode(true);
  const any = chip.querySelector("input");
  any.type = "checkbox";
  chip.querySelector("span").textContent = "any";
  if (missing) row.after(chip);
  function show() {
    const value = any.checked ? null : slider.valueAsNumber;
    output.value = wordOf({ labels: [] }, value);
    return value;
  }
  slider.addEventListener("input", () => {
    any.checked = false;
    choose(show());
  });
  any.addEventListener("change", () => choose(show()));
  show();
}
