/**
 * The port of a target: a kind of system that credentials open. A driver knows planned credentials, never grants.
 *
 * The caller writes the row of a planned credential before it calls `issue` (law 8: no orphan), keeps it until
 * `revoke` has reported `absent`, and calls `revoke` again for as long as it throws or reports otherwise.
 *
 * @module
 */
import type { Secret } from '../model/secret.ts'
import type { Instant, Millis } from '../model/time.ts'

/**
 * What will exist at the target, decided before anything does. Never secret: it is stored as it is.
 *
 * E.g. `{ id: 'cred_01k…', target: 'orders-db', name: 'writ_3f9c0a1b_cred_01k…_5be0…', shape: { … } }`.
 */
export type PlannedCredential = Readonly<{
  id: string
  target: string
  /** The name at the target: a function of installation and id alone. */
  name: string
  /** What the driver decided at planning, as plain JSON; only the driver reads it. */
  shape: Readonly<Record<string, string | number | boolean>>
}>

/** What a grant asks of a target, e.g. `{ role: 'migrate', label: 'grant_01k…' }`. */
export type CredentialRequest = Readonly<{
  /** A name from the target's `roles`. */
  role: string
  /** Shown at the target beside every session (the grant's id); the credential's id if left out. */
  label?: string
}>

/** How a PostgreSQL client connects. `password` is absent where the account already has its own (shape `lift`). */
export type PostgresSecret = Readonly<{
  kind: 'postgres'
  host: string
  port: number
  database: string
  user: string
  password?: string
  sslmode: 'disable' | 'require' | 'verify-full'
  url: string
  /** `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGSSLMODE`, `PGAPPNAME`, `DATABASE_URL`, … */
  env: Readonly<Record<string, string>>
}>

export type IssuedSecret = Secret<PostgresSecret>

/** An object that stays, e.g. `{ database: 'orders', type: 'table', name: 'public.invoice', owner: 'orders_owner' }`. */
export type LeftObject = Readonly<{ database: string; type: string; name: string; owner: string }>

/** Privileges on something that changed while the credential lived; `grantee` is `public` for everyone. */
export type AclChange = Readonly<{
  database: string
  object: string
  grantee: string
  privileges: readonly string[]
}>

/** A prepared transaction that was open at the end; `rolledBack` unless somebody else may have prepared it. */
export type LeftPrepared = Readonly<{ database: string; gid: string; owner: string; rolledBack: boolean }>

/**
 * What was created or changed at the target since the credential was issued, by anyone acting with the same
 * authority: targets do not say who of several did it. At most 200 of each, see `unseen`.
 */
export type LeftBehind = Readonly<{
  /** Created objects; they stay where they are, and those of a migration are meant to. */
  objects: readonly LeftObject[]
  /** Every privilege of others on objects that changed: older entries on the same object are listed too. */
  aclChanges: readonly AclChange[]
  /** Functions that run with their owner's authority whoever calls them: authority that outlives the credential. */
  securityDefiner: readonly LeftObject[]
  preparedTransactions: readonly LeftPrepared[]
  /** What could not be looked at, in sentences, e.g. that a list was cut. */
  unseen: readonly string[]
}>

/** What `revoke` did and verified; plain JSON, kept on the credential's row. */
export type RevokeReport = Readonly<{
  /** Verified: nothing of this name and no session of it is at the target. */
  absent: boolean
  /** Why not, in one sentence, when `absent` is false: access is denied and cut, but something must be resolved. */
  problem?: string
  /** How to mend it, e.g. a statement for the target's owner. */
  hint?: string
  sessionsCut: number
  leftBehind: LeftBehind
  /** From the call until no new use was possible, until open sessions were gone, and until the report. */
  took: Readonly<{ denied: Millis; cut: Millis; total: Millis }>
}>

/** Something `writ doctor` tells about a target; no findings means all is well. */
export type Finding = Readonly<{ level: 'warning' | 'error'; message: string; hint?: string }>

/** One driver instance per configured target. */
export interface Target {
  readonly kind: string
  readonly id: string
  /** What an operator must know when configuring this target, in sentences. */
  readonly notices: readonly string[]

  /** Looks at the target without changing it; never throws for a target that is down, that is a finding. */
  check(): Promise<readonly Finding[]>

  /**
   * What would be issued. Pure and deterministic: the same id gives the same plan.
   *
   * @throws {WritError} `ERR_INPUT_INVALID` if the target has no such role.
   */
  plan(credentialId: string, request: CredentialRequest): PlannedCredential

  /**
   * Creates the planned credential, useful until `endsAt` at most, all or nothing. Not idempotent: a secret that
   * was lost on the way is revoked, never repeated.
   *
   * @throws {WritError} `ERR_TARGET_UNREACHABLE` (it may exist all the same: revoke it), `ERR_TARGET_REFUSED`.
   */
  issue(planned: PlannedCredential, endsAt: Instant): Promise<IssuedSecret>

  /**
   * Denies new use, cuts what is open, removes, verifies. Idempotent; "already gone" and "never was" are success.
   * A name from `list` is enough, so an orphan is revoked the same way.
   *
   * @throws {WritError} `ERR_TARGET_UNREACHABLE` or `ERR_TARGET_REFUSED`: unresolved, to be called again.
   */
  revoke(credential: Pick<PlannedCredential, 'name'> & Partial<PlannedCredential>): Promise<RevokeReport>

  /** Every name at the target that carries this installation's mark: those without a row are orphans. */
  list(): Promise<readonly string[]>

  /** Whether a name seen at the target carries this installation's mark; those that do not are no business of ours. */
  carries?(name: string): boolean

  close(): Promise<void>
}
