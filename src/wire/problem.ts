/**
 * Problem details (RFC 9457) and the one table from error codes to HTTP statuses.
 *
 * @module
 */
import * as z from 'zod'
import type { ErrorCode } from '../model/errors.ts'
import { errorCodes } from '../model/errors.ts'

/** HTTP status of every error code. */
export const statusOf: Readonly<Record<ErrorCode, number>> = {
  ERR_INPUT_INVALID: 400,
  ERR_TOO_LARGE: 413,
  ERR_UNAUTHENTICATED: 401,
  ERR_FORBIDDEN: 403,
  ERR_NOT_FOUND: 404,
  ERR_CONFLICT: 409,
  ERR_RATE_LIMITED: 429,
  ERR_POLICY_INVALID: 422,
  ERR_CONFIG_INVALID: 500,
  ERR_CLOCK_INVALID: 503,
  ERR_STORE_FULL: 507,
  ERR_STORE_BUSY: 503,
  ERR_STORE_CORRUPT: 500,
  ERR_STORE_CLOSED: 503,
  ERR_TARGET_UNREACHABLE: 504,
  ERR_TARGET_REFUSED: 502,
  ERR_UNREACHABLE: 503,
  ERR_INTERNAL: 500,
}

/** A short title per code, the same in every answer that carries it. */
export const titleOf: Readonly<Record<ErrorCode, string>> = {
  ERR_INPUT_INVALID: 'The request cannot be read',
  ERR_TOO_LARGE: 'A documented bound is exceeded',
  ERR_UNAUTHENTICATED: 'Authentication is needed',
  ERR_FORBIDDEN: 'Not allowed',
  ERR_NOT_FOUND: 'Not found',
  ERR_CONFLICT: 'Conflict',
  ERR_RATE_LIMITED: 'Too many requests',
  ERR_POLICY_INVALID: 'The policy set is invalid',
  ERR_CONFIG_INVALID: 'The configuration is invalid',
  ERR_CLOCK_INVALID: 'The clock cannot be trusted',
  ERR_STORE_FULL: 'The store is full',
  ERR_STORE_BUSY: 'The store is busy',
  ERR_STORE_CORRUPT: 'The store is damaged',
  ERR_STORE_CLOSED: 'The server is stopping',
  ERR_TARGET_UNREACHABLE: 'The target did not answer',
  ERR_TARGET_REFUSED: 'The target refused',
  ERR_UNREACHABLE: 'The server cannot be reached',
  ERR_INTERNAL: 'Something went wrong',
}

/** `urn:writ:error:input-invalid` for `ERR_INPUT_INVALID`; never changes for a code. */
export function problemType(code: ErrorCode): string {
  return `urn:writ:error:${code.slice('ERR_'.length).toLowerCase().replaceAll('_', '-')}`
}

/** What an error looks like at every door of ours. */
export const problem = z
  .object({
    type: z.string().meta({ description: 'A URI that names the kind of problem and never changes' }),
    title: z.string(),
    status: z.int(),
    detail: z.string().meta({ description: 'One sentence for the caller' }),
    code: z.enum(errorCodes),
    hint: z.string().exactOptional().meta({ description: 'How to mend it' }),
    request_id: z.string().meta({ description: "Find it again in the operator's log" }),
  })
  .meta({ id: 'Problem' })

export type Problem = z.infer<typeof problem>
