/** The access token of a page without a session, and requests that carry it. */
import { TryLater } from "./errors.js";
import { post } from "./http.js";
import { REQUEST_TIMEOUT, settings } from "./settings.js";
import { after } from "./waiting.js";

/** Gets a token when the page has none yet, when its token has expired, or when its token lacks a job. */
export class TokenSource {
  /** @type {((jobIds: string[]) => string | Promise<string>) | null} */ #getter = null;
  /** @type {string | null} */ #text = null;
  #followed;
  /** @type {Set<string>} */ #ids = new Set();
  /** @type {Promise<void> | null} */ #asking = null;

  /**
   * @param {Immortus.Settings["token"]} [given] a token, or what gets one for ids
   * @param {() => string[]} [followed] the ids of the jobs that the page follows
   */
  constructor(given = null, followed = () => []) {
    if (typeof given === "function") this.#getter = given;
    else this.#text = given;
    this.#followed = followed;
  }

  /** Whether the page has tokens at all. */
  get exists() {
    return Boolean(this.#getter || this.#text);
  }

  /** The token for these jobs; null where the page has none. @param {string[]} ids @returns {Promise<string | null>} */
  async get(ids) {
    while (this.#asking) await this.#asking;
    if (this.#getter && (!this.#text || ids.some((id) => !this.#ids.has(id)))) {
      await this.#ask(this.#renew(this.#getter, ids));
    }
    return this.#text;
  }

  /** This token is no longer valid; the server exchanges one that was given as text. @param {string | null} text */
  async expired(text) {
    while (this.#asking) await this.#asking;
    if (text !== this.#text || !text) return;
    if (this.#getter) this.#text = null;
    else await this.#ask(this.#exchange(text));
  }

  /** Who needs the token meanwhile waits. @param {Promise<void>} answer */
  #ask(answer) {
    return (this.#asking = answer.finally(() => (this.#asking = null)));
  }

  /** @param {(jobIds: string[]) => string | Promise<string>} getter @param {string[]} ids */
  async #renew(getter, ids) {
    const all = new Set([...this.#followed(), ...ids]);
    this.#text = await within(REQUEST_TIMEOUT, getter([...all]));
    this.#ids = all;
  }

  /** @param {string} text */
  async #exchange(text) {
    const { response, body } = await post(settings.prefix + "token", undefined, { Authorization: `Bearer ${text}` });
    if (response.ok && body?.token) this.#text = body.token;
  }
}

/** The page's own, until `configure` gives it another. */
export let tokens = new TokenSource();

/** @param {TokenSource} source */
export function useTokens(source) {
  tokens = source;
}

/**
 * Makes a request with the page's token, if it has one; once more when the token has expired meanwhile.
 * @template {{ response: Response, body: any }} T
 * @param {string[]} ids @param {(headers: Record<string, string>) => Promise<T>} request @returns {Promise<T>}
 */
export async function authorized(ids, request) {
  for (let again = true; ; again = false) {
    const token = await tokens.get(ids);
    const answer = await request(token ? { Authorization: `Bearer ${token}` } : {});
    const expired = answer.response.status === 401 && answer.body?.error?.code === "token_expired";
    if (!again || !token || !expired) return answer;
    await tokens.expired(token);
  }
}

/** @template T @param {number} ms @param {T | Promise<T>} promise @returns {Promise<T>} */
function within(ms, promise) {
  return new Promise((resolve, reject) => {
    const timer = after(() => reject(new TryLater()), ms);
    Promise.resolve(promise).then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
