/**
 * OAuth 2 on the wire: token requests, answers, errors, metadata.
 *
 * @module
 */
export type { Challenge, ChallengeError } from './challenge.ts'
export { encodeChallenge } from './challenge.ts'
export { encodeError, oauthError } from './errors.ts'
export type { Fields } from './request.ts'
export {
  CLIENT_ASSERTION,
  GRANT_ASSERTION,
  GRANT_CLIENT,
  GRANT_EXCHANGE,
  parseTokenForm,
  parseTokenRequest,
} from './request.ts'
export {
  ACCESS_TOKEN_TYP,
  DPOP_ALGORITHMS,
  INTROSPECT_PATH,
  METADATA_PATH,
  REVOKE_PATH,
  TOKEN_PATH,
  authorizationServer,
  encodeClaims,
  encodeDenied,
  encodeIntrospection,
  encodeServerMetadata,
  encodeTokenResponse,
  errorOfDenial,
  introspection,
  tokenResponse,
} from './response.ts'
