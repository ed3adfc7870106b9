/** What a page calls. */
import { refusal } from "./answers.js";
import { Creation, start } from "./creation.js";
import { identify, isDocument, isFinal, isPathSafe } from "./documents.js";
import { checkKeys, checkType, JobError } from "./errors.js";
import { post, query } from "./http.js";
import { Mailbox } from "./mailbox.js";
import { page } from "./page.js";
import { doc, settings } from "./settings.js";
import { authorized, TokenSource, useTokens } from "./token.js";
import { Follower, Verification } from "./verification.js";
import { onAbort } from "./waiting.js";
/** @import { JobDocument } from "./documents.js" */

/** Tells where the server is; the tag of `{% immortus_script %}` does it. @type {Immortus.Client["configure"]} */
export function configure(given) {
  checkKeys(given, "prefix|websocket|csrfToken|token", "configure");
  const { prefix = settings.prefix, websocket = settings.websocket, csrfToken = settings.csrfToken, token } = given;
  checkType(websocket, "string", "websocket");
  checkType(csrfToken, "string", "csrfToken");
  checkType(token, "string|function", "token");
  Object.assign(settings, { prefix: prefix.replace(/\/*$/, "/"), websocket, csrfToken });
  if (token !== undefined) {
    useTokens(new TokenSource(token, () => page.followed.filter(({ url }) => !url).map(({ id }) => id)));
    page.wake();
  }
  page.changed();
}

/** Data attributes instead of an inline script, which a Content-Security-Policy would forbid. */
export function configureFromTag() {
  const { prefix, websocket, csrfToken } = /** @type {HTMLElement | null | undefined} */ (doc?.currentScript)?.dataset ?? {};
  if (prefix !== undefined) configure({ prefix, websocket: websocket || false, csrfToken });
}

/** Starts a job with a POST; resolves with `{job_id, job_class, …}`. @type {Immortus.Client["create"]} */
export function create(url, data) {
  return new Creation(start(url, data));
}

/** Follows a job to its end: `.then(done, failed, progress)`, `.stop()`. @type {Immortus.Client["verify"]} */
export function verify(jobInfo, options) {
  const follower = new Follower(jobInfo, options ?? {});
  return new Verification(follower.ended, follower);
}

/**
 * The documents of a job as they come, until it is over (`lost` is not: it may be revived) or `options.signal` aborts.
 * A reader that is slower than the job gets only the newest.
 * @type {Immortus.Client["watch"]}
 */
export function watch(jobInfo, options) {
  const documents = /** @type {Mailbox<JobDocument>} */ (new Mailbox(1, () => (leave(), forget())));
  const leave = page.subscribe(jobInfo, options ?? {}, {
    take(document) {
      documents.post(document);
      if (isFinal(document)) documents.close();
    },
    fail: (error) => documents.close(error),
  });
  const forget = onAbort(options?.signal, () => documents.close());
  return documents;
}

/** Asks to cancel a job; resolves with its document, rejects when it is over. @type {Immortus.Client["cancel"]} */
export async function cancel(jobInfo) {
  const { id } = identify(typeof jobInfo === "object" ? { job_id: jobInfo?.job_id } : jobInfo);
  const path = isPathSafe(id) ? `cancel/${encodeURIComponent(id)}` : `cancel?${query([id])}`;
  const { response, body } = await authorized([id], (headers) => post(settings.prefix + path, undefined, headers)).catch((cause) => {
    throw JobError.of(id, "unreachable", "The server could not be reached.", { cause });
  });
  if (!response.ok || !isDocument(body)) throw refusal(id, response, body, undefined, { 403: "forbidden", 409: "not_cancellable" });
  page.receive(id, body);
  return body;
}
