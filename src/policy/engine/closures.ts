/**
 * Expressions as closures. Each gives a value or a failure, stops where Cedar stops, and allocates nothing unless a value
 * has to be made.
 *
 * @module
 */
import { callExtension } from './extensions.ts'
import type { Entities, EntityNode } from './store.ts'
import type { Binary, Expr, Pattern, Variable } from './tree.ts'
import type { Compound, EntityRef, Extension, Result, Value } from './values.ts'
import {
  add,
  CedarRecord,
  CedarSet,
  DATETIME,
  DURATION,
  ENTITY,
  equal,
  Failure,
  isFailure,
  isLong,
  multiply,
  negate,
  RECORD,
  SET,
  subtract,
  typeError,
} from './values.ts'

/** What one decision is about. The nodes of its three entities are looked up once; a missing one is not in the store. */
export type Env = Readonly<{
  principal: EntityRef
  action: EntityRef
  resource: EntityRef
  principalNode: EntityNode | undefined
  actionNode: EntityNode | undefined
  resourceNode: EntityNode | undefined
  context: CedarRecord
  store: Entities
}>

export type Code = (env: Env) => Result

/** Code for `expr`; what reads nothing is computed now. */
export function toCode(expr: Expr): Code {
  return build(expr).code
}

type Built = Readonly<{ code: Code; fixed: boolean }>

/** Nothing: what is fixed asks for nothing. */
const NO_ENV = undefined as unknown as Env

/** Operators that look into the store, whatever they are applied to. */
const reading: ReadonlySet<Binary> = new Set<Binary>(['in', 'getTag', 'hasTag'])

function build(expr: Expr): Built {
  switch (expr.op) {
    case 'literal': {
      const { value } = expr
      return { code: () => value, fixed: true }
    }
    case 'variable':
      return { code: variable(expr.name), fixed: false }
    case 'and':
      return fold(expr.items, allOf)
    case 'or':
      return fold(expr.items, anyOf)
    case 'not':
      return fold([expr.arg], ([arg]) => not(arg as Code))
    case 'neg':
      return fold([expr.arg], ([arg]) => (env) => {
        const value = (arg as Code)(env)
        return isLong(value) ? negate(value) : unlike('long', value)
      })
    case 'isEmpty':
      return fold([expr.arg], ([arg]) => (env) => {
        const value = (arg as Code)(env)
        return isKind(value, SET) ? value.items.length === 0 : unlike('set', value)
      })
    case 'binary':
      return reading.has(expr.name)
        ? { code: binary(expr, toCode(expr.left), toCode(expr.right)), fixed: false }
        : fold([expr.left, expr.right], ([left, right]) => binary(expr, left as Code, right as Code))
    case 'attribute':
      if (expr.of.op === 'variable') return { code: ownAttribute(expr.of.name, expr.name), fixed: false }
      return { code: attribute(toCode(expr.of), expr.name), fixed: false }
    case 'has':
      return { code: has(toCode(expr.of), expr.path), fixed: false }
    case 'like':
      return fold([expr.of], ([of]) => like(of as Code, expr.pattern))
    case 'is':
      if (expr.in !== undefined) {
        const below: Expr = { op: 'binary', name: 'in', left: expr.of, right: expr.in }
        return build({ op: 'and', items: [{ ...expr, in: undefined }, below] })
      }
      return fold([expr.of], ([of]) => (env) => {
        const value = (of as Code)(env)
        return isKind(value, ENTITY) ? value.type === expr.type : unlike('entity', value)
      })
    case 'if':
      return fold([expr.test, expr.yes, expr.no], ([test, yes, no]) => (env) => {
        const value = (test as Code)(env)
        if (value === true) return (yes as Code)(env)
        return value === false ? (no as Code)(env) : unlike('bool', value)
      })
    case 'set':
      return fold(expr.items, (items) => (env) => {
        const values = evaluateAll(items, env)
        return values instanceof Failure ? values : new CedarSet(values)
      })
    case 'record':
      return fold(
        expr.fields.map(([, value]) => value),
        (items) => (env) => {
          const values = evaluateAll(items, env)
          if (values instanceof Failure) return values
          return new CedarRecord(new Map(expr.fields.map(([name], index) => [name, values[index] as Value])))
        },
      )
    case 'call':
      return fold(expr.args, (args) => (env) => {
        const values = evaluateAll(args, env)
        return values instanceof Failure ? values : callExtension(expr.name, values)
      })
  }
}

function fold(parts: readonly Expr[], make: (codes: readonly Code[]) => Code): Built {
  const built = parts.map(build)
  const code = make(built.map((part) => part.code))
  if (!built.every(({ fixed }) => fixed)) return { code, fixed: false }
  const result = code(NO_ENV)
  return { code: () => result, fixed: true }
}

function evaluateAll(codes: readonly Code[], env: Env): Value[] | Failure {
  const values: Value[] = []
  for (const code of codes) {
    const value = code(env)
    if (isFailure(value)) return value
    values.push(value)
  }
  return values
}

function isKind<K extends Compound['kind']>(
  value: Result,
  kind: K,
): value is Extract<Compound, Readonly<{ kind: K }>> {
  return typeof value === 'object' && value.kind === kind
}

/** The failure that `value` is, or the one of its type. */
function unlike(expected: string, value: Result): Failure {
  return isFailure(value) ? value : typeError(expected, value)
}

function variable(name: Variable): Code {
  switch (name) {
    case 'principal':
      return (env) => env.principal
    case 'action':
      return (env) => env.action
    case 'resource':
      return (env) => env.resource
    case 'context':
      return (env) => env.context
  }
}

function allOf(items: readonly Code[]): Code {
  return (env) => {
    for (const item of items) {
      const value = item(env)
      if (value === true) continue
      return value === false ? false : unlike('bool', value)
    }
    return true
  }
}

function anyOf(items: readonly Code[]): Code {
  return (env) => {
    for (const item of items) {
      const value = item(env)
      if (value === false) continue
      return value === true ? true : unlike('bool', value)
    }
    return false
  }
}

export function not(arg: Code): Code {
  return (env) => {
    const value = arg(env)
    if (value === true) return false
    return value === false ? true : unlike('bool', value)
  }
}

const noAttribute = (name: string): Failure => new Failure(`the attribute \`${name}\` does not exist`)

function noEntity({ type, id }: EntityRef): Failure {
  return new Failure(`entity \`${type}::${JSON.stringify(id)}\` does not exist`)
}

/** An attribute of a variable, the commonest access there is. */
function ownAttribute(variableName: Variable, name: string): Code {
  const missing = noAttribute(name)
  switch (variableName) {
    case 'context':
      return (env) => env.context.fields.get(name) ?? missing
    case 'principal':
      return (env) =>
        env.principalNode === undefined
          ? noEntity(env.principal)
          : (env.principalNode.attrs.fields.get(name) ?? missing)
    case 'action':
      return (env) =>
        env.actionNode === undefined
          ? noEntity(env.action)
          : (env.actionNode.attrs.fields.get(name) ?? missing)
    case 'resource':
      return (env) =>
        env.resourceNode === undefined
          ? noEntity(env.resource)
          : (env.resourceNode.attrs.fields.get(name) ?? missing)
  }
}

function attribute(of: Code, name: string): Code {
  const missing = noAttribute(name)
  return (env) => {
    const value = of(env)
    if (isKind(value, RECORD)) return value.fields.get(name) ?? missing
    if (!isKind(value, ENTITY)) return unlike('record or entity', value)
    const node = env.store.find(value.type, value.id)
    return node === undefined ? noEntity(value) : (node.attrs.fields.get(name) ?? missing)
  }
}

function has(of: Code, path: readonly string[]): Code {
  return (env) => {
    let value = of(env)
    for (const name of path) {
      let member: Value | undefined
      if (isKind(value, RECORD)) member = value.fields.get(name)
      else if (isKind(value, ENTITY)) member = env.store.find(value.type, value.id)?.attrs.fields.get(name)
      else return unlike('record or entity', value)
      if (member === undefined) return false
      value = member
    }
    return true
  }
}

function like(of: Code, pattern: Pattern): Code {
  return (env) => {
    const value = of(env)
    return typeof value === 'string' ? matches(value, pattern) : unlike('string', value)
  }
}

/** Each literal at the first place where it fits: linear in text times pattern. */
function matches(text: string, pattern: Pattern): boolean {
  const [first] = pattern
  if (first === undefined) return text === ''
  let at = 0
  let index = 0
  if (first !== null) {
    if (!text.startsWith(first)) return false
    if (pattern.length === 1) return text.length === first.length
    at = first.length
    index = 1
  }
  const last = pattern.at(-1)
  const end = typeof last === 'string' ? pattern.length - 1 : pattern.length
  for (; index < end; index += 1) {
    const part = pattern[index]
    if (typeof part !== 'string') continue
    const found = text.indexOf(part, at)
    if (found === -1) return false
    at = found + part.length
  }
  return typeof last !== 'string' || (text.length - at >= last.length && text.endsWith(last))
}

function binary({ name, left, right }: Extract<Expr, { op: 'binary' }>, a: Code, b: Code): Code {
  switch (name) {
    case '==':
      return right.op === 'literal' && typeof right.value !== 'object'
        ? equalsPrimitive(a, right.value)
        : left.op === 'literal' && typeof left.value !== 'object'
          ? equalsPrimitive(b, left.value)
          : both(a, b, equal)
    case '!=':
      return both(a, b, (x, y) => !equal(x, y))
    case '<':
    case '<=':
    case '>':
    case '>=':
      return compare(name, a, b)
    case '+':
      return arithmetic(a, b, add)
    case '-':
      return arithmetic(a, b, subtract)
    case '*':
      return arithmetic(a, b, multiply)
    case 'in':
      return isIn(a, b)
    case 'contains':
      return both(a, b, (x, y) => (isKind(x, SET) ? x.has(y) : typeError('set', x)))
    case 'containsAll':
      return both(a, b, (x, y) => sets(x, y, (set, other) => set.hasAll(other)))
    case 'containsAny':
      return both(a, b, (x, y) => sets(x, y, (set, other) => set.hasAny(other)))
    case 'getTag':
    case 'hasTag':
      return tag(name, a, b)
  }
}

function equalsPrimitive(a: Code, literal: Value): Code {
  return (env) => {
    const value = a(env)
    if (value === literal) return true
    return isFailure(value) ? value : false
  }
}

function both(a: Code, b: Code, compute: (x: Value, y: Value) => Result): Code {
  return (env) => {
    const x = a(env)
    if (isFailure(x)) return x
    const y = b(env)
    return isFailure(y) ? y : compute(x, y)
  }
}

function sets(x: Value, y: Value, test: (set: CedarSet, other: CedarSet) => boolean): Result {
  if (!isKind(x, SET)) return typeError('set', x)
  return isKind(y, SET) ? test(x, y) : typeError('set', y)
}

function arithmetic(a: Code, b: Code, compute: typeof add): Code {
  return (env) => {
    const x = a(env)
    if (!isLong(x)) return unlike('long', x)
    const y = b(env)
    return isLong(y) ? compute(x, y) : unlike('long', y)
  }
}

function compare(name: Binary, a: Code, b: Code): Code {
  const test = order(name)
  return (env) => {
    const x = a(env)
    if (isFailure(x)) return x
    const y = b(env)
    if (isFailure(y)) return y
    if (isLong(x)) return isLong(y) ? test(x, y) : typeError('long', y)
    if (!isOrdered(x)) return typeError('long', x)
    if (!isKind(y, x.kind)) return typeError(x.kind === DATETIME ? 'datetime' : 'duration', y)
    return test(x.value, y.value)
  }
}

function isOrdered(value: Value): value is Extension {
  return typeof value === 'object' && (value.kind === DATETIME || value.kind === DURATION)
}

function order(name: Binary): (x: number | bigint, y: number | bigint) => boolean {
  switch (name) {
    case '<':
      return (x, y) => x < y
    case '<=':
      return (x, y) => x <= y
    case '>':
      return (x, y) => x > y
    default:
      return (x, y) => x >= y
  }
}

function isIn(a: Code, b: Code): Code {
  return (env) => {
    const x = a(env)
    if (isFailure(x)) return x
    const y = b(env)
    if (isFailure(y)) return y
    if (!isKind(x, ENTITY)) return typeError('entity', x)
    if (isKind(y, ENTITY)) return isBelow(x, y, env.store)
    if (!isKind(y, SET)) return typeError('entity or set of entities', y)
    const wrong = y.items.find((item) => !isKind(item, ENTITY))
    if (wrong !== undefined) return typeError('entity', wrong)
    return y.items.some((item) => isBelow(x, item as EntityRef, env.store))
  }
}

function isBelow(a: EntityRef, b: EntityRef, store: Entities): boolean {
  if (a.id === b.id && a.type === b.type) return true
  return store.find(a.type, a.id)?.ancestors.has(b.key) === true
}

function tag(name: 'getTag' | 'hasTag', a: Code, b: Code): Code {
  return (env) => {
    const x = a(env)
    if (isFailure(x)) return x
    const y = b(env)
    if (isFailure(y)) return y
    if (!isKind(x, ENTITY)) return typeError('entity', x)
    if (typeof y !== 'string') return typeError('string', y)
    const tags = env.store.find(x.type, x.id)?.tags.fields
    if (name === 'hasTag') return tags?.has(y) === true
    if (tags === undefined) return noEntity(x)
    return tags.get(y) ?? new Failure(`the tag \`${y}\` does not exist`)
  }
}
