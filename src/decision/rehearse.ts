/**
 * Rehearsing a decision: what a server with this inventory and these policies would answer, without one. Nothing is
 * read from outside, recorded or spent; the one analysis there is runs over records that are made up for it.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import { attemptStatement } from '../model/attempt.ts'
import type { Json } from '../model/canonical.ts'
import type { Action, Entity, EntityInput, EntityRef, Properties } from '../model/entity.ts'
import { refKey, sameRef } from '../model/entity.ts'
import type { Fact } from '../model/fact.ts'
import { factId } from '../model/fact.ts'
import type { Grant, Obligations } from '../model/grant.ts'
import type { Passkey } from '../model/identity.ts'
import type { Reason } from '../model/outcome.ts'
import type { IndexName, Kind } from '../model/records.ts'
import { indexes } from '../model/records.ts'
import type { RequirementSet } from '../model/request.ts'
import type { Task } from '../model/task.ts'
import type { Instant } from '../model/time.ts'
import { HOUR } from '../model/time.ts'
import { cedarEntity, checkHierarchy, toEntity } from '../identity/inventory.ts'
import type { EntityData, Evaluation, Explanation, PolicySet, Proof, Query } from '../policy/index.ts'
import { NO_PROOF } from '../policy/index.ts'
import type { Read, Store, Stored, View } from '../store/port.ts'
import type { Analysis, DecisionDeps } from './analyse.ts'
import { analyse } from './analyse.ts'
import { NO_SOURCES } from '../context/port.ts'
import { Barrier } from './barrier.ts'
import { Givers } from './givers.ts'
import { Policies } from './policies.ts'
import { actionUid } from './redecide.ts'
import { digestOf } from './statement.ts'

/**
 * The task that the attempt names. What is left out is as favourable as a task can be: open since `now`, made for this
 * one attempt, without limits, declared by its subject.
 */
export type RehearsedTask = Partial<Omit<Task, 'subject' | 'chain' | 'caller'>>

/**
 * One attempt and everything that is known when it is made. `entities` is the whole inventory: who could give an
 * approval is found in it. `asserted` are properties that the enforcement point is trusted for. `facts` replace what
 * Writ would know by itself; `unknown` names facts that nobody could tell. `evidence` was given for exactly this attempt.
 */
export type Rehearsal = Readonly<{
  set: PolicySet
  entities: readonly Entity[]
  subject: EntityRef
  action: Action
  resource: EntityRef
  context?: Properties
  asserted?: Readonly<{ subject?: Properties; resource?: Properties }>
  task?: RehearsedTask
  facts?: Readonly<Record<string, Json>>
  unknown?: readonly string[]
  evidence?: Readonly<{
    approvals?: Readonly<Record<string, number>>
    justification?: boolean
    reauth?: boolean
  }>
  now: Instant
}>

/**
 * The answer, and how policy came to it with the evidence that there was. `evaluation` and `explanation` are missing
 * when the task or the subject denied before any policy was asked.
 */
export type Rehearsed = Readonly<{
  outcome: 'permit' | 'deny' | 'challenge'
  reason: Reason
  alternatives: readonly RequirementSet[]
  truncated: boolean
  /** Of a permit; `binding` is what a grant would be bound to. */
  obligations: Obligations
  /** What policy was given as evidence. */
  proof: Proof
  evaluation?: Evaluation
  explanation?: Explanation
  /** What policy was asked. */
  query?: Query
  /** What it was asked to find who could approve, unless that was known already. */
  others: readonly Query[]
  dropped: readonly string[]
}>

const INSTALLATION = 'rehearsal'
const CALLER = 'rehearsal'
const TASK = 'task_rehearsal'

/** Decides `rehearsal` as a server would. */
export async function rehearse(rehearsal: Rehearsal): Promise<Rehearsed> {
  const { now, evidence, asserted = {} } = rehearsal
  const subject = bare(rehearsal.subject)
  const resource = bare(rehearsal.resource)
  const task = taskOf(rehearsal, subject, resource)
  const attempt: Attempt = {
    subject: { ...subject, ...(asserted.subject === undefined ? {} : { properties: asserted.subject }) },
    action: rehearsal.action,
    resource: { ...resource, ...(asserted.resource === undefined ? {} : { properties: asserted.resource }) },
    context: rehearsal.context ?? {},
    chain: [subject],
    ...(task === undefined ? {} : { task: task.id }),
  }
  const stage = stageOf(rehearsal.entities)
  const caller: Caller = {
    id: CALLER,
    kind: 'key',
    subject,
    generation: stage.entity(subject)?.generation ?? 0,
    pep: { subjects: ['*'], attributes: trusted([attempt.subject, attempt.resource]) },
  }
  const heard = new Heard(rehearsal, subject, resource)
  const deps = depsOf(stage.at(now, rehearsal.set.version, task), heard.set, stage.givers(now))

  let found = await analyse(deps, caller, attempt)
  let proof = found.proof as unknown as Proof
  if (found.outcome !== 'permit' && found.says !== undefined && evidence !== undefined) {
    const grant = grantOf(rehearsal, attempt, stage)
    const again = await analyse(deps, caller, attempt, { again: grant, own: 0 })
    if (again.outcome === 'permit') {
      found = again
      proof = again.proof as unknown as Proof
    } else {
      const { approvals = {}, justification = false, reauth = false } = evidence
      proof = { approvals, justification: justification || proof.justification, reauth }
    }
  }
  return { ...answerOf(found, proof), ...heard.retell(proof), others: heard.others, dropped: found.dropped }
}

function answerOf(found: Analysis, proof: Proof) {
  const { outcome, reason, alternatives, truncated, obligations, says } = found
  const given = { ...proof, approvals: { ...proof.approvals } }
  return {
    outcome,
    reason,
    alternatives,
    truncated,
    obligations,
    proof: says === undefined ? NO_PROOF : given,
  }
}

/** The policy set as the analysis hears it: with the facts of the rehearsal, and remembering what it was asked. */
class Heard {
  readonly set: PolicySet
  readonly #inner: PolicySet
  readonly others: Query[] = []
  #query: Omit<Query, 'proof'> | undefined

  constructor(rehearsal: Rehearsal, subject: EntityRef, resource: EntityRef) {
    const { set, facts = {}, unknown = [] } = rehearsal
    this.#inner = set
    const action = actionUid(rehearsal.action.name)
    const told = <Q extends Omit<Query, 'proof'>>(query: Q): Q => {
      // who may approve is another question, asked of the same set
      const own =
        sameRef(query.principal, subject) &&
        sameRef(query.action, action) &&
        sameRef(query.resource, resource)
      if (!own) {
        if ('proof' in query) this.others.push(query as unknown as Query)
        return query
      }
      const live = Object.fromEntries(
        Object.entries({ ...query.live, ...facts }).filter(([name]) => !unknown.includes(name)),
      )
      const heard = { ...query, live, unknown: new Set([...query.unknown, ...unknown]) }
      this.#query = heard
      return heard
    }
    const answers: Pick<PolicySet, 'ask' | 'evaluate' | 'explain'> = {
      ask: (query) => set.ask(told(query)),
      evaluate: (query) => set.evaluate(told(query)),
      explain: (query) => set.explain(told(query)),
    }
    this.set = new Proxy(set, {
      get(target, name) {
        if (Object.hasOwn(answers, name)) return answers[name as keyof typeof answers]
        // private members of the set are found on the set alone
        const value: unknown = Reflect.get(target, name, target)
        return typeof value === 'function' ? (value.bind(target) as unknown) : value
      },
    })
  }

  /** What the attempt was answered with `proof`, and why. */
  retell(proof: Proof): Pick<Rehearsed, 'evaluation' | 'explanation' | 'query'> {
    if (this.#query === undefined) return {}
    const asked = this.#inner.ask(this.#query)
    return {
      evaluation: asked.evaluate(proof),
      explanation: asked.explain(proof),
      query: { ...this.#query, proof },
    }
  }
}

/** A store of nothing but an inventory, kept for as long as the inventory is: a matrix of tests asks it many times. */
class Stage {
  readonly #entities: readonly Stored<'entity'>[]
  readonly #byKey: ReadonlyMap<string, Stored<'entity'>>
  readonly #indexed = new Map<string, readonly Stored<Kind>[]>()
  readonly #givers = new Map<Instant, Givers>()

  constructor(entities: readonly Entity[]) {
    this.#entities = entities
      .map((value) => ({ kind: 'entity' as const, id: refKey(value), version: 1, value }))
      .sort((a, b) => (a.id < b.id ? -1 : 1))
    this.#byKey = new Map(this.#entities.map((stored) => [stored.id, stored]))
    for (const name of ['entity.kind', 'entity.parent', 'entity.type'] as const) {
      for (const stored of this.#entities) {
        for (const value of indexes[name].values(stored.value)) {
          const key = `${name}\n${value}`
          this.#indexed.set(key, [...(this.#indexed.get(key) ?? []), stored])
        }
      }
    }
    for (const { id, value } of this.#entities)
      if (value.kind === 'human') this.#indexed.set(`passkey.person\n${id}`, [passkeyOf(value)])
  }

  entity(ref: EntityRef): Entity | undefined {
    return this.#byKey.get(refKey(ref))?.value
  }

  /** Who may give what is the same for all attempts of one instant. */
  givers(now: Instant): Givers {
    let known = this.#givers.get(now)
    if (known === undefined) {
      known = new Givers(readOnly(this.#reader(now, new Map())))
      this.#givers.clear()
      this.#givers.set(now, known)
    }
    return known
  }

  /** The store in which this policy set is in force, and this task there is. */
  at(now: Instant, version: string, task: Task | undefined): Store {
    const records = new Map<string, Stored<Kind>>([
      ['meta\npolicy', { kind: 'meta', id: 'policy', version: 1, value: { version } }],
    ])
    if (task !== undefined)
      records.set(`task\n${task.id}`, { kind: 'task', id: task.id, version: 1, value: task })
    const calendar = task?.window?.calendar?.name
    if (calendar !== undefined) {
      const fact = readJust(calendar, now)
      records.set(`fact\n${fact.id}`, { kind: 'fact', id: fact.id, version: 1, value: fact })
    }
    return readOnly(this.#reader(now, records))
  }

  #reader(now: Instant, records: ReadonlyMap<string, Stored<Kind>>): Pick<Store, 'read' | 'list'> {
    const scan = (index: IndexName, value: string): readonly Stored<Kind>[] =>
      this.#indexed.get(`${index}\n${value}`) ?? []
    const view: View = {
      now,
      get: <K extends Kind>(kind: K, id: string) =>
        (kind === 'entity' ? this.#byKey.get(id) : records.get(`${kind}\n${id}`)) as Stored<K> | undefined,
      scan: ((index: IndexName, value: string) => scan(index, value)) as View['scan'],
    }
    return {
      read: (_reads: readonly Read[]) => Promise.resolve(view),
      list: <K extends Kind>(kind: K, { index, value, after = '', limit = 100 }: Listing = {}) => {
        const none: readonly Stored<Kind>[] = []
        const all = kind !== 'entity' ? none : index === undefined ? this.#entities : scan(index, value ?? '')
        const rest = all.filter(({ id }) => id > after)
        const items = rest.slice(0, limit) as readonly Stored<Kind>[] as readonly Stored<K>[]
        return Promise.resolve({ items, next: rest.length > limit ? items.at(-1)?.id : undefined })
      },
    }
  }
}

/** In a rehearsal the calendar that a window is of was read just now. */
function readJust(calendar: string, now: Instant): Fact {
  const [name, about, by] = ['calendar', calendar, 'rehearsal'] as const
  const value = { events: [] }
  return { id: factId(name, about), name, about, value, observedAt: now, receivedAt: now, source: by, by }
}

/** In a rehearsal whoever is a person can prove that it is them. */
function passkeyOf({ type, id, generation }: Entity): Stored<'passkey'> {
  const passkey: Passkey = {
    id: 'rehearsal',
    person: { type, id },
    generation,
    publicKey: '',
    counter: 0,
    transports: [],
    rp: 'rehearsal',
    name: 'rehearsal',
    synced: false,
    createdAt: 0,
  }
  return { kind: 'passkey', id: passkey.id, version: 1, value: passkey }
}

type Listing = NonNullable<Parameters<Store['list']>[1]>

const stages = new WeakMap<readonly Entity[], Stage>()

function stageOf(entities: readonly Entity[]): Stage {
  let stage = stages.get(entities)
  if (stage === undefined) {
    stage = new Stage(entities)
    stages.set(entities, stage)
  }
  return stage
}

/** An analysis is free of effect: of a store it needs no more than this. */
function readOnly(reader: Pick<Store, 'read' | 'list'>): Store {
  return reader as Store
}

function depsOf(store: Store, set: PolicySet, givers: Givers): DecisionDeps {
  const policies = new Policies()
  policies.add(set)
  return {
    store,
    policies,
    barrier: new Barrier(),
    givers,
    context: NO_SOURCES,
    installation: INSTALLATION,
    // a rehearsal is the same on a slow machine: the search is bounded by its candidates alone
    monotonic: () => 0,
    newId: (prefix) => `${prefix}_rehearsal`,
    longestGrant: Infinity,
    thirdPartyGrant: Infinity,
    mayChallenge: () => true,
  }
}

function taskOf({ task, action, now }: Rehearsal, subject: EntityRef, resource: EntityRef): Task | undefined {
  if (task === undefined) return undefined
  const declaredAt = task.declaredAt ?? now
  const state = task.state ?? 'open'
  const openedAt = state === 'open' ? (task.openedAt ?? declaredAt) : undefined
  return {
    id: TASK,
    purpose: 'rehearsal',
    declaredBy: subject,
    instigators: [],
    scope: { actions: [action.name], resources: [resource] },
    limits: {},
    waitUntil: now + HOUR,
    life: HOUR,
    heartbeat: HOUR,
    calls: 0,
    denials: 0,
    resources: [],
    ...(openedAt === undefined ? {} : { heartbeatAt: now, endsAt: now + HOUR }),
    ...task,
    ...(openedAt === undefined ? {} : { openedAt }),
    declaredAt,
    state,
    subject,
    chain: [subject],
    caller: CALLER,
  }
}

/** What was given, as the grant that would carry it: for this attempt, by people who do nothing else. */
function grantOf({ evidence, now, set }: Rehearsal, attempt: Attempt, stage: Stage): Grant {
  const { approvals = {}, justification = false, reauth = false } = evidence ?? {}
  const digest = digestOf(attemptStatement(INSTALLATION, attempt))
  return {
    id: 'grant_rehearsal',
    state: 'active',
    ...(attempt.task === undefined ? {} : { task: attempt.task }),
    subject: bare(attempt.subject),
    chain: attempt.chain,
    generations: Object.fromEntries(
      attempt.chain.map((ref) => [refKey(ref), stage.entity(ref)?.generation ?? 0]),
    ),
    action: attempt.action.name,
    resource: bare(attempt.resource),
    binding: 'attempt',
    statement: digest,
    attempt: digest,
    analysed: null,
    evidence: {
      approvals: Object.entries(approvals).flatMap(([pool, count]) =>
        Array.from({ length: count }, (_, at) => ({ pool, root: `${pool}#${at}`, generation: 0 })),
      ),
      justification,
      ...(reauth ? { reauth: [{ person: refKey(attempt.subject), passkey: 'rehearsal', at: now }] } : {}),
    },
    used: 0,
    startedAt: now,
    endsAt: now + HOUR,
    obligations: { binding: 'attempt', notify: [] },
    decision: 'dec_rehearsal',
    policy: set.version,
    caller: CALLER,
    asked: { id: CALLER, kind: 'key', subject: bare(attempt.subject), generation: 0 },
  }
}

function trusted(
  refs: readonly (EntityRef & { properties?: Properties })[],
): Readonly<Record<string, readonly string[]>> {
  const names: Record<string, string[]> = {}
  for (const { type, properties = {} } of refs)
    names[type] = [...(names[type] ?? []), ...Object.keys(properties)]
  return names
}

const bare = ({ type, id }: EntityRef): EntityRef => ({ type, id })

/**
 * The inventory that `inputs` make, later lines over earlier ones, and the same as policy sees it.
 *
 * @throws {WritError} for a hierarchy that the server would refuse.
 */
export function inventoryOf(
  inputs: readonly EntityInput[],
): Readonly<{ entities: readonly Entity[]; data: readonly EntityData[] }> {
  const all = new Map<string, Entity>()
  for (const input of inputs) all.set(refKey(input), toEntity(input))
  checkHierarchy(all, [...all.keys()])
  const entities = [...all.values()]
  return { entities, data: entities.map((entity) => cedarEntity(entity) as EntityData) }
}
