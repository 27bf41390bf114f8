/**
 * Locks: what is refused at once with everything under it, until somebody who may takes the lock away. A subject, a task
 * with those below it, a tool (by the name of its action), a resource with everything below it, or all that a person owns.
 *
 * @module
 */
import type { Instant } from './time.ts'

export const lockables = ['subject', 'task', 'tool', 'resource', 'owner'] as const
export type Lockable = (typeof lockables)[number]

/** Kept under `lockId`; one that was taken away stays, because of when it was. */
export type Lock = Readonly<{
  id: string
  what: Lockable
  /** `Agent/migrator`, a task's id, an action's name. */
  about: string
  reason: string
  by: string
  /** Who that is: `by` may be a session, which says nothing to whoever reads it. */
  who?: string
  at: Instant
  until?: Instant
  endedAt?: Instant
  endedBy?: string
  /** How many have ended because of it. */
  ended?: Readonly<{ tasks: number; grants: number }>
  /** Tasks or asks under it have still to be ended. */
  owes?: true
}>

/** `resource Database/orders`. */
export const lockId = (what: Lockable, about: string): string => `${what} ${about}`

/** When it holds no more; `Infinity` if nobody knows. */
export const heldUntil = ({ until, endedAt }: Pick<Lock, 'until' | 'endedAt'>): Instant =>
  Math.min(until ?? Infinity, endedAt ?? Infinity)

/** Whether it holds at `now`; the instant of its end is free already. */
export const isHeld = (lock: Lock | undefined, now: Instant): boolean =>
  lock !== undefined && now < heldUntil(lock)

/** When a lock ends that holds as long as the one in force and the one that is asked for; `undefined` is for ever. */
export function laterEnd(
  inForce: Readonly<{ until?: Instant }> | undefined,
  until: Instant | undefined,
): Instant | undefined {
  if (inForce === undefined) return until
  return until === undefined || inForce.until === undefined ? undefined : Math.max(until, inForce.until)
}
