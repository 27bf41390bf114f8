/**
 * Issuers whose tokens prove who asks: what is trusted of each, and which subject a token is (B1, B4, B5).
 *
 * @module
 */
import type { PepTrust } from './access.ts'
import type { Json } from './canonical.ts'
import type { EntityRef } from './entity.ts'
import { WritError } from './errors.ts'
import { isIdentity, isTypeName } from './name.ts'
import type { Millis } from './time.ts'

export const issuerKinds = ['oidc', 'github', 'gitlab', 'kubernetes', 'spiffe'] as const
export type IssuerKind = (typeof issuerKinds)[number]

/** What a token may be signed with: never a key that both sides hold, never nothing. */
export const publicAlgorithms = [
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
] as const

/** A public key as JWK (RFC 7517). */
export type Jwk = Readonly<Record<string, Json>>

/** Where the keys of an issuer are. */
export type IssuerKeys =
  | Readonly<{ from: 'jwks'; keys: readonly Jwk[] }>
  | Readonly<{ from: 'uri'; uri: string }>
  /** At the `jwks_uri` of its `/.well-known/openid-configuration`. */
  | Readonly<{ from: 'discovery' }>
  /** A SPIFFE bundle: a file that is read again as it changes, or a bundle endpoint. */
  | Readonly<{ from: 'bundle'; file: string }>
  | Readonly<{ from: 'bundle'; uri: string }>

/**
 * The subject whose id is the values of `claims`: one as it is, several joined by `:` with `%` and `:` in them
 * percent-encoded, so that no two lists of values make one id. `@issuer` stands for the issuer's name.
 */
export type SubjectMapping = Readonly<{ type: string; claims: readonly string[] }>

/** A token whose claims have, for each name in `when`, one of the values exactly is this subject. */
export type TrustRule = Readonly<{
  when: Readonly<Record<string, readonly string[]>>
  subject: EntityRef | SubjectMapping
}>

/** A configured issuer. Times are in milliseconds, paths absolute. */
export type Issuer = Readonly<{
  /** Stable, for records: `ci`. */
  name: string
  kind: IssuerKind
  /** The exact `iss`; for SPIFFE the trust domain. */
  issuer: string
  /** A token is for exactly one of these. */
  audiences: readonly string[]
  algorithms: readonly string[]
  /** The `typ` its tokens may have; `null` is none. */
  types: readonly (string | null)[]
  keys: IssuerKeys
  /** Whether its keys may be fetched from an address that is not public. */
  allowPrivate: boolean
  /** PEM of further certificate authorities. */
  ca?: string
  /** How long known keys serve while the issuer cannot be reached. */
  stale: Millis
  /** Tried in order. */
  rules: readonly TrustRule[]
  /** The claim with the account that set it going. */
  instigator?: string
  /** Claims that policies may read. */
  workload: readonly string[]
  /** Kubernetes: whether the token is still valid is asked of the API server. */
  tokenReview?: Readonly<{ url: string; tokenFile: string; ca?: string }>
  pep?: PepTrust
}>

type KindDefaults = Readonly<{
  algorithms: readonly string[]
  types: readonly (string | null)[]
  instigator?: string
  /** Which claims name a subject when nothing else is said; none where that would trust too many. */
  claims?: readonly string[]
  /** Claims of which one must be bound: what they hold is never given to somebody else. */
  immutable: readonly string[]
  workload: readonly string[]
}>

export const kindDefaults: Readonly<Record<IssuerKind, KindDefaults>> = {
  oidc: {
    algorithms: ['RS256', 'ES256'],
    types: ['JWT'],
    claims: ['sub'],
    immutable: [],
    workload: [],
  },
  github: {
    algorithms: ['RS256'],
    types: ['JWT', null],
    instigator: 'actor_id',
    immutable: ['repository_id'],
    workload: [
      'repository_id',
      'repository',
      'repository_owner_id',
      'repository_owner',
      'repository_visibility',
      'ref',
      'ref_type',
      'ref_protected',
      'base_ref',
      'head_ref',
      'sha',
      'environment',
      'event_name',
      'job_workflow_ref',
      'job_workflow_sha',
      'workflow_ref',
      'run_id',
      'run_attempt',
      'runner_environment',
      'actor_id',
      'actor',
    ],
  },
  gitlab: {
    algorithms: ['RS256'],
    types: ['JWT', null],
    instigator: 'user_id',
    immutable: ['project_id'],
    workload: [
      'project_id',
      'project_path',
      'namespace_id',
      'namespace_path',
      'ref',
      'ref_type',
      'ref_path',
      'ref_protected',
      'sha',
      'environment',
      'environment_protected',
      'deployment_tier',
      'pipeline_id',
      'pipeline_source',
      'job_id',
      'ci_config_ref_uri',
      'ci_config_sha',
      'runner_environment',
      'user_id',
      'user_login',
    ],
  },
  kubernetes: {
    algorithms: ['RS256', 'ES256'],
    types: ['JWT', null],
    claims: ['namespace', 'service_account', 'service_account_uid'],
    immutable: ['service_account_uid', 'pod_uid'],
    workload: ['namespace', 'service_account', 'service_account_uid', 'pod', 'pod_uid', 'node'],
  },
  spiffe: {
    // JWT-SVID 3: no other algorithms
    algorithms: ['RS256', 'ES256', 'ES384'],
    types: ['JWT', 'JOSE', null],
    claims: ['path'],
    immutable: [],
    workload: ['trust_domain', 'path'],
  },
}

/** Claims of a workload that policies read by their own names, whatever the kind of issuer. */
export const claimNames: readonly string[] = [
  // no kind has it by itself: an issuer that attests to images says where
  ...new Set(['image_digest', ...Object.values(kindDefaults).flatMap(({ workload }) => workload)]),
].sort()

/** `image_digest=/container/digest` is what stands there, under that name; all else is a claim under its own. */
export function workloadClaim(listed: string): Readonly<{ name: string; claim: string }> {
  const [, name, claim] = /^([a-z][a-z0-9_]*)=(\/.*)$/su.exec(listed) ?? []
  return name === undefined || claim === undefined ? { name: listed, claim: listed } : { name, claim }
}

/** Stands for the issuer's name among the claims of a mapping. */
export const ISSUER_CLAIM = '@issuer'

/** An issuer with what its kind says about everything that is left out. */
export type IssuerInput = Pick<Issuer, 'name' | 'issuer' | 'audiences'> &
  Partial<Omit<Issuer, 'rules'>> &
  Readonly<{
    rules?: readonly Readonly<{
      when?: Readonly<Record<string, string | readonly string[]>>
      subject: EntityRef | Readonly<{ type: string; claims?: readonly string[] }>
    }>[]
  }>

const STALE: Millis = 86_400_000

/** What `input` means. */
export function makeIssuer(input: IssuerInput): Issuer {
  const kind = input.kind ?? 'oidc'
  const defaults = kindDefaults[kind]
  const rules =
    input.rules ?? (defaults.claims === undefined ? [] : [{ subject: { type: 'Workload' } as const }])
  const instigator = input.instigator ?? defaults.instigator
  return {
    algorithms: defaults.algorithms,
    types: defaults.types,
    keys: { from: 'discovery' },
    allowPrivate: false,
    stale: STALE,
    workload: defaults.workload,
    ...input,
    ...(instigator === undefined ? {} : { instigator }),
    kind,
    rules: rules.map(({ when = {}, subject }) => ({
      when: Object.fromEntries(
        Object.entries(when).map(([claim, value]) => [claim, typeof value === 'string' ? [value] : value]),
      ),
      subject:
        'id' in subject ? subject : { type: subject.type, claims: subject.claims ?? defaults.claims ?? [] },
    })),
  }
}

/** Whether a URL's host is this machine, where nobody listens on the way. */
export function isLoopback(url: URL): boolean {
  return /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/u.test(url.hostname)
}

/** Whether keys may be asked for there: https, or plain HTTP on this machine. */
export function isFetchable(url: URL): boolean {
  const secure = url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback(url))
  return secure && url.username === '' && url.password === ''
}

/**
 * Refuses what must not be trusted, naming every problem.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID`
 */
export function checkIssuers(issuers: readonly Issuer[]): void {
  const problems = [
    ...twice(issuers, 'name', ({ name }) => name),
    ...twice(issuers, 'issuer', ({ kind, issuer }) => (kind === 'spiffe' ? `spiffe://${issuer}` : issuer)),
    ...issuers.flatMap((issuer) =>
      problemsOf(issuer).map((problem) => `issuer \`${issuer.name}\` ${problem}`),
    ),
    ...sharedTypes(issuers),
  ]
  if (problems.length === 0) return
  throw new WritError('ERR_CONFIG_INVALID', problems.join('\n'), {
    hint: 'see docs/issuers.md',
  })
}

function twice(issuers: readonly Issuer[], what: string, of: (issuer: Issuer) => string): string[] {
  const seen = new Set<string>()
  return issuers.flatMap((issuer) => {
    const value = of(issuer)
    if (seen.has(value)) return [`\`issuers\` has the ${what} \`${value}\` twice`]
    seen.add(value)
    return []
  })
}

function problemsOf(issuer: Issuer): string[] {
  const { kind, audiences, algorithms, types, keys, rules, tokenReview } = issuer
  const defaults = kindDefaults[kind]
  const problems: (string | undefined)[] = [
    /^[a-z0-9][a-z0-9-]{0,63}$/u.test(issuer.name)
      ? undefined
      : 'has a name that is not made of a–z, 0–9 and `-`',
    kind === 'spiffe' ? trustDomainProblem(issuer.issuer) : urlProblem('issuer', issuer.issuer, true),
    audiences.length === 0 ? 'has no audience' : undefined,
    new Set(audiences).size < audiences.length ? 'has an audience twice' : undefined,
    ...audiences.map((one) =>
      one !== '' && isIdentity(one) && !one.includes('*') ? undefined : `cannot have the audience \`${one}\``,
    ),
    ...(algorithms.length === 0
      ? [undefined, 'accepts no algorithm']
      : algorithms.map((one) => {
          if (!(publicAlgorithms as readonly string[]).includes(one))
            return `accepts \`${one}\`; list public-key algorithms such as ES256`
          return kind === 'spiffe' && !/^(?:ES|RS|PS)/u.test(one)
            ? `accepts \`${one}\`, which JWT-SVIDs never use`
            : undefined
        })),
    types.length === 0 ? 'accepts no `typ`' : undefined,
    ...keyProblems(kind, keys),
    rules.length === 0 ? `needs \`subjects\`: nobody would be known by its tokens` : undefined,
    ...rules.flatMap((rule, at) =>
      ruleProblems(rule, defaults, kind).map((one) => `${one} (\`subjects\` ${at + 1})`),
    ),
    issuer.stale >= 0 ? undefined : 'has a negative `stale`',
  ]
  if (tokenReview !== undefined) {
    if (kind !== 'kubernetes') problems.push('has a `token_review`, which only Kubernetes answers')
    problems.push(urlProblem('token_review', tokenReview.url, false))
  }
  return problems.filter((one) => one !== undefined)
}

function trustDomainProblem(text: string): string | undefined {
  return /^[a-z0-9][a-z0-9._-]{0,254}$/u.test(text)
    ? undefined
    : `has the trust domain \`${text}\`; write it as \`prod.example\`, without \`spiffe://\``
}

/** `exact`: tokens repeat it letter by letter, so that it has one spelling. */
function urlProblem(what: string, text: string, exact: boolean): string | undefined {
  const url = URL.parse(text)
  if (url === null) return `has \`${what}\` \`${text}\`, which is not a URL`
  if (!isFetchable(url)) {
    return `has \`${what}\` \`${text}\`, which is not https (plain HTTP only on this machine) or holds credentials`
  }
  if (url.hash !== '' || text.includes('#')) return `has a fragment in \`${what}\``
  if (!exact) return undefined
  if (text.includes('?')) return `has a query in \`${what}\``
  if (url.href !== text && url.href !== `${text}/`)
    return `has \`${what}\` \`${text}\`; write it \`${url.href}\``
  return undefined
}

function keyProblems(kind: IssuerKind, keys: IssuerKeys): (string | undefined)[] {
  if (kind === 'spiffe' && keys.from !== 'bundle' && keys.from !== 'jwks')
    return ['needs its trust bundle as `bundle`: a file or an https endpoint']
  if (kind !== 'spiffe' && keys.from === 'bundle') return ['has a `bundle`, which only SPIFFE knows']
  if (keys.from === 'uri') return [urlProblem('jwks_uri', keys.uri, false)]
  if (keys.from === 'bundle' && 'uri' in keys) return [urlProblem('bundle', keys.uri, false)]
  if (keys.from !== 'jwks') return []
  if (keys.keys.length === 0) return ['has a `jwks` without keys']
  return keys.keys.map((key) =>
    'd' in key || 'k' in key || key['kty'] === 'oct' ? 'has a private or shared key in `jwks`' : undefined,
  )
}

function ruleProblems({ when, subject }: TrustRule, defaults: KindDefaults, kind: IssuerKind): string[] {
  const problems: string[] = []
  if (!isTypeName(subject.type)) problems.push(`names a subject of type \`${subject.type}\``)
  for (const [claim, values] of Object.entries(when)) {
    if (claim === '' || values.length === 0) problems.push(`has no value for \`${claim}\``)
  }
  const bound = new Set(Object.keys(when))
  if ('id' in subject) {
    const { id } = subject
    if (id === '' || id.length > 256 || !isIdentity(id) || id.includes('*'))
      problems.push(`names the subject \`${id}\`, which cannot be an id`)
    if (bound.size === 0) problems.push('makes every token one subject: give `when`')
  } else {
    if (subject.claims.length === 0) problems.push('names a subject without `claims`')
    if (new Set(subject.claims).size < subject.claims.length) problems.push('names a claim twice')
    if (subject.claims.every((claim) => claim === ISSUER_CLAIM))
      problems.push('makes every token one subject')
    for (const claim of subject.claims) bound.add(claim)
  }
  if (kind !== 'github' && kind !== 'gitlab') return problems
  // names of repositories are given away when their owner leaves them (B5)
  const isBound =
    defaults.immutable.some((claim) => bound.has(claim)) ||
    (kind === 'github' && (when['sub']?.length ?? 0) > 0 && when['sub']?.every(isImmutableSub) === true)
  if (!isBound) problems.push(`binds no \`${defaults.immutable.join('` or `')}\`: names can be taken over`)
  return problems
}

/** GitHub's `sub` with ids beside the names: `repo:org@123/repo@456:…`. */
export function isImmutableSub(sub: string): boolean {
  return /^repo:[^/@:]+@[1-9]\d*\/[^/@:]+@[1-9]\d*:/u.test(sub)
}

/**
 * Whoever controls one issuer could otherwise be a subject of another, or by one rule a subject of another rule: one claim
 * is an id as it is, and could read like several that were joined.
 */
function sharedTypes(issuers: readonly Issuer[]): string[] {
  const mappings = issuers.flatMap((issuer) =>
    issuer.rules.flatMap(({ subject }) => ('claims' in subject ? [{ issuer, ...subject }] : [])),
  )
  const problems = mappings.flatMap((one, at) =>
    mappings.slice(at + 1).flatMap((other) => {
      if (one.type !== other.type) return []
      if (one.issuer === other.issuer) {
        return JSON.stringify(one.claims) === JSON.stringify(other.claims)
          ? []
          : [
              `issuer \`${one.issuer.name}\` names \`${one.type}\` by different \`claims\`, of which one could read like the other: give one another type`,
            ]
      }
      return one.claims[0] === ISSUER_CLAIM && other.claims[0] === ISSUER_CLAIM
        ? []
        : [
            `issuers \`${one.issuer.name}\` and \`${other.issuer.name}\` both name \`${one.type}\` by claims: give one another type, or begin the \`claims\` of both with \`${ISSUER_CLAIM}\``,
          ]
    }),
  )
  return [...new Set(problems)]
}

/** What is allowed, and probably wider than meant. */
export type IssuerFinding = Readonly<{
  code: 'wildcard' | 'mutable' | 'audience' | 'open' | 'shared'
  issuer: string
  /** Which of `subjects`, from 1. */
  rule?: number
  sentence: string
  hint: string
}>

/** Names that come to belong to somebody else: a renamed user, a deleted repository, a recreated namespace. */
const mutableClaims: ReadonlySet<string> = new Set([
  'email',
  'preferred_username',
  'username',
  'name',
  'nickname',
  'given_name',
  'family_name',
  'login',
  'upn',
  'unique_name',
  'groups',
  'repository',
  'repository_owner',
  'ref',
  'environment',
  'actor',
  'workflow',
  'project_path',
  'namespace_path',
  'user_login',
  'user_email',
  'namespace',
  'service_account',
  'pod',
  'node',
])

/** Issuers that anybody can be a subject of. */
const publicProviders: readonly RegExp[] = [
  /^https:\/\/token\.actions\.githubusercontent\.com$/u,
  /^https:\/\/gitlab\.com$/u,
  /^https:\/\/accounts\.google\.com$/u,
  /^https:\/\/appleid\.apple\.com$/u,
  /^https:\/\/(?:login\.microsoftonline\.com|sts\.windows\.net)\//u,
  /^https:\/\/agent\.buildkite\.com$/u,
  /^https:\/\/oidc\.circleci\.com\//u,
  /^https:\/\/app\.terraform\.io$/u,
]

/** Audiences of others, or that tokens have when nobody asked for one. */
const foreignAudiences: readonly RegExp[] = [
  /^sts\.amazonaws\.com$/u,
  /^api:\/\/AzureADTokenExchange$/u,
  /^https:\/\/(?:www\.)?github\.com\//u,
  /^https:\/\/gitlab\.com\/?$/u,
  /^https:\/\/kubernetes\.default\.svc/u,
  /^(?:https:)?\/\/iam\.googleapis\.com\//u,
  /^(?:sigstore|vault|spire|default)$/u,
]

/** Trust that is too wide: nothing is refused for it, the operator is told. */
export function lintIssuers(issuers: readonly Issuer[]): IssuerFinding[] {
  return issuers.flatMap((issuer) => [
    ...issuer.audiences
      .filter((one) => one === issuer.issuer || foreignAudiences.some((known) => known.test(one)))
      .map((one): IssuerFinding => ({
        code: 'audience',
        issuer: issuer.name,
        sentence: `the audience \`${one}\` is not Writ's own: tokens made for others are accepted`,
        hint: 'ask the issuer for tokens with an audience that nobody else takes, such as the URL of this server',
      })),
    ...issuer.rules.flatMap((rule, at) => lintRule(issuer, rule, at + 1)),
    ...lintShared(issuer, issuers),
  ])
}

function lintRule(issuer: Issuer, { when, subject }: TrustRule, rule: number): IssuerFinding[] {
  const findings: IssuerFinding[] = []
  const find = (code: IssuerFinding['code'], sentence: string, hint: string): void => {
    findings.push({ code, issuer: issuer.name, rule, sentence, hint })
  }
  for (const [claim, values] of Object.entries(when)) {
    for (const value of values) {
      if (/[*?]|\.\+|^\^|\$$/u.test(value))
        find(
          'wildcard',
          `\`${claim}\` is compared with \`${value}\` letter by letter`,
          'values are never patterns: list each one',
        )
    }
  }
  const bound = [...Object.keys(when), ...('claims' in subject ? subject.claims : [])].filter(
    (claim) => claim !== ISSUER_CLAIM,
  )
  const { immutable } = kindDefaults[issuer.kind]
  if (bound.every((claim) => mutableClaims.has(claim)) && !bound.some((claim) => immutable.includes(claim))) {
    find(
      'mutable',
      `only names are bound (\`${bound.join('`, `')}\`), which can come to be somebody else's`,
      immutable.length === 0 ? 'bind an id such as `sub`' : `bind \`${immutable.join('` or `')}\` as well`,
    )
  }
  if (Object.keys(when).length === 0 && publicProviders.some((known) => known.test(issuer.issuer))) {
    find(
      'open',
      `everybody who can use \`${issuer.issuer}\` is a \`${subject.type}\``,
      'say in `when` whose tokens are meant',
    )
  }
  return findings
}

/** A subject that is named outright, and could also be had from claims. */
function lintShared(issuer: Issuer, issuers: readonly Issuer[]): IssuerFinding[] {
  return issuer.rules.flatMap(({ subject }, at) => {
    if (!('id' in subject)) return []
    const other = issuers.find((one) =>
      one.rules.some((rule) => 'claims' in rule.subject && couldName(one, rule.subject, subject)),
    )
    if (other === undefined) return []
    return [
      {
        code: 'shared' as const,
        issuer: issuer.name,
        rule: at + 1,
        sentence: `tokens of \`${other.name}\` could name the subject \`${subject.type}/${subject.id}\` too`,
        hint: 'give subjects that are named by their claims a type of their own',
      },
    ]
  })
}

/** Whether there are values of the claims that make this subject. */
function couldName({ name }: Issuer, { type, claims }: SubjectMapping, subject: EntityRef): boolean {
  if (type !== subject.type) return false
  const parts = subject.id.split(':')
  if (claims.length > 1 && parts.length !== claims.length) return false
  return claims[0] !== ISSUER_CLAIM || parts[0] === name
}
