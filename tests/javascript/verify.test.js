/** What a page's handlers are told: `Immortus.verify` and `Immortus.watch`. */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { document, golden, html, json, listener, login, settle, unhandledAfter, world } from "./world.js";

const finished = (id, version) => document(id, version, { state: "finished", percentage: 100 });
const failed = (id, version) => document(id, version, { state: "failed", error: { code: "not_an_image", message: "This file is not an image." } });

/** A world whose socket follows job "a", and a verify of it. */
async function followed(options = {}) {
  const w = world({ answer: () => document("a", 1), ...options });
  const told = listener();
  const verification = w.Immortus.verify("a").then(...told.handlers);
  await settle();
  w.socket?.open();
  await settle();
  return { ...w, w, told, verification, socket: w.socket };
}

test("progress is told with each newer document, and done once (case 22)", async () => {
  const { told, socket } = await followed();
  for (const version of [2, 3]) socket.job(document("a", version));
  socket.job(finished("a", 4));
  socket.job(finished("a", 5));
  await settle();
  assert.deepEqual(told.versions(), [1, 2, 3]);
  assert.deepEqual(told.done.map(({ version }) => version), [4]);
  assert.equal(told.failed.length, 0);
});

test("a document of an equal or lower version is not told (fault A3b)", async () => {
  const { told, socket } = await followed();
  for (const version of [5, 5, 4, 1, 6]) socket.job(document("a", version));
  await settle();
  assert.deepEqual(told.versions(), [1, 5, 6]);
});

test("a slow first answer that the socket has overtaken is ignored", async () => {
  let answer;
  const { told, socket } = await followed({ answer: () => new Promise((resolve) => (answer = resolve)) });
  socket.job(document("a", 9));
  await settle();
  answer(document("a", 5));
  await settle();
  assert.deepEqual(told.versions(), [9]);
});

test("progress never comes after the end (case 22)", async () => {
  const { told, socket } = await followed();
  socket.job(finished("a", 4));
  socket.job(document("a", 5));
  await settle();
  assert.deepEqual(told.versions(), [1]);
});

test("a job that is already finished is told as done only (cases 22, 27)", async () => {
  const w = world({ answer: () => finished("a", 9) });
  const told = listener();
  w.Immortus.verify("a").then(...told.handlers);
  await settle();
  assert.equal(told.done.length, 1);
  assert.equal(told.progress.length, 0);
});

test("a finished job resolves with the document", async () => {
  const w = world({ answer: () => finished("a", 9) });
  assert.deepEqual(await w.Immortus.verify({ job_id: "a" }), finished("a", 9));
});

for (const { name, message } of golden("documents").filter(({ message: { state } }) => ["failed", "cancelled", "lost"].includes(state))) {
  test(`rejected with an Error that carries the document: ${name}`, async () => {
    const w = world({ answer: () => message });
    const error = await w.Immortus.verify(message.job_id).catch((reason) => reason);
    assert.ok(error instanceof Error);
    assert.equal(error.message, message.error.message);
    assert.deepEqual(error.document, message);
    for (const [key, value] of Object.entries(message)) if (key !== "message") assert.deepEqual(error[key], value, key);
  });
}

test("meta cannot take over what belongs to the error", async () => {
  const w = world({ answer: () => JSON.parse(JSON.stringify(failed("a", 2)).replace("{", '{"__proto__": {"evil": 1}, "stack": "mine", "name": "x", "miles_run": 3,')) });
  const error = await w.Immortus.verify("a").catch((reason) => reason);
  assert.equal(error.name, "JobError");
  assert.equal(error.miles_run, 3);
  assert.equal(error.evil, undefined);
  assert.notEqual(error.stack, "mine");
});

for (const [info, id] of [[42, "42"], [0, "0"], [-3, "-3"], [Number.MAX_SAFE_INTEGER, "9007199254740991"], [{ job_id: 42 }, "42"], ["007", "007"]]) {
  test(`an id is text or a safe integer: ${JSON.stringify(info)}`, async () => {
    const w = world({ answer: () => finished(id, 2) });
    assert.equal((await w.Immortus.verify(info)).job_id, id);
    assert.equal((await w.Immortus.watch(info).next()).value.job_id, id);
    assert.ok(w.requests.every(({ url }) => url.endsWith(`/verify/${id}`)));
  });
}

test("what is neither text nor a safe integer is no id, and is asked of nobody", async () => {
  const w = world();
  for (const id of [2 ** 53, 653247040368672769, 1.5, NaN, Infinity, true, false, 42n, {}, ["a"], Symbol("a"), () => "a", new Date(0)]) {
    for (const info of typeof id === "object" ? [{ job_id: id }] : [id, { job_id: id }]) {
      const error = await w.Immortus.verify(info).catch((reason) => reason);
      assert.equal(error.error.code, "no_job_id");
      assert.match(error.message, /text or a safe integer/);
      await assert.rejects(w.Immortus.watch(info).next(), { name: "JobError" });
      await assert.rejects(w.Immortus.cancel(info), { name: "JobError" });
    }
  }
  assert.equal(w.requests.length, 0);
});

test("without a job there is a clear rejection, never a synchronous exception", async () => {
  const w = world();
  for (const info of [undefined, null, {}, "", { job_id: "" }, [], ["a", "b"], [{ job_id: "a" }], { jobId: "a" }]) {
    const error = await w.Immortus.verify(info).catch((reason) => reason);
    assert.equal(error.error.code, "no_job_id");
    assert.match(error.message, /^Give text or a safe integer, or an object with job_id or verify_job_url\.$/);
    await assert.rejects(w.Immortus.watch(info).next(), { name: "JobError" });
    await assert.rejects(w.Immortus.cancel(info), { name: "JobError" });
  }
  assert.equal(w.requests.length, 0);
});

test("two handlers share a subscription; stopping one keeps the other (case 24)", async () => {
  const { w, told, socket, verification } = await followed();
  const second = listener();
  const other = w.Immortus.verify({ job_id: "a" }).then(...second.handlers);
  await settle();
  assert.equal(w.requests.length, 1);
  assert.equal(socket.sent.filter(({ type }) => type === "watch").length, 1);
  assert.deepEqual(second.versions(), [1], "what is known is told at once");
  verification.stop();
  socket.job(document("a", 2));
  await settle();
  assert.deepEqual([told.versions(), second.versions()], [[1], [1, 2]]);
  assert.equal(socket.sent.filter(({ type }) => type === "unwatch").length, 0);
  other.stop();
  await settle();
  assert.deepEqual(socket.sent.at(-1), { type: "unwatch", job_id: "a" });
});

test("twenty jobs of a page are independent, and start with one request (case 24)", async () => {
  const ids = Array.from({ length: 20 }, (_, index) => `job-${index}`);
  const w = world({ answer: () => ({ jobs: ids.map((id, index) => (index % 2 ? finished(id, 1) : document(id, 1))) }) });
  const all = ids.map((id) => {
    const told = listener();
    w.Immortus.verify(id).then(...told.handlers);
    return told;
  });
  await settle();
  assert.equal(w.requests.length, 1);
  all.forEach((told, index) => assert.equal(told.done.length, index % 2));
  all.forEach((told, index) => assert.equal(told.progress.length, 1 - (index % 2)));
});

test("a handler that throws is reported and stops no other (fault B7) (case 25)", async () => {
  const { w, told, socket } = await followed();
  w.Immortus.verify("a").then(null, null, () => { throw new Error("broken handler"); });
  socket.job(document("a", 2));
  await settle();
  socket.job(document("a", 3));
  await settle();
  assert.deepEqual(told.versions(), [1, 2, 3]);
  assert.deepEqual(w.reported.map(({ message }) => message), Array(w.reported.length).fill("broken handler"));
  assert.ok(w.reported.length >= 2);
});

test("a progress handler that is added late is told the latest document", async () => {
  const w = world({ answer: () => document("a", 1) });
  const verification = w.Immortus.verify("a");
  await settle();
  const told = listener();
  verification.then(...told.handlers);
  await settle();
  assert.deepEqual(told.versions(), [1]);
});

test("a progress handler that is added late is not told after a stop", async () => {
  const w = world({ answer: () => document("a", 1) });
  const verification = w.Immortus.verify("a");
  await settle();
  const told = listener();
  verification.then(...told.handlers).stop();
  await settle();
  assert.deepEqual(told.versions(), []);
});

test("progress handlers of derived promises are told too, and stop() stays within reach", async () => {
  const w = world({ answer: () => document("a", 1) });
  const told = listener();
  const derived = w.Immortus.verify("a").catch(() => {}).finally(() => {}).then(...told.handlers);
  await settle();
  assert.deepEqual(told.versions(), [1]);
  derived.stop();
  await w.advance(1_000);
  assert.equal(w.clock.timers.size, 0, "nothing is left");
});

test("after stop() no handler is called, and nobody has to handle the rejection (case 32)", async () => {
  const { told, socket, verification } = await followed();
  const unhandled = await unhandledAfter(() => {
    verification.stop();
    verification.stop();
    socket.job(document("a", 2));
    socket.job(finished("a", 3));
  });
  assert.deepEqual([told.versions(), told.done, told.failed], [[1], [], []]);
  assert.deepEqual(unhandled, []);
});

test("after stop() whoever awaits gets an AbortError", async () => {
  for (const wait of [(v) => v, (v) => Promise.all([v]), async (v) => v, (v) => v.then(() => 1), (v) => v.catch((error) => { throw error; })]) {
    const w = world();
    const verification = w.Immortus.verify("a");
    const waiting = assert.rejects(async () => { await wait(verification); }, { name: "AbortError" });
    await settle();
    verification.stop();
    await waiting;
  }
});

test("after stop() code that awaits through another promise library gets an AbortError too", async () => {
  const w = world();
  const verification = w.Immortus.verify("a");
  const waiting = new Promise((resolve, reject) => verification.then((value) => resolve(value), (error) => reject(error)));
  verification.stop();
  await assert.rejects(waiting, { name: "AbortError" });
});

test("after stop() code that awaits three silent handlers gets an AbortError", async () => {
  const { told, verification } = await followed();
  verification.stop();
  await assert.rejects(async () => { await verification; }, { name: "AbortError" });
  assert.deepEqual([told.done, told.failed], [[], []]);
});

for (const [handlers, told] of [
  [["done"], []], [["done", "failed"], ["failed AbortError"]], [["done", "failed", "progress"], []], [["done", "failed", undefined], []],
  [[null, "failed"], ["failed AbortError"]], [[null, null, "progress"], []],
]) {
  test(`after stop() a then of ${JSON.stringify(handlers)} is told ${JSON.stringify(told)}`, async () => {
    const w = world();
    const calls = [];
    const verification = w.Immortus.verify("a");
    const unhandled = await unhandledAfter(() => {
      const derived = verification.then(...handlers.map((name) => name && ((value) => void calls.push(`${name} ${value.name}`))));
      derived.finally(() => calls.push("finally"));
      verification.stop();
    });
    assert.deepEqual(calls, [...told, "finally"]);
    assert.deepEqual(unhandled, []);
  });
}

test("after stop() .catch() gets the AbortError and recovers", async () => {
  const w = world();
  const verification = w.Immortus.verify("a");
  const recovered = verification.catch(({ name }) => name);
  verification.stop();
  assert.equal(await recovered, "AbortError");
  assert.equal(await recovered.then((name) => `${name}!`, () => assert.fail()), "AbortError!");
});

test("stop() in a handler keeps the next from being called (fault B6)", async () => {
  const w = world({ answer: () => document("a", 1) });
  const told = listener();
  const verification = w.Immortus.verify("a");
  verification.then(null, null, () => verification.stop());
  verification.then(...told.handlers);
  await settle();
  assert.deepEqual(told.versions(), []);
});

test("a handler that follows its job anew is told nothing twice (fault B6)", async () => {
  for (const stops of [false, true]) {
    const { w, told, socket, verification } = await followed();
    const again = listener();
    let followers = 0;
    verification.then(null, null, () => {
      if (followers++) return;
      if (stops) verification.stop();
      w.Immortus.verify("a").then(...again.handlers);
    });
    await settle();
    socket.job(document("a", 2));
    await settle();
    socket.job(finished("a", 3));
    await settle();
    assert.deepEqual(again.versions(), [1, 2]);
    assert.equal(again.done.length, 1);
    assert.deepEqual([told.versions(), told.done.length], stops ? [[1], 0] : [[1, 2], 1]);
    assert.equal(w.sockets.length, 1);
    assert.deepEqual(socket.sent.map(({ type }) => type), stops ? ["watch", "unwatch", "watch"] : ["watch"]);
  }
});

test("stop() between the last document and its handlers keeps them from being called", async () => {
  const { told, socket, verification } = await followed();
  socket.onmessage({ data: JSON.stringify({ type: "job", event: "meta", job: finished("a", 3) }) });
  verification.stop();
  await settle();
  assert.deepEqual(told.done, []);
});

test("stop() in a handler of the end lets only code that awaits hear it", async () => {
  const w = world({ answer: () => finished("a", 3) });
  const all = [];
  const calls = [];
  w.Immortus.verify("a").then(() => all.forEach((verification) => verification.stop()));
  for (const handlers of [["one"], ["two", "failed"], ["three", "failed", "progress"]]) {
    const verification = w.Immortus.verify("a");
    verification.then(...handlers.map((name) => () => void calls.push(name)));
    all.push(verification);
  }
  await settle();
  assert.deepEqual(calls, ["two"]);
});

test("stop() after done changes nothing", async () => {
  const { socket, verification } = await followed();
  const order = [];
  verification.then(() => { order.push("done"); verification.stop(); }).then(() => order.push("after"));
  socket.job(finished("a", 3));
  await settle();
  assert.deepEqual(order, ["done", "after"]);
});

for (const [what, reason] of [
  ["no reason", undefined], ["a timeout", new DOMException("too slow", "TimeoutError")], ["a text", "left"], ["null", null],
]) {
  test(`the abort of a signal is like stop(): ${what}`, async () => {
    const w = world({ answer: () => document("a", 1) });
    const abort = new AbortController();
    const told = listener();
    const unhandled = await unhandledAfter(async () => {
      w.Immortus.verify("a", { signal: abort.signal }).then(...told.handlers);
      await settle();
      abort.abort(reason);
    });
    assert.deepEqual([told.versions(), told.done, told.failed, unhandled], [[1], [], [], []]);
    await w.advance(1_000);
    assert.equal(w.clock.timers.size, 0, "nothing is left");
  });

  test(`code that awaits gets the reason of the abort: ${what}`, async () => {
    const w = world();
    for (const wait of [(v) => v, (v) => v.then(() => assert.fail()), (v) => v.catch((error) => { throw error; })]) {
      const abort = new AbortController();
      const caught = async () => {
        try {
          await wait(w.Immortus.verify("a", { signal: abort.signal }));
        } catch (error) {
          return error;
        }
        return "no error";
      };
      const during = caught();
      await settle();
      abort.abort(reason);
      assert.equal(await during, abort.signal.reason);
      assert.equal(await caught(), abort.signal.reason, "a signal that aborted before");
    }
  });
}

test("the handlers of the documentation bear its example with AbortSignal.timeout", async () => {
  const page = readFileSync(new URL("../../docs/how-to/browser.md", import.meta.url), "utf8");
  const [source] = /^function failed\(error\) \{\n.*?^\}/ms.exec(page);
  assert.match(page, /signal: AbortSignal\.timeout\(/);
  const w = world();
  const unhandled = await unhandledAfter(async () => {
    const handler = new Function("console", `return ${source}`)({ log: () => assert.fail() });
    w.Immortus.verify("a", { signal: AbortSignal.timeout(1) }).then(() => {}, handler, () => {});
    await new Promise((resolve) => setTimeout(resolve, 20));
  });
  assert.deepEqual(unhandled, []);
});

test("a signal that outlives its jobs keeps nothing of them", async () => {
  const w = world({ answer: () => finished("a", 1) });
  const { signal } = new AbortController();
  await w.Immortus.verify("a", { signal });
  for await (const job of w.Immortus.watch("a", { signal })) assert.equal(job.version, 1);
  await settle();
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

test("a failure that nobody handles is reported as any other", async () => {
  const w = world({ answer: () => failed("a", 1) });
  const unhandled = await unhandledAfter(() => void w.Immortus.verify("a"));
  assert.equal(unhandled.length, 1);
});

test("a failure handler recovers, as with any promise", async () => {
  const w = world({ answer: () => failed("a", 1) });
  assert.equal(await w.Immortus.verify("a").then(null, ({ error }) => error.code), "not_an_image");
});

test("a document of another class is a wrong_job_class, for those that named a class only", async () => {
  const w = world({ answer: () => document("a", 1) });
  const right = listener();
  const wrong = listener();
  const any = listener();
  w.Immortus.verify({ job_id: "a", job_class: "shop.tasks.process_image" }).then(...right.handlers);
  w.Immortus.verify({ job_id: "a", job_class: "shop.tasks.other" }).then(...wrong.handlers);
  w.Immortus.verify("a").then(...any.handlers);
  await settle();
  assert.equal(w.requests[0].url, "/immortus/verify/a", "the class is sent only when all agree");
  assert.equal(wrong.failed[0].error.code, "wrong_job_class");
  assert.deepEqual([right.versions(), any.versions(), wrong.versions()], [[1], [1], []]);
});

test("a lost job rejects verify, while watch goes on until the job is really over", async () => {
  const { w, told, socket } = await followed();
  const seen = [];
  const watching = (async () => { for await (const { state } of w.Immortus.watch("a")) seen.push(state); })();
  for (const [version, state] of [[2, "lost"], [3, "running"], [4, "finished"]]) {
    await settle();
    socket.job(document("a", version, { state }));
  }
  await watching;
  assert.deepEqual(seen, ["running", "lost", "running", "finished"]);
  assert.equal(told.failed[0].state, "lost");
  assert.equal(told.done.length, 0);
});

test("watch ends quietly when its signal aborts, and when it is left", async () => {
  const { w, socket, verification } = await followed();
  verification.stop();
  const abort = new AbortController();
  const iterator = w.Immortus.watch("a", { signal: abort.signal });
  await iterator.next();
  const pending = iterator.next();
  abort.abort();
  assert.deepEqual(await pending, { done: true, value: undefined });
  const left = w.Immortus.watch("a");
  const waiting = [left.next(), left.next()];
  await settle();
  await left.return();
  assert.equal((await waiting[1]).done, true);
  await settle();
  assert.equal(socket.sent.at(-1).type, "unwatch");
});

test("a reader slower than the job is given the newest document only", async () => {
  const { w, socket } = await followed();
  const iterator = w.Immortus.watch("a");
  for (const version of [2, 3, 4]) { socket.job(document("a", version)); await settle(); }
  assert.equal((await iterator.next()).value.version, 4);
});

test("our own addresses never redirect, those of a custom verify may", async () => {
  const w = world();
  w.Immortus.verify("a");
  w.Immortus.verify({ verify_job_url: "/custom/1" });
  await settle();
  assert.deepEqual(w.requests.map(({ url, redirect }) => [url, redirect]).sort(), [["/custom/1", "follow"], ["/immortus/verify/a", "manual"]]);
});

test("a custom verify needs only completed and wins over the id (case 21)", async () => {
  const answers = [{ completed: false, percentage: 10 }, { completed: null, percentage: 10 }, { completed: true, percentage: 100 }];
  const w = world({ answer: () => answers.shift() });
  const told = listener();
  w.Immortus.verify({ job_id: "x", job_class: "y", verify_job_url: "/custom/1" }, { polling: { interval: 800 } }).then(...told.handlers);
  await w.advance(1_600);
  assert.deepEqual(w.requests.map(({ url }) => url), Array(3).fill("/custom/1"));
  assert.deepEqual(w.requests.map(({ at }) => at - w.requests[0].at), [0, 800, 1600]);
  assert.equal(told.progress.length, 2, "each answer is told: it has no version");
  assert.equal(told.done.length, 1);
  assert.equal(w.sockets.length, 0);
});

test("a custom verify without a boolean completed is a failure, not an endless wait", async () => {
  for (const body of [{ percentage: 1 }, { completed: "false" }, []]) {
    const w = world({ answer: () => json(body) });
    const error = await w.Immortus.verify({ verify_job_url: "/custom/1" }).catch((reason) => reason);
    assert.equal(error.error.code, "bad_answer");
  }
});

test("a custom verify's page is a bad answer unless it is a login page", async () => {
  const failure = async (answer) => {
    const error = await world({ answer: () => answer }).Immortus.verify({ verify_job_url: "/custom/1" }).catch((reason) => reason);
    return [error.error.code, error.message];
  };
  const password = { ...html(), text: '<form><input name="password" type="password">' };
  const wanted = "The answer (200) is not a JSON object with `completed` true or false.";
  for (const answer of [html(), { ...html(), text: "Hello" }, json({ percentage: 1 })]) assert.deepEqual(await failure(answer), ["bad_answer", wanted]);
  for (const answer of [login(), password, html(401), html(403)]) {
    assert.deepEqual(await failure(answer), ["login_required", "Please log in to see this job."]);
  }
});

for (const [options, message] of [
  [{ transport: "websockets" }, "transport takes auto|websocket|polling, not websockets."],
  [{ transport: false }, "transport takes auto|websocket|polling, not false."],
  [{ polling: 200 }, "polling takes interval, not 200."],
  [{ polling: "200" }, "polling takes interval, not 200."],
  [{ polling: { intervall: 200 } }, "polling takes interval, not intervall."],
  [{ polling: { interval: "abc" } }, "polling.interval takes milliseconds above 0, not abc."],
  [{ polling: { interval: 0 } }, "polling.interval takes milliseconds above 0, not 0."],
  [{ polling: { interval: NaN } }, "polling.interval takes milliseconds above 0, not NaN."],
  [{ interval: 200 }, "Immortus takes transport|polling|signal, not interval."],
  ["polling", "Immortus takes transport|polling|signal, not 0."],
  [() => {}, "Immortus takes transport|polling|signal, not () => {}."],
  [{ signal: new AbortController() }, "signal takes AbortSignal, not [object AbortController]."],
]) {
  test(`a mistyped option is a TypeError at the call: ${JSON.stringify(options)}`, async () => {
    const w = world();
    assert.throws(() => w.Immortus.verify("a", options), { name: "TypeError", message });
    assert.throws(() => w.Immortus.watch("a", options), { name: "TypeError", message });
    await settle();
    assert.deepEqual([w.requests, w.sockets], [[], []]);
  });
}

for (const [handlers, message] of [
  [[() => {}, () => {}, {}], "then takes function, not object."],
  [["x"], "then takes function, not string."],
  [[null, 5], "then takes function, not number."],
]) {
  test(`what then() cannot call is a TypeError at the call: ${JSON.stringify(handlers)}`, async () => {
    const verification = world({ answer: () => finished("a", 1) }).Immortus.verify("a");
    assert.throws(() => verification.then(...handlers), { name: "TypeError", message });
    assert.equal((await verification).version, 1);
  });
}

test("a handler may be left out, be null, or be false as in `shown && progress`", async () => {
  const w = world({ answer: () => finished("a", 1) });
  for (const handlers of [[], [null, undefined, null], [undefined, false, false]]) {
    assert.equal((await w.Immortus.verify("a").then(...handlers)).version, 1);
  }
});

test("options may be left out, be null, or be the index that map() passes", async () => {
  const w = world({ answer: () => finished("a", 1) });
  for (const options of [undefined, null, {}, { transport: null, polling: null, signal: null }, { transport: undefined }]) {
    assert.equal((await w.Immortus.verify("a", options)).version, 1);
  }
  assert.equal((await Promise.all(["a", "a"].map(w.Immortus.verify))).length, 2);
});

test("loading the file twice keeps the first client", () => {
  const w = world();
  const first = w.scope.Immortus;
  w.run();
  assert.equal(w.scope.Immortus, first);
});

test("the file loads without a page", async () => {
  await import("../../immortus_channels/static/immortus_channels/immortus.js");
  assert.deepEqual(Object.keys(globalThis.Immortus).sort(), ["cancel", "configure", "create", "verify", "watch"]);
});
