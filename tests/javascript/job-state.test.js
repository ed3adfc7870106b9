/** Jobs told to callbacks by their ids: `JobState.startPolling` and `JobState.killJob`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { document, html, json, settle, unhandledAfter, unknown, world } from "./world.js";

const finished = (id, version, changes = {}) => document(id, version, { state: "finished", percentage: 100, ...changes });
const failed = (id, version) => document(id, version, { state: "failed", error: { code: "blister", message: "The runner has a blister." } });
const tag = { prefix: "/immortus/", websocket: "/ws/immortus/", csrfToken: "from-tag" };

/** What a tab keeps from page to page. */
function memory() {
  const kept = new Map();
  return { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => void kept.set(key, value) };
}

const newPage = (options) => world({ scripts: ["immortus", "job-state"], sessionStorage: memory(), dataset: tag, ...options });

/** Three callbacks that note the data they are given. */
function callbacks() {
  const told = { update: [], success: [], error: [] };
  const noting = (name) => (data) => void told[name].push(data);
  return { told, handlers: { update: noting("update"), success: noting("success"), error: noting("error") } };
}

/** A page that follows the job "a" over its socket. */
async function followed(options = {}) {
  const w = newPage({ answer: () => document("a", 1), ...options });
  const { told, handlers } = callbacks();
  const handle = w.JobState.startPolling({ jobUuid: "a", ...handlers });
  await settle();
  w.socket.open();
  await settle();
  return { w, told, handle, socket: w.socket };
}

/** What the callbacks of a page were told of a job that is over when the page asks. */
async function toldAtOnce(options, jobUuid = "a") {
  const w = newPage(options);
  const { told, handlers } = callbacks();
  w.JobState.startPolling({ jobUuid, ...handlers });
  await settle();
  return told;
}

test("update is told with each newer state, success once, and no update after it", async () => {
  const { told, socket } = await followed();
  for (const version of [2, 3, 3]) socket.job(document("a", version));
  socket.job(finished("a", 4));
  socket.job(document("a", 5));
  await settle();
  assert.deepEqual(told.update.map(({ version }) => version), [1, 2, 3]);
  assert.deepEqual(told.success.map(({ version }) => version), [4]);
  assert.deepEqual(told.error, []);
});

test("data is the job's document and job_state, and metrics keep their JSON types (case 36)", async () => {
  const metrics = { miles_run: 12.5, tired: false, shoes: null, splits: [1, { mile: 2 }], city: "Hopkinton – Boston" };
  const { told, socket } = await followed({ answer: () => document("a", 1, metrics) });
  socket.job(finished("a", 2, metrics));
  await settle();
  assert.deepEqual(told.update, [{ ...document("a", 1, metrics), job_state: "working" }]);
  assert.deepEqual(told.success, [{ ...finished("a", 2, metrics), job_state: "success", replayed: false }]);
});

for (const [state, jobState] of [["enqueued", "working"], ["running", "working"], ["retrying", "working"], ["finished", "success"], ["failed", "error"], ["cancelled", "error"], ["lost", "error"]]) {
  test(`the state ${state} is the job_state ${jobState}`, async () => {
    const error = jobState === "error" ? { code: state, message: "It is over." } : null;
    const told = await toldAtOnce({ answer: () => document("a", 1, { state, error }) });
    const callback = { working: "update", success: "success", error: "error" }[jobState];
    assert.deepEqual(told[callback].map((data) => data.job_state), [jobState]);
    assert.equal(told.update.length + told.success.length + told.error.length, 1);
  });
}

test("error is told once, with the document and why", async () => {
  const { told, socket } = await followed();
  socket.job(failed("a", 2));
  socket.job(finished("a", 3));
  await settle();
  assert.deepEqual(told.error, [{ ...failed("a", 2), job_state: "error", replayed: false }]);
  assert.deepEqual(told.success, []);
});

test("error is told a reason even where the document has none", async () => {
  const told = await toldAtOnce({ answer: () => document("a", 1, { state: "failed", error: null }) });
  assert.equal(told.error[0].error.code, "failed");
});

test("a job_state that the job itself set is overwritten", async () => {
  const told = await toldAtOnce({ answer: () => document("a", 1, { job_state: "mine" }) });
  assert.equal(told.update[0].job_state, "working");
});

for (const [what, answer, code] of [
  ["an expired login", () => ({ status: 0, type: "opaqueredirect", text: "" }), "login_required"],
  ["a forbidden answer of a proxy", () => html(403), "login_required"],
  ["a final HTTP error", () => html(500), "http_500"],
  ["a state that cannot be told", () => json({ job_id: "a", error: { code: "strategy_error", message: "Not known." } }, 500), "strategy_error"],
]) {
  test(`error is told the id and the reason: ${what}`, async () => {
    const told = await toldAtOnce({ answer });
    const [{ job_id, error, job_state, replayed }] = told.error;
    assert.deepEqual([job_id, error.code, job_state, replayed, told.error.length], ["a", code, "error", false, 1]);
    assert.equal(typeof error.message, "string");
  });
}

test("error is told of an unknown or expired job, after the time in which it may appear", async () => {
  const w = newPage({ answer: () => unknown("a"), WebSocket: false });
  const { told, handlers } = callbacks();
  w.JobState.startPolling({ jobUuid: "a", ...handlers });
  await w.advance(4_000);
  assert.deepEqual(told.error, []);
  await w.advance(4_000);
  assert.deepEqual(told.error.map(({ job_id, error }) => [job_id, error.code]), [["a", "unknown_job"]]);
});

test("without an id error is told, and nothing is thrown", async () => {
  const told = await toldAtOnce({}, "");
  assert.deepEqual(told.error.map(({ job_id, error, job_state }) => [job_id, error.code, job_state]), [[null, "no_job_id", "error"]]);
});

test("a mistyped option is a TypeError that names it and the known ones", () => {
  const w = newPage();
  const message = "startPolling takes jobUuid|pollingPeriod|update|success|error, not onSuccess.";
  assert.throws(() => w.JobState.startPolling({ jobUuid: "a", onSuccess: () => {} }), { name: "TypeError", message });
});

test("what is not a function is refused at the call, and so is nothing at all", () => {
  const w = newPage();
  for (const [name, given] of [["success", 5], ["update", "f"], ["error", {}]]) {
    const message = `${name} takes a function, not ${given}.`;
    assert.throws(() => w.JobState.startPolling({ jobUuid: "a", [name]: given }), { name: "TypeError", message });
  }
  w.JobState.startPolling({ jobUuid: "a", success: null, update: undefined }).stop();
});

test("a server that is down for a while is no error (case 26)", async () => {
  const answers = [json({}, 502), new TypeError("Failed to fetch"), finished("a", 2)];
  const w = newPage({ answer: () => answers.shift(), WebSocket: false });
  const { told, handlers } = callbacks();
  w.JobState.startPolling({ jobUuid: "a", ...handlers });
  await w.advance(20_000);
  assert.deepEqual([told.error.length, told.success.length], [0, 1]);
});

test("each of two jobs of a page is told to its own callbacks (case 24)", async () => {
  const w = newPage({ answer: () => ({ jobs: [document("a", 1, { miles_run: 1 }), document("b", 1, { miles_run: 2 })] }) });
  const [a, b] = ["a", "b"].map((jobUuid) => {
    const { told, handlers } = callbacks();
    w.JobState.startPolling({ jobUuid, ...handlers });
    return told;
  });
  await settle();
  w.socket.open();
  w.socket.job(finished("b", 2, { miles_run: 26.2 }));
  w.socket.job(failed("a", 2));
  await settle();
  assert.deepEqual([a.update, b.update].map(([data]) => data.miles_run), [1, 2]);
  assert.deepEqual([a.success.length, a.error.length], [0, 1]);
  assert.deepEqual([b.success[0].miles_run, b.error.length], [26.2, 0]);
  assert.equal(w.sockets.length, 1);
});

test("data belongs to the callback it is given to", async () => {
  const w = newPage({ answer: () => document("a", 1, { miles_run: 1 }) });
  const { told, handlers } = callbacks();
  w.JobState.startPolling({ jobUuid: "a", update: (data) => { data.miles_run = "spoilt"; } });
  w.JobState.startPolling({ jobUuid: "a", ...handlers });
  await settle();
  assert.equal(told.update[0].miles_run, 1);
});

test("a polled job is asked for once a pollingPeriod, by default a second", async () => {
  for (const [pollingPeriod, gap] of [[undefined, 1_000], [500, 500], [3_000, 3_000]]) {
    let version = 0;
    const w = newPage({ answer: () => document("a", (version += 1)), WebSocket: false });
    w.JobState.startPolling({ jobUuid: "a", pollingPeriod });
    await w.advance(2 * gap);
    assert.deepEqual(w.requests.map(({ at }) => at - w.requests[0].at), [0, gap, 2 * gap]);
  }
});

test("a callback that throws is reported and stops no other (case 25)", async () => {
  const { w, told, socket } = await followed();
  const broken = () => { throw new Error("broken callback"); };
  w.JobState.startPolling({ jobUuid: "a", update: broken, success: broken, error: told.error.push });
  const unhandled = await unhandledAfter(async () => {
    await settle();
    socket.job(document("a", 2));
    socket.job(finished("a", 3));
    await settle();
  });
  assert.deepEqual(told.update.map(({ version }) => version), [1, 2]);
  assert.deepEqual([told.success.length, told.error.length], [1, 0]);
  assert.deepEqual([...w.reported, ...unhandled].map(({ message }) => message), Array(3).fill("broken callback"));
});

test("every callback may be left out; then a failure is one that nobody handles", async () => {
  const w = newPage({ answer: () => ({ jobs: [finished("a", 1), document("b", 1), failed("c", 1)] }) });
  const unhandled = await unhandledAfter(async () => {
    for (const jobUuid of ["a", "b", "c"]) w.JobState.startPolling({ jobUuid });
    await settle();
  });
  assert.deepEqual(unhandled.map(({ job_id }) => job_id), ["c"]);
  assert.deepEqual(w.reported, []);
});

test("after stop() no callback is called, and nothing is left", async () => {
  const { w, told, handle, socket } = await followed();
  const unhandled = await unhandledAfter(() => {
    handle.stop();
    handle.stop();
    socket.job(finished("a", 2));
  });
  assert.deepEqual([told.update.length, told.success, told.error, unhandled], [1, [], [], []]);
  await w.advance(2_000);
  assert.equal(w.clock.timers.size, 0);
});

// Ends that were told before

test("a page loaded after an end was told hears that end as replayed", async () => {
  const sessionStorage = memory();
  const { told, socket } = await followed({ sessionStorage });
  socket.job(finished("a", 4));
  await settle();
  assert.equal(told.success[0].replayed, false);
  const reloaded = await toldAtOnce({ sessionStorage, answer: () => finished("a", 4) });
  assert.equal(reloaded.success[0].replayed, true);
});

test("an end before the page's first question is not replayed", async () => {
  const told = await toldAtOnce({ answer: () => finished("a", 4) });
  assert.equal(told.success[0].replayed, false);
});

test("a failure is replayed as well; another end of the same job is new", async () => {
  const sessionStorage = memory();
  const ends = [failed("a", 4), failed("a", 4), finished("a", 5), finished("a", 5)];
  const told = [];
  for (const end of ends) {
    const { error, success } = await toldAtOnce({ sessionStorage, answer: () => end });
    told.push(...error, ...success);
  }
  assert.deepEqual(told.map(({ replayed }) => replayed), [false, true, false, true]);
});

test("two callbacks of one page are told the same end as new", async () => {
  const w = newPage({ answer: () => finished("a", 4) });
  const { told, handlers } = callbacks();
  for (const _ of [1, 2]) w.JobState.startPolling({ jobUuid: "a", ...handlers });
  await settle();
  assert.deepEqual(told.success.map(({ replayed }) => replayed), [false, false]);
});

test("a job that is not known is never replayed", async () => {
  const sessionStorage = memory();
  for (const _ of [1, 2]) {
    const told = await toldAtOnce({ sessionStorage, answer: () => html(500) });
    assert.equal(told.error[0].replayed, false);
  }
});

test("where the browser remembers nothing, an end that is the first news counts as replayed", async () => {
  const forbidden = { getItem() { throw new DOMException("no", "SecurityError"); }, setItem() { throw new DOMException("no", "SecurityError"); } };
  for (const sessionStorage of [undefined, forbidden]) {
    const told = await toldAtOnce({ sessionStorage, answer: () => finished("a", 4) });
    assert.equal(told.success[0].replayed, true);
    const seen = await followed({ sessionStorage });
    seen.socket.job(finished("a", 4));
    await settle();
    assert.equal(seen.told.success[0].replayed, false);
  }
});

test("a thousand ends are remembered, the newest ones", async () => {
  const sessionStorage = memory();
  const earlier = Array.from({ length: 1_000 }, (_, index) => `1 job-${index}`);
  sessionStorage.setItem("immortus:ends", JSON.stringify(earlier));
  for (const _ of [1, 2]) await toldAtOnce({ sessionStorage, answer: () => finished("a", 4) });
  assert.deepEqual(JSON.parse(sessionStorage.getItem("immortus:ends")), [...earlier.slice(1), "4 a"]);
});

// Pages that left themselves

/** What a page is told at once that was loaded `later` ms after the last one of the tab, of which the time of the load is kept. */
function tab(end = finished("a", 4)) {
  const sessionStorage = memory();
  let opened = 5_000_000;
  return async (later, options = {}) => {
    opened += later;
    const { success, error } = await toldAtOnce({ sessionStorage, opened, answer: () => end, ...options });
    return success.length + error.length;
  };
}

test("a page that a callback reloaded is not told of that end again", async () => {
  for (const end of [finished("a", 4), failed("a", 4), html(500)]) {
    const load = tab(end);
    assert.deepEqual([await load(0), await load(900), await load(900), await load(900)], [1, 0, 1, 0]);
    assert.equal(await load(60_000), 1);
    assert.equal(await load(3_000), 1);
  }
});

test("another end of the job is told all the same", async () => {
  const load = tab();
  assert.deepEqual([await load(0), await load(50, { answer: () => finished("a", 5) })], [1, 1]);
});

test("without storage a reloaded page does not tell an end as its first news", async () => {
  const without = (navigation) => toldAtOnce({ sessionStorage: undefined, navigation, answer: () => finished("a", 4) });
  assert.equal((await without("navigate")).success.length, 1);
  assert.equal((await without("reload")).success.length, 0);
  const seen = await followed({ sessionStorage: undefined, navigation: "reload" });
  seen.socket.job(finished("a", 4));
  await settle();
  assert.equal(seen.told.success.length, 1);
});

// Killing

test("killJob posts with the CSRF token, resolves with the document, and the callbacks are told", async () => {
  const cancelled = document("a", 2, { state: "cancelled", cancel_requested: true, error: { code: "cancelled", message: "The job was cancelled." } });
  const { w, told } = await followed({ answer: ({ method }) => (method === "POST" ? json(cancelled, 202) : document("a", 1)) });
  assert.deepEqual(await w.JobState.killJob("a"), cancelled);
  const { url, headers } = w.requests.at(-1);
  assert.deepEqual([url, headers["X-CSRFToken"]], ["/immortus/cancel/a", "from-tag"]);
  await settle();
  assert.deepEqual(told.error.map(({ error }) => error.code), ["cancelled"]);
});

test("killJob rejects when the job is over, or not named", async () => {
  const over = { ...finished("a", 2), error: { code: "not_cancellable", message: "This job cannot be cancelled." } };
  const w = newPage({ answer: () => json(over, 409) });
  await assert.rejects(w.JobState.killJob("a"), { error: over.error });
  await assert.rejects(w.JobState.killJob(), { name: "JobError" });
});

// The file

test("loading the files twice keeps the first ones", () => {
  const w = newPage();
  const first = w.scope.JobState;
  w.run();
  assert.equal(w.scope.JobState, first);
});

test("the file loads without a page", async () => {
  await import("../../immortus_channels/static/immortus_channels/job-state.js");
  assert.deepEqual(Object.keys(globalThis.JobState).sort(), ["killJob", "startPolling"]);
});
