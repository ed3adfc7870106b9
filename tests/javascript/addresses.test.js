// No address that a task has published takes a page elsewhere, in what the documents tell to write.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import vm from "node:vm";

const page = readFileSync(new URL("../../docs/how-to/browser.md", import.meta.url), "utf8");
const [finished] = page.match(/^function finished\(job\) \{\n[\s\S]*?^\}$/m);

/** Where the documents' `finished` leads with this result. */
function ledTo(url) {
  const location = { href: "https://shop.example/photos/7?page=2", origin: "https://shop.example" };
  vm.runInNewContext(`${finished}\nfinished({ result: { url } })`, { location, URL, url });
  return String(location.href);
}

for (const url of ["javascript:alert(1)", "data:text/html,x", "//evil.example/", "https://evil.example/", "https:\\\\evil.example", "http://shop.example/", "https://shop.example:444/", "\tjava\nscript:alert(1)"]) {
  test(`nobody is led to ${JSON.stringify(url)}`, () => assert.equal(ledTo(url), "https://shop.example/photos/7?page=2"));
}

for (const [url, whole] of [["/media/7.png", "https://shop.example/media/7.png"], ["8", "https://shop.example/photos/8"], ["https://shop.example/x", "https://shop.example/x"]]) {
  test(`whoever may go on to ${url} does`, () => assert.equal(ledTo(url), whole));
}
