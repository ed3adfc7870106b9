/** What is set: how long, how many, how often, and where the server is. All times are milliseconds. */

export const USUAL_INTERVAL = 500;
export const HIDDEN_INTERVAL = 5_000;
export const REQUEST_TIMEOUT = 30_000;
export const REQUEST_IDS = 100;
export const REQUEST_CHARACTERS = 3_500; // gunicorn refuses request lines over 4094 bytes
export const UNKNOWN_GRACE = 5_000;
export const UNKNOWN_GRACE_ONCE_SEEN = 30_000;
export const PATIENCE = 2_500; // how long a job waits for the socket before the page polls for it
export const ATTEMPT_TIMEOUT = 10_000;
export const TURN_TIMEOUT = 60_000; // for the handshakes of other tabs
export const LONGEST_REQUEST_BACKOFF = 4_500; // a page is right five seconds after its server is back
export const LONGEST_SOCKET_BACKOFF = 20_000;
export const STRIKES = 2;
export const SETTLED_AFTER = 10_000;
export const FIRST_PROBE = 60_000;
export const LONGEST_PROBE = 900_000;
export const PING_GRACE = 10_000;
export const TICK = 1_000;
export const SLEPT = 5_000; // between two ticks: the machine was asleep
export const WAKE_TIMEOUT = 2_000;
export const LINGER = 1_000; // the next job of a page often follows at once
export const SPEAKABLE = 250; // a region that is new must be known to screen readers first
export const SPOKEN = 10_000;
export const FRAMELESS = 250; // hidden pages and frames out of sight are not drawn

/** What other programs than browsers lack: their window and document are undefined. */
export const { window, document: doc, location } = globalThis;

/** @type {{ prefix: string, websocket: string | false | null, csrfToken: string }} */
export const settings = { prefix: "/immortus/", websocket: "/ws/immortus/", csrfToken: "" };

/** @param {string} url */
export const absolute = (url) => new URL(url, doc?.baseURI ?? location?.href);

/** @param {string} url */
export const isOurs = (url) => absolute(url).origin === location?.origin;

/** The address of the socket, or null where a page cannot have one. */
export function socketAddress() {
  if (!settings.websocket || !globalThis.WebSocket) return null;
  return absolute(settings.websocket).href.replace(/^http/, "ws");
}

/** Django's CSRF token: from the settings, the cookie, a meta tag or a form of the page, in this order. */
export function csrfToken() {
  if (settings.csrfToken || !doc) return settings.csrfToken;
  const meta = /** @type {HTMLMetaElement | null} */ (doc.querySelector('meta[name="csrf-token"]'));
  const field = /** @type {HTMLInputElement | null} */ (doc.querySelector("[name=csrfmiddlewaretoken]"));
  return /(?:^|;\s*)csrftoken=([^;]+)/.exec(doc.cookie)?.[1] || meta?.content || field?.value;
}
