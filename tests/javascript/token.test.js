/** Pages without a session: the access token, where it goes, and how it is renewed without a gap. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { document, goldenNamed, json, listener, settle, unknown, world } from "./world.js";

const bearer = ({ headers }) => headers.Authorization;
const expired = (id = null) => json({ job_id: id, error: { code: "token_expired", message: "This access token has expired." } }, 401);
const watches = ({ sent }) => sent.filter(({ type }) => type === "watch");

/** A world in which job "a" is followed by a token. */
async function followed(token, options = {}) {
  const w = world({ answer: () => document("a", 1), ...options });
  w.Immortus.configure({ token });
  const told = listener();
  w.Immortus.verify("a").then(...told.handlers);
  await settle();
  return Object.assign(w, { told });
}

async function pushed(token, options) {
  const w = await followed(token, options);
  w.socket.open();
  await settle();
  w.socket.tell({ type: "current", job_id: "a", version: 1 });
  await settle();
  return w;
}

/** What gives "one", then "two", and so on, and notes for which jobs. */
function tokens() {
  const asked = [];
  const give = async (ids) => { asked.push(ids); return ["one", "two", "three", "four"][asked.length - 1]; };
  return Object.assign(give, { asked });
}

test("without a token there is no header and no key in the frames", async () => {
  const w = await followed(null);
  w.socket.open();
  await settle();
  assert.equal(bearer(w.requests[0]), undefined);
  assert.deepEqual(watches(w.socket), [{ type: "watch", job_id: "a", version: 1 }]);
});

test("a token goes into the header and the watch frame, and never into an address", async () => {
  const w = await followed("secret");
  w.socket.open();
  await settle();
  assert.equal(bearer(w.requests[0]), "Bearer secret");
  assert.deepEqual(watches(w.socket), [{ type: "watch", job_id: "a", version: 1, token: "secret" }]);
  w.Immortus.cancel("a").catch(() => {});
  await settle();
  assert.equal(bearer(w.requests.at(-1)), "Bearer secret");
  for (const { url } of [...w.requests, ...w.sockets]) assert.ok(!url.includes("secret"));
});

test("neither what starts a job nor a verify of the page's own is given the token", async () => {
  const w = await followed("secret");
  w.Immortus.create("/start").then(null, () => {});
  w.Immortus.verify({ verify_job_url: "/custom" });
  await settle();
  assert.deepEqual(w.requests.slice(1).map(bearer), [undefined, undefined]);
});

test("a function is called with the jobs that are followed, and again for others", async () => {
  const give = tokens();
  const w = await followed(give);
  assert.deepEqual(give.asked, [["a"]]);
  w.Immortus.verify("b").then(null, () => {});
  await settle();
  assert.deepEqual(give.asked, [["a"], ["a", "b"]]);
  assert.equal(bearer(w.requests.at(-1)), "Bearer two");
});

test("many who need a token at once call the function once", async () => {
  const give = tokens();
  const w = world({ answer: () => undefined });
  w.Immortus.configure({ token: give });
  for (const id of ["a", "b", "c"]) w.Immortus.verify(id).then();
  await settle();
  w.socket.open();
  await settle();
  assert.deepEqual(give.asked, [["a", "b", "c"]]);
  assert.deepEqual(watches(w.socket).map(({ token }) => token), ["one", "one", "one"]);
});

test("polling goes on with a new token at once when the old one has expired (fault K1)", async () => {
  const give = tokens();
  const answer = (request) => (bearer(request) === "Bearer one" && request.at > 1_001_000 ? expired("a") : document("a", request.at));
  const w = await followed(give, { answer, WebSocket: false });
  await w.advance(3_000);
  assert.equal(w.told.failed.length, 0);
  assert.equal(give.asked.length, 2);
  const gaps = w.told.versions().slice(1).map((at, index) => at - w.told.versions()[index]);
  assert.ok(Math.max(...gaps) <= 500, `no gap: ${gaps}`);
});

test("a socket renews its watches when the server ends the token (fault K1)", async () => {
  const give = tokens();
  const w = await pushed(give);
  w.socket.job(document("a", 7));
  await settle();
  w.socket.tell(goldenNamed("server_frames", "error, token expires"));
  await settle();
  assert.deepEqual(watches(w.socket).at(-1), { type: "watch", job_id: "a", version: 7, token: "two" });
  assert.equal(w.transports.at(-1), "websocket");
  assert.equal(w.sockets.length, 1);
  assert.equal(w.told.failed.length, 0);
});

test("a job whose watch ended with its token is polled until it is watched again", async () => {
  const give = tokens();
  const w = await pushed(give);
  const before = w.requests.length;
  w.socket.tell({ type: "error", code: "token_expired", message: "", job_id: "a", authenticated: false });
  await w.advance(1_100);
  assert.equal(bearer(w.requests[before]), "Bearer two");
  assert.deepEqual(watches(w.socket).map(({ token }) => token), ["one", "two"]);
});

test("a string is changed for a new one at the server", async () => {
  const answer = (request) => {
    if (request.url.endsWith("/token")) return json({ token: "fresh", expires_in: 900 });
    return bearer(request) === "Bearer stale" ? expired("a") : document("a", 1);
  };
  const w = await followed("stale", { answer });
  await settle();
  assert.deepEqual(w.requests.map(({ url, method }) => [method, url]).slice(0, 3), [
    ["GET", "/immortus/verify/a"], ["POST", "/immortus/token"], ["GET", "/immortus/verify/a"],
  ]);
  assert.deepEqual(w.requests.slice(0, 3).map(bearer), ["Bearer stale", "Bearer stale", "Bearer fresh"]);
  assert.deepEqual(w.told.versions(), [1]);
});

test("a token that cannot be renewed ends in an error that says so", async () => {
  const w = await followed("stale", { answer: () => expired("a"), WebSocket: false });
  await settle();
  assert.equal(w.told.failed[0].error.code, "token_expired");
  assert.ok(w.requests.length <= 3, "and nobody is asked again and again");
});

test("a function that fails is called again later, and the job is given up by nobody (fault K1)", async () => {
  let calls = 0;
  const w = await followed(() => { calls += 1; if (calls < 3) throw new Error("offline"); return "late"; });
  await w.advance(5_000);
  assert.equal(w.told.failed.length, 0);
  assert.deepEqual(w.told.versions(), [1]);
  assert.equal(bearer(w.requests[0]), "Bearer late");
  assert.deepEqual(w.reported, []);
});

test("a function that fails without a reason is called less and less often too", async () => {
  let calls = 0;
  const w = await followed(() => { calls += 1; return Promise.reject(); }, { WebSocket: false, random: () => 1 });
  await w.advance(10_000);
  assert.ok(calls > 2 && calls < 8, `${calls} calls`);
  assert.equal(w.told.failed.length, 0);
});

test("a function that gives null has no token any more, and the server's answer to everybody is the end", async () => {
  let token = "good";
  const answer = (request) => (!bearer(request) ? unknown("a") : token ? document("a", 1) : expired("a"));
  const w = await followed(() => token, { WebSocket: false, answer });
  assert.deepEqual(w.told.versions(), [1]);
  token = null;
  await w.advance(120_000);
  assert.equal(w.told.failed[0].error.code, "unknown_job");
});

test("a task that chose the code token_expired for its failure is believed", async () => {
  const failed = document("a", 2, { state: "failed", error: { code: "token_expired", message: "The shop's token." } });
  const w = await followed("secret", { answer: () => failed });
  assert.equal(w.told.failed[0].state, "failed");
  assert.equal(w.requests.length, 1);
});

test("another token takes the place of the old one at once", async () => {
  const w = await pushed("one");
  w.Immortus.configure({ token: "two" });
  await settle();
  assert.deepEqual(watches(w.socket).map(({ token }) => token), ["one", "two"]);
});

test("another site is asked without headers that it would have to allow by name", async () => {
  const w = world({ WebSocket: false, answer: () => document("a", 1) });
  w.Immortus.configure({ prefix: "https://api.example/immortus/", token: "secret" });
  w.Immortus.verify("a").then();
  await w.advance(1_100);
  for (const { headers, credentials } of w.requests) {
    assert.deepEqual(Object.keys(headers).sort(), ["Accept", "Authorization"]);
    assert.equal(credentials, "same-origin");
  }
});
