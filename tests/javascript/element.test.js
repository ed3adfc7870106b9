/** `<immortus-job>`, with as much of a DOM as it uses; the real one is met in the browser tests. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { document, html, settle, unknown, world } from "./world.js";

class FakeElement extends EventTarget {
  isConnected = false;
  attributes = {};
  parts = {
    progress: { value: null, labels: [], getAttribute() { return this.value; }, setAttribute(_, value) { this.value = value; }, removeAttribute() { this.value = null; } },
    message: { dataset: {}, textContent: "" }, percentage: { dataset: {}, textContent: "" },
    state: { dataset: { running: "Läuft" }, textContent: "" },
    script: null,
  };

  getAttribute(name) { return this.attributes[name] ?? null; }
  setAttribute(name, value) {
    const before = this.getAttribute(name);
    this.attributes[name] = value;
    if (this.constructor.observedAttributes.includes(name)) this.attributeChangedCallback(name, before, value);
  }
  closest() { return null; }
  toggleAttribute(name, force) { force ? this.setAttribute(name, "") : this.removeAttribute(name); }
  removeAttribute(name) { delete this.attributes[name]; }
  querySelector(selector) { return this.parts[selector.startsWith("script") ? "script" : selector]; }
  querySelectorAll(selector) { return [this.parts[/"(.*)"/.exec(selector)[1]]]; }
}

/** An element in the page that follows job "a". */
async function shown({ rendered, prepare, ...options } = {}) {
  const w = world({ answer: () => document("a", 1), elements: FakeElement, ...options });
  const element = new (w.registry.get("immortus-job"))();
  const events = [];
  for (const type of ["progress", "done", "failed"]) element.addEventListener(`immortus:${type}`, ({ detail, bubbles }) => events.push([type, detail.version ?? detail.error.code, bubbles]));
  element.attributes["job-id"] = "a";
  if (rendered) element.parts.script = { textContent: JSON.stringify(rendered) };
  prepare?.(element);
  element.isConnected = true;
  element.connectedCallback();
  await settle();
  w.socket?.open();
  await settle();
  return Object.assign(w, { element, events, parts: element.parts, spoken: () => w.log.map(({ textContent }) => textContent).filter(Boolean) });
}

test("it shows the state, the message and the percentage, and tells of each document (case 49)", async () => {
  const { element, parts, events, socket } = await shown();
  socket.job(document("a", 2, { percentage: 40.5, message: "<b>" }));
  await settle();
  assert.deepEqual(element.attributes, { "job-id": "a", state: "running", "aria-busy": "true" });
  assert.deepEqual([parts.progress.value, parts.message.textContent, parts.percentage.textContent], ["40.5", "<b>", "40.5 %"]);
  assert.equal(parts.state.textContent, "Läuft", "data-running translates");
  socket.job(document("a", 3, { state: "finished", percentage: 100 }));
  await settle();
  assert.deepEqual([element.attributes.state, element.attributes["aria-busy"], parts.state.textContent], ["finished", "false", "finished"]);
  assert.deepEqual(events, [["progress", 1, true], ["progress", 2, true], ["done", 3, true]]);
});

test("a job with a silent worker does not look as if it ran", async () => {
  const { element, parts, socket } = await shown();
  parts.state.dataset.stalled = "still";
  socket.job(document("a", 2, { stalled: true }));
  await settle();
  assert.deepEqual([element.attributes.state, element.attributes.stalled, parts.state.textContent], ["running", "", "still"]);
  socket.job(document("a", 3, { stalled: false }));
  await settle();
  assert.deepEqual([element.attributes.stalled, parts.state.textContent], [undefined, "Läuft"]);
  delete parts.state.dataset.stalled;
  socket.job(document("a", 4, { stalled: true }));
  await settle();
  assert.equal(parts.state.textContent, "Läuft", "a page that has no word for it");
});

test("an unknown percentage is an indeterminate bar until the end (case 35)", async () => {
  const { parts, socket } = await shown();
  socket.job(document("a", 2, { percentage: null }));
  await settle();
  assert.deepEqual([parts.progress.value, parts.percentage.textContent], [null, ""]);
  socket.job(document("a", 3, { percentage: null, state: "failed", error: { code: "error", message: "Something went wrong." } }));
  await settle();
  assert.deepEqual([parts.progress.value, parts.message.textContent], ["0", "Something went wrong."]);
});

test("a whole percentage has no decimals and any other one, as the server writes it", async () => {
  const { parts, socket } = await shown();
  const texts = [];
  for (const [index, percentage] of [0, 12.5, 25, 33.3, 99.9, 100].entries()) {
    socket.job(document("a", index + 2, { percentage }));
    await settle();
    texts.push(parts.percentage.textContent);
  }
  assert.deepEqual(texts, ["0 %", "12.5 %", "25 %", "33.3 %", "99.9 %", "100 %"]);
});

test("the document it was rendered with is shown at once, and one that is over needs no request", async () => {
  const w = await shown({ rendered: document("a", 5, { state: "finished" }) });
  assert.deepEqual(w.events, [["done", 5, true]]);
  await w.advance(5_000);
  assert.deepEqual([w.requests.length, w.sockets.length], [0, 0]);
  const running = await shown({ rendered: document("a", 5), answer: () => undefined });
  assert.equal(running.element.attributes.state, "running");
  assert.equal(running.requests[0].headers["If-None-Match"], '"5"');
});

test("a document of another job is not shown", async () => {
  const w = await shown({ rendered: document("b", 5), answer: () => undefined });
  assert.equal(w.element.attributes.state, undefined);
});

test("moving it within the page changes nothing, removing it ends the watch", async () => {
  const w = await shown();
  w.element.isConnected = false;
  w.element.disconnectedCallback();
  w.element.isConnected = true;
  w.element.connectedCallback();
  await settle();
  assert.deepEqual(w.socket.sent.map(({ type }) => type), ["watch"]);
  assert.equal(w.requests.length, 1);
  w.element.isConnected = false;
  w.element.disconnectedCallback();
  await settle();
  assert.deepEqual(w.socket.sent.at(-1), { type: "unwatch", job_id: "a" });
});

test("put back into the page, it does not go back to the document it was rendered with", async () => {
  const w = await shown({ rendered: document("a", 5), answer: () => undefined });
  w.socket.job(document("a", 6, { percentage: 60 }));
  await settle();
  w.element.isConnected = false;
  w.element.disconnectedCallback();
  await settle();
  w.element.isConnected = true;
  w.element.connectedCallback();
  await settle();
  assert.equal(w.parts.percentage.textContent, "60 %");
  assert.deepEqual(w.events.map(([, version]) => version), [5, 6]);
});

test("another job-id is another job", async () => {
  const w = await shown({ answer: ({ url }) => document(url.at(-1), 1) });
  w.element.setAttribute("job-id", "b");
  await settle();
  assert.deepEqual(w.events.map(([type, version]) => [type, version]), [["progress", 1], ["progress", 1]]);
  assert.deepEqual(w.socket.sent.slice(1).map(({ type, job_id }) => [type, job_id]), [["unwatch", "a"], ["watch", "b"]]);
});

test("another job-id after the end is another job", async () => {
  const w = await shown({ answer: ({ url }) => document(url.at(-1), 3, { state: url.endsWith("a") ? "finished" : "running" }) });
  assert.equal(w.element.attributes["aria-busy"], "false");
  w.element.setAttribute("job-id", "b");
  assert.equal(w.element.attributes["aria-busy"], "true");
  await settle();
  assert.deepEqual([w.element.attributes.state, w.element.attributes["aria-busy"]], ["running", "true"]);
  assert.deepEqual(w.events.map(([type]) => type), ["done", "progress"]);
});

test("another job-id shows nothing of the job before, and calls the bar by the new task", async () => {
  const rows = { a: { job_class: "shop.resize", percentage: 80, message: "Tile 8", stalled: true }, b: { job_class: "shop.send_mail", state: "enqueued", percentage: null } };
  const w = await shown({ answer: ({ url }) => document(url.at(-1), 1, rows[url.at(-1)]) });
  const { progress, message, percentage, state } = w.parts;
  assert.deepEqual([progress.value, progress.ariaLabel, message.textContent], ["80", "resize", "Tile 8"]);
  w.element.setAttribute("job-id", "b");
  assert.deepEqual([progress.value, progress.ariaLabel, message.textContent, percentage.textContent, state.textContent], [null, "", "", "", ""]);
  assert.deepEqual([w.element.attributes.state, w.element.attributes.stalled], [undefined, undefined]);
  await settle();
  assert.deepEqual([progress.value, progress.ariaLabel, w.element.attributes.state], [null, "send mail", "enqueued"]);
});

test("a name that the page gives the bar stays with another job-id", async () => {
  const name = (/** @type {any} */ element) => (element.parts.progress.ariaLabel = "Holiday photos");
  const w = await shown({ prepare: name, answer: ({ url }) => document(url.at(-1), 1, { job_class: "shop.resize" }) });
  w.element.setAttribute("job-id", "b");
  await settle();
  assert.equal(w.parts.progress.ariaLabel, "Holiday photos");
});

test("put back into the page after the end, it is not busy", async () => {
  const w = await shown({ answer: () => document("a", 3, { state: "finished" }) });
  for (const isConnected of [false, true]) {
    w.element.isConnected = isConnected;
    w.element[isConnected ? "connectedCallback" : "disconnectedCallback"]();
    await settle();
  }
  assert.equal(w.element.attributes["aria-busy"], "false");
  assert.deepEqual(w.events.map(([type]) => type), ["done"]);
});

test("a lost job goes on when it is revived", async () => {
  const w = await shown();
  for (const [version, state] of [[2, "lost"], [3, "running"], [4, "finished"]]) {
    w.socket.job(document("a", version, { state }));
    await settle();
  }
  assert.deepEqual(w.events.map(([type]) => type), ["progress", "failed", "progress", "done"]);
});

test("what the server will not tell is shown as an error", async () => {
  const w = await shown({ answer: () => html(403) });
  assert.deepEqual(w.events, [["failed", "login_required", true]]);
  assert.equal(w.element.attributes.error, "login_required");
  assert.equal(w.element.attributes["aria-busy"], "false");
  const gone = await shown({ WebSocket: false, answer: () => unknown("a") });
  await gone.advance(6_000);
  assert.deepEqual(gone.events, [["failed", "unknown_job", true]]);
  assert.equal(gone.parts.progress.value, "0");
});

test("what can be told no more says nothing of the state that it was in", async () => {
  const { element, parts, socket, advance } = await shown({ answer: () => unknown("a"), rendered: document("a", 1) });
  socket.job(document("a", 6, { stalled: true }));
  await settle();
  assert.deepEqual([element.attributes.state, parts.state.textContent], ["running", "Läuft"]);
  socket.tell({ type: "error", job_id: "a", code: "unknown_job", message: "There is no such job." });
  await advance(40_000);
  assert.deepEqual([element.attributes.error, element.attributes.state, element.attributes.stalled], ["unknown_job", undefined, undefined]);
  assert.equal(parts.state.textContent, "");
});

test("while the page is being parsed it waits for its children", async () => {
  const w = await shown({ page: { readyState: "loading" }, rendered: document("a", 5) });
  assert.equal(w.requests.length, 0);
  w.document.dispatchEvent(new Event("DOMContentLoaded"));
  await settle();
  assert.equal(w.element.attributes.state, "running");
});

/** What the live region says of these documents, one after the other. */
async function announced(changes, options) {
  const w = await shown({ answer: () => document("a", 1, { state: "enqueued", percentage: null }), ...options });
  for (const [index, change] of changes.entries()) {
    w.socket.job(document("a", index + 10, change));
    await w.advance(300);
  }
  return w;
}

test("the start, each quarter and the end are announced, and no other percentage", async () => {
  const percentages = [0, 1, 24.9, 26, 30, 49, 50, 74, 80, 90, 100].map((percentage) => ({ percentage }));
  const w = await announced([...percentages, { state: "finished", percentage: 100 }]);
  assert.deepEqual(w.spoken(), [0, 26, 50, 80].map((at) => `process image, Läuft, ${at} %`).concat("process image, finished, 100 %"));
  await w.advance(10_000);
  assert.deepEqual(w.spoken(), [], "what was spoken leaves the page");
});

test("a failure is announced with its message, a job that is not known too", async () => {
  const error = { code: "full", message: "The disk is full." };
  assert.deepEqual((await announced([{ state: "failed", percentage: 40, error }])).spoken(), ["process image, failed, 40 %, The disk is full."]);
  const gone = await shown({ WebSocket: false, answer: () => unknown("a") });
  await gone.advance(6_000);
  assert.deepEqual(gone.spoken(), ["There is no such job."]);
});

test("nothing is announced again: not by a retry, nor after the element came back", async () => {
  const w = await announced([{ percentage: 30 }, { state: "retrying", percentage: null }, { percentage: 0 }, { percentage: 40 }]);
  assert.deepEqual(w.spoken(), ["process image, Läuft, 30 %", "process image, Läuft, 0 %"]);
  w.element.isConnected = false;
  w.element.disconnectedCallback();
  await settle();
  w.element.isConnected = true;
  w.element.connectedCallback();
  await w.advance(300);
  assert.equal(w.spoken().length, 2);
});

test("what a page was rendered with is read with the page, so only what follows is announced", async () => {
  const rendered = document("a", 5, { percentage: 60 });
  const w = await announced([{ percentage: 70 }, { percentage: 75 }], { rendered, answer: () => undefined });
  assert.deepEqual(w.spoken(), ["process image, Läuft, 75 %"]);
  const over = await shown({ rendered: document("a", 5, { state: "finished" }) });
  await over.advance(300);
  assert.deepEqual(over.spoken(), []);
});

test("a lost job that is revived has another end", async () => {
  const w = await announced([{ state: "lost" }, { percentage: 10 }, { state: "finished" }]);
  assert.deepEqual(w.spoken().map((said) => said.split(", ")[1]), ["lost", "Läuft", "finished"]);
});

test("the bar is called by its label, by what the page calls it, or by the task in words", async () => {
  const { element, parts, socket } = await shown();
  assert.equal(parts.progress.ariaLabel, "process image");
  element.setAttribute("label", "Cat");
  socket.job(document("a", 2));
  await settle();
  assert.equal(parts.progress.ariaLabel, "Cat");
  const own = await shown({ prepare: ({ parts: { progress } }) => (progress.ariaLabel = "Fortschritt") });
  assert.equal(own.parts.progress.ariaLabel, "Fortschritt");
  const labelled = await shown({ prepare: ({ parts: { progress } }) => (progress.labels = [{ textContent: "Hochladen" }]) });
  assert.equal(labelled.parts.progress.ariaLabel, "Hochladen");
});
