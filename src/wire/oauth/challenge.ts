/**
 * `WWW-Authenticate` for bearer and DPoP-bound tokens (RFC 6750 §3, RFC 9449 §7.1, RFC 9470 §3, RFC 9728 §5.1).
 *
 * @module
 */

export type ChallengeError =
  | 'invalid_request'
  | 'invalid_token'
  | 'insufficient_scope'
  | 'insufficient_user_authentication'
  | 'invalid_dpop_proof'
  | 'use_dpop_nonce'

export type Challenge = Readonly<{
  error?: ChallengeError
  description?: string
  scope?: readonly string[]
  /** Authentication contexts, the preferred first. */
  acrValues?: readonly string[]
  /** Seconds since the person last proved who they are. */
  maxAge?: number
  resourceMetadata?: string
  /** With `DPoP`: what proofs may be signed with. */
  algorithms?: readonly string[]
}>

/** A quoted string (RFC 9110 §5.6.4) of visible ASCII; nothing in it can end the header or begin a parameter. */
const quoted = (text: string): string =>
  `"${text.replaceAll(/[^\x20-\x7e]/gu, '?').replaceAll(/["\\]/gu, "'")}"`

/** One challenge, e.g. `DPoP realm="writ", error="insufficient_scope", scope="pay"`. */
export function encodeChallenge(scheme: 'Bearer' | 'DPoP', challenge: Challenge = {}): string {
  const { error, description, scope, acrValues, maxAge, resourceMetadata, algorithms } = challenge
  const parameters: readonly (readonly [string, string | undefined])[] = [
    ['realm', 'writ'],
    ['error', error],
    ['error_description', description],
    ['scope', scope?.join(' ')],
    ['acr_values', acrValues?.join(' ')],
    ['max_age', maxAge === undefined ? undefined : String(Math.max(0, Math.floor(maxAge)))],
    ['resource_metadata', resourceMetadata],
    ['algs', scheme === 'DPoP' ? algorithms?.join(' ') : undefined],
  ]
  const shown = parameters.flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${quoted(value)}`],
  )
  return `${scheme} ${shown.join(', ')}`
}
