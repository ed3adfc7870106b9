/** The ES module, alone and beside the classic script. */
import assert from "node:assert/strict";
import { test } from "node:test";

const FILES = "../../immortus_channels/static/immortus_channels";
const NAMES = ["cancel", "configure", "create", "verify", "watch"];

for (const file of ["immortus.module.js", "immortus.module.min.js"]) {
  test(`${file} exports the client, which is the global too`, async () => {
    delete globalThis.Immortus;
    const exports = await import(`${FILES}/${file}`);
    assert.deepEqual(Object.keys(exports).sort(), [...NAMES, "default"].sort());
    assert.equal(exports.default, globalThis.Immortus);
    for (const name of NAMES) assert.equal(exports[name], globalThis.Immortus[name]);
  });
}

test("a module loaded after the script exports the client of the script", async () => {
  delete globalThis.Immortus;
  await import(`${FILES}/immortus.js?first`);
  const first = globalThis.Immortus;
  const exports = await import(`${FILES}/immortus.module.js?second`);
  assert.equal(exports.default, first);
  assert.equal(exports.verify, first.verify);
  assert.equal(globalThis.Immortus, first);
});
