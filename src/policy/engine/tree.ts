/**
 * Policies as trees, the one form that is compiled. Chains of `&&` and `||` are flat, whatever their brackets: both
 * stop at the same operand either way.
 *
 * @module
 */
import type { EntityRef, Long } from './values.ts'

export type Variable = 'principal' | 'action' | 'resource' | 'context'

export type Binary = (typeof binaries)[number]
export const binaries = [
  '==', '!=', '<', '<=', '>', '>=', '+', '-', '*', 'in', 'contains', 'containsAll', 'containsAny', 'getTag', 'hasTag',
] as const // prettier-ignore

/** A literal stretch of a `like` pattern, or `null` for `*`. */
export type Pattern = readonly (string | null)[]

/** A stretch of the text that was parsed, as string offsets: `start` inclusive, `end` exclusive. */
export type Span = Readonly<{ start: number; end: number }>

/** `span` is missing where the reference read it, or where it has no text of its own. */
export type Expr = Node & Readonly<{ span?: Span }>

type Node =
  | Readonly<{ op: 'literal'; value: boolean | string | Long | EntityRef }>
  | Readonly<{ op: 'variable'; name: Variable }>
  | Readonly<{ op: 'and' | 'or'; items: readonly Expr[] }>
  | Readonly<{ op: 'not' | 'neg' | 'isEmpty'; arg: Expr }>
  | Readonly<{ op: 'binary'; name: Binary; left: Expr; right: Expr }>
  | Readonly<{ op: 'attribute'; of: Expr; name: string }>
  | Readonly<{ op: 'has'; of: Expr; path: readonly string[] }>
  | Readonly<{ op: 'like'; of: Expr; pattern: Pattern }>
  | Readonly<{ op: 'is'; of: Expr; type: string; in: Expr | undefined }>
  | Readonly<{ op: 'if'; test: Expr; yes: Expr; no: Expr }>
  | Readonly<{ op: 'set'; items: readonly Expr[] }>
  | Readonly<{ op: 'record'; fields: readonly (readonly [string, Expr])[] }>
  | Readonly<{ op: 'call'; name: string; args: readonly Expr[] }>

export type Slot = '?principal' | '?resource'

/** What a head says of principal or resource; a slot is filled when its template is linked. */
export type Head = Readonly<{
  eq: EntityRef | Slot | undefined
  is: string | undefined
  in: EntityRef | Slot | undefined
}>

/** `eq` is one action, `in` actions and everything below them; neither is every action. */
export type ActionHead = Readonly<{ eq: EntityRef | undefined; in: readonly EntityRef[] | undefined }>

export type Policy = Readonly<{
  effect: 'permit' | 'forbid'
  principal: Head
  action: ActionHead
  resource: Head
  conditions: readonly Readonly<{ kind: 'when' | 'unless'; body: Expr }>[]
}>

/** `items` joined, nested chains of the same operator opened. */
export function chain(op: 'and' | 'or', items: readonly Expr[]): Expr {
  const flat = items.flatMap((item) => (item.op === op ? item.items : [item]))
  return { op, items: flat }
}

/** Literals of a pattern that follow each other are one. */
export function pattern(parts: Pattern): Pattern {
  const joined: (string | null)[] = []
  for (const part of parts) {
    const last = joined.at(-1)
    if (part === null) {
      if (last !== null || joined.length === 0) joined.push(null)
    } else if (typeof last === 'string') joined[joined.length - 1] = last + part
    else if (part !== '') joined.push(part)
  }
  return joined
}

/** The direct parts of an expression. */
export function children(expr: Expr): readonly Expr[] {
  switch (expr.op) {
    case 'literal':
    case 'variable':
      return []
    case 'and':
    case 'or':
    case 'set':
      return expr.items
    case 'not':
    case 'neg':
    case 'isEmpty':
      return [expr.arg]
    case 'binary':
      return [expr.left, expr.right]
    case 'attribute':
    case 'has':
    case 'like':
      return [expr.of]
    case 'is':
      return expr.in === undefined ? [expr.of] : [expr.of, expr.in]
    case 'if':
      return [expr.test, expr.yes, expr.no]
    case 'record':
      return expr.fields.map(([, value]) => value)
    case 'call':
      return expr.args
  }
}

/** Every expression of a tree, parents first. */
export function* walk(expr: Expr): Generator<Expr> {
  const open = [expr]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    yield next
    const parts = children(next)
    for (let at = parts.length - 1; at >= 0; at -= 1) open.push(parts[at] as Expr)
  }
}

/** `context.a.b` as its root and names. */
export type Access = Readonly<{ root: Variable | EntityRef; names: readonly string[] }>

/** `undefined` for what is no chain of attributes of a variable or a named entity. */
export function accessOf(expr: Expr): Access | undefined {
  const names: string[] = []
  let at = expr
  while (at.op === 'attribute') {
    names.push(at.name)
    at = at.of
  }
  names.reverse()
  if (at.op === 'variable') return { root: at.name, names }
  return at.op === 'literal' && typeof at.value === 'object' ? { root: at.value, names } : undefined
}

/** An entity named in the text. */
export function namedEntity(expr: Expr): EntityRef | undefined {
  return expr.op === 'literal' && typeof expr.value === 'object' ? expr.value : undefined
}
