/**
 * How callers are known to Writ: API keys, people's sessions, one-time codes. Secrets are kept as SHA-256 digests only.
 *
 * @module
 */
import type { EntityRef, Properties } from './entity.ts'
import { sameRef } from './entity.ts'
import type { Json } from './canonical.ts'
import { sameJson } from './canonical.ts'
import type { AccountRef } from './identity.ts'
import type { Instant } from './time.ts'

/**
 * What a caller may assert about others, per subject type: `subjects` lists the types (`*` for all) it may ask for,
 * `attributes` what it may say of them. Without it a caller speaks for its own subject only.
 */
export type PepTrust = Readonly<{
  subjects: readonly string[]
  attributes: Readonly<Record<string, readonly string[]>>
}>

export type ApiKey = Readonly<{
  id: string
  /** SHA-256 of the secret, lowercase hex. The secret has 256 random bits, so no slow hash is needed. */
  hash: string
  name: string
  subject: EntityRef
  /** Generation of the subject when the key was made: a recreated subject inherits no key (B34). */
  generation: number
  pep?: PepTrust
  createdBy: string
  createdAt: Instant
  endsAt?: Instant
  revokedAt?: Instant
}>

/** How and when a person signed in. */
export type SignedIn = Readonly<{
  at: Instant
  /** `code`, `passkey`, or the name of a configured provider. */
  provider: string
  acr?: string
  /** Methods, as RFC 8176 names them. */
  amr?: readonly string[]
  /** On which device, where the provider says so: its posture is the one that counts. */
  device?: string
}>

/** Who is calling, verified at the door. */
export type Caller = Readonly<{
  /**
   * `key:<record id>`, `session:<record id>`, `issuer:<name> <who, for whom and by whom>` or `writ`: keeps idempotency keys
   * and rates apart.
   */
  id: string
  kind: 'key' | 'issuer' | 'session'
  subject: EntityRef
  /** Generation of the subject when the credential was made; another generation is refused. */
  generation: number
  /** What it may assert about others. */
  pep?: PepTrust
  /** True in `writ dev`'s local person's session. */
  dev?: boolean
  /** For whom it verifiably acts, outermost first. */
  chain?: readonly EntityRef[]
  /** Who verifiably set it going. */
  instigators?: readonly (AccountRef | EntityRef)[]
  /** What was proved of the workload, under the names that policies read. */
  workload?: Properties
  /** When that was proved, by the word of its issuer. */
  provedAt?: Instant
  /** Thumbprint (RFC 7638) of the key that its token is bound to, and that it has proved to hold. */
  confirmed?: string
  /** Of a person: how they signed in. */
  auth?: SignedIn
  /** Of an access token of ours: what it is for; absent, whatever its subject may do. */
  scope?: readonly Scoped[]
}>

/** One thing that a token is for: with the properties of the action, these; without, any that policy permits. */
export type Scoped = Readonly<{ action: string; resource: EntityRef; properties?: Properties }>

/** Whether the credential of `caller` is for this: an access token is for what it was issued for, and nothing else (B41). */
export function isInScope({ scope }: Pick<Caller, 'scope'>, { action, resource }: ScopedAttempt): boolean {
  if (scope === undefined) return true
  return scope.some(
    (one) =>
      one.action === action.name &&
      sameRef(one.resource, resource) &&
      (one.properties === undefined || sameJson(one.properties, action.properties ?? null)),
  )
}

type ScopedAttempt = Readonly<{
  action: Readonly<{ name: string; properties?: Properties }>
  resource: EntityRef
}>

/** A one-time code that enrols a person; kept under the digest of the code. */
export type Invite = Readonly<{
  id: string
  person: EntityRef
  name?: string
  /** `restore`: for an administrator of a copy that was put back; of no use once that is acknowledged. */
  purpose: 'bootstrap' | 'invite' | 'dev' | 'restore'
  groups: readonly EntityRef[]
  createdBy: string
  createdAt: Instant
  endsAt: Instant
  usedAt?: Instant
}>

/** A person's authenticated session; kept under the digest of its token. */
export type Session = Readonly<{
  id: string
  person: EntityRef
  generation: number
  createdAt: Instant
  auth?: SignedIn
  idleUntil: Instant
  endsAt: Instant
  endedAt?: Instant
}>

/** A published policy set, every version kept for replay. */
export type PolicyVersion = Readonly<{
  version: string
  policies: readonly Readonly<{ name: string; text: string }>[]
  schema?: Readonly<{ name: string; text: string }>
  composed: string
  state: 'proposed' | 'published' | 'rejected'
  proposedBy: string
  proposedAt: Instant
  /** Distinct human roots that agreed, the proposer first. */
  agreedBy: readonly string[]
  publishedAt?: Instant
}>

/** A configured target; `admin` is sealed under a key outside the data folder. */
export type TargetRecord = Readonly<{
  id: string
  kind: string
  config: Json
  sealed: string
  createdBy: string
  createdAt: Instant
}>

/** What a caller's idempotency key stands for: an attempt (60 s), a declared task, a submitted request or a reported action
 * (a day more). */
export type Replay = Readonly<{
  kind: 'attempt' | 'task' | 'request' | 'action' | 'denial'
  caller: string
  digest: string
  at: Instant
  decision: string
  /** Of an attempt; only a permit is given again. */
  outcome?: 'permit' | 'deny' | 'challenge'
  answer: Json
  /** Of a denial that was asked about: kept as long as it can be. */
  until?: Instant
  /** What must be unchanged for the permit to be given again. */
  grant?: string
  task?: string
}>

/** Small facts of the installation: its id, the policy in force, digests of its configuration. */
export type Meta = Readonly<Record<string, Json>>
