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

/** What is found: a rule, or whatever else stands behind limits. */
type Limited = Pick<Rule, 'limits'>

/** Receives a rule that may have a say. */
export type Visit<R, T> = (rule: R, env: Env, into: T) => void

export type Finder<R> = Leaf<R> | EntityBranch<R> | TypeBranch<R> | GuardBranch<R>

type Leaf<R> = Readonly<{ by: 'none'; rules: readonly R[] }>

/** By principal, action or resource: as itself, and as everything it is in. */
type EntityBranch<R> = Readonly<{
  by: 'entity'
  actor: Actor
  eq: ReadonlyMap<string, Finder<R>>
  in: ReadonlyMap<string, Finder<R>>
  rest: Finder<R> | undefined
}>

type TypeBranch<R> = Readonly<{
  by: 'type'
  actor: Actor
  types: ReadonlyMap<string, Finder<R>>
  rest: Finder<R> | undefined
}>

/** By the value of an attribute. `failing` are the rules that fail where it cannot be read. */
type GuardBranch<R> = Readonly<{
  by: 'guard'
  read: Code
  values: ReadonlyMap<Value, Finder<R>>
  entities: ReadonlyMap<string, Finder<R>>
  failing: readonly R[]
  rest: Finder<R> | undefined
}>

/** Fewer rules are evaluated as fast as they are told apart. */
const LEAF = 3
/** Attributes tried at each branch. */
const MOST_PATHS = 8

export function find<R, T>(at: Finder<R>, env: Env, visit: Visit<R, T>, into: T): void {
  for (let node: Finder<R> | undefined = at; node !== undefined; node = rest(node)) {
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

function rest<R>(node: Finder<R>): Finder<R> | undefined {
  return node.by === 'none' ? undefined : node.rest
}

function findEntity<R, T>(node: EntityBranch<R>, env: Env, visit: Visit<R, T>, into: T): void {
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
export function buildFinder<R extends Limited>(rules: readonly R[], isDeep = false): Finder<R> {
  const steps = finderSteps(rules, isDeep)
  for (;;) {
    const { done, value } = steps.next()
    if (done === true) return value
  }
}

/** Rules that a question is judged by: more cost time and tell nothing else. */
const SAMPLE = 500

/** Rules looked at between two places to pause. */
const BREATH = 1_000

/** `buildFinder` with places to pause. */
export function* finderSteps<R extends Limited>(rules: readonly R[], isDeep = false): Steps<Finder<R>> {
  return yield* build(rules, [], isDeep, { left: BREATH })
}

type Steps<T> = Generator<undefined, T, undefined>

/** How much may be done before the next pause. */
type Breath = { left: number }

function* pauseAfter(breath: Breath, work: number): Steps<void> {
  if ((breath.left -= work) >= 0) return
  yield
  breath.left = BREATH
}

function* build<R extends Limited>(
  rules: readonly R[],
  asked: readonly string[],
  isDeep: boolean,
  breath: Breath,
): Steps<Finder<R>> {
  if (rules.length <= (isDeep ? 0 : LEAF)) return { by: 'none', rules }
  let best: { question: Question; cost: number } | undefined
  const step = Math.ceil(rules.length / SAMPLE)
  const sample = step === 1 ? rules : rules.filter((_, index) => index % step === 0)
  for (const question of questions(sample)) {
    if (asked.includes(nameOf(question))) continue
    const cost = costOf(question, sample, rules.length)
    yield* pauseAfter(breath, sample.length)
    if (cost !== undefined && (best === undefined || cost < best.cost)) best = { question, cost }
  }
  if (best === undefined || best.cost > rules.length * (isDeep ? 1 : 0.9)) return { by: 'none', rules }
  const { question } = best
  const nowAsked = [...asked, nameOf(question)]
  const next = (some: readonly R[]) => build(some, nowAsked, isDeep, breath)
  const others: R[] = []
  for (const rule of rules) {
    if (!cares(question, rule)) others.push(rule)
    yield* pauseAfter(breath, 1)
  }
  const below = others.length === 0 ? undefined : yield* next(others)
  if (question.by === 'entity') {
    const { actor } = question
    return {
      by: 'entity',
      actor,
      eq: yield* grouped(rules, ({ limits }) => one(limits.eq[actor]), next, breath),
      in: yield* grouped(
        rules,
        ({ limits }) => (limits.eq[actor] === undefined ? (limits.in[actor] ?? []) : []),
        next,
        breath,
      ),
      rest: below,
    }
  }
  if (question.by === 'type') {
    const { actor } = question
    return {
      by: 'type',
      actor,
      types: yield* grouped(rules, ({ limits }) => one(limits.is[actor]), next, breath),
      rest: below,
    }
  }
  const values = (rule: R): readonly Value[] => guardFor(rule, question.key)?.values ?? []
  return {
    by: 'guard',
    read: toCode(reading(question.path)),
    values: yield* grouped(
      rules,
      (rule) => values(rule).filter((value) => typeof value !== 'object'),
      next,
      breath,
    ),
    entities: yield* grouped(
      rules,
      (rule) => values(rule).flatMap((value) => (value instanceof EntityRef ? value.key : [])),
      next,
      breath,
    ),
    failing: rules.filter((rule) => guardFor(rule, question.key)?.isSafe === false),
    rest: below,
  }
}

const one = (key: string | undefined): readonly string[] => (key === undefined ? [] : [key])

function* grouped<R, K>(
  rules: readonly R[],
  keys: (rule: R) => readonly K[],
  next: (rules: readonly R[]) => Steps<Finder<R>>,
  breath: Breath,
): Steps<Map<K, Finder<R>>> {
  const groups = new Map<K, R[]>()
  for (const rule of rules) {
    const found = keys(rule)
    for (const key of found.length > 1 ? new Set(found) : found) {
      const known = groups.get(key)
      if (known === undefined) groups.set(key, [rule])
      else known.push(rule)
    }
    yield* pauseAfter(breath, 1)
  }
  const finders = new Map<K, Finder<R>>()
  for (const [key, some] of groups) finders.set(key, yield* next(some))
  return finders
}

function questions(rules: readonly Limited[]): Question[] {
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

function guardFor(rule: Limited, key: string): Guard | undefined {
  return rule.limits.guards.find((guard) => guard.key === key)
}

function cares(question: Question, { limits }: Limited): boolean {
  if (question.by === 'guard') return limits.guards.some(({ key }) => key === question.key)
  if (question.by === 'type') return limits.is[question.actor] !== undefined
  return limits.eq[question.actor] !== undefined || (limits.in[question.actor]?.length ?? 0) > 0
}

/**
 * Rules to be expected after the question, of `total` of which `rules` are some: those that do not care, and the average
 * of the others by their number. `undefined` if none cares.
 */
function costOf(question: Question, rules: readonly Limited[], total: number): number | undefined {
  const groups = new Map<unknown, number>()
  let careless = 0
  let caring = 0
  const count = (answer: unknown): void => {
    groups.set(answer, (groups.get(answer) ?? 0) + 1)
    caring += 1
  }
  for (const rule of rules) {
    const { limits } = rule
    if (!cares(question, rule)) careless += 1
    else if (question.by === 'guard') {
      for (const value of guardFor(rule, question.key)?.values ?? [])
        count(value instanceof EntityRef ? value.key : value)
    } else if (question.by === 'type') count(limits.is[question.actor])
    else {
      const eq = limits.eq[question.actor]
      if (eq !== undefined) count(eq)
      else for (const group of limits.in[question.actor] ?? []) count(group)
    }
  }
  if (caring === 0) return undefined
  const scale = total / rules.length
  let sizes = 0
  for (const size of groups.values()) sizes += size * (1 + (size - 1) * scale)
  return careless * scale + sizes / caring
}

function reading([root, ...names]: Path): Expr {
  let at: Expr = { op: 'variable', name: root }
  for (const name of names) at = { op: 'attribute', of: at, name }
  return at
}
