/**
 * The index: a tree that asks one question of a request at a time and keeps apart the rules that differ in the answer.
 * It finds every rule that could apply or fail, and few others; rules are evaluated whole, so it can cost time alone.
 *
 * @module
 */
import type { Code, Env } from './closures.ts'
import { toCode } from './closures.ts'
import type { Expr } from './tree.ts'
import type { Actor, Guard, Path, Rule } from './rule.ts'
import type { Value } from './values.ts'
import { EntityRef, isFailure } from './values.ts'

/** Receives a rule that may have a say. */
export type Visit<T> = (rule: Rule, env: Env, into: T) => void

export type Finder = Leaf | EntityBranch | TypeBranch | GuardBranch

type Leaf = Readonly<{ by: 'none'; rules: readonly Rule[] }>

/** By principal, action or resource: as itself, and as everything it is in. */
type EntityBranch = Readonly<{
  by: 'entity'
  actor: Actor
  eq: ReadonlyMap<string, Finder>
  in: ReadonlyMap<string, Finder>
  rest: Finder | undefined
}>

type TypeBranch = Readonly<{
  by: 'type'
  actor: Actor
  types: ReadonlyMap<string, Finder>
  rest: Finder | undefined
}>

/** By the value of an attribute. `failing` are the rules that fail where it cannot be read. */
type GuardBranch = Readonly<{
  by: 'guard'
  read: Code
  values: ReadonlyMap<Value, Finder>
  entities: ReadonlyMap<string, Finder>
  failing: readonly Rule[]
  rest: Finder | undefined
}>

/** Fewer rules are evaluated as fast as they are told apart. */
const LEAF = 3
/** Attributes tried at each branch. */
const MOST_PATHS = 8

export function find<T>(at: Finder, env: Env, visit: Visit<T>, into: T): void {
  for (let node: Finder | undefined = at; node !== undefined; node = rest(node)) {
    switch (node.by) {
      case 'none':
        for (const rule of node.rules) visit(rule, env, into)
        break
      case 'entity':
        findEntity(node, env, visit, into)
        break
      case 'type': {
        const next = node.types.get(env[node.actor].type)
        if (next !== undefined) find(next, env, visit, into)
        break
      }
      case 'guard': {
        const value = node.read(env)
        if (isFailure(value)) {
          for (const rule of node.failing) visit(rule, env, into)
          break
        }
        const next = value instanceof EntityRef ? node.entities.get(value.key) : node.values.get(value)
        if (next !== undefined) find(next, env, visit, into)
        break
      }
    }
  }
}

function rest(node: Finder): Finder | undefined {
  return node.by === 'none' ? undefined : node.rest
}

function findEntity<T>(node: EntityBranch, env: Env, visit: Visit<T>, into: T): void {
  const known =
    node.actor === 'principal'
      ? env.principalNode
      : node.actor === 'resource'
        ? env.resourceNode
        : env.actionNode
  const key = known === undefined ? env[node.actor].key : known.key
  const itself = node.eq.get(key)
  if (itself !== undefined) find(itself, env, visit, into)
  const groups = node.in
  if (groups.size === 0) return
  const below = groups.get(key)
  if (below !== undefined) find(below, env, visit, into)
  if (known === undefined) return
  const { ancestors } = known
  if (groups.size < ancestors.size) {
    for (const [group, next] of groups)
      if (group !== key && ancestors.has(group)) find(next, env, visit, into)
    return
  }
  for (const ancestor of ancestors) {
    const next = groups.get(ancestor)
    if (next !== undefined) find(next, env, visit, into)
  }
}

/** A question that can be asked. */
type Question =
  | Readonly<{ by: 'entity'; actor: Actor }>
  | Readonly<{ by: 'type'; actor: Actor }>
  | Readonly<{ by: 'guard'; path: Path; key: string }>

const ACTORS = ['action', 'principal', 'resource'] as const

/** `isDeep` asks whatever can be asked, however few rules there are: for tests, which have few. */
export function buildFinder(rules: readonly Rule[], isDeep = false): Finder {
  return build(rules, [], isDeep)
}

function build(rules: readonly Rule[], asked: readonly string[], isDeep: boolean): Finder {
  if (rules.length <= (isDeep ? 0 : LEAF)) return { by: 'none', rules }
  let best: { question: Question; cost: number } | undefined
  for (const question of questions(rules)) {
    if (asked.includes(nameOf(question))) continue
    if (rules.every((rule) => answers(question, rule).length === 0)) continue
    const cost = costOf(question, rules)
    if (best === undefined || cost < best.cost) best = { question, cost }
  }
  if (best === undefined || best.cost > rules.length * (isDeep ? 1 : 0.9)) return { by: 'none', rules }
  const { question } = best
  const next = (some: readonly Rule[]): Finder => build(some, [...asked, nameOf(question)], isDeep)
  const others = rules.filter((rule) => answers(question, rule).length === 0)
  const below = others.length === 0 ? undefined : next(others)
  if (question.by === 'entity') {
    const { actor } = question
    return {
      by: 'entity',
      actor,
      eq: grouped(rules, ({ limits }) => one(limits.eq[actor]), next),
      in: grouped(
        rules,
        ({ limits }) => (limits.eq[actor] === undefined ? (limits.in[actor] ?? []) : []),
        next,
      ),
      rest: below,
    }
  }
  if (question.by === 'type') {
    const { actor } = question
    return {
      by: 'type',
      actor,
      types: grouped(rules, ({ limits }) => one(limits.is[actor]), next),
      rest: below,
    }
  }
  const values = (rule: Rule): readonly Value[] => guardFor(rule, question.key)?.values ?? []
  return {
    by: 'guard',
    read: toCode(reading(question.path)),
    values: grouped(rules, (rule) => values(rule).filter((value) => typeof value !== 'object'), next),
    entities: grouped(
      rules,
      (rule) => values(rule).flatMap((value) => (value instanceof EntityRef ? value.key : [])),
      next,
    ),
    failing: rules.filter((rule) => guardFor(rule, question.key)?.isSafe === false),
    rest: below,
  }
}

const one = (key: string | undefined): string[] => (key === undefined ? [] : [key])

function grouped<K>(
  rules: readonly Rule[],
  keys: (rule: Rule) => readonly K[],
  next: (rules: readonly Rule[]) => Finder,
): Map<K, Finder> {
  const groups = new Map<K, Rule[]>()
  for (const rule of rules) {
    for (const key of new Set(keys(rule))) {
      const known = groups.get(key)
      if (known === undefined) groups.set(key, [rule])
      else known.push(rule)
    }
  }
  return new Map([...groups].map(([key, some]) => [key, next(some)]))
}

function questions(rules: readonly Rule[]): Question[] {
  const counts = new Map<string, { path: Path; count: number }>()
  for (const { limits } of rules) {
    for (const { path, key } of limits.guards) {
      const known = counts.get(key)
      if (known === undefined) counts.set(key, { path, count: 1 })
      else known.count += 1
    }
  }
  const paths = [...counts].sort(([, a], [, b]) => b.count - a.count).slice(0, MOST_PATHS)
  return [
    ...ACTORS.flatMap((actor) => [{ by: 'entity', actor } as const, { by: 'type', actor } as const]),
    ...paths.map(([key, { path }]) => ({ by: 'guard', path, key }) as const),
  ]
}

function nameOf(question: Question): string {
  return question.by === 'guard' ? question.key : `${question.by} ${question.actor}`
}

function guardFor(rule: Rule, key: string): Guard | undefined {
  return rule.limits.guards.find((guard) => guard.key === key)
}

/** The answers with which a rule may have a say; none if it does not care. */
function answers(question: Question, { limits }: Rule): readonly unknown[] {
  if (question.by === 'guard') {
    const guard = limits.guards.find(({ key }) => key === question.key)
    return guard?.values.map((value) => (value instanceof EntityRef ? value.key : value)) ?? []
  }
  if (question.by === 'type') return one(limits.is[question.actor])
  const eq = limits.eq[question.actor]
  return eq === undefined ? (limits.in[question.actor] ?? []) : [eq]
}

/** Rules to be expected after the question: those that do not care, and the average of the others by their number. */
function costOf(question: Question, rules: readonly Rule[]): number {
  const groups = new Map<unknown, number>()
  let careless = 0
  let caring = 0
  for (const rule of rules) {
    const found = answers(question, rule)
    if (found.length === 0) careless += 1
    for (const answer of found) {
      groups.set(answer, (groups.get(answer) ?? 0) + 1)
      caring += 1
    }
  }
  let squares = 0
  for (const count of groups.values()) squares += count * count
  return careless + (caring === 0 ? rules.length : squares / caring)
}

function reading([root, ...names]: Path): Expr {
  let at: Expr = { op: 'variable', name: root }
  for (const name of names) at = { op: 'attribute', of: at, name }
  return at
}
