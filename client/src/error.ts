/**
 * The one error type of the client. A denial is a value, never an error: an error means that no answer was had, and
 * whoever enforces treats it as a denial.
 *
 * @module
 */

/** Codes that the client itself gives; those of the server (`ERR_FORBIDDEN`, …) come through as they are. */
export type ClientErrorCode =
  | 'ERR_UNREACHABLE' // no connection, or no answer from the server itself
  | 'ERR_TIMEOUT'
  | 'ERR_ABORTED' // the caller's signal
  | 'ERR_PROTOCOL' // an answer that this client cannot read
  | 'ERR_INPUT_INVALID'
  | 'ERR_LOG_CONTRADICTED' // the log does not continue what was seen of it before
  | 'ERR_LOG_KEY' // its checkpoint is signed by no key that is trusted
  | 'ERR_CALLBACK_INVALID' // forged, late, or no callback
  | 'ERR_CALLBACK_REPEATED' // received before
  | 'ERR_UNSUPPORTED' // the runtime lacks what is needed to verify

export type WritClientErrorOptions = Readonly<{
  status?: number | undefined
  hint?: string | undefined
  requestId?: string | undefined
  type?: string | undefined
  cause?: unknown
}>

/** An error with a stable `code`, a `message` in one sentence, and a `hint` how to mend it. */
export class WritClientError extends Error {
  override readonly name = 'WritClientError'
  readonly code: string
  /** HTTP status, when there was an answer. */
  readonly status: number | undefined
  readonly hint: string | undefined
  /** Find it again in the operator's log. */
  readonly requestId: string | undefined
  /**
   * The problem's URI (RFC 9457), e.g. ARAP's `urn:openid:authzen:access-request:error:expired_denial`; of the token
   * endpoint OAuth's code, e.g. `invalid_dpop_proof`.
   */
  readonly type: string | undefined

  constructor(code: string, message: string, options: WritClientErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.status = options.status
    this.hint = options.hint
    this.requestId = options.requestId
    this.type = options.type
  }
}

/** Whether `error` is a WritClientError, optionally with one of `codes`. */
export function isWritClientError(error: unknown, ...codes: string[]): error is WritClientError {
  return error instanceof WritClientError && (codes.length === 0 || codes.includes(error.code))
}
