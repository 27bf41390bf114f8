/**
 * Which policies have a say: by the compiled rules for the decision, by heads alone for what is read and unknown, and by
 * what permits leave open for search. None of them looks at policies that the index can exclude.
 *
 * @module
 */
import type { Annotations } from './annotations.ts'
import type { Env } from './engine/closures.ts'
import type { Finder } from './engine/finder.ts'
import { find, finderSteps } from './engine/finder.ts'
import type { Actor, Limits, Rule } from './engine/rule.ts'
import { headMatches, limitsOf } from './engine/rule.ts'
import type { Run } from './engine/run.ts'
import { runRules } from './engine/run.ts'
import type { Policy } from './engine/tree.ts'
import type { Reads, Unknown } from './reads.ts'
import { isRead, unknownLabel } from './reads.ts'
import type { ActionType } from './schema.ts'
import { actionMatches } from './scope.ts'
import type { PolicyInfo, PolicyReads, Reach } from './types.ts'
import { uidText } from './types.ts'

/** What is looked up: a policy with its rule, whose position is its place in the set. */
export type Looked = Readonly<{
  info: PolicyInfo
  annotations: Annotations
  reads: Reads
  tree: Policy
  rule: Rule
  keys: LookupKeys
}>

/** Text that is equal for policies of one head, and for permits that ask the same. */
export type LookupKeys = Readonly<{
  head: string
  opening: string
  /** Everything that is read, by its first name. */
  readers: readonly string[]
}>

export function keysOf({
  info,
  tree,
  rule,
}: Pick<Looked, 'info' | 'tree' | 'rule'>): Pick<LookupKeys, 'head' | 'opening'> {
  const actions = tree.action.in?.map(({ key }) => key).join() ?? ''
  const { principal, action, resource } = info.scope
  return {
    head: `${limitsKey(limitsOf(tree, []))} ${actions}`,
    opening: JSON.stringify([limitsKey(rule.limits), principal, action, resource]),
  }
}

/** Policies of one head. */
type HeadGroup<P> = Readonly<{
  limits: Limits
  rule: Rule
  policies: P[]
  permits: Rule[]
  /** By what they read, as `readKeys` spells it. */
  readers: Map<string, P[]>
  reads: Set<PolicyReads>
}>

/** Permits that ask the same of both sides. */
type Opening = Readonly<{ limits: Limits; rule: Rule; of: Limits }>

type Steps<T> = Generator<undefined, T, undefined>

/** How many policies are looked at between two places to pause. */
const BREATH = 200

/** Policies over one group of actions: the ordinary ones, or Writ's. */
export class Lookup<P extends Looked> {
  readonly #rules: Finder<Rule>
  readonly #heads: Finder<HeadGroup<P>>
  readonly #openings: Readonly<Record<'principal' | 'resource', Finder<Opening>>>
  readonly #policies: readonly P[]
  /** Kept, since a schema has a fixed number of actions. */
  readonly #onAction = new Map<ActionType, P[]>()
  readonly #merged = new Map<string, PolicyReads>()
  readonly #numbers = new Map<PolicyReads, number>()

  private constructor(
    policies: readonly P[],
    rules: Finder<Rule>,
    heads: Finder<HeadGroup<P>>,
    openings: Readonly<Record<'principal' | 'resource', Finder<Opening>>>,
  ) {
    this.#policies = policies
    this.#rules = rules
    this.#heads = heads
    this.#openings = openings
  }

  /** `index` as in `CompileOptions`. */
  static *steps<P extends Looked>(policies: readonly P[], index: boolean | 'deep' = true): Steps<Lookup<P>> {
    const finder = <R extends Readonly<{ limits: Limits }>>(rules: readonly R[]): Steps<Finder<R>> =>
      index === false ? only({ by: 'none', rules }) : finderSteps(rules, index === 'deep')
    const rules = yield* finder(policies.map(({ rule }) => rule))
    const heads = yield* finder(yield* headGroups(policies))
    const permits = yield* openingsOf(policies)
    const openings = {
      principal: yield* finder(yield* towards(permits, 'principal')),
      resource: yield* finder(yield* towards(permits, 'resource')),
    }
    return new Lookup(policies, rules, heads, openings)
  }

  run(env: Env): Run {
    return runRules(this.#rules, env)
  }

  #matching(env: Env): HeadGroup<P>[] {
    const matching: HeadGroup<P>[] = []
    find(this.#heads, env, addGroup, matching)
    return matching
  }

  /** Policies whose head matches, in the order of the set. */
  inScope(env: Env): P[] {
    return inOrder(this.#matching(env).flatMap(({ policies }) => policies))
  }

  /** How many heads match. */
  count(env: Env): number {
    let count = 0
    for (const { policies } of this.#matching(env)) count += policies.length
    return count
  }

  /**
   * Some permits in scope, in the order of the set: those that the index cannot tell from ones that hold, since they are
   * near, and the first of the others.
   */
  nearby(env: Env): Rule[] {
    const near: Rule[] = []
    find(this.#rules, env, addPermit, near)
    const others = this.#matching(env).flatMap(({ permits }) => permits.slice(0, MOST_NEARBY))
    if (others.length > MOST_NEARBY) others.sort(byPosition)
    for (const rule of others) {
      if (near.length >= MOST_NEARBY) break
      if (!near.includes(rule)) near.push(rule)
    }
    return near.sort(byPosition)
  }

  /** Some permits on an action, whoever and whatever they name. */
  onAction(action: ActionType): readonly P[] {
    let known = this.#onAction.get(action)
    if (known === undefined) {
      known = []
      for (const policy of this.#policies) {
        const { effect, scope } = policy.info
        if (effect === 'permit' && actionMatches(scope.action, action)) known.push(policy)
        if (known.length >= MOST_ON_ACTION) break
      }
      this.#onAction.set(action, known)
    }
    return known
  }

  /** Policies in scope that read something unknown and do not say to ignore it, each with what it reads. */
  blinded(env: Env, unknowns: readonly Unknown[]): Map<P, Unknown[]> {
    const found = new Map<P, Unknown[]>()
    if (unknowns.length === 0) return found
    const keyed = unknowns.map((unknown) => ({ unknown, keys: unknownKeys(unknown) }))
    for (const { readers } of this.#matching(env)) {
      for (const { unknown, keys } of keyed) {
        for (const key of keys) {
          for (const policy of readers.get(key) ?? []) {
            if (!isRead(policy.reads, unknown) || ignores(policy.annotations, unknown)) continue
            const known = found.get(policy)
            if (known === undefined) found.set(policy, [unknown])
            else if (!known.includes(unknown)) known.push(unknown)
          }
        }
      }
    }
    return found
  }

  /** Policies in scope that read one of `facts`. */
  readersOf(env: Env, facts: readonly string[]): readonly P[] {
    const found = new Set<P>()
    for (const { readers } of this.#matching(env))
      for (const name of facts) for (const policy of readers.get(`fact ${name}`) ?? []) found.add(policy)
    return [...found]
  }

  /** What the policies in scope read. */
  reads(env: Env): PolicyReads {
    const all = new Set<PolicyReads>()
    for (const { reads } of this.#matching(env)) for (const one of reads) all.add(one)
    const [first] = all
    if (first === undefined) return NO_READS
    if (all.size === 1) return first
    const key = [...all]
      .map((one) => this.#numberOf(one))
      .sort((a, b) => a - b)
      .join()
    const known = this.#merged.get(key)
    if (known !== undefined) return known
    if (this.#merged.size >= MOST_MERGED) this.#merged.clear()
    const merged = mergeReads([...all])
    this.#merged.set(key, merged)
    return merged
  }

  #numberOf(reads: PolicyReads): number {
    let number = this.#numbers.get(reads)
    if (number === undefined) this.#numbers.set(reads, (number = this.#numbers.size))
    return number
  }

  /** What the permits leave open on one side, given the other. */
  reach(env: Env, open: 'principal' | 'resource', type: string, into: OpenReach): void {
    find(this.#openings[open], env, addOpening, { open, type, into })
  }
}

/** Permits that an explanation looks at. */
const MOST_NEARBY = 8
const MOST_ON_ACTION = 50

const byPosition = (a: Rule, b: Rule): number => a.position - b.position

function addPermit(rule: Rule, env: Env, into: Rule[]): void {
  if (rule.isForbid || into.length >= MOST_NEARBY || !headMatches(rule, env)) return
  if (!(rule.isRepeated && into.includes(rule))) into.push(rule)
}

/** Combinations of reads that are kept. */
const MOST_MERGED = 1_000

export type OpenReach = { any: boolean; named: Set<string>; below: Set<string> } & Reach

function* only<T>(value: T): Steps<T> {
  yield
  return value
}

function addGroup<P>(group: HeadGroup<P>, env: Env, into: HeadGroup<P>[]): void {
  if (headMatches(group.rule, env) && !(group.rule.isRepeated && into.includes(group))) into.push(group)
}

function inOrder<P extends Looked>(policies: P[]): P[] {
  return policies.length > 1 ? policies.sort((a, b) => a.rule.position - b.rule.position) : policies
}

function* headGroups<P extends Looked>(policies: readonly P[]): Steps<HeadGroup<P>[]> {
  const groups = new Map<string, HeadGroup<P>>()
  for (const [index, policy] of policies.entries()) {
    if (index % BREATH === 0) yield
    const { keys } = policy
    let group = groups.get(keys.head)
    if (group === undefined) {
      const limits = limitsOf(policy.tree, [])
      group = { limits, rule: policy.rule, policies: [], permits: [], readers: new Map(), reads: new Set() }
      groups.set(keys.head, group)
    }
    group.policies.push(policy)
    if (!policy.rule.isForbid) group.permits.push(policy.rule)
    for (const read of keys.readers) {
      const known = group.readers.get(read)
      if (known === undefined) group.readers.set(read, [policy])
      else known.push(policy)
    }
    group.reads.add(policy.info.reads)
  }
  return [...groups.values()]
}

function limitsKey({ eq, is, in: groups }: Limits): string {
  return JSON.stringify([
    eq.principal, eq.action, eq.resource, is.principal, is.action, is.resource, groups.principal, groups.action, groups.resource,
  ]) // prettier-ignore
}

/** Everything that a policy reads, by its first name. */
export function readKeys(reads: Reads): Set<string> {
  const keys = new Set<string>()
  for (const name of reads.facts) keys.add(`fact ${name}`)
  for (const [first] of reads.context) keys.add(first === undefined ? 'context' : `context ${first}`)
  for (const [first] of reads.principal) keys.add(`principal ${first}`)
  for (const [first] of reads.resource) keys.add(`resource ${first}`)
  for (const name of reads.anyEntity) keys.add(`entity ${name}`)
  return keys
}

/** The keys of all who may read it. */
function unknownKeys(unknown: Unknown): string[] {
  if (unknown.kind === 'fact') return [`fact ${unknown.name}`]
  const [first] = unknown.path
  if (unknown.kind === 'context') return ['context', `context ${first}`]
  return [
    `entity ${first}`,
    ...(unknown.principal ? [`principal ${first}`] : []),
    ...(unknown.resource ? [`resource ${first}`] : []),
  ]
}

function ignores({ unknownIgnore }: Annotations, unknown: Unknown): boolean {
  if (unknownIgnore.size === 0) return false
  const label = unknownLabel(unknown)
  return [...unknownIgnore].some(
    (name) => label === name || (unknown.kind !== 'fact' && label.startsWith(`${name}.`)),
  )
}

const NO_READS: PolicyReads = {
  facts: new Set(),
  contextKeys: new Set(),
  approvals: new Map(),
  justification: false,
  reauth: false,
}

function mergeReads(all: readonly PolicyReads[]): PolicyReads {
  const approvals = new Map<string, Set<number>>()
  for (const reads of all) {
    for (const [pool, counts] of reads.approvals) {
      const known = approvals.get(pool) ?? new Set()
      for (const count of counts) known.add(count)
      approvals.set(pool, known)
    }
  }
  return {
    facts: new Set(all.flatMap(({ facts }) => [...facts])),
    contextKeys: new Set(all.flatMap(({ contextKeys }) => [...contextKeys])),
    approvals: new Map([...approvals].map(([pool, counts]) => [pool, [...counts].sort((a, b) => a - b)])),
    justification: all.some(({ justification }) => justification),
    reauth: all.some(({ reauth }) => reauth),
  }
}

/** Permits by what they ask of an attempt, conditions included as far as they are limits; each once. */
function* openingsOf(policies: readonly Looked[]): Steps<Opening[]> {
  const openings = new Map<string, Opening>()
  for (const [index, { info, rule, keys }] of policies.entries()) {
    if (index % BREATH === 0) yield
    if (info.effect !== 'permit') continue
    const { limits } = rule
    if (!openings.has(keys.opening)) openings.set(keys.opening, { limits, rule, of: limits })
  }
  return [...openings.values()]
}

/** To be found without a look at the open side. */
function* towards(openings: readonly Opening[], open: 'principal' | 'resource'): Steps<Opening[]> {
  const closed = <T>(side: Readonly<Partial<Record<Actor, T>>>): Readonly<Partial<Record<Actor, T>>> =>
    side[open] === undefined ? side : { ...side, [open]: undefined }
  const found: Opening[] = []
  for (const [index, { limits, rule, of }] of openings.entries()) {
    if (index % BREATH === 0) yield
    const { eq, is, in: groups } = limits
    found.push({ limits: { eq: closed(eq), is: closed(is), in: closed(groups), guards: [] }, rule, of })
  }
  return found
}

type Reaching = Readonly<{ open: 'principal' | 'resource'; type: string; into: OpenReach }>

function addOpening({ rule, of }: Opening, env: Env, { open, type, into }: Reaching): void {
  if (into.any) return
  if (rule.action !== undefined && !rule.action(env)) return
  const known = open === 'principal' ? 'resource' : 'principal'
  if (!mayMatch(of, known, env)) return
  const is = of.is[open]
  if (is !== undefined && is !== type) return
  const eq = of.eq[open]
  const groups = of.in[open]
  if (eq !== undefined) {
    const uid = uidOf(eq)
    if (uid.type === type) into.named.add(uidText(uid))
  } else if (groups !== undefined) for (const group of groups) into.below.add(uidText(uidOf(group)))
  else into.any = true
}

function mayMatch({ eq, is, in: groups }: Limits, actor: Actor, env: Env): boolean {
  const { key, type } = env[actor]
  if (is[actor] !== undefined && is[actor] !== type) return false
  if (eq[actor] !== undefined && eq[actor] !== key) return false
  const node = actor === 'principal' ? env.principalNode : env.resourceNode
  return groups[actor]?.some((group) => group === key || node?.ancestors.has(group) === true) ?? true
}

/** The entity of a key, in which the first quote is the one before the id. */
function uidOf(key: string): Readonly<{ type: string; id: string }> {
  const quote = key.indexOf('"')
  return { type: key.slice(0, quote - 2), id: key.slice(quote + 1) }
}
