/** What an element shows of a job: its attributes, the texts and the bar inside it. */
import { isOver } from "./documents.js";
/** @import { JobDocument } from "./documents.js" */
/** @import { JobError } from "./errors.js" */

/** @param {number} percentage */
function percent(percentage) {
  return `${Number(percentage.toFixed(1))} %`;
}

/** Writes into an element, and only what has changed: screen readers speak what is written. */
export class Display {
  #element;
  /** What was written last into each part: a text, or the bar's value. @type {WeakMap<Element, string | null>} */ #written = new WeakMap();
  /** @type {string | null} */ #bar = null;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#element = element;
  }

  /** Others have replaced what was written; it is written again. */
  renew() {
    this.#written = new WeakMap();
  }

  /** Another job begins, whose bar owes nothing to that of the last. */
  reset() {
    this.#bar = null;
  }

  /** @param {JobDocument} job */
  showJob(job) {
    this.set("state", job.state);
    this.set("stalled", job.stalled ? "" : null);
    this.#say("message", job.error?.message ?? job.message);
    this.#say("percentage", job.percentage == null ? "" : percent(Number(job.percentage)));
    this.#say("state", job.state, job.stalled ? "stalled" : job.state);
    this.#move(job.percentage == null ? null : String(job.percentage), isOver(job));
  }

  /** What was known last no longer holds. @param {JobError} error */
  showError(error) {
    this.set("state", null);
    this.set("stalled", null);
    this.#say("state", "");
    this.#say("message", error.message);
    this.#move(null, true);
  }

  /** @param {string} name @param {string | null} value @param {Element} element */
  set(name, value, element = this.#element) {
    if (element.getAttribute(name) === value) return;
    if (value === null) element.removeAttribute(name);
    else element.setAttribute(name, value);
  }

  /**
   * A bar without a value seems to go on; at rest it keeps the one it had.
   * @param {string | null} value @param {boolean} rests
   */
  #move(value, rests) {
    const bar = this.#element.querySelector("progress");
    if (!bar) return;
    const present = bar.getAttribute("value");
    const shown = (this.#bar = value ?? (rests ? (this.#bar ?? present ?? "0") : null));
    if (this.#isDue(bar, shown, present)) this.set("value", shown, bar);
  }

  /**
   * The element may have a word of its own for the text.
   * @param {string} part @param {string} text @param {string} key
   */
  #say(part, text, key = text) {
    for (const element of /** @type {NodeListOf<HTMLElement>} */ (this.#element.querySelectorAll(`[data-immortus="${part}"]`))) {
      const words = part === "state" ? (element.dataset[key] ?? element.dataset[text] ?? text) : text;
      if (this.#isDue(element, words, element.textContent)) element.textContent = words;
    }
  }

  /**
   * Whether to write a part: it was not written yet, or was emptied since. What others made of it otherwise, such as a
   * translation by the browser, stays until there is something else to say.
   * @param {Element} part @param {string | null} wanted @param {string | null} present
   */
  #isDue(part, wanted, present) {
    const isWritten = this.#written.get(part) === wanted;
    this.#written.set(part, wanted);
    return present !== wanted && !(isWritten && present);
  }
}
