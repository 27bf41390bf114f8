/**
 * The one error type of Writ. Denial is a value, never an error: an error means that no answer could be given.
 *
 * @module
 */

/** Every code an error may carry. Each surface owns one table from these to its own status. */
export const errorCodes = [
  'ERR_INPUT_INVALID', // the caller sent something that cannot be read
  'ERR_TOO_LARGE', // a documented bound was exceeded
  'ERR_UNAUTHENTICATED', // nobody we know
  'ERR_FORBIDDEN', // known, but not allowed to do this with Writ itself
  'ERR_NOT_FOUND', // unknown, or not the caller's to see
  'ERR_CONFLICT', // same idempotency key with another body, or a life that has moved on
  'ERR_RATE_LIMITED',
  'ERR_POLICY_INVALID', // a policy set that does not parse or validate; the old one stays
  'ERR_CONFIG_INVALID',
  'ERR_CLOCK_INVALID', // a broken clock must not decide
  'ERR_STORE_FULL', // no room for what widens; narrowing still goes through
  'ERR_STORE_BUSY', // another process owns the data folder
  'ERR_STORE_CORRUPT',
  'ERR_STORE_CLOSED',
  'ERR_TARGET_UNREACHABLE', // the target did not answer: the credential is unresolved
  'ERR_TARGET_REFUSED', // the target answered no
  'ERR_UNREACHABLE', // a client could not reach the server
  'ERR_INTERNAL',
] as const

export type ErrorCode = (typeof errorCodes)[number]

/**
 * An error with a stable `code`, a `message` that is safe for the caller, a `hint` how to mend it, and a `detail`
 * that only the operator's log may show.
 */
export class WritError extends Error {
  override readonly name = 'WritError'
  readonly code: ErrorCode
  readonly hint: string | undefined
  readonly detail: string | undefined
  /** ARAP or other problem name that a surface may map to its own type, e.g. `expired_denial`. */
  readonly problem: string | undefined

  constructor(
    code: ErrorCode,
    message: string,
    options: { hint?: string; detail?: string; problem?: string; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.hint = options.hint
    this.detail = options.detail
    this.problem = options.problem
  }
}

/** Whether `error` is a WritError, optionally with one of `codes`. */
export function isWritError(error: unknown, ...codes: ErrorCode[]): error is WritError {
  return error instanceof WritError && (codes.length === 0 || codes.includes(error.code))
}
