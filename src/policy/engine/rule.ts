/**
 * A policy ready to run, and what can be told from its text about the requests it has no say in.
 *
 * @module
 */
import type { Code, Env } from './closures.ts'
import { toCode } from './closures.ts'
import type { ActionHead, Expr, Head, Policy, Variable } from './tree.ts'
import { chain } from './tree.ts'
import type { Result, Value } from './values.ts'
import { EntityRef } from './values.ts'

type Test = (env: Env) => boolean

/** A compiled policy. Each test is missing where it would always hold. */
export type Rule = Readonly<{
  id: string
  position: number
  isForbid: boolean
  principal: Test | undefined
  action: Test | undefined
  resource: Test | undefined
  condition: Code | undefined
  limits: Limits
  /** The index may lead to it more than once. */
  isRepeated: boolean
}>

export type Actor = 'principal' | 'action' | 'resource'

/** One attribute, by its way from a variable, e.g. `["context", "tool"]`. */
export type Path = readonly [Variable, ...string[]]

/** An attribute that must have one of some values. `isSafe`: where it cannot be read, the policy does not apply. */
export type Guard = Readonly<{ path: Path; key: string; values: readonly Value[]; isSafe: boolean }>

/**
 * What must hold of a request, or else the policy neither applies nor fails. `eq` and `in` are entity keys, one of which
 * must be matched.
 */
export type Limits = Readonly<{
  eq: Readonly<Partial<Record<Actor, string>>>
  in: Readonly<Partial<Record<Actor, readonly string[]>>>
  is: Readonly<Partial<Record<Actor, string>>>
  guards: readonly Guard[]
}>

/** The condition of a policy, compiled once for all links of a template. */
export type Body = Readonly<{ code: Code | undefined; conjuncts: readonly Expr[] }>

export function toBody(policy: Policy): Body {
  const parts = policy.conditions.map(({ kind, body }): Expr =>
    kind === 'when' ? body : { op: 'not', arg: body },
  )
  const whole = chain('and', parts)
  const conjuncts = whole.op === 'and' ? whole.items : [whole]
  return { code: conjuncts.length === 0 ? undefined : toCode(whole), conjuncts }
}

/** @throws {TypeError} for a head with a slot: a template is linked first. */
export function toRule(id: string, position: number, policy: Policy, body: Body): Rule {
  const limits = limitsOf(policy, body.conjuncts)
  return {
    id,
    position,
    isForbid: policy.effect === 'forbid',
    principal: headTest('principal', policy.principal),
    action: actionTest(policy.action),
    resource: headTest('resource', policy.resource),
    condition: body.code,
    limits,
    isRepeated: (limits.in.action?.length ?? 0) > 1,
  }
}

/** Whether the head of the policy matches; it never fails. */
export function headMatches(rule: Pick<Rule, Actor>, env: Env): boolean {
  if (rule.principal !== undefined && !rule.principal(env)) return false
  if (rule.action !== undefined && !rule.action(env)) return false
  return rule.resource === undefined || rule.resource(env)
}

/** Whether the policy holds. */
export function evaluate(rule: Rule, env: Env): Result {
  if (rule.principal !== undefined && !rule.principal(env)) return false
  if (rule.action !== undefined && !rule.action(env)) return false
  if (rule.resource !== undefined && !rule.resource(env)) return false
  return rule.condition === undefined ? true : rule.condition(env)
}

function linked(slot: Head['eq']): EntityRef | undefined {
  if (typeof slot === 'string') throw new TypeError(`\`${slot}\` is not filled`)
  return slot
}

function headTest(actor: 'principal' | 'resource', head: Head): Test | undefined {
  const eq = linked(head.eq)
  if (eq !== undefined) {
    return actor === 'principal'
      ? (env) => env.principal.id === eq.id && env.principal.type === eq.type
      : (env) => env.resource.id === eq.id && env.resource.type === eq.type
  }
  const type = head.is
  const isType: Test | undefined =
    type === undefined
      ? undefined
      : actor === 'principal'
        ? (env) => env.principal.type === type
        : (env) => env.resource.type === type
  const group = linked(head.in)
  if (group === undefined) return isType
  const isBelow: Test =
    actor === 'principal'
      ? (env) => same(env.principal, group) || env.principalNode?.ancestors.has(group.key) === true
      : (env) => same(env.resource, group) || env.resourceNode?.ancestors.has(group.key) === true
  return isType === undefined ? isBelow : (env) => isType(env) && isBelow(env)
}

function actionTest({ eq, in: groups }: ActionHead): Test | undefined {
  if (eq !== undefined) return (env) => same(env.action, eq)
  if (groups === undefined) return undefined
  return (env) =>
    groups.some((group) => same(env.action, group) || env.actionNode?.ancestors.has(group.key) === true)
}

const same = (a: EntityRef, b: EntityRef): boolean => a.id === b.id && a.type === b.type

/** More of them would make the index large and no request faster. */
const MOST_VALUES = 64

type Draft = {
  eq: Partial<Record<Actor, string>>
  in: Partial<Record<Actor, readonly string[]>>
  is: Partial<Record<Actor, string>>
  guards: Guard[]
}

/** `conjuncts` are those of its conditions; without them, what the head alone says. */
export function limitsOf(policy: Policy, conjuncts: readonly Expr[]): Limits {
  const limits: Draft = { eq: {}, in: {}, is: {}, guards: [] }
  for (const actor of ['principal', 'resource'] as const) {
    const { eq, is, in: group } = policy[actor]
    if (eq instanceof EntityRef) limits.eq[actor] = eq.key
    if (group instanceof EntityRef) limits.in[actor] = [group.key]
    if (is !== undefined) limits.is[actor] = is
  }
  if (policy.action.eq !== undefined) limits.eq.action = policy.action.eq.key
  const groups = policy.action.in
  if (groups !== undefined && groups.length <= MOST_VALUES) {
    limits.in.action = [...new Set(groups.map(({ key }) => key))]
  }
  // Conjuncts tell something only as long as none before them could have failed.
  const tested = new Set<string>()
  for (const conjunct of conjuncts) {
    const guard = guardOf(conjunct, tested)
    if (guard !== undefined) limits.guards.push(guard)
    else actorLimit(conjunct, limits)
    if (!isTotal(conjunct, tested)) break
    if (conjunct.op === 'has' && conjunct.of.op === 'variable' && conjunct.path.length === 1) {
      tested.add(pathKey([conjunct.of.name, ...conjunct.path] as unknown as Path))
    }
  }
  return limits
}

/** `principal is T`, `principal == E`, `principal in E` in a condition are as good as in the head. */
function actorLimit(expr: Expr, limits: Draft): void {
  if (expr.op === 'is' && expr.of.op === 'variable' && expr.of.name !== 'context') {
    limits.is[expr.of.name] ??= expr.type
    return
  }
  if (expr.op !== 'binary' || (expr.name !== '==' && expr.name !== 'in')) return
  const { left, right } = expr
  if (left.op !== 'variable' || left.name === 'context' || right.op !== 'literal') return
  if (!(right.value instanceof EntityRef)) return
  if (expr.name === '==') limits.eq[left.name] ??= right.value.key
  else limits.in[left.name] ??= [right.value.key]
}

function pathKey(path: Path): string {
  return JSON.stringify(path)
}

function guardOf(expr: Expr, tested: ReadonlySet<string>): Guard | undefined {
  if (expr.op !== 'binary') return undefined
  const { left, right } = expr
  const [values, read] =
    expr.name === '=='
      ? left.op === 'literal'
        ? [[left], right]
        : [[right], left]
      : expr.name === 'contains' && left.op === 'set'
        ? [left.items, right]
        : [[], expr]
  const path = pathOf(read)
  if (path === undefined || values.length === 0 || values.length > MOST_VALUES) return undefined
  const literals = values.flatMap((value) => (value.op === 'literal' ? value.value : []))
  if (literals.length < values.length) return undefined
  const key = pathKey(path)
  return {
    path,
    key,
    values: literals,
    isSafe: path.length === 2 && tested.has(key),
  }
}

function pathOf(expr: Expr): Path | undefined {
  const names: string[] = []
  let at = expr
  while (at.op === 'attribute') {
    names.unshift(at.name)
    at = at.of
  }
  return at.op === 'variable' && names.length > 0 ? [at.name, ...names] : undefined
}

/** Whether `expr` is a boolean for every request, given that the attributes in `tested` are there. */
function isTotal(expr: Expr, tested: ReadonlySet<string>): boolean {
  switch (expr.op) {
    case 'literal':
      return typeof expr.value === 'boolean'
    case 'and':
    case 'or':
      return expr.items.every((item) => isTotal(item, tested))
    case 'not':
      return isTotal(expr.arg, tested)
    case 'has':
      return expr.of.op === 'variable' && expr.path.length === 1
    case 'is':
      return (
        expr.of.op === 'variable' &&
        expr.of.name !== 'context' &&
        (expr.in === undefined || isEntity(expr.in))
      )
    case 'binary':
      switch (expr.name) {
        case '==':
        case '!=':
          return isValue(expr.left, tested) && isValue(expr.right, tested)
        case 'in':
          return expr.left.op === 'variable' && expr.left.name !== 'context' && isEntity(expr.right)
        case 'contains':
          return expr.left.op === 'set' && isValue(expr.left, tested) && isValue(expr.right, tested)
        default:
          return false
      }
    default:
      return false
  }
}

function isEntity(expr: Expr): boolean {
  return expr.op === 'literal' && expr.value instanceof EntityRef
}

/** Whether `expr` always has a value. */
function isValue(expr: Expr, tested: ReadonlySet<string>): boolean {
  if (expr.op === 'literal' || expr.op === 'variable') return true
  if (expr.op === 'set') return expr.items.every((item) => isValue(item, tested))
  const path = expr.op === 'attribute' ? pathOf(expr) : undefined
  return path !== undefined && path.length === 2 && tested.has(pathKey(path))
}
