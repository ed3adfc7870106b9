/** Jobs that change more often than the page is drawn. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { document, listener, settle, world } from "./world.js";

const finished = (id, version) => document(id, version, { state: "finished", percentage: 100 });

/** A page that is drawn by hand and hears of "a" and "b" over a socket. */
async function page() {
  const w = world({ drawn: true });
  const told = { a: listener(), b: listener() };
  for (const id of ["a", "b"]) w.Immortus.verify(id).then(...told[id].handlers);
  await settle();
  w.socket.open();
  await settle();
  return Object.assign(w, { told, push: (...documents) => (documents.forEach((one) => w.socket.job(one)), settle()) });
}

test("a frame's first news is told at once, its newest at the next drawing", async () => {
  const w = await page();
  await w.push(document("a", 1), document("a", 2), document("a", 3));
  assert.deepEqual(w.told.a.versions(), [1]);
  w.draw();
  assert.deepEqual(w.told.a.versions(), [1, 3]);
});

test("each job has its own turn in a frame", async () => {
  const w = await page();
  await w.push(document("a", 1), document("b", 1), document("a", 2));
  assert.deepEqual([w.told.a.versions(), w.told.b.versions()], [[1], [1]]);
});

test("what was told when a frame was drawn counts for that frame", async () => {
  const w = await page();
  await w.push(document("a", 1), document("a", 2));
  w.draw();
  await w.push(document("a", 3), document("a", 4));
  assert.deepEqual(w.told.a.versions(), [1, 2]);
  w.draw();
  assert.deepEqual(w.told.a.versions(), [1, 2, 4]);
});

test("an end waits for no frame, and no progress comes after it", async () => {
  const w = await page();
  await w.push(document("a", 1), document("a", 2), finished("a", 3));
  assert.deepEqual(w.told.a.done.map(({ version }) => version), [3]);
  w.draw();
  assert.deepEqual(w.told.a.versions(), [1]);
});

test("a page that draws nothing is told a few times a second", async () => {
  const w = await page();
  await w.push(document("a", 1), document("a", 2));
  await w.advance(300);
  assert.deepEqual(w.told.a.versions(), [1, 2]);
});

test("a page whose jobs are quiet asks for no frames", async () => {
  const w = await page();
  await w.push(document("a", 1), document("a", 2));
  assert.deepEqual([w.draw(), w.draw(), w.draw()], [1, 1, 0]);
});

test("who stops before the frame is told nothing, and who comes before it is told once", async () => {
  const w = await page();
  const early = listener();
  const following = w.Immortus.verify("a").then(...early.handlers);
  await w.push(document("a", 1), document("a", 2));
  following.stop();
  const late = listener();
  w.Immortus.verify("a").then(...late.handlers);
  await settle();
  w.draw();
  assert.deepEqual([early.versions(), late.versions(), w.told.a.versions()], [[1], [2], [1, 2]]);
});

test("a watch and a job that is revived keep to the frames as well", async () => {
  const w = await page();
  const seen = [];
  (async () => { for await (const { version } of w.Immortus.watch("a")) seen.push(version); })();
  await settle();
  await w.push(document("a", 1), document("a", 2, { state: "lost" }), document("a", 3));
  assert.deepEqual(seen, [1, 2]);
  w.draw();
  await settle();
  assert.deepEqual(seen, [1, 2, 3]);
});
