/** Whatever a server, or whoever stands in its place, says: the page is told documents of its job, or nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { document, golden, json, settle, world } from "./world.js";

/** Numbers that look random and are the same each time (mulberry32). */
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const LEAVES = [null, true, false, 0, -1, 1.5, 2 ** 53, 1e300, "", "a", "job", "error", "running", "finished", "__proto__", "\u0000", "\ud800", "<b>", [], {}];
const NAMES = ["type", "job", "job_id", "state", "version", "code", "error", "completed", "event", "jobs", "message", "ping_ms", "max_jobs", "after_ms", "__proto__", "constructor", "then", "toString"];

/** Frames of the protocol with parts exchanged, cut off or put where they do not belong. */
function fuzzer(random) {
  const pick = (all) => all[Math.floor(random() * all.length)];
  const frames = golden("server_frames").map(({ message }) => message);
  const value = (depth = 0) => {
    if (depth > 3 || random() < 0.5) return pick(LEAVES);
    if (random() < 0.3) return Array.from({ length: Math.floor(random() * 4) }, () => value(depth + 1));
    const object = Object.create(null);
    for (let n = Math.floor(random() * 5); n > 0; n -= 1) object[pick(NAMES)] = value(depth + 1);
    return object;
  };
  const mutated = (frame) => {
    const copy = structuredClone(frame);
    const inner = copy.job && random() < 0.6 ? copy.job : copy;
    for (let n = Math.ceil(random() * 3); n > 0; n -= 1) {
      if (random() < 0.3) delete inner[pick(Object.keys(inner))];
      else Object.defineProperty(inner, pick(NAMES), { value: value(), enumerable: true, configurable: true });
    }
    return copy;
  };
  const text = () => JSON.stringify(random() < 0.3 ? value() : mutated(pick(frames))) ?? "";
  return () => (random() < 0.15 ? text().slice(0, Math.floor(random() * 60)) : text());
}

const STATES = ["enqueued", "running", "retrying", "finished", "failed", "cancelled", "lost"];

for (let seed = 1; seed <= 12; seed += 1) {
  test(`a socket may say anything: seed ${seed} (fault H2)`, async () => {
    const w = world({ answer: () => document("a", 1) });
    const fuzz = fuzzer(generator(seed));
    const told = [];
    const verification = w.Immortus.verify("a");
    verification.then((end) => told.push(end), () => {}, (job) => told.push(job));
    await settle();
    for (let n = 0; n < 150; n += 1) {
      if (!w.socket || w.socket.closed || w.socket.readyState !== 1) w.socket?.open();
      w.socket?.tell(fuzz());
      if (n % 10 === 0) await settle();
      if (n % 50 === 0) await w.advance(1_000);
    }
    await settle();
    assert.deepEqual(w.reported, [], "nothing was thrown");
    assert.equal({}.polluted, undefined);
    assert.equal(Object.prototype.state, undefined);
    for (const job of told) {
      assert.equal(typeof job.state, "string");
      assert.ok(Number.isInteger(job.version));
    }
    const versions = told.map(({ version }) => version);
    assert.deepEqual(versions, [...versions].sort((a, b) => a - b), "and never backwards");
    verification.stop();
    w.Immortus.verify("b").then(() => {}, () => {});
    await settle();
    assert.ok(w.requests.some(({ url }) => url.includes("/b")), "and the client still works");
    assert.ok(STATES.includes(told[0].state));
  });

  test(`an answer may be anything: seed ${seed} (fault H2)`, async () => {
    const random = generator(1000 + seed);
    const fuzz = fuzzer(random);
    const statuses = [200, 200, 200, 304, 400, 401, 404, 429, 500, 502];
    const answer = () => ({ ...json(null, statuses[Math.floor(random() * statuses.length)]), text: fuzz() });
    const w = world({ answer, WebSocket: false });
    const ends = [];
    for (let n = 0; n < 20; n += 1) {
      w.Immortus.verify(`a${n}`).then(() => ends.push("done"), (error) => ends.push(error instanceof Error ? "failed" : error));
      w.Immortus.cancel(`a${n}`).then(() => {}, (error) => assert.ok(error instanceof Error));
    }
    await w.advance(10_000);
    assert.deepEqual(ends.filter((end) => end !== "done" && end !== "failed"), []);
    assert.deepEqual(w.reported, []);
    assert.equal(Object.prototype.state, undefined);
  });
}
