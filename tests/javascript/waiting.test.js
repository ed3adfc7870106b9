/** A module alone: sleeping, back-off, and what runs while it is wanted. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { after, backoff, deadline, numberOr, Runner, sleep } from "../../js/waiting.js";
import { settle } from "./world.js";

test("a sleep ends early by its signal and by its bell, and leaves no listener behind", async () => {
  for (const wake of [(abort) => abort.abort(), (_, bell) => bell.dispatchEvent(new Event("wake"))]) {
    const abort = new AbortController();
    const bell = new EventTarget();
    const sleeping = sleep(3_600_000, abort.signal, bell);
    wake(abort, bell);
    await sleeping;
    assert.deepEqual([getEventListeners(abort.signal, "abort").length, getEventListeners(bell, "wake").length], [0, 0]);
  }
});

test("a deadline aborts by time, by its signal, and at once when that has aborted", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const abort = new AbortController();
  const byTime = deadline(1_000, abort.signal);
  const cleared = deadline(1_000, abort.signal);
  cleared.forget();
  t.mock.timers.tick(1_000);
  const bySignal = deadline(1_000, abort.signal);
  abort.abort();
  assert.deepEqual([byTime, cleared, bySignal, deadline(1_000, abort.signal)].map(({ signal }) => signal.aborted), [true, false, true, true]);
});

test("a timer beyond what browsers can count waits, instead of firing at once", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let fired = false;
  after(() => (fired = true), 2 ** 40);
  t.mock.timers.tick(1_000_000);
  assert.equal(fired, false);
});

test("the back-off lies between half a second and the longest, whatever chance says", (t) => {
  for (const random of [0, 0.5, 0.999]) {
    t.mock.method(Math, "random", () => random);
    for (let attempt = 0; attempt < 40; attempt += 1) {
      const wait = backoff(attempt, 4_500);
      assert.ok(wait >= 500 && wait <= 4_500, `${attempt}: ${wait}`);
    }
  }
});

test("what should be a number and is not becomes the other one", () => {
  assert.deepEqual([5, 0, "5", null, NaN, Infinity, undefined].map((value) => numberOr(7, value)), [5, 0, 7, 7, 7, 7, 7]);
});

test("a runner starts once, lingers, and stops at once when told", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const signals = [];
  const runner = new Runner(async (signal) => void signals.push(signal), 1_000);
  runner.want(true);
  runner.want(true);
  runner.want(false);
  t.mock.timers.tick(999);
  runner.want(true);
  t.mock.timers.tick(5_000);
  assert.deepEqual(signals.map(({ aborted }) => aborted), [false]);
  runner.want(false);
  t.mock.timers.tick(1_000);
  runner.want(true);
  runner.stop();
  assert.deepEqual(signals.map(({ aborted }) => aborted), [true, true]);
  await settle();
});
