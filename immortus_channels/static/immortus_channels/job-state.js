/**
 * JobState: jobs by their ids, told to callbacks. A small file on top of `immortus.js`, which stands before it.
 *
 *     JobState.startPolling({
 *       jobUuid,
 *       update: (data) => (distance.textContent = data.miles_run),
 *       success: () => location.reload(),
 *       error: (data) => alert(data.error.message),
 *     });
 *
 * `data` is the job's document, with all that the job set at its top level, and `data.job_state`: "working", "success" or
 * "error". It is pushed; only where no WebSocket gets through it is polled. A page may follow any number of jobs.
 *
 * A classic script and an ES module alike; its one export is the global `JobState`. Types are in `job-state.d.ts`.
 */
(() => {
  "use strict";

  if (globalThis.JobState) return;

  /** Follows a job to its end; `stop()` of the result ends it before. @type {JobState.Client["startPolling"]} */
  function startPolling(options) {
    const { jobUuid, pollingPeriod = 1_000, update, success, error, ...others } = Object(options);
    for (const option of Object.keys(others)) {
      throw new TypeError(`startPolling takes jobUuid|pollingPeriod|update|success|error, not ${option}.`);
    }
    for (const [name, callback] of Object.entries({ update, success, error })) {
      if (callback && typeof callback !== "function") throw new TypeError(`${name} takes a function, not ${callback}.`);
    }
    let working = false;
    const verification = Immortus.verify(jobUuid, { polling: { interval: pollingPeriod } });
    /** @param {Record<string, any>} data @param {((data: any) => any) | undefined} callback */
    const tell = (data, callback) => {
      const replayed = isReplay(data, working);
      if (callback && !leftBehind(data, working)) return telling(data, () => callback({ ...data, replayed }));
    };
    verification.then(
      (document) => tell({ ...document, job_state: "success" }, success),
      // Without a handler it stays a failure that nobody handles, which the browser reports.
      error && (({ document, job_id, error: reason }) => tell({ ...document, job_id, error: reason, job_state: "error" }, error)),
      (document) => {
        working = true;
        update?.({ ...document, job_state: "working" });
      },
    );
    return { stop: () => verification.stop() };
  }

  /** Asks to cancel a job; resolves with its document, rejects when it is over. @type {JobState.Client["killJob"]} */
  function killJob(jobUuid) {
    return Immortus.cancel(jobUuid);
  }

  // ---- Ends that were told before

  const MEMORY = { key: "immortus:ends", size: 1_000 };

  /** The ends that the pages before this one in the tab were told of; null where the browser remembers nothing. */
  const toldBefore = recall();

  /** @returns {Set<string> | null} */
  function recall() {
    try {
      return new Set(JSON.parse(globalThis.sessionStorage.getItem(MEMORY.key) ?? "[]"));
    } catch {
      return null; // forbidden by the user or by a sandbox
    }
  }

  /** @param {string} end */
  function remember(end) {
    try {
      const ends = [...(recall() ?? new Set()).add(end)].slice(-MEMORY.size);
      globalThis.sessionStorage.setItem(MEMORY.key, JSON.stringify(ends));
    } catch {
      // Then it is told as new once more.
    }
  }

  /**
   * Whether a page that was loaded earlier was told of this end, so that this one was rendered after it: what reloads then
   * would reload for ever. Without a memory, an end that is the first news counts as told.
   * @param {Record<string, unknown>} document @param {boolean} working whether it was seen working
   */
  function isReplay({ job_id, version }, working) {
    if (version === undefined) return false; // nothing is known of the job, so not its end either
    const end = `${version} ${job_id}`;
    remember(end);
    return toldBefore ? toldBefore.has(end) : !working;
  }

  // ---- Pages that left themselves

  const STEPS = { key: "immortus:steps", within: 1_000, imprecision: 200 }; // milliseconds; clocks are coarse, timers late

  /**
   * A page was told of an end, and whatever made it leave from then on until a second after its callback was the callback.
   * @typedef {{ end: string, page: string, from: number, until: number }} Step
   */

  const page = globalThis.location?.href?.split("#")[0];

  /** When the browser set out for this page, by the clock on the wall, which alone goes on from page to page. */
  const setOut = Date.now() - performance.now();

  /** @type {Step[]} */
  const taken = [];

  /** The steps that led here, over however many pages; null where the browser remembers nothing. */
  const ledHere = arrive();

  /** @returns {Step[]} */
  function recallSteps() {
    return JSON.parse(globalThis.sessionStorage.getItem(STEPS.key) ?? "[]");
  }

  /** @param {Step[]} steps */
  function keepSteps(steps) {
    globalThis.sessionStorage.setItem(STEPS.key, JSON.stringify(steps));
  }

  /** A step leads to one page: when the user asks for that again, it is another. */
  function arrive() {
    try {
      const steps = recallSteps();
      const led = steps.filter(({ from, until }) => from - STEPS.imprecision <= setOut && setOut <= until + STEPS.imprecision);
      if (led.length) keepSteps(steps.filter((step) => step.page !== page || !led.includes(step)));
      return led;
    } catch {
      return null;
    }
  }

  /** @param {Record<string, any>} data */
  const endOf = ({ job_id, version, error }) => `${version ?? error?.code} ${job_id}`;

  /**
   * Whether this page has come back from being told of the end: then it is not told again, or it would leave itself for ever.
   * So is one that goes from address to address. Without a memory, a reload has to do as a sign.
   * @param {Record<string, any>} data @param {boolean} working
   */
  function leftBehind(data, working) {
    if (!ledHere) return !working && wasReloaded();
    const pages = new Set(ledHere.filter(({ end }) => end === endOf(data)).map((step) => step.page));
    return pages.has(page) || pages.size > 1;
  }

  function wasReloaded() {
    const [navigation] = performance.getEntriesByType?.("navigation") ?? [];
    return /** @type {PerformanceNavigationTiming | undefined} */ (navigation)?.type === "reload";
  }

  /**
   * Calls back, and notes that what the page does from now on is its own doing.
   * @template T @param {Record<string, any>} data @param {() => T} callback
   */
  function telling(data, callback) {
    const step = { end: endOf(data), page, from: Date.now(), until: 0 };
    const note = () => {
      step.until = Date.now() + STEPS.within;
      noteSteps(step.until);
    };
    taken.push(step);
    note();
    try {
      const result = callback();
      Promise.resolve(result).then(note, note);
      return result;
    } finally {
      note();
    }
  }

  /** Those of this page that count, those that led here, and those of other frames. @param {number} until */
  function noteSteps(until) {
    try {
      const [from] = taken.slice(-1).map((step) => step.from);
      const isOpen = (/** @type {Step} */ step) => step.until >= Date.now();
      const others = recallSteps().filter((step) => step.page !== page && isOpen(step));
      keepSteps([...others, ...taken.filter(isOpen), ...(ledHere ?? []).map((step) => ({ ...step, from, until }))]);
    } catch {
      // Then nothing is known of it.
    }
  }

  globalThis.JobState = { startPolling, killJob };
})();
