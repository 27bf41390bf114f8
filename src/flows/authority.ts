/**
 * What a subject could do at an instant, and why: from the log alone, whatever has happened since.
 *
 * @module
 */
import { setImmediate as breathe } from 'node:timers/promises'
import type { Caller } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import type { Json } from '../model/canonical.ts'
import type { Entity, EntityRef } from '../model/entity.ts'
import { isOver, refKey } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Scope, Task } from '../model/task.ts'
import { openTask } from '../model/task.ts'
import type { Instant } from '../model/time.ts'
import { ownFacts } from '../context/facts.ts'
import { cedarEntity } from '../identity/inventory.ts'
import type { EntityData, PolicySet } from '../policy/index.ts'
import { NO_PROOF, writSystem } from '../policy/index.ts'
import type { Store } from '../store/port.ts'
import type { Attempts } from './attempts.ts'
import type { Entry, History, Inventory, Whole } from './history.ts'

/** One approval as it was given: the statement is what its giver was shown. */
export type ApprovalThen = Readonly<{
  by: string
  pool: string
  at: Instant
  /** Digest of the statement. */
  statement: string
  comment?: string
}>

export type GrantThen = Readonly<{
  id: string
  action: string
  resource: string
  binding: 'attempt' | 'task'
  task?: string
  /** What the task may touch, when the grant is bound to it. */
  scope?: Scope
  startedAt: Instant
  endsAt: Instant
  uses?: number
  usesLeft?: number
  /** The decision that made it, and the policy set it was made under. */
  decision: string
  policy: string
  determining: readonly string[]
  request?: string
  statement: Json
  approvals: readonly ApprovalThen[]
  justification?: string
}>

export type CredentialThen = Readonly<{
  id: string
  state: 'planned' | 'live' | 'revoking' | 'unresolved'
  grant?: string
  target: string
  /** Its name at the target, e.g. a database role. */
  name: string
  endsAt: Instant
}>

export type TaskThen = Readonly<{
  id: string
  state: 'declared' | 'open'
  purpose: string
  scope: Scope
  declaredAt: Instant
  openedAt?: Instant
  /** Of an open task; a heartbeat that stays away ends it before. */
  endsAt?: Instant
  parent?: string
}>

/** An access token of ours that it could use: what it was for, and what was proved for it. */
export type TokenThen = Readonly<{
  id: string
  audience: string
  /** Actions on the audience, and `action on Type/id` for others. */
  scope: readonly string[]
  /** The acting party first. */
  chain: readonly string[]
  proofs: readonly ProofThen[]
  decisions: readonly string[]
  issuedAt: Instant
  endsAt: Instant
  /** Thumbprint of the key that it was bound to. */
  jkt?: string
}>

export type ProofThen = Readonly<{
  chain: readonly string[]
  /** The configured issuer, or the client or token of ours that proved it. */
  issuer?: string
  client?: string
  token?: string
  jti?: string
  instigator?: Json
  workload?: Json
}>

/** Somebody let it act for them. */
export type DelegationThen = Readonly<{
  id: string
  delegator: string
  actions?: readonly string[]
  resources?: readonly string[]
  reason?: string
  madeAt: Instant
  endsAt: Instant
}>

export type RequestThen = Readonly<{
  id: string
  state: 'pending' | 'approved'
  action: string
  resource: string
  task?: string
  requestedAt: Instant
  /** Until when it can be answered, or its approval activated. */
  until: Instant
  approvals: readonly ApprovalThen[]
}>

export type LockThen = Readonly<{ reason: string; at: Instant; by?: string; until?: Instant }>

export type StandingThen = Readonly<{ action: string; resource: string; policies: readonly string[] }>

export type DecisionThen = Readonly<{
  id: string
  at: Instant
  outcome: string
  reason: string
  action: string
  resource: string
}>

export type Authority = Readonly<{
  subject: string
  at: Instant
  /** Everything before this entry counts. */
  seq: number
  /** Whether it was registered, and what would deny everything. */
  registered: boolean
  over?: 'locked' | 'deleted' | 'ended'
  policy?: Readonly<{ version: string; schema: string; publishedAt: Instant }>
  locks: readonly LockThen[]
  grants: readonly GrantThen[]
  credentials: readonly CredentialThen[]
  tasks: readonly TaskThen[]
  tokens: readonly TokenThen[]
  delegations: readonly DelegationThen[]
  requests: readonly RequestThen[]
  /** What policy permits without evidence, on what was registered then. */
  standing: readonly StandingThen[]
  /** How many pairs of action and resource were tried. */
  tried: number
  before: readonly DecisionThen[]
  after: readonly DecisionThen[]
  /** A bound was reached: there may be more. */
  truncated: boolean
  /** What this answer cannot tell. */
  leavesOut: readonly string[]
}>

/** Most of each kind that are looked at. */
const MOST = 1_000
/** Pairs of action and resource that are tried. */
const MOST_PAIRS = 5_000
const AT_ONCE = 50
const AROUND = 5

const LEAVES_OUT = [
  'standing rights are tried without context, facts of a task or evidence, and on registered resources only',
  'heartbeats are not on the record: a task that had lapsed but was not swept yet counts as open',
] as const

export class Authorities {
  readonly #store: Store
  readonly #attempts: Attempts
  readonly #history: History

  constructor(store: Store, attempts: Attempts, history: History) {
    this.#store = store
    this.#attempts = attempts
    this.#history = history
  }

  /**
   * For who may read the record.
   *
   * @throws {WritError} `ERR_FORBIDDEN`; `ERR_INPUT_INVALID` for an instant that has not come.
   */
  async at(caller: Caller, subject: EntityRef, at: Instant): Promise<Authority> {
    if (!(await this.#attempts.may(caller, 'read')))
      throw new WritError('ERR_FORBIDDEN', `${refKey(caller.subject)} may not read the log`)
    const { now } = await this.#store.read([])
    if (at > now) {
      throw new WritError('ERR_INPUT_INVALID', '`at` has not come yet', {
        hint: 'what it can do now is asked with `writ can-i`',
      })
    }
    const question = new Question(this.#store, this.#history, subject, at)
    return question.answer()
  }
}

class Question {
  readonly #store: Store
  readonly #history: History
  readonly #subject: EntityRef
  readonly #key: string
  readonly #at: Instant
  #seq = 0
  #looked = 0
  #truncated = false

  constructor(store: Store, history: History, subject: EntityRef, at: Instant) {
    this.#store = store
    this.#history = history
    this.#subject = { type: subject.type, id: subject.id }
    this.#key = refKey(subject)
    this.#at = at
  }

  async answer(): Promise<Authority> {
    // what happened in this millisecond had happened
    this.#seq = await this.#store.log.seqAt(this.#at + 1)
    const state = await this.#history.entityBefore(this.#key, this.#seq)
    const entity = state?.entity
    const over = overBy(entity, this.#at)
    const tasks = await this.#tasks()
    const grants = await this.#grants()
    const standing = await this.#standing(over !== undefined)
    return {
      subject: this.#key,
      at: this.#at,
      seq: this.#seq,
      registered: entity !== undefined && entity.deletedAt === undefined,
      ...(over === undefined ? {} : { over }),
      ...(standing.policy === undefined ? {} : { policy: standing.policy }),
      locks: await this.#locks(entity),
      grants,
      credentials: await this.#credentials(),
      tasks,
      tokens: over === undefined ? await this.#tokens() : [],
      delegations: over === undefined ? await this.#delegations() : [],
      requests: await this.#requests(),
      standing: standing.rights,
      tried: standing.tried,
      before: await this.#before(),
      after: await this.#after(),
      truncated: this.#truncated,
      leavesOut: [...LEAVES_OUT, ...standing.leavesOut],
    }
  }

  async #breathe(): Promise<void> {
    this.#looked += 1
    if (this.#looked % AT_ONCE === 0) await breathe()
  }

  /** Entries of the subject of one kind before the instant, newest first. */
  async *#mine(kind: string): AsyncGenerator<Whole> {
    const seqs = await this.#history.seqs([this.#key, `kind=${kind}`], { before: this.#seq, most: MOST })
    if (seqs.length === MOST) this.#truncated = true
    for (const seq of seqs) {
      await this.#breathe()
      const found = await this.#history.whole(seq)
      if (found !== undefined) yield found
    }
  }

  #last(...terms: string[]): Promise<Whole | undefined> {
    return this.#history.last(terms, this.#seq)
  }

  /** The newest entry of a kind about a task itself: those about tasks below it are found under it too. */
  async #ofTask(id: string, kind: string): Promise<Whole | undefined> {
    for (const seq of await this.#history.seqs([id, `kind=${kind}`], { before: this.#seq, most: MOST })) {
      await this.#breathe()
      const found = await this.#history.whole(seq)
      if (found?.entry['task'] === id) return found
    }
    return undefined
  }

  async #locks(entity: Entity | undefined): Promise<LockThen[]> {
    const locked = entity?.locked
    if (locked === undefined || this.#at >= (locked.until ?? Infinity)) return []
    const entry = (await this.#last(this.#key, 'kind=subject.locked'))?.entry
    const by = entry?.['by']
    return [
      {
        reason: locked.reason,
        at: locked.at,
        ...(typeof by === 'string' ? { by } : {}),
        ...(locked.until === undefined ? {} : { until: locked.until }),
      },
    ]
  }

  async #grants(): Promise<GrantThen[]> {
    const grants: GrantThen[] = []
    for await (const { entry, at } of this.#mine('grant.activated')) {
      const id = entry['grant'] as string
      const shortened = await this.#last(id, 'kind=grant.shortened')
      const endsAt = (shortened?.entry['ends_at'] ?? entry['ends_at']) as number
      if (this.#at >= endsAt || (await this.#last(id, 'kind=grant.ended')) !== undefined) continue
      const made = await this.#history.decision(entry['decision'] as string)
      // a grant without the decision that made it: retention took that, the rest still holds
      const attempt = made?.entry['attempt'] as Partial<Attempt> | undefined
      const request = entry['request'] as string | undefined
      const asked = request === undefined ? undefined : await this.#last(request, 'kind=request.submitted')
      const uses = entry['uses'] as number | undefined
      const task = attempt?.task
      const declared = task === undefined ? undefined : await this.#ofTask(task, 'task.declared')
      const used = await this.#used(id, entry)
      const binding = entry['binding'] as 'attempt' | 'task'
      const justification = (asked?.entry['statement'] as Entry | undefined)?.['justification']
      grants.push({
        id,
        action: attempt?.action?.name ?? '',
        resource: attempt?.resource === undefined ? '' : refKey(attempt.resource),
        binding,
        ...(task === undefined ? {} : { task }),
        ...(binding !== 'task' || declared === undefined
          ? {}
          : { scope: (declared.entry['declared'] as unknown as Task).scope }),
        startedAt: at,
        endsAt,
        ...(uses === undefined ? {} : { uses, usesLeft: Math.max(0, uses - used) }),
        decision: entry['decision'] as string,
        policy: (made?.entry['policy'] as string | undefined) ?? '',
        determining: (made?.entry['determining'] as readonly string[] | undefined) ?? [],
        ...(request === undefined ? {} : { request }),
        statement: asked?.entry['statement'] ?? (entry['statement'] as string),
        approvals: request === undefined ? [] : await this.#approvals(request),
        ...(typeof justification === 'string' ? { justification } : {}),
      })
    }
    return grants
  }

  /** Uses spent by then: what the last permit under it left. */
  async #used(grant: string, activated: Entry): Promise<number> {
    const last = await this.#last(grant, 'kind=decision', 'outcome=permit')
    const used = last?.entry['grant'] === grant ? last.entry['grant_used'] : undefined
    return (used ?? activated['used'] ?? 0) as number
  }

  async #approvals(request: string): Promise<ApprovalThen[]> {
    const given: ApprovalThen[] = []
    const seqs = await this.#history.seqs([request, 'kind=approval.given'], { before: this.#seq, most: MOST })
    for (const seq of seqs.toReversed()) {
      const found = await this.#history.whole(seq)
      if (found === undefined) continue
      const { by, pool, statement, comment } = found.entry
      given.push({
        by: by as string,
        pool: pool as string,
        at: found.at,
        statement: statement as string,
        ...(typeof comment === 'string' ? { comment } : {}),
      })
    }
    return given
  }

  /** Credentials that were not yet verified absent: also of grants that had ended. */
  async #credentials(): Promise<CredentialThen[]> {
    const credentials: CredentialThen[] = []
    for await (const { entry } of this.#mine('credential.planned')) {
      const id = entry['credential'] as string
      if ((await this.#last(id, 'kind=credential.absent')) !== undefined) continue
      const grant = (entry['refs'] as readonly string[])[1]
      const ended = grant === undefined ? undefined : await this.#last(grant, 'kind=grant.ended')
      const lived = await this.#last(id, 'kind=credential.live')
      const gone = await this.#last(id, 'kind=credential.abandoned')
      const unresolved = await this.#last(id, 'kind=credential.unresolved')
      const state =
        unresolved !== undefined
          ? 'unresolved'
          : ended !== undefined || gone !== undefined
            ? 'revoking'
            : lived === undefined
              ? 'planned'
              : 'live'
      credentials.push({
        id,
        state,
        ...(grant === undefined ? {} : { grant }),
        target: entry['target'] as string,
        name: entry['name'] as string,
        endsAt: entry['ends_at'] as number,
      })
    }
    return credentials
  }

  async #tasks(): Promise<TaskThen[]> {
    const tasks: TaskThen[] = []
    for await (const { entry, at } of this.#mine('task.declared')) {
      const id = entry['task'] as string
      if ((await this.#ofTask(id, 'task.ended')) !== undefined) continue
      const declared = entry['declared'] as unknown as Task
      const opened = await this.#openedAt(id)
      const { endsAt } = opened === undefined ? { endsAt: undefined } : await this.#opened(declared, opened)
      tasks.push({
        id,
        state: opened === undefined ? 'declared' : 'open',
        purpose: declared.purpose,
        scope: declared.scope,
        declaredAt: at,
        ...(opened === undefined ? {} : { openedAt: opened }),
        ...(endsAt === undefined ? {} : { endsAt }),
        ...(declared.parent === undefined ? {} : { parent: declared.parent }),
      })
    }
    return tasks
  }

  /** Tokens that it acted with: neither ended, taken back nor used up, and everything that they hang on alive. */
  async #tokens(): Promise<TokenThen[]> {
    const tokens: TokenThen[] = []
    for await (const { entry, at } of this.#mine('token.issued')) {
      const names = (member: string): readonly string[] => (entry[member] ?? []) as readonly string[]
      const id = entry['token'] as string
      const endsAt = entry['ends_at'] as number
      if (names('chain')[0] !== this.#key || this.#at >= endsAt) continue
      if (await this.#isOver(id, ['token.revoked', 'token.used'])) continue
      const behind = [
        ...names('grants').map((grant) => this.#isOver(grant, ['grant.ended'])),
        ...names('tasks').map(async (task) => (await this.#ofTask(task, 'task.ended')) !== undefined),
        ...names('parents').map((parent) => this.#isOver(parent, ['token.revoked'])),
      ]
      if ((await Promise.all(behind)).includes(true)) continue
      const details = (entry['details'] ?? []) as unknown as readonly Readonly<{
        action: string
        resource: EntityRef
      }>[]
      const jkt = entry['jkt']
      tokens.push({
        id,
        audience: entry['audience'] as string,
        scope: [
          ...names('scope'),
          ...details.map(({ action, resource }) => `${action} on ${refKey(resource)}`),
        ],
        chain: names('chain'),
        proofs: (entry['proofs'] ?? []) as unknown as readonly ProofThen[],
        decisions: names('decisions'),
        issuedAt: at,
        endsAt,
        ...(typeof jkt === 'string' ? { jkt } : {}),
      })
    }
    return tokens
  }

  async #delegations(): Promise<DelegationThen[]> {
    const delegations: DelegationThen[] = []
    for await (const { entry, at } of this.#mine('delegation.made')) {
      const { delegation, actor, delegator, actions, resources, reason } = entry
      const endsAt = entry['ends_at'] as number
      if (actor !== this.#key || this.#at >= endsAt) continue
      if (await this.#isOver(delegation as string, ['delegation.revoked'])) continue
      delegations.push({
        id: delegation as string,
        delegator: delegator as string,
        ...(actions === undefined ? {} : { actions: actions as readonly string[] }),
        ...(resources === undefined ? {} : { resources: resources as readonly string[] }),
        ...(typeof reason === 'string' ? { reason } : {}),
        madeAt: at,
        endsAt,
      })
    }
    return delegations
  }

  /** Whether one of the entries that end it stands in the record by then. */
  async #isOver(id: string, kinds: readonly string[]): Promise<boolean> {
    for (const kind of kinds) if ((await this.#last(id, `kind=${kind}`)) !== undefined) return true
    return false
  }

  /** A task opens with the first permit under it or under a task below it. */
  async #openedAt(id: string, depth = 0): Promise<Instant | undefined> {
    if (depth > 16) return undefined
    const permits = await this.#store.log.find(id, { limit: MOST })
    let first: Instant | undefined
    for (const seq of permits) {
      if (seq >= this.#seq) break
      await this.#breathe()
      const found = await this.#history.whole(seq)
      if (found === undefined) continue
      const { entry, at } = found
      const attempt = entry['attempt'] as Partial<Attempt> | undefined
      if (entry['kind'] === 'decision' && entry['outcome'] === 'permit' && attempt?.task === id) first ??= at
      const declared = entry['declared'] as unknown as Task | undefined
      if (entry['kind'] !== 'task.declared' || declared?.parent !== id) continue
      const below = await this.#openedAt(declared.id, depth + 1)
      if (below !== undefined) first = Math.min(first ?? below, below)
    }
    return first
  }

  async #opened(declared: Task, at: Instant): Promise<{ endsAt: Instant | undefined }> {
    let latest = Infinity
    if (declared.parent !== undefined) {
      const above = await this.#ofTask(declared.parent, 'task.declared')
      const parent = above?.entry['declared'] as unknown as Task | undefined
      const openedAt = parent === undefined ? undefined : await this.#openedAt(parent.id)
      if (parent !== undefined && openedAt !== undefined)
        latest = (await this.#opened(parent, openedAt)).endsAt ?? Infinity
    }
    return { endsAt: openTask({ ...declared, state: 'declared' }, at, latest).endsAt }
  }

  async #requests(): Promise<RequestThen[]> {
    const requests: RequestThen[] = []
    for await (const { entry, at } of this.#mine('request.submitted')) {
      const id = entry['request'] as string
      const ended =
        (await this.#last(id, 'kind=request.denied')) ?? (await this.#last(id, 'kind=request.ended'))
      if (ended !== undefined) continue
      const approved = await this.#last(id, 'kind=request.approved')
      const until = (approved?.entry['activate_by'] ?? entry['expires_at']) as number
      if (this.#at >= until) continue
      if (approved !== undefined && (await this.#spent(id))) continue
      const denial = await this.#history.decision(entry['decision'] as string)
      const attempt = denial?.entry['attempt'] as Partial<Attempt> | undefined
      requests.push({
        id,
        state: approved === undefined ? 'pending' : 'approved',
        action: attempt?.action?.name ?? '',
        resource: attempt?.resource === undefined ? '' : refKey(attempt.resource),
        ...(attempt?.task === undefined ? {} : { task: attempt.task }),
        requestedAt: at,
        until,
        approvals: await this.#approvals(id),
      })
    }
    return requests
  }

  async #spent(request: string): Promise<boolean> {
    const seqs = await this.#history.seqs([this.#key, 'kind=grant.activated'], {
      before: this.#seq,
      most: MOST,
    })
    for (const seq of seqs) {
      await this.#breathe()
      if ((await this.#history.whole(seq))?.entry['request'] === request) return true
    }
    return false
  }

  async #standing(over: boolean): Promise<{
    policy?: Authority['policy'] & object
    rights: StandingThen[]
    tried: number
    leavesOut: string[]
  }> {
    const none = (why: string) => ({ rights: [], tried: 0, leavesOut: [why] })
    const published = await this.#last('kind=policy.published')
    if (published === undefined) return none('no policy set was in force')
    const version = published.entry['policy'] as string
    const known = await this.#history.policy(version, { before: this.#seq })
    if ('ok' in known) return none(`standing rights: ${known.why}`)
    const policy = { version, schema: known.schema, publishedAt: published.at }
    if (over) return { policy, rights: [], tried: 0, leavesOut: [] }
    const set = await this.#history.set(known)
    const inventory = await this.#history.inventoryBefore(this.#seq)
    return { policy, ...(await this.#rights(set, inventory)), leavesOut: [] }
  }

  /** Every action of the schema on every registered resource that it takes, as policy alone answers. */
  async #rights(set: PolicySet, inventory: Inventory): Promise<{ rights: StandingThen[]; tried: number }> {
    const rights: StandingThen[] = []
    const { live, unknown } = ownFacts(this.#at, 'writ', [this.#subject], undefined)
    const all = inventory.entities
    let tried = 0
    for (const { uid, principals, resources } of set.actions) {
      const isWrits = uid.type === 'Writ::Action'
      // who may give which kind of approval depends on what it is for
      if (!principals.has(this.#subject.type) || (isWrits && uid.id === 'approve')) continue
      const on = isWrits ? [writSystem] : all.filter(({ type }) => resources.has(type))
      for (const resource of on) {
        if (tried >= MOST_PAIRS) {
          this.#truncated = true
          return { rights, tried }
        }
        tried += 1
        await this.#breathe()
        const evaluation = set.evaluate({
          principal: this.#subject,
          action: uid,
          resource: { type: resource.type, id: resource.id },
          context: {},
          live,
          unknown,
          proof: NO_PROOF,
          entities: closureOf(inventory, [this.#subject, resource]),
        })
        if (evaluation.decision !== 'permit') continue
        const action = uid.type === 'Action' ? uid.id : isWrits ? `Writ::${uid.id}` : `${uid.type}::${uid.id}`
        rights.push({ action, resource: refKey(resource), policies: evaluation.determining })
      }
    }
    return { rights, tried }
  }

  async #before(): Promise<DecisionThen[]> {
    const seqs = await this.#history.seqs([this.#key, 'kind=decision'], { before: this.#seq, most: AROUND })
    return this.#described(seqs)
  }

  async #after(): Promise<DecisionThen[]> {
    const found: number[] = []
    let after = this.#seq - 1
    for (let pages = 0; pages < 10 && found.length < AROUND; pages += 1) {
      const seqs = await this.#store.log.find(this.#key, { limit: 100, ...(after < 0 ? {} : { after }) })
      for (const seq of seqs) {
        after = seq
        await this.#breathe()
        if (found.length < AROUND && (await this.#history.decision(seq)) !== undefined) found.push(seq)
      }
      if (seqs.length === 0) break
    }
    return this.#described(found)
  }

  async #described(seqs: readonly number[]): Promise<DecisionThen[]> {
    const decisions: DecisionThen[] = []
    for (const seq of seqs) {
      const found = await this.#history.whole(seq)
      if (found === undefined) continue
      const { entry, at } = found
      const attempt = entry['attempt'] as Partial<Attempt> | undefined
      decisions.push({
        id: entry['id'] as string,
        at,
        outcome: entry['outcome'] as string,
        reason: entry['reason'] as string,
        action: attempt?.action?.name ?? '',
        resource: attempt?.resource === undefined ? '' : refKey(attempt.resource),
      })
    }
    return decisions
  }
}

function overBy(entity: Entity | undefined, at: Instant): Authority['over'] {
  if (!isOver(entity, at)) return undefined
  if (entity?.deletedAt !== undefined) return 'deleted'
  return entity?.locked !== undefined && at < (entity.locked.until ?? Infinity) ? 'locked' : 'ended'
}

/** What policy is given of `refs`: they, their owners, and all above them. */
function closureOf(inventory: Inventory, refs: readonly EntityRef[]): readonly EntityData[] {
  const found = new Map<string, EntityData>()
  const visit = (ref: EntityRef): void => {
    const entity = inventory.get(refKey(ref))?.entity
    if (entity === undefined || entity.deletedAt !== undefined || found.has(refKey(ref))) return
    found.set(refKey(ref), cedarEntity(entity))
    entity.parents.forEach(visit)
  }
  refs.forEach(visit)
  for (const ref of refs) {
    const entity = inventory.get(refKey(ref))?.entity
    if (entity === undefined || entity.deletedAt !== undefined) continue
    for (const owner of [entity.owner, entity.team]) if (owner !== undefined) visit(owner)
  }
  return [...found.values()]
}
