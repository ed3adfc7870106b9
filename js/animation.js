/** News of jobs at the pace at which the browser draws the page. */
import { FRAMELESS } from "./settings.js";
import { after } from "./waiting.js";

/** @typedef {() => void} Tell */

/**
 * Jobs change more often than a page is drawn. The first news of a job in a frame goes out at once, the newest of what
 * follows when the browser draws the next frame; the end of a job waits for neither.
 */
export class AnimationQueue {
  /** @type {Set<object>} */ #told = new Set();
  /** @type {Map<object, Tell>} */ #news = new Map();

  /** Whether news of `job` wait for the next frame, which then calls `tell`. @param {object} job @param {Tell} tell */
  hold(job, tell) {
    if (!globalThis.requestAnimationFrame) return false;
    if (this.#told.has(job)) return Boolean(this.#news.set(job, tell));
    if (!this.#told.size) this.#await();
    this.#told.add(job);
    return false;
  }

  #await() {
    const drawn = () => {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
      const news = this.#news;
      this.#news = new Map();
      this.#told = new Set(news.keys());
      if (news.size) this.#await();
      for (const tell of news.values()) tell();
    };
    const frame = requestAnimationFrame(drawn);
    const timer = after(drawn, FRAMELESS);
  }
}

/** One for all jobs, as the page has one frame at a time. */
export const animation = new AnimationQueue();
