/** The transport that listens: one life of the page's only socket. */
import { isDocument, isFinal } from "./documents.js";
import { Disconnected, JobError } from "./errors.js";
import { Pulse } from "./health.js";
import { parse } from "./http.js";
import { Mailbox } from "./mailbox.js";
import { TICK, WAKE_TIMEOUT } from "./settings.js";
import { tokens } from "./token.js";
import { after, now, numberOr, onAbort } from "./waiting.js";
/** @import { Answer, JobDocument } from "./documents.js" */
/** @import { Job } from "./job.js" */
/** @import { Page } from "./page.js" */

/** A socket from its handshake to its end. */
export class Connection {
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
