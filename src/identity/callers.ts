/**
 * Who is calling: API keys, people's sessions, and tokens of configured issuers. Nothing is cached: a key,
 * session or subject that ended a moment ago is refused now (law 2).
 *
 * @module
 */
import type { ApiKey, Caller, Session } from '../model/access.ts'
import type { Entity, EntityRef } from '../model/entity.ts'
import { refKey } from '../model/entity.ts'
import { WritError, isWritError } from '../model/errors.ts'
import type { Proved } from '../model/identity.ts'
import type { Instant, Millis } from '../model/time.ts'
import { HOUR, MINUTE } from '../model/time.ts'
import type { Store } from '../store/port.ts'
import { isOfEarlier } from './inventory.ts'
import { TOKEN_MOST } from './issuers/token.ts'
import type { Verifier } from './issuers/verify.ts'
import { KEY_PREFIX, SESSION_PREFIX, secretDigest } from './secrets.ts'

/** Longest `Authorization` value that is looked at, in characters. */
export const CREDENTIAL_MOST = TOKEN_MOST + 16
/** A session ends when it was not used for this long; its absolute end is fixed when it begins. */
export const SESSION_IDLE: Millis = 8 * HOUR
/** A session begins with this much to live at most. */
export const SESSION_LIFE: Millis = 24 * HOUR
/** Use of a session is written down at most this often. */
const SESSION_STEP: Millis = 5 * MINUTE
/** What a request brought along: its `Authorization` header, or its session cookie. */
export type Credentials = Readonly<{
  authorization?: string | undefined
  session?: string | undefined
  /** Thumbprint of the key that a verified DPoP proof for this request and token was made with (RFC 9449). */
  confirmed?: string | undefined
}>

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
  /** Tokens of issuers; none are known without it. */
  verifier?: Pick<Verifier, 'issuers' | 'verify'>
  /** Access tokens of ours, for ourselves: `undefined` for what is none. */
  ownTokens?: (
    token: string,
    confirmed: string | undefined,
  ) => Promise<Readonly<{ caller: Caller }> | Readonly<{ refused: string }> | undefined>
  /** Access tokens of programs that a person has let in. */
  programs?: Readonly<{ caller(token: string): Promise<Caller | undefined> }>
  /** True in `writ dev`: callers of local sessions are marked. */
  dev?: boolean
}>

function refused(detail: string): WritError {
  return new WritError('ERR_UNAUTHENTICATED', 'credentials are missing, unknown or no longer valid', {
    hint: 'send `Authorization: Bearer …` with an API key, a session or a token of a configured issuer',
    detail,
  })
}

/** The refusal of a key or session that we have given out: known, and worth nothing any more. */
export class EndedCredentialError extends WritError {
  readonly credential: Readonly<{ kind: 'key' | 'session'; id: string; subject: EntityRef; why: string }>

  constructor(credential: EndedCredentialError['credential']) {
    const { code, message, hint = '' } = refused(credential.why)
    super(code, message, { hint, detail: credential.why })
    this.credential = credential
  }
}

export function createCallers({ store, verifier, ownTokens, programs, dev = false }: Options): Callers {
  /** The subject's line in the inventory, if it has one; a deleted subject is nobody. */
  async function subject(
    ref: EntityRef,
    ended: (why: string) => WritError = refused,
  ): Promise<{ now: Instant; entity: Entity | undefined }> {
    const id = refKey(ref)
    const view = await store.read([{ kind: 'entity', id }])
    const entity = view.get('entity', id)?.value
    if (entity?.deletedAt !== undefined) throw ended(`subject \`${id}\` was deleted`)
    if (entity?.endsAt !== undefined && view.now >= entity.endsAt) throw ended(`subject \`${id}\` has ended`)
    return { now: view.now, entity }
  }

  async function byKey(secret: string): Promise<Caller> {
    const digest = secretDigest(secret)
    const view = await store.read([{ index: 'key.hash', value: digest }])
    const stored = view.scan('key.hash', digest)[0]
    if (stored === undefined) throw refused('unknown API key')
    const key: ApiKey = stored.value
    const ended = (why: string): WritError =>
      new EndedCredentialError({ kind: 'key', id: key.id, subject: key.subject, why })
    if (key.revokedAt !== undefined) throw ended(`key \`${key.id}\` is revoked`)
    if (key.endsAt !== undefined && view.now >= key.endsAt) throw ended(`key \`${key.id}\` has ended`)
    const { entity } = await subject(key.subject, ended)
    if ((entity?.generation ?? key.generation) !== key.generation) {
      throw ended(`key \`${key.id}\` belongs to an earlier \`${refKey(key.subject)}\``)
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
    const ended = (why: string): WritError =>
      new EndedCredentialError({ kind: 'session', id, subject: session.person, why })
    if (!isLive(session, view.now)) throw ended(`session of \`${refKey(session.person)}\` is over`)
    const { entity, now } = await subject(session.person, ended)
    if (entity?.generation !== session.generation) {
      throw ended(`session belongs to an earlier \`${refKey(session.person)}\``)
    }
    if (entity.locked !== undefined && (entity.locked.until === undefined || now < entity.locked.until)) {
      throw ended(`\`${refKey(session.person)}\` is locked`)
    }
    await keepAlive(id, session, view.now)
    return {
      id: `session:${id}`,
      kind: 'session',
      subject: session.person,
      generation: session.generation,
      ...(session.auth === undefined ? {} : { auth: session.auth }),
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

  async function byToken(token: string, isBound: boolean, confirmed: string | undefined): Promise<Caller> {
    const own = await ownTokens?.(token, isBound ? confirmed : undefined)
    if (own !== undefined) {
      if ('refused' in own) throw refused(own.refused)
      // RFC 9449 7.1: what is not bound is no DPoP token
      if (isBound && own.caller.confirmed === undefined) throw refused('token is bound to no key')
      return own.caller
    }
    if (verifier === undefined) throw refused('bearer credential of no known form')
    const { proved, refused: refusal } = await verifier.verify(token, (await store.read([])).now)
    if (refusal !== undefined) {
      const { code, detail, issuer } = refusal
      throw refused(
        `token${issuer === undefined ? '' : ` of \`${issuer}\``}: ${code}${detail === undefined ? '' : ` (${detail})`}`,
      )
    }
    // RFC 9449 7.1: a bound token is worth nothing to who cannot prove its key, however it is sent
    if (isBound !== (proved.confirmed !== undefined) || proved.confirmed !== confirmed) {
      throw refused('token and proof of possession do not belong together')
    }
    const { entity } = await subject(proved.subject)
    const delegators = await Promise.all(proved.behind.map(async (one) => (await subject(one)).entity))
    if ([entity, ...delegators].some((one) => isOfEarlier(one, proved.issuedAt)))
      throw refused(`token is older than somebody in its chain, who was made again`)
    const pep = verifier.issuers.find(({ name }) => name === proved.issuer)?.pep
    return {
      id: issuerCaller(proved),
      kind: 'issuer',
      subject: proved.subject,
      generation: entity?.generation ?? 0,
      ...(pep === undefined ? {} : { pep }),
      ...(proved.behind.length === 0 ? {} : { chain: proved.behind }),
      ...(proved.instigator === undefined ? {} : { instigators: [proved.instigator] }),
      workload: proved.workload,
      ...(proved.issuedAt === undefined ? {} : { provedAt: proved.issuedAt }),
      ...(proved.confirmed === undefined ? {} : { confirmed: proved.confirmed }),
    }
  }

  return {
    async authenticate({ authorization, session, confirmed }) {
      if (authorization === undefined) {
        if (session === undefined) throw refused('no credentials')
        if (!isSecret(session, SESSION_PREFIX)) throw refused('session cookie of no known form')
        return bySession(session)
      }
      if (authorization.length > CREDENTIAL_MOST) throw refused('credential too long')
      const [, scheme, token] = /^(Bearer|DPoP) +([A-Za-z0-9._~+/-]+=*)$/i.exec(authorization) ?? []
      if (scheme === undefined || token === undefined) throw refused('not a bearer credential')
      if (scheme.toLowerCase() === 'dpop') return byToken(token, true, confirmed)
      if (isSecret(token, KEY_PREFIX)) return byKey(token)
      if (isSecret(token, SESSION_PREFIX)) return bySession(token)
      // only one that is not signed can be a program's
      const ofProgram = token.includes('.') ? undefined : await programs?.caller(token)
      return ofProgram ?? byToken(token, false, undefined)
    },
  }
}

/** Who asks, for whom, and who set it going: what one was answered under a key of its own is not told to another. */
function issuerCaller({ issuer, subject, behind, instigator }: Proved): string {
  // a reference has a slash and `by` has none, so that no two callers read alike
  const parts = [subject, ...behind].map(refKey)
  if (instigator !== undefined) parts.push('by', instigator.id)
  return `issuer:${issuer} ${parts.map((part) => part.replaceAll(/[% ]/gu, encodeURIComponent)).join(' ')}`
}

function isSecret(text: string, prefix: string): boolean {
  return text.startsWith(prefix) && text.length <= 128
}

/** Whether the session may still be used; the instant of its end is already too late. */
function isLive(session: Session, now: Instant): boolean {
  return session.endedAt === undefined && now < session.idleUntil && now < session.endsAt
}
