/**
 * When time alone changes what policies say. Every comparison with something that moves with the time is looked at by
 * itself: each is of one result until an instant and of another from then on, so that the instant is found by halving and
 * nothing has to be asked again and again.
 *
 * @module
 */
import type { Instant, Millis } from '../model/time.ts'
import { DAY, SECOND } from '../model/time.ts'
import type { Code, Env } from './engine/closures.ts'
import { toCode } from './engine/closures.ts'
import type { Binary, Expr, Policy } from './engine/tree.ts'
import { accessOf, children } from './engine/tree.ts'
import type { Long, Result } from './engine/values.ts'
import { equal, isFailure, isLong } from './engine/values.ts'

/** Facts with parts that move by themselves. */
export const timedFacts = ['now', 'session', 'workload', 'history', 'risk'] as const

/**
 * How a value moves: not at all, in a line, up or down in steps, or in a way that nothing is known of. What moves in a
 * line or in one kind of steps compares with what stands still one way until an instant, and another way afterwards.
 */
const FIXED = 0
const LINE = 1
const STEPS = 2
const ROUGH = 3
type Motion = typeof FIXED | typeof LINE | typeof STEPS | typeof ROUGH

/** Paths below `context.live`. */
const moving: readonly (readonly [path: readonly string[], Motion])[] = [
  [['now'], LINE],
  [['session', 'age'], STEPS],
  [['workload', 'age'], STEPS],
  [['history', 'rate'], STEPS],
  // that of what Writ saw itself is the time of the decision
  [['risk', 'observedAt'], LINE],
]

type Comparison = '==' | '!=' | '<' | '<=' | '>' | '>='

/** Something whose result is looked at. Those that stand in others come before them. */
export type Term =
  | Readonly<{ op: Comparison; left: Code; right: Code }>
  | Readonly<{ op: 'value'; code: Code }>
  /** Nothing is known of when it changes. */
  | Readonly<{ op: 'any' }>

const known = new WeakMap<Policy, readonly Term[]>()

/** What of `policy` changes by time alone. */
export function termsOf(policy: Policy): readonly Term[] {
  let terms = known.get(policy)
  if (terms === undefined) {
    const found: Term[] = []
    for (const { body } of policy.conditions) if (motionOf(body, found) !== FIXED) found.push({ op: 'any' })
    known.set(policy, (terms = found))
  }
  return terms
}

/** Looked at no further ahead than this; then again. */
const FURTHEST: Millis = 366 * DAY

/**
 * The first instant after `from` and before `until` at which one of `terms` has another result than at `from`; `undefined`
 * if none has. Up to then all of them have the same.
 */
export function firstTurn(
  terms: readonly Term[],
  envAt: (at: Instant) => Env,
  from: Instant,
  until: Instant,
): Instant | undefined {
  let end = Math.min(until, from + FURTHEST)
  for (const term of terms) {
    // whatever stands in it is the same up to `end`
    const last = end - 1
    if (last <= from) break
    end = term.op === 'any' ? Math.min(end, from + SECOND) : (turnOf(term, envAt, from, last) ?? end)
  }
  return end < until ? end : undefined
}

function turnOf(
  term: Exclude<Term, { op: 'any' }>,
  envAt: (at: Instant) => Env,
  from: Instant,
  last: Instant,
): Instant | undefined {
  const before = resultOf(term, envAt(from))
  const isSame = (at: Instant): boolean => same(before, resultOf(term, envAt(at)))
  if (isSame(last)) return undefined
  // most move in a line: there it is found at once
  const guess = term.op === 'value' ? undefined : guessOf(term, envAt, from, last)
  const tries = guess === undefined ? [] : [0, -1, 1, -SECOND, SECOND].map((by) => guess + by)
  let [low, high] = [from, last]
  while (high - low > 1) {
    const next = tries.shift() ?? low + Math.floor((high - low) / 2)
    if (next <= low || next >= high) continue
    if (isSame(next)) low = next
    else high = next
  }
  return high
}

/** Where a line through both ends meets zero. */
function guessOf(
  { left, right }: Extract<Term, { left: Code }>,
  envAt: (at: Instant) => Env,
  from: Instant,
  last: Instant,
): Instant | undefined {
  const apart = (at: Instant): number => {
    const env = envAt(at)
    return Number(sizeOf(left(env)) ?? NaN) - Number(sizeOf(right(env)) ?? NaN)
  }
  const [a, b] = [apart(from), apart(last)]
  const at = Math.round(from + ((last - from) * a) / (a - b))
  return Number.isFinite(at) ? at : undefined
}

function resultOf(term: Exclude<Term, { op: 'any' }>, env: Env): Result {
  if (term.op === 'value') return term.code(env)
  const [left, right] = [term.left(env), term.right(env)]
  if (isFailure(left)) return left
  if (isFailure(right)) return right
  const [a, b] = [sizeOf(left), sizeOf(right)]
  if (a === undefined || b === undefined)
    return term.op === '==' || term.op === '!=' ? equal(left, right) : false
  switch (term.op) {
    case '<':
      return a < b
    case '<=':
      return a <= b
    case '>':
      return a > b
    case '>=':
      return a >= b
    // it is so for a moment, between two sides on which it is not
    default:
      return a < b ? -1 : a > b ? 1 : 0
  }
}

/** The number in an integer, a time or a duration. */
function sizeOf(value: Result): Long | undefined {
  if (isLong(value)) return value
  return typeof value === 'object' && 'value' in value ? value.value : undefined
}

const same = (a: Result, b: Result): boolean => (isFailure(a) ? isFailure(b) : !isFailure(b) && equal(a, b))

/** How `expr` moves while nothing in `found` turns, with what it adds to that. */
function motionOf(expr: Expr, found: Term[]): Motion {
  switch (expr.op) {
    case 'literal':
      return FIXED
    case 'variable':
      return expr.name === 'context' ? ROUGH : FIXED
    case 'attribute': {
      const chain = accessOf(expr)
      if (chain === undefined) return motionOf(expr.of, found) === FIXED ? FIXED : ROUGH
      return chain.root === 'context' ? contextMotion(chain.names) : FIXED
    }
    case 'has':
      // what is there is told by what is known, not by the time
      return accessOf(expr.of) === undefined && motionOf(expr.of, found) !== FIXED ? ROUGH : FIXED
    case 'binary':
      return binaryMotion(expr, found)
    case 'neg':
      return motionOf(expr.arg, found)
    case 'if': {
      const test = motionOf(expr.test, found)
      const [yes, no] = [motionOf(expr.yes, found), motionOf(expr.no, found)]
      return test === FIXED ? (Math.max(yes, no) as Motion) : ROUGH
    }
    case 'call':
      return callMotion(expr, found)
    default: {
      const motions = children(expr).map((child) => motionOf(child, found))
      return motions.every((motion) => motion === FIXED) ? FIXED : ROUGH
    }
  }
}

function contextMotion([first, ...path]: readonly string[]): Motion {
  if (first === undefined) return ROUGH
  if (first !== 'live') return FIXED
  const exact = moving.find(
    ([way]) => way.length <= path.length && way.every((name, at) => name === path[at]),
  )
  if (exact !== undefined) return exact[1]
  return moving.some(([way]) => path.every((name, at) => name === way[at])) ? ROUGH : FIXED
}

/** Of a sum or a difference: two lines are one, steps and anything else that moves are not known to go one way. */
function together(a: Motion, b: Motion): Motion {
  if (a === FIXED) return b
  if (b === FIXED) return a
  return a === LINE && b === LINE ? LINE : ROUGH
}

const comparisons: ReadonlySet<Binary> = new Set<Binary>(['==', '!=', '<', '<=', '>', '>='])

function binaryMotion({ name, left, right }: Extract<Expr, { op: 'binary' }>, found: Term[]): Motion {
  const [a, b] = [motionOf(left, found), motionOf(right, found)]
  if (a === FIXED && b === FIXED) return FIXED
  if (comparisons.has(name)) {
    const isKnown = together(a, b) !== ROUGH
    found.push(isKnown ? { op: name as Comparison, left: toCode(left), right: toCode(right) } : { op: 'any' })
    return FIXED
  }
  switch (name) {
    case '+':
    case '-':
      return together(a, b)
    case '*':
      return a === FIXED ? b : b === FIXED ? a : ROUGH
    case 'contains':
      // e.g. an hour among some
      if (a !== FIXED || b !== STEPS) return ROUGH
      found.push({ op: 'value', code: toCode(right) })
      return FIXED
    default:
      return ROUGH
  }
}

const quotients = new Set(['toSeconds', 'toMinutes', 'toHours', 'toDays'])

function callMotion(expr: Extract<Expr, { op: 'call' }>, found: Term[]): Motion {
  const [a = FIXED, b = FIXED, ...others] = expr.args.map((arg) => motionOf(arg, found))
  if (a === FIXED && b === FIXED && others.every((motion) => motion === FIXED)) return FIXED
  const { name, args } = expr
  if (name === 'offset' || name === 'durationSince') return together(a, b)
  if (name === 'toMilliseconds') return a
  if (quotients.has(name)) return a === LINE ? STEPS : a
  if ((name === 'toDate' || name === 'toTime') && a === LINE) {
    // within a day the one stands still and the other moves in a line
    found.push({ op: 'value', code: toCode({ op: 'call', name: 'toDate', args }) })
    return name === 'toDate' ? FIXED : LINE
  }
  return ROUGH
}
