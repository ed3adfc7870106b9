/**
 * The errors of the client: two for pages, one for mistakes of theirs, and two without a message that decide whether and
 * when to try again; and which of them the browser reports.
 */

/** A job that did not finish, or whose state is not known. Carries the document's keys, and all of it as `document`. */
export class JobError extends Error {
  /** @param {Record<string, any>} document @param {ErrorOptions} [options] */
  constructor(document, options) {
    super(document.error?.message || `The job ${document.job_id} is ${document.state ?? "not known"}.`, options);
    this.name = "JobError";
    this.document = document;
    this.job_id = document.job_id ?? null;
    this.error = document.error ?? { code: document.state ?? "error", message: this.message };
    // Meta may use any name, those of Error and __proto__ included; these stay what they are.
    for (const [key, value] of Object.entries(document)) if (!(key in this)) /** @type {any} */ (this)[key] = value;
  }

  /** @param {string | null} jobId @param {string} code @param {string} message @param {ErrorOptions} [options] */
  static of(jobId, code, message, options) {
    return new JobError({ job_id: jobId, error: { code, message } }, options);
  }
}

/** A job that was not started: `status` and `body` of the server's answer; status 0 without an answer. */
export class CreateError extends Error {
  /** @param {number} status @param {unknown} body @param {string} [message] @param {ErrorOptions} [options] */
  constructor(status, body, message = `The server answered ${status} without a job.`, options) {
    super(message, options);
    this.name = "CreateError";
    this.status = status;
    this.body = body;
  }
}

/** The server is busy or does not answer: the client repeats the request, as after a failure of the network. */
export class TryLater extends Error {
  /** @param {number} [after] milliseconds that the server asks for */
  constructor(after = 0) {
    super();
    this.after = after;
  }
}

/** The end of a socket. The close code decides about coming back, never the reason text. */
export class Disconnected extends Error {
  /** @param {number} code @param {number} [after] when to come back from a planned close */
  constructor(code, after) {
    super();
    this.after = after;
    this.comeBack = code < 4500 || code > 4999;
  }
}

/**
 * A mistake of the page is a TypeError at the call.
 * @param {any} given @param {string} allowed the values, with | between them, or words where `isRight` decides
 * @param {string} option @param {unknown} [isRight]
 */
export function check(given, allowed, option, isRight = allowed.split("|").includes(given)) {
  if (!isRight) throw new TypeError(`${option} takes ${allowed}, not ${given}.`);
}

/** What is left out may be of any type. @param {any} given @param {string} types with | between them @param {string} option */
export function checkType(given, types, option) {
  if (given) check(typeof given, types, option);
}

/** @param {any} given @param {string} allowed its keys, with | between them @param {string} option */
export function checkKeys(given, allowed, option) {
  for (const key of typeof given === "object" ? Object.keys(given) : [given]) check(key, allowed, option);
}

/** Errors that need no handler: a stop caused them, or a handler has already received them. */
export const quiet = new WeakSet();

/**
 * `promise`, without an unhandledrejection event for quiet errors, and for those that are quiet here.
 * @param {Promise<any>} promise @param {(error: any) => boolean} [isQuiet] @returns {Promise<any>}
 */
export function hushed(promise, isQuiet) {
  const result = promise.catch((error) => {
    if (quiet.has(error) || isQuiet?.(error)) result.catch(() => {});
    throw error;
  });
  return result;
}

/** @param {unknown} error */
export function report(error) {
  (globalThis.reportError ?? console.error)(error);
}
