/**
 * JobState: jobs by their ids, told to callbacks. A small file on top of `immortus.js`, which stands before it.
 *
 *     JobState.startPolling({
 *       jobUuid,
 *       update: (data) => (distance.textContent = data.miles_run),
 *       success: (data) => data.replayed || location.reload(),
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
  function startPolling({ jobUuid, pollingPeriod = 1_000, update, success, error }) {
    let working = false;
    const verification = Immortus.verify(jobUuid, { polling: { interval: pollingPeriod } });
    verification.then(
      (document) => success?.({ ...document, job_state: "success", replayed: isReplay(document, working) }),
      // Without a handler it stays a failure that nobody handles, which the browser reports.
      error && (({ document, job_id, error: reason }) =>
        error({ ...document, job_id, error: reason, job_state: "error", replayed: isReplay(document, working) })),
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

  globalThis.JobState = { startPolling, killJob };
})();
