/** A module alone: what a reader of a mailbox gets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Mailbox } from "../../js/mailbox.js";

async function all(mailbox) {
  const letters = [];
  for await (const letter of mailbox) letters.push(letter);
  return letters;
}

test("letters are read in order, also those that were there before the end", async () => {
  const mailbox = new Mailbox();
  for (const letter of [1, 2, 3]) mailbox.post(letter);
  mailbox.close();
  mailbox.post(4);
  assert.deepEqual(await all(mailbox), [1, 2, 3]);
});

test("beyond the capacity the oldest letter goes", async () => {
  const mailbox = new Mailbox(2);
  for (const letter of [1, 2, 3]) mailbox.post(letter);
  mailbox.close();
  assert.deepEqual(await all(mailbox), [2, 3]);
});

test("the error of the end comes after the letters, once", async () => {
  const mailbox = new Mailbox();
  mailbox.post(1);
  mailbox.close(new Error("gone"));
  assert.deepEqual(await mailbox.next(), { done: false, value: 1 });
  await assert.rejects(mailbox.next(), { message: "gone" });
  assert.deepEqual(await mailbox.next(), { done: true, value: undefined });
});

test("return() ends a pending next() and calls back once", async () => {
  let closed = 0;
  const mailbox = new Mailbox(Infinity, () => (closed += 1));
  const pending = mailbox.next();
  await mailbox.return();
  mailbox.close();
  assert.equal((await pending).done, true);
  assert.equal(closed, 1);
});
