/** What is shown, and what the controls change of it. */

import { attributesOf, firstOf, makeAttributes, wordOf } from "./attributes.js";
import { openDecoder, read } from "./decoder.js";
import { SEEDS, standardNormal } from "./noise.js";
import { clamp, makeMap, makePlane, REACH } from "./plane.js";
import { makeWork } from "./work.js";

const SAMPLES = 24;
const MAP_CELLS = 11;
const NEW_SEEDS = 1e6;
const SMOOTH_FROM = 128; // pixels; smaller images are shown with square pixels

const $ = (id) => document.getElementById(id);
const state = { given: [], seed: 0n, number: 0, noise: null, temperature: 1, axes: [0, 1] };
let manifest, attributes, ask, showPlane, pressLabel;
let sliders = [];
let cells = [];

/** A noise vector as the decoder takes it. */
const tempered = (noise) => noise.map((value) => value * Math.fround(state.temperature));
const dimName = (dim) => `noise ${dim}`;

function changed(...jobs) {
  if (jobs.includes("map")) $("map").classList.remove("fresh");
  jobs.forEach(ask);
  showWords();
}

function setNoise(noise, number) {
  Object.assign(state, { noise, number });
  sliders.forEach((_, dim) => showSlider(dim));
  showPoint();
  changed("image", "map");
}

function setSeed(seed) {
  state.seed = seed;
  $("seed").value = seed;
  $("seed").setCustomValidity("");
  setNoise(standardNormal(seed, 0, manifest.noise_dim), 0);
  changed("samples");
}

function setDimensions(values) {
  for (const [dim, value] of values) {
    state.noise[dim] = value;
    showSlider(dim);
  }
  state.number = null;
  showPoint();
  const onPlane = values.every(([dim]) => state.axes.includes(dim));
  changed("image", ...(onPlane ? [] : ["map"]));
}

function setTemperature(temperature) {
  state.temperature = temperature;
  $("temperature-value").value = temperature.toFixed(2);
  changed("image", "samples", "map");
}

function setAxis(which, dim) {
  if (state.axes[1 - which] === dim) state.axes[1 - which] = state.axes[which];
  state.axes[which] = dim;
  showAxes();
  showPoint();
  changed("map");
}

function showAxes() {
  [$("axis-x").value, $("axis-y").value] = state.axes;
  sliders.forEach((slider, number) => {
    slider.parentElement.classList.toggle("on-plane", state.axes.includes(number));
  });
}

function showSlider(dim) {
  const value = state.noise[dim];
  sliders[dim].value = clamp(value);
  sliders[dim].nextElementSibling.value = value.toFixed(2).replace("-", "\u2212");
}

function showPoint() {
  showPlane(...state.axes.map((dim) => state.noise[dim]), state.axes.map(dimName));
}

function showWords() {
  const zero = state.noise.every((value) => value === 0);
  const noise = zero ? "zero noise" : "your own noise";
  const from = state.number === null ? noise : `seed ${state.seed}, image ${state.number}`;
  $("shown-label").textContent = attributes.map((one, place) => (
    `${one.name && `${one.name} `}${wordOf(one, state.given[place])}`)).join(", ");
  $("shown-from").textContent = from;
  cells.forEach((cell, number) => cell.setAttribute("aria-pressed", number === state.number));
  $("command").replaceChildren(...command().flatMap((word) => [" ", spanOf(word)]).slice(1));
}

/** A label as a word of a command line: its name, quoted where a shell might misread it. */
function labelWord(name) {
  if (/^[\p{L}\p{N}_][\p{L}\p{N}_.-]*$/u.test(name)) return ` ${name}`;
  return `${name.startsWith("-") ? "=" : " "}'${name.replaceAll("'", "'\\''")}'`;
}

/** What is asked for of one attribute; in a list what has a comma stands in quotes. */
function entryOf(name, word) {
  const entry = name ? `${name}=${word}` : word;
  return name && /^\s|\s$|[,"]/.test(entry) ? `"${entry.replaceAll('"', '""')}"` : entry;
}

/** The command that draws the same samples. */
function command() {
  const asked = attributes.flatMap((one, place) => {
    const value = state.given[place];
    return value === null ? [] : [entryOf(one.name, wordOf(one, value))];
  });
  return [
    "distvae sample",
    ...(asked.length > 0 ? [`--label${labelWord(asked.join(","))}`] : []),
    `--count ${SAMPLES}`,
    `--seed ${state.seed}`,
    ...(state.temperature === 1 ? [] : [`--temperature ${state.temperature}`]),
  ];
}

/** What stays on one line as long as it fits. */
function spanOf(text) {
  const span = document.createElement("span");
  span.textContent = text;
  return span;
}

function describe() {
  const [channels, height, width] = manifest.image_shape;
  const kind = { 1: "grey", 3: "colour" }[channels] ?? `${channels} channels`;
  const labels = manifest.label_names.length;
  const names = attributes.filter(({ name }) => name).map(({ name }) => name);
  const facts = [
    `${attributes.length > 0 ? "Conditional VAE" : "VAE"} trained on ${manifest.data.source}`,
    `${width} \u00d7 ${height} ${kind}`,
    `${manifest.noise_dim} noise dimensions`,
    ...(labels > 0 ? [`${labels} labels`] : []),
    ...(names.length > 0 ? [`given ${names.join(", ")}`] : []),
    ...(manifest.precision === "fp32" ? [] : [manifest.precision]),
  ];
  $("facts").replaceChildren(...facts.map((fact) => {
    const item = document.createElement("li");
    item.textContent = fact;
    return item;
  }));
  $("label-keys").hidden = attributes.every((one) => one.labels.length === 0);
  document.title = `distvae \u2013 ${manifest.data.source}`;
}

function makeCanvases() {
  const [, height, width] = manifest.image_shape;
  const template = $("sample");
  for (let number = 0; number < SAMPLES; number += 1) {
    const cell = template.content.cloneNode(true).firstElementChild;
    cell.setAttribute("aria-label", `Image ${number}`);
    cell.addEventListener("click", () => {
      setNoise(standardNormal(state.seed, number, manifest.noise_dim), number);
    });
    $("samples").append(cell);
    cells.push(cell);
  }
  const canvases = [$("image"), ...cells.map((cell) => cell.firstElementChild)];
  for (const canvas of canvases) Object.assign(canvas, { width, height });
  document.body.classList.toggle("pixelated", Math.max(width, height) < SMOOTH_FROM);
  $("image").style.setProperty("--ratio", width / height);
  return canvases.map((canvas) => canvas.getContext("2d"));
}

function makeSliders() {
  const dims = Array.from({ length: manifest.noise_dim }, (_, dim) => dim);
  const template = $("slider");
  sliders = dims.map((dim) => {
    const row = template.content.cloneNode(true);
    const slider = row.querySelector("input");
    Object.assign(slider, { min: -REACH, max: REACH, step: 0.01 });
    slider.setAttribute("aria-label", dimName(dim));
    slider.addEventListener("input", () => setDimensions([[dim, slider.valueAsNumber]]));
    row.querySelector("span").textContent = dim;
    $("sliders").append(row);
    return slider;
  });
  for (const [which, axis] of [$("axis-x"), $("axis-y")].entries()) {
    axis.append(...dims.map((dim) => new Option(dimName(dim), dim)));
    axis.addEventListener("change", () => setAxis(which, Number(axis.value)));
  }
  document.body.classList.toggle("flat", dims.length <= 2);
  $("plane").parentElement.hidden = dims.length < 2;
  if (dims.length < 2) state.axes = [0, 0];
  showAxes();
}

function makeControls() {
  const onPlane = (x, y) => setDimensions([[state.axes[0], x], [state.axes[1], y]]);
  showPlane = makePlane($("plane"), onPlane);
  pressLabel = makeAttributes($("labels"), attributes, (place, value) => {
    state.given = Object.assign([...state.given], { [place]: value });
    changed("image", "samples", "map");
  });
  $("seed").addEventListener("input", () => {
    const text = $("seed").value.trim();
    const valid = /^\d+$/.test(text) && BigInt(text) < SEEDS;
    $("seed").setCustomValidity(valid ? "" : "A whole number from 0 to 2^128 - 1");
    if (valid) setSeed(BigInt(text));
  });
  $("temperature").addEventListener("input", (event) => setTemperature(event.target.valueAsNumber));
  $("new").addEventListener("click", drawNoise);
  $("reset").addEventListener("click", reset);
  $("save").addEventListener("click", save);
  document.addEventListener("keydown", press);
}

const drawNoise = () => setSeed(BigInt(Math.floor(Math.random() * NEW_SEEDS)));
const reset = () => setNoise(new Float32Array(manifest.noise_dim), null);

/** A name of a file for a label, another one for every label of the model. */
function fileName(name, number) {
  if (/^[\p{Ll}\p{N}]{1,64}$/u.test(name)) return name;
  return `label-${number}-${name.slice(0, 64).replace(/[^\p{L}\p{N}]+/gu, "_")}`;
}

function save() {
  $("image").toBlob((png) => {
    const link = document.createElement("a");
    const words = attributes.map((one, place) => fileName(wordOf(one, state.given[place]), state.given[place]));
    const label = words.join("-") || "image";
    const from = state.number === null ? "" : `-seed-${state.seed}-image-${state.number}`;
    link.download = `${label}${from}.png`;
    link.href = URL.createObjectURL(png);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

/** Keys that mean something to the control in focus are left to it. */
function press(event) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (target.matches("input[type=text], input[type=search], select")) return;
  if (key === " " && target.matches("button")) return;
  if (key.startsWith("Arrow") && target.matches("input")) return;
  const actions = { n: drawNoise, " ": drawNoise, r: reset };
  if (key in actions) actions[key]();
  else if (!pressLabel(key)) return;
  event.preventDefault();
}

function fail(error) {
  console.error(error);
  $("notice").hidden = false;
  $("notice").className = "error";
  $("notice-title").textContent = "This page cannot draw";
  const found = String(error.message ?? error).replace(/\.+$/, "");
  $("notice-text").textContent = `${found}. Reload the page; if that does not help, export the run `
    + "again, or open the page in a current browser.";
}

function report(busy) {
  $("page").setAttribute("aria-busy", busy);
}

async function start() {
  $("notice").className = "loading";
  manifest = await (await read("manifest.json")).json();
  attributes = attributesOf(manifest);
  state.given = firstOf(attributes);
  const decode = await openDecoder(manifest);
  describe();
  const [image, ...samples] = makeCanvases();
  const { noise_dim: dim } = manifest;
  const given = () => state.given;
  const noiseAt = (...point) => {
    const noise = state.noise.slice();
    state.axes.forEach((axis, which) => { noise[axis] = point[which]; });
    return tempered(noise);
  };
  const jobs = {
    image: {
      count: 1,
      noise: () => tempered(state.noise),
      paint: (_, picture) => image.putImageData(picture, 0, 0),
    },
    samples: {
      count: SAMPLES,
      noise: (number) => tempered(standardNormal(state.seed, number, dim)),
      paint: (number, picture) => samples[number].putImageData(picture, 0, 0),
    },
    map: makeMap($("map"), manifest.image_shape, MAP_CELLS, noiseAt),
  };
  const defaults = { given, pause: 0, slowest: Infinity };
  for (const name in jobs) jobs[name] = { ...defaults, ...jobs[name] };
  ask = makeWork(decode, jobs, { report, fail });
  makeSliders();
  makeControls();
  setSeed(0n);
  $("notice").hidden = true;
  $("page").hidden = false;
}

start().catch(fail);
