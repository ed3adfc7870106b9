/** What the server answers about jobs over HTTP. */
import { isDocument, isPathSafe } from "./documents.js";
import { JobError } from "./errors.js";
import { get, isOfType, query } from "./http.js";
import { isOurs, settings } from "./settings.js";
import { authorized } from "./token.js";
/** @import { Answer } from "./documents.js" */
/** @import { Job } from "./job.js" */

/**
 * What the server says of each job of a batch.
 * @param {Job[]} batch @param {AbortSignal} signal @returns {Promise<Array<[Job, Answer]>>}
 */
export async function ask(batch, signal) {
  const [{ id, url, jobClass, held }] = batch;
  const single = batch.length === 1 && !url && isPathSafe(id);
  const path = [id, jobClass].filter(isPathSafe).map(encodeURIComponent).join("/");
  const ids = batch.map((job) => job.id);
  const address = url ?? settings.prefix + (single ? `verify/${path}` : `verify?${query(ids)}`);
  const conditional = single && held && isOurs(address); // another site would have to allow the header
  const headers = { Accept: "application/json", ...(conditional && { "If-None-Match": `"${held.version}"` }) };
  // Our own addresses never redirect: what does leads to a login, perhaps on a site whose answer fetch may not read.
  const request = (/** @type {Record<string, string>} */ more) =>
    get(address, { headers: { ...headers, ...more }, redirect: url ? "follow" : "manual" }, signal);
  const { response, body } = await (url ? request({}) : authorized(ids, request));
  const hasAnswers = response.ok && typeof body === "object";
  return batch.map((job) => {
    if (response.status === 304) return [job, null];
    const answer = hasAnswers && !url ? [single ? body : body?.jobs].flat().find((one) => one?.job_id === job.id) : body;
    const isGood = url ? [true, false, null].includes(answer?.completed) : isDocument(answer);
    return [job, response.ok && isGood ? answer : refusal(job.id, response, answer, url && "a JSON object with `completed` true or false")];
  });
}

/** For pages that show a message without translating its code. @type {Record<string, string>} */
const SENTENCES = {
  login_required: "Please log in to see this job.",
  unknown_job: "There is no such job.",
  not_cancellable: "The job cannot be cancelled.",
};

/**
 * An answer other than the one `wanted`, as an error; `codes` names what a status means to this request.
 * @param {string} id @param {Response} response @param {any} body @param {string} [wanted] @param {Record<number, string>} [codes]
 */
export function refusal(id, response, body, wanted = "a job document", codes = { 403: "login_required", 409: "wrong_job_class" }) {
  if (body?.error?.code) return new JobError({ job_id: id, ...body });
  const { status, type, ok, redirected } = response;
  const html = typeof body === "string" && (isOfType(response, /html/) || /^\s*</.test(body));
  const login = type === "opaqueredirect" || status === 401 || (html && ok && (redirected || /type=.?password/i.test(body)));
  /** @type {Record<number, string | false>} */
  const meanings = { 404: "unknown_job", ...codes, 403: html && codes[403] };
  const code = login ? "login_required" : meanings[status] || (ok ? "bad_answer" : `http_${status}`);
  const error = JobError.of(id, code, SENTENCES[code] ?? `The answer (${status}) is not ${wanted}.`);
  return isDocument(body) ? Object.assign(new JobError(body), { error: error.error }) : error;
}
