/** What an element shows of a job: its attributes, the texts and the bar inside it. */
import { announce } from "./announcements.js";

/** @typedef {Record<string, any>} Shown  a document, or an error alone */

/** Writes into an element, and only what has changed: screen readers speak what is written. */
export class Display {
  #element;
  /** What was written last into each part: a text, or the bar's value. @type {WeakMap<Element, string | null>} */ #written = new WeakMap();
  /** @type {string | null} */ #bar = null;
  /** What the bar is called by its task's name, where nobody has called it anything. @type {string | null | undefined} */ #name;

  /** @param {HTMLElement} element */
  constructor(element) {
    this.#element = element;
  }

  /** Others have replaced what was written; it is written again. */
  renew() {
    this.#written = new WeakMap();
  }

  /** Another job begins, of which nothing is known yet. */
  reset() {
    this.show({ message: "", job_class: "" }, false, false);
  }

  /**
   * Shows and announces a job, or an error alone: then what was known last no longer holds.
   * @param {Shown} job @param {unknown} rests whether nothing more is expected @param {boolean} isRead with the page
   */
  show({ state, stalled, message, percentage, error, job_class }, rests, isRead) {
    const bar = this.#element.querySelector("progress");
    const value = percentage == null ? null : String(percentage);
    const progress = value ? `${+Number(value).toFixed(1)} %` : "";
    this.set("state", state ?? null);
    this.set("stalled", stalled ? "" : null);
    this.#say("message", error?.message ?? message);
    this.#say("percentage", progress);
    const word = this.#say("state", state ?? "", stalled ? "stalled" : state);
    const given = this.#element.getAttribute("label") ?? (bar?.ariaLabel !== this.#name && bar?.ariaLabel);
    const name = given || bar?.labels[0]?.textContent || job_class?.split(".").pop().replace(/_/g, " ");
    if (bar) {
      bar.ariaLabel = name ?? bar.ariaLabel;
      this.#name = given ? null : bar.ariaLabel;
      this.#move(bar, value, rests);
    }
    const quarter = Math.min(3, (percentage / 25) | 0);
    if (rests || state === "running") {
      const key = `${this.#element.getAttribute("job-id")} ${rests ? state : quarter}`;
      announce(this.#element, key, isRead ? [] : [name, word, progress, error?.message]);
    }
  }

  /** @param {string} name @param {string | null} value @param {Element} element */
  set(name, value, element = this.#element) {
    if (element.getAttribute(name) === value) return;
    if (value === null) element.removeAttribute(name);
    else element.setAttribute(name, value);
  }

  /**
   * A bar without a value seems to go on; at rest it keeps the one it had.
   * @param {Element} bar @param {string | null} value @param {unknown} rests
   */
  #move(bar, value, rests) {
    const present = bar.getAttribute("value");
    const shown = (this.#bar = value ?? (rests ? (this.#bar ?? present ?? "0") : null));
    if (this.#isDue(bar, shown, present)) this.set("value", shown, bar);
  }

  /**
   * The element may have a word of its own for the text.
   * @param {string} part @param {string} text @param {string} key
   */
  #say(part, text, key = text) {
    let words = text;
    for (const element of /** @type {NodeListOf<HTMLElement>} */ (this.#element.querySelectorAll(`[data-immortus="${part}"]`))) {
      words = part === "state" ? (element.dataset[key] ?? element.dataset[text] ?? text) : text;
      if (this.#isDue(element, words, element.textContent)) element.textContent = words;
    }
    return words;
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
