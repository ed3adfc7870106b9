/** Requests and their answers. */
import { TryLater } from "./errors.js";
import { csrfToken, isOurs, REQUEST_TIMEOUT } from "./settings.js";
import { deadline } from "./waiting.js";

/** The JSON of a text, or the text itself when it is not JSON. @param {string} text @returns {any} */
export function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** @param {string[]} ids */
export const query = (ids) => String(new URLSearchParams(ids.map((id) => ["job_id", id])));

/** @param {Response} response @param {RegExp} type */
export const isOfType = (response, type) => type.test(response.headers.get("Content-Type") ?? "");

/** In seconds, or a date (RFC 9110, 10.2.3). @param {Response} response */
function retryAfter(response) {
  const value = response.headers.get("Retry-After") ?? "";
  return Math.max(0, Number(value) * 1_000 || Date.parse(value) - Date.now()) || 0;
}

/** @param {string} url @param {RequestInit} init */
async function request(url, init) {
  const response = await fetch(url, { ...init, credentials: "same-origin" });
  return { response, body: parse(await response.text()) };
}

/** @param {string} url @param {BodyInit} [body] @param {Record<string, string>} [more] headers */
export async function post(url, body, more) {
  const ours = isOurs(url);
  const token = ours && csrfToken();
  const headers = { Accept: "application/json", ...(token && { "X-CSRFToken": token }), ...more };
  const mode = ours ? "same-origin" : "cors"; // a redirect must not carry the token to another site either
  return request(url, { method: "POST", headers, body, mode });
}

/**
 * A GET that is given up after a while; throws TryLater when the answer says nothing of the job.
 * @param {string} url @param {RequestInit} init @param {AbortSignal} signal
 */
export async function get(url, init, signal) {
  const over = deadline(REQUEST_TIMEOUT, signal);
  try {
    const { response, body } = await request(url, { ...init, signal: over.signal });
    const cutOff = response.ok && typeof body === "string" && isOfType(response, /json/);
    if (cutOff || [429, 502, 503, 504].includes(response.status)) throw new TryLater(retryAfter(response));
    return { response, body };
  } finally {
    over.forget();
  }
}
