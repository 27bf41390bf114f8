/**
 * `writ policy test --from`: a recorded decision as a test.
 *
 * @module
 */
import type { Context } from './context.ts'
import { usage } from './exit.ts'

/** Not yet. */
export function fromDecision(_context: Context, id: string, _into: string | undefined): Promise<number> {
  return Promise.reject(usage(`\`${id}\` cannot be made a test yet`))
}
