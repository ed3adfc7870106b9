/** What screen readers say of the jobs on the page without being asked. */
import { doc, SPEAKABLE, SPOKEN } from "./settings.js";
import { after } from "./waiting.js";

/** What has been announced: neither another element of the job nor a morphing swap announces it again. */
const announced = new Set();

/** @param {object} properties @returns {HTMLElement} */
const division = (properties) => Object.assign(doc.createElement("div"), properties);

/** The one of the page. @type {any} */ let region;

/**
 * Says the words once; the region is outside of the element, which is busy, and in its dialog, as a modal one mutes the rest.
 * @param {HTMLElement} element @param {string} key @param {(string | undefined)[]} words none for what the page was rendered with
 */
export function announce(element, key, words) {
  if (element.hidden || announced.has(key)) return;
  announced.add(key);
  region ??= division({ role: "log", style: "position:fixed;bottom:100%" });
  const place = element.closest("dialog") ?? doc.body;
  if (region.parentNode !== place) place.append(region);
  const line = division({ textContent: words.filter(Boolean).join(", ") });
  after(() => region.append(line), SPEAKABLE);
  after(() => line.remove(), SPOKEN);
}
