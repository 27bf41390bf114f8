/**
 * What goes over the wire, as this client sees it. Answers may hold more: whoever reads must not mind.
 *
 * @module
 */

/** Evidence of which all must be given. */
export type Requirement = Readonly<{
  kind: string
  pool?: string
  count?: number
  people?: readonly string[]
}>
export type Alternative = Readonly<{
  requirements: readonly Requirement[]
  binding: string
  ttl?: string
  uses?: number
}>

/** What somebody observed: `{ name: 'posture', about: 'Person/ada', value: { compliant: false, status: 'lost' } }`. */
export type FactInput = Readonly<{
  name: string
  about: string
  /** Which device of a subject a posture is of. */
  device?: string
  value: Json
  observed_at?: string
  max_age?: string
}>

export type Fact = Readonly<{
  name: string
  about: string
  device?: string
  value: Json
  source: string
  by: string
  observed_at: string
  received_at: string
  known_until?: string
  known: boolean
}>

/** What can be locked: a `tool` by the name of its action. */
export type Lockable = 'subject' | 'task' | 'tool' | 'resource' | 'owner'

export type LockInput = Readonly<{ what: Lockable; about: string; reason: string; until?: string }>

/** What it is about is refused, with everything under it. */
export type Lock = Readonly<{
  what: Lockable
  about: string
  reason: string
  by: string
  /** Who that is: `by` may be a session. */
  who?: string
  at: string
  until?: string
  ended_at?: string
  ended_by?: string
  /** How many have ended because of it. */
  ended: Readonly<{ tasks: number; grants: number }>
  /** Something under it has still to be looked at or ended; it is refused all the same. */
  ending: boolean
}>

/** A stream of signals: `in` from a transmitter that is listened to, `out` to a listener that is told. */
export type SignalStream = Readonly<{
  name: string
  direction: 'in' | 'out'
  delivery: 'push' | 'poll'
  status?: 'enabled' | 'paused' | 'disabled' | 'gone'
  heard_at?: string
  behind_since?: string
  refused?: number
  problems: readonly string[]
}>

/** What a lock did. */
export type Locked = Narrowing &
  Readonly<{
    lock: Lock
    /** False where nobody registered it, or no policy names it: perhaps it is misspelt. */
    known: boolean
  }>

/** What a decision would see. */
export type LiveContext = Readonly<{
  at: string
  live: Readonly<Record<string, Json>>
  unknown: readonly string[]
  read?: readonly string[]
  facts: readonly Fact[]
  resource?: Readonly<{ id: string; registered: boolean; sensitivity: number; owner?: string; team?: string }>
}>

export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [member: string]: Json | undefined }

export type Properties = Readonly<Record<string, Json>>

/** A subject or resource by name, e.g. `{ type: 'Agent', id: 'migrator' }`. */
export type Ref = Readonly<{ type: string; id: string }>
export type Subject = Ref & Readonly<{ properties?: Properties }>
export type Action = Readonly<{ name: string; properties?: Properties }>
export type Resource = Ref & Readonly<{ properties?: Properties }>

/** One page of a list. */
export type Page<T> = Readonly<{ items: readonly T[]; next_cursor?: string }>

export type Me = Readonly<{
  id: string
  kind: 'key' | 'issuer' | 'session'
  subject: string
  dev?: boolean
}>

/** What a task may touch; a resource without `id` stands for all of its type. */
export type Scope = Readonly<{
  actions: readonly string[]
  resources: readonly Readonly<{ type: string; id?: string }>[]
}>

export type TaskDeclaration = Readonly<{
  purpose: string
  scope: Scope
  /** By default whom the token speaks for. */
  subject?: string
  reason?: string
  ticket?: string
  limits?: Readonly<{ calls?: number }>
  /** `{ calendar: 'release' }` stands for its event that is on, or the next one. */
  window?: Readonly<{ starts_at: string; ends_at: string }> | Readonly<{ calendar: string }>
  parent?: string
  /** The delegation that it is done under. */
  delegation?: string
  ttl?: string
  heartbeat?: string
}>

/** `declared`, `open`, or how it ended; what this client does not know counts as ended. */
export type TaskStatus = 'declared' | 'open' | 'completed' | 'failed' | 'timed-out' | 'cancelled'

export type Task = Readonly<{
  id: string
  state: TaskStatus
  purpose: string
  reason?: string
  ticket?: string
  subject: string
  chain: readonly string[]
  declared_by: string
  scope: Scope
  limits: Readonly<{ calls?: number }>
  parent?: string
  delegation?: string
  window?: Readonly<{ starts_at: string; ends_at: string; calendar?: string; event?: string }>
  declared_at: string
  ttl: string
  heartbeat: string
  opened_at?: string
  ends_at?: string
  /** When it ends by itself if nothing happens. */
  lapses_at?: string
  calls: number
  denials: number
  ended_at?: string
  ending?: Readonly<{ reason: string; by: string }>
}>

export type Grant = Readonly<{
  id: string
  state: 'active' | 'ended' | 'closed'
  task?: string
  subject: string
  chain: readonly string[]
  delegation?: string
  action: string
  resource: string
  binding: 'attempt' | 'task'
  uses?: number
  used: number
  started_at: string
  ends_at: string
  decision: string
  policy: string
  ended_at?: string
  end?: 'completed' | 'failed' | 'expired' | 'revoked'
  reason?: string
  ended_by?: string
  closed_at?: string
}>

export type Credential = Readonly<{
  id: string
  state: 'planned' | 'live' | 'revoking' | 'absent' | 'unresolved'
  grant: string
  task?: string
  target: string
  planned: Json
  planned_at: string
  ends_at: string
  live_at?: string
  revoking_at?: string
  absent_at?: string
  tries: number
  next_try_at?: string
  /** Why it is unresolved, in one sentence. */
  problem?: string
  /** What the target reported: sessions cut, objects left behind. */
  report?: Json
}>

/** How a target is opened. Shown once: keep it in memory, and hand it on by environment only. */
export type SecretMaterial = Readonly<{
  kind: string
  env: Readonly<Record<string, string>>
  [member: string]: unknown
}>

export type AccessRequest = Readonly<{
  id: string
  status: string
  requester: string
  subject: string
  action: string
  resource: string
  chain: readonly string[]
  /** What the issuer of its token proved of whoever asked. */
  proved?: Json
  /** What was proved otherwise of those who asked for the same again, the last few. */
  proved_also?: readonly Json[]
  /** Who set it going, as proved. */
  instigators?: readonly string[]
  task?: string
  delegation?: string
  binding: 'attempt' | 'task'
  alternatives: readonly Alternative[]
  /** Untrusted: written by the requester. */
  justification?: string
  /** The requester says that it is urgent; it changes nothing that is needed. */
  emergency?: boolean
  ttl: string
  /** Exactly what the evidence would be given for; `digest` is what an approver signs. */
  statement: Json
  digest: string
  decision: string
  policy: string
  requested_at: string
  expires_at: string
  approvals: readonly Readonly<{ pool: string; at: string; person?: string; comment?: string }>[]
  approval?: string
  approved_at?: string
  activate_by?: string
  grant?: string
  denied_by?: string
  reason?: string
  ended_at?: string
  merged: number
  /** Pools in which the caller could approve it now. */
  may_approve?: readonly string[]
}>

/** A task with everything that hangs below it. */
export type TaskState = Readonly<{
  task: Task
  grants: readonly Grant[]
  credentials: readonly Credential[]
  requests: readonly AccessRequest[]
  children: readonly Task[]
  /** The task has ended and every credential under it was verified absent. */
  clean: boolean
  /** With `record` only. */
  record?: JoinedRecord
}>

/** Denied at once; absent per target as each is verified. */
export type Narrowing = Readonly<{
  denied: true
  /** False until the entry is durable. */
  recorded: boolean
  grants: readonly Grant[]
  credentials: readonly Credential[]
  /** More of it is denied already and ends after this answer. */
  ending?: boolean
}>

export type Sensitivity = 'low' | 'moderate' | 'high' | 'critical'

/** What is left out of an entity that exists stays as it is; `null` takes it away. */
export type EntityInput = Readonly<{
  type: string
  id: string
  kind?: 'human' | 'workload' | 'agent' | 'group' | 'resource'
  name?: string
  owner?: string | null
  team?: string | null
  /** Somebody else's, e.g. a vendor's. */
  third_party?: boolean | null
  /** Where it belongs, e.g. `production`. */
  environment?: string | null
  sensitivity?: Sensitivity
  parents?: readonly string[]
  attrs?: Properties
  /** After this instant it has no authority; `null` for never. */
  ends_at?: string | null
}>

export type Entity = Omit<EntityInput, 'owner' | 'team' | 'third_party' | 'environment' | 'ends_at'> &
  Readonly<{
    owner?: string
    team?: string
    third_party?: boolean
    environment?: string
    sensitivity: Sensitivity
    parents: readonly string[]
    attrs: Properties
    generation: number
    ends_at?: string
    locked?: Readonly<{ reason: string; at: string; until?: string }>
  }>

export type PepTrust = Readonly<{
  subjects: readonly string[]
  attributes: Readonly<Record<string, readonly string[]>>
}>

/** What a person lets an agent or a workload do for them. */
export type DelegationInput = Readonly<{
  actor: string
  /** All if left out. */
  actions?: readonly string[]
  /** Each with what is below it; all if left out. */
  resources?: readonly string[]
  ttl?: string
  reason?: string
}>

export type Delegation = Readonly<{
  id: string
  delegator: string
  actor: string
  actions?: readonly string[]
  resources?: readonly string[]
  reason?: string
  /** Whether it gives anything now. */
  live: boolean
  created_at: string
  ends_at: string
  revoked_at?: string
}>

/** An account at an issuer, and the person it is. */
export type Account = Readonly<{ issuer: string; account: string; person: string; linked_at: string }>

/** An API key without its secret. */
export type Key = Readonly<{
  id: string
  name: string
  subject: string
  pep?: PepTrust
  created_at: string
  ends_at?: string
  revoked_at?: string
}>
/** The epoch of the log, and what came back with the copy that began it: the first hundred of each. */
export type EpochState = Readonly<{
  epoch: number
  origin: string
  restored?: Readonly<{
    why: string
    at: string
    /** What changed later is not known. */
    copy_ends_at?: string
    acknowledged?: Readonly<{ by: string; at: string }>
  }>
  keys: Readonly<{ total: number; items: readonly Key[] }>
  locks: Readonly<{ total: number; items: readonly Lock[] }>
  passkeys: Readonly<{ total: number; items: readonly Passkey[] }>
  accounts: Readonly<{ total: number; items: readonly Account[] }>
  delegations: Readonly<{ total: number; items: readonly Delegation[] }>
  policy?: string
}>
export type Passkey = Readonly<{
  id: string
  person: string
  name: string
  created_at: string
  used_at?: string
}>
export type KeyInput = Readonly<{ name: string; subject: string; pep?: PepTrust; ttl?: string }>
export type Invitation = Readonly<{ code: string; ends_at: string }>
export type Session = Readonly<{ token: string; person: string; ends_at: string }>

export type TargetInput = Readonly<{
  id: string
  kind: string
  config: Properties
  admin: Readonly<{ user: string; password: string }>
}>
export type Target = Readonly<{ id: string; kind: string; config: Json; notices: readonly string[] }>
export type Finding = Readonly<{ level: 'warning' | 'error'; message: string; hint?: string }>

export type PolicyFile = Readonly<{ name: string; text: string }>
export type PolicySource = Readonly<{ policies: readonly PolicyFile[]; schema?: PolicyFile }>

/** A draft set and the recorded decisions it is to answer; instants in RFC 3339. */
export type PolicyReplay = PolicySource & Readonly<{ since: string; until?: string; limit?: number }>

export type ReplayReport = Readonly<{
  version: string
  since: string
  until: string
  replayed: number
  flipped: number
  /** Denied then, permitted by the draft. */
  widened: number
  narrowed: number
  flips: readonly Readonly<{
    subject: string
    action: string
    from: string
    to: string
    count: number
    challenges: number
    policies: readonly string[]
    examples: readonly Readonly<{ decision: string; at: string; resource: string }>[]
  }>[]
  more_flips: number
  not_evaluated: number
  lost: readonly Readonly<{ why: string; count: number }>[]
  truncated: boolean
  leaves_out: readonly string[]
}>

export type PolicyVersion = PolicySource &
  Readonly<{
    version: string
    state: 'proposed' | 'published' | 'rejected'
    composed: string
    proposed_by: string
    proposed_at: string
    agreed_by: readonly string[]
    published_at?: string
  }>

/** Who cosigns the heads of the log, and how far it did since the server started. */
export type LogWitness = Readonly<{
  name: string
  url: string
  key: string
  cosigned?: Readonly<{ size: number; at: string }>
  /** Why it did not cosign the newest head; follows its name in a sentence. */
  problem?: string
  contradicts?: true
}>

export type LogHead = Readonly<{ size: number; root: string }>
export type LogEntry = Readonly<{ seq: number; at: string; entry: Json; bytes: string }>
/** An entry of which retention has left the hash only; `leaf` is base64. */
/** What is looked for in the record: all that is given must apply. Times are RFC 3339. */
export type LogQuery = Readonly<{
  /** An id (`grant_…`), an entity (`Agent/triage`), or a term as `kind=decision`. */
  term?: string | undefined
  kind?: string | undefined
  subject?: string | undefined
  resource?: string | undefined
  action?: string | undefined
  outcome?: string | undefined
  /** From this instant on. */
  since?: string | undefined
  /** Before this instant. */
  until?: string | undefined
  /** Entries before this one: `next_cursor` of the page before. */
  before?: number | undefined
  /** 1–500; 50 if it is not given. */
  limit?: number | undefined
}>

export type PrunedLogEntry = Readonly<{ seq: number; at: string; leaf: string; pruned: true }>

/** Something that happened; `id` is its index in the log. */
export type WritEvent = Readonly<{
  id: number
  kind: string
  refs: readonly string[]
  at: string
  entry: Json
}>

export type Health = Readonly<{ status: string; version: string; problems?: readonly string[] }>

/** Something that was done under a grant, credential or task; `id` is the reporter's own, and makes it one entry. */
export type ActionReport = Readonly<{
  id: string
  grant?: string
  credential?: string
  task?: string
  action: string
  resource?: string
  at?: string
  outcome: 'succeeded' | 'failed' | 'unknown'
  detail?: Json
  /** For collectors: the user of the session at the target, and what its client calls itself. */
  role?: string
  application_name?: string
}>

export type ReportedAction = Readonly<{
  id: string
  action: string
  status: 'recorded' | 'duplicate' | 'unmatched' | 'ignored'
  grant?: string
  credential?: string
  task?: string
  /** Why the grant does not cover it. */
  outside?: readonly string[]
}>

export type RecordedAction = Readonly<{
  seq: number
  id: string
  kind: 'action.reported' | 'action.observed' | 'action.unmatched' | 'action.refused'
  reported_id: string
  recorded_at: string
  done_at?: string
  by: string
  action: string
  resource?: string
  outcome: string
  link: string
  /** The link is only what the client says of itself. */
  claimed?: boolean
  outside?: readonly string[]
  grant?: string
  credential?: string
  task?: string
  decision?: string
  request?: string
  subject?: string
  candidates?: readonly string[]
  target?: string
  role?: string
  application_name?: string
  detail?: Json
}>

/** A permit that Writ itself gave. */
export type Use = Readonly<{
  seq: number
  at: string
  decision: string
  action: string
  resource: string
  reason: string
  grant?: string
}>

/** What was asked, agreed, permitted and done, in one place; newest first. */
export type JoinedRecord = Readonly<{
  requests: readonly AccessRequest[]
  uses: readonly Use[]
  actions: readonly RecordedAction[]
  more: boolean
}>

export type ActionFlag = Readonly<{
  id: string
  kind: 'unmatched' | 'outside' | 'refused'
  what: string
  count: number
  action: string
  first_at: string
  last_at: string
  resolved_at?: string
  resolved_by?: string
  reason?: string
}>

/** One part of a rule that must hold, with what it read (no `value` where there was none) and asks. */
export type ClauseResult = Readonly<{
  kind: 'scope' | 'when' | 'unless'
  text: string
  line: number
  column: number
  endLine: number
  endColumn: number
  status: 'holds' | 'fails' | 'errors' | 'unknown'
  message?: string
  actual: readonly Readonly<{ path: string; value?: Json; unknown?: true }>[]
  required?: Readonly<{ path: string; operator: string; value?: Json }>
  /** Parts of a disjunction, of which one must hold. */
  any?: readonly ClauseResult[]
}>

export type RuleResult = Readonly<{
  policy: string
  file: string
  line: number
  effect: 'permit' | 'forbid'
  clauses: readonly ClauseResult[]
}>

/** Why a decision fell as it did; `explanation` is null where no policy was asked, or nothing is left to tell. */
export type ExplainedDecision = Readonly<{
  decision: Json
  explanation: Readonly<{
    determining: readonly Omit<RuleResult, 'clauses'>[]
    /** Forbids that fired, with what made them fire. */
    fired: readonly RuleResult[]
    /** Permits in scope that do not apply, those with the fewest clauses in the way first. */
    nearest: readonly RuleResult[]
    inScope: number
    mismatch?: string
    /** Whom it is about, where that is somebody on whose behalf it was tried. */
    principal?: string
    /** Something was left out or shortened. */
    cut?: true
  }> | null
  /** Why it cannot be told any more. */
  lost?: string
}>
