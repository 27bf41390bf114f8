/**
 * What was done under authority, as somebody says who did it or saw it: reports of clients, and observations that a
 * collector reads at a target. Whether a grant covers it is found out here, from the lives of grants and credentials.
 *
 * @module
 */
import type { Credential } from './credential.ts'
import type { EntityRef } from './entity.ts'
import { sameRef } from './entity.ts'
import type { Grant } from './grant.ts'
import type { Instant, Millis } from './time.ts'
import { MINUTE, SECOND } from './time.ts'

export const actionOutcomes = ['succeeded', 'failed', 'unknown'] as const
export type ActionOutcome = (typeof actionOutcomes)[number]

/**
 * How it was joined to a grant. Of these `application_name` and `time` prove nothing by themselves: the first is set by
 * the client, the second only says that no other credential could have been meant.
 */
export type ActionLink = 'grant' | 'credential' | 'task' | 'role' | 'application_name' | 'time' | 'none'

/** Why a grant does not cover what was done. */
export const outsides = [
  'action', // not what the grant is for
  'resource', // not what it is on
  'before_start',
  'after_end',
  'future', // said to have been done later than now
  'never_live', // with a credential that was never handed out
  'no_grant', // under a task, but nothing that was permitted there
  'target', // at another target than the credential opens
  'foreign', // under a grant of somebody else
  'unknown', // under a grant, credential or task that there never was
] as const
export type Outside = (typeof outsides)[number]

/** Something that nobody has explained yet: one line for what happens again and again. */
export type Flag = Readonly<{
  id: string
  kind: 'unmatched' | 'outside' | 'refused'
  /** One sentence, without its end. */
  what: string
  refs: readonly string[]
  /** The newest of them, and its entry. */
  action: string
  seq: number
  count: number
  firstAt: Instant
  lastAt: Instant
  resolvedAt?: Instant
  resolvedBy?: string
  reason?: string
}>

/** Clocks of targets and the record's own differ by this much without anything being wrong. */
export const CLOCKS_DIFFER: Millis = 2 * SECOND
/** A clock that is further ahead makes times that nobody can believe. */
const AHEAD_MOST: Millis = MINUTE

/** Why `grant` does not cover an action on a resource at `at`; empty when it does. */
export function outsideGrant(
  grant: Grant,
  did: Readonly<{ action?: string; resource?: EntityRef; at: Instant }>,
  now: Instant,
): Outside[] {
  const outside: Outside[] = []
  if (did.action !== undefined && did.action !== grant.action) outside.push('action')
  if (did.resource !== undefined && !sameRef(did.resource, grant.resource)) outside.push('resource')
  if (did.at < grant.startedAt - CLOCKS_DIFFER) outside.push('before_start')
  if (did.at > Math.min(grant.endsAt, grant.endedAt ?? Infinity) + CLOCKS_DIFFER) outside.push('after_end')
  if (did.at > now + AHEAD_MOST) outside.push('future')
  return outside
}

/** The same for a credential, which covers what its grant covers while it is handed out. */
export function outsideCredential(credential: Credential, at: Instant): Outside[] {
  if (credential.liveAt === undefined) return ['never_live']
  return [
    ...(at < credential.plannedAt - CLOCKS_DIFFER ? (['before_start'] as const) : []),
    ...(at > (credential.absentAt ?? Infinity) + CLOCKS_DIFFER ? (['after_end'] as const) : []),
  ]
}

/** Whether the credential was at its target at `at`. */
export function wasThere(credential: Credential, at: Instant): boolean {
  return (
    credential.liveAt !== undefined &&
    at >= credential.plannedAt - CLOCKS_DIFFER &&
    at <= (credential.absentAt ?? Infinity) + CLOCKS_DIFFER
  )
}

/** Counts one more; what was resolved and happens again is open again. */
export function flagAgain(
  flag: Flag | undefined,
  seen: Omit<Flag, 'count' | 'firstAt' | 'lastAt' | 'resolvedAt' | 'resolvedBy' | 'reason'>,
  now: Instant,
): Flag {
  const before = flag?.resolvedAt === undefined ? flag : undefined
  return { ...seen, count: (before?.count ?? 0) + 1, firstAt: before?.firstAt ?? now, lastAt: now }
}

export function resolveFlag(flag: Flag, now: Instant, by: string, reason: string): Flag {
  return flag.resolvedAt === undefined ? { ...flag, resolvedAt: now, resolvedBy: by, reason } : flag
}
