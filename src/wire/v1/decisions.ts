/**
 * Decisions on the wire: the answer to a question, and what activation and issue say beside their result.
 *
 * @module
 */
import * as z from 'zod'
import type { Decision } from '../../model/outcome.ts'
import { reasons } from '../../model/outcome.ts'
import { alternative, encodeAlternatives } from '../alternative.ts'
import { accessRequestOffer, encodeOffer } from '../arap/draft1/index.ts'
import { action, resource, subject } from '../authzen/tuple.ts'
import { encodeGrantRef } from '../authzen/v1_0.ts'
import { encodeInstant, encodeRef, given, instantOut, jsonOut, page, properties, refOut } from '../bounds.ts'

/** An evaluation's body; `subject` defaults to the caller's own. */
export const question = z
  .object({ subject: subject.exactOptional(), action, resource, context: properties.exactOptional() })
  .meta({ id: 'Question', description: 'What would happen; it consumes nothing and authorises nothing' })

export type Question = z.input<typeof question>

export const decision = z
  .object({
    id: z.string(),
    outcome: z.enum(['permit', 'deny', 'challenge']),
    reason: z.enum(reasons),
    at: instantOut,
    subject: refOut,
    action: z.string(),
    resource: refOut,
    policy: z.string(),
    alternatives: z.array(alternative),
    truncated: z
      .boolean()
      .meta({ description: 'The alternatives are true but need not be minimal or complete' }),
    next_action: z.enum(['request', 'retry', 'none']),
    retry_after: z.int().exactOptional(),
    access_request: accessRequestOffer.exactOptional(),
    grant: z
      .object({ id: z.string(), ends_at: instantOut, uses_left: z.int().exactOptional() })
      .exactOptional(),
    task: z.string().exactOptional(),
  })
  .meta({ id: 'Decision' })

export type WireDecision = z.infer<typeof decision>

/** `endpoint` is where access requests are submitted. */
export function encodeDecision(value: Decision, endpoint: string): WireDecision {
  return {
    id: value.id,
    outcome: value.outcome,
    reason: value.reason,
    at: encodeInstant(value.at),
    subject: encodeRef(value.attempt.subject),
    action: value.attempt.action.name,
    resource: encodeRef(value.attempt.resource),
    policy: value.policy,
    alternatives: encodeAlternatives(value.alternatives),
    truncated: value.truncated,
    next_action: value.nextAction,
    ...given('retry_after', value.retryAfter),
    ...given('access_request', encodeOffer(value, endpoint)),
    ...(value.grant === undefined ? {} : { grant: encodeGrantRef(value.grant) }),
    ...given('task', value.task),
  }
}

/** A decision as it stands in the log. */
export const decisionEntry = jsonOut.meta({
  id: 'DecisionEntry',
  description: 'The recorded entry of a decision',
})
export const decisionPage = page(jsonOut).meta({ id: 'DecisionPage' })
export const explanation = jsonOut.meta({
  id: 'Explanation',
  description: 'Which rules decided and, for the nearest permit, clause by clause, actual versus required',
})
