/**
 * One policy for people: whom it is about, under which conditions, what it asks for and what it reads.
 *
 * @module
 */
import { conjuncts, headSpan, placedTrees } from './placed.ts'
import type { EntityData, HeadConstraint, PolicyInfo, PolicySet } from './types.ts'
import { sameUid, uidText } from './types.ts'

/** A stretch of the policy as it is written, at its place. */
export type Clause = Readonly<{ text: string; line: number; column: number }>

export type Described = Readonly<{
  info: PolicyInfo
  /** The head as it is written; who and what of the inventory it matches, where there is one. */
  principal: Clause & Readonly<{ matches: readonly string[] }>
  action: Clause
  resource: Clause & Readonly<{ matches: readonly string[] }>
  clauses: readonly (Clause & Readonly<{ kind: 'when' | 'unless' }>)[]
  /** Policies that say who gives the approvals that this one reads. */
  givers: Readonly<Record<string, readonly string[]>>
}>

/** `undefined` if there is no such policy, or none that can be read here. */
export function describePolicy(
  set: PolicySet,
  id: string,
  inventory: readonly EntityData[] = [],
): Described | undefined {
  const placed = placedTrees(set).find(({ info }) => info.id === id)
  if (placed === undefined) return undefined
  const { info, file, tree } = placed
  const written = (span: Readonly<{ start: number; end: number }> | undefined): Clause => {
    const { start, end } = span ?? placed.part
    return { text: file.text.slice(start, end), ...file.place(start) }
  }
  const side = (name: 'principal' | 'resource') => ({
    ...written(headSpan(placed, name)),
    matches: matching(info.scope[name], inventory),
  })
  return {
    info,
    principal: side('principal'),
    action: written(headSpan(placed, 'action')),
    resource: side('resource'),
    clauses: conjuncts(tree).map(({ kind, body }) => ({ kind, ...written(body.span) })),
    givers: Object.fromEntries([...info.reads.approvals.keys()].map((pool) => [pool, giversOf(set, pool)])),
  }
}

function matching(head: HeadConstraint, inventory: readonly EntityData[]): string[] {
  if (head.eq === undefined && head.is === undefined && head.in === undefined) return []
  const parents = new Map(inventory.map(({ uid, parents: above }) => [uidText(uid), above]))
  return inventory
    .filter(({ uid }) => {
      if (head.eq !== undefined && !sameUid(head.eq, uid)) return false
      if (head.is !== undefined && head.is !== uid.type) return false
      if (head.in === undefined) return true
      const line = new Set([uidText(uid)])
      for (const name of line) for (const parent of parents.get(name) ?? []) line.add(uidText(parent))
      return line.has(uidText(head.in))
    })
    .map(({ uid }) => `${uid.type}/${uid.id}`)
}

/** Permits on approving whose text names the pool. */
function giversOf(set: PolicySet, pool: string): string[] {
  return set.policies
    .filter(
      ({ effect, scope: { action }, text }) =>
        effect === 'permit' &&
        !action.any &&
        action.oneOf.some((uid) => uid.type === 'Writ::Action' && uid.id === 'approve') &&
        (text.includes(JSON.stringify(pool)) || !text.includes('pool')),
    )
    .map(({ id }) => id)
}
