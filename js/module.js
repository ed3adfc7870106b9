/** The same client for code that imports it: the global `Immortus`, which a script of the page may have set before. */
import "./index.js";

export default globalThis.Immortus;
export const { cancel, configure, create, verify, watch } = globalThis.Immortus;
