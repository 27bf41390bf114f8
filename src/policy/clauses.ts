/**
 * A policy cut into the clauses that must each hold, ready to be judged and shown one by one. Built once per policy, on
 * the first explanation that looks at it.
 *
 * @module
 */
import type { Code, Env } from './engine/closures.ts'
import { toCode } from './engine/closures.ts'
import { cut } from './engine/parse.ts'
import type { Expr, Head, Pattern, Policy, Variable } from './engine/tree.ts'
import { accessOf, chain, children } from './engine/tree.ts'
import type { CedarRecord, CedarSet, Extension, Failure, Ip, Result, Value } from './engine/values.ts'
import {
  DATETIME,
  DECIMAL,
  ENTITY,
  EntityRef,
  IP,
  isFailure,
  RECORD,
  SET,
  typeError,
} from './engine/values.ts'
import type { Json } from '../model/canonical.ts'
import type { SourceFile, Span } from './problems.ts'
import type { Unknown } from './reads.ts'
import type { ClauseResult, RequiredValue } from './types.ts'
import { uidText } from './types.ts'

/** A policy as it was parsed, and where. Spans of the tree count from `base`: the text may have moved since. */
export type Parsed = Readonly<{ tree: Policy; file: SourceFile; slice: Span; base: number }>

/** Something that a clause reads: an attribute by its way from a root, or one of an entity that only evaluation knows. */
type Read = Readonly<{ root: string; names: readonly string[]; path: string; code: Code | undefined }>

/** How a clause looks, and where. */
export type Shown = Pick<ClauseResult, 'text' | 'line' | 'column' | 'endLine' | 'endColumn'>

/** One clause. `wanted` is what its expression must come to; `shown` is found out when somebody looks. */
export type Clause = { shown: Shown | undefined } & Readonly<{
  kind: ClauseResult['kind']
  wanted: boolean
  code: Code
  reads: readonly Read[]
  /** Conjuncts before it that must be true for some of what it reads to be there. */
  guards: readonly Readonly<{ code: Code; below: readonly Code[] }>[]
  required: ((env: Env) => RequiredValue | undefined) | undefined
  parts: readonly Clause[]
  span: Span
}>

const MOST_CLAUSES = 64
const MOST_PARTS = 16
const MOST_ACTUAL = 8

type Piece = Readonly<{ kind: 'when' | 'unless'; expr: Expr; span: Span }>
type Guard = Readonly<{ root: string; names: readonly string[]; code: Code }>

/** The conditions of a policy, cut at each `&&` of a `when` and each `||` of an `unless`. */
export function clausesOf({ tree, slice, base }: Parsed): Clause[] {
  const pieces = tree.conditions.flatMap(({ kind, body }): Piece[] => {
    const whole = placed(body.span, base) ?? slice
    return itemsOf(body, kind === 'when' ? 'and' : 'or').map((expr) => ({
      kind,
      expr,
      span: placed(expr.span, base) ?? whole,
    }))
  })
  const rest = pieces.slice(MOST_CLAUSES - 1)
  if (rest.length > 1) pieces.splice(MOST_CLAUSES - 1, rest.length, joined(rest))
  const guards: Guard[] = []
  return pieces.map((piece) => {
    const clause = clauseOf(piece, guards, base)
    guards.push(...guardsOf(piece.expr, clause.wanted))
    return clause
  })
}

const itemsOf = (expr: Expr, op: 'and' | 'or'): readonly Expr[] => (expr.op === op ? expr.items : [expr])

const placed = (span: Span | undefined, base: number): Span | undefined =>
  span === undefined || base === 0 ? span : { start: span.start + base, end: span.end + base }

/** Everything beyond what is shown by itself is one clause, so that none is left out. */
function joined(pieces: readonly Piece[]): Piece {
  const [first, last] = [pieces[0] as Piece, pieces.at(-1) as Piece]
  const items = pieces.map(({ kind, expr }): Expr => (kind === 'when' ? expr : { op: 'not', arg: expr }))
  return {
    kind: 'when',
    expr: chain('and', items),
    span: { start: first.span.start, end: Math.max(first.span.end, last.span.end) },
  }
}

function clauseOf({ kind, expr, span }: Piece, outer: readonly Guard[], base: number): Clause {
  const wanted = kind === 'when'
  const op = wanted ? 'or' : 'and'
  let items = itemsOf(expr, op)
  const parts: Clause[] = []
  if (items.length > 1) {
    if (items.length > MOST_PARTS) {
      const rest = items.slice(MOST_PARTS - 1)
      const [from, to] = [rest[0]?.span, rest.at(-1)?.span]
      const together = chain(op, rest)
      const place = from === undefined || to === undefined ? {} : { span: { start: from.start, end: to.end } }
      items = [...items.slice(0, MOST_PARTS - 1), { ...together, ...place }]
    }
    const guards = [...outer]
    for (const item of items) {
      const part = { kind, expr: item, span: placed(item.span, base) ?? span }
      parts.push({ ...clauseOf(part, guards, base), parts: [] })
      // an operand is only reached when those before it have not decided
      guards.push(...guardsOf(item, !wanted))
    }
  }
  const reads = readsOf(expr)
  return {
    kind,
    wanted,
    code: toCode(expr),
    reads,
    guards: outer.flatMap((guard) => {
      const below = reads.flatMap((read) => (isBelow(read, guard) ? (read.code ?? []) : []))
      return below.length === 0 ? [] : { code: guard.code, below }
    }),
    required: requirement(expr, wanted),
    parts,
    span,
    shown: undefined,
  }
}

function isBelow({ root, names }: Read, guard: Guard): boolean {
  return root === guard.root && guard.names.every((name, index) => names[index] === name)
}

/** What is known to be there once `expr` is `wanted`: what it tests with `has`, and what a type it tests for has. */
function guardsOf(expr: Expr, wanted: boolean): Guard[] {
  if (expr.op === 'not') return guardsOf(expr.arg, !wanted)
  if (!wanted || (expr.op !== 'has' && expr.op !== 'is')) return []
  const of = chainOf(expr.of)
  if (of === undefined) return []
  const tested = expr.op === 'has' ? expr.path.slice(0, 1) : []
  return [{ root: of.root, names: [...of.names, ...tested], code: toCode(expr) }]
}

/** What the head says of principal and resource, each a clause; for policies that nobody links. */
export function headOf({ tree, file, slice }: Parsed): Clause[] {
  const spans = headSpans(file.text.slice(slice.start, slice.end), slice.start)
  return (['principal', 'resource'] as const).flatMap((name): Clause[] => {
    const expr = headExpr(name, tree[name])
    if (expr === undefined) return []
    return [
      {
        kind: 'scope',
        wanted: true,
        code: toCode(expr),
        reads: readsOf(expr),
        guards: [],
        required: requirement(expr, true),
        parts: [],
        span: spans?.[name] ?? slice,
        shown: undefined,
      },
    ]
  })
}

function headExpr(name: Variable, { eq, is, in: group }: Head): Expr | undefined {
  const of: Expr = { op: 'variable', name }
  if (eq instanceof EntityRef) {
    return { op: 'binary', name: '==', left: of, right: { op: 'literal', value: eq } }
  }
  const below: Expr | undefined = group instanceof EntityRef ? { op: 'literal', value: group } : undefined
  if (is !== undefined) return { op: 'is', of, type: is, in: below }
  return below === undefined ? undefined : { op: 'binary', name: 'in', left: of, right: below }
}

/** The places of the head's first and third part. */
function headSpans(text: string, base: number): Record<'principal' | 'resource', Span> | undefined {
  const tokens = cut(text)[0]?.tokens ?? []
  let at = tokens.findIndex(
    ({ kind, text: word }, index) =>
      kind === 'word' && (word === 'permit' || word === 'forbid') && tokens[index - 1]?.text !== '@',
  )
  if (at === -1) return undefined
  const parts: Span[] = []
  let start: number | undefined
  let end = 0
  let depth = 0
  for (at += 1; at < tokens.length; at += 1) {
    const { kind, text: mark, start: from, end: to } = tokens[at] as (typeof tokens)[number]
    const isMark = kind === 'mark'
    if (isMark && (mark === '(' || mark === '[')) {
      depth += 1
      if (depth === 1) continue
    }
    const isLast = isMark && mark === ')' && depth === 1
    if (isLast || (isMark && mark === ',' && depth === 1)) {
      if (start !== undefined) parts.push({ start: base + start, end: base + end })
      start = undefined
      if (isLast) break
      continue
    }
    if (isMark && (mark === ')' || mark === ']')) depth -= 1
    start ??= from
    end = to
  }
  const [principal, , resource] = parts
  return principal === undefined || resource === undefined ? undefined : { principal, resource }
}

/** Whether the clause holds; a failure where that cannot be said. */
export function judge(clause: Clause, env: Env): boolean | Failure {
  const value = clause.code(env)
  if (typeof value === 'boolean') return value === clause.wanted
  const failure = isFailure(value) ? value : typeError('bool', value)
  // what is only missing because a conjunct before it does not hold is no news: it counts as not true
  for (const { code, below } of clause.guards) {
    if (code(env) === false && below.some((read) => isSame(read(env), failure))) return !clause.wanted
  }
  return failure
}

const isSame = (result: Result, { message }: Failure): boolean =>
  isFailure(result) && result.message === message

const NONE: readonly never[] = []

/** What the clause reads of `unknowns`, which are those that its policy reads. */
export function hiddenFrom({ reads }: Clause, unknowns: readonly Unknown[]): readonly Unknown[] {
  if (unknowns.length === 0) return NONE
  return unknowns.filter((unknown) => reads.some((read) => touches(read, unknown)))
}

function touches(read: Read, unknown: Unknown): boolean {
  if (isDirect(read, unknown)) return true
  if (unknown.kind !== 'entity') return false
  // behind an attribute may stand any entity
  const own = read.root === 'principal' || read.root === 'resource' || read.root === 'context'
  return read.names.indexOf(unknown.path[0] as string, own ? 1 : 0) !== -1
}

/** Whether one of the two lies inside the other. */
function isDirect({ root, names }: Read, unknown: Unknown): boolean {
  switch (unknown.kind) {
    case 'fact':
      return root === 'context' && overlaps(names, ['live', unknown.name])
    case 'context':
      return root === 'context' && overlaps(names, unknown.path)
    case 'entity':
      // an entity that is only compared is not read
      if (names.length === 0 || (root !== 'principal' && root !== 'resource')) return false
      return unknown[root] && overlaps(names, unknown.path)
  }
}

function overlaps(a: readonly string[], b: readonly string[]): boolean {
  const least = Math.min(a.length, b.length)
  for (let at = 0; at < least; at += 1) if (a[at] !== b[at]) return false
  return true
}

/** The values that the clause reads, each once. `unknowns` are all there are. */
export function actualOf({ reads }: Clause, env: Env, unknowns: readonly Unknown[]): ClauseResult['actual'] {
  const actual: ClauseResult['actual'][number][] = []
  for (const read of reads) {
    const { path, code } = read
    if (code === undefined) continue
    if (actual.length === MOST_ACTUAL) break
    const value = code(env)
    if (isUnknown(read, value, unknowns)) actual.push({ path, unknown: true })
    else actual.push(isFailure(value) ? { path } : { path, value: natural(value) })
  }
  return actual
}

/** A value says nothing of what is unknown inside of it. */
function isUnknown(read: Read, value: Result, unknowns: readonly Unknown[]): boolean {
  const test = isFailure(value) ? touches : isDirect
  for (const unknown of unknowns) if (test(read, unknown)) return true
  return false
}

type Chain = Readonly<{ root: string; names: readonly string[]; path: string }>

/** `context.live.task` as root and names. */
function chainOf(expr: Expr): Chain | undefined {
  const way = accessOf(expr)
  if (way === undefined) return undefined
  const root = typeof way.root === 'string' ? way.root : uidText(way.root)
  return { root, names: way.names, path: root + way.names.map(access).join('') }
}

const access = (name: string): string =>
  /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`

/** Everything that `expr` reads, each once; at least what an evaluation could touch. */
function readsOf(expr: Expr): Read[] {
  const found = new Map<string, Read>()
  const add = (read: Chain, code: Code | undefined): void => {
    const key = `${code === undefined ? '~' : ''}${read.path}`
    if (!found.has(key)) found.set(key, { ...read, code })
  }
  const hidden = (names: readonly string[]): void =>
    add({ root: '', names, path: names.map(access).join('') }, undefined)
  const visit = (at: Expr): void => {
    switch (at.op) {
      case 'variable':
        add({ root: at.name, names: [], path: at.name }, at.name === 'context' ? undefined : toCode(at))
        return
      case 'attribute': {
        const chained = chainOf(at)
        if (chained !== undefined) return add(chained, toCode(at))
        hidden([at.name])
        return visit(at.of)
      }
      case 'has': {
        const chained = chainOf(at.of)
        if (chained === undefined) {
          hidden(at.path)
          return visit(at.of)
        }
        const whole = at.path.reduce((of: Expr, name): Expr => ({ op: 'attribute', of, name }), at.of)
        return add(chainOf(whole) as Chain, toCode(whole))
      }
      default:
        for (const child of children(at)) visit(child)
    }
  }
  visit(expr)
  return [...found.values()]
}

type Operator = RequiredValue['operator']
type Requirement = (env: Env) => RequiredValue | undefined

const MIRRORED: Readonly<Partial<Record<string, Operator>>> = {
  '==': '==', '!=': '!=', '<': '>', '<=': '>=', '>': '<', '>=': '<=',
} // prettier-ignore
const NEGATED: Readonly<Partial<Record<string, Operator>>> = {
  '==': '!=', '!=': '==', '<': '>=', '<=': '>', '>': '<=', '>=': '<', has: 'lacks',
} // prettier-ignore
const DECIMALS: Readonly<Partial<Record<string, Operator>>> = {
  lessThan: '<', lessThanOrEqual: '<=', greaterThan: '>', greaterThanOrEqual: '>=',
} // prettier-ignore

/** What must be true of one value for `expr` to come to `wanted`, if it is as simple as that. */
function requirement(expr: Expr, wanted: boolean): Requirement | undefined {
  const say = (of: Expr, operator: Operator, other: Expr): Requirement | undefined => {
    const name = pathOf(of)
    const actual = wanted ? operator : NEGATED[operator]
    return name === undefined || actual === undefined ? undefined : compared(name, actual, other)
  }
  const path = (of: Expr, rest: Omit<RequiredValue, 'path'>): Requirement | undefined => {
    const name = pathOf(of)
    const required = name === undefined ? undefined : { path: name, ...rest }
    return required === undefined ? undefined : () => required
  }
  const fixed = (of: Expr, operator: Operator, value?: Json): Requirement | undefined => {
    const actual = wanted ? operator : NEGATED[operator]
    if (actual === undefined) return undefined
    return path(of, value === undefined ? { operator: actual } : { operator: actual, value })
  }
  switch (expr.op) {
    case 'not':
      return requirement(expr.arg, !wanted)
    case 'attribute':
      return path(expr, { operator: '==', value: wanted })
    case 'isEmpty':
      return fixed(expr.arg, '==', [])
    case 'has': {
      const whole = expr.path.reduce((of: Expr, name): Expr => ({ op: 'attribute', of, name }), expr.of)
      return fixed(whole, 'has')
    }
    case 'like':
      return fixed(expr.of, 'like', patternText(expr.pattern))
    case 'is': {
      const type = fixed(expr.of, 'is', expr.type)
      if (expr.in === undefined || type === undefined) return type
      const below = say(expr.of, 'in', expr.in)
      const isOfType = toCode({ ...expr, in: undefined })
      return (env) => (isOfType(env) === true ? below?.(env) : type(env))
    }
    case 'call': {
      const [of, other] = expr.args
      const operator = expr.name === 'isInRange' ? 'in' : DECIMALS[expr.name]
      if (of === undefined || other === undefined || operator === undefined) return undefined
      const mirrored = MIRRORED[operator]
      return say(of, operator, other) ?? (mirrored === undefined ? undefined : say(other, mirrored, of))
    }
    case 'binary': {
      const { name, left, right } = expr
      const mirrored = MIRRORED[name]
      if (mirrored !== undefined) {
        // what is constant is what is required, whichever side it stands on
        return isConstant(left)
          ? say(right, mirrored, left)
          : (say(left, name as Operator, right) ?? say(right, mirrored, left))
      }
      if (name === 'in') return say(left, 'in', right)
      if (name === 'contains')
        return left.op === 'set' ? say(right, 'one of', left) : say(left, 'contains', right)
      if (name === 'containsAny' || name === 'containsAll') {
        const [only, ...more] = right.op === 'set' ? right.items : []
        return only === undefined || more.length > 0 ? undefined : say(left, 'contains', only)
      }
      return undefined
    }
    default:
      return undefined
  }
}

/** `expr` as a path, if it is one: an attribute of something, or one of the three that an attempt names. */
function pathOf(expr: Expr): string | undefined {
  const chained = chainOf(expr)
  if (chained === undefined || (expr.op === 'variable' ? expr.name === 'context' : expr.op === 'literal')) {
    return undefined
  }
  return chained.path
}

/** Compared with what `other` comes to, which is computed once if nothing can change it. */
function compared(path: string, operator: Operator, other: Expr): Requirement | undefined {
  const code = toCode(other)
  if (!isConstant(other)) {
    return (env) => {
      const value = code(env)
      return isFailure(value) ? undefined : { path, operator, value: natural(value) }
    }
  }
  const value = code(NO_ENV)
  if (isFailure(value)) return undefined
  const required = { path, operator, value: natural(value) }
  return () => required
}

/** Nothing: what is constant asks for nothing. */
const NO_ENV = undefined as unknown as Env

function isConstant(expr: Expr): boolean {
  switch (expr.op) {
    case 'literal':
      return true
    case 'neg':
    case 'set':
    case 'record':
    case 'call':
      return children(expr).every(isConstant)
    default:
      return false
  }
}

const patternText = (pattern: Pattern): string =>
  pattern.map((part) => (part === null ? '*' : part.replaceAll('*', '\\*'))).join('')

const wholes = new WeakMap<CedarSet | CedarRecord, Json>()

/** Once for each value, which many clauses of many policies may have read: whoever is asked gave it, and how long it is. */
function naturalWhole(value: CedarSet | CedarRecord): Json {
  let json = wholes.get(value)
  if (json === undefined)
    wholes.set(value, (json = value.kind === SET ? value.items.map(natural) : naturalRecord(value)))
  return json
}

/** A value as people write it: extension values by their text, entities as Cedar spells them. */
export function natural(value: Value): Json {
  switch (typeof value) {
    case 'bigint':
      return String(value)
    case 'object':
      break
    default:
      return value
  }
  switch (value.kind) {
    case ENTITY:
      return uidText(value)
    case SET:
    case RECORD:
      return naturalWhole(value)
    case IP:
      return ipText(value)
    case DATETIME:
      return instantText(value)
    case DECIMAL:
      return decimalText(BigInt(value.value))
    default:
      return durationText(BigInt(value.value))
  }
}

function naturalRecord({ fields }: CedarRecord): Json {
  const record: Record<string, Json> = {}
  for (const [name, member] of fields) {
    if (name !== '__proto__') record[name] = natural(member)
    else Object.defineProperty(record, name, { value: natural(member), enumerable: true })
  }
  return record
}

const DAY = 86_400_000
const MOST_MILLIS = 8.64e15

/** The text of the last day that was told, up to its `T`: instants that are told together mostly share it. */
let today = { day: 0, text: '1970-01-01T' }

/** Instants that no calendar of JavaScript's reaches are told by their distance from 1970. */
function instantText({ value }: Extension): string {
  const instant = Number(value)
  if (Math.abs(instant) > MOST_MILLIS - DAY) return `1970-01-01 + ${value}ms`
  const day = Math.floor(instant / DAY)
  if (today.day !== day) today = { day, text: new Date(day * DAY).toISOString().slice(0, -13) }
  const millis = instant - day * DAY
  const [hours, minutes, seconds] = [millis / 3_600_000, (millis / 60_000) % 60, (millis / 1_000) % 60]
  return `${today.text}${two(hours)}:${two(minutes)}:${two(seconds)}.${two((millis % 1_000) / 10)}${millis % 10}Z`
}

const two = (value: number): string => (value < 10 ? `0${Math.floor(value)}` : `${Math.floor(value)}`)

function decimalText(value: bigint): string {
  const digits = String(value < 0n ? -value : value).padStart(5, '0')
  const part = digits.slice(-4).replace(/0{1,3}$/, '')
  return `${value < 0n ? '-' : ''}${digits.slice(0, -4)}.${part}`
}

const UNITS = [
  [86_400_000n, 'd'],
  [3_600_000n, 'h'],
  [60_000n, 'm'],
  [1_000n, 's'],
  [1n, 'ms'],
] as const

function durationText(value: bigint): string {
  let left = value < 0n ? -value : value
  let text = value < 0n ? '-' : ''
  if (left === 0n) return '0ms'
  for (const [size, unit] of UNITS) {
    if (left >= size) text += `${left / size}${unit}`
    left %= size
  }
  return text
}

function ipText({ bits, address, prefix }: Ip): string {
  const size = bits === 32 ? 8n : 16n
  const groups: string[] = []
  for (let shift = BigInt(bits) - size; shift >= 0n; shift -= size) {
    groups.push(((address >> shift) & ((1n << size) - 1n)).toString(bits === 32 ? 10 : 16))
  }
  const text = bits === 32 ? groups.join('.') : shortened(groups)
  return prefix === bits ? text : `${text}/${prefix}`
}

/** The longest run of zeros, from two on, is `::`. */
function shortened(groups: readonly string[]): string {
  let [from, length] = [0, 1]
  for (let at = 0; at < groups.length; at += 1) {
    let end = at
    while (groups[end] === '0') end += 1
    if (end - at > length) [from, length] = [at, end - at]
  }
  if (length < 2) return groups.join(':')
  return `${groups.slice(0, from).join(':')}::${groups.slice(from + length).join(':')}`
}
