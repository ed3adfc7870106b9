/** What the server says of a job, and how a page says which job it means and how to follow it. */
import { check, checkKeys, JobError } from "./errors.js";
import { USUAL_INTERVAL } from "./settings.js";

/** @typedef {Immortus.JobDocument} JobDocument */
/** @typedef {Immortus.JobInfo | string | number | null | undefined} JobInfo */
/** @typedef {JobDocument | JobError | null} Answer  null: nothing new */
/**
 * One verify, watch or element.
 * @typedef {{ take(document: JobDocument): void, fail(error: JobError): void }} Listener
 */
/** @typedef {Listener & { jobClass?: string, mayPoll: boolean, mayPush: boolean, interval: number }} Subscriber */

/** @param {JobDocument} document */
export const isDone = (document) => document.completed === true || document.state === "finished";

/** @param {JobDocument} document */
export const isOver = (document) => isDone(document) || ["failed", "cancelled", "lost"].includes(document.state);

/** Whether the job stays over: a lost job may be revived. @param {JobDocument} document */
export const isFinal = (document) => isOver(document) && document.state !== "lost";

/** @param {any} body @returns {body is JobDocument} */
export const isDocument = (body) => typeof body?.state === "string" && Number.isInteger(body.version);

/** The id as text; empty for what is neither text nor an integer that is still exact. @param {unknown} id */
const idText = (id) => (typeof id === "string" ? id : Number.isSafeInteger(id) ? String(id) : "");

/** @param {JobInfo} jobInfo */
export function identify(jobInfo) {
  const info = typeof jobInfo === "object" ? jobInfo : { job_id: jobInfo };
  const id = idText(info?.job_id);
  const url = info?.verify_job_url || undefined;
  if (!id && !url) {
    throw JobError.of(null, "no_job_id", "Give text or a safe integer, or an object with job_id or verify_job_url.");
  }
  return { id, url, jobClass: info?.job_class || undefined, key: url ? `url ${url}` : `id ${id}` };
}

/**
 * Whether servers and proxies pass it on unchanged in a path: no slash, nothing that reads as "." or "..".
 * @param {string} [text] @returns {text is string}
 */
export const isPathSafe = (text = "") => /^(?!\.|.*\.$)[\w.~:@-]+$/.test(text);

/** How to follow a job; a mistyped option is a TypeError. @param {Immortus.Options} options */
export function readOptions(options) {
  const transport = options.transport ?? "auto";
  const polling = options.polling ?? {};
  const interval = polling.interval ?? USUAL_INTERVAL;
  const { signal } = options;
  checkKeys(Object(options), "transport|polling|signal", "Immortus"); // the index that map() passes has no keys
  checkKeys(polling, "interval", "polling");
  check(transport, "auto|websocket|polling", "transport");
  check(signal, "AbortSignal", "signal", !signal || signal.addEventListener);
  check(interval, "milliseconds above 0", "polling.interval", interval > 0);
  return { mayPoll: transport !== "websocket", mayPush: transport !== "polling", interval };
}
