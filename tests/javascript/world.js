/** A browser for one test: its own client, clock, network and sockets, none of them real. */
import { readFileSync } from "node:fs";
import { compileFunction } from "node:vm";

const script = (name) => {
  const url = new URL(`../../immortus_channels/static/immortus_channels/${name}.js`, import.meta.url);
  return { source: readFileSync(url, "utf8"), filename: url.pathname };
};
/** The classic script, or another form of it: `IMMORTUS_SCRIPT=immortus.min node --test …`. */
const SCRIPTS = { immortus: script(process.env.IMMORTUS_SCRIPT ?? "immortus"), "job-state": script("job-state") };

export const golden = (kind) => JSON.parse(readFileSync(new URL(`../protocol/${kind}.json`, import.meta.url), "utf8"));
export const goldenNamed = (kind, name) => golden(kind).find((one) => one.name === name).message;

/** A document of the job `id`, running unless told otherwise; the version says how new it is. */
export function document(id, version, changes = {}) {
  const state = changes.state ?? "running";
  const base = goldenNamed("documents", "running, with progress");
  return { ...base, job_id: id, version, state, completed: state === "finished", ...changes };
}

/** Lets everything happen that needs no time. */
export const settle = async () => {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

class Clock {
  time = 1_000_000;
  timers = new Map();
  #next = 1;

  set(callback, ms = 0, every = false) {
    this.timers.set(this.#next, { callback, at: this.time + Math.max(0, ms), every: every && ms });
    return this.#next++;
  }

  async advance(ms) {
    const end = this.time + ms;
    await settle();
    for (;;) {
      const [id, timer] = [...this.timers].sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
      if (!timer || timer.at > end) break;
      this.time = Math.max(this.time, timer.at);
      if (timer.every) timer.at = this.time + timer.every;
      else this.timers.delete(id);
      timer.callback();
      await settle();
    }
    this.time = end;
  }
}

class FakeSocket {
  readyState = 0;
  sent = [];
  closed = false;

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
  }

  /** The handshake succeeded and the server said hello. */
  open(hello = {}) {
    this.readyState = 1;
    this.onopen?.();
    this.tell({ ...goldenNamed("server_frames", "hello"), ...hello });
  }

  tell(frame) {
    this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }

  job(document, event = "meta") {
    this.tell({ type: "job", event, job: document });
  }

  drop(code = 1006) {
    this.readyState = 3;
    this.onclose?.({ code });
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.closed = true;
    this.readyState = 3;
  }
}

/** As `navigator.locks`: whoever asks for a name waits for those before. */
export class Locks {
  #queues = new Map();

  async request(name, { signal }, held) {
    const before = this.#queues.get(name) ?? Promise.resolve();
    let leave;
    const left = new Promise((resolve) => (leave = resolve));
    this.#queues.set(name, before.then(() => left));
    try {
      await new Promise((resolve, reject) => {
        before.then(resolve);
        signal.addEventListener("abort", () => reject(signal.reason));
        if (signal.aborted) reject(signal.reason);
      });
      return await held();
    } finally {
      leave();
    }
  }
}

/** Answers to give from `fetch`. */
export const json = (body, status = 200, headers = {}) => ({ status, headers: { "Content-Type": "application/json", ...headers }, text: JSON.stringify(body) });
export const html = (status = 200) => ({ status, headers: { "Content-Type": "text/html; charset=utf-8" }, text: "<!doctype html><form>Log in" });
/** The page to which a request was redirected that fetch follows. */
export const login = () => ({ ...html(), redirected: true });
export const unknown = (id) => json({ job_id: id, error: { code: "unknown_job", message: "There is no such job." } }, 404);
export const offline = new TypeError("Failed to fetch");

/**
 * A fresh world. `answer(request)` answers what is fetched: a document, an answer made by `json()` and the like, an error to
 * throw, nothing for an answer that never comes, or a promise of one of these. `scripts` are the files that the page loads.
 * Frames are drawn by `draw()` when asked for with `drawn: true`; without, there are none, as outside of browsers. The page was
 * `opened` at that time, by a navigation of that type. Tabs that share `locks` are tabs of one browser.
 */
export function world({ answer = () => undefined, WebSocket = true, dataset, page = {}, random = () => 0, elements, scripts = ["immortus"], sessionStorage, drawn = false, opened, navigation = "navigate", locks } = {}) {
  const clock = new Clock();
  clock.time = opened ?? clock.time;
  const requests = [];
  const sockets = [];
  const reported = [];
  const signals = [];
  const window = new EventTarget();
  const frames = new Map();
  const registry = new Map();
  const log = [];
  const document = Object.assign(new EventTarget(), {
    body: { append: () => {} },
    createElement: () => ({ append: (line) => log.push(line), remove() { log.splice(log.indexOf(this), 1); } }),
    baseURI: "https://shop.example/orders/", cookie: "", hidden: false, readyState: "complete",
    currentScript: dataset ? { dataset } : null, querySelector: () => null, ...page,
  });

  const fetch = (url, init = {}) => {
    const request = { url, method: init.method ?? "GET", at: clock.time, ...init };
    requests.push(request);
    return new Promise((resolve, reject) => {
      init.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
      Promise.resolve(answer(request)).then((given) => {
        if (given === undefined) return;
        if (given instanceof Error) return reject(given);
        const { status, headers, text, type = "basic", redirected = false } = given.text === undefined ? json(given) : given;
        resolve({ status, ok: status >= 200 && status < 300, type, redirected, headers: new Headers(headers), text: async () => text });
      });
    });
  };

  class Socket extends FakeSocket {
    constructor(...args) {
      super(...args);
      sockets.push(this);
    }
  }

  const names = {
    setTimeout: (callback, ms) => clock.set(callback, ms), clearTimeout: (id) => clock.timers.delete(id),
    setInterval: (callback, ms) => clock.set(callback, ms, true), clearInterval: (id) => clock.timers.delete(id),
    performance: { now: () => clock.time - (opened ?? 0), getEntriesByType: () => [{ type: navigation }] },
    Date: Object.assign(Object.create(Date), { now: () => clock.time, parse: Date.parse }),
    Math: Object.assign(Object.create(Math), { random }),
    fetch, WebSocket: WebSocket === true ? Socket : WebSocket || undefined, document, window,
    location: { href: "https://shop.example/orders/", origin: "https://shop.example" },
    MutationObserver: class { observe() {} takeRecords() { return []; } },
    HTMLElement: elements, customElements: elements && { get: (name) => registry.get(name), define: (name, type) => registry.set(name, type) },
    reportError: (error) => reported.push(error),
    HTMLFormElement: undefined, sessionStorage, navigator: locks && { locks },
    AbortController: class extends AbortController {
      constructor() {
        super();
        signals.push(this.signal);
      }
    },
    requestAnimationFrame: drawn ? (callback) => frames.set(frames.size + 1, callback).size : undefined,
    cancelAnimationFrame: (id) => frames.delete(id),
  };
  const scope = Object.assign(Object.create(globalThis), names);
  const run = () => {
    for (const { source, filename } of scripts.map((name) => SCRIPTS[name])) {
      const all = { globalThis: scope, ...names, Immortus: scope.Immortus };
      compileFunction(source, Object.keys(all), { filename })(...Object.values(all));
    }
  };
  run();
  return {
    Immortus: scope.Immortus, JobState: scope.JobState, scope, run, clock, requests, sockets, signals, reported, window, document, registry,
    draw: () => {
      const callbacks = [...frames.values()];
      frames.clear();
      for (const callback of callbacks) callback(clock.time);
      return callbacks.length;
    },
    log, advance: (ms) => clock.advance(ms), get socket() { return sockets.at(-1); },
    transports: listenTo(window),
  };
}

function listenTo(window) {
  const transports = [];
  window.addEventListener("immortus:transport", ({ detail }) => transports.push(detail.transport));
  return transports;
}

/** Three handlers that note what they are told. */
export function listener() {
  const told = { done: [], failed: [], progress: [] };
  const handlers = [(document) => void told.done.push(document), (error) => void told.failed.push(error), (document) => void told.progress.push(document)];
  return { ...told, handlers, versions: () => told.progress.map(({ version }) => version) };
}

/** What would be reported as unhandled after `action`, which the test runner must not hear of. */
export async function unhandledAfter(action) {
  const unhandled = [];
  const runners = process.rawListeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", (error) => unhandled.push(error));
  await action();
  await settle();
  process.removeAllListeners("unhandledRejection");
  for (const listener of runners) process.on("unhandledRejection", listener);
  return unhandled;
}
