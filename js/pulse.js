/** Whether a socket lives. */
import { ATTEMPT_TIMEOUT, PING_GRACE, SLEPT } from "./settings.js";
import { now, numberOr } from "./waiting.js";

/** What is heard of a socket, and how long it may be silent. */
export class Pulse {
  #silence = ATTEMPT_TIMEOUT;
  #proveBy = now() + ATTEMPT_TIMEOUT;
  #ticked = Date.now();
  heard = now();

  /** The server says how often it will be heard. @param {any} pingMs */
  expect(pingMs) {
    this.#silence = numberOr(20_000, pingMs) + PING_GRACE;
  }

  /** The socket has served a job, so it need not prove itself any more. */
  prove() {
    this.#proveBy = Infinity;
  }

  /** Whether the socket should have been heard by now. */
  get stopped() {
    return now() - this.heard > this.#silence || now() > this.#proveBy;
  }

  /** Whether the machine was asleep since the last tick. */
  tick() {
    const before = this.#ticked;
    this.#ticked = Date.now();
    return this.#ticked - before > SLEPT && !globalThis.document?.hidden; // hidden, it may tick once a minute
  }
}
