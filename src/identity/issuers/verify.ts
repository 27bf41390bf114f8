/**
 * What a token of a configured issuer proves. The algorithm, the keys, the type and the audience are configuration,
 * never the token's own word (B1, B2, B4); whatever is not exactly right proves nothing.
 *
 * @module
 */
import type { Properties } from '../../model/entity.ts'
import type { Proved } from '../../model/identity.ts'
import type { Issuer } from '../../model/issuer.ts'
import { checkIssuers } from '../../model/issuer.ts'
import type { Instant } from '../../model/time.ts'
import type { Clock } from '../../store/clock.ts'
import { wasSignedBy } from '../jws.ts'
import { accountUid, checkClaims, provedBy, spiffeId } from './claims.ts'
import type { Fetcher } from './fetcher.ts'
import type { KeySource } from './keys.ts'
import { createKeySource } from './keys.ts'
import type { Refusal } from './refusal.ts'
import { Refused } from './refusal.ts'
import { reviewToken } from './review.ts'
import type { UnverifiedToken } from './token.ts'
import { readToken } from './token.ts'

export type Verdict =
  | Readonly<{ proved: Proved; refused?: undefined }>
  | Readonly<{ refused: Refusal; proved?: undefined }>

export interface Verifier {
  readonly issuers: readonly Issuer[]
  /** What `token` proves at `now`, or why nothing. `read` is the same token, if it has been read. */
  verify(token: string, now: Instant, read?: UnverifiedToken): Promise<Verdict>
  /** For the operator: each issuer with what is known of its keys. */
  state(): readonly Readonly<{ name: string; keys: number; readAt?: Instant; failed?: string }>[]
}

type Options = Readonly<{
  issuers: readonly Issuer[]
  fetch: Fetcher
  /** The text of a file: trust bundles, and the token for reviews. */
  readText: (path: string) => Promise<string>
  clock: Clock
}>

/**
 * @throws {WritError} `ERR_CONFIG_INVALID` for issuers that must not be trusted as they are configured.
 */
export function createVerifier({ issuers, fetch, readText, clock }: Options): Verifier {
  checkIssuers(issuers)
  const byUrl = new Map(issuers.filter(({ kind }) => kind !== 'spiffe').map((one) => [one.issuer, one]))
  const byDomain = new Map(issuers.filter(({ kind }) => kind === 'spiffe').map((one) => [one.issuer, one]))
  const keys = new Map<string, KeySource>(
    issuers.map((issuer) => [issuer.name, createKeySource({ issuer, fetch, readText, clock })]),
  )

  /** JWT-SVIDs need no `iss`: theirs is the trust domain of `sub`. */
  function issuerOf(claims: Properties): Issuer | undefined {
    const { iss, sub } = claims
    const named = typeof iss === 'string' ? byUrl.get(iss) : undefined
    if (named !== undefined) return named
    if (iss !== undefined && typeof iss !== 'string') return undefined
    const id = spiffeId(sub)
    return id === undefined ? undefined : byDomain.get(id.domain)
  }

  async function prove(
    token: string,
    now: Instant,
    read: UnverifiedToken | undefined,
    note: (issuer: Issuer) => void,
  ): Promise<Proved> {
    const { claims, alg, kid, typ } = read ?? readToken(token)
    const issuer = issuerOf(claims)
    if (issuer === undefined) throw new Refused('issuer')
    note(issuer)
    if (!issuer.algorithms.includes(alg)) throw new Refused('algorithm')
    if (!issuer.types.includes(typ)) throw new Refused('type')
    const audience = checkClaims(claims, issuer, now)
    const source = keys.get(issuer.name) as KeySource
    const found = await source.find(alg, kid)
    if (found.problem !== undefined) {
      throw new Refused(found.problem === 'unavailable' ? 'keys' : 'key', found.reason ?? found.problem)
    }
    if (!(await wasSignedBy(token, found.key, alg))) {
      const other = kid === undefined ? await source.instead(alg, found.key) : undefined
      if (other === undefined || !(await wasSignedBy(token, other, alg))) throw new Refused('signature')
    }
    const proved = provedBy(claims, issuer, now)
    const review = { token, audience, subject: claims['sub'] as string, uid: accountUid(claims) }
    await reviewToken(review, issuer, fetch, readText)
    return proved
  }

  return {
    issuers,
    async verify(token, now, read) {
      let issuer: Issuer | undefined
      try {
        return { proved: await prove(token, now, read, (found) => (issuer = found)) }
      } catch (error) {
        if (!(error instanceof Refused)) throw error
        return { refused: { ...error.refusal, ...(issuer === undefined ? {} : { issuer: issuer.name }) } }
      }
    },
    state: () => issuers.map(({ name }) => ({ name, ...(keys.get(name) as KeySource).state() })),
  }
}
