/**
 * A loaded policy set: scope, law 6 and obligations around the engine.
 *
 * @module
 */
import type { CedarValueJson } from '@cedar-policy/cedar-wasm/nodejs'
import type { Annotations } from './annotations.ts'
import { strictest } from './annotations.ts'
import type { PlacedPolicy } from './derive.ts'
import type { EngineAnswer, EngineRequest, Evaluator } from './evaluator.ts'
import { CedarEvaluator, EngineFailure } from './evaluator.ts'
import { explainPermit } from './explain.ts'
import type { Prepared } from './inputs.ts'
import { Inputs } from './inputs.ts'
import type { Reads, Unknown } from './reads.ts'
import { isRead, unknownLabel } from './reads.ts'
import type { ActionType, Schema } from './schema.ts'
import { actionMatches, scopeMatches } from './scope.ts'
import type { Lineage } from './scope.ts'
import type {
  Asked,
  EntityData,
  EntityUid,
  Evaluation,
  Explanation,
  Head,
  PolicyError,
  PolicyInfo,
  PolicyReads,
  PolicySet,
  PolicySource,
  Query,
  Reach,
  RuleResult,
} from './types.ts'
import { uidText } from './types.ts'

/** A policy with everything that loading found out about it. */
export type LoadedPolicy = PlacedPolicy &
  Readonly<{ info: PolicyInfo; annotations: Annotations; reads: Reads }>

/** What a set is made of. */
export type Parts = Readonly<{
  version: string
  source: PolicySource
  derivedSchema: boolean
  ownSchemaText: string
  schema: Schema
  pools: readonly string[]
  policies: readonly LoadedPolicy[]
}>

const isWritAction = (uid: EntityUid): boolean => uid.type === 'Writ::Action'

export class LoadedSet implements PolicySet {
  readonly version: string
  readonly source: PolicySource
  readonly schemaText: string
  readonly ownSchemaText: string
  readonly derivedSchema: boolean
  readonly pools: readonly string[]
  readonly policies: readonly PolicyInfo[]
  readonly actions: PolicySet['actions']
  readonly #loaded: readonly LoadedPolicy[]
  readonly #byId: ReadonlyMap<string, LoadedPolicy>
  readonly #byAction = new Map<string, readonly LoadedPolicy[]>()
  readonly #inputs: Inputs
  readonly #evaluators = new Map<string, Evaluator>()

  constructor(parts: Parts) {
    this.version = parts.version
    this.source = parts.source
    this.schemaText = parts.schema.text
    this.ownSchemaText = parts.ownSchemaText
    this.derivedSchema = parts.derivedSchema
    this.pools = parts.pools
    this.policies = parts.policies.map(({ info }) => info)
    this.actions = [...parts.schema.actions.values()]
    this.#loaded = parts.policies
    this.#byId = new Map(parts.policies.map((policy) => [policy.info.id, policy]))
    this.#inputs = new Inputs(parts.schema, parts.pools)
  }

  /** Policies whose action clause matches, a wildcard never one of Writ's; computed once per action, of which the schema has a fixed number. */
  #for(action: ActionType): readonly LoadedPolicy[] {
    const key = uidText(action.uid)
    let known = this.#byAction.get(key)
    if (known === undefined) {
      known = this.#loaded.filter(
        ({ info }) =>
          (info.governsWrit || !isWritAction(action.uid)) && actionMatches(info.scope.action, action),
      )
      this.#byAction.set(key, known)
    }
    return known
  }

  /** One engine per action: what it costs then grows with the policies on that action, not with all of them. */
  #evaluator(action: ActionType): Evaluator {
    const key = uidText(action.uid)
    let known = this.#evaluators.get(key)
    if (known === undefined) {
      known = new CedarEvaluator(
        Object.fromEntries(this.#for(action).map(({ info }) => [info.id, info.text])),
      )
      this.#evaluators.set(key, known)
    }
    return known
  }

  #inScope(head: Head, action: ActionType, lineage: Lineage): LoadedPolicy[] {
    return this.#for(action).filter(({ info }) =>
      scopeMatches(info.scope, head.principal, head.resource, lineage),
    )
  }

  readsFor(head: Head, entities: readonly EntityData[]): PolicyReads {
    const action = this.#inputs.action(head.action)
    const none = action === undefined || this.#inputs.mismatch(head) !== undefined
    const policies = none ? [] : this.#inScope(head, action, this.#inputs.lineage(head, entities))
    const approvals = new Map<string, Set<number>>()
    for (const { info } of policies) {
      for (const [pool, counts] of info.reads.approvals) {
        const known = approvals.get(pool) ?? new Set()
        for (const count of counts) known.add(count)
        approvals.set(pool, known)
      }
    }
    return {
      facts: new Set(policies.flatMap(({ info }) => [...info.reads.facts])),
      contextKeys: new Set(policies.flatMap(({ info }) => [...info.reads.contextKeys])),
      approvals: new Map([...approvals].map(([pool, counts]) => [pool, [...counts].sort((a, b) => a - b)])),
      justification: policies.some(({ info }) => info.reads.justification),
    }
  }

  evaluate(query: Query): Evaluation {
    return this.#decide(query).evaluation
  }

  #decide(query: Query): { evaluation: Evaluation; prepared?: Prepared; inScope: readonly LoadedPolicy[] } {
    const mismatch = this.#inputs.mismatch(query)
    const action = this.#inputs.action(query.action)
    if (mismatch !== undefined || action === undefined) {
      return { evaluation: { ...nothing, mismatch: mismatch ?? 'the action is not declared' }, inScope: [] }
    }
    const prepared = this.#inputs.prepare(query, action)
    const inScope = this.#inScope(query, action, prepared.lineage)
    const evaluation = this.#combine(inScope, prepared, this.#ask(inScope, prepared))
    return { evaluation, prepared, inScope }
  }

  #ask(inScope: readonly LoadedPolicy[], prepared: Prepared): EngineAnswer {
    if (inScope.length === 0) return { decision: 'deny', reason: [], errors: [] }
    try {
      return this.#evaluator(prepared.action).evaluate(slim(prepared.request, inScope))
    } catch (error) {
      if (!(error instanceof EngineFailure)) throw error
      return {
        decision: 'deny',
        reason: [],
        errors: inScope.map(({ info }) => ({ policy: info.id, message: error.message })),
      }
    }
  }

  /** Law 6: what reads the unknown counts as erroring; an erroring permit does not apply, an erroring forbid denies. */
  #combine(inScope: readonly LoadedPolicy[], prepared: Prepared, answer: EngineAnswer): Evaluation {
    const errors: PolicyError[] = []
    const errored = new Set<string>()
    for (const policy of inScope) {
      const unknown = unknownTo(policy, prepared.unknowns)
      if (unknown.length === 0) continue
      const message = `reads ${unknown.map((one) => `\`${unknownLabel(one)}\``).join(', ')}, which is unknown`
      errors.push({ policy: policy.info.id, effect: policy.info.effect, cause: 'unknown', message })
      errored.add(policy.info.id)
    }
    for (const { policy, message } of answer.errors) {
      if (errored.has(policy)) continue
      const effect = this.#byId.get(policy)?.info.effect ?? 'forbid'
      errors.push({ policy, effect, cause: 'error', message })
      errored.add(policy)
    }
    const held = answer.reason.filter((id) => !errored.has(id))
    const stopping = errors.filter(({ effect }) => effect === 'forbid').map(({ policy }) => policy)
    const fired = answer.decision === 'deny' ? held : []
    const permits = answer.decision === 'allow' && stopping.length === 0 ? held : []
    const decision = permits.length > 0 ? 'permit' : 'deny'
    const forbids = [...fired, ...stopping]
    return {
      decision,
      determining: decision === 'permit' ? permits : fired,
      errors,
      obligations: strictest(permits.flatMap((id) => this.#byId.get(id)?.annotations ?? [])),
      dropped: prepared.dropped,
      unknownInputs: prepared.unknowns.flatMap((one) => (one.kind === 'fact' ? [] : unknownLabel(one))),
      forbidden: forbids.length > 0,
      explainable: forbids.every((id) => this.#byId.get(id)?.annotations.explain === true),
    }
  }

  ask(query: Omit<Query, 'proof'>): Asked {
    return {
      evaluate: (proof) => this.evaluate({ ...query, proof }),
      explain: (proof) => this.explain({ ...query, proof }),
    }
  }

  explain(query: Query): Explanation {
    const { evaluation, prepared, inScope } = this.#decide(query)
    const deciding = new Set([
      ...evaluation.determining,
      ...evaluation.errors.filter(({ effect }) => effect === 'forbid').map(({ policy }) => policy),
    ])
    const whole = (policy: LoadedPolicy): RuleResult => wholeOf(policy, query, prepared)
    const decided = inScope.filter(({ info }) => deciding.has(info.id))
    const failing = inScope
      .filter(({ info }) => info.effect === 'permit' && !evaluation.determining.includes(info.id))
      .slice(0, NEAREST_OF)
      .map(whole)
    const inTheWay = ({ clauses }: RuleResult) => clauses.filter(({ status }) => status !== 'holds').length
    return {
      determining: decided.map(placeOf),
      fired: decided.filter(({ info }) => info.effect === 'forbid').map(whole),
      nearest:
        evaluation.decision === 'permit'
          ? []
          : failing.sort((a, b) => inTheWay(a) - inTheWay(b)).slice(0, NEAREST),
      inScope: inScope.length,
      ...(evaluation.mismatch === undefined ? {} : { mismatch: evaluation.mismatch }),
    }
  }

  examine(query: Query): readonly RuleResult[] {
    const { prepared, inScope } = this.#decide(query)
    return inScope.map((policy) => wholeOf(policy, query, prepared))
  }

  reach(head: Parameters<PolicySet['reach']>[0], type: string): Reach {
    const action = this.#inputs.action(head.action)
    const open = 'principal' in head ? 'resource' : 'principal'
    const named = new Set<string>()
    const below = new Set<string>()
    let any = false
    for (const { info } of action === undefined ? [] : this.#for(action)) {
      if (info.effect !== 'permit') continue
      const { eq, is, in: group } = info.scope[open]
      if (is !== undefined && is !== type) continue
      if (eq !== undefined) named.add(uidText(eq))
      else if (group !== undefined) below.add(uidText(group))
      else any = true
    }
    return { any, named, below }
  }
}

const placeOf = ({ info: { id, file, line, effect } }: LoadedPolicy) => ({ policy: id, file, line, effect })

function wholeOf(policy: LoadedPolicy, query: Query, prepared: Prepared | undefined): RuleResult {
  const clauses =
    prepared === undefined ? [] : explainPermit(policy, query, prepared, unknownTo(policy, prepared.unknowns))
  return { ...placeOf(policy), clauses }
}

/** Without the facts that no policy in scope reads: most of what an evaluation costs is handing values over. */
function slim(request: EngineRequest, inScope: readonly LoadedPolicy[]): EngineRequest {
  const live = Object.entries(request.context['live'] as Readonly<Record<string, CedarValueJson>>)
  const read = live.filter(([fact]) => inScope.some(({ reads }) => reads.facts.has(fact)))
  return { ...request, context: { ...request.context, live: Object.fromEntries(read) } }
}

/** How many permits an explanation tries before it names the nearest, and how many those are. */
const NEAREST_OF = 50
const NEAREST = 3

/** The unknowns that a policy reads and does not say to ignore. */
function unknownTo({ reads, annotations }: LoadedPolicy, unknowns: readonly Unknown[]): Unknown[] {
  return unknowns.filter((one) => isRead(reads, one) && !ignores(annotations, one))
}

function ignores({ unknownIgnore }: Annotations, unknown: Unknown): boolean {
  if (unknownIgnore.size === 0) return false
  const label = unknownLabel(unknown)
  return [...unknownIgnore].some(
    (name) => label === name || (unknown.kind !== 'fact' && label.startsWith(`${name}.`)),
  )
}

const nothing: Evaluation = {
  decision: 'deny',
  determining: [],
  errors: [],
  obligations: strictest([]),
  dropped: [],
  unknownInputs: [],
  forbidden: false,
  explainable: true,
}
