/** ONNX Runtime in WebAssembly, on one thread: one run after another. */

import { readBytes, unpacked } from "./loading.js";

const ERRORS = 3; // a warning says nothing to someone who looks at images
const UNKNOWN = { int64: -1, float32: NaN }; // what stands for a value that is not known
const WASM = "ort/ort-wasm-simd-threaded.wasm.gz";

let ort;
let last = Promise.resolve();

/** Loads the runtime. */
export async function openRuntime({ sizes }, advance) {
  ort = await import("./ort/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  ort.env.wasm.wasmPaths = new URL("ort/", import.meta.url).href;
  ort.env.wasm.wasmBinary = await unpacked(await readBytes(WASM, { size: sizes[WASM], advance }));
}

/** Opens a graph of this folder: `run(inputs)` gives its outputs by name. */
export async function openGraph(name, { integrity, sizes }, advance) {
  const bytes = await readBytes(name, { integrity: integrity[name], size: sizes[name], advance });
  const options = { executionProviders: ["wasm"], logSeverityLevel: ERRORS };
  const session = await inTurn(() => ort.InferenceSession.create(bytes, options)).catch((error) => {
    throw new Error(`${name} cannot be opened: ${error.message}`);
  });
  return (inputs) => inTurn(() => session.run(inputs));
}

/** What each row is given as inputs of a graph, by name. */
export function givenInputs(kinds, given) {
  return Object.fromEntries(Object.entries(kinds).map(([name, kind], place) => {
    const values = given.map((row) => row[place] ?? UNKNOWN[kind]);
    const array = kind === "int64" ? BigInt64Array.from(values, BigInt) : Float32Array.from(values);
    return [name, new ort.Tensor(kind, array, [values.length])];
  }));
}

/** A tensor of rows, each a typed array, of this type and shape of a row. */
export function rowsOf(kind, Kind, rows, shape) {
  const size = rows[0].length;
  const whole = new Kind(rows.length * size);
  rows.forEach((row, number) => whole.set(row, number * size));
  return new ort.Tensor(kind, whole, [rows.length, ...shape]);
}

function inTurn(task) {
  const mine = last.then(task);
  last = mine.catch(() => {});
  return mine;
}
