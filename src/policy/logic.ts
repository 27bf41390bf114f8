/**
 * What conditions come to whatever the values are: whether one always holds, never does, or follows from others.
 *
 * Whatever two conditions compare in the same way is taken for one unknown value, and every case of the few values that
 * matter is tried. What is said is so; what is not said may still be so.
 *
 * @module
 */
import type { Expr } from './engine/tree.ts'
import { parseDatetime, parseDuration } from './engine/extensions.ts'
import { EntityRef } from './engine/values.ts'

/** A value of a subject: a literal, or something that no literal names. */
type Case = string | bigint | boolean

/** A condition in terms of its subjects, each with the values that make a difference to it. */
export type Formula = Readonly<{
  key: string
  subjects: ReadonlyMap<string, ReadonlySet<Case>>
  holds(values: ReadonlyMap<string, Case>): boolean
}>

const OTHER = '\0other'
const CASES_MOST = 4_096

/** The same text for the same expression, whatever its layout. */
export function keyOf(expr: Expr): string {
  switch (expr.op) {
    case 'literal':
      return literalKey(expr.value)
    case 'variable':
      return expr.name
    case 'and':
    case 'or':
      return `${expr.op}(${[...new Set(expr.items.map(keyOf))].sort().join()})`
    case 'not':
    case 'neg':
    case 'isEmpty':
      return `${expr.op}(${keyOf(expr.arg)})`
    case 'binary':
      return `${expr.name}(${keyOf(expr.left)},${keyOf(expr.right)})`
    case 'attribute':
      return `${keyOf(expr.of)}.${JSON.stringify(expr.name)}`
    case 'has':
      return `has(${keyOf(expr.of)},${JSON.stringify(expr.path)})`
    case 'like':
      return `like(${keyOf(expr.of)},${JSON.stringify(expr.pattern)})`
    case 'is':
      return `is(${keyOf(expr.of)},${expr.type}${expr.in === undefined ? '' : `,${keyOf(expr.in)}`})`
    case 'if':
      return `if(${keyOf(expr.test)},${keyOf(expr.yes)},${keyOf(expr.no)})`
    case 'set':
      return `[${[...new Set(expr.items.map(keyOf))].sort().join()}]`
    case 'record':
      return `{${expr.fields.map(([name, value]) => `${JSON.stringify(name)}:${keyOf(value)}`).join()}}`
    case 'call':
      return `${expr.name}(${expr.args.map(keyOf).join()})`
  }
}

function literalKey(value: (Expr & { op: 'literal' })['value']): string {
  if (value instanceof EntityRef) return value.key
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}

type Test = (values: ReadonlyMap<string, Case>) => boolean
type Subjects = Map<string, Set<Case>>

/** `expr`, or that it does not hold. */
export function formula(expr: Expr, holds = true): Formula {
  const subjects: Subjects = new Map()
  const test = compile(expr, subjects)
  const key = keyOf(expr)
  return {
    key: holds ? key : `not(${key})`,
    subjects,
    holds: holds ? test : (values) => !test(values),
  }
}

function compile(expr: Expr, subjects: Subjects): Test {
  switch (expr.op) {
    case 'and': {
      const items = expr.items.map((item) => compile(item, subjects))
      return (values) => items.every((item) => item(values))
    }
    case 'or':
      return anyOf(expr.items.map((item) => compile(item, subjects)))
    case 'not': {
      const arg = compile(expr.arg, subjects)
      return (values) => !arg(values)
    }
    case 'if': {
      const [test, yes, no] = [expr.test, expr.yes, expr.no].map((part) => compile(part, subjects)) as [
        Test,
        Test,
        Test,
      ]
      return (values) => (test(values) ? yes(values) : no(values))
    }
    case 'literal':
      return () => expr.value === true
    case 'is': {
      const type = subject(subjects, `type of ${keyOf(expr.of)}`, expr.type, OTHER)
      const below = expr.in === undefined ? undefined : compile(inside(expr.of, expr.in), subjects)
      return (values) => values.get(type) === expr.type && (below?.(values) ?? true)
    }
    case 'binary':
      return comparison(expr, subjects)
    case 'like':
      return expr.pattern.length > 0 && expr.pattern.every((part) => typeof part !== 'string')
        ? () => true
        : truth(keyOf(expr), subjects)
    default:
      return truth(keyOf(expr), subjects)
  }
}

const inside = (left: Expr, right: Expr): Expr => ({ op: 'binary', name: 'in', left, right })
const anyOf =
  (items: readonly Test[]): Test =>
  (values) =>
    items.some((item) => item(values))

/** The name of a subject, of which these cases make a difference. */
function subject(subjects: Subjects, name: string, ...cases: readonly Case[]): string {
  const known = subjects.get(name) ?? new Set()
  for (const one of cases) known.add(one)
  subjects.set(name, known)
  return name
}

/** Something that holds or not, by itself. */
function truth(key: string, subjects: Subjects): Test {
  const name = subject(subjects, key, true, false)
  return (values) => values.get(name) === true
}

const mirrored: Readonly<Record<string, string>> = { '<': '>', '<=': '>=', '>': '<', '>=': '<=' }

function comparison(expr: Expr & { op: 'binary' }, subjects: Subjects): Test {
  const { name, left, right } = expr
  switch (name) {
    case '!=': {
      const same = comparison({ ...expr, name: '==' }, subjects)
      return (values) => !same(values)
    }
    case 'contains':
      if (left.op !== 'set') break
      return anyOf(
        left.items.map((item) =>
          comparison({ op: 'binary', name: '==', left: right, right: item }, subjects),
        ),
      )
    case 'in':
      if (keyOf(left) === keyOf(right)) return () => true
      if (right.op !== 'set') break
      return anyOf(right.items.map((item) => compile(inside(left, item), subjects)))
    case '==':
    case '<':
    case '<=':
    case '>':
    case '>=': {
      const [a, b] = [literal(left), literal(right)]
      if (a !== undefined && b !== undefined) return () => compare(a, name, b)
      if (b !== undefined) return against(keyOf(left), name, b, subjects)
      if (a !== undefined) return against(keyOf(right), mirrored[name] ?? name, a, subjects)
      const [first, second] = [keyOf(left), keyOf(right)]
      if (first === second) return () => name === '==' || name === '<=' || name === '>='
      if (name === '==') return truth(`==(${[first, second].sort().join()})`, subjects)
      const less = name === '<' || name === '>=' ? `<(${first},${second})` : `<(${second},${first})`
      const test = truth(less, subjects)
      return name === '<' || name === '>' ? test : (values) => !test(values)
    }
    default:
      break
  }
  return truth(keyOf(expr), subjects)
}

/** A literal as a case; entities by their name, times by their milliseconds. */
function literal(expr: Expr): Case | undefined {
  if (expr.op === 'call') {
    const [text] = expr.args.map((arg) => (arg.op === 'literal' ? arg.value : undefined))
    if (typeof text !== 'string') return undefined
    const read =
      expr.name === 'duration' ? parseDuration : expr.name === 'datetime' ? parseDatetime : undefined
    const value = read?.(text)?.value
    return value === undefined ? undefined : BigInt(value)
  }
  if (expr.op !== 'literal') return undefined
  const { value } = expr
  if (typeof value === 'number') return BigInt(value)
  return value instanceof EntityRef ? `entity ${value.key}` : typeof value === 'string' ? `"${value}` : value
}

function against(name: string, operator: string, value: Case, subjects: Subjects): Test {
  if (typeof value === 'bigint') {
    const [least, most] = rangeOf(name)
    const near = [value - 1n, value, value + 1n, ...[least, most].filter((end) => end !== undefined)]
    const within = (one: bigint): boolean => (least ?? one) <= one && one <= (most ?? one)
    subject(subjects, name, ...near.filter(within))
  } else subject(subjects, name, value, typeof value === 'boolean' ? !value : OTHER)
  return (values) => {
    const given = values.get(name)
    return given !== undefined && compare(given, operator, value)
  }
}

/** What something can be at least and at most, where that is the same in every set: Writ alone fills it in. */
function rangeOf(name: string): readonly [least?: bigint, most?: bigint] {
  if (name.startsWith('context."proof"."approvals".')) return [0n]
  if (name === 'resource."sensitivity"') return [1n, 4n]
  return name.startsWith('toTime(') ? [0n, 86_399_999n] : []
}

function compare(a: Case, operator: string, b: Case): boolean {
  if (operator === '==') return a === b
  if (typeof a !== 'bigint' || typeof b !== 'bigint') return false
  if (operator === '<') return a < b
  if (operator === '<=') return a <= b
  return operator === '>' ? a > b : a >= b
}

/** Every case of the subjects of some formulas, or `undefined` if there are too many. */
function* cases(formulas: readonly Formula[]): Generator<ReadonlyMap<string, Case>> {
  const all = domains(formulas)
  const names = [...all.keys()]
  const choices = [...all.values()].map((one) => [...one])
  const at = names.map(() => 0)
  for (;;) {
    yield new Map(names.map((name, index) => [name, (choices[index] as Case[])[at[index] as number] as Case]))
    let index = 0
    while (index < at.length && ++(at[index] as number) === (choices[index] as Case[]).length) at[index++] = 0
    if (index === at.length) return
  }
}

function domains(formulas: readonly Formula[]): Subjects {
  const all: Subjects = new Map()
  for (const { subjects } of formulas) {
    for (const [name, values] of subjects) subject(all, name, ...values)
  }
  return all
}

function few(formulas: readonly Formula[]): boolean {
  let count = 1
  for (const values of domains(formulas).values()) if ((count *= values.size) > CASES_MOST) return false
  return true
}

/** Whether all of `formulas` together hold always or never; `undefined` where it depends, or is not known. */
export function judge(formulas: readonly Formula[]): 'always' | 'never' | undefined {
  if (!few(formulas)) return undefined
  let [some, all] = [false, true]
  for (const values of cases(formulas)) {
    const holds = formulas.every((one) => one.holds(values))
    some ||= holds
    all &&= holds
    if (some && !all) return undefined
  }
  return all ? 'always' : 'never'
}

/** Whether `claim` holds wherever all of `given` hold. `false` where it is not known. */
export function implies(given: readonly Formula[], claim: Formula): boolean {
  if (given.some(({ key }) => key === claim.key)) return true
  const related = given.filter(({ subjects }) =>
    [...subjects.keys()].some((name) => claim.subjects.has(name)),
  )
  const formulas = [...related, claim]
  if (!few(formulas)) return false
  for (const values of cases(formulas)) {
    if (related.every((one) => one.holds(values)) && !claim.holds(values)) return false
  }
  return true
}
