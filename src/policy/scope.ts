/**
 * Whether the head of a policy matches; the same answer as Cedar's own.
 *
 * @module
 */
import type { Head as TreeHead, Policy } from './engine/tree.ts'
import type { EntityRef } from './engine/values.ts'
import type { ActionType } from './schema.ts'
import type { EntityData, EntityUid, HeadConstraint, Scope } from './types.ts'
import { sameUid, uidText } from './types.ts'

/** Ancestors by `uidText`, the entity itself included. */
export type Lineage = (uid: EntityUid) => ReadonlySet<string>

/** Lineage over `entities`; only asked for principal and resource, each computed once. */
export function lineageOf(entities: ReadonlyMap<string, EntityData>): Lineage {
  const known = new Map<string, ReadonlySet<string>>()
  return (uid) => {
    const key = uidText(uid)
    const before = known.get(key)
    if (before !== undefined) return before
    const line = new Set([key])
    for (const name of line) for (const parent of entities.get(name)?.parents ?? []) line.add(uidText(parent))
    known.set(key, line)
    return line
  }
}

function headMatches(constraint: HeadConstraint, uid: EntityUid, lineage: Lineage): boolean {
  if (constraint.eq !== undefined && !sameUid(constraint.eq, uid)) return false
  if (constraint.is !== undefined && constraint.is !== uid.type) return false
  return constraint.in === undefined || lineage(uid).has(uidText(constraint.in))
}

export function actionMatches(scope: Scope['action'], action: ActionType): boolean {
  if (scope.any) return true
  return scope.oneOf.some((named) =>
    scope.exact ? sameUid(named, action.uid) : action.self.has(uidText(named)),
  )
}

export function scopeMatches(
  scope: Scope,
  principal: EntityUid,
  resource: EntityUid,
  lineage: Lineage,
): boolean {
  return headMatches(scope.principal, principal, lineage) && headMatches(scope.resource, resource, lineage)
}

/** Whether the action clause names an action of Writ; a wildcard never does. */
export function namesWrit(scope: Scope['action']): boolean {
  return !scope.any && scope.oneOf.some((uid) => uid.type === 'Writ::Action')
}

/**
 * The head of a policy, in plain data.
 *
 * @throws {TypeError} for a template.
 */
export function scopeOf({ principal, action, resource }: Policy): Scope {
  return {
    principal: constraintOf(principal),
    action:
      action.eq !== undefined
        ? { any: false, exact: true, oneOf: [plainUid(action.eq)] }
        : action.in !== undefined
          ? { any: false, exact: false, oneOf: action.in.map(plainUid) }
          : { any: true },
    resource: constraintOf(resource),
  }
}

function constraintOf({ eq, is, in: group }: TreeHead): HeadConstraint {
  if (typeof eq === 'string' || typeof group === 'string') throw new TypeError('a template has no scope')
  return {
    ...(eq === undefined ? {} : { eq: plainUid(eq) }),
    ...(is === undefined ? {} : { is }),
    ...(group === undefined ? {} : { in: plainUid(group) }),
  }
}

const plainUid = ({ type, id }: EntityRef): EntityUid => ({ type, id })
