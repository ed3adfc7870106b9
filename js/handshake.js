/** Opening a socket: when, and in which turn. */
import { Disconnected } from "./errors.js";
import { FIRST_PROBE, LONGEST_PROBE, LONGEST_REQUEST_BACKOFF, LONGEST_SOCKET_BACKOFF, SETTLED_AFTER, STRIKES, TURN_TIMEOUT } from "./settings.js";
import { backoff, deadline } from "./waiting.js";

/** @param {string} address */
export function openSocket(address) {
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
export async function turn(address, signal) {
  const locks = globalThis.navigator?.locks; // in secure contexts only
  if (!locks) return () => {};
  const waiting = deadline(TURN_TIMEOUT, signal);
  /** @type {Promise<() => void>} */
  const granted = new Promise((resolve) => {
    const hold = () => new Promise((/** @type {(value?: any) => void} */ release) => resolve(release));
    locks.request(`immortus ${address}`, { signal: waiting.signal }, hold).catch(() => resolve(() => {}));
  });
  return granted.finally(waiting.clear);
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
