// The admin's page of a job: its table says what its bar says, from the same document and in the same moment.
(() => {
  "use strict";

  const { language, timeZone, ...words } = /** @type {HTMLElement} */ (document.currentScript).dataset;
  const bar = /** @type {HTMLElement} */ (document.querySelector("immortus-job"));
  const clock = clockOf({ dateStyle: "long", timeStyle: "short", timeZone }) ?? clockOf({ dateStyle: "long", timeStyle: "long", timeZone: "UTC" });
  const EMPTY = "-";

  /** Null for a zone that the browser does not know. @param {Intl.DateTimeFormatOptions} options */
  function clockOf(options) {
    try {
      return new Intl.DateTimeFormat(language, options);
    } catch {
      return null;
    }
  }

  /** @param {string | null | undefined} at */
  const moment = (at) => (at ? String(clock?.format(Date.parse(at))) : EMPTY);

  /** The texts of the table's rows. @type {Record<string, (job: Partial<Immortus.JobDocument>) => string>} */
  const ROWS = {
    job_class: ({ job_class }) => job_class ?? EMPTY,
    state: ({ state }) => (state && words[state]) ?? EMPTY,
    percentage: ({ percentage }) => (percentage == null ? "" : `${percentage.toFixed(1)} %`),
    enqueued_at: ({ enqueued_at }) => moment(enqueued_at),
    started_at: ({ started_at }) => moment(started_at),
    ended_at: ({ finished_at }) => moment(finished_at),
    document: (job) => JSON.stringify(job, null, 2),
  };

  /** What the server rendered stays as it is, in its own format, until it changes. @type {Partial<Immortus.JobDocument>} */
  let shown = JSON.parse(bar.querySelector('script[type="application/json"]')?.textContent ?? "{}");

  /** @param {Event} event */
  function follow(event) {
    const job = /** @type {CustomEvent<Partial<Immortus.JobDocument>>} */ (event).detail;
    for (const [name, text] of Object.entries(ROWS)) {
      const row = document.querySelector(`.field-${name} pre`) ?? document.querySelector(`.field-${name} .readonly`);
      if (row && text(job) !== text(shown)) row.textContent = text(job);
    }
    shown = job;
  }

  for (const name of ["progress", "done", "failed"]) bar.addEventListener(`immortus:${name}`, follow);
})();
