/** How documents come: the socket, polling, and falling from one to the other. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { document, Locks, goldenNamed, golden, html, json, listener, offline, settle, unknown, world } from "./world.js";

const running = () => document("a", 1);
const finished = (id, version) => document(id, version, { state: "finished", percentage: 100 });
const gaps = (requests) => requests.slice(1).map(({ at }, index) => at - requests[index].at);
const watches = (socket) => socket.sent.filter(({ type }) => type === "watch");

/** A world in which job "a" is followed. */
async function followed(options = {}, verifyOptions = {}) {
  const w = world({ answer: running, ...options });
  const told = listener();
  w.Immortus.verify("a", verifyOptions).then(...told.handlers);
  await settle();
  return Object.assign(w, { told });
}

/** … over a socket that is good. */
async function pushed(options, hello) {
  const w = await followed(options);
  w.socket.open(hello);
  await settle();
  w.socket.tell({ type: "current", job_id: "a", version: 1 });
  await settle();
  return w;
}

// ---- The start

test("the first state does not wait for the socket (case 23)", async () => {
  const w = await followed();
  assert.deepEqual(w.requests.map(({ url }) => url), ["/immortus/verify/a"]);
  assert.deepEqual(w.told.versions(), [1]);
  assert.equal(w.sockets.length, 1);
});

test("the socket is asked for at its path, with the subprotocol", async () => {
  const w = await followed();
  assert.equal(w.socket.url, "wss://shop.example/ws/immortus/");
  assert.deepEqual(w.socket.protocols, ["immortus.v1"]);
});

test("every golden server frame is read without harm, and the documents among them are told", async () => {
  const id = goldenNamed("server_frames", "snapshot").job.job_id;
  for (const { name, message } of golden("server_frames")) {
    const w = world({ answer: () => undefined });
    const seen = [];
    (async () => { for await (const job of w.Immortus.watch(id)) seen.push(job); })();
    await settle();
    w.socket.open();
    await settle();
    w.socket.tell(message);
    await settle();
    assert.deepEqual(seen, message.job ? [message.job] : [], name);
    assert.deepEqual(w.reported, []);
  }
});

test("what is sent are the golden client frames", async () => {
  const known = golden("client_frames").map(({ message }) => message);
  const id = known[0].job_id;
  const w = world({ answer: () => undefined });
  const verification = w.Immortus.verify(id);
  const odd = w.Immortus.verify("reports/2026 №1");
  await settle();
  w.socket.open();
  await settle();
  w.socket.tell({ type: "ping" });
  w.socket.job(document(id, 1795366802000000));
  await settle();
  w.document.dispatchEvent(new Event("visibilitychange"));
  verification.stop();
  odd.stop();
  await settle();
  const stranger = world({ answer: () => undefined });
  stranger.Immortus.configure({ token: known.find(({ token }) => token).token });
  stranger.Immortus.verify(id);
  await settle();
  stranger.socket.open();
  await settle();
  w.socket.sent.push(...stranger.socket.sent);
  for (const frame of known) assert.ok(w.socket.sent.some((sent) => JSON.stringify(sent) === JSON.stringify(frame)), JSON.stringify(frame));
});

test("frames that are not JSON, and types and keys that are not known, are ignored", async () => {
  const w = await pushed();
  for (const frame of ["", "{", "null", "7", "[]", '"job"', '{"type":"future","job_id":"a"}', '{"type":"job"}', '{"type":"job","job":7}']) w.socket.tell(frame);
  w.socket.tell({ type: "job", news: 1, job: document("a", 2) });
  await settle();
  assert.deepEqual(w.told.versions(), [1, 2]);
  assert.deepEqual(w.reported, []);
});

test("a ping is answered", async () => {
  const w = await pushed();
  w.socket.tell({ type: "ping" });
  await settle();
  assert.deepEqual(w.socket.sent.at(-1), { type: "pong" });
});

test("a page's jobs share one socket up to its limit; the others are polled", async () => {
  const ids = ["a", "b", "c", "d"];
  const w = world({ answer: ({ url }) => ({ jobs: ids.filter((id) => url.includes(`=${id}`)).map((id) => document(id, 1)) }) });
  for (const id of ids) w.Immortus.verify(id).then();
  await settle();
  w.socket.open({ max_jobs: 2 });
  await settle();
  for (const id of ["a", "b"]) w.socket.tell({ type: "current", job_id: id, version: 1 });
  await w.advance(4_000);
  assert.equal(w.sockets.length, 1);
  assert.deepEqual(watches(w.socket).map(({ job_id }) => job_id), ["a", "b"]);
  assert.equal(w.requests.at(-1).url, "/immortus/verify?job_id=c&job_id=d");
  w.socket.job(finished("a", 2));
  await settle();
  assert.deepEqual(watches(w.socket).map(({ job_id }) => job_id), ["a", "b", "c"]);
});

test("a job for which the socket has no room, or that it refuses, is polled", async () => {
  for (const code of ["too_many_jobs", "forbidden"]) {
    const w = await followed();
    w.socket.open();
    await settle();
    w.socket.tell({ type: "error", code, message: "", job_id: "a" });
    const before = w.requests.length;
    await w.advance(2_000);
    assert.equal(w.requests.length - before, 4, code);
    assert.equal(watches(w.socket).length, 1, "it is not asked for again and again");
  }
});

test("a job for which there was no room is watched when there is", async () => {
  const w = world({ answer: ({ url }) => (url.includes("?") ? { jobs: [document("a", 1), document("b", 1)] } : document(url.at(-1), 1)) });
  for (const id of ["a", "b"]) w.Immortus.verify(id).then();
  await settle();
  w.socket.open();
  await settle();
  w.socket.tell({ type: "error", code: "too_many_jobs", message: "", job_id: "b" });
  await w.advance(2_000);
  assert.deepEqual(watches(w.socket).map(({ job_id }) => job_id), ["a", "b"]);
  w.socket.job(finished("a", 2));
  await settle();
  assert.deepEqual(watches(w.socket).map(({ job_id }) => job_id), ["a", "b", "b"]);
});

test("a job that is over needs no unwatch: the server has forgotten it", async () => {
  const w = await pushed();
  w.socket.job(finished("a", 2));
  await settle();
  assert.deepEqual(w.socket.sent.map(({ type }) => type), ["watch"]);
});

// ---- Polling

test("a page without a WebSocket polls at its interval (case 29)", async () => {
  for (const options of [{ WebSocket: false }, { dataset: { prefix: "/immortus/", websocket: "" } }, { dataset: { prefix: "/immortus/" } }]) {
    const w = await followed(options, { polling: { interval: 800 } });
    await w.advance(3_200);
    assert.deepEqual(gaps(w.requests), [800, 800, 800, 800]);
    assert.deepEqual(w.transports, ["polling"]);
    assert.equal(w.sockets.length, 0);
  }
});

test("the interval is 500 ms unless one is given, and is counted from the last answer", async () => {
  for (const polling of [undefined, null, {}, { interval: undefined }, { interval: null }]) {
    const w = await followed({ WebSocket: false }, { polling });
    await w.advance(1_000);
    assert.deepEqual(gaps(w.requests), [500, 500]);
  }
  const slow = await followed({ WebSocket: false, answer: () => new Promise((resolve) => setTimeout(resolve, 0, running())) });
  await slow.advance(1_000);
  assert.ok(gaps(slow.requests).every((gap) => gap >= 500));
});

test("the address of a job is escaped, and ids that a path cannot carry go by query", async () => {
  const cases = {
    "908ec6f1-e093:x@y~z_1": "/immortus/verify/908ec6f1-e093%3Ax%40y~z_1",
    "a.b": "/immortus/verify/a.b", "..": "/immortus/verify?job_id=..", ".a": "/immortus/verify?job_id=.a", "a.": "/immortus/verify?job_id=a.",
    "a/b?c": "/immortus/verify?job_id=a%2Fb%3Fc", "x&job_id=y": "/immortus/verify?job_id=x%26job_id%3Dy", "№": "/immortus/verify?job_id=%E2%84%96",
  };
  for (const [id, url] of Object.entries(cases)) {
    const w = world({ answer: () => (url.includes("?") ? { jobs: [finished(id, 1)] } : finished(id, 1)) });
    assert.equal((await w.Immortus.verify(id)).job_id, id);
    assert.equal(w.requests[0].url, url);
  }
});

test("the class is sent along in the path", async () => {
  const w = world();
  w.Immortus.verify({ job_id: "a", job_class: "shop.tasks.resize" });
  await settle();
  assert.equal(w.requests[0].url, "/immortus/verify/a/shop.tasks.resize");
});

test("a single job is asked for with its version, and 304 is nothing new", async () => {
  const w = await followed({ WebSocket: false, answer: ({ headers }) => (headers["If-None-Match"] ? json(null, 304) : running()) });
  await w.advance(1_000);
  assert.equal(w.requests[1].headers["If-None-Match"], '"1"');
  assert.deepEqual(w.told.versions(), [1]);
});

test("at most 100 jobs share a request, and no more than fit into a request line", async () => {
  const count = async (id) => {
    const w = world();
    for (let index = 0; index < 150; index += 1) w.Immortus.verify(id(index));
    await settle();
    for (const { url } of w.requests) assert.ok(url.length < 4_000);
    return w.requests.map(({ url }) => new URLSearchParams(url.split("?")[1]).getAll("job_id").length);
  };
  assert.deepEqual(await count((index) => `j${index}`), [100, 50]);
  const long = await count((index) => `908ec6f1-e093-4943-b7a8-7c84eccf${index}`);
  assert.equal(long.reduce((sum, one) => sum + one), 150);
});

test("polled jobs that are due at almost the same time come to share a request", async () => {
  const w = world({ WebSocket: false, answer: ({ url }) => (url.includes("?") ? { jobs: [document("a", 1), document("b", 1)] } : document(url.at(-1), 1)) });
  w.Immortus.verify("a").then();
  await w.advance(200);
  w.Immortus.verify("b").then();
  await w.advance(2_000);
  assert.equal(w.requests.at(-1).url, "/immortus/verify?job_id=a&job_id=b");
});

test("a job behind its page is asked for alone, with the version held", async () => {
  let version = 5;
  const answer = ({ url, headers }) => {
    if (url.endsWith("/b")) return document("b", 5);
    if (url.endsWith("/a")) return document("a", (version = Number(headers["If-None-Match"].slice(1, -1)) + 1));
    return { jobs: [document("a", version), document("b", 5)] };
  };
  const w = world({ WebSocket: false, answer });
  const told = listener();
  w.Immortus.verify("a").then(...told.handlers);
  w.Immortus.verify("b").then();
  await w.advance(100);
  version = 3;
  await w.advance(3_000);
  assert.deepEqual(told.versions(), [5, 6]);
  const alone = w.requests.filter(({ url }) => url.endsWith("/a"));
  assert.deepEqual(alone.map(({ headers }) => headers["If-None-Match"]), ['"5"']);
});

test("an answer about many that is no list is a bad one for each", async () => {
  for (const jobs of [{}, null, "a", [null]]) {
    const w = world({ WebSocket: false, answer: () => ({ jobs }) });
    const told = listener();
    for (const id of ["a", "b"]) w.Immortus.verify(id).then(...told.handlers);
    await w.advance(1_000);
    assert.deepEqual(told.failed.map(({ error }) => error.code), ["bad_answer", "bad_answer"]);
  }
});

test("a slow answer for one job holds up no other", async () => {
  const w = world({ WebSocket: false, answer: ({ url }) => (url === "/slow" ? undefined : finished("b", 1)) });
  w.Immortus.verify({ verify_job_url: "/slow" }).then();
  await settle();
  const told = listener();
  w.Immortus.verify("b").then(...told.handlers);
  await settle();
  assert.equal(told.done.length, 1);
});

test("a hidden page is polled less often, and at once when it is seen again (fault B2)", async () => {
  const w = await followed({ WebSocket: false, page: { hidden: true } });
  await w.advance(4_900);
  assert.equal(w.requests.length, 1);
  w.document.hidden = false;
  w.document.dispatchEvent(new Event("visibilitychange"));
  await settle();
  assert.equal(w.requests.length, 2);
  await w.advance(500);
  assert.equal(w.requests.length, 3);
});

test("a request without an answer is given up after 30 seconds and made again", async () => {
  const w = await followed({ WebSocket: false, answer: () => undefined });
  await w.advance(29_999);
  assert.equal(w.requests.length, 1);
  await w.advance(1_000);
  assert.equal(w.requests.length, 2);
});

for (const [what, answer] of Object.entries({
  "a network error": offline, "502": json({}, 502), "503 with HTML": html(503), "504": json({}, 504), "429": json({}, 429),
  "JSON that was cut off": { status: 200, headers: { "Content-Type": "application/json" }, text: '{"job_id": "a' },
})) {
  test(`asked again with backoff, for ever: ${what} (case 26)`, async () => {
    const w = await followed({ WebSocket: false, answer: () => answer, random: () => 0.999 });
    await w.advance(200_000);
    assert.equal(w.told.failed.length, 0);
    const pauses = gaps(w.requests);
    assert.ok(pauses.length > 8 && pauses.slice(0, 4).every((pause, index) => pause >= 500 && pause <= 500 + 500 * 2 ** index), String(pauses));
    assert.ok(pauses.every((pause) => pause <= 20_000));
  });
}

test("Retry-After is obeyed, in seconds and as a date, also when the page is seen again", async () => {
  for (const value of ["7", "date"]) {
    const w = world({ WebSocket: false, answer: () => json({}, 429, { "Retry-After": value === "7" ? value : new Date(w.clock.time + 7_000).toUTCString() }) });
    w.Immortus.verify("a").then();
    await w.advance(5_900);
    w.document.dispatchEvent(new Event("visibilitychange"));
    await settle();
    assert.equal(w.requests.length, 1);
    await w.advance(1_200);
    assert.equal(w.requests.length, 2);
  }
});

test("an unknown job is asked for 5 s, and 30 s when it was seen", async () => {
  const never = await followed({ WebSocket: false, answer: () => unknown("a") });
  await never.advance(4_500);
  assert.equal(never.told.failed.length, 0);
  await never.advance(1_000);
  assert.equal(never.told.failed[0].error.code, "unknown_job");
  assert.equal(never.told.failed[0].message, "There is no such job.");

  let seen = true;
  const once = await followed({ WebSocket: false, answer: () => (seen ? running() : unknown("a")) });
  seen = false;
  await once.advance(29_000);
  assert.equal(once.told.failed.length, 0);
  await once.advance(2_000);
  assert.equal(once.told.failed.length, 1);
});

test("a job that appears within its time is followed, and watched on the socket", async () => {
  let known = false;
  const w = await followed({ answer: () => (known ? running() : unknown("a")) });
  w.socket.open();
  await settle();
  w.socket.tell({ ...goldenNamed("server_frames", "error, unknown job"), job_id: "a" });
  await w.advance(1_000);
  known = true;
  await w.advance(1_000);
  assert.deepEqual(w.told.versions(), [1]);
  assert.ok(watches(w.socket).length >= 2);
  assert.equal(w.told.failed.length, 0);
});

test("unknown_job over the socket is what 404 is", async () => {
  const w = await followed({ answer: () => undefined });
  w.socket.open();
  for (let second = 0; second < 7; second += 1) {
    w.socket.tell({ ...goldenNamed("server_frames", "error, unknown job"), job_id: "a" });
    await w.advance(1_000);
  }
  assert.equal(w.told.failed.length, 1);
  assert.equal(w.told.failed[0].error.code, "unknown_job");
  assert.equal(w.told.failed[0].authenticated, true);
});

for (const [what, answer, code] of [
  ["an HTML page with 200", html(200), "bad_answer"], ["a page that asks for a password", { ...html(), text: "<input type=password>" }, "login_required"],
  ["an HTML page with 401", html(401), "login_required"], ["an HTML page with 403", html(403), "login_required"],
  ["a redirect", { status: 0, type: "opaqueredirect", text: "" }, "login_required"], ["401", json({ detail: "no" }, 401), "login_required"],
  ["409", json({}, 409), "wrong_job_class"], ["403 with JSON", json({ detail: "no" }, 403), "http_403"], ["500 with HTML", html(500), "http_500"],
  ["200 that is no document", json({ ok: 1 }), "bad_answer"], ["200 without a body", { status: 200, headers: {}, text: "" }, "bad_answer"],
]) {
  test(`the verify fails with ${code}: ${what} (case 31)`, async () => {
    const w = await followed({ answer: () => answer });
    assert.equal(w.told.failed[0]?.error.code, code);
    assert.equal(w.told.failed[0].job_id, "a");
    assert.ok(w.told.failed[0].message.length > 10);
  });
}

for (const { name, status, message } of golden("http_errors").filter(({ name }) => name.startsWith("verify"))) {
  test(`the server's own error is told: ${name}`, async () => {
    const w = await followed({ answer: () => json(message, status) });
    await w.advance(6_000);
    if (status === 429) assert.equal(w.told.failed.length, 0);
    else assert.deepEqual([w.told.failed[0].error, w.told.failed[0].authenticated], [message.error, message.authenticated]);
  });
}

test("one job's error among many is that job's alone", async () => {
  const { message } = golden("http_many")[0];
  const w = world({ WebSocket: false, answer: ({ url }) => (url.includes("?") ? message : message.jobs[0]) });
  const all = message.jobs.map(({ job_id }) => { const told = listener(); w.Immortus.verify(job_id).then(...told.handlers); return told; });
  await w.advance(6_000);
  assert.deepEqual(all.map(({ failed, progress }) => [failed[0]?.error.code, progress.length]), [[undefined, 1], ["unknown_job", 0]]);
});

test("jobs that only their class can tell of are asked for with it", async () => {
  const told = listener();
  const answer = ({ url }) => {
    if (url.includes("?")) return { jobs: ["a", "b"].map((job_id) => ({ job_id, error: { code: "unknown_job", message: "There is no such job." } })) };
    return url.endsWith("/shop.paint") ? document(url.split("/").at(-2), 2, { job_class: "shop.paint" }) : unknown("a");
  };
  const w = world({ WebSocket: false, answer });
  for (const job_id of ["a", "b"]) w.Immortus.verify({ job_id, job_class: "shop.paint" }).then(...told.handlers);
  await w.advance(60_000);
  assert.deepEqual([told.versions(), told.failed], [[2, 2], []]);
  assert.ok(w.requests.filter(({ url }) => url.includes("?")).length <= 1);
});

test("a job that the socket tells of is asked for with others again", async () => {
  const w = world({ answer: ({ url }) => (url.includes("?") ? { jobs: [document("a", 1), document("b", 1)] } : document("a", 1)) });
  w.Immortus.verify({ job_id: "a", job_class: goldenNamed("documents", "running, with progress").job_class }).then();
  w.Immortus.verify("b").then();
  await settle();
  w.socket.open();
  await settle();
  w.socket.tell({ ...goldenNamed("server_frames", "error, unknown job"), job_id: "a" });
  await w.advance(1_000);
  for (const id of ["a", "b"]) w.socket.job(document(id, 2));
  await settle();
  const before = w.requests.length;
  w.socket.drop();
  await settle();
  assert.deepEqual(w.requests.slice(before).map(({ url }) => url), ["/immortus/verify?job_id=a&job_id=b"]);
});

// ---- The ladder

test("regular polling starts when the socket is not good after 2.5 s, also when it is open", async () => {
  for (const open of [false, true]) {
    const w = await followed();
    if (open) w.socket.open();
    await w.advance(2_499);
    assert.equal(w.requests.length, 1);
    assert.deepEqual(w.transports, ["connecting"]);
    await w.advance(1_001);
    assert.equal(w.requests.length, 4);
    assert.deepEqual(w.transports, ["connecting", "polling"]);
  }
});

test("polling stops when the socket is good", async () => {
  const w = await followed();
  await w.advance(3_000);
  w.socket.open();
  await settle();
  w.socket.job(document("a", 2), "snapshot");
  await settle();
  const before = w.requests.length;
  await w.advance(5_000);
  assert.equal(w.requests.length, before);
  assert.deepEqual(w.transports, ["connecting", "polling", "websocket"]);
});

test("two bad attempts lead to polling and to ever rarer attempts (fault N8)", async () => {
  const w = await followed({ random: () => 0.5 });
  w.socket.drop();
  await w.advance(2_000);
  assert.equal(w.sockets.length, 2);
  w.socket.open();
  w.socket.drop(1000);
  await settle();
  assert.equal(w.transports.at(-1), "polling");
  const before = w.requests.length;
  await w.advance(1_000);
  assert.ok(w.requests.length >= before + 2);
  for (const wait of [60_000, 120_000, 240_000, 480_000, 900_000, 900_000]) {
    const sockets = w.sockets.length;
    await w.advance(wait - 2_000);
    assert.equal(w.sockets.length, sockets, `not before ${wait}`);
    await w.advance(4_000);
    assert.equal(w.sockets.length, sockets + 1);
    w.socket.drop();
    await settle();
  }
});

test("a socket that comes back after long polling takes over (fault N14)", async () => {
  const w = await followed({ random: () => 0.5 });
  w.socket.drop();
  await w.advance(2_000);
  w.socket.drop();
  await w.advance(61_000);
  w.socket.open();
  await settle();
  w.socket.job(document("a", 2), "snapshot");
  await settle();
  const before = w.requests.length;
  await w.advance(10_000);
  assert.equal(w.requests.length, before);
  assert.equal(w.transports.at(-1), "websocket");
});

test("a handshake that never ends is a strike (fault N7)", async () => {
  const w = await followed();
  await w.advance(12_000);
  assert.equal(w.sockets.length, 2);
  assert.equal(w.sockets[0].closed, true);
  await w.advance(20_000);
  assert.equal(w.sockets.length, 2);
});

test("a socket that pings but tells of no job is closed after 10 s (fault N9)", async () => {
  const w = await followed();
  w.socket.open();
  for (let second = 0; second < 12; second += 1) {
    w.sockets[0].tell({ type: "ping" });
    await w.advance(1_000);
  }
  assert.equal(w.sockets[0].closed, true);
});

test("polling takes over when the socket is switched off", async () => {
  const w = await pushed();
  w.Immortus.configure({ websocket: null });
  await w.advance(2_000);
  assert.equal(w.socket.closed, true);
  assert.ok(w.requests.length >= 3);
});

test("polling at once replaces a socket that is lost after an answer", async () => {
  const w = await pushed();
  await w.advance(100);
  w.socket.drop();
  await settle();
  assert.equal(w.requests.length, 2);
});

for (const [what, answer] of Object.entries({ "is refused": offline, "answers 502 by a proxy": html(502) })) {
  test(`a page is right within 5 s after a port that ${what} is back`, async () => {
    for (const hidden of [false, true]) {
      let down = false;
      const w = await pushed({ answer: () => (down ? answer : document("a", 2)), random: () => 0.999, page: { hidden } });
      await w.advance(20_000);
      down = true;
      w.socket.drop();
      for (let second = 0; second < 60; second += 1) {
        await w.advance(1_000);
        if (w.socket.readyState === 0) w.socket.drop();
      }
      down = false;
      await w.advance(5_000);
      assert.equal(w.told.versions().at(-1), 2, `hidden: ${hidden}`);
      await w.advance(15_000);
      assert.equal(w.socket.readyState, 0, "a handshake is under way");
    }
  });
}

test("a page that may not poll has its socket within 5 s after its server is back", async () => {
  const w = await followed({ random: () => 0.999 }, { transport: "websocket" });
  for (let second = 0; second < 60; second += 1) {
    if (w.socket.readyState === 0) w.socket.drop();
    await w.advance(1_000);
  }
  await w.advance(4_000);
  assert.equal(w.socket.readyState, 0);
});

test("sockets that do not get through although requests do are given up, whenever that was", async () => {
  const w = await pushed({ random: () => 0.999 });
  await w.advance(20_000);
  w.socket.drop();
  for (let second = 0; second < 30; second += 1) {
    await w.advance(1_000);
    if (w.socket.readyState === 0) w.socket.drop();
  }
  assert.equal(w.sockets.length, 3);
});

test("back from the cache a socket is tried at once unless it was given up", async () => {
  const away = async (w) => {
    w.window.dispatchEvent(new Event("pagehide"));
    await settle();
    w.window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
    await settle();
    return w.sockets.length;
  };
  const lost = await pushed({ random: () => 0.999 });
  lost.socket.drop();
  await settle();
  assert.equal(await away(lost), 2);
  const hopeless = await followed({ random: () => 0.999 });
  hopeless.socket.drop();
  await hopeless.advance(2_000);
  hopeless.socket.drop();
  await settle();
  assert.equal(await away(hopeless), 2);
});

test("while a good socket is lost polling keeps the page right, from the first moment (case 26)", async () => {
  const w = await pushed();
  await w.advance(20_000);
  w.socket.drop();
  await settle();
  assert.equal(w.requests.length, 2);
  assert.equal(w.transports.at(-1), "polling");
  await w.advance(600);
  assert.equal(w.sockets.length, 2);
  w.socket.open();
  await settle();
  assert.deepEqual(watches(w.socket), [{ type: "watch", job_id: "a", version: 1 }]);
});

test("strikes and backoff are forgotten after 10 s of good life, not when a socket opens", async () => {
  const w = await followed({ random: () => 0.999 });
  const live = async (ms) => {
    w.socket.open();
    await settle();
    w.socket.tell({ type: "current", job_id: "a", version: 1 });
    await w.advance(ms);
    w.socket.drop();
    const dropped = w.clock.time;
    const sockets = w.sockets.length;
    while (w.sockets.length === sockets) await w.advance(100);
    return w.clock.time - dropped;
  };
  const short = [await live(1_000), await live(1_000), await live(1_000), await live(1_000)];
  assert.ok(short.every((wait, index) => !index || wait > short[index - 1]), String(short));
  assert.ok((await live(11_000)) <= 1_100);
});

test("a socket silent for ping_ms + 10 s is dead; any frame is life (fault N3, N11)", async () => {
  const w = await pushed({}, { ping_ms: 5_000 });
  await w.advance(14_000);
  w.socket.tell({ type: "anything" });
  await w.advance(14_000);
  assert.equal(w.socket.closed, false);
  await w.advance(3_000);
  assert.equal(w.sockets[0].closed, true);
  assert.equal(w.sockets.length, 2);
});

for (const code of [1000, 1001, 1006, 1011, 3000, 4001, 4401, 4429, 5000]) {
  test(`after close code ${code} the client comes back (case 26)`, async () => {
    const w = await pushed();
    w.socket.drop(code);
    await w.advance(1_100);
    assert.equal(w.sockets.length, 2);
  });
}

for (const code of [4500, 4503, 4506, 4999]) {
  test(`after close code ${code} the page is polled and the socket left alone`, async () => {
    const w = await pushed({ answer: ({ url }) => (url === "/b" ? { completed: false } : running()) });
    w.socket.drop(code);
    await w.advance(600_000);
    w.Immortus.verify({ verify_job_url: "/b" }).then();
    w.Immortus.watch("a").next();
    await w.advance(1_000);
    assert.equal(w.sockets.length, 1);
    assert.equal(w.transports.at(-1), "polling");
  });
}

test("bye is a planned close: the client leaves, polls, and comes back after that long", async () => {
  const w = await pushed();
  await w.advance(1_000);
  w.socket.tell({ type: "bye", code: 4001, after_ms: 3_000 });
  await settle();
  assert.equal(w.socket.closed, true);
  assert.equal(w.requests.length, 2);
  await w.advance(2_900);
  assert.equal(w.sockets.length, 1);
  await w.advance(200);
  assert.equal(w.sockets.length, 2);
});

test("a server that is about to end and says so at once is no reason to give sockets up", async () => {
  const w = await followed();
  for (let n = 1; n <= 4; n++) {
    assert.equal(w.sockets.length, n);
    w.socket.open();
    await settle();
    w.socket.tell({ type: "bye", code: 4001, after_ms: 500 });
    for (let waited = 0; w.sockets.length === n && waited < 20_000; waited += 100) await w.advance(100);
  }
  w.socket.open();
  await settle();
  w.socket.tell({ type: "current", job_id: "a", version: 1 });
  await settle();
  assert.equal(w.transports.at(-1), "websocket");
});

test("the pages of a server that ends come back spread over the time it told them", async () => {
  const times = [];
  for (const after_ms of [100, 2_000, 4_900]) {
    const w = await pushed();
    await w.advance(1_000);
    w.socket.tell({ type: "bye", code: 4001, after_ms });
    const told = w.clock.time;
    while (w.sockets.length === 1) await w.advance(50);
    times.push(w.clock.time - told - after_ms);
  }
  assert.ok(times.every((late) => late >= 0 && late <= 100), String(times));
});

test("an address for which the browser allows no socket means polling", async () => {
  const w = await followed({ WebSocket: class { constructor() { throw new DOMException("insecure", "SecurityError"); } } });
  await w.advance(2_000);
  assert.equal(w.told.failed.length, 0);
  assert.equal(w.transports.at(-1), "polling");
});

for (const [what, ring] of Object.entries({
  "the network is back": (w) => w.window.dispatchEvent(new Event("online")),
  "the page is seen again": (w) => w.document.dispatchEvent(new Event("visibilitychange")),
  "the machine has slept": (w) => { w.clock.time += 60_000; },
})) {
  test(`when ${what}, a socket that does not answer is replaced (case 26)`, async () => {
    for (const alive of [true, false]) {
      const w = await pushed({}, { ping_ms: 600_000 });
      ring(w);
      await w.advance(1_500);
      assert.deepEqual(watches(w.socket), Array(2).fill({ type: "watch", job_id: "a", version: 1 }));
      if (alive) w.socket.tell({ type: "current", job_id: "a", version: 1 });
      await w.advance(3_500);
      assert.equal(w.sockets.length, alive ? 1 : 2);
    }
  });
}

test("the network's return ends an ordinary wait, but no long one (fault B4)", async () => {
  const w = await pushed({ random: () => 0.999 });
  w.socket.drop();
  await settle();
  w.window.dispatchEvent(new Event("online"));
  await settle();
  assert.equal(w.sockets.length, 2);
  w.socket.drop();
  await w.advance(3_000);
  w.socket.drop();
  await settle();
  const sockets = w.sockets.length;
  for (let toggle = 0; toggle < 20; toggle += 1) w.window.dispatchEvent(new Event("online"));
  await w.advance(1_000);
  assert.equal(w.sockets.length, sockets);
});

const CACHED = [(w) => w.window.dispatchEvent(new Event("pagehide")), (w) => w.window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }))];
const FROZEN = [(w) => w.document.dispatchEvent(new Event("freeze")), (w) => w.document.dispatchEvent(new Event("resume"))];
for (const [what, leave, comeBack] of [
  ["in the back/forward cache", CACHED.slice(0, 1), CACHED.slice(1)], ["that is frozen", FROZEN.slice(0, 1), FROZEN.slice(1)],
  ["that is frozen in the cache", [CACHED[0], FROZEN[0]], [FROZEN[1], CACHED[1]]],
]) test(`a page ${what} holds no socket, request or timer, and is right again when shown (fault B3)`, async () => {
  const w = await pushed();
  for (const step of leave) step(w);
  await settle();
  assert.equal(w.socket.closed, true);
  assert.equal(w.clock.timers.size, 0);
  await w.advance(60_000);
  assert.equal(w.requests.length, 1);
  for (const step of comeBack) {
    step(w);
    await settle();
  }
  assert.equal(w.requests.length, 2);
  assert.equal(w.sockets.length, 2);
  w.socket.open();
  await settle();
  w.socket.job(finished("a", 3));
  await settle();
  assert.equal(w.told.done.length, 1);
});

test("after the last job the socket closes and no timer is left (case 32)", async () => {
  const w = await pushed();
  w.socket.job(finished("a", 2));
  await w.advance(900);
  assert.equal(w.socket.closed, false, "the next job of a page often follows at once");
  await w.advance(200);
  assert.equal(w.socket.closed, true);
  assert.equal(w.clock.timers.size, 0);
  assert.equal(w.transports.at(-1), "idle");
});

test("transport: polling opens no socket; transport: websocket makes no request", async () => {
  const polled = await followed({}, { transport: "polling" });
  await polled.advance(1_000);
  assert.deepEqual([polled.sockets.length, polled.requests.length], [0, 3]);
  const watched = await followed({}, { transport: "websocket" });
  await watched.advance(10_000);
  assert.deepEqual([watched.sockets.length, watched.requests.length], [1, 0]);
  const impossible = await followed({ WebSocket: false }, { transport: "websocket" });
  assert.equal(impossible.told.failed[0].error.code, "no_websocket");
});

test("a socket goes with the last job that wants it though another is polled", async () => {
  const w = world({ answer: ({ url }) => (url.includes("?") ? { jobs: [document("a", 1), document("b", 1)] } : document(url.at(-1), 1)) });
  const watched = w.Immortus.verify("a");
  w.Immortus.verify("b", { transport: "polling" }).then();
  await settle();
  w.socket.open();
  await settle();
  w.socket.tell({ type: "current", job_id: "a", version: 1 });
  await w.advance(1_000);
  assert.deepEqual(watches(w.socket).map(({ job_id }) => job_id), ["a"]);
  watched.stop();
  await w.advance(1_100);
  assert.equal(w.socket.closed, true);
  assert.equal(w.transports.at(-1), "polling");
});

// ---- Handshakes of many tabs

/** Tabs of one browser, of which each has asked for the job and wants a socket. */
async function tabs(count) {
  const locks = new Locks();
  const all = [];
  for (let tab = 0; tab < count; tab += 1) all.push(await followed({ locks }));
  return all;
}

const advance = async (all, ms) => { for (const w of all) await w.advance(ms); };

test("tabs make their handshakes one after the other, each with its 10 s (fault B5)", async () => {
  const all = await tabs(12);
  for (let tab = 0; tab < 12; tab += 1) {
    assert.deepEqual(all.map(({ sockets }) => sockets.length), all.map((_, index) => (index <= tab ? 1 : 0)));
    await advance(all, 2_500);
    all[tab].socket.open();
    await settle();
    all[tab].socket.tell({ type: "current", job_id: "a", version: 1 });
    await settle();
  }
  assert.ok(all.every(({ transports, sockets }) => transports.at(-1) === "websocket" && sockets.length === 1));
});

test("while a tab waits for its turn, it polls", async () => {
  const [, second] = await tabs(2);
  await second.advance(4_000);
  assert.equal(second.sockets.length, 0);
  assert.equal(second.transports.at(-1), "polling");
  assert.ok(second.requests.length > 3);
});

for (const [what, end] of Object.entries({
  "is refused": (w) => w.socket.drop(), "hangs for 10 s": (w) => w.advance(11_000), "is no longer wanted": CACHED[0], "is of a page that is frozen": FROZEN[0],
})) {
  test(`the next tab has its turn when a handshake ${what}`, async () => {
    const [first, second] = await tabs(2);
    await end(first);
    await settle();
    assert.equal(second.sockets.length, 1);
  });
}

test("a tab that waits for a minute does without its turn, and one that left does not take it", async () => {
  const [, second, third] = await tabs(3);
  CACHED[0](third);
  await second.advance(59_000);
  assert.equal(second.sockets.length, 0);
  await second.advance(2_000);
  assert.equal(second.sockets.length, 1);
  await settle();
  assert.equal(third.sockets.length, 0);
  assert.equal(third.clock.timers.size, 0);
});

test("a browser that refuses locks is one without", async () => {
  const w = await followed({ locks: { request: async () => { throw new DOMException("insecure", "SecurityError"); } } });
  assert.equal(w.sockets.length, 1);
});

// ---- A page over days

test("a thousand sockets later the page listens to no more than after ten", async () => {
  const w = await pushed();
  const listened = () => Math.max(...w.signals.map((signal) => getEventListeners(signal, "abort").length)); // to one signal
  const reconnect = async (times) => {
    for (let time = 0; time < times; time += 1) {
      w.socket.tell({ type: "bye", code: 4010, after_ms: 0 });
      await settle();
      w.socket.open();
      await settle();
      w.socket.tell({ type: "current", job_id: "a", version: 1 });
      await settle();
      w.signals.splice(0, w.signals.length, ...w.signals.filter((signal) => !signal.aborted));
    }
    return [listened(), w.clock.timers.size];
  };
  const early = await reconnect(10);
  assert.deepEqual(await reconnect(1_000), early);
  assert.equal(w.sockets.length, 1_011);
});
