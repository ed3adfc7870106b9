/** Samples of the documentation that compute something. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { document } from "./world.js";

/** What the sample of this title in a page of docs/ defines. */
function sample(page, title, name) {
  const text = readFileSync(new URL(`../../docs/${page}`, import.meta.url), "utf8");
  const [, code] = text.match(new RegExp(`\`\`\`js title="${title}"\n(.*?)\`\`\``, "s"));
  return new Function(`${code}; return ${name};`)();
}

const secondsLeft = sample("how-to/browser.md", "time-left.js", "secondsLeft");
const start = Date.parse("2026-11-22T17:00:00.000Z");
const running = (changes) => document("a", 1, { started_at: "2026-11-22T17:00:00.000Z", percentage: 25, ...changes });

test("the time left is what the rest takes at the pace so far (case 41)", () => {
  assert.equal(secondsLeft(running(), start + 10_000), 30);
  assert.equal(secondsLeft(running({ percentage: 99.9 }), start + 999_000).toFixed(3), "1.000");
});

test("the time left is counted from the start of the present attempt (case 41)", () => {
  assert.equal(secondsLeft(running({ attempt: 2, started_at: "2026-11-22T17:01:00.000Z" }), start + 70_000), 30);
});

test("the time left is unknown unless progress tells it, never negative (case 41)", () => {
  for (const changes of [{ percentage: 0 }, { percentage: null }, { state: "enqueued", started_at: null }, { state: "retrying" }, { state: "finished", percentage: 100 }]) {
    assert.equal(secondsLeft(running(changes), start + 10_000), null);
  }
  assert.equal(secondsLeft(running(), start - 5_000), 0);
});
