/**
 * From verified claims to who asks: each kind's claims checked against each other, then the trust rules in order (B5, B7).
 *
 * @module
 */
import type { Json } from '../../model/canonical.ts'
import type { EntityRef, Properties } from '../../model/entity.ts'
import { refKey } from '../../model/entity.ts'
import type { AccountRef, Proved } from '../../model/identity.ts'
import type { Issuer, SubjectMapping } from '../../model/issuer.ts'
import { ISSUER_CLAIM, workloadClaim } from '../../model/issuer.ts'
import { isIdentity } from '../../model/name.ts'
import type { Instant, Millis } from '../../model/time.ts'
import { MINUTE, SECOND } from '../../model/time.ts'
import { Refused } from './refusal.ts'

/** Clocks of issuers may differ from ours by this much. */
export const SKEW: Millis = MINUTE
/** Most actors of one token. */
export const ACTORS_MOST = 4
/** 9999-12-31: what comes later was never meant. */
const LATEST = 253_402_300_799

/**
 * What is checked before a key is looked for: for whom, when, and whether it is a proof at all.
 *
 * @throws {Refused}
 */
export function checkClaims(claims: Properties, issuer: Issuer, now: Instant): string {
  if (!Number.isFinite(now)) throw new Refused('expired', 'the clock cannot be read')
  // logout tokens and security events are signed by the same keys and authenticate nobody (B4)
  if (Object.hasOwn(claims, 'events')) throw new Refused('event')
  const audience = audienceOf(claims['aud'])
  if (audience === undefined || !issuer.audiences.includes(audience)) throw new Refused('audience')
  const exp = timeOf(claims, 'exp')
  const nbf = timeOf(claims, 'nbf')
  const iat = timeOf(claims, 'iat')
  if (exp === undefined) throw new Refused('claims', 'no `exp`')
  if (now >= exp + SKEW) throw new Refused('expired')
  if (nbf !== undefined && nbf > now + SKEW) throw new Refused('early')
  if (iat !== undefined && iat > now + SKEW) throw new Refused('early')
  const { sub, jti } = claims
  if (typeof sub !== 'string' || !isName(sub, 2_048)) throw new Refused('claims', 'no usable `sub`')
  if (jti !== undefined && !(typeof jti === 'string' && isName(jti, 512))) {
    throw new Refused('claims', 'no usable `jti`')
  }
  return audience
}

/** The one audience; a token for others too could be replayed here by any of them. */
function audienceOf(aud: Json | undefined): string | undefined {
  const [only, ...more] = Array.isArray(aud) ? (aud as readonly Json[]) : [aud]
  return typeof only === 'string' && more.length === 0 ? only : undefined
}

function timeOf(claims: Properties, name: 'exp' | 'nbf' | 'iat' | 'auth_time'): Instant | undefined {
  const value = claims[name]
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !(value >= 0 && value <= LATEST))
    throw new Refused('claims', `no usable \`${name}\``)
  return Math.floor(value * SECOND)
}

function isName(text: string, most: number): boolean {
  return text !== '' && text.length <= most && isIdentity(text)
}

/**
 * Who a token whose signature is right says that asks.
 *
 * @throws {Refused}
 */
export function provedBy(claims: Properties, issuer: Issuer, now: Instant): Proved {
  const facts = factsOf(claims, issuer)
  const { subject, behind } = chainOf(claims, facts, issuer)
  const instigator = instigatorOf(facts, issuer)
  const auth = authOf(claims, now)
  const confirmed = confirmedBy(claims['cnf'])
  const { jti } = claims
  const issuedAt = timeOf(claims, 'iat')
  return {
    issuer: issuer.name,
    subject,
    behind,
    ...(instigator === undefined ? {} : { instigator }),
    workload: workloadOf(facts, issuer),
    ...(auth === undefined ? {} : { auth }),
    endsAt: timeOf(claims, 'exp') as Instant,
    ...(issuedAt === undefined ? {} : { issuedAt }),
    ...(typeof jti === 'string' ? { jti } : {}),
    ...(confirmed === undefined ? {} : { confirmed }),
    claims,
  }
}

// kinds

/** The claims, and what this kind says in another form. */
function factsOf(claims: Properties, issuer: Issuer): Properties {
  switch (issuer.kind) {
    case 'github':
      return githubFacts(claims)
    case 'gitlab':
      checkNumbers(claims, ['project_id', 'namespace_id', 'user_id', 'pipeline_id', 'job_id'])
      return claims
    case 'kubernetes':
      return kubernetesFacts(claims)
    case 'spiffe':
      return spiffeFacts(claims, issuer)
    case 'oidc':
      return claims
  }
}

/** Ids are written one way, so that none is another's. */
function checkNumbers(claims: Properties, names: readonly string[]): void {
  for (const name of names) {
    const value = claims[name]
    if (value === undefined) continue
    if (!/^(?:0|[1-9]\d{0,19})$/u.test(textOf(value) ?? ''))
      throw new Refused('claims', `no usable \`${name}\``)
  }
}

function githubFacts(claims: Properties): Properties {
  checkNumbers(claims, ['repository_id', 'repository_owner_id', 'actor_id', 'run_id', 'run_attempt'])
  const repository = /^repo:([^:]*)(?::|$)/u.exec(claims['sub'] as string)?.[1]
  if (repository?.includes('@') !== true) return claims
  // since July 2026 names stand with their ids: `repo:org@123/repo@456:ref:refs/heads/main`
  const [, owner, repo] = /^[^/@]+@([1-9]\d*)\/[^/@]+@([1-9]\d*)$/u.exec(repository) ?? []
  if (owner === undefined || repo === undefined) throw new Refused('claims', '`sub` is of no known form')
  for (const [name, id] of [
    ['repository_owner_id', owner],
    ['repository_id', repo],
  ] as const) {
    const claimed = claims[name]
    if (claimed !== undefined && textOf(claimed) !== id)
      throw new Refused('claims', `\`sub\` and \`${name}\` differ`)
  }
  return { ...claims, repository_owner_id: owner, repository_id: repo }
}

function kubernetesFacts(claims: Properties): Properties {
  const bound = claims['kubernetes.io']
  const namespace = member(bound, 'namespace')
  const name = member(member(bound, 'serviceaccount'), 'name')
  const uid = member(member(bound, 'serviceaccount'), 'uid')
  if (!isPart(namespace) || !isPart(name) || !isPart(uid))
    throw new Refused('claims', 'no usable `kubernetes.io`')
  if (claims['sub'] !== `system:serviceaccount:${namespace}:${name}`) {
    throw new Refused('claims', '`sub` and `kubernetes.io` differ')
  }
  const optional = {
    pod: member(member(bound, 'pod'), 'name'),
    pod_uid: member(member(bound, 'pod'), 'uid'),
    node: member(member(bound, 'node'), 'name'),
  }
  const facts: Record<string, Json> = {}
  for (const [fact, value] of Object.entries(optional)) {
    if (value === undefined) continue
    if (!isPart(value)) throw new Refused('claims', 'no usable `kubernetes.io`')
    facts[fact] = value
  }
  // claims of the same names would be somebody else's words
  const { pod: _pod, pod_uid: _uid, node: _node, ...rest } = claims
  return { ...rest, ...facts, namespace, service_account: name, service_account_uid: uid }
}

/** The uid of the service account that a verified token of Kubernetes is of. */
export function accountUid(claims: Properties): Json | undefined {
  return member(member(claims['kubernetes.io'], 'serviceaccount'), 'uid')
}

function isPart(value: Json | undefined): value is string {
  return typeof value === 'string' && /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/u.test(value)
}

function spiffeFacts(claims: Properties, issuer: Issuer): Properties {
  const found = spiffeId(claims['sub'])
  if (found === undefined || found.domain !== issuer.issuer)
    throw new Refused('issuer', '`sub` is of another trust domain')
  return { ...claims, trust_domain: found.domain, path: found.path }
}

/** The parts of a workload's SPIFFE ID: the trust domain, and the path without its first slash. */
export function spiffeId(text: unknown): Readonly<{ domain: string; path: string }> | undefined {
  if (typeof text !== 'string' || text.length > 2_048) return undefined
  const [, domain, path] =
    /^spiffe:\/\/([a-z0-9._-]{1,255})\/([A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+)*)$/u.exec(text) ?? []
  if (domain === undefined || path === undefined) return undefined
  return path.split('/').some((segment) => segment === '.' || segment === '..') ? undefined : { domain, path }
}

// subjects

/** `act` turned inside out: the actor asks, before whom others acted, for `sub` (RFC 8693 4.1). */
function chainOf(
  claims: Properties,
  facts: Properties,
  issuer: Issuer,
): Readonly<{ subject: EntityRef; behind: readonly EntityRef[] }> {
  const origin = subjectOf(facts, issuer)
  if (origin === undefined) throw new Refused('subject')
  const chain: EntityRef[] = []
  for (let act = claims['act']; act !== undefined; act = member(act, 'act')) {
    if (issuer.kind !== 'oidc') throw new Refused('act', `\`act\` in a token of ${issuer.kind}`)
    if (chain.length >= ACTORS_MOST) throw new Refused('act', `more than ${ACTORS_MOST} actors`)
    if (typeof act !== 'object' || act === null || Array.isArray(act))
      throw new Refused('act', 'not an object')
    const actor = act as Properties
    if (typeof actor['sub'] !== 'string' || !isName(actor['sub'], 2_048))
      throw new Refused('act', 'no usable `sub`')
    // what another issuer says about its subjects is that issuer's to prove
    if (actor['iss'] !== undefined && actor['iss'] !== issuer.issuer)
      throw new Refused('act', 'of another issuer')
    const ref = subjectOf(actor, issuer)
    if (ref === undefined) throw new Refused('act', 'no trust rule knows it')
    chain.push(ref)
  }
  chain.push(origin)
  if (new Set(chain.map(refKey)).size < chain.length) throw new Refused('act', 'somebody acts for themselves')
  const [subject, ...behind] = chain
  return { subject: subject as EntityRef, behind }
}

/** The subject of the first rule that fits; `undefined` if none does. */
function subjectOf(facts: Properties, issuer: Issuer): EntityRef | undefined {
  const rule = issuer.rules.find(({ when }) =>
    Object.entries(when).every(([claim, values]) => {
      const value = claimText(facts, claim)
      return value !== undefined && values.includes(value)
    }),
  )
  if (rule === undefined) return undefined
  return 'id' in rule.subject ? rule.subject : mapped(facts, rule.subject, issuer)
}

function mapped(facts: Properties, { type, claims }: SubjectMapping, issuer: Issuer): EntityRef | undefined {
  const values: string[] = []
  for (const claim of claims) {
    const value = claim === ISSUER_CLAIM ? issuer.name : claimText(facts, claim)
    if (value === undefined || !isName(value, 2_048)) return undefined
    values.push(value)
  }
  const id =
    values.length === 1
      ? (values[0] as string)
      : values.map((value) => value.replaceAll(/[%:]/gu, encodeURIComponent)).join(':')
  // a star is a pattern to somebody somewhere
  return isName(id, 256) && !id.includes('*') ? { type, id } : undefined
}

/** The claim as rules compare it: text, whole numbers and booleans. Lists and objects equal nothing. */
function claimText(facts: Properties, name: string): string | undefined {
  // a name is one or the other: a claim that is called like a path is not what stands there
  if (!name.startsWith('/')) return Object.hasOwn(facts, name) ? textOf(facts[name]) : undefined
  return textOf(claimValue(facts, name))
}

/** What stands at a claim, or at a JSON pointer into one. */
function claimValue(facts: Properties, name: string): Json | undefined {
  if (!name.startsWith('/')) return Object.hasOwn(facts, name) ? facts[name] : undefined
  let value: Json | undefined = facts
  for (const step of name.slice(1).split('/')) {
    value = member(value, step.replaceAll('~1', '/').replaceAll('~0', '~'))
  }
  return value
}

function textOf(value: Json | undefined): string | undefined {
  if (typeof value === 'string') return value
  if (typeof value === 'boolean' || (typeof value === 'number' && Number.isSafeInteger(value)))
    return String(value)
  return undefined
}

function member(value: Json | undefined, name: string): Json | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return Object.hasOwn(value, name) ? (value as Properties)[name] : undefined
}

// what else was proved

/** An instigator that is promised and missing would leave an approval open to its own requester (law 4). */
function instigatorOf(facts: Properties, issuer: Issuer): AccountRef | undefined {
  if (issuer.instigator === undefined) return undefined
  const id = claimText(facts, issuer.instigator)
  if (id === undefined || !isName(id, 256)) throw new Refused('instigator')
  // GitHub names whoever began a run, also to those who run it again, and these not at all: they could approve themselves
  if (issuer.kind === 'github' && issuer.instigator === 'actor_id') {
    const [run = '?', attempt = '?'] = ['run_id', 'run_attempt'].map((name) => claimText(facts, name))
    if (attempt !== '1') return { issuer: issuer.name, id: `run/${run}/${attempt}` }
  }
  return { issuer: issuer.name, id }
}

function workloadOf(facts: Properties, issuer: Issuer): Properties {
  const found: Record<string, Json> = {}
  for (const listed of issuer.workload) {
    const { name, claim } = workloadClaim(listed)
    const value = claimValue(facts, claim)
    if (value !== undefined && value !== null) found[name] = value
  }
  return { ...found, issuer: issuer.name }
}

function authOf(claims: Properties, now: Instant): Proved['auth'] {
  const { acr, amr } = claims
  const at = timeOf(claims, 'auth_time')
  // who signs in tomorrow has not signed in
  if (at !== undefined && at > now + SKEW) throw new Refused('early')
  if (acr !== undefined && typeof acr !== 'string') throw new Refused('claims', 'no usable `acr`')
  const methods = amr === undefined ? undefined : (amr as readonly Json[])
  if (methods !== undefined && !(Array.isArray(amr) && methods.every((one) => typeof one === 'string'))) {
    throw new Refused('claims', 'no usable `amr`')
  }
  if (at === undefined && acr === undefined && methods === undefined) return undefined
  return {
    ...(at === undefined ? {} : { at }),
    ...(acr === undefined ? {} : { acr }),
    ...(methods === undefined ? {} : { amr: methods }),
  }
}

/** A binding that is not understood must not be dropped: the token would be anybody's who finds it. */
function confirmedBy(cnf: Json | undefined): string | undefined {
  if (cnf === undefined) return undefined
  const jkt = member(cnf, 'jkt')
  const isAlone = typeof cnf === 'object' && cnf !== null && Object.keys(cnf).length === 1
  if (!isAlone || typeof jkt !== 'string' || !/^[A-Za-z0-9_-]{43}$/u.test(jkt))
    throw new Refused('confirmation')
  return jkt
}
