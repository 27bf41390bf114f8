/**
 * What a decision says. Denial is a value.
 *
 * @module
 */
import type { Attempt } from './attempt.ts'
import type { Json } from './canonical.ts'
import type { Obligations } from './grant.ts'
import type { RequirementSet } from './request.ts'
import type { Instant } from './time.ts'

/**
 * Why, as a stable machine code. A requester sees it; what it may not learn (that a resource exists, risk, compromise)
 * hides behind `policy_denied`.
 */
export const reasons = [
  'standing', // permitted without evidence
  'evidence', // permitted with the evidence of a grant
  'evidence_required', // challenge: the requirements would change the answer
  'policy_denied',
  'unknown_facts', // a fact that policies in scope read is late, stale or cannot be held by its type
  'task_unknown', // no such task, or not this caller's
  'task_ended',
  'task_scope', // the attempt lies outside the task's scope
  'task_limit', // a limit of the task or of one above it is spent
  'grant_unknown',
  'grant_ended',
  'grant_spent',
  'out_of_scope', // the evidence was given for another statement, or the delegation for other things
  'approval_expired',
  'approval_unverifiable',
  'grant_pending', // the request is still waiting
  'subject_locked',
  'locked', // the task, the tool, the resource or its owner is locked
  'delegation', // a delegator, or a verified chain, does not carry it
  'delegation_ended', // it was revoked, is over, or one of its parties was made again
  'forbidden_assertion', // the caller may not speak for this subject
  'changed', // a retry found that something has changed since
  'contended', // three times stale
  'clock_behind', // the wall clock is behind the record: nothing widens
  'restored', // a backup was put back, and no administrator has acknowledged it yet: nothing widens
  'store_full',
  'rate_limited',
] as const

export type Reason = (typeof reasons)[number]

/** AuthZEN's re-evaluation advice (`arap.md`, re-evaluation). */
export type NextAction = 'request' | 'retry' | 'none'

/** The answer to one attempt or question. */
export type Decision = Readonly<{
  id: string
  outcome: 'permit' | 'deny' | 'challenge'
  reason: Reason
  at: Instant
  attempt: Attempt
  /** SHA-256 of the attempt's statement, `sha256:…`. */
  attemptDigest: string
  policy: string
  determining: readonly string[]
  obligations: Obligations
  /** With a challenge: inclusion-minimal sets, any one of which would turn the answer into permit. */
  alternatives: readonly RequirementSet[]
  /** The challenge search hit a bound: the sets are true but need not be minimal or complete. */
  truncated: boolean
  /** A challenge may be submitted as an access request until here. */
  requestableUntil?: Instant
  /** The recorded challenge by value, signed: whoever submits it need not be believed. */
  bindingToken?: string
  /** With a permit: the approval that the attempt carried and that carried it. */
  approval?: string
  nextAction: NextAction
  /** Seconds, with `retry`. */
  retryAfter?: number
  /** The grant that carried the permit, and its end. */
  grant?: Readonly<{ id: string; endsAt: Instant; usesLeft?: number }>
  task?: string
  /** Index of its entry in the log; absent for questions, which leave none. */
  seq?: number
  /** For operators only: rules, errors, dropped inputs. */
  operator: Readonly<{
    errors: readonly Readonly<{ policy: string; message: string }>[]
    dropped: readonly string[]
    unknown: readonly string[]
    forbidden: boolean
    facts: Json
  }>
}>
