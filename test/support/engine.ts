/**
 * How processes of tests run: most are over in a second, and starting is what they do.
 *
 * @module
 */

/**
 * For Node.js: Cedar's library is not optimized by threads beside before it has worked for long, and no threads beside
 * collect garbage. What V8 keeps compiled it takes again under the same flags alone, so that all have the same.
 */
export const engineFlags: readonly string[] = ['--wasm-tiering-budget=200000000', '--single-threaded-gc']

/** Where V8 keeps what it compiled, for a process that inherits no environment; `npm test` names it. */
export const compiled = (): Readonly<Record<string, string>> => {
  const folder = process.env['NODE_COMPILE_CACHE']
  return folder === undefined ? {} : { NODE_COMPILE_CACHE: folder }
}
