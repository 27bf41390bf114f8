/**
 * Clients that prove themselves at the token endpoint with a key of their own (`private_key_jwt`, RFC 7523): nothing
 * that both sides hold, nothing that is good twice.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { createPublicKey } from 'node:crypto'
import type { Json } from '../model/canonical.ts'
import type { Properties } from '../model/entity.ts'
import { refKey } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { SpentProof } from '../model/identity.ts'
import type { OAuthErrorCode } from '../model/refusal.ts'
import { refuse } from '../model/refusal.ts'
import type { Instant, Millis } from '../model/time.ts'
import { MINUTE, SECOND } from '../model/time.ts'
import type { Client, ClientConfig } from '../model/token.ts'
import type { UnverifiedToken } from './issuers/token.ts'
import { readToken } from './issuers/token.ts'
import { Refused } from './issuers/refusal.ts'
import { isSignedBy } from './jws.ts'
import { spentProof } from './spent.ts'

/** An assertion is made for one request: one that is good for longer than this is refused. */
export const ASSERTION_MOST: Millis = 10 * MINUTE
const SKEW: Millis = MINUTE
const JTI_MOST = 256
/** RFC 7523 names none; its revision one for each use, and none is good for the other. What else a key signs is no assertion (B4). */
const isOfType = (typ: string | null, code: OAuthErrorCode): boolean =>
  typ === null ||
  typ === 'JWT' ||
  typ === (code === 'invalid_client' ? 'client-authentication+jwt' : 'authorization-grant+jwt')

/** By type and curve of a key, and by what it says it is for, what it may sign with. */
function algorithmsOf(jwk: Properties): readonly string[] {
  const { alg, use, key_ops: operations } = jwk
  if (use !== undefined && use !== 'sig') return []
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) return []
  const able = signsWith(jwk)
  return alg === undefined ? able : able.filter((one) => one === alg)
}

const signsWith = ({ kty, crv }: Properties): readonly string[] => {
  if (kty === 'RSA') return ['PS256', 'RS256', 'PS384', 'RS384', 'PS512', 'RS512']
  if (kty === 'OKP' && crv === 'Ed25519') return ['EdDSA', 'Ed25519']
  if (kty !== 'EC') return []
  return crv === 'P-256' ? ['ES256'] : crv === 'P-384' ? ['ES384'] : crv === 'P-521' ? ['ES512'] : []
}

const keys = new WeakMap<Properties, KeyObject>()

function keyOf(jwk: Properties): KeyObject {
  const known = keys.get(jwk) ?? createPublicKey({ key: jwk, format: 'jwk' })
  keys.set(jwk, known)
  return known
}

/**
 * Clients whose keys can be believed.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` for a client that is listed twice, or whose keys are not public ones.
 */
export function checkClients(clients: readonly ClientConfig[]): void {
  const bad = (id: string, why: string, cause?: unknown) =>
    new WritError('ERR_CONFIG_INVALID', `client \`${id}\` ${why}`, {
      hint: 'give `jwks` a JSON file {"keys": […]} with public EC, RSA or Ed25519 keys',
      ...(cause === undefined ? {} : { cause }),
    })
  const ids = new Set<string>()
  for (const { id, keys: jwks } of clients) {
    if (ids.has(id)) throw bad(id, 'is listed twice')
    ids.add(id)
    if (jwks.length === 0) throw bad(id, 'has no keys')
    for (const jwk of jwks) {
      if (Object.hasOwn(jwk, 'd') || Object.hasOwn(jwk, 'k')) throw bad(id, 'has a private or shared key')
      if (algorithmsOf(jwk).length === 0) throw bad(id, 'has a key of a kind that signs nothing here')
      try {
        keyOf(jwk)
      } catch (cause) {
        throw bad(id, 'has a key that cannot be read', cause)
      }
    }
  }
}

/** An assertion as it says it is; nothing of it is believed. @throws {WritError} with `code`. */
export function readAssertion(token: string, code: OAuthErrorCode): UnverifiedToken {
  try {
    return readToken(token)
  } catch (error) {
    if (error instanceof Refused) throw refuse(code, error.refusal.sentence)
    throw error
  }
}

/** What is said alike of a client that is not registered and of an assertion that none of its keys made. */
export const notProved = (code: OAuthErrorCode, detail: string): WritError =>
  refuse(code, 'the assertion is of no client or issuer that is known here, or not signed by it', detail)

/**
 * Verifies that `client` made `assertion` for one of `audiences`, for now. It is not spent yet: whoever acts on it spends
 * `spends` in the commit of the act.
 *
 * @throws {WritError} with `code`.
 */
export async function verifyAssertion(
  client: Client,
  assertion: string,
  {
    audiences,
    now,
    code,
    read,
  }: Readonly<{
    audiences: readonly string[]
    now: Instant
    code: OAuthErrorCode
    /** The same assertion, if it has been read. */
    read?: UnverifiedToken
  }>,
): Promise<Readonly<{ endsAt: Instant; spends: SpentProof }>> {
  const wrong = (why: string) => refuse(code, `the assertion ${why}`, `client \`${client.id}\``)
  // whoever has not shown a key of the client is not told that there is such a client
  const unproved = (why: string) => notProved(code, `client \`${client.id}\`: the assertion ${why}`)
  const { claims, alg, kid, typ } = read ?? readAssertion(assertion, code)
  if (!isOfType(typ, code)) throw unproved('is of another type (typ)')
  const fitting = client.keys.filter(
    (jwk) =>
      algorithmsOf(jwk).includes(alg) &&
      (kid === undefined || jwk['kid'] === undefined || jwk['kid'] === kid),
  )
  const [key, ...more] = fitting
  if (key === undefined || more.length > 0) throw unproved('names no key (kid) of the client')
  if (!(await isSignedBy(assertion, keyOf(key), alg))) throw unproved('is not signed by the client')
  const { iss, sub, aud, exp, nbf, iat, jti } = claims
  if (iss !== client.id || sub !== client.id) throw wrong('is not by and about the client (iss and sub)')
  // one audience, spelled exactly: one that others accept too could be used by any of them
  const [audience, ...others] = Array.isArray(aud) ? (aud as readonly Json[]) : [aud]
  if (typeof audience !== 'string' || others.length > 0 || !audiences.includes(audience)) {
    throw wrong('is not for this server alone (aud)')
  }
  if (claims['events'] !== undefined) throw wrong('tells of an event')
  if (typeof exp !== 'number' || exp * SECOND <= now - SKEW) throw wrong('has ended (exp)')
  if (exp * SECOND > now + ASSERTION_MOST + SKEW) throw wrong('is good for longer than 10 minutes (exp)')
  for (const at of [iat, nbf]) {
    if (at !== undefined && !(typeof at === 'number' && at * SECOND <= now + SKEW))
      throw wrong('is from the future')
  }
  if (typeof jti !== 'string' || jti === '' || jti.length > JTI_MOST) throw wrong('has no jti')
  const endsAt = exp * SECOND
  return { endsAt, spends: spentProof('assertion', client.id, jti, endsAt + 2 * SKEW) }
}

/** Whether it is the server of the resource. */
export const serves = (client: Pick<Client, 'serves'>, key: string): boolean =>
  client.serves.some((ref) => refKey(ref) === key)
