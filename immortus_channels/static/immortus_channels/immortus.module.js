/**
 * Immortus: the live state of background jobs in the browser, pushed over a WebSocket, polled where none gets through.
 *
 *     Immortus.create("/process_image", { picture: file })
 *       .then((job) => job, createFailed)
 *       .then((job) => Immortus.verify(job).then(done, failed, progress));
 *
 * Both transports carry the same versioned documents, so there is one rule: a document counts when its version is higher
 * than that of the one held. What repeats, overlaps or comes late is therefore harmless, and nothing below prevents it.
 *
 * An ES module whose default export is `Immortus`, which is also the global; its functions are exports too. Types are in
 * `immortus.module.d.ts`. `immortus.js` is the same as a classic script, `immortus.module.min.js` the same in fewer bytes.
 *
 * Made from the modules in js/ by `make js-build`: change those.
 */
(function () {
  "use strict";

  /** What is set: how long, how many, how often, and where the server is. All times are milliseconds. */

  const USUAL_INTERVAL = 500;
  const HIDDEN_INTERVAL = 5_000;
  const REQUEST_TIMEOUT = 30_000;
  const REQUEST_IDS = 100;
  const REQUEST_CHARACTERS = 3_500; // gunicorn refuses request lines over 4094 bytes
  const UNKNOWN_GRACE = 5_000;
  const UNKNOWN_GRACE_ONCE_SEEN = 30_000;
  const PATIENCE = 2_500; // how long a job waits for the socket before the page polls for it
  const ATTEMPT_TIMEOUT = 10_000;
  const TURN_TIMEOUT = 60_000; // for the handshakes of other tabs
  const LONGEST_REQUEST_BACKOFF = 4_500; // a page is right five seconds after its server is back
  const LONGEST_SOCKET_BACKOFF = 20_000;
  const STRIKES = 2;
  const SETTLED_AFTER = 10_000;
  const FIRST_PROBE = 60_000;
  const LONGEST_PROBE = 900_000;
  const PING_GRACE = 10_000;
  const TICK = 1_000;
  const SLEPT = 5_000; // between two ticks: the machine was asleep
  const WAKE_TIMEOUT = 2_000;
  const LINGER = 1_000; // the next job of a page often follows at once
  const SPEAKABLE = 250; // a region that is new must be known to screen readers first
  const SPOKEN = 10_000;
  const FRAMELESS = 250; // hidden pages and frames out of sight are not drawn

  /** What other programs than browsers lack: their window and document are undefined. */
  const { window, document: doc, location } = globalThis;

  /** @type {{ prefix: string, websocket: string | false | null, csrfToken: string }} */
  const settings = { prefix: "/immortus/", websocket: "/ws/immortus/", csrfToken: "" };

  /** @param {string} url */
  const absolute = (url) => new URL(url, doc?.baseURI ?? location?.href);

  /** @param {string} url */
  const isOurs = (url) => absolute(url).origin === location?.origin;

  /** The address of the socket, or null where a page cannot have one. */
  function socketAddress() {
    if (!settings.websocket || !globalThis.WebSocket) return null;
    return absolute(settings.websocket).href.replace(/^http/, "ws");
  }

  /** Django's CSRF token: from the settings, the cookie, a meta tag or a form of the page, in this order. */
  function csrfToken() {
    if (settings.csrfToken || !doc) return settings.csrfToken;
    const meta = /** @type {HTMLMetaElement | null} */ (doc.querySelector('meta[name="csrf-token"]'));
    const field = /** @type {HTMLInputElement | null} */ (doc.querySelector("[name=csrfmiddlewaretoken]"));
    return /(?:^|;\s*)csrftoken=([^;]+)/.exec(doc.cookie)?.[1] || meta?.content || field?.value;
  }

  /**
   * The errors of the client: two for pages, one for mistakes of theirs, and two without a message that decide whether and
   * when to try again; and which of them the browser reports.
   */

  /** A job that did not finish, or whose state is not known. Carries the document's keys, and all of it as `document`. */
  class JobError extends Error {
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
  class CreateError extends Error {
    /** @param {number} status @param {unknown} body @param {string} [message] @param {ErrorOptions} [options] */
    constructor(status, body, message = `The server answered ${status} without a job.`, options) {
      super(message, options);
      this.name = "CreateError";
      this.status = status;
      this.body = body;
    }
  }

  /** The server is busy or does not answer: the client repeats the request, as after a failure of the network. */
  class TryLater extends Error {
    /** @param {number} [after] milliseconds that the server asks for */
    constructor(after = 0) {
      super();
      this.after = after;
    }
  }

  /** The end of a socket. The close code decides about coming back, never the reason text. */
  class Disconnected extends Error {
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
  function check(given, allowed, option, isRight = allowed.split("|").includes(given)) {
    if (!isRight) throw new TypeError(`${option} takes ${allowed}, not ${given}.`);
  }

  /** What is left out may be of any type. @param {any} given @param {string} types with | between them @param {string} option */
  function checkType(given, types, option) {
    if (given) check(typeof given, types, option);
  }

  /** @param {any} given @param {string} allowed its keys, with | between them @param {string} option */
  function checkKeys(given, allowed, option) {
    for (const key of typeof given === "object" ? Object.keys(given) : [given]) check(key, allowed, option);
  }

  /** Errors that need no handler: a stop caused them, or a handler has already received them. */
  const quiet = new WeakSet();

  /**
   * `promise`, without an unhandledrejection event for quiet errors, and for those that are quiet here.
   * @param {Promise<any>} promise @param {(error: any) => boolean} [isQuiet] @returns {Promise<any>}
   */
  function hushed(promise, isQuiet) {
    const result = promise.catch((error) => {
      if (quiet.has(error) || isQuiet?.(error)) result.catch(() => {});
      throw error;
    });
    return result;
  }

  /** @param {unknown} error */
  function report(error) {
    (globalThis.reportError ?? console.error)(error);
  }

  /** What the server says of a job, and how a page says which job it means and how to follow it. */

  /** @typedef {Immortus.JobDocument} JobDocument */
  /** @typedef {Immortus.JobInfo | string | number | null | undefined} JobInfo */
  /** @typedef {JobDocument | JobError | null} Answer  null: nothing new */
  /**
   * One verify, watch or element.
   * @typedef {{ take(document: JobDocument): void, fail(error: JobError): void }} Listener
   */
  /** @typedef {Listener & { jobClass?: string, mayPoll: boolean, mayPush: boolean, interval: number }} Subscriber */

  /** @param {JobDocument} document */
  const isDone = (document) => document.completed === true || document.state === "finished";

  /** @param {JobDocument} document */
  const isOver = (document) => isDone(document) || ["failed", "cancelled", "lost"].includes(document.state);

  /** Whether the job stays over: a lost job may be revived. @param {JobDocument} document */
  const isFinal = (document) => isOver(document) && document.state !== "lost";

  /** @param {any} body @returns {body is JobDocument} */
  const isDocument = (body) => typeof body?.state === "string" && Number.isInteger(body.version);

  /** The id as text; empty for what is neither text nor an integer that is still exact. @param {unknown} id */
  const idText = (id) => (typeof id === "string" ? id : Number.isSafeInteger(id) ? String(id) : "");

  /** @param {JobInfo} jobInfo */
  function identify(jobInfo) {
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
  const isPathSafe = (text = "") => /^(?!\.|.*\.$)[\w.~:@-]+$/.test(text);

  /** How to follow a job; a mistyped option is a TypeError. @param {Immortus.Options} options */
  function readOptions(options) {
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

  /** Time: clocks, timers, back-off, and what runs while the page wants it. All times are milliseconds. */

  const now = () => performance.now();

  /** @param {() => void} callback @param {number} ms */
  const after = (callback, ms) => setTimeout(callback, Math.min(ms, 2 ** 31 - 1)); // beyond, a timer fires at once

  /** A number from outside, or `other` for anything else. @param {number} other @param {any} value @returns {number} */
  const numberOr = (other, value) => (Number.isFinite(value) ? value : other);

  /** Full jitter: pages do not all meet a server that comes back at once. @param {number} attempt @param {number} longest */
  const backoff = (attempt, longest) =>
    Math.min(longest, 500 + Math.random() * Math.min(longest, 500 * 2 ** attempt));

  /**
   * Calls back once `signal` aborts, or at once if it has; the result removes the callback.
   * @param {AbortSignal | undefined} signal @param {() => void} callback
   */
  function onAbort(signal, callback) {
    if (signal?.aborted) callback();
    signal?.addEventListener("abort", callback);
    return () => signal?.removeEventListener("abort", callback);
  }

  /**
   * A signal that aborts after `ms`, with `signal`, or by `abort()`; `forget()` ends its timer and forgets `signal`.
   * @param {number} ms @param {AbortSignal} signal
   */
  function deadline(ms, signal) {
    const controller = new AbortController();
    const abort = () => controller.abort();
    const timer = after(abort, ms);
    const forget = onAbort(signal, abort);
    return { signal: controller.signal, abort, forget: () => (clearTimeout(timer), forget()) };
  }

  /**
   * Waits; shorter when `signal` aborts or `bell` rings "wake".
   * @param {number} ms @param {AbortSignal} signal @param {EventTarget} [bell]
   */
  async function sleep(ms, signal, bell) {
    if (ms <= 0) return; // a hidden page would wait a second for a timer of no time
    const over = deadline(ms, signal);
    bell?.addEventListener("wake", over.abort, { signal: over.signal });
    await new Promise((/** @type {(value?: any) => void} */ resolve) => onAbort(over.signal, resolve));
    over.forget();
  }

  /** Runs something while it is wanted, and `linger` longer. */
  class Runner {
    /** @type {AbortController | null} */ #running = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */ #stopping;
    #run;
    #linger;

    /** @param {(signal: AbortSignal) => Promise<void>} run @param {number} linger */
    constructor(run, linger) {
      this.#run = run;
      this.#linger = linger;
    }

    /** @param {unknown} wanted */
    want(wanted) {
      clearTimeout(this.#stopping);
      if (wanted && !this.#running) {
        this.#running = new AbortController();
        this.#run(this.#running.signal).catch(report);
      } else if (!wanted && this.#running) this.#stopping = after(() => this.stop(), this.#linger);
    }

    stop() {
      clearTimeout(this.#stopping);
      this.#running?.abort();
      this.#running = null;
    }
  }

  /** Requests and their answers. */

  /** The JSON of a text, or the text itself when it is not JSON. @param {string} text @returns {any} */
  function parse(text) {
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  }

  /** @param {string[]} ids */
  const query = (ids) => String(new URLSearchParams(ids.map((id) => ["job_id", id])));

  /** @param {Response} response @param {RegExp} type */
  const isOfType = (response, type) => type.test(response.headers.get("Content-Type") ?? "");

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
  async function post(url, body, more) {
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
  async function get(url, init, signal) {
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

  /** The access token of a page without a session, and requests that carry it. */

  /** Gets a token when the page has none yet, when its token has expired, or when its token lacks a job. */
  class TokenSource {
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
  let tokens = new TokenSource();

  /** @param {TokenSource} source */
  function useTokens(source) {
    tokens = source;
  }

  /**
   * Makes a request with the page's token, if it has one; once more when the token has expired meanwhile.
   * @template {{ response: Response, body: any }} T
   * @param {string[]} ids @param {(headers: Record<string, string>) => Promise<T>} request @returns {Promise<T>}
   */
  async function authorized(ids, request) {
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

  /** What the server answers about jobs over HTTP. */

  /**
   * What the server says of each job of a batch.
   * @param {Job[]} batch @param {AbortSignal} signal @returns {Promise<Array<[Job, Answer]>>}
   */
  async function ask(batch, signal) {
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
  function refusal(id, response, body, wanted = "a job document", codes = { 403: "login_required", 409: "wrong_job_class" }) {
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

  /** Starting a job: the data of a form as a request, and what `create` returns. */

  /** @param {string} url @param {Immortus.FormSource} [data] */
  async function start(url, data) {
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
  function encode(data, ours) {
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
  class Creation {
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

  /** From callbacks to `for await`. */

  /**
   * Gives its reader in order what is posted; beyond the capacity it drops the oldest letter.
   * Not a generator, because the `return()` of a generator waits for a pending `next()`.
   * @template T @implements {AsyncIterableIterator<T>}
   */
  class Mailbox {
    /** @type {T[]} */ #letters = [];
    /** @type {Array<(value?: any) => void>} */ #readers = [];
    /** @type {Error | undefined} */ #error;
    #closed = false;
    #capacity;
    #onClose;

    constructor(capacity = Infinity, onClose = () => {}) {
      this.#capacity = capacity;
      this.#onClose = onClose;
    }

    /** @param {T} letter */
    post(letter) {
      if (this.#closed) return;
      if (this.#letters.length === this.#capacity) this.#letters.shift();
      this.#letters.push(letter);
      this.#readers.shift()?.();
    }

    /** The reader still gets what was posted; then reading ends, with `error` if there is one. @param {Error} [error] */
    close(error) {
      if (this.#closed) return;
      this.#closed = true;
      this.#error = error;
      this.#readers.forEach((wake) => wake());
      queueMicrotask(this.#onClose);
    }

    /** @returns {Promise<IteratorResult<T>>} */
    async next() {
      while (!this.#letters.length && !this.#closed) await new Promise((resolve) => this.#readers.push(resolve));
      if (this.#letters.length) return { done: false, value: /** @type {T} */ (this.#letters.shift()) };
      const error = this.#error;
      this.#error = undefined;
      if (error) throw error;
      return { done: true, value: undefined };
    }

    /** @returns {Promise<IteratorResult<T>>} */
    async return() {
      this.#letters = [];
      this.close();
      return { done: true, value: undefined };
    }

    [Symbol.asyncIterator]() {
      return this;
    }
  }

  /** News of jobs at the pace at which the browser draws the page. */

  /** @typedef {() => void} Tell */

  /**
   * Jobs change more often than a page is drawn. The first news of a job in a frame goes out at once, the newest of what
   * follows when the browser draws the next frame; the end of a job waits for neither.
   */
  class AnimationQueue {
    /** @type {Set<object>} */ #told = new Set();
    /** @type {Map<object, Tell>} */ #news = new Map();

    /** Whether news of `job` wait for the next frame, which then calls `tell`. @param {object} job @param {Tell} tell */
    hold(job, tell) {
      if (!globalThis.requestAnimationFrame) return false;
      if (this.#told.has(job)) return Boolean(this.#news.set(job, tell));
      if (!this.#told.size) this.#await();
      this.#told.add(job);
      return false;
    }

    #await() {
      const drawn = () => {
        cancelAnimationFrame(frame);
        clearTimeout(timer);
        const news = this.#news;
        this.#news = new Map();
        this.#told = new Set(news.keys());
        if (news.size) this.#await();
        for (const tell of news.values()) tell();
      };
      const frame = requestAnimationFrame(drawn);
      const timer = after(drawn, FRAMELESS);
    }
  }

  /** One for all jobs, as the page has one frame at a time. */
  const animation = new AnimationQueue();

  /** What the page knows of one job, and its subscribers. */

  /** A job that the page follows. */
  class Job {
    /** @type {JobDocument | null} */ held = null;
    /** @type {Set<Subscriber>} */ subscribers = new Set();
    /** The socket has sent it and will send what changes; until `patience` the page waits for that. */
    pushed = false;
    patience = 0;
    /** A request was made for it; one is under way; the next may be made at `due`, and by the server's Retry-After. */
    asked = false;
    asking = false;
    due = 0;
    notBefore = 0;
    failures = 0;
    /** The server answered with an older document: its store has gone back in time. */
    ahead = false;
    /** It is not on record, so only its class can say who may know of it. */
    unrecorded = false;
    /** @type {number | undefined} */ unknownSince;

    /** @param {string} id @param {string} [url] of a custom verify */
    constructor(id, url) {
      this.id = id;
      this.url = url;
    }

    /** The class to send along: only one that all subscribers name, or one wrong class would fail the others. */
    get jobClass() {
      const [jobClass, ...others] = new Set([...this.subscribers].map((subscriber) => subscriber.jobClass));
      return others.length ? undefined : jobClass;
    }

    get interval() {
      const wanted = Math.min(...[...this.subscribers].map((subscriber) => subscriber.interval));
      return doc?.hidden ? Math.max(wanted, HIDDEN_INTERVAL) : wanted;
    }

    get mayPoll() {
      return this.url || [...this.subscribers].some(({ mayPoll }) => mayPoll);
    }

    get mayPush() {
      return !this.url && [...this.subscribers].some(({ mayPush }) => mayPush);
    }

    /** Whether polling is what keeps it right. */
    get polled() {
      return this.mayPoll && !this.pushed && this.patience <= now();
    }

    /** When to ask for it: the first time at once, beside the socket. */
    get readyAt() {
      if (this.pushed || this.asking || !this.mayPoll) return Infinity;
      return Math.max(this.due, this.notBefore, this.asked ? this.patience : 0);
    }

    /** No socket serves it, or no longer: then the page asks for it at once. */
    poll() {
      if (this.pushed) this.due = 0;
      this.pushed = false;
      this.patience = 0;
    }

    /** @param {TryLater | null} failure of the request that has just ended */
    rest(failure) {
      this.asking = false;
      this.due = now() + (failure ? backoff(this.failures, LONGEST_REQUEST_BACKOFF) : this.interval);
      this.notBefore = failure ? now() + numberOr(0, failure.after) : 0;
      this.failures = failure ? this.failures + 1 : 0;
    }

    /** @param {Answer} answer */
    receive(answer) {
      if (answer instanceof JobError) {
        if (answer.error.code === "unknown_job") {
          this.unrecorded = this.jobClass !== undefined;
          this.unknownSince ??= now();
          this.patience = 0;
          // A page may be ahead of the store, and a store may fail over: an unknown job has time to appear.
          if (now() - this.unknownSince < (this.held ? UNKNOWN_GRACE_ONCE_SEEN : UNKNOWN_GRACE)) return;
        }
        return this.subscribers.forEach((subscriber) => subscriber.fail(answer));
      }
      this.unknownSince = undefined;
      // Nothing is older than NaN: the first answer is news, and each of a custom verify, which has no version.
      const held = (this.url ? null : this.held?.version) ?? NaN;
      this.ahead = Boolean(answer && answer.version < held);
      if (!answer || answer.version <= held) return;
      this.held = answer;
      const subscribers = [...this.subscribers]; // one that comes later has heard these news when it came
      const newest = () => {
        const { held } = this;
        if (held && !isOver(held)) this.tell(held, subscribers.filter((one) => this.subscribers.has(one)));
      };
      if (isOver(answer) || !animation.hold(this, newest)) this.tell(answer, subscribers);
    }

    /** @param {JobDocument} document @param {Subscriber[]} subscribers */
    tell(document, subscribers) {
      const { job_id, job_class } = document;
      for (const subscriber of subscribers) {
        const { jobClass } = subscriber;
        if (this.url || !jobClass || !job_class || jobClass === job_class) subscriber.take(document);
        else subscriber.fail(JobError.of(job_id, "wrong_job_class", `The job is of ${job_class}, not ${jobClass}.`));
      }
    }
  }

  /** The transport that asks: an async generator of [job, answer] that ends when its signal aborts. */

  /**
   * Asks for the jobs that no socket serves; jobs that are due together share a request.
   * @param {Page} page @param {AbortSignal} signal
   */
  async function* polling(page, signal) {
    const answers = /** @type {Mailbox<[Job, Answer]>} */ (new Mailbox());
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const schedule = () => {
      clearTimeout(timer);
      const wait = nextRequest(page.followed) - now();
      if (wait <= 0) askReady();
      else if (wait < Infinity) timer = after(askReady, wait);
    };
    const askReady = () => {
      // Not awaited: a slow answer holds up no other job.
      for (const batch of batches(page.followed.filter((job) => job.readyAt <= now()))) inquire(batch);
      page.announce();
      schedule();
    };
    const inquire = async (/** @type {Job[]} */ batch) => {
      for (const job of batch) job.asked = job.asking = true;
      const failure = await ask(batch, signal).then(
        (all) => (all.forEach((answer) => answers.post(answer)), null),
        (error) => Object(error), // no network, or the page's own function gave no token
      );
      for (const job of batch) job.rest(failure);
      if (!batch[0].url) page.reachable = !failure;
      if (!signal.aborted) schedule();
    };
    page.bell.addEventListener("change", schedule, { signal });
    page.bell.addEventListener("wake", schedule, { signal });
    onAbort(signal, () => (clearTimeout(timer), answers.close()));
    schedule();
    yield* answers;
  }

  /**
   * The time of the next request: when the first job is ready, or a little later if others can then share it.
   * @param {Job[]} jobs
   */
  function nextRequest(jobs) {
    const times = jobs.map((job) => job.readyAt);
    const first = Math.min(...times);
    if (first <= now() || first === Infinity) return first;
    const slack = Math.min(...jobs.map((job) => job.interval)) / 2;
    return Math.max(...times.filter((time) => time <= first + slack));
  }

  /**
   * The jobs of each request. A custom verify, a job whose held document is newer than the server's, and a job that only
   * its class can vouch for go alone: their request gives the version and the class.
   * @param {Job[]} jobs
   */
  function batches(jobs) {
    const alone = (/** @type {Job} */ job) => job.url || job.ahead || job.unrecorded;
    const all = jobs.filter(alone).map((job) => [job]);
    /** @type {Job[]} */
    let shared = [];
    let room = 0;
    for (const job of jobs.filter((job) => !alone(job))) {
      const characters = query([job.id]).length + 1;
      if (room < characters || shared.length === REQUEST_IDS) {
        all.push((shared = []));
        room = REQUEST_CHARACTERS;
      }
      shared.push(job);
      room -= characters;
    }
    return all;
  }

  /** How sockets do: whether one lives, and when the next is worth opening. */

  /** What is heard of a socket, and how long it may be silent. */
  class Pulse {
    #silence = ATTEMPT_TIMEOUT;
    #proveBy = now() + ATTEMPT_TIMEOUT;
    #ticked = Date.now();
    heard = now();

    /** The server says how often it will be heard. @param {any} pingMs */
    expect(pingMs) {
      this.#silence = numberOr(20_000, pingMs) + PING_GRACE;
    }

    /** The socket has served a job, so it need not prove itself any more. */
    prove() {
      this.#proveBy = Infinity;
    }

    /** Whether the socket should have been heard by now. */
    get stopped() {
      return now() - this.heard > this.#silence || now() > this.#proveBy;
    }

    /** Whether the machine was asleep since the last tick. */
    tick() {
      const before = this.#ticked;
      this.#ticked = Date.now();
      return this.#ticked - before > SLEPT && !doc?.hidden; // hidden, it may tick once a minute
    }
  }

  /** When to come back to a socket that fell. */
  class ReconnectPolicy {
    #strikes = 0;
    #attempts = 0;
    #probes = 0;

    /** Whether a socket is worth waiting for. */
    get hopeful() {
      return this.#strikes < STRIKES;
    }

    /**
     * The wait before the next socket.
     * @param {Disconnected} end @param {number | null} goodFor how long it was good, if ever
     * @param {"up" | "down" | "unknown"} http whether requests get answers meanwhile; unknown where the page makes none
     */
    fell({ after: planned }, goodFor, http) {
      // A server that says when to come back works, and a server that does not answer says nothing about sockets.
      if (goodFor === null) this.#strikes += planned === undefined && http === "up" ? 1 : 0;
      else if (goodFor >= SETTLED_AFTER) this.#strikes = this.#attempts = this.#probes = 0;
      if (!this.hopeful) return Math.min(LONGEST_PROBE, FIRST_PROBE * 2 ** this.#probes++) * (0.5 + Math.random());
      if (planned !== undefined && goodFor !== null) return planned;
      const longest = http === "unknown" ? LONGEST_REQUEST_BACKOFF : LONGEST_SOCKET_BACKOFF; // then nothing else keeps it right
      return Math.max(planned ?? 0, backoff(this.#attempts++, longest));
    }
  }

  /** The transport that listens: one life of the page's only socket. */

  /** A socket from its handshake to its end. */
  class Connection {
    #incoming = /** @type {Mailbox<any>} */ (new Mailbox());
    /** By id. @type {Map<string, Job>} */ #watched = new Map();
    /** @type {Set<Job>} */ #missing = new Set();
    /** @type {ReturnType<typeof setTimeout> | undefined} */ #wakeTimer;
    #limit = 0;
    #pulse = new Pulse();
    /** @type {string | null} */ #token = null;
    /** @param {number} code */ #end = (code) => this.#incoming.close(new Disconnected(code));
    #page;
    #socket;

    /** @param {WebSocket} socket @param {Page} page @param {() => void} opened */
    constructor(socket, page, opened) {
      this.#page = page;
      this.#socket = socket;
      socket.onopen = opened;
      socket.onmessage = ({ data }) => {
        this.#pulse.heard = now();
        this.#incoming.post(parse(data));
      };
      socket.onclose = ({ code }) => this.#end(code);
    }

    /** What the server says of jobs; throws Disconnected when the socket ends by itself. @param {AbortSignal} signal */
    async *answers(signal) {
      const life = new AbortController();
      const ticking = setInterval(() => this.#tick(), TICK);
      this.#page.bell.addEventListener("change", () => this.#sync(), { signal: life.signal });
      this.#page.bell.addEventListener("wake", () => this.#recheck(), { signal: life.signal });
      const forget = onAbort(signal, () => this.#incoming.close());
      try {
        for await (const frame of this.#incoming) yield* this.#read(frame);
      } finally {
        forget();
        life.abort();
        clearInterval(ticking);
        clearTimeout(this.#wakeTimer);
        this.#socket.close();
      }
    }

    /** @param {any} frame @returns {Generator<[Job, Answer]>} */
    *#read(frame) {
      const job = this.#watched.get(frame?.job?.job_id ?? frame?.job_id);
      switch (frame?.type) {
        case "hello":
          this.#limit = numberOr(100, frame.max_jobs);
          this.#pulse.expect(frame.ping_ms);
          return this.#sync();
        case "ping":
          return this.#send({ type: "pong" });
        case "bye":
          throw new Disconnected(numberOr(1006, frame.code), numberOr(0, frame.after_ms));
        case "current":
          if (job) yield this.#served(job, null);
          return;
        case "job":
          if (job && isDocument(frame.job)) yield this.#served(job, frame.job);
          return;
        case "error":
          if (frame.code === "token_expired") return this.#renew(job);
          if (job) yield* this.#refused(job, frame);
      }
    }

    /** @param {Job} job @param {JobDocument | null} document @returns {[Job, Answer]} */
    #served(job, document) {
      this.#pulse.prove();
      job.pushed = true;
      job.unrecorded = false;
      if (document && isFinal(document)) this.#watched.delete(job.id); // the server has forgotten it
      return [job, document];
    }

    /** What the socket does not serve is polled. @param {Job} job @param {any} frame @returns {Generator<[Job, Answer]>} */
    *#refused(job, { code, message, authenticated }) {
      job.poll();
      this.#page.changed();
      if (code === "too_many_jobs" && this.#watched.delete(job.id)) this.#limit = this.#watched.size;
      if (code !== "unknown_job") return;
      this.#missing.add(job);
      yield [job, new JobError({ job_id: job.id, error: { code, message }, authenticated })];
    }

    /** Watches what the page follows, as far as there is room. */
    #sync() {
      const wanted = new Set(this.#page.followed.filter((job) => job.mayPush));
      for (const job of this.#watched.values()) {
        if (wanted.has(job)) continue;
        this.#watched.delete(job.id);
        this.#send({ type: "unwatch", job_id: job.id });
        job.poll();
      }
      for (const job of wanted) {
        if (this.#watched.has(job.id) || this.#watched.size >= this.#limit) continue;
        this.#watched.set(job.id, job);
        this.#watch(job);
      }
    }

    /** @param {Job} job */
    #watch(job) {
      const send = (/** @type {string | null} */ token) => {
        this.#token = token;
        if (!this.#watched.has(job.id)) return;
        this.#send({ type: "watch", job_id: job.id, version: job.held?.version ?? 0, ...(token && { token }) });
      };
      if (!tokens.exists) return send(null);
      tokens.get([job.id]).then(send, () => this.#missing.add(job));
    }

    /**
     * The token ends: with a job in the frame, its watch has ended; without, all go on for a while, and new ones follow them.
     * @param {Job | undefined} job
     */
    #renew(job) {
      if (job) job.poll();
      const jobs = job ? [job] : [...this.#watched.values()];
      const later = () => jobs.forEach((one) => this.#missing.add(one));
      tokens.expired(this.#token).then(() => (job ? later() : jobs.forEach((one) => this.#watch(one))), later);
      this.#page.changed();
    }

    /** @param {object} frame */
    #send(frame) {
      if (this.#socket.readyState === 1) this.#socket.send(JSON.stringify(frame));
    }

    /** A socket may be dead without knowing it; a live one answers a watch. */
    #recheck() {
      if (!this.#watched.size) return;
      const asked = now();
      for (const job of this.#watched.values()) this.#watch(job);
      clearTimeout(this.#wakeTimer);
      this.#wakeTimer = after(() => this.#pulse.heard <= asked && this.#end(1006), WAKE_TIMEOUT);
    }

    #tick() {
      if (this.#pulse.tick()) return this.#page.wake();
      if (this.#pulse.stopped) return this.#end(1006);
      for (const job of this.#missing) if (this.#watched.has(job.id)) this.#watch(job);
      this.#missing.clear();
    }
  }

  /** One socket after the other, for as long as sockets are worth having. */

  /** @param {string} address */
  function openSocket(address) {
    try {
      return new WebSocket(address, ["immortus.v1"]);
    } catch {
      throw new Disconnected(4500); // the browser allows none at this address or from this page
    }
  }

  /**
   * Waits while another tab is in a handshake with this address; the result lets the next one begin. Chromium makes them one
   * after the other and does not say which one waits, so a full queue would look like a server that does not answer.
   * @param {string} address @param {AbortSignal} signal @returns {Promise<() => void>}
   */
  async function turn(address, signal) {
    const locks = globalThis.navigator?.locks; // in secure contexts only
    if (!locks) return () => {};
    const waiting = deadline(TURN_TIMEOUT, signal);
    /** @type {Promise<() => void>} */
    const granted = new Promise((resolve) => {
      const hold = () => new Promise((/** @type {(value?: any) => void} */ release) => resolve(release));
      locks.request(`immortus ${address}`, { signal: waiting.signal }, hold).catch(() => resolve(() => {}));
    });
    return granted.finally(waiting.forget);
  }

  /** The sockets of the page, and what their ends have taught it. Polling fills the gaps between them. */
  class Pushing {
    #page;
    #policy = new ReconnectPolicy();
    #comeBackAt = 0;
    /** @type {number | null} */ #goodSince = null;
    /** Whether a new job waits for the socket before the page polls for it. */
    hopeful = true;
    /** The server wants no socket of this page any more. */
    refused = false;

    /** @param {Page} page */
    constructor(page) {
      this.#page = page;
    }

    /** Whether a socket serves the page now. */
    get good() {
      return this.#goodSince !== null;
    }

    wake() {
      if (this.#policy.hopeful) this.#comeBackAt = 0;
    }

    /** @param {AbortSignal} signal */
    async run(signal) {
      while (!this.refused) {
        await sleep(this.#comeBackAt - now(), signal, this.#policy.hopeful ? this.#page.bell : undefined);
        const address = socketAddress();
        if (signal.aborted || !address) return;
        const release = await turn(address, signal);
        if (signal.aborted) return release();
        try {
          await this.#listen(new Connection(openSocket(address), this.#page, release), signal);
        } catch (end) {
          if (!(end instanceof Disconnected)) throw end;
          this.#fell(end);
        } finally {
          release();
          this.#goodSince = null;
          for (const job of this.#page.followed) if (job.pushed) job.poll();
          this.#page.changed();
        }
      }
    }

    /** @param {Connection} connection @param {AbortSignal} signal */
    async #listen(connection, signal) {
      for await (const [job, answer] of connection.answers(signal)) {
        if (!(answer instanceof JobError)) {
          this.#goodSince ??= now();
          this.hopeful = true;
          this.#page.announce();
        }
        job.receive(answer);
      }
    }

    /** @param {Disconnected} end */
    #fell(end) {
      const { followed: jobs, reachable } = this.#page;
      const goodFor = this.#goodSince === null ? null : now() - this.#goodSince;
      const http = !jobs.some((job) => job.mayPoll && !job.url) ? "unknown" : reachable ? "up" : "down";
      this.#comeBackAt = now() + this.#policy.fell(end, goodFor, http);
      this.refused = !end.comeBack;
      this.hopeful = goodFor === null && this.#policy.hopeful && end.comeBack;
      if (!this.hopeful) for (const job of jobs) job.poll();
    }
  }

  /** The jobs of the page, and what feeds them. */

  /** All jobs of the page, fed by one socket and as few requests as possible. */
  class Page {
    /** Rings "change" when the page follows other jobs, and "wake" when it should look at all of them now. */
    bell = new EventTarget();
    /** @type {Map<string, Job>} */ #jobs = new Map();
    #pushing = new Pushing(this);
    #poller = new Runner((signal) => this.#poll(signal), 0);
    #pusher = new Runner((signal) => this.#pushing.run(signal), LINGER);
    /** Whether the last request got an answer. */
    reachable = true;
    #away = false;
    #changing = false;
    #transport = "idle";

    get followed() {
      return [...this.#jobs.values()];
    }

    /**
     * Follows a job until the result is called; calls the listener only after this has returned.
     * @param {JobInfo} jobInfo @param {Immortus.Options} options @param {Listener} listener
     * @param {JobDocument | null} [known] what the page has of the job already
     */
    subscribe(jobInfo, options, listener, known) {
      const way = readOptions(options);
      /** @type {ReturnType<typeof identify>} */
      let info;
      try {
        info = identify(jobInfo);
      } catch (error) {
        queueMicrotask(() => listener.fail(/** @type {JobError} */ (error)));
        return () => {};
      }
      const subscriber = { ...listener, ...way, jobClass: info.jobClass };
      const job = this.#join(info, subscriber);
      const { held } = job;
      if (held) queueMicrotask(() => job.held === held && job.tell(held, [subscriber]));
      if (known) queueMicrotask(() => job.receive(known));
      this.changed();
      return () => {
        job.subscribers.delete(subscriber);
        if (!job.subscribers.size && this.#jobs.get(info.key) === job) this.#jobs.delete(info.key);
        this.changed();
      };
    }

    /** @param {ReturnType<typeof identify>} info @param {Subscriber} subscriber */
    #join({ id, url, key }, subscriber) {
      const job = this.#jobs.get(key) ?? new Job(id, url);
      job.subscribers.add(subscriber);
      const waits = !this.#jobs.has(key) && job.mayPush && this.#pushing.hopeful && socketAddress();
      if (waits) job.patience = now() + PATIENCE;
      this.#jobs.set(key, job);
      return job;
    }

    /** A document that came by another way. @param {string} id @param {JobDocument} document */
    receive(id, document) {
      this.#jobs.get(`id ${id}`)?.receive(document);
    }

    /** Looks once at all that changes in one go. */
    changed() {
      if (this.#changing) return;
      this.#changing = true;
      queueMicrotask(() => {
        this.#changing = false;
        this.#update();
      });
    }

    #update() {
      if (this.#away) return;
      const jobs = this.followed;
      const possible = !this.#pushing.refused && socketAddress();
      for (const { id, mayPoll, subscribers } of possible ? [] : jobs) {
        const error = JobError.of(id, "no_websocket", "No WebSocket, and polling is off.");
        if (!mayPoll) for (const subscriber of subscribers) subscriber.fail(error);
      }
      this.#poller.want(jobs.some((job) => job.mayPoll));
      this.#pusher.want(possible && jobs.some((job) => job.mayPush));
      this.bell.dispatchEvent(new Event("change"));
      this.announce();
    }

    /** The network or the user is back, or the machine awake. */
    wake() {
      this.#pushing.wake();
      for (const job of this.followed) job.due = job.failures = 0;
      this.bell.dispatchEvent(new Event("wake"));
    }

    /**
     * A page in the back/forward cache, or frozen, may hold neither a socket nor a request: the browser would answer the
     * server's pings, and drop the news.
     */
    hide() {
      this.#away = true;
      this.#poller.stop();
      this.#pusher.stop();
    }

    show() {
      if (!this.#away) return; // back from the cache, a page gets both resume and pageshow
      this.#away = false;
      this.wake();
      this.changed();
    }

    /** @param {AbortSignal} signal */
    async #poll(signal) {
      for await (const [job, answer] of polling(this, signal)) job.receive(answer);
    }

    /** Says on the window what feeds the page, when that changes. */
    announce() {
      const fed = () => (this.followed.some((job) => job.polled) ? "polling" : "connecting");
      const transport = !this.#jobs.size ? "idle" : this.#pushing.good ? "websocket" : fed();
      if (transport === this.#transport) return;
      this.#transport = transport;
      window?.dispatchEvent(new CustomEvent("immortus:transport", { detail: { transport } }));
    }
  }

  const page = new Page();

  /** What `verify` returns. */

  /** @typedef {(value: any) => any} Handler */

  /** Follows one job for one verify: its progress handlers, its end, its stop. */
  class Follower {
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
  class Verification {
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

  /** What a page calls. */

  /** Tells where the server is; the tag of `{% immortus_script %}` does it. @type {Immortus.Client["configure"]} */
  function configure(given) {
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
  function configureFromTag() {
    const { prefix, websocket, csrfToken } = /** @type {HTMLElement | null | undefined} */ (doc?.currentScript)?.dataset ?? {};
    if (prefix !== undefined) configure({ prefix, websocket: websocket || false, csrfToken });
  }

  /** Starts a job with a POST; resolves with `{job_id, job_class, …}`. @type {Immortus.Client["create"]} */
  function create(url, data) {
    return new Creation(start(url, data));
  }

  /** Follows a job to its end: `.then(done, failed, progress)`, `.stop()`. @type {Immortus.Client["verify"]} */
  function verify(jobInfo, options) {
    const follower = new Follower(jobInfo, options ?? {});
    return new Verification(follower.ended, follower);
  }

  /**
   * The documents of a job as they come, until it is over (`lost` is not: it may be revived) or `options.signal` aborts.
   * A reader that is slower than the job gets only the newest.
   * @type {Immortus.Client["watch"]}
   */
  function watch(jobInfo, options) {
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
  async function cancel(jobInfo) {
    const { id } = identify(typeof jobInfo === "object" ? { job_id: jobInfo?.job_id } : jobInfo);
    const path = isPathSafe(id) ? `cancel/${encodeURIComponent(id)}` : `cancel?${query([id])}`;
    const { response, body } = await authorized([id], (headers) => post(settings.prefix + path, undefined, headers)).catch((cause) => {
      throw JobError.of(id, "unreachable", "The server could not be reached.", { cause });
    });
    if (!response.ok || !isDocument(body)) throw refusal(id, response, body, undefined, { 403: "forbidden", 409: "not_cancellable" });
    page.receive(id, body);
    return body;
  }

  /** What screen readers say of the jobs on the page without being asked. */

  /** What has been announced: neither another element of the job nor a morphing swap announces it again. */
  const announced = new Set();

  /** @param {object} properties @returns {HTMLElement} */
  const division = (properties) => Object.assign(doc.createElement("div"), properties);

  /** The one of the page. @type {any} */ let region;

  /**
   * Says the words once; the region is outside of the element, which is busy, and in its dialog, as a modal one mutes the rest.
   * @param {HTMLElement} element @param {string} key @param {(string | undefined)[]} words none for what the page was rendered with
   */
  function announce(element, key, words) {
    if (element.hidden || announced.has(key)) return;
    announced.add(key);
    region ??= division({ role: "log", style: "position:fixed;bottom:100%" });
    const place = element.closest("dialog") ?? doc.body;
    if (region.parentNode !== place) place.append(region);
    const line = division({ textContent: words.filter(Boolean).join(", ") });
    after(() => region.append(line), SPEAKABLE);
    after(() => line.remove(), SPOKEN);
  }

  /** What an element shows of a job: its attributes, the texts and the bar inside it. */

  /** @typedef {Record<string, any>} Shown  a document, or an error alone */

  /** Writes into an element, and only what has changed: screen readers speak what is written. */
  class Display {
    #element;
    /** What was written last into each part: a text, or the bar's value. @type {WeakMap<Element, string | null>} */ #written = new WeakMap();
    /** @type {string | null} */ #bar = null;
    /** What the bar is called by its task's name, where nobody has called it anything. @type {string | null | undefined} */ #name;

    /** @param {HTMLElement} element */
    constructor(element) {
      this.#element = element;
    }

    /** Others have replaced what was written; it is written again. */
    renew() {
      this.#written = new WeakMap();
    }

    /** Another job begins, of which nothing is known yet. */
    reset() {
      this.show({ message: "", job_class: "" }, false, false);
    }

    /**
     * Shows and announces a job, or an error alone: then what was known last no longer holds.
     * @param {Shown} job @param {unknown} rests whether nothing more is expected @param {boolean} isRead with the page
     */
    show({ state, stalled, message, percentage, error, job_class }, rests, isRead) {
      const bar = this.#element.querySelector("progress");
      const value = percentage == null ? null : String(percentage);
      const progress = value ? `${+Number(value).toFixed(1)} %` : "";
      this.set("state", state ?? null);
      this.set("stalled", stalled ? "" : null);
      this.#say("message", error?.message ?? message);
      this.#say("percentage", progress);
      const word = this.#say("state", state ?? "", stalled ? "stalled" : state);
      const given = this.#element.getAttribute("label") ?? (bar?.ariaLabel !== this.#name && bar?.ariaLabel);
      const name = given || bar?.labels[0]?.textContent || job_class?.split(".").pop().replace(/_/g, " ");
      if (bar) {
        bar.ariaLabel = name ?? bar.ariaLabel;
        this.#name = given ? null : bar.ariaLabel;
        this.#move(bar, value, rests);
      }
      const quarter = Math.min(3, (percentage / 25) | 0);
      if (rests || state === "running") {
        const key = `${this.#element.getAttribute("job-id")} ${rests ? state : quarter}`;
        announce(this.#element, key, isRead ? [] : [name, word, progress, error?.message]);
      }
    }

    /** @param {string} name @param {string | null} value @param {Element} element */
    set(name, value, element = this.#element) {
      if (element.getAttribute(name) === value) return;
      if (value === null) element.removeAttribute(name);
      else element.setAttribute(name, value);
    }

    /**
     * A bar without a value seems to go on; at rest it keeps the one it had.
     * @param {Element} bar @param {string | null} value @param {unknown} rests
     */
    #move(bar, value, rests) {
      const present = bar.getAttribute("value");
      const shown = (this.#bar = value ?? (rests ? (this.#bar ?? present ?? "0") : null));
      if (this.#isDue(bar, shown, present)) this.set("value", shown, bar);
    }

    /**
     * The element may have a word of its own for the text.
     * @param {string} part @param {string} text @param {string} key
     */
    #say(part, text, key = text) {
      let words = text;
      for (const element of /** @type {NodeListOf<HTMLElement>} */ (this.#element.querySelectorAll(`[data-immortus="${part}"]`))) {
        words = part === "state" ? (element.dataset[key] ?? element.dataset[text] ?? text) : text;
        if (this.#isDue(element, words, element.textContent)) element.textContent = words;
      }
      return words;
    }

    /**
     * Whether to write a part: it was not written yet, or was emptied since. What others made of it otherwise, such as a
     * translation by the browser, stays until there is something else to say.
     * @param {Element} part @param {string | null} wanted @param {string | null} present
     */
    #isDue(part, wanted, present) {
      const isWritten = this.#written.get(part) === wanted;
      this.#written.set(part, wanted);
      return present !== wanted && !(isWritten && present);
    }
  }

  /** <immortus-job job-id="…" job-class="…">: a job in the page without a line of JavaScript. */

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
  class JobElement extends (globalThis.HTMLElement ?? class {}) {
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

  /** The client becomes the page's own: its global, its ears for what happens to the page, its element. */

  // A page put together from fragments may load the file twice, or as a script and as a module; its jobs stay with the first.
  if (!globalThis.Immortus) {
    globalThis.Immortus = { cancel, configure, create, verify, watch };
    configureFromTag();

    window?.addEventListener("online", () => page.wake());
    window?.addEventListener("pagehide", () => page.hide());
    window?.addEventListener("pageshow", ({ persisted }) => persisted && page.show());
    doc?.addEventListener("freeze", () => page.hide());
    doc?.addEventListener("resume", () => page.show());
    doc?.addEventListener("visibilitychange", () => document.hidden || page.wake());

    if (globalThis.customElements && !customElements.get("immortus-job")) customElements.define("immortus-job", JobElement);
  }

})();

/** The same client for code that imports it: the global `Immortus`, which a script of the page may have set before. */
export default globalThis.Immortus;
export const { cancel, configure, create, verify, watch } = globalThis.Immortus;
