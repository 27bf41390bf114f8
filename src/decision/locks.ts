/**
 * Which locks an attempt is under. Each is read by its name, absent ones too, so that one that is set meanwhile makes the
 * decision stale.
 *
 * @module
 */
import type { Attempt } from '../model/attempt.ts'
import type { EntityRef } from '../model/entity.ts'
import { refKey } from '../model/entity.ts'
import { isHeld, lockId } from '../model/lock.ts'
import type { Task } from '../model/task.ts'
import type { Instant } from '../model/time.ts'
import { ownersIn, registered, upwards } from '../identity/inventory.ts'
import type { Picture } from '../store/picture.ts'

/** The names of all locks that would refuse it; what it needs of the inventory is in the picture. */
export function locksOn(
  picture: Picture,
  { action, resource, chain }: Pick<Attempt, 'action' | 'resource' | 'chain'>,
  tasks: readonly Task[],
): readonly string[] {
  const above = upwards(picture, resource)
  const owners = ownersIn(picture, [...chain, ...above])
  return [
    lockId('tool', action.name),
    ...above.map((ref) => lockId('resource', refKey(ref))),
    ...owners.map((owner) => lockId('owner', refKey(owner))),
    ...tasks.map(({ id }) => lockId('task', id)),
  ]
}

/** Whether one of `ids` holds at `now`. */
export function isLocked(picture: Picture, ids: readonly string[], now: Instant): boolean {
  return ids.some((id) => isHeld(picture.get('lock', id)?.value, now))
}

/** When the last of `refs` that was ever locked as a subject was locked; they are in the picture. */
export function subjectLockedAt(picture: Picture, refs: readonly EntityRef[]): Instant {
  return Math.max(-Infinity, ...refs.map((ref) => registered(picture, ref)?.locked?.at ?? -Infinity))
}

/** When the last of `ids` was set: what was approved before is worth nothing afterwards. */
export function lockedAt(picture: Picture, ids: readonly string[]): Instant {
  return Math.max(-Infinity, ...ids.map((id) => picture.get('lock', id)?.value.at ?? -Infinity))
}
