/** The same client for code that imports it. The global `Immortus` is there as well, and is the same object. */
import "./index.js";

const first = globalThis.Immortus; // that of a script that the page has loaded before, if it has
const { cancel: firstCancel, configure: firstConfigure, create: firstCreate, verify: firstVerify, watch: firstWatch } = first;

export {
  first as default,
  firstCancel as cancel,
  firstConfigure as configure,
  firstCreate as create,
  firstVerify as verify,
  firstWatch as watch,
};
