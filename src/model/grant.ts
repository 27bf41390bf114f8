/**
 * Grants: active → ended(completed | failed | expired | revoked) → closed. Law 3 is computed here and nowhere else.
 *
 * @module
 */
import type { Caller } from './access.ts'
import type { EntityRef } from './entity.ts'
import type { Instant, Millis } from './time.ts'
import type { Json } from './canonical.ts'

export type GrantEnd = 'completed' | 'failed' | 'expired' | 'revoked'

export type Obligations = Readonly<{
  ttl?: Millis
  uses?: number
  binding: 'attempt' | 'task'
  review?: Millis
  notify: readonly string[]
}>

/** Evidence that a grant carries into later decisions. `roots` are distinct people, one pool each. */
export type GrantEvidence = Readonly<{
  approval?: string
  request?: string
  approvals: readonly Readonly<{ pool: string; root: string; generation: number }>[]
  justification: boolean
  /** Who had proved that it is them, for this very attempt. */
  reauth?: readonly Readonly<{ person: string; passkey: string; at: Instant }>[]
}>

export type Grant = Readonly<{
  id: string
  state: 'active' | 'ended' | 'closed'
  task?: string
  subject: EntityRef
  chain: readonly EntityRef[]
  /** The delegation that it was given under: it ends with that. */
  delegation?: string
  /** Generation of each identity in the chain when it was given; another generation inherits nothing. */
  generations: Readonly<Record<string, number>>
  action: string
  resource: EntityRef
  binding: 'attempt' | 'task'
  /** Digest of the statement that its evidence was given for. */
  statement: string
  /** Digest of the attempt that created it; an attempt-bound grant serves only this one. */
  attempt: string
  /** The attempt itself, analysed again when what it read changes. */
  analysed: Json
  evidence: GrantEvidence
  uses?: number
  used: number
  /** Calls that it counted on its task so far: they do not count against it when it is analysed again. */
  counted?: number
  startedAt: Instant
  endsAt: Instant
  obligations: Obligations
  decision: string
  policy: string
  caller: string
  /** Who asked and what it was trusted for, so that the attempt can be analysed again as it was asked. */
  asked: Caller
  /** Keys (`kind/id`) of what its last analysis read, absent records too: when one changes it is analysed again. */
  reads?: readonly string[]
  /** Its place among grants that are affected at once, 0 first: third parties, then by sensitivity. */
  urgency?: number
  /** When what it read changes by itself: it is analysed again then. */
  reviewAt?: Instant
  endedAt?: Instant
  end?: GrantEnd
  reason?: string
  endedBy?: string
  closedAt?: Instant
}>

/**
 * Law 3, the one place: a grant ends no later than the earliest of its ttl, its task's end, the window's end, its
 * parent's end and its subject's end. Missing bounds do not bind.
 */
export function grantEnd(
  startedAt: Instant,
  bounds: Readonly<{
    ttl: Millis
    task?: Instant | undefined
    window?: Instant | undefined
    parent?: Instant | undefined
    subject?: Instant | undefined
  }>,
): Instant {
  return Math.min(
    startedAt + bounds.ttl,
    bounds.task ?? Infinity,
    bounds.window ?? Infinity,
    bounds.parent ?? Infinity,
    bounds.subject ?? Infinity,
  )
}

/** Whether the grant may carry authority at `now`; the instant of its end is already too late. */
export function isLiveGrant(grant: Grant, now: Instant): boolean {
  return grant.state === 'active' && now < grant.endsAt
}

export const hasUses = (grant: Grant): boolean => grant.uses === undefined || grant.used < grant.uses

/** Spends one use. @throws {TypeError} when none is left: callers ask `hasUses` first. */
export function spendUse(grant: Grant): Grant {
  if (!hasUses(grant)) throw new TypeError('no use left')
  return { ...grant, used: grant.used + 1 }
}

/** Ends once; the first ending stands. */
export function endGrant(grant: Grant, end: GrantEnd, now: Instant, reason: string, by: string): Grant {
  if (grant.state !== 'active') return grant
  return { ...grant, state: 'ended', end, endedAt: now, reason, endedBy: by }
}

/** An ended grant closes when every credential under it was verified absent. */
export function closeGrant(grant: Grant, now: Instant): Grant {
  return grant.state === 'ended' ? { ...grant, state: 'closed', closedAt: now } : grant
}
