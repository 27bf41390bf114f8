/**
 * Who is calling: API keys, people's sessions, and bearer JWTs of issuers whose keys are configured. Nothing is cached:
 * a key, session or subject that ended a moment ago is refused now (law 2).
 *
 * @module
 */
import type { JWTPayload, JWTVerifyGetKey } from 'jose'
import { createLocalJWKSet, decodeJwt, errors as joseErrors, jwtVerify } from 'jose'
import type { ApiKey, Caller, PepTrust, Session } from '../model/access.ts'
import type { Json } from '../model/canonical.ts'
import type { Entity, EntityRef } from '../model/entity.ts'
import { refKey } from '../model/entity.ts'
import { WritError, isWritError } from '../model/errors.ts'
import { isIdentity } from '../model/name.ts'
import type { Instant, Millis } from '../model/time.ts'
import { HOUR, MINUTE } from '../model/time.ts'
import type { Store } from '../store/port.ts'
import { KEY_PREFIX, SESSION_PREFIX, secretDigest } from './secrets.ts'

/** An issuer of bearer JWTs with its static keys. */
export type TrustedIssuer = Readonly<{
  issuer: string
  audience: string
  jwks: Readonly<{ keys: readonly Readonly<Record<string, Json>>[] }>
  /** What its tokens may be signed with; the token has no say in it (B1). */
  algorithms: readonly string[]
  /** The `typ` header its tokens must have; `JWT` if left out. */
  typ?: string
  /** Entity type of its subjects, and the claim that holds their id. */
  subjectType: string
  subjectClaim: string
  pep?: PepTrust
}>

/** Longest `Authorization` value that is looked at, in characters. */
export const CREDENTIAL_MOST = 8 * 1024
/** A session ends when it was not used for this long; its absolute end is fixed when it begins. */
export const SESSION_IDLE: Millis = 8 * HOUR
/** A session begins with this much to live at most. */
export const SESSION_LIFE: Millis = 24 * HOUR
/** Use of a session is written down at most this often. */
const SESSION_STEP: Millis = 5 * MINUTE
/** Clocks of issuers may differ from ours by this much. */
const SKEW_SECONDS = 30

const asymmetric: ReadonlySet<string> = new Set([
  'ES256',
  'ES384',
  'ES512',
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'EdDSA',
  'Ed25519',
])

/** What a request brought along: its `Authorization` header, or its session cookie. */
export type Credentials = Readonly<{ authorization?: string | undefined; session?: string | undefined }>

export interface Callers {
  /**
   * The caller that `credentials` prove. The header wins over the cookie, also when it is wrong.
   *
   * @throws {WritError} `ERR_UNAUTHENTICATED`: missing, unknown, ended and wrong credentials look alike.
   */
  authenticate(credentials: Credentials): Promise<Caller>
}

type Options = Readonly<{
  store: Pick<Store, 'read' | 'commit'>
  issuers?: readonly TrustedIssuer[]
  /** True in `writ dev`: callers of local sessions are marked. */
  dev?: boolean
}>

function refused(detail: string): WritError {
  return new WritError('ERR_UNAUTHENTICATED', 'credentials are missing, unknown or no longer valid', {
    hint: 'send `Authorization: Bearer …` with an API key, a session or a token of a configured issuer',
    detail,
  })
}

/**
 * @throws {WritError} `ERR_CONFIG_INVALID` for an issuer that is listed twice or accepts shared-key algorithms.
 */
export function createCallers({ store, issuers = [], dev = false }: Options): Callers {
  const trusted = new Map<string, { issuer: TrustedIssuer; keys: JWTVerifyGetKey }>()
  for (const issuer of issuers) {
    const wrong = issuer.algorithms.find((algorithm) => !asymmetric.has(algorithm))
    if (wrong !== undefined || issuer.algorithms.length === 0) {
      throw new WritError(
        'ERR_CONFIG_INVALID',
        `issuer \`${issuer.issuer}\` accepts \`${wrong ?? 'no algorithm'}\``,
        {
          hint: 'list public-key algorithms such as ES256',
        },
      )
    }
    if (trusted.has(issuer.issuer)) {
      throw new WritError('ERR_CONFIG_INVALID', `issuer \`${issuer.issuer}\` is listed twice`)
    }
    const keys = createLocalJWKSet({ keys: issuer.jwks.keys.map((key) => ({ ...key }) as { kty: string }) })
    trusted.set(issuer.issuer, { issuer, keys })
  }

  /** The subject's line in the inventory, if it has one; a deleted subject is nobody. */
  async function subject(ref: EntityRef): Promise<{ now: Instant; entity: Entity | undefined }> {
    const id = refKey(ref)
    const view = await store.read([{ kind: 'entity', id }])
    const entity = view.get('entity', id)?.value
    if (entity?.deletedAt !== undefined) throw refused(`subject \`${id}\` was deleted`)
    if (entity?.endsAt !== undefined && view.now >= entity.endsAt)
      throw refused(`subject \`${id}\` has ended`)
    return { now: view.now, entity }
  }

  async function byKey(secret: string): Promise<Caller> {
    const digest = secretDigest(secret)
    const view = await store.read([{ index: 'key.hash', value: digest }])
    const stored = view.scan('key.hash', digest)[0]
    if (stored === undefined) throw refused('unknown API key')
    const key: ApiKey = stored.value
    if (key.revokedAt !== undefined) throw refused(`key \`${key.id}\` is revoked`)
    if (key.endsAt !== undefined && view.now >= key.endsAt) throw refused(`key \`${key.id}\` has ended`)
    const { entity } = await subject(key.subject)
    if ((entity?.generation ?? key.generation) !== key.generation) {
      throw refused(`key \`${key.id}\` belongs to an earlier \`${refKey(key.subject)}\``)
    }
    return {
      id: `key:${stored.id}`,
      kind: 'key',
      subject: key.subject,
      generation: key.generation,
      ...(key.pep === undefined ? {} : { pep: key.pep }),
    }
  }

  async function bySession(token: string): Promise<Caller> {
    const id = secretDigest(token)
    const view = await store.read([{ kind: 'session', id }])
    const session = view.get('session', id)?.value
    if (session === undefined) throw refused('unknown session')
    if (!isLive(session, view.now)) throw refused(`session of \`${refKey(session.person)}\` is over`)
    const { entity, now } = await subject(session.person)
    if (entity?.generation !== session.generation) {
      throw refused(`session belongs to an earlier \`${refKey(session.person)}\``)
    }
    if (entity.locked !== undefined && (entity.locked.until === undefined || now < entity.locked.until)) {
      throw refused(`\`${refKey(session.person)}\` is locked`)
    }
    await keepAlive(id, session, view.now)
    return {
      id: `session:${id}`,
      kind: 'session',
      subject: session.person,
      generation: session.generation,
      ...(dev ? { dev } : {}),
    }
  }

  /** Use moves the idle end on, never past the absolute one. */
  async function keepAlive(id: string, session: Session, now: Instant): Promise<void> {
    if (Math.min(now + SESSION_IDLE, session.endsAt) - session.idleUntil < SESSION_STEP) return
    try {
      await store.commit({
        reads: [{ kind: 'session', id }],
        run(tx) {
          const current = tx.get('session', id)?.value
          if (current === undefined || !isLive(current, tx.now)) return
          tx.put('session', id, { ...current, idleUntil: Math.min(tx.now + SESSION_IDLE, current.endsAt) })
        },
      })
    } catch (error) {
      // a full store must not keep a person from denying or revoking; the session just does not last longer
      if (!isWritError(error, 'ERR_STORE_FULL', 'ERR_CLOCK_INVALID')) throw error
    }
  }

  async function byToken(token: string): Promise<Caller> {
    let claimed: JWTPayload
    try {
      claimed = decodeJwt(token)
    } catch (error) {
      if (!(error instanceof joseErrors.JOSEError)) throw error
      throw refused('bearer credential of no known form')
    }
    const found = typeof claimed.iss === 'string' ? trusted.get(claimed.iss) : undefined
    if (found === undefined) throw refused('token of an issuer that is not configured')
    const { issuer, keys } = found
    const { now } = await store.read([])
    let payload: JWTPayload
    try {
      const verified = await jwtVerify(token, keys, {
        algorithms: [...issuer.algorithms],
        issuer: issuer.issuer,
        audience: issuer.audience,
        typ: issuer.typ ?? 'JWT',
        clockTolerance: SKEW_SECONDS,
        currentDate: new Date(now),
        requiredClaims: ['exp'],
      })
      payload = verified.payload
    } catch (error) {
      if (!(error instanceof joseErrors.JOSEError)) throw error
      throw refused(`token of \`${issuer.issuer}\`: ${error.code}`)
    }
    // logout tokens and security events are signed by the same keys and authenticate nobody (B4)
    if (payload['events'] !== undefined) throw refused('token is an event')
    // a token for us and others could be replayed here by any of them
    if (Array.isArray(payload.aud) && payload.aud.length !== 1) throw refused('token has several audiences')
    const id = payload[issuer.subjectClaim]
    if (typeof id !== 'string' || id === '' || id.length > 256 || !isIdentity(id)) {
      throw refused(`token of \`${issuer.issuer}\` has no usable \`${issuer.subjectClaim}\``)
    }
    const ref = { type: issuer.subjectType, id }
    const { entity } = await subject(ref)
    return {
      // a URL has no space, so that no issuer and subject together read like another two
      id: `issuer:${issuer.issuer} ${id}`,
      kind: 'issuer',
      subject: ref,
      generation: entity?.generation ?? 0,
      ...(issuer.pep === undefined ? {} : { pep: issuer.pep }),
    }
  }

  return {
    async authenticate({ authorization, session }) {
      if (authorization === undefined) {
        if (session === undefined) throw refused('no credentials')
        if (!isSecret(session, SESSION_PREFIX)) throw refused('session cookie of no known form')
        return bySession(session)
      }
      if (authorization.length > CREDENTIAL_MOST) throw refused('credential too long')
      const bearer = /^Bearer +([A-Za-z0-9._~+/-]+=*)$/i.exec(authorization)?.[1]
      if (bearer === undefined) throw refused('not a bearer credential')
      if (isSecret(bearer, KEY_PREFIX)) return byKey(bearer)
      if (isSecret(bearer, SESSION_PREFIX)) return bySession(bearer)
      return byToken(bearer)
    },
  }
}

function isSecret(text: string, prefix: string): boolean {
  return text.startsWith(prefix) && text.length <= 128
}

/** Whether the session may still be used; the instant of its end is already too late. */
function isLive(session: Session, now: Instant): boolean {
  return session.endedAt === undefined && now < session.idleUntil && now < session.endsAt
}
