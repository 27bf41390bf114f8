/**
 * What a policy reads, from its text alone (law 6). Always at least what an evaluation could touch.
 *
 * Comparing an entity (`==`, `in`, `is`) reads who it is and where it stands, not its attributes.
 *
 * @module
 */
import type { Expr, Policy, Variable } from './engine/tree.ts'
import { accessOf, children, walk } from './engine/tree.ts'
import type { EntityRef } from './engine/values.ts'
import type { Field, Schema, Type } from './schema.ts'

type Path = readonly string[]

export type Reads = Readonly<{
  facts: ReadonlySet<string>
  /** Paths below `context`, without Writ's own; the empty path is everything. */
  context: readonly Path[]
  principal: readonly Path[]
  resource: readonly Path[]
  /** Attributes read on entities that only the evaluation knows, e.g. `email` in `resource.owner.email`. */
  anyEntity: ReadonlySet<string>
  approvals: ReadonlyMap<string, ReadonlySet<number>>
  justification: boolean
  reauth: boolean
}>

/** Something whose value is not known: a fact, a path below `context`, or an attribute path of an entity. */
export type Unknown =
  | Readonly<{ kind: 'fact'; name: string }>
  | Readonly<{ kind: 'context'; path: Path }>
  | Readonly<{ kind: 'entity'; principal: boolean; resource: boolean; path: Path; label: string }>

export function isRead(reads: Reads, unknown: Unknown): boolean {
  switch (unknown.kind) {
    case 'fact':
      return reads.facts.has(unknown.name)
    case 'context':
      return reads.context.some((path) => overlaps(path, unknown.path))
    case 'entity':
      return (
        reads.anyEntity.has(unknown.path[0] as string) ||
        (unknown.principal && reads.principal.some((path) => overlaps(path, unknown.path))) ||
        (unknown.resource && reads.resource.some((path) => overlaps(path, unknown.path)))
      )
  }
}

/** One of the paths lies inside the other. */
function overlaps(a: Path, b: Path): boolean {
  const least = Math.min(a.length, b.length)
  for (let at = 0; at < least; at++) if (a[at] !== b[at]) return false
  return true
}

/** How an unknown is called in messages and in `@unknown_ignore`. */
export function unknownLabel(unknown: Unknown): string {
  return unknown.kind === 'fact'
    ? unknown.name
    : unknown.kind === 'context'
      ? ['context', ...unknown.path].join('.')
      : unknown.label
}

/** Names of attributes that hold an entity anywhere in the schema: behind them another entity's attributes are read. */
export function entityFields(schema: Schema): ReadonlySet<string> {
  const names = new Set<string>()
  const visit = (fields: ReadonlyMap<string, Field>): void => {
    for (const [name, { type }] of fields) {
      if (type.kind === 'entity') names.add(name)
      inner(type)
    }
  }
  const inner = (type: Type): void => {
    if (type.kind === 'record') visit(type.fields)
    if (type.kind === 'set') inner(type.element)
  }
  for (const { fields } of schema.entityTypes.values()) visit(fields)
  for (const { context } of schema.actions.values()) visit(context)
  visit(schema.facts)
  return names
}

const comparisons = new Set(['==', '!=', '<', '<=', '>', '>='])
const mirrored: Readonly<Record<string, string>> = { '<': '>', '<=': '>=', '>': '<', '>=': '<=' }

/** The pool in `context.proof.approvals.pool`. */
export function poolOf(expression: Expr): string | undefined {
  const chain = accessOf(expression)
  if (chain?.root !== 'context' || chain.names.length !== 3) return undefined
  return chain.names[0] === 'proof' && chain.names[1] === 'approvals' ? chain.names[2] : undefined
}

/** The read set of one policy. `allFacts` and `pools` stand for reads of everything. */
export function readsOf(
  policy: Policy,
  world: Readonly<{
    allFacts: Iterable<string>
    pools: readonly string[]
    entityFields: ReadonlySet<string>
  }>,
): Reads {
  const facts = new Set<string>()
  const context: Path[] = []
  const entity: Record<'principal' | 'resource', Path[]> = { principal: [], resource: [] }
  const anyEntity = new Set<string>()
  const approvals = new Map<string, Set<number>>()
  let justification = false
  let reauth = false

  const counts = (pool: string): Set<number> => {
    const known = approvals.get(pool) ?? new Set<number>()
    approvals.set(pool, known)
    return known
  }
  const everyCount = (pool: string): void => {
    // A count that is not compared with a literal: small counts, and every small number the policy mentions.
    for (const count of [1, 2, 3, ...smallNumbers(policy)]) counts(pool).add(count)
  }
  const record = (root: Variable | EntityRef, names: Path): void => {
    for (let at = 1; at < names.length; at++) {
      if (world.entityFields.has(names[at - 1] as string)) anyEntity.add(names[at] as string)
    }
    if (typeof root !== 'string') {
      if (names.length > 0) anyEntity.add(names[0] as string)
      return
    }
    if (root === 'principal' || root === 'resource') {
      if (names.length > 0) entity[root].push(names)
      return
    }
    if (root === 'action') return
    const [first, second, third] = names
    if (first === undefined || first === 'live') {
      if (second === undefined) for (const fact of world.allFacts) facts.add(fact)
      else facts.add(second)
    }
    if (first === undefined || first === 'proof') {
      if (second === undefined || second === 'justification') justification = true
      if (second === undefined || second === 'reauth') reauth = true
      if (second === undefined || (second === 'approvals' && third === undefined))
        world.pools.forEach(everyCount)
      else if (second === 'approvals' && third !== undefined) everyCount(third)
    }
    if (first !== 'live' && first !== 'proof') context.push(names)
  }
  const visit = (expression: Expr): void => {
    if (expression.op === 'variable') return record(expression.name, [])
    if (expression.op === 'attribute') {
      const chain = accessOf(expression)
      if (chain !== undefined) return record(chain.root, chain.names)
      anyEntity.add(expression.name)
    }
    if (expression.op === 'has') {
      const chain = accessOf(expression.of)
      if (chain !== undefined) return record(chain.root, [...chain.names, ...expression.path])
      for (const name of expression.path) anyEntity.add(name)
    }
    if (expression.op === 'binary' && comparisons.has(expression.name)) {
      const { left, right, name } = expression
      if (compare(left, name, right) || compare(right, mirrored[name] ?? name, left)) return
    }
    for (const child of children(expression)) visit(child)
  }
  const compare = (left: Expr, operator: string, right: Expr): boolean => {
    const pool = poolOf(left)
    if (pool === undefined || right.op !== 'literal' || typeof right.value !== 'number') return false
    const known = counts(pool)
    // The counts on both sides of the border, so that any operator can be turned either way.
    const border = operator === '>' || operator === '<=' ? right.value + 1 : right.value
    for (const count of operator === '!=' ? [border, border + 1] : [border]) if (count >= 1) known.add(count)
    if (known.size === 0) known.add(1)
    return true
  }
  for (const { body } of policy.conditions) visit(body)
  return {
    facts,
    context,
    principal: entity.principal,
    resource: entity.resource,
    anyEntity,
    approvals,
    justification,
    reauth,
  }
}

function smallNumbers(policy: Policy): number[] {
  return policy.conditions.flatMap(({ body }) =>
    [...walk(body)].flatMap((part) =>
      part.op === 'literal' && typeof part.value === 'number' && part.value >= 1 && part.value <= 10
        ? [part.value]
        : [],
    ),
  )
}
