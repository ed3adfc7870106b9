/** The jobs of the page, and what feeds them. */
import { identify, readOptions } from "./documents.js";
import { JobError } from "./errors.js";
import { Job } from "./job.js";
import { polling } from "./polling.js";
import { Pushing } from "./pushing.js";
import { LINGER, PATIENCE, socketAddress, window } from "./settings.js";
import { now, Runner } from "./waiting.js";
/** @import { JobDocument, JobInfo, Listener, Subscriber } from "./documents.js" */

/** All jobs of the page, fed by one socket and as few requests as possible. */
export class Page {
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

export const page = new Page();
