/**
 * The chain: who acts, and for whom. It is what was proved of the caller and what is registered, never what is claimed.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Attempt } from '../model/attempt.ts'
import type { EntityRef } from '../model/entity.ts'
import { refKey, sameRef } from '../model/entity.ts'
import type { Delegation } from '../model/identity.ts'
import type { Instant } from '../model/time.ts'
import { ACTORS_MOST } from '../model/token.ts'
import type { Picture } from '../store/picture.ts'

/** Most parties of a chain: so many act, one through another, for the last. */
export const CHAIN_MOST = ACTORS_MOST + 1

const bare = ({ type, id }: EntityRef): EntityRef => ({ type, id })

/**
 * The chain of what `caller` tries as `subject`: the acting party, those that a caller speaking for itself has proved to
 * act for, and the delegator of the delegation that is named, if it is the subject's.
 */
export function chainOf(
  caller: Pick<Caller, 'subject' | 'chain'>,
  subject: EntityRef,
  delegation?: Delegation,
): readonly EntityRef[] {
  return [
    subject,
    ...(sameRef(caller.subject, subject) ? (caller.chain ?? []) : []),
    ...(delegation !== undefined && sameRef(delegation.actor, subject) ? [delegation.delegator] : []),
  ].map(bare)
}

/**
 * Whether the chain of `attempt` is the one that was verified: nobody left out, added or twice. A caller that acts for
 * another speaks for nobody else beside.
 */
export function isVerified(caller: Caller, attempt: Attempt, delegation: Delegation | undefined): boolean {
  const { subject, chain } = attempt
  if ((caller.chain?.length ?? 0) > 0 && !sameRef(caller.subject, subject)) return false
  // one that is another's is as good as none (B33)
  if (attempt.delegation !== undefined && !(delegation !== undefined && sameRef(delegation.actor, subject))) {
    return false
  }
  const verified = chainOf(caller, subject, delegation)
  return (
    chain.length === verified.length &&
    chain.every((ref, at) => sameRef(ref, verified[at] as EntityRef)) &&
    chain.length <= CHAIN_MOST &&
    new Set(chain.map(refKey)).size === chain.length
  )
}

/** Whether it gives nothing any more: revoked, over, or one of its parties is not who it was (B34). */
export function delegationEnded(
  { revokedAt, endsAt, generations }: Delegation,
  generationOf: (ref: string) => number,
  now: Instant,
): boolean {
  return (
    revokedAt !== undefined ||
    now >= endsAt ||
    Object.entries(generations).some(([ref, generation]) => generationOf(ref) !== generation)
  )
}

/**
 * Whether the attempt lies within the bounds of the delegation: they are checked before policy and only narrow. A resource
 * stands for what is below it too. Writ itself is administered in person. The closure of the resource must be loaded.
 */
export function inDelegation(picture: Picture, delegation: Delegation, attempt: Attempt): boolean {
  const { actions, resources } = delegation
  if (attempt.action.name.startsWith('Writ::')) return false
  if (actions !== undefined && !actions.includes(attempt.action.name)) return false
  if (resources === undefined) return true
  const above = new Set([refKey(attempt.resource)])
  for (const key of above) {
    if (!picture.has('entity', key)) continue
    const entity = picture.get('entity', key)?.value
    if (entity?.deletedAt === undefined) for (const parent of entity?.parents ?? []) above.add(refKey(parent))
  }
  return resources.some((ref) => above.has(refKey(ref)))
}

/** The generation of a registered identity under its `refKey`; 0 of one that nobody registered. */
export const generationIn =
  (picture: Picture) =>
  (key: string): number =>
    picture.get('entity', key)?.value.generation ?? 0
