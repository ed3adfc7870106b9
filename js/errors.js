/**
 * The errors of the client: two for pages, and two without a message that decide whether and when to try again; and which
 * of them the browser reports.
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
  /** @param {number} status @param {unknown} body @param {ErrorOptions} [options] */
  constructor(status, body, options) {
    super(status ? `The server answered ${status} without a job.` : "The server could not be reached.", options);
    this.name = "CreateError";
    this.status = status;
    this.body = body;
  }
}

/** The network failed or the server is busy: the only failure after which the client repeats a request. */
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
    this.comeBack = !(code >= 4500 && code <= 4999);
  }
}

/** Errors that need no handler: a stop caused them, or a handler has already received them. */
export const quiet = new WeakSet();

/**
 * `promise`, without an unhandledrejection event for quiet errors, and for those that are quiet here.
 * @param {Promise<any>} promise @param {(error: any) => boolean} [isQuiet] @returns {Promise<any>}
 */
export function hushed(promise, isQuiet) {
  const result = new Promise((resolve, reject) => {
    promise.then(resolve, (error) => {
      if (quiet.has(error) || isQuiet?.(error)) result.catch(() => {});
      reject(error);
    });
  });
  return result;
}

/** @param {unknown} error */
export function report(error) {
  (globalThis.reportError ?? console.error)(error);
}
