/** The client becomes the page's own: its global, its ears for what happens to the page, its element. */
import "./settings.js"; // first, so that minifying can put the numbers where they are used
import { cancel, configure, configureFromTag, create, verify, watch } from "./client.js";
import { JobElement } from "./element.js";
import { page } from "./page.js";

// A page put together from fragments may load the file twice, or as a script and as a module; its jobs stay with the first.
if (!globalThis.Immortus) {
  globalThis.Immortus = { cancel, configure, create, verify, watch };
  configureFromTag();

  globalThis.window?.addEventListener("online", () => page.wake());
  globalThis.window?.addEventListener("pagehide", () => page.hide());
  globalThis.window?.addEventListener("pageshow", ({ persisted }) => persisted && page.show());
  globalThis.document?.addEventListener("freeze", () => page.hide());
  globalThis.document?.addEventListener("resume", () => page.show());
  globalThis.document?.addEventListener("visibilitychange", () => document.hidden || page.wake());

  if (globalThis.customElements && !customElements.get("immortus-job")) customElements.define("immortus-job", JobElement);
}
