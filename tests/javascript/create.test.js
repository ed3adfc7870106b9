/** Starting and cancelling jobs: `Immortus.create` and `Immortus.cancel`, and where the CSRF token comes from. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { document, golden, html, json, listener, login, offline, settle, unhandledAfter, world } from "./world.js";

const started = () => json({ job_id: "a", job_class: "shop.tasks.process_image" }, 202);
const token = (request) => request.headers["X-CSRFToken"];
const tag = { prefix: "/immortus/", csrfToken: "from-tag" };

test("create posts and resolves with the server's answer", async () => {
  const w = world({ answer: started });
  assert.deepEqual(await w.Immortus.create("/process_image"), { job_id: "a", job_class: "shop.tasks.process_image" });
  const [{ url, method, body, credentials }] = w.requests;
  assert.deepEqual({ url, method, body, credentials }, { url: "/process_image", method: "POST", body: undefined, credentials: "same-origin" });
});

test("create form-encodes a plain object and does not change it (case 33)", async () => {
  const w = world({ answer: started, dataset: tag });
  const data = Object.freeze({ width: 3, tags: Object.freeze(["a", "b"]), gone: undefined, none: null, size: { w: 1 }, at: new Date(0) });
  await w.Immortus.create("/x", data);
  assert.equal(w.requests[0].body.toString(), "width=3&tags=a&tags=b&size=%7B%22w%22%3A1%7D&at=1970-01-01T00%3A00%3A00.000Z");
});

test("a file makes the request multipart, and FormData stays what it is", async () => {
  const w = world({ answer: started });
  const form = new FormData();
  form.append("picture", new File(["x"], "cat.png"));
  await w.Immortus.create("/x", form);
  await w.Immortus.create("/x", { picture: new File(["x"], "cat.png"), width: 3 });
  for (const { body } of w.requests) {
    assert.ok(body instanceof FormData);
    assert.equal(body.get("picture").name, "cat.png");
  }
});

test("a form without a field is no multipart body, which servers refuse when it has no part", async () => {
  const w = world({ answer: started });
  await w.Immortus.create("/x", new FormData());
  assert.equal(w.requests[0].body.toString(), "");
});

test("the token comes from settings, cookie, meta tag or field, in order", async () => {
  const meta = (selector) => (selector.startsWith("meta") ? { content: "from-meta" } : { value: "from-field" });
  const field = (selector) => (selector.startsWith("[name") ? { value: "from-field" } : null);
  const cookie = "a=1; csrftoken=from-cookie; b=2";
  for (const [options, expected] of [
    [{ dataset: tag, page: { cookie } }, "from-tag"], [{ page: { cookie, querySelector: meta } }, "from-cookie"],
    [{ page: { querySelector: meta } }, "from-meta"], [{ page: { querySelector: field } }, "from-field"],
  ]) {
    const w = world({ answer: started, ...options });
    await w.Immortus.create("/x");
    assert.equal(token(w.requests[0]), expected);
  }
});

test("create without a token is sent, and its refusal is told (case 33)", async () => {
  const w = world({ answer: () => html(403) });
  const error = await w.Immortus.create("/x").catch((reason) => reason);
  assert.equal(token(w.requests[0]), undefined);
  assert.ok(error instanceof Error);
  assert.equal(error.status, 403);
  assert.match(error.body, /doctype/);
});

test("another site is never sent the token, in no way", async () => {
  const w = world({ answer: started, dataset: tag, page: { cookie: "csrftoken=secret" } });
  const form = new FormData();
  form.append("csrfmiddlewaretoken", "secret");
  form.append("width", "3");
  for (const url of ["https://evil.example/x", "//evil.example/x", "http://shop.example/x", "https://shop.example:8443/x"]) {
    await w.Immortus.create(url, form);
    const { headers, body } = w.requests.at(-1);
    assert.equal(headers["X-CSRFToken"], undefined, url);
    assert.deepEqual([...body.keys()], ["width"]);
  }
  assert.deepEqual([...form.keys()], ["csrfmiddlewaretoken", "width"], "the caller's form is not changed");
  await w.Immortus.create("/x");
  assert.equal(w.requests.at(-1).mode, "same-origin", "nor does a redirect carry it there");
});

for (const [what, answer, status] of [
  ["500", json({}, 500), 500], ["an answer without a job id", json({}), 200], ["an answer that is no JSON", html(200), 200], ["no network", offline, 0],
]) {
  test(`createFailed is told the status and the body: ${what} (case 30)`, async () => {
    const w = world({ answer: () => answer });
    const failures = [];
    await w.Immortus.create("/x").then(() => assert.fail(), (error) => failures.push(error)).catch(() => {});
    assert.equal(failures.length, 1);
    assert.equal(failures[0].status, status);
    assert.ok(failures[0] instanceof Error && "body" in failures[0]);
  });
}

test("an address that is none is a rejection, not an exception (case 33)", async () => {
  const w = world({ answer: started });
  const error = await w.Immortus.create("http://[").catch((reason) => reason);
  assert.deepEqual([error.name, error.status, error.message], ["CreateError", 0, "Invalid URL"]);
  assert.equal(error.cause.code, "ERR_INVALID_URL");
});

test("without a network create is told so, and why", async () => {
  const error = await world({ answer: () => offline }).Immortus.create("/x").catch((reason) => reason);
  assert.deepEqual([error.name, error.status, error.message], ["CreateError", 0, "The server could not be reached."]);
  assert.equal(error.cause, offline);
});

for (const [given, message] of [
  [[], "url takes string, not undefined."],
  [[null], "url takes string, not object."],
  [[{ url: "/x" }], "url takes string, not object."],
  [[new FormData()], "url takes string, not object."],
  [["/x", '{"width":3}'], "data takes object, not string."],
  [["/x", null], "data takes object, not null."],
  [["/x", () => {}], "data takes object, not function."],
]) {
  test(`a create that cannot be meant fails without a request: create(${given.map(String)})`, async () => {
    const w = world({ answer: started });
    const failures = [];
    await w.Immortus.create(...given).then(() => assert.fail(), (error) => failures.push(error)).then(() => assert.fail(), () => {});
    assert.deepEqual(failures.map(({ name, status, body }) => [name, status, body]), [["CreateError", 0, null]]);
    assert.equal(failures[0].message, message);
    assert.deepEqual(w.requests, []);
  });
}

test("an address may be a URL, or that of the page itself", async () => {
  const w = world({ answer: started });
  for (const url of [new URL("https://shop.example/x"), ""]) assert.equal((await w.Immortus.create(url)).job_id, "a");
});

/** The documented chain of two steps, and what it printed. */
async function chain(w) {
  const lines = [];
  const say = (text) => ({ job_id }) => void lines.push(`job ${job_id} ${text}`);
  const unhandled = await unhandledAfter(async () => {
    w.Immortus.create("/create_job")
      .then((job) => (lines.push(`job ${job.job_id} created`), job), () => void lines.push("failed to create"))
      .then((job) => w.Immortus.verify(job, { polling: { interval: 800 } }).then(say("finished"), say("failed"), say("is running")));
    await w.advance(1_000);
  });
  assert.deepEqual(unhandled, []);
  return lines;
}

test("the documented chain: created, running, finished", async () => {
  const answers = [started(), document("a", 1), document("a", 2, { state: "finished" })];
  assert.deepEqual(await chain(world({ WebSocket: false, answer: () => answers.shift() })), ["job a created", "job a is running", "job a finished"]);
});

test("the documented chain: created, failed", async () => {
  const answers = [started(), document("a", 1, { state: "failed" })];
  assert.deepEqual(await chain(world({ WebSocket: false, answer: () => answers.shift() })), ["job a created", "job a failed"]);
});

test("after a failed create the chain verifies nothing (case 30)", async () => {
  const w = world({ answer: () => json({}, 500) });
  assert.deepEqual(await chain(w), ["failed to create"]);
  assert.equal(w.requests.length, 1);
});

test("the chain stays rejected for whoever awaits it, and .catch() recovers", async () => {
  const w = world({ answer: () => json({}, 500) });
  const chained = () => w.Immortus.create("/x").then((job) => job, () => "handled").then(() => assert.fail());
  await assert.rejects(async () => { await chained(); }, { status: 500 });
  assert.equal(await chained().catch(() => "recovered").then((value) => value), "recovered");
  let cleaned = 0;
  assert.deepEqual(await unhandledAfter(() => void w.Immortus.create("/x").then(null, () => {}).finally(() => (cleaned += 1))), []);
  assert.equal(cleaned, 1);
});

test("a later step of two handlers is skipped as well, and its second is told of the failure", async () => {
  const w = world({ answer: () => json({}, 500) });
  const told = [];
  const unhandled = await unhandledAfter(async () => {
    w.Immortus.create("/x").then((job) => job, () => void told.push("first")).then(() => assert.fail(), ({ status }) => void told.push(status));
    await settle();
  });
  assert.deepEqual([told, unhandled], [["first", 500], []]);
});

test("whoever awaits a create gets what the failed handler made of it, whatever that is", async () => {
  const w = world({ answer: () => json({}, 500) });
  const failing = (failed) => w.Immortus.create("/x").then(() => assert.fail(), failed);
  let cleaned = 0;
  const unhandled = await unhandledAfter(async () => {
    for (const fallback of ["fallback", null, undefined, 0, { job_id: "b" }]) {
      assert.deepEqual(await failing(() => fallback), fallback);
      assert.deepEqual(await failing(async () => fallback), fallback);
      assert.deepEqual(await failing(() => fallback).finally(() => (cleaned += 1)), fallback);
      assert.deepEqual(await (async () => failing(() => fallback))(), fallback);
      assert.deepEqual(await Promise.all([failing(() => fallback), 1]), [fallback, 1]);
    }
    assert.equal(await w.Immortus.create("/x").then(null, ({ status }) => status), 500);
  });
  assert.deepEqual([unhandled, cleaned], [[], 5]);
});

test("whoever awaits a create gets the error of a handler that throws, once", async () => {
  for (const [answer, handlers] of [[started, [() => { throw new Error("mine"); }, () => assert.fail()]], [() => json({}, 500), [() => assert.fail(), () => { throw new Error("mine"); }]]]) {
    const w = world({ answer });
    const unhandled = await unhandledAfter(async () => {
      await assert.rejects(async () => { await w.Immortus.create("/x").then(...handlers); }, { message: "mine" });
      await assert.rejects(async () => { await w.Immortus.create("/x").then(...handlers).finally(() => {}); }, { message: "mine" });
      await assert.rejects(async () => { await w.Immortus.create("/x").then((job) => job, () => 1).finally(() => { throw new Error("mine"); }); }, { message: "mine" });
    });
    assert.deepEqual(unhandled, []);
    assert.equal((await unhandledAfter(() => void w.Immortus.create("/x").then(...handlers))).length, 1);
  }
});

test("whoever awaits a create that went well gets what the created handler made of it", async () => {
  const w = world({ answer: started });
  assert.equal(await w.Immortus.create("/x").then(({ job_id }) => job_id, () => "fallback"), "a");
  assert.equal(await w.Immortus.create("/x").then(({ job_id }) => job_id, () => "fallback").then((id) => `${id}!`), "a!");
});

test("a create that failed is reported when nobody was told, also behind finally()", async () => {
  const w = world({ answer: () => json({}, 500) });
  assert.equal((await unhandledAfter(() => void w.Immortus.create("/x"))).length, 1);
  assert.equal((await unhandledAfter(() => void w.Immortus.create("/x").finally(() => {}))).length, 1);
});

test("other errors of the chain are handled as in any promise", async () => {
  const w = world({ answer: started });
  const broken = () => w.Immortus.create("/x").then(() => { throw new Error("mine"); });
  assert.equal(await broken().then(null, ({ message }) => message), "mine");
  assert.equal((await unhandledAfter(() => void broken())).length, 1);
});

test("stopping a verify inside the chain is not reported", async () => {
  const w = world({ answer: ({ method }) => (method === "POST" ? started() : document("a", 1)) });
  const told = listener();
  let verification;
  const unhandled = await unhandledAfter(async () => {
    w.Immortus.create("/x").then((job) => job, () => {}).then(async (job) => { await (verification = w.Immortus.verify(job).then(...told.handlers)); });
    await settle();
    verification.stop();
  });
  assert.deepEqual([unhandled, told.failed], [[], []]);
});

test("cancel posts with the token and tells the page's handlers the answer", async () => {
  const asked = document("a", 2, { cancel_requested: true });
  const w = world({ dataset: tag, answer: ({ method }) => (method === "POST" ? json(asked, 202) : document("a", 1)) });
  const told = listener();
  w.Immortus.verify("a").then(...told.handlers);
  await settle();
  assert.deepEqual(await w.Immortus.cancel({ job_id: "a" }), asked);
  const { url, method } = w.requests.at(-1);
  assert.deepEqual([url, method, token(w.requests.at(-1))], ["/immortus/cancel/a", "POST", "from-tag"]);
  assert.deepEqual(told.versions(), [1, 2]);
});

for (const { name, status, message } of golden("http_errors").filter(({ name }) => name.startsWith("cancel"))) {
  test(`cancel is rejected with what the server says: ${name}`, async () => {
    const w = world({ answer: () => json(message, status) });
    const error = await w.Immortus.cancel(message.job_id).catch((reason) => reason);
    assert.ok(error instanceof Error);
    assert.deepEqual(error.document, message);
    assert.equal(error.state, message.state);
    assert.equal(error.error.code, message.error?.code ?? "not_cancellable");
  });
}

test("cancel is rejected with a code when the server cannot be reached or answers with a page", async () => {
  const reject = async (answer) => (await world({ answer: () => answer }).Immortus.cancel("a").catch((error) => error)).error.code;
  assert.deepEqual([await reject(offline), await reject(html(403)), await reject(login())], ["unreachable", "forbidden", "login_required"]);
  assert.equal(await reject(html(200)), "bad_answer");
});

test("the script's tag and configure() say where the server is", async () => {
  const w = world({ dataset: { prefix: "/shop/jobs", websocket: "wss://push.example/ws/" } });
  w.Immortus.verify("a");
  await settle();
  assert.equal(w.requests[0].url, "/shop/jobs/verify/a");
  assert.equal(w.socket.url, "wss://push.example/ws/");
  const later = world();
  later.Immortus.configure({ prefix: "/other/", websocket: "/ws/other/" });
  later.Immortus.verify("a");
  await settle();
  assert.equal(later.requests[0].url, "/other/verify/a");
  assert.equal(later.socket.url, "wss://shop.example/ws/other/");
});

for (const [settings, message] of [
  [{ websockets: false }, "configure takes prefix|websocket|csrfToken|token, not websockets."],
  [{ prefix: "/x/", url: "/y/" }, "configure takes prefix|websocket|csrfToken|token, not url."],
  [undefined, "configure takes prefix|websocket|csrfToken|token, not undefined."],
  ["/x/", "configure takes prefix|websocket|csrfToken|token, not /x/."],
  [{ websocket: true }, "websocket takes string, not boolean."],
  [{ csrfToken: 5 }, "csrfToken takes string, not number."],
  [{ token: Promise.resolve("x") }, "token takes string|function, not object."],
]) {
  test(`configure() with a mistyped setting is a TypeError and sets nothing: ${message}`, async () => {
    const w = world();
    assert.throws(() => w.Immortus.configure(settings), { name: "TypeError", message });
    w.Immortus.verify("a");
    await settle();
    assert.equal(w.requests[0].url, "/immortus/verify/a");
    assert.equal(w.socket.url, "wss://shop.example/ws/immortus/");
  });
}

test("each setting may be left out, and those that switch something off may be null", async () => {
  const w = world();
  for (const settings of [{}, { prefix: undefined, csrfToken: undefined }, { websocket: null, token: null }]) w.Immortus.configure(settings);
  w.Immortus.verify("a");
  await settle();
  assert.deepEqual([w.requests.length, w.sockets.length], [1, 0]);
});
