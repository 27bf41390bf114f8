/**
 * Access requests: pending → approved | denied | expired | cancelled | failed. The standing question "may this evidence
 * be given?"; an approval by itself grants nothing.
 *
 * @module
 */
import type { Caller } from './access.ts'
import type { Json } from './canonical.ts'
import type { Callback } from './callback.ts'
import type { EntityRef } from './entity.ts'
import type { AccountRef } from './identity.ts'
import { sameRef } from './entity.ts'
import type { Attempt } from './attempt.ts'
import type { Instant, Millis } from './time.ts'
import { DAY, MINUTE } from './time.ts'

/** One piece of evidence that is missing. */
export type Requirement =
  | Readonly<{ kind: 'approval'; pool: string; count: number }>
  | Readonly<{ kind: 'justification' }>
  /** Each of these people proves anew, for this very statement, that it is them. */
  | Readonly<{ kind: 'reauth'; people: readonly string[] }>

/** Requirements of which all must be met; alternatives stand beside each other. */
export type RequirementSet = Readonly<{
  requirements: readonly Requirement[]
  binding: 'attempt' | 'task'
  ttl?: Millis
  uses?: number
}>

export type Approval = Readonly<{
  person: string
  root: string
  pool: string
  at: Instant
  /** Generation of the person then; a recreated one does not count. */
  generation: number
  comment?: string
  /** The passkey that it was given with, for this very statement. */
  passkey?: string
}>

/** A person has proved with a passkey, for this very statement, that it is them. Good until `endsAt`, spent with the request. */
export type Reauth = Readonly<{
  person: string
  /** Generation of the person then; a recreated one has proved nothing. */
  generation: number
  passkey: string
  at: Instant
  endsAt: Instant
}>

export type RequestStatus = 'pending' | 'approved' | 'denied' | 'expired' | 'cancelled' | 'failed'

export type AccessRequest = Readonly<{
  id: string
  status: RequestStatus
  attempt: Attempt
  decision: string
  policy: string
  statement: Json
  /** Digest of `statement`: what the evidence binds to. */
  digest: string
  /** Digest of the attempt that was denied. */
  attemptDigest: string
  binding: 'attempt' | 'task'
  alternatives: readonly RequirementSet[]
  caller: string
  /** Whom the caller spoke as: a later credential of the same one keeps the handle. */
  submitter?: Readonly<{ subject: EntityRef; generation: number }>
  requester: EntityRef
  /** What the issuer of its token proved of whoever asked, as policies saw it. */
  proved?: Json
  /** What was proved otherwise of those who asked for the same again, the last few. */
  provedAlso?: readonly Json[]
  /** Who set it going, as far as it was proved: `Type/id`, or an account at an issuer. */
  instigators?: readonly (AccountRef | EntityRef)[]
  /** Generation of the requester then: a recreated one inherits no approval (B34). */
  generation?: number
  /** Generations then of those that the requester acts for, by `refKey`. */
  behind?: Readonly<Record<string, number>>
  /** Human roots who may not approve: instigators and personal owners. */
  roots: readonly string[]
  /** True when some instigator could not be resolved to a person: then no approval counts. */
  unresolved: boolean
  justification?: string
  /** Context members that the denial binds, as they were recorded with it. */
  members?: readonly string[]
  /** The requester says that it is urgent. Shown to approvers; it changes nothing else (B26). */
  emergency?: true
  /** What the submitting application calls itself: not verified, decides nothing. */
  client?: Readonly<{ id?: string; name?: string }>
  ttl: Millis
  uses?: number
  task?: string
  /** The delegation that it is asked under: it ends with that. */
  delegation?: string
  requestedAt: Instant
  expiresAt: Instant
  approvals: readonly Approval[]
  reauths?: readonly Reauth[]
  approval?: string
  approvedAt?: Instant
  activateBy?: Instant
  spentAt?: Instant
  grant?: string
  deniedBy?: string
  reason?: string
  endedAt?: Instant
  /** More identical asks that were merged into this one. */
  merged: number
  /** Who wants to hear how it ends. */
  callbacks?: readonly Callback[]
}>

export const ACTIVATE_WITHIN: Millis = 15 * MINUTE

/** Evidence that was given: `proved` are the people who have just proved that it is them. */
export type Given = Readonly<{
  approvals: readonly Readonly<{ pool: string; root: string }>[]
  justified: boolean
  proved: readonly string[]
}>

/**
 * Whether what was given meets `set`: a root counts in one pool per statement, so distinct people are matched to pools.
 */
export function meets(set: RequirementSet, { approvals, justified, proved }: Given): boolean {
  const seats = set.requirements.flatMap((r) =>
    r.kind === 'approval' ? Array.from({ length: r.count }, () => r.pool) : [],
  )
  if (set.requirements.some((r) => r.kind === 'justification') && !justified) return false
  if (
    set.requirements.some((r) => r.kind === 'reauth' && !r.people.every((person) => proved.includes(person)))
  )
    return false
  return seated(seats, approvals) === seats.length
}

/** How many seats distinct roots can fill (maximum bipartite matching; seats and roots are few). */
export function seated(
  seats: readonly string[],
  approvals: readonly Readonly<{ pool: string; root: string }>[],
): number {
  const takenBy = new Map<string, number>() // root → seat
  const roots = [...new Set(approvals.map((a) => a.root))]
  const gives = new Set(approvals.map((a) => `${a.pool}\n${a.root}`))
  const place = (seat: number, tried: Set<string>): boolean => {
    for (const root of roots) {
      if (tried.has(root) || !gives.has(`${seats[seat] as string}\n${root}`)) continue
      tried.add(root)
      const other = takenBy.get(root)
      if (other === undefined || place(other, tried)) {
        takenBy.set(root, seat)
        return true
      }
    }
    return false
  }
  return seats.reduce((filled, _pool, seat) => filled + (place(seat, new Set()) ? 1 : 0), 0)
}

/** Approvals per pool as they may be counted: each root in one pool, none twice. */
export function countByPool(
  approvals: readonly Readonly<{ pool: string; root: string }>[],
): Readonly<Record<string, number>> {
  const counted = new Set<string>()
  const counts: Record<string, number> = Object.create(null) as Record<string, number>
  for (const approval of approvals) {
    if (counted.has(approval.root)) continue
    counted.add(approval.root)
    counts[approval.pool] = (counts[approval.pool] ?? 0) + 1
  }
  return counts
}

/** Adds one approval and settles the request when an alternative is met. A root that already counted is refused. */
export function approve(
  request: AccessRequest,
  approval: Approval,
  approvalId: string,
  windowStart: Instant | undefined,
  windowEnd: Instant | undefined,
): AccessRequest {
  if (request.status !== 'pending' || request.approvals.some((a) => a.root === approval.root)) return request
  const approved = { ...request, approvals: [...request.approvals, approval] }
  return isMet(approved, approval.at)
    ? settle(approved, approvalId, approval.at, windowStart, windowEnd)
    : approved
}

/** Adds the proof of a person in place of an earlier one of theirs, and settles the request when an alternative is met. */
export function prove(
  request: AccessRequest,
  reauth: Reauth,
  approvalId: string,
  windowStart: Instant | undefined,
  windowEnd: Instant | undefined,
): AccessRequest {
  if (!mayBeProved(request, reauth.at) || !proversOf(request).includes(reauth.person)) return request
  const others = (request.reauths ?? []).filter(({ person }) => person !== reauth.person)
  const proved = { ...request, reauths: [...others, reauth] }
  return isMet(proved, reauth.at) ? settle(proved, approvalId, reauth.at, windowStart, windowEnd) : proved
}

/** Whether one of the alternatives is met at `now`. */
export const isMet = (request: AccessRequest, now: Instant): boolean =>
  request.alternatives.some((set) =>
    meets(set, {
      approvals: request.approvals,
      justified: request.justification !== undefined,
      proved: provedAt(request, now).map(({ person }) => person),
    }),
  )

/** People who are asked to prove that it is them. */
export const proversOf = ({ alternatives }: Pick<AccessRequest, 'alternatives'>): readonly string[] => [
  ...new Set(
    alternatives.flatMap(({ requirements }) =>
      requirements.flatMap((r) => (r.kind === 'reauth' ? r.people : [])),
    ),
  ),
]

/** Proofs that are good at `now`. */
export const provedAt = ({ reauths = [] }: Pick<AccessRequest, 'reauths'>, now: Instant): readonly Reauth[] =>
  reauths.filter(({ endsAt }) => now < endsAt)

/** Whether a proof would still help: also after the approval, as long as it waits to be spent. */
export const mayBeProved = (request: AccessRequest, now: Instant): boolean =>
  (request.status === 'pending' && now < request.expiresAt) || isSpendable(request, now)

/** pending → approved; `activate_by` runs from the window's start and never past its end. */
export function settle(
  request: AccessRequest,
  approvalId: string,
  now: Instant,
  windowStart: Instant | undefined,
  windowEnd: Instant | undefined,
): AccessRequest {
  if (request.status !== 'pending') return request
  const activateBy = Math.min(Math.max(now, windowStart ?? now) + ACTIVATE_WITHIN, windowEnd ?? Infinity)
  return { ...request, status: 'approved', approval: approvalId, approvedAt: now, activateBy, endedAt: now }
}

/** One denial ends the request. */
export function deny(request: AccessRequest, by: string, now: Instant, reason: string): AccessRequest {
  return request.status === 'pending'
    ? { ...request, status: 'denied', deniedBy: by, reason, endedAt: now }
    : request
}

/** pending → expired | cancelled | failed. */
export function endRequest(
  request: AccessRequest,
  status: 'expired' | 'cancelled' | 'failed',
  now: Instant,
  reason: string,
): AccessRequest {
  return request.status === 'pending' ? { ...request, status, reason, endedAt: now } : request
}

/** Whether the approval may still be spent at `now`: approved, never spent, not past `activate_by`. */
export function isSpendable(request: AccessRequest, now: Instant): boolean {
  return request.status === 'approved' && request.spentAt === undefined && now < (request.activateBy ?? 0)
}

/** Spent once, into one grant (law 9). */
export function spend(request: AccessRequest, grant: string, now: Instant): AccessRequest {
  if (request.spentAt !== undefined) throw new TypeError('approval was spent')
  return { ...request, spentAt: now, grant }
}

/** Whether `caller` may act for subjects of `type`. */
const speaksFor = (caller: Caller, type: string): boolean =>
  caller.pep?.subjects.some((trusted) => trusted === '*' || trusted === type) ?? false

/** Whether `caller` is the one that submitted, by whatever credential it has today. */
function isSubmitter(caller: Caller, request: AccessRequest): boolean {
  const { submitter } = request
  return (
    caller.id === request.caller ||
    (submitter !== undefined &&
      sameRef(caller.subject, submitter.subject) &&
      caller.generation === submitter.generation)
  )
}

/** Whether `caller` may come back with the request's approval: whoever submitted, or the requester itself. */
export function mayCarry(caller: Caller, request: AccessRequest): boolean {
  return sameRef(caller.subject, request.requester) || isSubmitter(caller, request)
}

/**
 * Whether the request is `caller`'s own: it may ask how it stands, fetch its result and withdraw it. Tested for each of
 * these anew, against the subject it was bound to; knowing its id is never enough.
 */
export function holds(caller: Caller, request: AccessRequest): boolean {
  if (sameRef(caller.subject, request.requester)) return caller.generation === (request.generation ?? 0)
  return isSubmitter(caller, request) && speaksFor(caller, request.requester.type)
}

/** Whether the approval covers the whole scope of a task, not one exact attempt. */
export function bindsTask<R extends AccessRequest>(request: R): request is R & Readonly<{ task: string }> {
  return request.binding === 'task' && request.task !== undefined
}

/** Whether no alternative can be met without a reason. */
export function needsJustification(alternatives: readonly RequirementSet[]): boolean {
  return (
    alternatives.length > 0 &&
    alternatives.every((set) => set.requirements.some((r) => r.kind === 'justification'))
  )
}

/** How long the handle of a request that has ended, and the key it was submitted with, are kept at least. */
export const HANDLE_KEPT: Millis = DAY

/**
 * Until when an approval helps: `activateBy` + ttl while it waits, activation + ttl once it is spent.
 */
export function approvedUntil(request: AccessRequest): Instant {
  return (request.spentAt ?? request.activateBy ?? request.expiresAt) + request.ttl
}

/** The request as it stands at `now`: one whose time is over has expired, whether or not anybody has noticed. */
export function requestAt(request: AccessRequest, now: Instant): AccessRequest {
  return request.status === 'pending' && now >= request.expiresAt
    ? endRequest(request, 'expired', request.expiresAt, 'nobody answered in time')
    : request
}

/**
 * When the handle ends: a pending request's with the request, later a day after its end, and never while its approval
 * helps.
 */
export function handleEndsAt(request: AccessRequest): Instant {
  if (request.status === 'pending') return request.expiresAt
  const kept = (request.endedAt ?? request.expiresAt) + HANDLE_KEPT
  return request.status === 'approved' ? Math.max(kept, approvedUntil(request)) : kept
}

/**
 * How far a pending request has come along the alternative that needs fewest more approvals: steps are approvals, the
 * next one is `step` of `steps`, given in `pool`.
 */
export function progressOf(
  request: AccessRequest,
): Readonly<{ step: number; steps: number; pool: string }> | undefined {
  if (request.status !== 'pending') return undefined
  const ways = request.alternatives
    .filter(
      (set) =>
        request.justification !== undefined || set.requirements.every((r) => r.kind !== 'justification'),
    )
    .map((set) => {
      const seats = set.requirements.flatMap((r) =>
        r.kind === 'approval' ? Array.from({ length: r.count }, () => r.pool) : [],
      )
      const filled = seated(seats, request.approvals)
      const next = seats.find((_, i) => seated(seats.slice(0, i + 1), request.approvals) < i + 1)
      return { filled, steps: seats.length, pool: next }
    })
    .filter((way) => way.pool !== undefined)
    .toSorted((a, b) => a.steps - a.filled - (b.steps - b.filled))
  const [way] = ways
  return way?.pool === undefined ? undefined : { step: way.filled + 1, steps: way.steps, pool: way.pool }
}

/** pending, or approved and not spent → failed: nothing that was given can be spent any more. */
export function voidRequest(request: AccessRequest, now: Instant, reason: string): AccessRequest {
  const isOpen =
    request.status === 'pending' || (request.status === 'approved' && request.spentAt === undefined)
  return isOpen ? { ...request, status: 'failed', reason, endedAt: now } : request
}
