/** What `verify` returns. */
import { isDone, isOver } from "./documents.js";
import { checkType, hushed, JobError, quiet, report } from "./errors.js";
import { page } from "./page.js";
import { onAbort } from "./waiting.js";
/** @import { JobDocument, JobInfo } from "./documents.js" */

/** @typedef {(value: any) => any} Handler */

/** Follows one job for one verify: its progress handlers, its end, its stop. */
export class Follower {
  /** @type {Set<{ tell: Handler }>} */ #listeners = new Set();
  /** @type {JobDocument | null} */ #latest = null;
  /** Why nothing more is told, after a stop. @type {{ reason: unknown } | null} */ stopped = null;
  #told = false;
  /** @type {any} */ #resolve;
  /** @type {any} */ #reject;
  /** @type {Promise<JobDocument>} */
  ended = new Promise((resolve, reject) => {
    this.#resolve = resolve;
    this.#reject = reject;
  });
  #leave;
  #forget = () => {};

  /** @param {JobInfo} jobInfo @param {Immortus.Options} options */
  constructor(jobInfo, options) {
    this.#leave = page.subscribe(jobInfo, options, {
      take: (document) => this.#take(document),
      fail: (error) => this.#end(this.#reject, error),
    });
    this.#forget = onAbort(options.signal, () => this.stop(options.signal?.reason));
  }

  /** Calls `progress` with each document before the end, the latest included. @param {Handler} progress */
  listen(progress) {
    const listener = { tell: progress };
    this.#listeners.add(listener);
    const latest = this.#latest;
    if (latest) queueMicrotask(() => this.#latest === latest && this.#call(listener, latest));
  }

  /**
   * `handler`; after a stop the promise rejects instead of calling it, unless the handler is one of code that `awaits`.
   * @param {Handler | null | undefined} handler @param {boolean} awaits
   */
  unlessStopped(handler, awaits) {
    return handler && ((/** @type {any} */ value) => {
      if (!awaits && this.stopped) throw this.stopped.reason;
      this.#told = true;
      return handler(value);
    });
  }

  /** @param {unknown} reason that code that awaits gets */
  stop(reason = new DOMException("No longer followed.", "AbortError")) {
    if (this.#told || this.stopped) return;
    this.stopped = { reason };
    quiet.add(Object(reason)); // a signal may abort with a text
    this.#end(this.#reject, reason);
  }

  /** @param {JobDocument} document */
  #take(document) {
    if (isDone(document)) return this.#end(this.#resolve, document);
    if (isOver(document)) return this.#end(this.#reject, new JobError(document));
    this.#latest = document;
    for (const listener of this.#listeners) this.#call(listener, document);
  }

  /**
   * A handler that throws does not keep the document from the others.
   * @param {{ tell: Handler }} listener @param {JobDocument} document
   */
  #call(listener, document) {
    try {
      if (this.#listeners.has(listener)) listener.tell(document);
    } catch (error) {
      report(error);
    }
  }

  /** @param {Handler} settle @param {unknown} value */
  #end(settle, value) {
    this.#listeners.clear();
    this.#leave();
    this.#forget();
    settle(value);
  }
}

/** The end of a job as a promise, which also reports progress and can be stopped. */
export class Verification {
  #promise;
  #follower;

  /** @param {Promise<any>} promise @param {Follower} follower */
  constructor(promise, follower) {
    this.#promise = hushed(promise, (error) => follower.stopped?.reason === error);
    this.#follower = follower;
  }

  /**
   * Code that awaits calls it with exactly two functions, the resolve and reject of a promise, which a stop must settle.
   * @param {[done?: Handler | null, failed?: Handler | null, progress?: Handler | null]} handlers @returns {any}
   */
  then(...handlers) {
    for (const handler of handlers) checkType(handler, "function", "then");
    const [done, failed, progress] = handlers;
    const follower = this.#follower;
    const awaits = handlers.length === 2;
    if (progress) follower.listen(progress);
    const promise = this.#promise.then(follower.unlessStopped(done, awaits), follower.unlessStopped(failed, awaits));
    return new Verification(promise, follower);
  }

  /** @param {Handler | null} [failed] @returns {any} */
  catch(failed) {
    return new Verification(this.#promise.catch(failed), this.#follower);
  }

  /** @param {(() => void) | null} [settled] @returns {any} */
  finally(settled) {
    return new Verification(this.#promise.finally(settled), this.#follower);
  }

  stop() {
    this.#follower.stop();
  }
}
