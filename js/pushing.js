/** One socket after the other, for as long as sockets are worth having. */
import { Disconnected, JobError } from "./errors.js";
import { ReconnectPolicy, turn } from "./handshake.js";
import { socketAddress } from "./settings.js";
import { Connection } from "./socket.js";
import { now, sleep } from "./waiting.js";
/** @import { Page } from "./page.js" */

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
        await this.#listen(new Connection(address, this.#page, release), signal);
      } catch (end) {
        if (!(end instanceof Disconnected)) throw end;
        this.#fell(end);
      } finally {
        release();
        this.#goodSince = null;
        for (const job of this.#page.jobs) if (job.pushed) job.poll();
        this.#page.changed();
      }
    }
  }

  /** @param {Connection} connection @param {AbortSignal} signal */
  async #listen(connection, signal) {
    for await (const [job, answer] of connection.answers(signal)) {
      if (!(answer instanceof JobError)) this.#proved();
      job.receive(answer);
    }
  }

  #proved() {
    this.#goodSince ??= now();
    this.hopeful = true;
    this.#page.announce();
  }

  /** @param {Disconnected} end */
  #fell(end) {
    const { jobs, reachable } = this.#page;
    const goodFor = this.#goodSince === null ? null : now() - this.#goodSince;
    const http = !jobs.some((job) => job.mayPoll && !job.url) ? "unknown" : reachable ? "up" : "down";
    this.#comeBackAt = now() + this.#policy.fell(end, goodFor, http);
    this.refused = !end.comeBack;
    this.hopeful = goodFor === null && this.#policy.hopeful && end.comeBack;
    if (!this.hopeful) for (const job of jobs) job.poll();
  }
}
