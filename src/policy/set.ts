/**
 * A loaded policy set: law 6 and obligations around the engine.
 *
 * @module
 */
import type { Instant } from '../model/time.ts'
import type { Annotations } from './annotations.ts'
import { strictest } from './annotations.ts'
import type { PlacedPolicy } from './derive.ts'
import type { Env } from './engine/closures.ts'
import type { Rule } from './engine/rule.ts'
import { examineRules, explainRules } from './explain.ts'
import type { Placed, Prepared } from './inputs.ts'
import { Inputs } from './inputs.ts'
import { Lookup } from './lookup.ts'
import type { LookupKeys } from './lookup.ts'
import type { Reads, Unknown } from './reads.ts'
import { unknownLabel } from './reads.ts'
import type { Schema } from './schema.ts'
import { firstTurn, termsOf, timedFacts } from './timed.ts'
import type {
  Asked,
  EntityData,
  Evaluation,
  Explanation,
  Head,
  PolicyError,
  PolicyInfo,
  PolicyReads,
  PolicySet,
  PolicySource,
  Proof,
  Query,
  Reach,
  RuleResult,
} from './types.ts'
import { NO_PROOF } from './types.ts'

/**
 * A policy with everything that loading found out about it. Spans of `tree` count from `base`: they are offsets in the
 * file as it was when the policy was parsed, and its text may have moved since.
 */
export type LoadedPolicy = PlacedPolicy &
  Readonly<{
    info: PolicyInfo
    annotations: Annotations
    reads: Reads
    rule: Rule
    keys: LookupKeys
    base: number
    /** The validator has nothing to say about it. */
    isClean: boolean
  }>

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

/** Policies by the actions that they may govern. */
export type Lookups = Readonly<{ ordinary: Lookup<LoadedPolicy>; writ: Lookup<LoadedPolicy> }>

/**
 * Finds policies; a wildcard never governs an action of Writ, and a policy that names one governs nothing else.
 *
 * @param index as in `CompileOptions`
 */
export function* lookupSteps(
  policies: readonly LoadedPolicy[],
  index: boolean | 'deep' = true,
): Generator<undefined, Lookups, undefined> {
  return {
    ordinary: yield* Lookup.steps(
      policies.filter(({ info }) => !info.governsWrit),
      index,
    ),
    writ: yield* Lookup.steps(
      policies.filter(({ info }) => info.governsWrit),
      index,
    ),
  }
}

export class LoadedSet implements PolicySet {
  readonly version: string
  readonly source: PolicySource
  readonly schemaText: string
  readonly ownSchemaText: string
  readonly derivedSchema: boolean
  readonly pools: readonly string[]
  readonly policies: readonly PolicyInfo[]
  readonly actions: PolicySet['actions']
  /** For the next set, which takes over what is the same. */
  readonly parts: Parts
  readonly #lookups: Lookups
  readonly #inputs: Inputs

  constructor(parts: Parts, lookups: Lookups) {
    this.version = parts.version
    this.source = parts.source
    this.schemaText = parts.schema.text
    this.ownSchemaText = parts.ownSchemaText
    this.derivedSchema = parts.derivedSchema
    this.pools = parts.pools
    this.policies = parts.policies.map(({ info }) => info)
    this.actions = [...parts.schema.actions.values()]
    this.parts = parts
    this.#lookups = lookups
    const facts = new Set<string>()
    for (const { reads } of parts.policies) for (const fact of reads.facts) facts.add(fact)
    this.#inputs = new Inputs(parts.schema, parts.pools, facts)
  }

  #lookup({ action }: Pick<Head, 'action'>): Lookup<LoadedPolicy> {
    return action.type === 'Writ::Action' ? this.#lookups.writ : this.#lookups.ordinary
  }

  readsFor(head: Head, entities: readonly EntityData[]): PolicyReads {
    if (this.#inputs.mismatch(head) !== undefined) return NO_READS
    return this.#lookup(head).reads(this.#inputs.place(head, entities).env)
  }

  ask(query: Omit<Query, 'proof'>): Asked {
    const mismatch = this.#inputs.mismatch(query)
    if (mismatch !== undefined) return new Misfit(mismatch)
    const prepared = this.#inputs.prepare(query)
    return new AskedSet(this.parts.policies, this.#lookup(query), prepared)
  }

  evaluate(query: Query): Evaluation {
    return this.ask(query).evaluate(query.proof)
  }

  explain(query: Query): Explanation {
    return this.ask(query).explain(query.proof)
  }

  examine(query: Query): readonly RuleResult[] {
    const asked = this.ask(query)
    return asked instanceof AskedSet ? asked.examine(query.proof) : []
  }

  turnsAt(
    queryAt: (at: Instant) => Omit<Query, 'proof'>,
    from: Instant,
    until: Instant,
  ): Instant | undefined {
    const query = queryAt(from)
    if (this.#inputs.mismatch(query) !== undefined) return undefined
    const { env } = this.#inputs.place(query, query.entities)
    const terms = this.#lookup(query)
      .readersOf(env, timedFacts)
      .flatMap(({ tree }) => termsOf(tree))
    if (terms.length === 0) return undefined
    const envs = new Map<Instant, Env>()
    const envAt = (at: Instant): Env => {
      let then = envs.get(at)
      if (then === undefined) envs.set(at, (then = this.#inputs.prepare(queryAt(at)).with(NO_PROOF)))
      return then
    }
    return firstTurn(terms, envAt, from, until)
  }

  reach(head: Parameters<PolicySet['reach']>[0], type: string, entities: readonly EntityData[]): Reach {
    const into = { any: false, named: new Set<string>(), below: new Set<string>() }
    const action = this.#inputs.action(head.action)
    if (action === undefined) return into
    const open = 'principal' in head ? 'resource' : 'principal'
    // whoever stands on the open side is not looked at
    const someone = { type, id: '' }
    const whole =
      'principal' in head
        ? { ...head, resource: someone }
        : { principal: someone, action: head.action, resource: head.resource }
    const { env }: Placed = this.#inputs.place(whole, entities)
    this.#lookup(head).reach(env, open, type, into)
    return into
  }
}

/** A query that the schema has no place for. */
class Misfit implements Asked {
  readonly #mismatch: string

  constructor(mismatch: string) {
    this.#mismatch = mismatch
  }

  evaluate(): Evaluation {
    return { ...NOTHING, mismatch: this.#mismatch }
  }

  explain(): Explanation {
    return { determining: [], fired: [], nearest: [], inScope: 0, mismatch: this.#mismatch }
  }
}

type Told = Readonly<{
  proof: Proof
  env: Env
  evaluation: Evaluation
  /** The policies that decided, or failed into the decision. */
  decided: readonly LoadedPolicy[]
}>

/** Law 6 for one query: what reads the unknown counts as erroring, whatever the evidence. */
class AskedSet implements Asked {
  readonly #policies: readonly LoadedPolicy[]
  readonly #lookup: Lookup<LoadedPolicy>
  readonly #prepared: Prepared
  readonly #unknownInputs: readonly string[]
  readonly #blinded: ReadonlyMap<LoadedPolicy, readonly Unknown[]>
  /** Their errors, whatever the evidence. */
  readonly #blindness: readonly Failed[]
  /** What was evaluated last. */
  #told: Told | undefined

  constructor(policies: readonly LoadedPolicy[], lookup: Lookup<LoadedPolicy>, prepared: Prepared) {
    const { unknowns, env } = prepared
    this.#policies = policies
    this.#lookup = lookup
    this.#prepared = prepared
    this.#unknownInputs =
      unknowns.length === 0 ? NONE : unknowns.flatMap((one) => (one.kind === 'fact' ? [] : unknownLabel(one)))
    this.#blinded = unknowns.length === 0 ? NOBODY : lookup.blinded(env, unknowns)
    this.#blindness =
      this.#blinded.size === 0
        ? NONE
        : [...this.#blinded]
            .map(([policy, some]) => failed(policy, 'unknown', readsUnknown(some)))
            .sort(byPosition)
  }

  evaluate(proof: Proof): Evaluation {
    return this.#tell(proof).evaluation
  }

  #tell(proof: Proof): Told {
    const { dropped, broken } = this.#prepared
    const env = this.#prepared.with(proof)
    const blinded = this.#blinded
    let failures = this.#blindness
    const fail = (some: readonly Failed[]): void => {
      if (some.length > 0) failures = [...failures, ...some].sort(byPosition)
    }
    let permits: readonly LoadedPolicy[] = NONE
    let forbids: readonly LoadedPolicy[] = NONE
    if (broken !== undefined) {
      const inScope = this.#lookup.inScope(this.#prepared.env)
      fail(inScope.flatMap((policy) => (blinded.has(policy) ? [] : failed(policy, 'error', broken))))
    } else {
      const run = this.#lookup.run(env)
      permits = this.#seeing(run.permits)
      forbids = this.#seeing(run.forbids)
      if (run.failed !== undefined) {
        fail(
          run.failed.flatMap(({ rule, message }) => {
            const policy = this.#policies[rule.position] as LoadedPolicy
            return blinded.has(policy) ? [] : failed(policy, 'error', message)
          }),
        )
      }
    }
    const stopping = failures.length === 0 ? NONE : failures.filter(({ error }) => error.effect === 'forbid')
    const isForbidden = forbids.length + stopping.length > 0
    if (isForbidden) permits = NONE
    const evaluation: Evaluation = {
      decision: permits.length > 0 ? 'permit' : 'deny',
      determining: permits.length > 0 ? permits.map(idOf) : forbids.map(idOf),
      errors: failures.length === 0 ? NONE : failures.map(({ error }) => error),
      obligations: obligationsOf(permits),
      dropped,
      unknownInputs: this.#unknownInputs,
      forbidden: isForbidden,
      explainable:
        forbids.every(({ annotations }) => annotations.explain) &&
        stopping.every(({ at }) => at.annotations.explain),
    }
    const decided = isForbidden
      ? stopping.length === 0
        ? forbids
        : [...forbids, ...stopping.map(({ at }) => at)]
      : permits
    return (this.#told = { proof, env, evaluation, decided })
  }

  /** In the order of the set, without those that read the unknown. */
  #seeing(rules: readonly Rule[] | undefined): readonly LoadedPolicy[] {
    if (rules === undefined) return NONE
    const policies: LoadedPolicy[] = []
    for (const { position } of rules) {
      const policy = this.#policies[position] as LoadedPolicy
      if (!this.#blinded.has(policy)) policies.push(policy)
    }
    return inOrder(policies)
  }

  /** Most often what was just evaluated is explained. */
  #remembered(proof: Proof) {
    return this.#told?.proof === proof ? this.#told : this.#tell(proof)
  }

  #situation(env: Env) {
    const { unknowns, broken } = this.#prepared
    return { env, unknowns, broken, unknownTo: (policy: LoadedPolicy) => this.#blinded.get(policy) ?? NONE }
  }

  explain(proof: Proof): Explanation {
    const { env, evaluation, decided } = this.#remembered(proof)
    const { decision } = evaluation
    const near = decision === 'permit' ? NONE : this.#lookup.nearby(env)
    const outcome = {
      decision,
      decided: inOrder(decided),
      inScope: this.#lookup.count(env),
      permits: near.map(({ position }) => this.#policies[position] as LoadedPolicy),
      onAction: () => this.#lookup.onAction(this.#prepared.action),
    }
    return explainRules(outcome, this.#situation(env))
  }

  /** Every policy in scope, clause by clause. */
  examine(proof: Proof): RuleResult[] {
    const { env } = this.#remembered(proof)
    return examineRules(this.#lookup.inScope(env), this.#situation(env))
  }
}

const NONE: readonly never[] = Object.freeze([])
const NOBODY: ReadonlyMap<LoadedPolicy, readonly Unknown[]> = new Map()

/** A policy that counts as erroring. */
type Failed = Readonly<{ at: LoadedPolicy; error: PolicyError }>

function failed(at: LoadedPolicy, cause: PolicyError['cause'], message: string): Failed {
  return { at, error: { policy: at.info.id, effect: at.info.effect, cause, message } }
}

const byPosition = (a: Failed, b: Failed): number => a.at.rule.position - b.at.rule.position

function inOrder(policies: readonly LoadedPolicy[]): readonly LoadedPolicy[] {
  return policies.length > 1 ? policies.toSorted((a, b) => a.rule.position - b.rule.position) : policies
}

const idOf = ({ info }: LoadedPolicy): string => info.id

const readsUnknown = (unknowns: readonly Unknown[]): string =>
  `reads ${unknowns.map((one) => `\`${unknownLabel(one)}\``).join(', ')}, which is unknown`

const NO_OBLIGATIONS = strictest([])
const obligations = new WeakMap<Annotations, Evaluation['obligations']>()

function obligationsOf(permits: readonly LoadedPolicy[]): Evaluation['obligations'] {
  const [first, ...others] = permits
  if (first === undefined) return NO_OBLIGATIONS
  if (others.length > 0) return strictest(permits.map(({ annotations }) => annotations))
  let known = obligations.get(first.annotations)
  if (known === undefined) obligations.set(first.annotations, (known = strictest([first.annotations])))
  return known
}

const NO_READS: PolicyReads = {
  facts: new Set(),
  contextKeys: new Set(),
  approvals: new Map(),
  justification: false,
  reauth: false,
}

const NOTHING: Evaluation = {
  decision: 'deny',
  determining: [],
  errors: [],
  obligations: NO_OBLIGATIONS,
  dropped: [],
  unknownInputs: [],
  forbidden: false,
  explainable: true,
}
