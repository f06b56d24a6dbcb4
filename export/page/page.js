/** What is shown, and what the controls change of it. */

import { attributesOf, firstOf, makeAttributes } from "./attributes.js";
import { openDecoder } from "./decoder.js";
import { makeJobs, SAMPLES } from "./jobs.js";
import { makeSliders, nameOf, orderOf, wholeNameOf } from "./latents.js";
import { makeProgress, read } from "./loading.js";
import { SEEDS, standardNormal } from "./noise.js";
import { makeOwn } from "./own.js";
import { greatCircle, QUANTILES, STEPS } from "./paths.js";
import { makePlane } from "./plane.js";
import { openRuntime } from "./runtime.js";
import { makeStrip } from "./strip.js";
import { commandOf, factsOf, fileName, givenWords, titleOf, wayWords } from "./words.js";
import { makeWork } from "./work.js";

const NEW_SEEDS = 1e6;
const SMOOTH_FROM = 128; // pixels; smaller images are shown with square pixels

const $ = (id) => document.getElementById(id);
const state = {
  given: [], seed: 0n, number: 0, origin: "", noise: null, temperature: 1, axes: [0, 1], ends: [], latent: 0,
};
let manifest, attributes, order, ask, showPlane, labels, sliders;
const strips = {};

const noiseOf = (number) => standardNormal(state.seed, number, manifest.noise_dim);
const wayAt = (t) => greatCircle(...state.ends.map(({ noise }) => noise))(t);

function changed(...jobs) {
  if (jobs.includes("map")) $("map").classList.remove("fresh");
  jobs.forEach(ask);
  showWords();
}

/** Shows the image of a noise: that of a sample's number, or of an origin in words. */
function setNoise(noise, number, origin = "") {
  Object.assign(state, { noise, number, origin });
  sliders.show(noise);
  showPoint();
  changed("image", "map", "along");
}

function setSeed(seed) {
  state.seed = seed;
  $("seed").value = seed;
  $("seed").setCustomValidity("");
  for (const end of [0, 1]) {
    if (!state.ends[end]?.chosen) setEnd(end, noiseOf(end), `seed ${seed}, image ${end}`, false);
  }
  setNoise(noiseOf(0), 0);
  changed("samples");
}

function setDimensions(values, origin = "") {
  const noise = state.noise.slice();
  for (const [dim, value] of values) noise[dim] = value;
  Object.assign(state, { noise, number: null, origin });
  sliders.show(noise);
  showPoint();
  const onPlane = values.every(([dim]) => state.axes.includes(dim));
  const onWay = values.every(([dim]) => dim === state.latent);
  changed("image", ...(onPlane ? [] : ["map"]), ...(onWay ? [] : ["along"]));
}

function setTemperature(temperature) {
  state.temperature = temperature;
  $("temperature-value").value = temperature.toFixed(2);
  changed("image", "samples", "map", "between", "along");
}

function setAxis(which, dim) {
  if (state.axes[1 - which] === dim) state.axes[1 - which] = state.axes[which];
  state.axes[which] = dim;
  showAxes();
  showPoint();
  changed("map");
}

function setEnd(end, noise, words, chosen = true) {
  state.ends[end] = { noise, words, chosen };
  if (state.ends.length < 2) return;
  const names = state.ends.map((one) => one.words);
  $("between").querySelector(".same").textContent = wayWords(manifest, attributes, names);
  ask("between");
}

function showWay(percent) {
  $("between").querySelector("input").value = percent;
  $("between").querySelector("output").value = `${Math.round(percent)} %`;
}

function goTo(percent) {
  showWay(percent);
  setNoise(wayAt(percent / 100), null, `${Math.round(percent)} % of the way`);
}

/** From a picture of the user's; the one before it is the other end of the way. */
function beginFrom({ noise, given, name }) {
  given.forEach((value, place) => {
    if (value !== state.given[place]) labels.set(place, value);
  });
  const before = state.ends[1];
  if (before.own) setEnd(0, before.noise, before.words);
  setEnd(1, noise, name);
  state.ends[1].own = true;
  showWay(100);
  setNoise(noise, null, name);
}

function showAxes() {
  [$("axis-x").value, $("axis-y").value] = state.axes;
  sliders.mark(state.axes);
}

function showPoint() {
  showPlane(...state.axes.map((dim) => state.noise[dim]), state.axes.map(nameOf));
}

function originWords() {
  if (state.number !== null) return `seed ${state.seed}, image ${state.number}`;
  return state.origin || (state.noise.every((value) => value === 0) ? "zero noise" : "your own noise");
}

function showWords() {
  $("shown-label").textContent = givenWords(attributes, state.given);
  $("shown-from").textContent = originWords();
  strips.samples.mark(state.number);
  const words = commandOf(attributes, state, SAMPLES).map((text) => (
    Object.assign(document.createElement("span"), { textContent: text })));
  $("command").replaceChildren(...words.flatMap((word) => [" ", word]).slice(1));
}

function describe() {
  const title = titleOf(manifest);
  document.title = `${title} \u2013 distvae`;
  document.querySelector("h1").textContent = title;
  $("facts").replaceChildren(...factsOf(manifest, attributes).map((fact) => (
    Object.assign(document.createElement("li"), { textContent: fact }))));
  $("label-keys").hidden = attributes.every((one) => one.labels.length === 0);
  $("rates").hidden = !manifest.rates;
  $("rates").textContent = "Beside its number stands the rate of a latent: the nats that it says of an "
    + `image, the mean over ${manifest.rates_of}.`;
}

function makePictures() {
  const shape = manifest.image_shape;
  const [, height, width] = shape;
  Object.assign($("image"), { width, height });
  document.body.classList.toggle("pixelated", Math.max(width, height) < SMOOTH_FROM);
  $("image").style.setProperty("--ratio", width / height);
  const make = (element, options) => makeStrip(element, $("picture"), { shape, ...options });
  strips.samples = make($("samples"), {
    count: SAMPLES,
    nameOf: (number) => `Image ${number}`,
    choose: (number) => setNoise(noiseOf(number), number),
  });
  const percent = (number) => (100 * number) / (STEPS - 1);
  strips.between = make($("between").querySelector(".strip"), {
    count: STEPS,
    nameOf: (number) => `${percent(number)} % of the way`,
    choose: (number) => goTo(percent(number)),
  });
  const below = (number) => `${QUANTILES[number][0]} %`;
  strips.along = make($("along").querySelector(".strip"), {
    count: QUANTILES.length,
    nameOf: (number) => `${below(number)} of the prior below`,
    captionOf: below,
    choose: (number) => setDimensions(
      [[state.latent, QUANTILES[number][1]]], `latent ${state.latent} at ${below(number)}`),
  });
}

function makeLatents() {
  const dim = manifest.noise_dim;
  order = orderOf(dim, manifest.rates);
  const known = order.filter((number) => manifest.rates?.[number] !== null);
  state.axes = dim < 2 ? [0, 0] : known.slice(0, 2);
  state.latent = known[0];
  sliders = makeSliders($("sliders"), order, manifest.rates, (number, value) => setDimensions([[number, value]]));
  const options = (name) => order.map((number) => new Option(name(number, manifest.rates), number));
  for (const [which, axis] of [$("axis-x"), $("axis-y")].entries()) {
    axis.append(...options(nameOf));
    axis.addEventListener("change", () => setAxis(which, Number(axis.value)));
  }
  const latent = $("along").querySelector("select");
  latent.append(...options(wholeNameOf));
  latent.value = state.latent;
  latent.addEventListener("change", () => {
    state.latent = Number(latent.value);
    changed("along");
  });
  document.body.classList.toggle("flat", dim <= 2);
  $("plane").parentElement.hidden = dim < 2;
  showPlane = makePlane($("plane"), (x, y) => setDimensions([[state.axes[0], x], [state.axes[1], y]]));
  showAxes();
}

function makeControls() {
  labels = makeAttributes($("labels"), attributes, (place, value) => {
    state.given = Object.assign([...state.given], { [place]: value });
    changed("image", "samples", "map", "between", "along");
  });
  $("seed").addEventListener("input", () => {
    const text = $("seed").value.trim();
    const valid = /^\d+$/.test(text) && BigInt(text) < SEEDS;
    $("seed").setCustomValidity(valid ? "" : "A whole number from 0 to 2^128 - 1");
    if (valid) setSeed(BigInt(text));
  });
  $("temperature").addEventListener("input", (event) => setTemperature(event.target.valueAsNumber));
  $("between").querySelector("input").addEventListener("input", ({ target }) => goTo(target.valueAsNumber));
  for (const button of $("between").querySelectorAll("button[data-end]")) {
    button.addEventListener("click", () => setEnd(Number(button.dataset.end), state.noise, originWords()));
  }
  $("new").addEventListener("click", drawNoise);
  $("reset").addEventListener("click", reset);
  $("save").addEventListener("click", save);
  document.addEventListener("keydown", press);
}

const drawNoise = () => setSeed(BigInt(Math.floor(Math.random() * NEW_SEEDS)));
const reset = () => setNoise(new Float32Array(manifest.noise_dim), null);

function save() {
  $("image").toBlob((png) => {
    const link = document.createElement("a");
    link.download = fileName(attributes, state);
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
  if (key === " " && target.matches("button, summary, input")) return;
  if (key.startsWith("Arrow") && target.matches("input")) return;
  const actions = { n: drawNoise, " ": drawNoise, r: reset };
  if (key in actions) actions[key]();
  else if (!labels.press(key)) return;
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

/** The decoder, while it is told how much of it has arrived. */
async function load() {
  const { "encoder.onnx": later = 0, ...sizes } = manifest.sizes;
  const total = Object.values(sizes).reduce((sum, size) => sum + size, 0);
  const advance = makeProgress($("loading"), document.querySelector("[for=loading]"), total);
  await openRuntime(manifest, advance);
  return openDecoder(manifest, advance);
}

async function start() {
  $("notice").className = "loading";
  manifest = await (await read("manifest.json")).json();
  attributes = attributesOf(manifest);
  state.given = firstOf(attributes);
  describe();
  const decode = await load();
  makePictures();
  const canvases = { image: $("image"), map: $("map") };
  ask = makeWork(decode, makeJobs({ manifest, state, strips, canvases, noiseOf, wayAt }), { report, fail });
  makeLatents();
  makeControls();
  makeOwn($("own"), { manifest, attributes, decode, given: () => state.given, begin: beginFrom });
  setSeed(0n);
  $("notice").hidden = true;
  $("page").hidden = false;
}

start().catch(fail);
