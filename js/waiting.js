/** Time: clocks, timers, back-off, and what runs while the page wants it. All times are milliseconds. */
import { report } from "./errors.js";

export const now = () => performance.now();

/** @param {() => void} callback @param {number} ms */
export const after = (callback, ms) => setTimeout(callback, Math.min(ms, 2 ** 31 - 1)); // beyond, a timer fires at once

/** A number from outside, or `other` for anything else. @param {number} other @param {any} value @returns {number} */
export const numberOr = (other, value) => (Number.isFinite(value) ? value : other);

/** Full jitter: pages do not all meet a server that comes back at once. @param {number} attempt @param {number} longest */
export const backoff = (attempt, longest) =>
  Math.min(longest, 500 + Math.random() * Math.min(longest, 500 * 2 ** attempt));

/**
 * Calls back once `signal` aborts, or at once if it has; the result removes the callback.
 * @param {AbortSignal | undefined} signal @param {() => void} callback
 */
export function onAbort(signal, callback) {
  if (signal?.aborted) callback();
  signal?.addEventListener("abort", callback);
  return () => signal?.removeEventListener("abort", callback);
}

/**
 * A signal that aborts after `ms`, with `signal`, or by `abort()`; `forget()` ends its timer and forgets `signal`.
 * @param {number} ms @param {AbortSignal} signal
 */
export function deadline(ms, signal) {
  const controller = new AbortController();
  const abort = () => controller.abort();
  const timer = after(abort, ms);
  const forget = onAbort(signal, abort);
  return { signal: controller.signal, abort, forget: () => (clearTimeout(timer), forget()) };
}

/**
 * Waits; shorter when `signal` aborts or `bell` rings "wake".
 * @param {number} ms @param {AbortSignal} signal @param {EventTarget} [bell]
 */
export async function sleep(ms, signal, bell) {
  if (ms <= 0) return; // a hidden page would wait a second for a timer of no time
  const over = deadline(ms, signal);
  bell?.addEventListener("wake", over.abort, { signal: over.signal });
  await new Promise((/** @type {(value?: any) => void} */ resolve) => onAbort(over.signal, resolve));
  over.forget();
}

/** Runs something while it is wanted, and `linger` longer. */
export class Runner {
  /** @type {AbortController | null} */ #running = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #stopping;
  #run;
  #linger;

  /** @param {(signal: AbortSignal) => Promise<void>} run @param {number} linger */
  constructor(run, linger) {
    this.#run = run;
    this.#linger = linger;
  }

  /** @param {unknown} wanted */
  want(wanted) {
    clearTimeout(this.#stopping);
    if (wanted && !this.#running) {
      this.#running = new AbortController();
      this.#run(this.#running.signal).catch(report);
    } else if (!wanted && this.#running) this.#stopping = after(() => this.stop(), this.#linger);
  }

  stop() {
    clearTimeout(this.#stopping);
    this.#running?.abort();
    this.#running = null;
  }
}
