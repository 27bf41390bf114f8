/**
 * Where the record is sent: sinks take entries in order, in batches, and say when they have them.
 *
 * @module
 */
import type { Millis } from '../model/time.ts'

/** Some entries in order, none skipped but those that the sink was not meant to have. */
export type Batch = Readonly<{
  /** The same whenever the same entries are sent again. */
  id: string
  lines: readonly Line[]
}>

export type Line = Readonly<{
  seq: number
  kind: string
  /** When the entry was written, RFC 3339. */
  time: string
  /** Syslog's severity, 0–7. */
  severity: number
  /** The entry in the sink's format: one line of JSON without its end. */
  text: string
}>

/**
 * Resolves when the other side has the whole batch, rejects (`SinkError`, or what the system says) otherwise. What was
 * sent in part is sent again: receivers tell a repetition by its id. One call runs at a time.
 */
export interface Sink {
  /** Aborted when the batch has taken too long, or the server stops. */
  send(batch: Batch, signal: AbortSignal): Promise<void>
  close(): Promise<void>
}

/** Why a sink did not take a batch, in words that name no secret. */
export class SinkError extends Error {
  override readonly name = 'SinkError'
  /** What the receiver asked for. */
  readonly retryAfter: Millis | undefined
  /** The batch was too large for it: fewer entries may do. */
  readonly tooLarge: boolean

  constructor(message: string, options: { retryAfter?: Millis; tooLarge?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.retryAfter = options.retryAfter
    this.tooLarge = options.tooLarge === true
  }
}

/** What went wrong, in one line that is safe to show: messages of libraries may hold addresses, never bodies. */
export function reasonOf(error: unknown): string {
  if (error instanceof SinkError) return error.message
  if (error instanceof Error) {
    if (error.name === 'AbortError' || error.name === 'TimeoutError') return 'it did not answer in time'
    const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
    if (code !== undefined) return systemReasons[code] ?? `it failed (${code})`
  }
  return 'it failed in an unexpected way'
}

const systemReasons: Readonly<Record<string, string>> = {
  ENOSPC: 'its disk is full',
  EDQUOT: 'its disk is full',
  EACCES: 'its file may not be written',
  EPERM: 'its file may not be written',
  EROFS: 'its disk is read-only',
  ENOENT: 'its folder or a file it needs does not exist',
  EISDIR: 'its path is a folder',
  ELOOP: 'its path is a link',
  ECONNREFUSED: 'nothing listens at its address',
  ECONNRESET: 'it cut the connection',
  EPIPE: 'it cut the connection',
  ENOTFOUND: 'its host has no address',
  EAI_AGAIN: 'its host could not be looked up',
  ETIMEDOUT: 'it cannot be reached',
  EHOSTUNREACH: 'it cannot be reached',
  ENETUNREACH: 'it cannot be reached',
  ABORT_ERR: 'it did not answer in time',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is not trusted',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is not trusted',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is not trusted',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is not trusted',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
  HPE_INVALID_CONSTANT: 'it does not speak HTTP',
}

/** What of the network one waits for and may give up. */
export function aborted(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new SinkError('it was stopped')
}
