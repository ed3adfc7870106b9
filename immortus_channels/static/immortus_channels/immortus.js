/**
 * Immortus: the live state of background jobs in the browser, pushed over a WebSocket, polled where none gets through.
 *
 *     Immortus.create("/process_image", { picture: file })
 *       .then((job) => job, createFailed)
 *       .then((job) => Immortus.verify(job).then(done, failed, progress));
 *
 * Both transports carry the same versioned documents, so there is one rule: a document counts when its version is higher
 * than the one held. Whatever repeats, overlaps or comes late is thereby harmless, and nothing below has to prevent it.
 *
 * A classic script and an ES module alike; its one export is the global `Immortus`. Types: `immortus.d.ts`.
 */
(() => {
  "use strict";

  // A page assembled from fragments may load the file twice; its jobs stay with the first.
  if (globalThis.Immortus) return;

  /** @typedef {Immortus.JobDocument} JobDocument */
  /** @typedef {JobDocument | JobError | null} Answer  null: nothing new */
  /** @typedef {(value: any) => any} Handler */
  /**
   * @typedef {object} Subscriber  one verify, watch or element
   * @property {string | undefined} jobClass
   * @property {"auto" | "websocket" | "polling"} transport
   * @property {number} interval
   * @property {(document: JobDocument) => void} take
   * @property {(error: Error) => void} fail
   */

  // ---- Settings (all times in milliseconds)

  const DEFAULT_INTERVAL = 500;
  const HIDDEN_INTERVAL = 5_000;
  const REQUEST_TIMEOUT = 30_000;
  const IDS_PER_REQUEST = 100;
  const QUERY_LENGTH = 3_500; // gunicorn refuses request lines over 4094 bytes
  const UNKNOWN_GRACE = { neverSeen: 5_000, seen: 30_000 };

  const PATIENCE = 2_500; // how long a job waits for the socket before it is polled
  const ATTEMPT_TIMEOUT = 10_000;
  const STRIKES = 2;
  const SETTLED_AFTER = 10_000;
  const PROBE = { first: 60_000, longest: 15 * 60_000 };
  const PING_GRACE = 10_000;
  const WAKE_TIMEOUT = 2_000;
  const SLEEP = 5_000; // a clock that jumped this far: the machine slept
  const LINGER = 1_000;

  const settings = {
    prefix: "/immortus/",
    /** @type {string | false | null} */
    websocket: "/ws/immortus/",
    csrfToken: "",
  };

  /** Tells the client where the server is; `{% immortus_script %}` does it for you. @type {Immortus.Client["configure"]} */
  function configure({ prefix, websocket, csrfToken }) {
    if (prefix !== undefined) settings.prefix = prefix.replace(/\/*$/, "/");
    if (websocket !== undefined) settings.websocket = websocket;
    if (csrfToken !== undefined) settings.csrfToken = csrfToken;
    page.reconfigure();
  }

  /** Takes the settings from the data attributes of the script's own tag, so that no inline script is needed. */
  function configureFromTag() {
    const { prefix, websocket, csrfToken } = /** @type {HTMLElement | null} */ (globalThis.document?.currentScript)?.dataset ?? {};
    if (prefix !== undefined) configure({ prefix, websocket: websocket || false, csrfToken });
  }

  // ---- Public functions

  /**
   * Starts a job with a POST to `url` and resolves with the server's `{job_id, job_class, …}`.
   * A failure handler in `.then(created, createFailed)` does not turn the failure into a success: later steps are skipped.
   * @type {Immortus.Client["create"]}
   */
  function create(url, data) {
    return new Creation(postJob(url, data));
  }

  /**
   * Follows a job to its end: `.then(done, failed, progress)`, `.stop()`.
   * @type {Immortus.Client["verify"]}
   */
  function verify(jobInfo, options = {}) {
    const tracking = new Tracking(jobInfo, options);
    return new Verification(tracking.ended, tracking);
  }

  /**
   * The documents of a job as they come, until it is over; a reader that is slower than the job gets the newest only.
   * It goes on after `lost`, which may be revived, and ends quietly when `options.signal` aborts.
   * @type {Immortus.Client["watch"]}
   */
  function watch(jobInfo, options = {}) {
    /** @type {Mailbox<JobDocument>} */
    const documents = new Mailbox({ capacity: 1, onClose: () => unsubscribe() });
    const unsubscribe = page.subscribe(jobInfo, options, {
      take(document) {
        documents.post(document);
        if (isOver(document) && document.state !== "lost") documents.close();
      },
      fail: (error) => documents.close(error),
    });
    onAbort(options.signal, () => documents.close());
    return documents;
  }

  /**
   * Asks the server to cancel a job; resolves with its document, rejects when it is over or cannot be cancelled.
   * @type {Immortus.Client["cancel"]}
   */
  async function cancel(jobInfo) {
    const { id } = identify(jobInfo);
    const path = isPathSafe(id) ? `cancel/${encodeURIComponent(id)}` : `cancel?${query([id])}`;
    const response = await post(settings.prefix + path);
    const body = await readBody(response);
    if (!response.ok || !isDocument(body)) throw refusal(id, response, body);
    page.receive(id, body);
    return body;
  }

  // ---- Documents and errors

  /** @param {JobDocument} document */
  function isOver(document) {
    return document.completed === true || ["finished", "failed", "cancelled", "lost"].includes(document.state);
  }

  /** @param {any} body @returns {body is JobDocument} */
  function isDocument(body) {
    return typeof body?.state === "string" && Number.isInteger(body.version);
  }

  /** A job that did not finish, or that the server will not tell about. Carries the document's keys, and it whole as `document`. */
  class JobError extends Error {
    /** @param {Record<string, any>} document @param {ErrorOptions} [options] */
    constructor(document, options) {
      super(document.error?.message || `The job ${document.job_id} is ${document.state ?? "not available"}.`, options);
      this.name = "JobError";
      this.document = document;
      /** @type {string | null} */
      this.job_id = document.job_id ?? null;
      /** @type {{code: string, message: string}} */
      this.error = document.error ?? { code: document.state ?? "error", message: this.message };
      // The keys of Error itself (and __proto__) stay Error's: meta is free to use them.
      for (const [key, value] of Object.entries(document)) if (!(key in this)) Object.assign(this, { [key]: value });
    }

    /** @param {string | null} jobId @param {string} code @param {string} message @param {ErrorOptions} [options] */
    static of(jobId, code, message, options) {
      return new JobError({ job_id: jobId, error: { code, message } }, options);
    }
  }

  /** The server did not start a job: `status` and `body` of its answer; status 0 when there was none. */
  class CreateError extends Error {
    /** @param {number} status @param {unknown} body @param {ErrorOptions} [options] */
    constructor(status, body, options) {
      super(status ? `The server answered ${status} and started no job.` : "The server could not be reached.", options);
      this.name = "CreateError";
      this.status = status;
      this.body = body;
    }
  }

  /** The network or a busy server: the one failure of a request that is asked again. */
  class TryLater extends Error {
    /** @param {number} [after] what the server asks for */
    constructor(after = 0) {
      super("Asked again later.");
      this.after = after;
    }
  }

  /** The end of a socket. Its close code decides, never the reason text. */
  class Disconnected extends Error {
    /** @param {number} code @param {number} [after] of a planned close: when to come back */
    constructor(code, after) {
      super(`The socket was closed with ${code}.`);
      this.after = after;
      this.comeBack = !(code >= 4500 && code <= 4999);
    }
  }

  // ---- Waiting

  const now = () => performance.now();

  /** @param {number} ms */
  const timerSafe = (ms) => Math.min(ms, 2 ** 31 - 1); // beyond, setTimeout fires at once

  /** Full jitter, so that a server that comes back is not met by everybody at once. @param {number} attempt */
  function backoff(attempt) {
    return Math.min(20_000, 500 + Math.random() * Math.min(20_000, 500 * 2 ** attempt));
  }

  /** Calls the listener when the signal aborts, or has; until the returned function is called. @param {AbortSignal | undefined} signal @param {() => void} listener */
  function onAbort(signal, listener) {
    if (signal?.aborted) listener();
    signal?.addEventListener("abort", listener, { once: true });
    return () => signal?.removeEventListener("abort", listener);
  }

  /** Waits for `ms`; shorter when `signal` aborts or `bell` rings "wake". @param {number} ms @param {AbortSignal} signal @param {EventTarget} [bell] */
  async function sleep(ms, signal, bell) {
    if (ms <= 0) return; // a hidden page would wait a second for a timer of no time
    const over = new AbortController();
    const end = () => over.abort();
    const timer = setTimeout(end, timerSafe(ms));
    const forget = onAbort(signal, end);
    bell?.addEventListener("wake", end, { signal: over.signal });
    await new Promise((resolve) => onAbort(over.signal, () => resolve(undefined)));
    clearTimeout(timer);
    forget();
  }

  /** @param {unknown} error */
  function report(error) {
    if (globalThis.reportError) globalThis.reportError(error);
    else console.error(error);
  }

  /**
   * Turns callbacks into `for await`: what is posted is read in order, the oldest is dropped beyond the capacity.
   * Not a generator, whose `return()` waits for a pending `next()`.
   * @template T
   * @implements {AsyncIterableIterator<T>}
   */
  class Mailbox {
    /** @type {T[]} */ #letters = [];
    /** @type {Array<() => void>} */ #readers = [];
    /** @type {Error | undefined} */ #error;
    #closed = false;
    #capacity;
    #onClose;

    constructor({ capacity = Infinity, onClose = () => {} } = {}) {
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

    /** What was posted is still read; then the reading ends, or throws `error`. @param {Error} [error] */
    close(error) {
      if (this.#closed) return;
      this.#closed = true;
      this.#error = error;
      for (const wake of this.#readers.splice(0)) wake();
      queueMicrotask(this.#onClose);
    }

    /** @returns {Promise<IteratorResult<T>>} */
    async next() {
      while (!this.#letters.length && !this.#closed) {
        await /** @type {Promise<void>} */ (new Promise((resolve) => this.#readers.push(resolve)));
      }
      if (this.#letters.length) return { done: false, value: /** @type {T} */ (this.#letters.shift()) };
      const error = this.#error;
      this.#error = undefined;
      if (error) throw error;
      return { done: true, value: undefined };
    }

    /** @returns {Promise<IteratorResult<T>>} */
    async return() {
      this.#letters.length = 0;
      this.close();
      return { done: true, value: undefined };
    }

    [Symbol.asyncIterator]() {
      return this;
    }
  }

  // ---- One job

  /** @param {Immortus.JobInfo | string | null | undefined} jobInfo */
  function identify(jobInfo) {
    const info = typeof jobInfo === "string" ? { job_id: jobInfo } : jobInfo;
    const id = String(info?.job_id ?? "");
    if (!id && !info?.verify_job_url) {
      throw JobError.of(null, "no_job_id", "There is no job to follow: give an object with job_id or verify_job_url, or an id.");
    }
    return { id, jobClass: info?.job_class || undefined, url: info?.verify_job_url || undefined };
  }

  /** Whether servers and proxies leave the text alone in a path: no slash, nothing that reads as "." or "..". @param {string} text */
  function isPathSafe(text) {
    return /^[\w.~:@-]+$/.test(text) && !text.startsWith(".") && !text.endsWith(".");
  }

  /** @param {string} id @param {string} [url] */
  const keyOf = (id, url) => (url === undefined ? `job ${id}` : `url ${url}`);

  /** @param {JobDocument} document @param {string | undefined} wanted */
  function wrongJobClass({ job_id, job_class }, wanted) {
    return JobError.of(job_id, "wrong_job_class", `The job ${job_id} is of the class ${job_class}, not ${wanted}.`);
  }

  /** @param {string} id */
  function noWebSocket(id) {
    return JobError.of(id, "no_websocket", `There is no WebSocket to follow the job ${id} with, and its options allow no polling.`);
  }

  /** What the page knows of one job, and who wants to know it. */
  class Job {
    /** @type {JobDocument | null} */ held = null;
    /** @type {Set<Subscriber>} */ subscribers = new Set();

    /** The socket has told of this job and will tell what changes. */
    pushed = false;
    /** Until when the socket is waited for. */
    patience = 0;
    /** When it may be asked next, and what the server's Retry-After demands. */
    due = 0;
    notBefore = 0;
    failures = 0;
    asked = false;
    asking = false;
    /** @type {number | undefined} */ unknownSince;

    /** @param {string} id @param {string | undefined} url of a custom verify */
    constructor(id, url) {
      this.id = id;
      this.url = url;
    }

    /** The class to send along: only one that all subscribers name, or the wrong one of them would fail the others. */
    get jobClass() {
      const classes = new Set([...this.subscribers].map((subscriber) => subscriber.jobClass));
      return classes.size === 1 ? [...classes][0] : undefined;
    }

    get interval() {
      const wanted = Math.min(...[...this.subscribers].map((subscriber) => subscriber.interval));
      return globalThis.document?.hidden ? Math.max(wanted, HIDDEN_INTERVAL) : wanted;
    }

    get mayPoll() {
      return this.url !== undefined || [...this.subscribers].some(({ transport }) => transport !== "websocket");
    }

    get maySocket() {
      return this.url === undefined && [...this.subscribers].some(({ transport }) => transport !== "polling");
    }

    /** Whether polling is what keeps it right. */
    get polled() {
      return this.mayPoll && !this.pushed && this.patience <= now();
    }

    /** When to ask for it over HTTP: the first time at once, beside the socket. */
    get readyAt() {
      if (this.pushed || this.asking || !this.mayPoll) return Infinity;
      return Math.max(this.due, this.notBefore, this.asked ? this.patience : 0);
    }

    /** Nothing heard yet, by whatever transport. @param {number} patience */
    restart(patience) {
      this.pushed = this.asked = false;
      this.due = this.failures = 0;
      this.patience = patience;
    }

    /** No socket serves it (any more). */
    poll() {
      if (this.pushed) this.due = 0;
      this.pushed = false;
      this.patience = 0;
    }

    /** Asked and answered, or not; the next request may follow after this. @param {TryLater | void} failure */
    rest(failure) {
      this.asking = false;
      this.failures = failure ? this.failures + 1 : 0;
      this.due = now() + (failure ? backoff(this.failures - 1) : this.interval);
      this.notBefore = failure ? now() + failure.after : 0;
    }

    /** @param {Answer} answer */
    receive(answer) {
      if (answer instanceof JobError && answer.error.code === "unknown_job" && this.#mayAppear()) return;
      if (answer instanceof Error) return this.subscribers.forEach((subscriber) => subscriber.fail(answer));
      this.unknownSince = undefined;
      if (!answer || !this.#isNews(answer)) return;
      this.held = answer;
      this.tell(answer, this.subscribers);
    }

    /** @param {JobDocument} document @param {Iterable<Subscriber>} subscribers */
    tell(document, subscribers) {
      for (const subscriber of [...subscribers]) {
        if (!this.subscribers.has(subscriber)) continue; // a handler of another stopped it
        if (this.#isOfClass(document, subscriber.jobClass)) subscriber.take(document);
        else subscriber.fail(wrongJobClass(document, subscriber.jobClass));
      }
    }

    /** @param {JobDocument} document @param {string | undefined} jobClass */
    #isOfClass(document, jobClass) {
      return this.url !== undefined || !jobClass || !document.job_class || document.job_class === jobClass;
    }

    /** An answer of a custom verify has no version: each is news. @param {JobDocument} document */
    #isNews(document) {
      return this.url !== undefined || !this.held || document.version > this.held.version;
    }

    /** A request may overtake the store, and a store may fail over: an unknown job is given time to appear. */
    #mayAppear() {
      this.unknownSince ??= now();
      this.patience = 0;
      return now() - this.unknownSince < (this.held ? UNKNOWN_GRACE.seen : UNKNOWN_GRACE.neverSeen);
    }
  }

  // ---- HTTP

  /** @param {string} url */
  function isSameOrigin(url) {
    const base = globalThis.document?.baseURI ?? globalThis.location?.href;
    return base !== undefined && new URL(url, base).origin === globalThis.location?.origin;
  }

  function csrfToken() {
    const { document } = globalThis;
    return (
      settings.csrfToken ||
      document?.cookie.match(/(?:^|;\s*)csrftoken=([^;]+)/)?.[1] ||
      /** @type {HTMLMetaElement | null | undefined} */ (document?.querySelector('meta[name="csrf-token"]'))?.content ||
      /** @type {HTMLInputElement | null | undefined} */ (document?.querySelector("[name=csrfmiddlewaretoken]"))?.value ||
      ""
    );
  }

  /** @param {string} url @param {BodyInit} [body] */
  function post(url, body) {
    const own = isSameOrigin(url);
    const token = own && csrfToken();
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json", ...(token && { "X-CSRFToken": token }) };
    // "same-origin" keeps a redirect from carrying the token to another site.
    return fetch(url, { method: "POST", headers, body, credentials: "same-origin", mode: own ? "same-origin" : "cors" });
  }

  /** @param {string} url @param {Immortus.FormSource} [data] */
  async function postJob(url, data) {
    let response, body;
    try {
      response = await post(url, formBody(data, isSameOrigin(url)));
      body = await readBody(response);
    } catch (error) {
      throw new CreateError(response?.status ?? 0, null, { cause: error });
    }
    if (!response.ok || !body?.job_id) throw new CreateError(response.status, body);
    return body;
  }

  /** A copy of the caller's data to send; a form's own CSRF field stays on its site. @param {Immortus.FormSource} data @param {boolean} own */
  function formBody(data, own) {
    if (!data) return undefined;
    const fields = formFields(data).filter(([name]) => own || name !== "csrfmiddlewaretoken");
    const multipart = isForm(data) || fields.some(([, value]) => value instanceof Blob);
    /** @type {any} the two are alike for our purpose, and not related for the type checker */
    const body = multipart ? new FormData() : new URLSearchParams();
    for (const [name, value] of fields) body.append(name, value instanceof Blob ? value : formText(value));
    return /** @type {FormData | URLSearchParams} */ (body);
  }

  /** @param {unknown} data @returns {data is HTMLFormElement | FormData} */
  function isForm(data) {
    return data instanceof FormData || (globalThis.HTMLFormElement !== undefined && data instanceof HTMLFormElement);
  }

  /** @param {NonNullable<Immortus.FormSource>} data @returns {Array<[string, unknown]>} */
  function formFields(data) {
    if (data instanceof FormData || data instanceof URLSearchParams) return [...data];
    if (isForm(data)) return [...new FormData(data)];
    const all = (/** @type {unknown} */ value) => (Array.isArray(value) ? value : [value]);
    return Object.entries(data).flatMap(([name, value]) => all(value).filter((one) => one != null).map((one) => /** @type {[string, unknown]} */ ([name, one])));
  }

  /** @param {any} value */
  function formText(value) {
    const plain = value.toJSON?.() ?? value;
    return typeof plain === "object" ? JSON.stringify(plain) : String(plain);
  }

  /** The JSON of an answer, or its text when it is none. @param {Response} response @returns {Promise<any>} */
  async function readBody(response) {
    const text = await response.text();
    try {
      return JSON.parse(text);
    } catch {
      return text;
    }
  }

  /**
   * The answer to a GET; throws TryLater when there is none worth having.
   * @param {string} url @param {Record<string, string>} headers @param {RequestRedirect} redirect @param {AbortSignal} signal
   */
  async function get(url, headers, redirect, signal) {
    const request = new AbortController();
    const timer = setTimeout(() => request.abort(), REQUEST_TIMEOUT);
    signal.addEventListener("abort", () => request.abort(), { signal: request.signal });
    try {
      const response = await fetch(url, { headers, redirect, credentials: "same-origin", signal: request.signal });
      const body = await readBody(response);
      const truncated = typeof body === "string" && /json/.test(response.headers.get("Content-Type") ?? "") && response.ok;
      if (truncated || [429, 502, 503, 504].includes(response.status)) throw new TryLater(retryAfter(response));
      return { response, body };
    } catch (error) {
      throw error instanceof TryLater ? error : new TryLater();
    } finally {
      clearTimeout(timer);
      request.abort();
    }
  }

  /** In seconds or as a date (RFC 9110, 10.2.3). @param {Response} response */
  function retryAfter(response) {
    const value = response.headers.get("Retry-After") ?? "";
    const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
    return Math.max(0, ms || 0);
  }

  /** @param {string[]} ids */
  function query(ids) {
    return new URLSearchParams(ids.map((id) => ["job_id", id])).toString();
  }

  /** Whether the job has an address and an ETag of its own; others go by query. @param {Job[]} batch */
  function asksForOne(batch) {
    return batch.length === 1 && batch[0].url === undefined && isPathSafe(batch[0].id);
  }

  /** @param {Job[]} batch */
  function verifyUrl(batch) {
    const [{ url, id, jobClass }] = batch;
    if (url !== undefined) return url;
    if (!asksForOne(batch)) return `${settings.prefix}verify?${query(batch.map((job) => job.id))}`;
    const path = jobClass && isPathSafe(jobClass) ? [id, jobClass] : [id];
    return `${settings.prefix}verify/${path.map(encodeURIComponent).join("/")}`;
  }

  /** What the server says of each job of the batch. @param {Job[]} batch @param {AbortSignal} signal @returns {Promise<Array<[Job, Answer]>>} */
  async function ask(batch, signal) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    const [{ url: custom, held }] = batch;
    if (asksForOne(batch) && held) headers["If-None-Match"] = `"${held.version}"`;
    // Our own addresses never redirect: where one does, it is to a login page, perhaps on a site that fetch may not read.
    const { response, body } = await get(verifyUrl(batch), headers, custom === undefined ? "manual" : "follow", signal);
    if (response.status === 304) return batch.map((job) => [job, null]);
    if (!response.ok || typeof body !== "object") return batch.map((job) => [job, refusal(job.id, response, body)]);
    const answers = custom === undefined && Array.isArray(body?.jobs) ? body.jobs : [body];
    return batch.map((job) => [job, answerFor(job, answers)]);
  }

  /** @param {Job} job @param {any[]} answers @returns {Answer} */
  function answerFor(job, answers) {
    const custom = job.url !== undefined;
    const answer = custom ? answers[0] : answers.find((one) => one?.job_id === job.id);
    if (custom ? [true, false, null].includes(answer?.completed) : isDocument(answer)) return answer;
    if (answer?.error?.code) return new JobError(answer);
    return JobError.of(job.id, "bad_answer", "The answer is no job document; it must be a JSON object, with `completed` true or false.");
  }

  /** An answer that is not what was asked for, as an error. @param {string} id @param {Response} response @param {any} body */
  function refusal(id, response, body) {
    if (isDocument(body)) return new JobError(body);
    if (body?.error?.code) return new JobError({ job_id: id, ...body });
    const { status } = response;
    const html = typeof body === "string" && (/html/.test(response.headers.get("Content-Type") ?? "") || /^\s*</.test(body));
    const code =
      response.type === "opaqueredirect" || status === 401 || (html && (response.ok || status === 403))
        ? "login_required"
        : ({ 404: "unknown_job", 409: "wrong_job_class" }[status] ?? (response.ok ? "bad_answer" : `http_${status}`));
    return JobError.of(id, code, `The server's answer (${status}) tells nothing about the job ${id}: ${code}.`);
  }

  // ---- Transports: async generators of [job, answer] that end when their signal aborts

  /** Asks for each job when it is ready; those that are ready together share a request. @param {Page} page @param {AbortSignal} signal */
  async function* polling(page, signal) {
    /** @type {Mailbox<[Job, Answer]>} */
    const answers = new Mailbox();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;

    const schedule = () => {
      clearTimeout(timer);
      const wait = nextRequest(page.jobs) - now();
      if (wait <= 0) askReady();
      else if (wait < Infinity) timer = setTimeout(askReady, timerSafe(wait));
    };
    const askReady = () => {
      for (const batch of batches(page.jobs.filter((job) => job.readyAt <= now()))) inquire(batch);
      page.announce();
      schedule();
    };
    // Not awaited where it is called: a slow answer holds up no other job.
    const inquire = async (/** @type {Job[]} */ batch) => {
      for (const job of batch) job.asked = job.asking = true;
      const pause = await ask(batch, signal).then(
        (all) => void all.forEach((one) => answers.post(one)),
        (/** @type {TryLater} */ error) => error,
      );
      for (const job of batch) job.rest(pause);
      schedule();
    };

    page.bell.addEventListener("change", schedule, { signal });
    page.bell.addEventListener("wake", schedule, { signal });
    onAbort(signal, () => (clearTimeout(timer), answers.close()));
    schedule();
    yield* answers;
  }

  /** The time of the next request: that of the first job, and a little later when others can then share it. @param {Job[]} jobs */
  function nextRequest(jobs) {
    const times = jobs.map((job) => job.readyAt);
    const first = Math.min(...times);
    if (first <= now() || first === Infinity) return first;
    const slack = Math.min(...jobs.map((job) => job.interval)) / 2;
    return Math.max(...times.filter((time) => time <= first + slack));
  }

  /** The requests that a set of jobs needs: each custom verify its own, the others as many together as fit. @param {Job[]} jobs */
  function batches(jobs) {
    /** @type {Job[][]} */
    const all = [];
    let room = { ids: 0, length: 0 };
    for (const job of jobs) {
      const length = query([job.id]).length + 1;
      if (job.url !== undefined) all.unshift([job]);
      else if (room.ids >= 1 && room.length >= length) all[all.length - 1].push(job);
      else (room = { ids: IDS_PER_REQUEST, length: QUERY_LENGTH }), all.push([job]);
      if (job.url === undefined) room = { ids: room.ids - 1, length: room.length - length };
    }
    return all;
  }

  /** The address of the socket, or null where there can be none. */
  function socketAddress() {
    if (!settings.websocket || !globalThis.WebSocket) return null;
    const url = new URL(settings.websocket, globalThis.document?.baseURI ?? globalThis.location?.href);
    url.protocol = url.protocol.replace("http", "ws");
    return url.href;
  }

  /** @param {string} address */
  function openSocket(address) {
    try {
      return new WebSocket(address, ["immortus.v1"]);
    } catch {
      throw new Disconnected(4500); // an address or a page for which the browser allows none
    }
  }

  /** @param {unknown} data @returns {any} */
  function parseFrame(data) {
    try {
      return JSON.parse(String(data));
    } catch {
      return null;
    }
  }

  /** One life of the page's one socket. */
  class Connection {
    /** @type {Mailbox<any>} */ #frames = new Mailbox();
    /** @type {Set<Job>} */ #watched = new Set();
    /** @type {ReturnType<typeof setTimeout> | undefined} */ #wakeTimer;
    #limit = 0;
    #silence = ATTEMPT_TIMEOUT;
    #proveBy = now() + ATTEMPT_TIMEOUT;
    #heard = now();
    #ticked = Date.now();
    #page;
    #socket;

    /** @param {string} address @param {Page} page */
    constructor(address, page) {
      this.#page = page;
      this.#socket = openSocket(address);
      this.#socket.onmessage = ({ data }) => {
        this.#heard = now();
        this.#frames.post(parseFrame(data));
      };
      this.#socket.onclose = ({ code }) => this.#frames.close(new Disconnected(code));
    }

    /** What the server tells about jobs; throws Disconnected at the socket's end. @param {AbortSignal} signal */
    async *answers(signal) {
      const life = new AbortController();
      const ticking = setInterval(() => this.#tick(), 1_000);
      this.#page.bell.addEventListener("change", () => this.#sync(), { signal: life.signal });
      this.#page.bell.addEventListener("wake", () => this.#recheck(), { signal: life.signal });
      onAbort(signal, () => this.#frames.close());
      try {
        for await (const frame of this.#frames) yield* this.#read(frame);
      } finally {
        life.abort();
        clearInterval(ticking);
        clearTimeout(this.#wakeTimer);
        this.#socket.onmessage = this.#socket.onclose = null;
        this.#socket.close();
      }
    }

    /** @param {any} frame @returns {Generator<[Job, Answer]>} */
    *#read(frame) {
      const job = this.#find(frame?.job_id ?? frame?.job?.job_id);
      switch (frame?.type) {
        case "hello":
          this.#limit = frame.max_jobs ?? IDS_PER_REQUEST;
          this.#silence = (frame.ping_ms ?? 20_000) + PING_GRACE;
          return this.#sync();
        case "ping":
          return this.#send({ type: "pong" });
        case "bye":
          throw new Disconnected(frame.code, frame.after_ms ?? 0);
        case "current":
          if (job) yield this.#useful(job, null);
          return;
        case "job":
          if (job && isDocument(frame.job)) yield this.#useful(job, frame.job);
          return;
        case "error":
          if (job) yield* this.#refused(job, frame);
      }
    }

    /** @param {Job} job @param {JobDocument | null} answer @returns {[Job, Answer]} */
    #useful(job, answer) {
      this.#proveBy = Infinity;
      job.pushed = true;
      // The server forgets a watch after this; a lost job may be revived.
      if (answer && isOver(answer) && answer.state !== "lost") this.#watched.delete(job);
      return [job, answer];
    }

    /** What the socket does not serve is polled; a job it does not know is also watched again at the next tick. @param {Job} job @param {any} frame */
    *#refused(job, { code, message, authenticated }) {
      job.poll();
      this.#page.changed();
      if (code === "unknown_job" || code === "too_many_jobs") this.#watched.delete(job);
      if (code === "too_many_jobs") this.#limit = this.#watched.size;
      if (code === "unknown_job") yield /** @type {[Job, Answer]} */ ([job, new JobError({ job_id: job.id, error: { code, message }, authenticated })]);
    }

    /** @param {string | undefined} id */
    #find(id) {
      return [...this.#watched].find((job) => job.id === id);
    }

    /** Watches what the page follows, as far as there is room. */
    #sync() {
      const wanted = this.#page.jobs.filter((job) => job.maySocket);
      for (const job of this.#watched) {
        if (wanted.includes(job)) continue;
        this.#watched.delete(job);
        this.#send({ type: "unwatch", job_id: job.id });
        job.poll();
      }
      for (const job of wanted) {
        if (this.#watched.has(job) || this.#watched.size >= this.#limit) continue;
        this.#watched.add(job);
        this.#watch(job);
      }
    }

    /** @param {Job} job */
    #watch(job) {
      this.#send({ type: "watch", job_id: job.id, version: job.held?.version ?? 0 });
    }

    /** @param {object} frame */
    #send(frame) {
      if (this.#socket.readyState === 1) this.#socket.send(JSON.stringify(frame));
    }

    /** After a sleep a socket may be dead without knowing it: whoever is alive answers a watch. */
    #recheck() {
      if (this.#watched.size === 0) return;
      const asked = now();
      for (const job of this.#watched) this.#watch(job);
      clearTimeout(this.#wakeTimer);
      this.#wakeTimer = setTimeout(() => this.#heard <= asked && this.#die(), WAKE_TIMEOUT);
    }

    #tick() {
      const slept = Date.now() - this.#ticked > SLEEP && !globalThis.document?.hidden; // hidden pages tick once a minute
      this.#ticked = Date.now();
      if (slept) this.#page.wake();
      else if (now() - this.#heard > this.#silence || now() > this.#proveBy) this.#die();
      else this.#sync();
    }

    #die() {
      this.#frames.close(new Disconnected(1006));
    }
  }

  // ---- The page: its jobs, and the ladder of transports that feeds them

  /** When to come back to a socket that fell. */
  class Ladder {
    #strikes = 0;
    #attempts = 0;
    #probes = 0;

    /** Whether a socket is still worth waiting for. */
    get hopeful() {
      return this.#strikes < STRIKES;
    }

    /** The wait before the next socket. @param {Disconnected} end @param {number | undefined} goodFor how long it was good, if ever */
    fell(end, goodFor) {
      if (goodFor === undefined) this.#strikes += 1;
      else if (goodFor >= SETTLED_AFTER) this.#strikes = this.#attempts = this.#probes = 0;
      if (!this.hopeful) return Math.min(PROBE.longest, PROBE.first * 2 ** this.#probes++) * (0.5 + Math.random());
      if (end.after !== undefined && goodFor !== undefined) return end.after;
      return Math.max(end.after ?? 0, backoff(this.#attempts++));
    }
  }

  /** Something that runs while it is wanted, and `linger` longer: what stops and starts in one go keeps running. */
  class Engine {
    /** @type {AbortController | undefined} */ #running;
    /** @type {ReturnType<typeof setTimeout> | undefined} */ #stopping;
    #run;
    #linger;

    /** @param {(signal: AbortSignal) => Promise<void>} run @param {number} linger */
    constructor(run, linger) {
      this.#run = run;
      this.#linger = linger;
    }

    /** @param {boolean} wanted */
    want(wanted) {
      clearTimeout(this.#stopping);
      if (wanted && !this.#running) {
        this.#running = new AbortController();
        this.#run(this.#running.signal).catch(report);
      } else if (!wanted && this.#running) {
        if (this.#linger) this.#stopping = setTimeout(() => this.stop(), this.#linger);
        else this.stop();
      }
    }

    stop() {
      clearTimeout(this.#stopping);
      this.#running?.abort();
      this.#running = undefined;
    }
  }

  /** All jobs of the page, fed by at most one socket and as few requests as can be. */
  class Page {
    /** Tells the transports: "change" of what is followed, "wake" when they shall look at once. */
    bell = new EventTarget();
    /** @type {Map<string, Job>} */ #jobs = new Map();
    #ladder = new Ladder();
    #polling = new Engine((signal) => this.#poll(signal), 0);
    #pushing = new Engine((signal) => this.#push(signal), LINGER);
    /** @type {number | undefined} */ #goodSince;
    #comeBackAt = 0;
    #hopeful = true;
    #refused = false;
    #away = false;
    #changing = false;
    #transport = "idle";

    get jobs() {
      return [...this.#jobs.values()];
    }

    /**
     * Follows a job until the returned function is called; the listener is never called before this returns.
     * @param {Immortus.JobInfo | string | null | undefined} jobInfo @param {Immortus.Options} options
     * @param {Pick<Subscriber, "take" | "fail">} listener
     * @param {JobDocument | null} [known] what the page has of it already
     */
    subscribe(jobInfo, { polling, transport = "auto" }, listener, known) {
      let info;
      try {
        info = identify(jobInfo);
      } catch (error) {
        queueMicrotask(() => listener.fail(/** @type {JobError} */ (error)));
        return () => {};
      }
      const wait = Number(polling?.interval);
      const subscriber = { ...listener, transport, jobClass: info.jobClass, interval: wait > 0 ? wait : DEFAULT_INTERVAL };
      const job = this.#join(info, subscriber);
      const { held } = job;
      if (held) queueMicrotask(() => job.held === held && job.tell(held, [subscriber]));
      if (known) queueMicrotask(() => job.receive(known));
      this.changed();
      return () => this.#leave(job, subscriber);
    }

    /** @param {ReturnType<typeof identify>} info @param {Subscriber} subscriber */
    #join({ id, url }, subscriber) {
      const key = keyOf(id, url);
      const known = this.#jobs.get(key);
      const job = known ?? new Job(id, url);
      job.subscribers.add(subscriber);
      if (!known) job.restart(this.#patienceFor(job));
      this.#jobs.set(key, job);
      return job;
    }

    /** @param {Job} job @param {Subscriber} subscriber */
    #leave(job, subscriber) {
      job.subscribers.delete(subscriber);
      const key = keyOf(job.id, job.url);
      if (!job.subscribers.size && this.#jobs.get(key) === job) this.#jobs.delete(key);
      this.changed();
    }

    /** A document that came by another way, such as the answer to a cancel. @param {string} id @param {JobDocument} document */
    receive(id, document) {
      this.#jobs.get(keyOf(id))?.receive(document);
    }

    /** @param {Job} job */
    #patienceFor(job) {
      return job.maySocket && this.#hopeful && socketAddress() ? now() + PATIENCE : 0;
    }

    /** What many calls in one go change is looked at once. */
    changed() {
      if (this.#changing) return;
      this.#changing = true;
      queueMicrotask(() => {
        this.#changing = false;
        this.#update();
      });
    }

    #update() {
      const address = this.#refused ? null : socketAddress();
      const jobs = this.jobs;
      if (!address) for (const job of jobs) if (!job.mayPoll) job.receive(noWebSocket(job.id));
      this.#polling.want(!this.#away && jobs.some((job) => job.mayPoll));
      this.#pushing.want(!this.#away && address !== null && jobs.some((job) => job.maySocket));
      this.bell.dispatchEvent(new Event("change"));
      this.announce();
    }

    /** Other addresses: what was learned of the old ones is forgotten. */
    reconfigure() {
      this.#ladder = new Ladder();
      this.#comeBackAt = 0;
      this.#hopeful = true;
      this.#refused = false;
      this.#pushing.stop();
      this.changed();
    }

    /** The network or the user is back: look at once. */
    wake() {
      if (this.#ladder.hopeful) this.#comeBackAt = 0;
      for (const job of this.jobs) job.due = job.failures = 0;
      this.bell.dispatchEvent(new Event("wake"));
    }

    /** A page in the back/forward cache may hold neither socket nor request. */
    hide() {
      this.#away = true;
      this.#polling.stop();
      this.#pushing.stop();
    }

    show() {
      this.#away = false;
      for (const job of this.jobs) job.restart(this.#patienceFor(job));
      this.wake();
      this.changed();
    }

    /** @param {AbortSignal} signal */
    async #poll(signal) {
      for await (const [job, answer] of polling(this, signal)) job.receive(answer);
    }

    /** Socket after socket, while polling fills the gaps. @param {AbortSignal} signal */
    async #push(signal) {
      while (!signal.aborted) {
        await sleep(this.#comeBackAt - now(), signal, this.#ladder.hopeful ? this.bell : undefined);
        const address = socketAddress();
        if (signal.aborted || !address) return;
        try {
          for await (const [job, answer] of new Connection(address, this).answers(signal)) {
            if (!(answer instanceof Error)) this.#proved();
            job.receive(answer);
          }
        } catch (end) {
          if (!(end instanceof Disconnected)) throw end;
          this.#fell(end);
          if (this.#refused) return;
        } finally {
          this.#goodSince = undefined;
          for (const job of this.jobs) if (job.pushed) job.poll();
          this.changed();
        }
      }
    }

    #proved() {
      this.#goodSince ??= now();
      this.#hopeful = true;
      this.announce();
    }

    /** @param {Disconnected} end */
    #fell(end) {
      const goodFor = this.#goodSince === undefined ? undefined : now() - this.#goodSince;
      this.#goodSince = undefined;
      this.#comeBackAt = now() + this.#ladder.fell(end, goodFor);
      this.#refused = !end.comeBack;
      this.#hopeful = goodFor === undefined && this.#ladder.hopeful && end.comeBack;
      if (!this.#hopeful) for (const job of this.jobs) job.poll();
      this.changed();
    }

    /** Tells the page which transport feeds it, when that changes. */
    announce() {
      const transport = this.#feeding();
      if (transport === this.#transport) return;
      this.#transport = transport;
      globalThis.window?.dispatchEvent(new CustomEvent("immortus:transport", { detail: { transport } }));
    }

    #feeding() {
      if (!this.#jobs.size) return "idle";
      if (this.#goodSince !== undefined) return "websocket";
      return this.jobs.some((job) => job.polled) ? "polling" : "connecting";
    }
  }

  // ---- What verify and create return

  /** Errors that nobody has to handle: asked for, or already told to a handler. */
  const quiet = new WeakSet();

  /** `promise`, but without an unhandledrejection event for quiet errors. @template T @param {Promise<T>} promise @returns {Promise<T>} */
  function hushed(promise) {
    const result = new Promise((resolve, reject) => {
      promise.then(resolve, (error) => {
        if (quiet.has(error)) result.catch(() => {});
        reject(error);
      });
    });
    return result;
  }

  /**
   * Whether a handler is a promise's own resolve or reject, the language's only anonymous built-ins: then somebody awaits,
   * and must not wait for ever after a stop.
   * @param {Handler} handler
   */
  function isAwait(handler) {
    return handler.name === "" && Function.prototype.toString.call(handler).endsWith("{ [native code] }");
  }

  /** One verify: its progress handlers, its end, its stop. */
  class Tracking {
    /** @type {Set<{ progress: Handler }>} */ #listeners = new Set();
    /** @type {JobDocument | null} */ #latest = null;
    /** @type {unknown} */ #stopped;
    #told = false;
    #leave = () => {};
    #forget = () => {};
    /** @type {Handler} */ #resolve = () => {};
    /** @type {Handler} */ #reject = () => {};

    /** @param {Immortus.JobInfo | string | null | undefined} jobInfo @param {Immortus.Options} options */
    constructor(jobInfo, options) {
      /** @type {Promise<JobDocument>} */
      this.ended = new Promise((resolve, reject) => {
        this.#resolve = resolve;
        this.#reject = reject;
      });
      this.#leave = page.subscribe(jobInfo, options, {
        take: (document) => this.#take(document),
        fail: (error) => this.#end(() => this.#reject(error)),
      });
      this.#forget = onAbort(options.signal, () => this.#abort(options.signal?.reason));
    }

    /** Calls `progress` with each document before the end, the latest one included. @param {Handler} progress */
    listen(progress) {
      const listener = { progress };
      this.#listeners.add(listener);
      const latest = this.#latest;
      if (latest) queueMicrotask(() => this.#latest === latest && this.#call(listener, latest));
    }

    /** `handler`, which after a stop is not called; the promise rejects instead. @param {Handler | null | undefined} handler */
    unlessStopped(handler) {
      if (!handler) return handler;
      return (/** @type {any} */ value) => {
        if (this.#stopped && !isAwait(handler)) throw this.#stopped;
        this.#told = true;
        return handler(value);
      };
    }

    /** @param {unknown} [reason] */
    stop(reason = new DOMException("The job is no longer followed.", "AbortError")) {
      if (this.#told || this.#stopped) return;
      this.#stopped = reason;
      if (reason instanceof Object) quiet.add(reason);
      this.#end(() => this.#reject(reason));
    }

    /** @param {JobDocument} document */
    #take(document) {
      if (document.completed === true || document.state === "finished") return this.#end(() => this.#resolve(document));
      if (isOver(document)) return this.#end(() => this.#reject(new JobError(document)));
      this.#latest = document;
      for (const listener of this.#listeners) this.#call(listener, document);
    }

    /** A handler that throws must not keep the others from being told. @param {{ progress: Handler }} listener @param {JobDocument} document */
    #call(listener, document) {
      try {
        if (this.#listeners.has(listener)) listener.progress(document);
      } catch (error) {
        report(error);
      }
    }

    /** An AbortError is a stop; another reason, such as a TimeoutError, is a failure to tell. @param {any} reason */
    #abort(reason) {
      if (reason?.name === "AbortError") this.stop(reason);
      else this.#end(() => this.#reject(reason));
    }

    /** @param {() => void} settle */
    #end(settle) {
      this.#listeners.clear();
      this.#leave();
      this.#forget();
      settle();
    }
  }

  /** The end of a job as a promise that also tells progress and can be stopped. @implements {Immortus.Verification<any>} */
  class Verification {
    #promise;
    #tracking;

    /** @param {Promise<any>} promise @param {Tracking} tracking */
    constructor(promise, tracking) {
      this.#promise = hushed(promise);
      this.#tracking = tracking;
    }

    /** @param {Handler | null} [done] @param {Handler | null} [failed] @param {Handler | null} [progress] @returns {any} */
    then(done, failed, progress) {
      if (progress) this.#tracking.listen(progress);
      const settled = this.#promise.then(this.#tracking.unlessStopped(done), this.#tracking.unlessStopped(failed));
      return new Verification(settled, this.#tracking);
    }

    /** @param {Handler | null} [failed] @returns {any} */
    catch(failed) {
      return new Verification(this.#promise.catch(failed), this.#tracking);
    }

    /** @param {(() => void) | null} [settled] @returns {any} */
    finally(settled) {
      return new Verification(this.#promise.finally(settled), this.#tracking);
    }

    stop() {
      this.#tracking.stop();
    }
  }

  /**
   * The start of a job as a promise whose failure stays a failure once a handler of `.then(created, failed)` was told of it:
   * the next step of a chain wants a job. `.catch()` recovers, as everywhere.
   * @implements {Immortus.Creation<any>}
   */
  class Creation {
    #promise;

    /** @param {Promise<any>} promise */
    constructor(promise) {
      this.#promise = hushed(promise);
    }

    /** @param {Handler | null} [created] @param {Handler | null} [failed] @returns {any} */
    then(created, failed) {
      const told = (/** @type {unknown} */ error) => {
        const value = failed?.(error);
        if (failed && !(error instanceof CreateError)) return value;
        if (failed) quiet.add(/** @type {CreateError} */ (error));
        throw error;
      };
      return new Creation(this.#promise.then(created, told));
    }

    /** @param {Handler | null} [failed] @returns {any} */
    catch(failed) {
      return new Creation(this.#promise.catch(failed));
    }

    /** @param {(() => void) | null} [settled] @returns {any} */
    finally(settled) {
      return new Creation(this.#promise.finally(settled));
    }
  }

  // ---- <immortus-job job-id="…" job-class="…">

  /**
   * Keeps what the server rendered inside it up to date: `<progress>` and the texts of `[data-immortus="message"]`,
   * `"percentage"` and `"state"` (an attribute such as `data-running="…"` beside it translates). A `<script
   * type="application/json">` inside may hold the document the page was rendered with.
   */
  class JobElement extends (globalThis.HTMLElement ?? class {}) {
    static observedAttributes = ["job-id", "job-class"];

    /** @type {(() => void) | null} */ #leave = null;
    #shown = 0;

    connectedCallback() {
      // While the page is still being parsed the children are not there yet.
      if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", () => this.#follow(), { once: true });
      else this.#follow();
    }

    /** An element that is only moved within the page goes on. */
    disconnectedCallback() {
      queueMicrotask(() => this.isConnected || this.#stop());
    }

    /** @param {string} _name @param {string | null} before @param {string | null} after */
    attributeChangedCallback(_name, before, after) {
      if (before === after || !this.#leave) return;
      this.#stop();
      this.#shown = 0;
      this.#follow();
    }

    #follow() {
      if (this.#leave || !this.isConnected) return;
      const info = { job_id: this.getAttribute("job-id") ?? "", job_class: this.getAttribute("job-class") ?? undefined };
      this.removeAttribute("error");
      this.setAttribute("aria-busy", "true");
      this.#leave = page.subscribe(info, {}, { take: (job) => this.#take(job), fail: (error) => this.#fail(error) }, this.#rendered(info.job_id));
    }

    #stop() {
      this.#leave?.();
      this.#leave = null;
    }

    /** The document that the page was rendered with, when it has one. @param {string} id @returns {JobDocument | null} */
    #rendered(id) {
      const rendered = parseFrame(this.querySelector('script[type="application/json"]')?.textContent);
      return isDocument(rendered) && rendered.job_id === id ? rendered : null;
    }

    /** @param {JobDocument} job */
    #take(job) {
      if (job.version <= this.#shown) return;
      this.#shown = job.version;
      if (isOver(job) && job.state !== "lost") this.#stop();
      this.#show(job);
      this.#tell(!isOver(job) ? "progress" : job.state === "finished" ? "done" : "failed", job);
    }

    /** @param {Error} error */
    #fail(error) {
      const { document } = /** @type {JobError} */ (error);
      this.#stop();
      this.setAttribute("error", document.error.code);
      this.setAttribute("aria-busy", "false");
      this.#write("message", error.message);
      this.#tell("failed", document);
    }

    /** @param {JobDocument} job */
    #show(job) {
      this.setAttribute("state", job.state);
      this.setAttribute("aria-busy", String(!isOver(job)));
      this.#write("message", job.error?.message ?? job.message ?? "");
      this.#write("percentage", job.percentage === null ? "" : `${job.percentage}%`);
      this.#write("state", job.state);
      const bar = this.querySelector("progress");
      if (!bar) return;
      if (job.percentage !== null) bar.value = job.percentage;
      else if (isOver(job)) bar.value = bar.value; // an indeterminate bar would keep moving
      else bar.removeAttribute("value");
    }

    /** Screen readers speak what is written: only changes are. @param {string} part @param {string} text */
    #write(part, text) {
      for (const element of /** @type {NodeListOf<HTMLElement>} */ (this.querySelectorAll(`[data-immortus="${part}"]`))) {
        const words = part === "state" ? (element.dataset[text] ?? text) : text;
        if (element.textContent !== words) element.textContent = words;
      }
    }

    /** @param {string} event @param {object} detail */
    #tell(event, detail) {
      this.dispatchEvent(new CustomEvent(`immortus:${event}`, { bubbles: true, detail }));
    }
  }

  // ---- The page it is loaded in

  const page = new Page();

  globalThis.Immortus = { configure, create, verify, watch, cancel };
  configureFromTag();

  globalThis.window?.addEventListener("online", () => page.wake());
  globalThis.window?.addEventListener("pagehide", () => page.hide());
  globalThis.window?.addEventListener("pageshow", ({ persisted }) => persisted && page.show());
  globalThis.document?.addEventListener("visibilitychange", () => document.hidden || page.wake());

  if (globalThis.customElements && !customElements.get("immortus-job")) customElements.define("immortus-job", JobElement);
})();
