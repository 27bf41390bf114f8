/**
 * Errors as callers see them. Only a WritError's own sentence leaves; everything else is one constant sentence and a
 * request id (B43).
 *
 * @module
 */
import { WritError } from '../../model/errors.ts'
import { isOAuthError, oauthErrors } from '../../model/refusal.ts'
import { arapProblemType, isArapProblem, problemStatus } from '../../wire/arap/draft1/index.ts'
import type { Problem } from '../../wire/problem.ts'
import { encodeError } from '../../wire/oauth/index.ts'
import { problemType, statusOf, titleOf } from '../../wire/problem.ts'
import { RateLimited } from './rates.ts'

const INTERNAL = new WritError(
  'ERR_INTERNAL',
  'something went wrong; the operator finds it under the request id',
)

/** Fastify's own refusals of a request, by its codes. */
function refusalOf(code: unknown, status: unknown): WritError | undefined {
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new WritError('ERR_TOO_LARGE', 'the body is too large', { hint: 'send less at once' })
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new WritError('ERR_INPUT_INVALID', 'the content type is not `application/json`', {
        hint: 'send `Content-Type: application/json`',
      })
    case 'FST_ERR_BAD_URL':
      return new WritError('ERR_INPUT_INVALID', 'the path cannot be read')
    default:
      return typeof status === 'number' && status >= 400 && status < 500
        ? new WritError('ERR_INPUT_INVALID', 'the request cannot be read')
        : undefined
  }
}

/** Every error as a WritError that may leave. The second is what only the operator's log may hold. */
export function publicError(error: unknown): WritError {
  if (error instanceof WritError) return error
  const { code, statusCode } = (typeof error === 'object' && error !== null ? error : {}) as {
    code?: unknown
    statusCode?: unknown
  }
  return refusalOf(code, statusCode) ?? INTERNAL
}

export type Rendered = Readonly<{ status: number; body: Problem; headers: Readonly<Record<string, string>> }>

/** Problem details of an error; `arap` uses the profile's own types where it has one. */
export function renderProblem(error: WritError, requestId: string, arap: boolean): Rendered {
  const named = arap && isArapProblem(error.problem) ? error.problem : undefined
  const status = named === undefined ? statusOf[error.code] : problemStatus[named]
  return {
    status,
    body: {
      type: named === undefined ? problemType(error.code) : arapProblemType(named),
      title: titleOf[error.code],
      status,
      detail: error.message,
      code: error.code,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      request_id: requestId.slice(0, 256),
    },
    headers: {
      ...(status === 401 ? { 'www-authenticate': 'Bearer realm="writ"' } : {}),
      ...(error instanceof RateLimited ? { 'retry-after': String(error.retryAfter) } : {}),
      ...(status === 503 ? { 'retry-after': '1' } : {}),
    },
  }
}

/** An error as OAuth says it (RFC 6749 §5.2): the code of a standard, else whose fault it was. */
export function renderOAuthError(error: WritError): Readonly<{ status: number; body: object }> {
  const { problem, message } = error
  if (isOAuthError(problem)) return { status: oauthErrors[problem], body: encodeError(problem, message) }
  const status = statusOf[error.code]
  const code =
    status === 401
      ? 'invalid_client'
      : status === 429 || status === 503 || status === 507
        ? 'temporarily_unavailable'
        : status < 500
          ? 'invalid_request'
          : 'server_error'
  return { status, body: encodeError(code, message) }
}
