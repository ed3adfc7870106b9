/** The client becomes the page's own: its global, its ears for what happens to the page, its element. */
import { doc, window } from "./settings.js"; // first, so that minifying can put the numbers where they are used
import { cancel, configure, configureFromTag, create, verify, watch } from "./client.js";
import { JobElement } from "./element.js";
import { page } from "./page.js";

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
