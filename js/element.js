/** <immortus-job job-id="…" job-class="…">: a job in the page without a line of JavaScript. */
import { Display } from "./display.js";
import { isDocument, isDone, isFinal, isOver } from "./documents.js";
import { parse } from "./http.js";
import { page } from "./page.js";
/** @import { JobDocument } from "./documents.js" */
/** @import { Shown } from "./display.js" */
/** @import { JobError } from "./errors.js" */

/**
 * Whether a change of an element puts back what the server rendered: its own attributes, parts of it, or the document.
 * A changed text does not, nor do the `<font>`s that browsers translate with.
 * @param {MutationRecord} change
 */
function isPutBack({ type, target, addedNodes }) {
  if (type === "attributes") return target instanceof JobElement;
  const isScript = (/** @type {any} */ node) => node?.localName === "script";
  const isPart = (/** @type {any} */ { localName }) => localName && localName !== "font"; // a text has no name
  return [target, target.parentNode].some(isScript) || [...addedNodes].some(isPart);
}

/**
 * Keeps up to date what the server rendered inside: `<progress>` and the texts of `[data-immortus="message"]`,
 * `"percentage"` and `"state"` (on which `data-running="…"`, `data-stalled="…"` and the like translate). The document that
 * the page was rendered with may be given in a `<script type="application/json">`.
 *
 * Others may put back what the server rendered, as morphing swaps do; then the element writes everything again.
 */
export class JobElement extends (globalThis.HTMLElement ?? class {}) {
  static observedAttributes = ["job-id", "job-class"];

  /** @type {(() => void) | null} */ #leave = null;
  /** The version that the page was rendered with. @type {number | null} */ #read = null;
  #begun = false;
  /** @type {JobDocument | null} */ #held = null;
  /** Why nothing more will come. @type {JobError | null} */ #error = null;
  #display = new Display(this);
  #observer = new MutationObserver((changes) => this.#changed(changes));

  connectedCallback() {
    const follow = () => this.#follow();
    if (document.readyState !== "loading") follow();
    else document.addEventListener("DOMContentLoaded", follow); // the children are still to come
  }

  disconnectedCallback() {
    queueMicrotask(() => this.isConnected || this.#stop()); // unless it was only moved
  }

  /** @param {string} _name @param {string | null} before @param {string | null} value */
  attributeChangedCallback(_name, before, value) {
    if (!this.#begun || before === value) return;
    this.#stop();
    this.#held = null;
    this.#display.reset();
    this.#follow();
  }

  #follow() {
    if (this.#leave || !this.isConnected) return;
    this.#begun = true;
    this.#error = null;
    const job = /** @type {Record<string, any>} */ ({ job_id: this.getAttribute("job-id"), job_class: this.getAttribute("job-class") });
    const listener = { take: (/** @type {JobDocument} */ one) => this.#take(one), fail: (/** @type {JobError} */ error) => this.#fail(error) };
    const rendered = this.#rendered();
    this.#read = rendered?.version ?? null;
    this.#leave = page.subscribe(job, {}, listener, rendered);
    this.#write();
    this.#observer.observe(this, { attributeFilter: ["state", "stalled", "error", "aria-busy", "value", "label"], childList: true, characterData: true, subtree: true });
  }

  #stop() {
    this.#leave?.();
    this.#leave = null;
  }

  /** The document that the server rendered it with. @returns {JobDocument | null} */
  #rendered() {
    const rendered = parse(this.querySelector('script[type="application/json"]')?.textContent ?? "");
    return isDocument(rendered) && rendered.job_id === this.getAttribute("job-id") ? rendered : null;
  }

  /** @param {JobDocument} job */
  #take(job) {
    if (isFinal(job)) this.#stop();
    const isNews = this.#error || job.version > (this.#held?.version ?? 0);
    if (isNews) this.#held = job;
    this.#error = null;
    this.#write();
    if (isNews) this.#tell(isDone(job) ? "done" : isOver(job) ? "failed" : "progress", job);
  }

  /** @param {JobError} error */
  #fail(error) {
    this.#stop();
    this.#error = error;
    this.#write();
    this.#tell("failed", error.document);
  }

  /** @param {string} event @param {object} detail */
  #tell(event, detail) {
    this.dispatchEvent(new CustomEvent(`immortus:${event}`, { bubbles: true, detail }));
    const changes = this.#observer.takeRecords();
    if (changes.some(isPutBack)) this.#changed(changes); // what handlers make of it otherwise stays
  }

  #write(changes = this.#observer.takeRecords()) {
    if (changes.some(isPutBack)) this.#display.renew();
    const error = this.#error;
    /** @type {Shown | null} */ const job = error ? { error } : this.#held;
    const over = error || (job && isOver(/** @type {JobDocument} */ (job)));
    this.#display.set("error", error && error.error.code);
    this.#display.set("aria-busy", String(!over));
    if (job) this.#display.show(job, over, job.version === this.#read);
    this.#observer.takeRecords();
  }

  /** What others have done to it. @param {MutationRecord[]} changes */
  #changed(changes) {
    const rendered = changes.some(isPutBack) ? this.#rendered() : null;
    if (rendered && (this.#error || rendered.version > (this.#held?.version ?? 0))) {
      if (this.#leave) page.receive(rendered.job_id, rendered);
      else this.#follow();
    }
    this.#write(changes);
  }
}
