/** Files of this folder, and how much of them has arrived. */

const here = (name) => new URL(name, import.meta.url).href;
const GZIP = [0x1f, 0x8b]; // how every gzip file begins
const MEGABYTE = 1e6;

/** A file of this folder; a copy in the browser's cache is used only if it is still the same. */
export async function read(name, integrity = "") {
  const reply = await fetch(here(name), { cache: "no-cache", integrity }).catch((error) => {
    throw new Error(`${name} did not arrive${integrity && " as it was exported"}: ${error.message}`);
  });
  if (!reply.ok) throw new Error(`${name} did not arrive: the server answered ${reply.status}`);
  return reply;
}

/** Makes `advance(bytes)` of a progress element and what is written beside it. */
export function makeProgress(element, words, total) {
  let [done, shown] = [0, 0];
  element.max = total;
  return function advance(bytes) {
    done = Math.min(total, done + bytes);
    element.value = done;
    if (done < total && done - shown < total / 100) return;
    shown = done;
    words.textContent = `${(done / MEGABYTE).toFixed(1)} of ${(total / MEGABYTE).toFixed(1)} MB`;
  };
}

/**
 * The bytes of a file as they arrive. What has not this SHA-256 is refused; where the browser does
 * not lend its digest, as on a plain http address, it compares by itself and tells no progress.
 */
export async function readBytes(name, { integrity = "", size = 0, advance = () => {} } = {}) {
  if (integrity && !globalThis.crypto?.subtle) {
    const whole = new Uint8Array(await (await read(name, integrity)).arrayBuffer());
    advance(size);
    return whole;
  }
  const reply = await read(name);
  const bytes = await gather(reply.body, size, advance);
  if (integrity && await digest(bytes) !== integrity) {
    throw new Error(`${name} did not arrive as it was exported`);
  }
  return bytes;
}

/** What was compressed by gzip, unless the server or the browser has unpacked it already. */
export async function unpacked(bytes) {
  if (GZIP.some((byte, place) => bytes[place] !== byte)) return bytes;
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

async function gather(stream, size, advance) {
  const parts = [];
  let left = size; // a server that compresses sends other bytes than there are here
  for (const reader = stream.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    advance(Math.min(left, value.length));
    left -= Math.min(left, value.length);
  }
  advance(left);
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function digest(bytes) {
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return `sha256-${btoa(String.fromCharCode(...found))}`;
}
