/** Starting a job: the data of a form as a request, and what `create` returns. */
import { check, CreateError, hushed, quiet } from "./errors.js";
import { post } from "./http.js";
import { isOurs } from "./settings.js";
/** @import { Handler } from "./verification.js" */

/** @param {string} url @param {Immortus.FormSource} [data] */
export async function start(url, data) {
  /** @type {string | undefined} */ let why;
  const posting = async () => {
    check(typeof (/** @type {any} */ (url)?.href ?? url), "string", "url");
    const fields = encode(data, isOurs(url));
    why = "The server could not be reached.";
    return post(url, fields);
  };
  // A mistake of the page is a failure like any other.
  const { response, body } = await posting().catch((cause) => {
    throw new CreateError(0, null, why ?? cause.message, { cause });
  });
  if (!response.ok || !body?.job_id) throw new CreateError(response.status, body);
  return body;
}

/**
 * A copy of the data as a request's body; a form's own CSRF field stays on our site.
 * @param {Immortus.FormSource} data @param {boolean} ours
 */
export function encode(data, ours) {
  if (data === undefined) return undefined;
  check(data && typeof data, "object", "data");
  const form = globalThis.HTMLFormElement && data instanceof HTMLFormElement ? new FormData(data) : data;
  const all = form instanceof FormData || form instanceof URLSearchParams ? [...form] : fieldsOf(form);
  const fields = all.filter(([name, value]) => value != null && (ours || name !== "csrfmiddlewaretoken"));
  const multipart = form instanceof FormData || fields.some(([, value]) => value instanceof Blob);
  // Twisted, and so Daphne, answers 400 to a multipart body without a part.
  const body = multipart && fields.length > 0 ? new FormData() : new URLSearchParams();
  for (const [name, value] of fields) body.append(name, /** @type {string} */ (value instanceof Blob ? value : textOf(value)));
  return body;
}

/**
 * As Django reads them: a list (or FileList) is a name that repeats.
 * @param {object} data @returns {Array<[string, unknown]>}
 */
function fieldsOf(data) {
  const all = (/** @type {any} */ value) => (typeof value === "object" && value?.[Symbol.iterator] ? [...value] : [value]);
  return Object.entries(data).flatMap(([name, value]) => all(value).map((one) => /** @type {[string, unknown]} */ ([name, one])));
}

/** @param {any} value */
function textOf(value) {
  const plain = value.toJSON?.() ?? value;
  return typeof plain === "object" ? JSON.stringify(plain) : String(plain);
}

/**
 * The start of a job as a promise. Its failure stays one for the later steps of a chain when a handler of
 * `.then(created, failed)` has received it: the next step wants a job. But the page need not handle it twice, and code that
 * awaits gets what the handler returned. `.catch()` recovers, as everywhere.
 */
export class Creation {
  #promise;
  #outcome;

  /** @param {Promise<any>} promise for the next step @param {Promise<any>} [outcome] for code that awaits */
  constructor(promise, outcome = promise) {
    this.#promise = hushed(promise);
    this.#outcome = outcome;
    outcome.catch(() => {}); // the other reports it, if the page handles neither
  }

  /**
   * A page calls `then` as soon as it reads it. When code awaits, the language reads it first and calls it in a later
   * microtask (ECMAScript, NewPromiseResolveThenableJob), with two handlers as a page may: only that tells them apart.
   * @returns {(created?: Handler | null, failed?: Handler | null) => any}
   */
  get then() {
    let atOnce = true;
    queueMicrotask(() => (atOnce = false));
    return (created, failed) => (atOnce ? this.#next(created, failed) : this.#awaited().then(created, failed));
  }

  /** @param {Handler | null} [created] @param {Handler | null} [failed] */
  #next(created, failed) {
    const outcome = this.#promise.then(created, failed);
    const told = (/** @type {unknown} */ error) => outcome.then((value) => {
      if (!(error instanceof CreateError)) return value;
      quiet.add(error);
      throw error;
    });
    return failed ? new Creation(this.#promise.then(() => outcome, told), outcome) : new Creation(outcome);
  }

  /** @param {Handler | null} [failed] @returns {any} */
  catch(failed) {
    return new Creation(this.#promise.catch(failed));
  }

  /** @param {(() => void) | null} [settled] @returns {any} */
  finally(settled) {
    const promise = this.#promise.finally(settled);
    const outcome = promise.catch((error) => {
      if (quiet.has(error)) return this.#outcome;
      throw error;
    });
    return new Creation(promise, outcome);
  }

  /** What it comes to. Code that awaits learns of a failure there and need not handle it in the chain as well. */
  #awaited() {
    this.#promise.catch(() => {});
    return this.#outcome;
  }
}
