/** The decoder graph: noise and a label in, pictures out. It runs in WebAssembly, on one thread. */

import { checkProbe } from "./probe.js";

const UNKNOWN = { int64: -1, float32: NaN }; // what stands for a value that is not known

const ERRORS = 3; // a warning says nothing to someone who looks at images

const here = (name) => new URL(name, import.meta.url).href;

/**
 * A file of this folder; a copy in the browser's cache is used only if it is still the same. With
 * `integrity` the browser itself refuses other bytes than those with this SHA-256.
 */
export async function read(name, integrity = "") {
  const reply = await fetch(here(name), { cache: "no-cache", integrity }).catch((error) => {
    throw new Error(`${name} did not arrive${integrity && " as it was exported"}: ${error.message}`);
  });
  if (!reply.ok) throw new Error(`${name} did not arrive: the server answered ${reply.status}`);
  return reply;
}

/** Makes `decode(noises, given)`: Float32Arrays of noise to one ImageData each. */
export async function openDecoder(manifest) {
  const { image_shape: shape, noise_dim: dim, given: kinds, integrity } = manifest;
  const ort = await import("./ort/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  ort.env.wasm.wasmPaths = here("ort/");
  const graph = new Uint8Array(await (await read("decoder.onnx", integrity)).arrayBuffer());
  const options = { executionProviders: ["wasm"], logSeverityLevel: ERRORS };
  const session = await ort.InferenceSession.create(graph, options).catch((error) => {
    throw new Error(`decoder.onnx cannot be opened: ${error.message}`);
  });

  async function run(noises, given) {
    const count = noises.length;
    const rows = new Float32Array(count * dim);
    noises.forEach((noise, row) => rows.set(noise, row * dim));
    const inputs = { noise: new ort.Tensor("float32", rows, [count, dim]) };
    Object.entries(kinds).forEach(([name, kind], place) => {
      const values = given.map((row) => row[place] ?? UNKNOWN[kind]);
      const array = kind === "int64" ? BigInt64Array.from(values, BigInt) : Float32Array.from(values);
      inputs[name] = new ort.Tensor(kind, array, [count]);
    });
    const { image } = await session.run(inputs, ["image"]);
    return image.data;
  }

  await checkProbe(run, manifest);
  return async function decode(noises, given) {
    const bytes = await run(noises, noises.map(() => given));
    return noises.map((_, row) => toPicture(bytes, row, shape));
  };
}

/** Image `row` of channel-first bytes; grey unless there are three channels or more. */
function toPicture(bytes, row, [channels, height, width]) {
  const area = height * width;
  const start = row * channels * area;
  const [green, blue] = channels < 3 ? [0, 0] : [area, 2 * area];
  const picture = new ImageData(width, height);
  for (let from = start, to = 0; from < start + area; from += 1, to += 4) {
    picture.data[to] = bytes[from];
    picture.data[to + 1] = bytes[from + green];
    picture.data[to + 2] = bytes[from + blue];
    picture.data[to + 3] = 255;
  }
  return picture;
}
