/**
 * A wrapper that keeps secret material out of logs, errors, entries and JSON by printing as `[redacted]`.
 *
 * @module
 */

const shown = '[redacted]'

/**
 * A value that can be passed about freely and read only by `expose()`, e.g. `new Secret('hunter2')`.
 *
 * Prints as `[redacted]` in template strings, `JSON.stringify`, `console.log` and `util.inspect` (hidden properties
 * included); comparison and arithmetic see that text too, never the value. Search for `expose(` to find every reader.
 */
export class Secret<T> {
  readonly #value: T

  constructor(value: T) {
    this.#value = value
  }

  /** The value itself: call it where it is used, and keep the result in no object that lives on. */
  expose(): T {
    return this.#value
  }

  toString(): string {
    return shown
  }

  toJSON(): string {
    return shown
  }

  [Symbol.toPrimitive](): string {
    return shown
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return shown
  }
}
