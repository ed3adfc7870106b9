/** A module alone: which jobs share a request, and when it is made. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Job } from "../../js/job.js";
import { batches, nextRequest } from "../../js/polling.js";

const jobs = (count, id = (number) => `job-${number}`) => Array.from({ length: count }, (_, number) => new Job(id(number)));
const sizes = (all) => all.map(({ length }) => length);

test("a hundred jobs share a request", () => {
  assert.deepEqual(sizes(batches(jobs(250))), [100, 100, 50]);
});

test("a request line stays below 3,500 characters", () => {
  const all = batches(jobs(100, (number) => `${number}`.padStart(200, "x")));
  assert.ok(all.length > 1);
  for (const batch of all) assert.ok(batch.map(({ id }) => `job_id=${id}&`).join("").length <= 3_500);
  assert.equal(all.flat().length, 100);
});

test("an id that is longer than a request line goes alone", () => {
  const all = batches([new Job("a"), new Job("x".repeat(4_000)), new Job("b")]);
  assert.deepEqual(sizes(all), [1, 1, 1]);
});

test("a custom verify, a job whose store went back, and a job off the record go alone", () => {
  const [plain, ahead, unrecorded, other] = jobs(4);
  ahead.ahead = unrecorded.unrecorded = true;
  const custom = new Job("", "/custom");
  assert.deepEqual(batches([plain, ahead, custom, unrecorded, other]), [[ahead], [custom], [unrecorded], [plain, other]]);
});

test("the next request waits a little for jobs that can share it, and for none when one is due", () => {
  const due = (in_ms, interval = 500) => {
    const job = new Job("a");
    job.subscribers.add({ mayPoll: true, mayPush: true, interval });
    job.due = performance.now() + in_ms;
    return job;
  };
  const [first, near, far] = [due(1_000), due(1_200), due(1_400)];
  assert.equal(nextRequest([far, first, near]), near.due);
  const ready = due(-5);
  assert.equal(nextRequest([ready, near]), ready.due);
  assert.equal(nextRequest([]), Infinity);
});
