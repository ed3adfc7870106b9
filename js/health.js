/** How sockets do: whether one lives, and when the next is worth opening. */
import { ATTEMPT_TIMEOUT, doc, FIRST_PROBE, LONGEST_PROBE, LONGEST_REQUEST_BACKOFF, LONGEST_SOCKET_BACKOFF, PING_GRACE, SETTLED_AFTER, SLEPT, STRIKES } from "./settings.js";
import { backoff, now, numberOr } from "./waiting.js";
/** @import { Disconnected } from "./errors.js" */

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
    return this.#ticked - before > SLEPT && !doc?.hidden; // hidden, it may tick once a minute
  }
}

/** When to come back to a socket that fell. */
export class ReconnectPolicy {
  #strikes = 0;
  #attempts = 0;
  #probes = 0;

  /** Whether a socket is worth waiting for. */
  get hopeful() {
    return this.#strikes < STRIKES;
  }

  /**
   * The wait before the next socket.
   * @param {Disconnected} end @param {number | null} goodFor how long it was good, if ever
   * @param {"up" | "down" | "unknown"} http whether requests get answers meanwhile; unknown where the page makes none
   */
  fell({ after: planned }, goodFor, http) {
    // A server that says when to come back works, and a server that does not answer says nothing about sockets.
    if (goodFor === null) this.#strikes += planned === undefined && http === "up" ? 1 : 0;
    else if (goodFor >= SETTLED_AFTER) this.#strikes = this.#attempts = this.#probes = 0;
    if (!this.hopeful) return Math.min(LONGEST_PROBE, FIRST_PROBE * 2 ** this.#probes++) * (0.5 + Math.random());
    if (planned !== undefined && goodFor !== null) return planned;
    const longest = http === "unknown" ? LONGEST_REQUEST_BACKOFF : LONGEST_SOCKET_BACKOFF; // then nothing else keeps it right
    return Math.max(planned ?? 0, backoff(this.#attempts++, longest));
  }
}
