/**
 * Decodes what is on the screen, one run at a time and never ahead of the screen.
 *
 * A job is `{count, noise(i), paint(i, picture), pause, slowest}`: a number of images, of which
 * those not yet painted are decoded. Asking for a job again starts it over, so the newest state
 * wins and no runs queue up; of several jobs the first in the list goes first.
 */

const FRAME = 25; // milliseconds that one run may take, so that the page stays smooth
const LARGEST_BATCH = 24;

/** Makes `ask(name)`, which has a job of the object `jobs` done; `report(busy)` tells of progress. */
export function makeWork(decode, jobs, { report, fail }) {
  const waiting = new Map(); // job -> number of its next image
  const readyAt = new Map(); // job -> the time to begin
  let running = false;
  let batch = 1; // images in a run, doubled while runs are short
  let cost = 0; // milliseconds of an image in the last run

  function choose() {
    const now = performance.now();
    for (const job of Object.values(jobs)) {
      if (waiting.has(job) && job.count * cost > job.slowest) waiting.delete(job);
      if (waiting.has(job) && readyAt.get(job) <= now) return job;
    }
    return null;
  }

  async function runOnce(job) {
    const start = waiting.get(job);
    const numbers = Array.from({ length: Math.min(batch, job.count - start) }, (_, i) => start + i);
    const begun = performance.now();
    const end = start + numbers.length;
    waiting.set(job, end);
    const pictures = await decode(numbers.map(job.noise), job.given());
    const wanted = waiting.get(job) === end; // else asked for again in the meantime
    if (wanted && end === job.count) waiting.delete(job);
    // a single image is shown though it is late, or it would stand still as long as it is dragged
    if (wanted || job.count === 1) numbers.forEach((number, i) => job.paint(number, pictures[i]));
    const took = performance.now() - begun;
    cost = took / numbers.length;
    batch = took < FRAME ? Math.min(2 * batch, LARGEST_BATCH) : Math.max(1, batch >> 1);
  }

  async function run() {
    running = true;
    report(true);
    try {
      while (waiting.size > 0) {
        await new Promise(requestAnimationFrame);
        const job = choose();
        if (job) await runOnce(job);
      }
    } catch (error) {
      fail(error);
      return; // stays running: a decoder that failed is not asked again
    }
    running = false;
    report(false);
  }

  return function ask(name) {
    const job = jobs[name];
    waiting.set(job, 0);
    readyAt.set(job, performance.now() + job.pause);
    if (!running) run();
  };
}
