// The page of a job: asks the server again when what it shows is no longer so. The server then leads on.
(() => {
  "use strict";

  const OVER = ["finished", "failed", "cancelled", "lost"];
  const shown = document.querySelector("[data-immortus-page]")?.getAttribute("data-immortus-page") ?? "";

  /** Whether the server would now answer with another page. @param {{ state?: string }} job */
  function isNews(job) {
    if (shown === "unknown") return job.state !== undefined;
    if (OVER.includes(shown)) return job.state !== undefined && job.state !== shown;
    return job.state === undefined || OVER.includes(job.state);
  }

  /** Once for each answer: a server that stays by its page is not asked in circles. @param {Event} event */
  function reload(event) {
    const job = /** @type {CustomEvent} */ (event).detail ?? {};
    const key = String(job.version ?? job.error?.code);
    if (!isNews(job) || history.state?.immortus === key) return;
    history.replaceState({ ...history.state, immortus: key }, "");
    location.reload();
  }

  for (const name of ["progress", "done", "failed"]) document.addEventListener(`immortus:${name}`, reload);
})();
