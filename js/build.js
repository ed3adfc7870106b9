/**
 * Makes the files that browsers load from the modules beside it: `node js/build.js [folder]`.
 *
 * Rollup joins them into one classic script, which with exports is the ES module, both readable. A minified form of each
 * is 3 % smaller when esbuild renames its properties and terser does the rest than when either does all. What terser calls
 * unsafe is so where a program replaces `String` and the like, or calls `String()` with a Symbol.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { transform } from "esbuild";
import { rollup } from "rollup";
import { minify as shorten } from "terser";

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const read = (/** @type {string} */ path) => readFileSync(here(path), "utf8");

const STATIC = here("../immortus_channels/static/immortus_channels/");

/** Properties that only these modules use, which minifying may therefore rename. */
const INTERNAL = [
  "after", "ahead", "announce", "answers", "asked", "asking", "bell", "changed", "comeBack", "due", "ended", "exists",
  "expect", "expired", "fail", "failures", "fell", "followed", "forget", "good", "heard", "held", "hide", "hold", "hopeful",
  "jobClass", "listen", "mayPoll", "mayPush", "notBefore", "patience", "poll", "polled", "post", "prove", "pushed",
  "reachable", "readyAt", "receive", "refused", "renew", "reset", "response", "rest", "run", "show",
  "stopped", "subscribe", "subscribers", "take", "tell", "tick", "unknownSince", "unlessStopped",
  "unrecorded", "wake", "want",
];

/** The modules as one script. */
async function join() {
  const bundle = await rollup({ input: here("index.js"), treeshake: false, onwarn: fail });
  const { output: [{ code }] } = await bundle.generate({ format: "iife", indent: "  " });
  await bundle.close();
  return withoutImports(code).replace("'use strict'", '"use strict"');
}

/** Types that a module imports are in the same file now. @param {string} code */
const withoutImports = (code) => code.replace(/^ *\/\*\* @import .* \*\/\n/gm, "").replace(/\n{3,}/g, "\n\n");

/** @param {import("rollup").RollupLog} warning @returns {never} */
function fail(warning) {
  throw new Error(warning.message);
}

/** @param {string} name @param {string} code */
async function minify(name, code) {
  const renamed = await transform(code, {
    minify: true, treeShaking: true, target: "es2022", sourcefile: `${name}.js`, sourcemap: "external", legalComments: "none",
    mangleProps: new RegExp(`^(${INTERNAL.join("|")})$`),
  });
  const { code: small, map } = await shorten({ [`${name}.js`]: renamed.code }, {
    module: name.endsWith("module"), ecma: 2020,
    compress: { hoist_funs: true, lhs_constants: false, passes: 2, unsafe: true, unsafe_arrows: true, unsafe_methods: true },
    sourceMap: { content: renamed.map, includeSources: true },
  });
  return { [`${name}.min.js`]: `${small}\n//# sourceMappingURL=${name}.min.js.map\n`, [`${name}.min.js.map`]: map };
}

/** All files by their names. @returns {Promise<Record<string, string>>} */
async function build() {
  const joined = await join();
  const script = read("head.script.txt") + joined; // a head says what the file is and where it comes from
  const module = `${read("head.module.txt")}${joined}\n${read("module.js").replace(/^import .*\n\n/m, "")}`;
  return {
    "immortus.js": script, ...(await minify("immortus", script)),
    "immortus.module.js": module, ...(await minify("immortus.module", module)),
  };
}

const [folder = STATIC] = process.argv.slice(2);
for (const [name, text] of Object.entries(await build())) writeFileSync(`${folder}/${name}`, text);
