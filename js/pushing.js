/** One socket after the other, for as long as sockets are worth having. */
import { Disconnected, JobError } from "./errors.js";
import { ReconnectPolicy } from "./health.js";
import { socketAddress, TURN_TIMEOUT } from "./settings.js";
import { Connection } from "./socket.js";
import { deadline, now, sleep } from "./waiting.js";
/** @import { Page } from "./page.js" */

/** @param {string} address */
function openSocket(address) {
  try {
    return new WebSocket(address, ["immortus.v1"]);
  } catch {
    throw new Disconnected(4500); // the browser allows none at this address or from this page
  }
}

/**
 * Waits while another tab is in a handshake with this address; the result lets the next one begin. Chromium makes them one
 * after the other and does not say which one waits, so a full queue would look like a server that does not answer.
 * @param {string} address @param {AbortSignal} signal @returns {Promise<() => void>}
 */
async function turn(address, signal) {
  const locks = globalThis.navigator?.locks; // in secure contexts only
  if (!locks) return () => {};
  const waiting = deadline(TURN_TIMEOUT, signal);
  /** @type {Promise<() => void>} */
  const granted = new Promise((resolve) => {
    const hold = () => new Promise((/** @type {(value?: any) => void} */ release) => resolve(release));
    locks.request(`immortus ${address}`, { signal: waiting.signal }, hold).catch(() => resolve(() => {}));
  });
  return granted.finally(waiting.forget);
}

/** The sockets of the page, and what their ends have taught it. Polling fills the gaps between them. */
export class Pushing {
  #page;
  #policy = new ReconnectPolicy();
  #comeBackAt = 0;
  /** @type {number | null} */ #goodSince = null;
  /** Whether a new job waits for the socket before the page polls for it. */
  hopeful = true;
  /** The server wants no socket of this page any more. */
  refused = false;

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
  }

  /** Whether a socket serves the page now. */
  get good() {
    return this.#goodSince !== null;
  }

  wake() {
    if (this.#policy.hopeful) this.#comeBackAt = 0;
  }

  /** @param {AbortSignal} signal */
  async run(signal) {
    while (!this.refused) {
      await sleep(this.#comeBackAt - now(), signal, this.#policy.hopeful ? this.#page.bell : undefined);
      const address = socketAddress();
      if (signal.aborted || !address) return;
      const release = await turn(address, signal);
      if (signal.aborted) return release();
      try {
        await this.#listen(new Connection(openSocket(address), this.#page, release), signal);
      } catch (end) {
        if (!(end instanceof Disconnected)) throw end;
        this.#fell(end);
      } finally {
        release();
        this.#goodSince = null;
        for (const job of this.#page.followed) if (job.pushed) job.poll();
        this.#page.changed();
      }
    }
  }

  /** @param {Connection} connection @param {AbortSignal} signal */
  async #listen(connection, signal) {
    for await (const [job, answer] of connection.answers(signal)) {
      if (!(answer instanceof JobError)) {
        this.#goodSince ??= now();
        this.hopeful = true;
        this.#page.announce();
      }
      job.receive(answer);
    }
  }

  /** @param {Disconnected} end */
  #fell(end) {
    const { followed: jobs, reachable } = this.#page;
    const goodFor = this.#goodSince === null ? null : now() - this.#goodSince;
    const http = !jobs.some((job) => job.mayPoll && !job.url) ? "unknown" : reachable ? "up" : "down";
    this.#comeBackAt = now() + this.#policy.fell(end, goodFor, http);
    this.refused = !end.comeBack;
    this.hopeful = goodFor === null && this.#policy.hopeful && end.comeBack;
    if (!this.hopeful) for (const job of jobs) job.poll();
  }
}
