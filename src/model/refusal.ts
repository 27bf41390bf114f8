/**
 * Why a token is not issued, in the codes that the OAuth standards name.
 *
 * @module
 */
import { WritError } from './errors.ts'

/** Every code that an OAuth endpoint of ours answers, with its status. */
export const oauthErrors = {
  invalid_request: 400, // RFC 6749 §5.2; RFC 8693 §2.2.2: a subject or actor token that is not good
  invalid_client: 401,
  invalid_grant: 400, // RFC 7523 §3.1: an assertion that is not good
  unauthorized_client: 400,
  unsupported_grant_type: 400,
  invalid_scope: 400,
  invalid_target: 400, // RFC 8693 §2.2.2, RFC 8707 §2: unknown, several, or not willing
  invalid_authorization_details: 400, // RFC 9396 §5
  invalid_dpop_proof: 400, // RFC 9449 §5
  use_dpop_nonce: 400, // RFC 9449 §8
  interaction_required: 400, // OpenID Connect Core §3.1.2.6: somebody has to say yes first
  authorization_pending: 400, // RFC 8628 §3.5: and has not yet
  access_denied: 400, // RFC 8628 §3.5: somebody said no
  expired_token: 400, // RFC 8628 §3.5: nobody said anything in time
} as const

export type OAuthErrorCode = keyof typeof oauthErrors

export const isOAuthError = (name: string | undefined): name is OAuthErrorCode =>
  name !== undefined && Object.hasOwn(oauthErrors, name)

/** A refusal with the code of a standard; `detail` is for the operator and the record alone. */
export function refuse(code: OAuthErrorCode, message: string, detail?: string): WritError {
  return new WritError(code === 'invalid_client' ? 'ERR_UNAUTHENTICATED' : 'ERR_INPUT_INVALID', message, {
    problem: code,
    ...(detail === undefined ? {} : { detail }),
  })
}
