/**
 * What the OAuth endpoints answer: tokens, introspection, metadata (RFC 6749 §5.1, 7662, 8414, 8693, 9068, 9396).
 *
 * @module
 */
import * as z from 'zod'
import type { Json } from '../../model/canonical.ts'
import type { EntityRef, Properties } from '../../model/entity.ts'
import { refKey } from '../../model/entity.ts'
import type { Decision } from '../../model/outcome.ts'
import type { OAuthErrorCode } from '../../model/refusal.ts'
import type { Instant } from '../../model/time.ts'
import type { Token, TokenDetail, TokenRequest } from '../../model/token.ts'
import { encodeDenialMembers } from '../arap/draft1/index.ts'
import { encodeError } from './errors.ts'
import { ACCESS_TOKEN_TYPE, GRANT_ASSERTION, GRANT_CLIENT, GRANT_EXCHANGE, JWT_TYPE } from './request.ts'

export const TOKEN_PATH = '/oauth/token'
export const INTROSPECT_PATH = '/oauth/introspect'
export const REVOKE_PATH = '/oauth/revoke'
export const METADATA_PATH = '/.well-known/oauth-authorization-server'
/** `typ` of our access tokens (RFC 9068 §2.1). */
export const ACCESS_TOKEN_TYP = 'at+jwt'

const seconds = (at: Instant): number => Math.floor(at / 1_000)

const detail = z.object({
  type: z.literal('writ'),
  action: z.string(),
  resource: z.string(),
  properties: z.record(z.string(), z.unknown()).exactOptional(),
})

function encodeDetail({ action, resource, properties }: TokenDetail): Json {
  return {
    type: 'writ',
    action,
    resource: refKey(resource),
    ...(properties === undefined ? {} : { properties }),
  }
}

export const tokenResponse = z
  .object({
    access_token: z.string(),
    issued_token_type: z.string().exactOptional().meta({ description: 'Of an exchange (RFC 8693)' }),
    token_type: z.enum(['Bearer', 'DPoP']),
    expires_in: z.int(),
    scope: z.string().exactOptional(),
    authorization_details: z.array(detail).exactOptional(),
  })
  .meta({ id: 'TokenResponse' })

export function encodeTokenResponse(
  { token, text }: Readonly<{ token: Token; text: string }>,
  exchanged: 'access_token' | 'jwt' | undefined,
): Readonly<Record<string, Json>> {
  return {
    access_token: text,
    ...(exchanged === undefined
      ? {}
      : { issued_token_type: exchanged === 'jwt' ? JWT_TYPE : ACCESS_TOKEN_TYPE }),
    token_type: token.jkt === undefined ? 'Bearer' : 'DPoP',
    expires_in: seconds(token.endsAt) - seconds(token.issuedAt),
    ...(token.scope.length === 0 ? {} : { scope: token.scope.join(' ') }),
    ...(token.details.length === 0 ? {} : { authorization_details: token.details.map(encodeDetail) }),
  }
}

/** `act` (RFC 8693 §4.1): who acts, around those it acts through; the last of the chain is `sub`. */
export function encodeAct(chain: readonly EntityRef[]): Properties | undefined {
  return chain
    .slice(0, -1)
    .reduceRight<Properties | undefined>(
      (inner, ref) => ({ sub: refKey(ref), ...(inner === undefined ? {} : { act: inner }) }),
      undefined,
    )
}

/** The claims of an access token, and what introspection says of it. */
export function encodeClaims(token: Token, issuer: string): Readonly<Record<string, Json>> {
  const act = encodeAct(token.chain)
  const [grant] = token.grants
  const [task] = token.tasks
  const [delegation] = token.delegations ?? []
  return {
    iss: issuer,
    sub: refKey(token.chain.at(-1) as EntityRef),
    aud: token.aud,
    client_id: token.client,
    iat: seconds(token.issuedAt),
    exp: seconds(token.endsAt),
    jti: token.id,
    ...(token.scope.length === 0 ? {} : { scope: token.scope.join(' ') }),
    ...(token.details.length === 0 ? {} : { authorization_details: token.details.map(encodeDetail) }),
    ...(act === undefined ? {} : { act }),
    ...(token.jkt === undefined ? {} : { cnf: { jkt: token.jkt } }),
    ...(grant === undefined ? {} : { writ_grant: grant }),
    ...(task === undefined ? {} : { writ_task: task }),
    ...(delegation === undefined ? {} : { writ_delegation: delegation }),
    ...(token.singleUse ? { writ_single_use: true } : {}),
  }
}

export const introspection = z
  .looseObject({ active: z.boolean() })
  .meta({ id: 'Introspection', description: 'RFC 7662 §2.2; of what is not active, nothing else' })

export function encodeIntrospection(
  token: Token | undefined,
  issuer: string,
): Readonly<Record<string, Json>> {
  if (token === undefined) return { active: false }
  return {
    active: true,
    token_type: token.jkt === undefined ? 'Bearer' : 'DPoP',
    ...encodeClaims(token, issuer),
  }
}

/** Which error a denial is; an unknown target and a plain no look alike. */
export function errorOfDenial({ outcome, attempt }: Decision, ofDetails: boolean): OAuthErrorCode {
  if (outcome === 'challenge') return 'interaction_required'
  return ofDetails && attempt.action.properties !== undefined
    ? 'invalid_authorization_details'
    : 'invalid_target'
}

/**
 * A denial in OAuth's terms, with everything that an AuthZEN denial says beside it: of a challenge, the offer that is
 * submitted as an access request, whose approval comes back as `approval` of the next token request.
 */
export function encodeDenied(
  decision: Decision,
  { audience, details }: Pick<TokenRequest, 'audience' | 'details'>,
  endpoint: string,
): Readonly<Record<string, Json>> {
  const { id, type } = decision.attempt.resource
  const ofDetails = details.length > 0
  const isNamed = details.some(({ resource }) => resource?.type === type && resource.id === id)
  // by the name that it was asked by: which thing a URI stands for is told with a token only
  const place = audience !== undefined && 'uri' in audience && !isNamed ? audience.uri : `${type}/${id}`
  const what = `${decision.attempt.action.name} on ${place}`
  const error = errorOfDenial(decision, ofDetails)
  const description =
    error === 'interaction_required'
      ? `${what} needs an approval or a reason first: submit access_request at its endpoint, or ask again with access_request=submit, and come back with its approval`
      : `${what} is not permitted`
  return {
    ...encodeError(error, description),
    ...(encodeDenialMembers(decision, endpoint) as Readonly<Record<string, Json>>),
    // what an access request repeats
    ...(error === 'interaction_required'
      ? {
          attempt: {
            subject: { type: decision.attempt.subject.type, id: decision.attempt.subject.id },
            action: { ...decision.attempt.action },
            resource: { type, id },
            ...contextOf(decision.attempt),
          },
        }
      : {}),
  }
}

/** What an access request repeats of the attempt's context: the task, and the delegation that it is under. */
function contextOf({ task, delegation }: Decision['attempt']): { context?: Properties } {
  const context = {
    ...(task === undefined ? {} : { task }),
    ...(delegation === undefined ? {} : { delegation }),
  }
  return Object.keys(context).length === 0 ? {} : { context }
}

/** What proofs of possession may be signed with. */
export const DPOP_ALGORITHMS = ['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519', 'PS256', 'RS256'] as const
/** What clients may sign assertions with. */
export const ASSERTION_ALGORITHMS = ['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519', 'PS256', 'RS256'] as const

export const authorizationServer = z
  .looseObject({ issuer: z.string(), token_endpoint: z.string(), jwks_uri: z.string() })
  .meta({ id: 'AuthorizationServer', description: 'RFC 8414 §2' })

/** RFC 8414 metadata of the server whose exact identifier is `issuer`. */
export function encodeServerMetadata(issuer: string): Readonly<Record<string, Json>> {
  const authentication = {
    methods: ['private_key_jwt'],
    algorithms: [...ASSERTION_ALGORITHMS],
  }
  return {
    issuer,
    token_endpoint: `${issuer}${TOKEN_PATH}`,
    introspection_endpoint: `${issuer}${INTROSPECT_PATH}`,
    revocation_endpoint: `${issuer}${REVOKE_PATH}`,
    jwks_uri: `${issuer}/.well-known/jwks.json`,
    response_types_supported: [],
    grant_types_supported: [GRANT_CLIENT, GRANT_ASSERTION, GRANT_EXCHANGE],
    token_endpoint_auth_methods_supported: [...authentication.methods, 'none'],
    token_endpoint_auth_signing_alg_values_supported: authentication.algorithms,
    introspection_endpoint_auth_methods_supported: authentication.methods,
    introspection_endpoint_auth_signing_alg_values_supported: authentication.algorithms,
    revocation_endpoint_auth_methods_supported: authentication.methods,
    revocation_endpoint_auth_signing_alg_values_supported: authentication.algorithms,
    dpop_signing_alg_values_supported: [...DPOP_ALGORITHMS],
    authorization_details_types_supported: ['writ'],
  }
}
