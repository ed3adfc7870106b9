/** A module alone: when a page comes back to a socket that fell. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Disconnected } from "../../js/errors.js";
import { ReconnectPolicy } from "../../js/health.js";

const fell = new Disconnected(1006);
const planned = new Disconnected(1001, 700);

test("two sockets that were never good end the hope and make probes rarer", (t) => {
  t.mock.method(Math, "random", () => 0.5);
  const policy = new ReconnectPolicy();
  policy.fell(fell, null, "up");
  assert.equal(policy.hopeful, true);
  const waits = [1, 2, 3, 4, 5, 6].map(() => policy.fell(fell, null, "up"));
  assert.equal(policy.hopeful, false);
  assert.deepEqual(waits, [60_000, 120_000, 240_000, 480_000, 900_000, 900_000]);
});

test("a server that answers nothing says nothing about sockets", () => {
  const policy = new ReconnectPolicy();
  for (let times = 0; times < 9; times += 1) policy.fell(fell, null, "down");
  assert.equal(policy.hopeful, true);
});

test("the server's wait after a planned close is kept to the millisecond", (t) => {
  t.mock.method(Math, "random", () => 0);
  const policy = new ReconnectPolicy();
  assert.equal(policy.fell(planned, 100, "up"), 700);
  assert.equal(policy.fell(planned, null, "up"), 700);
  assert.equal(policy.fell(fell, 100, "up"), 500);
});

test("the wait grows up to 20 seconds, or to 4.5 where nothing else keeps the page right", (t) => {
  t.mock.method(Math, "random", () => 1);
  for (const [http, longest] of [["up", 20_000], ["down", 20_000], ["unknown", 4_500]]) {
    const policy = new ReconnectPolicy();
    const waits = Array.from({ length: 12 }, () => policy.fell(fell, 100, http));
    assert.deepEqual([waits[0], waits.at(-1)], [1_000, longest]);
    assert.deepEqual(waits, waits.toSorted((a, b) => a - b));
  }
});

test("a socket that was good for ten seconds makes all well again", (t) => {
  t.mock.method(Math, "random", () => 1);
  const policy = new ReconnectPolicy();
  for (let times = 0; times < 9; times += 1) policy.fell(fell, null, "up");
  assert.equal(policy.fell(fell, 10_000, "up"), 1_000);
  assert.equal(policy.hopeful, true);
});

test("the close codes from 4500 to 4999 forbid coming back", () => {
  const back = [1000, 1006, 4000, 4499, 4500, 4999, 5000].filter((code) => new Disconnected(code).comeBack);
  assert.deepEqual(back, [1000, 1006, 4000, 4499, 5000]);
});
