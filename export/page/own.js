/** Pictures of the user: what the model makes of them, and where to begin from them. */

import { toPicture } from "./decoder.js";
import { openEncoder } from "./encoder.js";
import { makeProgress } from "./loading.js";
import { readPicture, takesPictures } from "./picture.js";
import { givenWords } from "./words.js";

const AT_ONCE = 2; // pictures of one drop: the ends of a way
const FEW = 20; // labels that are tried one after another

/** In decibels, of a mean square over red, green, blue and what is always opaque. */
const psnr = (off) => (off > 0 ? `${(10 * Math.log10(255 ** 2 / ((4 / 3) * off))).toFixed(1)} dB` : "no error");
const differenceOf = (a, b) => a.reduce((sum, value, at) => sum + (value - b[at]) ** 2, 0) / a.length;

/**
 * Fills the section. `given()` is what is chosen on the page, `begin(found)` is called with each
 * picture's `{noise, given, name}`.
 */
export function makeOwn(section, { manifest, attributes, decode, given, begin }) {
  const { image_shape: shape, sizes } = manifest;
  section.hidden = !sizes["encoder.onnx"] || !takesPictures(shape);
  if (section.hidden) return;
  const find = (name) => section.querySelector(name);
  const [alert, told, waiting] = [find("[role=alert]"), find(".told"), find(".wait")];
  let encoder = null;

  function opened() {
    if (!encoder) {
      waiting.hidden = false;
      const advance = makeProgress(find("progress"), find(".wait output"), sizes["encoder.onnx"]);
      encoder = openEncoder(manifest, advance).finally(() => { waiting.hidden = true; });
      encoder.catch(() => { encoder = null; });
    }
    return encoder;
  }

  /** The noise of a picture, with the label whose reconstruction is nearest where they are few. */
  async function encoded(bytes) {
    const encode = await opened();
    const [only, ...more] = attributes;
    const tried = only && more.length === 0 && only.labels.length > 0 && only.labels.length <= FEW;
    const rows = tried ? only.labels.map((_, label) => [label]) : [given()];
    const noises = await encode(bytes, rows);
    const pictures = await decode(noises, null, rows);
    const original = toPicture(bytes, 0, shape);
    const off = pictures.map((picture) => differenceOf(picture.data, original.data));
    const best = off.indexOf(Math.min(...off));
    const taken = only ? ` Taken as ${givenWords(attributes, rows[best])}, ` : "";
    const label = taken && taken + (tried ? "whose reconstruction is nearest." : "as chosen on the page.");
    return { noise: noises[best], given: rows[best], original, again: pictures[best], off: off[best], label };
  }

  function show({ original, again, off, label }, words) {
    for (const [name, picture] of [["original", original], ["again", again]]) {
      const canvas = find(`[data-picture=${name}]`);
      Object.assign(canvas, { width: picture.width, height: picture.height });
      canvas.getContext("2d").putImageData(picture, 0, 0);
    }
    find(".pair").hidden = false;
    told.textContent = `${words}.${label} PSNR of the reconstruction: ${psnr(off)}.`;
  }

  async function open(files) {
    const chosen = [...files].slice(0, AT_ONCE);
    if (chosen.length === 0) return;
    section.setAttribute("aria-busy", true);
    alert.textContent = files.length > AT_ONCE ? `Of ${files.length} files the first ${AT_ONCE} are taken.` : "";
    for (const file of chosen) {
      try {
        const { bytes, words, name } = await readPicture(file, shape);
        const found = await encoded(bytes);
        show(found, words);
        begin({ ...found, name });
      } catch (error) {
        alert.textContent = `${alert.textContent} ${error.message}.`.trim();
      }
    }
    section.setAttribute("aria-busy", false);
  }

  find("input[type=file]").addEventListener("change", ({ target }) => {
    const files = [...target.files];
    target.value = ""; // so that the same file may be opened again
    open(files);
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    open(event.dataTransfer.files);
  });
  document.addEventListener("paste", ({ clipboardData }) => open(clipboardData.files));
}
