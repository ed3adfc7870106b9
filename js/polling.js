/** The transport that asks: an async generator of [job, answer] that ends when its signal aborts. */
import { ask } from "./answers.js";
import { query } from "./http.js";
import { Mailbox } from "./mailbox.js";
import { REQUEST_CHARACTERS, REQUEST_IDS } from "./settings.js";
import { after, now, onAbort } from "./waiting.js";
/** @import { Answer } from "./documents.js" */
/** @import { TryLater } from "./errors.js" */
/** @import { Job } from "./job.js" */
/** @import { Page } from "./page.js" */

/**
 * Asks for the jobs that no socket serves; jobs that are due together share a request.
 * @param {Page} page @param {AbortSignal} signal
 */
export async function* polling(page, signal) {
  const answers = /** @type {Mailbox<[Job, Answer]>} */ (new Mailbox());
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const schedule = () => {
    clearTimeout(timer);
    const wait = nextRequest(page.followed) - now();
    if (wait <= 0) askReady();
    else if (wait < Infinity) timer = after(askReady, wait);
  };
  const askReady = () => {
    // Not awaited: a slow answer holds up no other job.
    for (const batch of batches(page.followed.filter((job) => job.readyAt <= now()))) inquire(batch);
    page.announce();
    schedule();
  };
  const inquire = async (/** @type {Job[]} */ batch) => {
    for (const job of batch) job.asked = job.asking = true;
    const failure = await ask(batch, signal).then(
      (all) => (all.forEach((answer) => answers.post(answer)), null),
      (error) => Object(error), // no network, or the page's own function gave no token
    );
    for (const job of batch) job.rest(failure);
    if (!batch[0].url) page.reachable = !failure;
    if (!signal.aborted) schedule();
  };
  page.bell.addEventListener("change", schedule, { signal });
  page.bell.addEventListener("wake", schedule, { signal });
  onAbort(signal, () => (clearTimeout(timer), answers.close()));
  schedule();
  yield* answers;
}

/**
 * The time of the next request: when the first job is ready, or a little later if others can then share it.
 * @param {Job[]} jobs
 */
export function nextRequest(jobs) {
  const times = jobs.map((job) => job.readyAt);
  const first = Math.min(...times);
  if (first <= now() || first === Infinity) return first;
  const slack = Math.min(...jobs.map((job) => job.interval)) / 2;
  return Math.max(...times.filter((time) => time <= first + slack));
}

/**
 * The jobs of each request. A custom verify, a job whose held document is newer than the server's, and a job that only
 * its class can vouch for go alone: their request gives the version and the class.
 * @param {Job[]} jobs
 */
export function batches(jobs) {
  const alone = (/** @type {Job} */ job) => job.url || job.ahead || job.unrecorded;
  const all = jobs.filter(alone).map((job) => [job]);
  /** @type {Job[]} */
  let shared = [];
  let room = 0;
  for (const job of jobs.filter((job) => !alone(job))) {
    const characters = query([job.id]).length + 1;
    if (room < characters || shared.length === REQUEST_IDS) {
      all.push((shared = []));
      room = REQUEST_CHARACTERS;
    }
    shared.push(job);
    room -= characters;
  }
  return all;
}
