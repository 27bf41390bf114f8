/**
 * The verbs of Writ as the doors see them. One object of these is made in `app.ts`; nothing else orchestrates.
 * Every verb takes the authenticated caller first. Errors are `WritError`; a denial is a value.
 *
 * @module
 */
import type { ApiKey, Caller, PepTrust, PolicyVersion } from '../model/access.ts'
import type { Flag } from '../model/action.ts'
import type { CallbackWish } from '../model/callback.ts'
import type { Json } from '../model/canonical.ts'
import type { Credential } from '../model/credential.ts'
import type {
  Action,
  Entity,
  EntityInput,
  EntityRef,
  Properties,
  Resource,
  Subject,
} from '../model/entity.ts'
import type { Grant } from '../model/grant.ts'
import type { Decision } from '../model/outcome.ts'
import type { AccessRequest } from '../model/request.ts'
import type { Limits, Scope, Task } from '../model/task.ts'
import type { Instant, Millis } from '../model/time.ts'
import type { Authority } from './authority.ts'
import type { Accounts } from './accounts.ts'
import type { Delegations } from './delegations.ts'
import type { EpochState } from './epoch.ts'
import type { ActionBatch, ActionEntry, JoinedRecord, ReportedAction } from './actions.ts'
import type { Facts } from './facts.ts'
import type { Locks } from './locks.ts'
import type { PasskeyAnswer, Passkeys } from './passkeys.ts'
import type { Webhooks } from './webhooks.ts'
import type { EndedCredential } from './refusals.ts'
import type { ReplayInput, ReplayReport } from './replay.ts'
import type { Signals } from './signals.ts'
import type { SignIns } from './signin.ts'
import type { Tokens } from './tokens.ts'
import type { Transparency } from './transparency.ts'
import type { Witnesses } from './witnesses.ts'
import type { LogEntry, LogHead, Page, PrunedEntry } from '../store/port.ts'
import type { LogQuery } from './search.ts'
import type { Found, SearchInput, SearchOptions } from './searching.ts'
import type { Windows } from './windows.ts'

export type { Caller } from '../model/access.ts'

/** An attempt as it arrives; `context.task`, `.grant`, `.approval` are taken out by `evaluate` itself. */
export type AttemptInput = Readonly<{
  subject: Subject
  action: Action
  resource: Resource
  context?: Properties
}>

export type TaskInput = Readonly<{
  purpose: string
  scope: Scope
  /** Defaults to the caller's own subject. */
  subject?: EntityRef
  reason?: string
  ticket?: string
  limits?: Limits
  /** `{ calendar: 'release' }` stands for its event that is on, or the next one. */
  window?: Readonly<{ startsAt: Instant; endsAt: Instant }> | Readonly<{ calendar: string }>
  parent?: string
  /** The delegation that it is declared under: who delegated stands behind all that is done. */
  delegation?: string
  life?: Millis
  heartbeat?: Millis
}>

/** A task with everything that hangs below it. */
export type TaskState = Readonly<{
  task: Task
  grants: readonly Grant[]
  credentials: readonly Credential[]
  requests: readonly AccessRequest[]
  children: readonly Task[]
  /** True when the task has ended and every credential under it was verified absent. */
  clean: boolean
}>

export type Denial = Readonly<{
  evaluationId?: string
  /** The denial by value, as it was given out; with it, it is what counts. */
  bindingToken?: string
  expiresAt: Instant
  evaluatedAt?: string
  reason?: string
  /** Echoed; decides nothing. */
  template?: string
}>

/** A request, and in which pools the caller could approve it now. */
export type ListedRequest = AccessRequest & Readonly<{ mayApprove: readonly string[] }>

export type SubmitInput = AttemptInput &
  Readonly<{
    denial: Denial
    justification?: string
    requestedUntil?: Instant
    /** That it is urgent: recorded and shown to approvers, nothing else (B26). */
    emergency?: true
    /** What the submitting application calls itself. */
    client?: Readonly<{ id?: string; name?: string }>
    idempotencyKey?: string
    /** Where to tell how it ends; only what is registered for the caller is accepted. */
    callback?: CallbackWish
  }>

/** What narrowing reports: denied at once, absent per target as each is verified. */
export type Narrowing = Readonly<{
  denied: true
  /** False until the entry is durable. */
  recorded: boolean
  grants: readonly Grant[]
  credentials: readonly Credential[]
  /** More of it ends after this answer. */
  ending?: boolean
}>

export type { EntityInput } from '../model/entity.ts'

/** A live event for consoles and clients; `id` is the log index, so that a stream can be resumed. */
export type LiveEvent = Readonly<{
  id: number
  kind: string
  refs: readonly string[]
  at: Instant
  entry: Json
}>

export interface Flows {
  // attempts
  /** An attempt: decides and commits. A retry with the same key and digest within 60 s replays a permit. */
  evaluate(caller: Caller, input: AttemptInput, options?: { idempotencyKey?: string }): Promise<Decision>
  /** A question: analyses, consumes nothing, never authorises. */
  ask(caller: Caller, input: AttemptInput): Promise<Decision>
  /**
   * Who may, on what, or which action: those of the inventory that `evaluate` would permit now to this caller. Questions,
   * answered in pages.
   */
  searchAccess(caller: Caller, input: SearchInput, options: SearchOptions): Promise<Found>
  /** Which rules decided and, for the nearest permit, clause by clause. Operators only. */
  explain(caller: Caller, decisionId: string): Promise<Json>
  /** The recorded decision entry: the caller's own, or anyone's for who may `Writ::Action::"read"`. */
  decision(caller: Caller, decisionId: string): Promise<Json>
  decisions(caller: Caller, query: { ref?: string; before?: number; limit?: number }): Promise<Page<Json>>

  // tasks
  declareTask(caller: Caller, input: TaskInput, options?: { idempotencyKey?: string }): Promise<Task>
  task(caller: Caller, id: string): Promise<TaskState>
  tasks(caller: Caller, query: { live?: boolean; after?: string; limit?: number }): Promise<Page<Task>>
  heartbeat(caller: Caller, id: string): Promise<Task>
  endTask(
    caller: Caller,
    id: string,
    how: 'completed' | 'failed' | 'cancelled',
    reason?: string,
  ): Promise<TaskState>

  // access requests
  submit(caller: Caller, input: SubmitInput): Promise<AccessRequest>
  request(caller: Caller, id: string): Promise<AccessRequest>
  cancelRequest(caller: Caller, id: string, reason?: string): Promise<AccessRequest>
  /** The approval of an approved request by value, signed, for whoever holds the request. */
  proofOf(request: AccessRequest, now: Instant): string | undefined
  /** The public keys, as JWKs, of what is signed for callers to carry. */
  artifactKeys(now: Instant): readonly Readonly<Record<string, string>>[]
  /** What a decision point says of itself, signed as `issuer`: a JWT by one of those keys. */
  signMetadata(issuer: string, members: Readonly<Record<string, Json>>): string
  /** Those the caller submitted; for a person also those it could approve now. */
  requests(
    caller: Caller,
    query: { pending?: boolean; after?: string; limit?: number },
  ): Promise<Page<ListedRequest>>
  /** The approver signs the digest that was displayed; another digest is a conflict. Sessions of people only. */
  approve(
    caller: Caller,
    id: string,
    input: { statement: string; pool?: string; comment?: string; passkey?: PasskeyAnswer },
  ): Promise<AccessRequest>
  /** A request of which `caller` is asked to prove that it is them. */
  requestToProve(caller: Caller, id: string): Promise<AccessRequest>
  /** A person behind what is asked proves that it is them, for the digest that was displayed. */
  proveRequest(
    caller: Caller,
    id: string,
    input: Readonly<{ statement: string; passkey: PasskeyAnswer }>,
  ): Promise<AccessRequest>
  denyRequest(
    caller: Caller,
    id: string,
    input: { statement: string; reason?: string },
  ): Promise<AccessRequest>

  // grants and credentials
  /** An attempt that, permitted, activates a grant without spending a use. */
  activate(
    caller: Caller,
    input: AttemptInput,
    options?: { idempotencyKey?: string },
  ): Promise<Readonly<{ decision: Decision; grant?: Grant }>>
  grant(caller: Caller, id: string): Promise<Readonly<{ grant: Grant; credentials: readonly Credential[] }>>
  grants(
    caller: Caller,
    query: { task?: string; live?: boolean; after?: string; limit?: number },
  ): Promise<Page<Grant>>
  revokeGrant(caller: Caller, id: string, reason: string): Promise<Narrowing>
  revokeTask(caller: Caller, id: string, reason: string): Promise<Narrowing>
  /** Decides the issue, writes the row, creates the credential at the target, returns its secret once. */
  issueCredential(
    caller: Caller,
    grantId: string,
    options?: { target?: string },
  ): Promise<
    | Readonly<{ decision: Decision; credential: Credential; secret: { expose(): Json } }>
    | Readonly<{ decision: Decision; credential?: undefined; secret?: undefined }>
  >
  credentials(
    caller: Caller,
    query: { open?: boolean; after?: string; limit?: number },
  ): Promise<Page<Credential>>

  /** A key or session that we have given out was shown and is worth nothing any more: for the record. */
  refused(credential: EndedCredential): Promise<void>

  /** Access tokens: asked for, looked at, revoked. */
  readonly tokens: Tokens

  /** What people prove themselves with anew. */
  readonly passkeys: Passkeys
  /** What others observe: posture, risk, tickets, incidents, calendars, sessions. */
  readonly facts: Facts
  /** What ticket and incident systems tell by themselves. */
  readonly webhooks: Webhooks
  /** Windows that calendars name: narrowed when those say something else. */
  readonly windows: Windows
  /** The kill switch. */
  readonly locks: Locks
  /** Signing in with a passkey or at a provider, and whose accounts are whose. */
  readonly signIns: SignIns

  /** Who acts for whom, within which bounds. */
  readonly delegations: Delegations
  /** What others tell of their subjects, and what they are told (SSF). */
  readonly signals: Signals
  /** Whose accounts at issuers are whose. */
  readonly accounts: Accounts

  // downstream actions
  /**
   * What was done, all of it recorded before this returns or nothing. Under one's own grants; with `observed` for who may
   * `Writ::Action::"observe"` the target. What no grant covers is recorded as that and becomes a problem.
   */
  reportActions(caller: Caller, batch: ActionBatch): Promise<readonly ReportedAction[]>
  /** Newest first; exactly one of grant, credential, task and subject. */
  actions(
    caller: Caller,
    query: Readonly<{
      grant?: string
      credential?: string
      task?: string
      subject?: EntityRef
      before?: number
      limit?: number
    }>,
  ): Promise<Page<ActionEntry>>
  /** Request, uses and actions of a grant or task that the caller may see. */
  grantRecord(caller: Caller, id: string): Promise<JoinedRecord>
  taskRecord(caller: Caller, id: string): Promise<JoinedRecord>
  resolveFlag(caller: Caller, id: string, reason: string): Promise<Flag>

  // inventory and administration (each an attempt on `Writ::…`)
  inventory(caller: Caller, query: { type?: string; after?: string; limit?: number }): Promise<Page<Entity>>
  putEntities(caller: Caller, entities: readonly EntityInput[]): Promise<readonly Entity[]>
  deleteEntity(caller: Caller, ref: EntityRef): Promise<void>
  createKey(
    caller: Caller,
    input: { name: string; subject: EntityRef; pep?: PepTrust; life?: Millis },
  ): Promise<Readonly<{ id: string; secret: { expose(): string } }>>
  /** Every API key there is, also those that ended; never a secret. For who may read or administer. */
  keys(caller: Caller, query: { after?: string; limit?: number }): Promise<Page<ApiKey>>
  revokeKey(caller: Caller, id: string): Promise<void>
  invite(
    caller: Caller,
    input: { id: string; name?: string; groups?: readonly EntityRef[] },
  ): Promise<Readonly<{ code: { expose(): string }; endsAt: Instant }>>
  /** A one-time code becomes a session; wrong, used and late codes look alike. */
  redeem(code: string): Promise<Readonly<{ token: { expose(): string }; person: EntityRef; endsAt: Instant }>>
  signOut(caller: Caller): Promise<void>
  addTarget(
    caller: Caller,
    input: { id: string; kind: string; config: Json; admin: { user: string; password: string } },
  ): Promise<Readonly<{ id: string; notices: readonly string[]; findings: readonly Json[] }>>
  targets(
    caller: Caller,
  ): Promise<readonly Readonly<{ id: string; kind: string; config: Json; notices: readonly string[] }>[]>
  checkTarget(caller: Caller, id: string): Promise<readonly Json[]>

  // policy
  /** Refused with every problem if it does not validate, or if nobody could publish after it. */
  publish(
    caller: Caller,
    source: { policies: readonly { name: string; text: string }[]; schema?: { name: string; text: string } },
  ): Promise<PolicyVersion>
  /** The second human root. */
  agree(caller: Caller, version: string): Promise<PolicyVersion>
  policy(caller: Caller, version?: string): Promise<PolicyVersion | undefined>
  /** Recorded decisions through a draft set; nothing of it is a decision. For who may read the record. */
  replayPolicies(caller: Caller, input: ReplayInput): Promise<ReplayReport>
  /** What a subject could do at an instant, and why, from the log. For who may read the record. */
  authority(caller: Caller, subject: EntityRef, at: Instant): Promise<Authority>

  // the record
  /** Checkpoints, tiles, proofs and the keys behind them. */
  readonly transparency: Transparency
  /** Who cosigns it. */
  readonly witnesses: Witnesses
  /** How the present epoch began; after a restore, also what to look at before it is acknowledged. */
  epoch(caller: Caller): Promise<EpochState>
  /** That an administrator has looked at what came back with a copy of `epoch`: Writ permits again. */
  acknowledgeRestore(caller: Caller, epoch: number): Promise<void>
  head(): Promise<LogHead>
  entries(caller: Caller, from: number, to: number): Promise<readonly (LogEntry | PrunedEntry)[]>
  /** Entries by what they name, newest first; `next` is the `before` of the next page. For who may read the log. */
  search(caller: Caller, query: LogQuery): Promise<Page<LogEntry | PrunedEntry>>
  /** The proof of why, of anything with an id: a file (its text) that verifies without this server. */
  prove(caller: Caller, id: string): Promise<string>
  /** What one may see of what happens, live; resumes after `after`. */
  events(caller: Caller, after: number | undefined, listener: (event: LiveEvent) => void): Promise<() => void>

  /** For `doctor` and `/readyz`: what is wrong, each one sentence. */
  problems(): Promise<readonly string[]>
}
