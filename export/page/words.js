/** What the page says: of the model, of the image on view, and the command that draws the same. */

import { wordOf } from "./attributes.js";

/** The name of a run, or where its data came from. */
export const titleOf = ({ name, data }) => name || data.source;

/** Facts of a model, one phrase each. */
export function factsOf(manifest, attributes) {
  const [channels, height, width] = manifest.image_shape;
  const kind = { 1: "grey", 3: "colour" }[channels] ?? `${channels} channels`;
  const labels = manifest.label_names.length;
  const names = attributes.filter(({ name }) => name).map(({ name }) => name);
  return [
    `${attributes.length > 0 ? "Conditional VAE" : "VAE"} trained on ${manifest.data.source}`,
    `${width} \u00d7 ${height} ${kind}`,
    `${manifest.latent_dim} latents`,
    ...(labels > 0 ? [`${labels} labels`] : []),
    ...(names.length > 0 ? [`given ${names.join(", ")}`] : []),
    ...(manifest.precision === "fp32" ? [] : [manifest.precision]),
  ];
}

/** The way between two images, by what they are called. */
export function wayWords({ noise_dim: noises, latent_dim: latents }, attributes, [from, to]) {
  return [
    `From ${from} to ${to}: direction and length of the latents change evenly.`,
    ...(noises > latents ? ["It leaps where another component of the prior is chosen."] : []),
    ...(attributes.length > 0 ? ["All have what is chosen above."] : []),
  ].join(" ");
}

/** What is given, in words. */
export const givenWords = (attributes, given) => attributes.map((one, place) => (
  `${one.name && `${one.name} `}${wordOf(one, given[place])}`)).join(", ");

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

/** The command that draws the same samples, in parts that stay on one line as long as they fit. */
export function commandOf(attributes, { given, seed, temperature }, count) {
  const asked = attributes.flatMap((one, place) => {
    const value = given[place];
    return value === null ? [] : [entryOf(one.name, wordOf(one, value))];
  });
  return [
    "distvae sample",
    ...(asked.length > 0 ? [`--label${labelWord(asked.join(","))}`] : []),
    `--count ${count}`,
    `--seed ${seed}`,
    ...(temperature === 1 ? [] : [`--temperature ${temperature}`]),
  ];
}

/** A name of a file for a label, another one for every label of the model. */
function fileWord(name, number) {
  if (/^[\p{Ll}\p{N}]{1,64}$/u.test(name)) return name;
  return `label-${number}-${name.slice(0, 64).replace(/[^\p{L}\p{N}]+/gu, "_")}`;
}

/** The name of a saved image. */
export function fileName(attributes, { given, seed, number }) {
  const words = attributes.map((one, place) => fileWord(wordOf(one, given[place]), given[place]));
  const from = number === null ? "" : `-seed-${seed}-image-${number}`;
  return `${words.join("-") || "image"}${from}.png`;
}
