/** What the page knows of one job, and its subscribers. */
import { animation } from "./animation.js";
import { isOver } from "./documents.js";
import { JobError } from "./errors.js";
import { doc, HIDDEN_INTERVAL, LONGEST_REQUEST_BACKOFF, UNKNOWN_GRACE, UNKNOWN_GRACE_ONCE_SEEN } from "./settings.js";
import { backoff, now, numberOr } from "./waiting.js";
/** @import { Answer, JobDocument, Subscriber } from "./documents.js" */
/** @import { TryLater } from "./errors.js" */

/** A job that the page follows. */
export class Job {
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
