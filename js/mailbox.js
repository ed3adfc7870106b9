/** From callbacks to `for await`. */

/**
 * Gives its reader in order what is posted; beyond the capacity it drops the oldest letter.
 * Not a generator, because the `return()` of a generator waits for a pending `next()`.
 * @template T @implements {AsyncIterableIterator<T>}
 */
export class Mailbox {
  /** @type {T[]} */ #letters = [];
  /** @type {Array<(value?: any) => void>} */ #readers = [];
  /** @type {Error | undefined} */ #error;
  #closed = false;
  #capacity;
  #onClose;

  constructor(capacity = Infinity, onClose = () => {}) {
    this.#capacity = capacity;
    this.#onClose = onClose;
  }

  /** @param {T} letter */
  post(letter) {
    if (this.#closed) return;
    if (this.#letters.length === this.#capacity) this.#letters.shift();
    this.#letters.push(letter);
    this.#readers.shift()?.();
  }

  /** The reader still gets what was posted; then reading ends, with `error` if there is one. @param {Error} [error] */
  close(error) {
    if (this.#closed) return;
    this.#closed = true;
    this.#error = error;
    this.#readers.forEach((wake) => wake());
    queueMicrotask(this.#onClose);
  }

  /** @returns {Promise<IteratorResult<T>>} */
  async next() {
    while (!this.#letters.length && !this.#closed) await new Promise((resolve) => this.#readers.push(resolve));
    if (this.#letters.length) return { done: false, value: /** @type {T} */ (this.#letters.shift()) };
    const error = this.#error;
    this.#error = undefined;
    if (error) throw error;
    return { done: true, value: undefined };
  }

  /** @returns {Promise<IteratorResult<T>>} */
  async return() {
    this.#letters = [];
    this.close();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}
