/**
 * What the profile adds to the context of a decision: the offer to ask, what to do after a re-evaluation, and the
 * approval that carried a permit.
 *
 * @module
 */
import * as z from 'zod'
import type { Decision } from '../../../model/outcome.ts'
import { alternative, encodeAlternatives } from '../../alternative.ts'
import { encodeInstant, given, instantOut } from '../../bounds.ts'
import { schemaUrl, templateOf, templates } from './schemas.ts'

export const accessRequestOffer = z
  .object({
    expires_at: instantOut,
    endpoint: z.string(),
    template: z.enum(templates).meta({ description: 'Echoed by the submission; no policy' }),
    request_schema_url: z.string().meta({ description: 'JSON Schema of what a submission may add' }),
    binding_token: z
      .string()
      .exactOptional()
      .meta({ description: 'The denial by value, signed; carried back unchanged' }),
    display: z.object({ alternatives: z.array(alternative), truncated: z.boolean() }),
  })
  .meta({
    id: 'AccessRequestOffer',
    description: 'The denial may be submitted as an access request until `expires_at`',
  })

export const nextAction = z.enum(['request', 'retry', 'none'])

/** The members of a decision's context that are the profile's. */
export const decisionMembers = {
  evaluation_id: z.string().exactOptional(),
  evaluated_at: instantOut.exactOptional(),
  reason: z.string().exactOptional(),
  next_action: nextAction.exactOptional(),
  retry_after: z.int().exactOptional(),
  access_request: accessRequestOffer.exactOptional(),
  approval: z.object({ id: z.string(), approved_until: instantOut }).exactOptional(),
}

type Members = z.infer<z.ZodObject<typeof decisionMembers>>

/** The offer to submit a challenge as an access request at `endpoint`; nothing when it may not be. */
export function encodeOffer(
  decision: Decision,
  endpoint: string,
): z.infer<typeof accessRequestOffer> | undefined {
  if (decision.outcome !== 'challenge' || decision.requestableUntil === undefined) return undefined
  const template = templateOf(decision)
  return {
    expires_at: encodeInstant(decision.requestableUntil),
    endpoint,
    template,
    request_schema_url: schemaUrl(endpoint, template),
    ...given('binding_token', decision.bindingToken),
    display: { alternatives: encodeAlternatives(decision.alternatives), truncated: decision.truncated },
  }
}

/** Whether the attempt came back with an approval, good or not. */
export const isReevaluation = ({ attempt }: Decision): boolean =>
  attempt.approval !== undefined || attempt.approvalRefused !== undefined

/**
 * Why, in the profile's words: whoever came back with an approval learns from a registered code what to do. A grant
 * that came of the approval and has ended is an approval that is over; a window that is not open yet is a grant to come.
 */
function reasonOf(decision: Decision): string {
  if (!isReevaluation(decision)) return decision.reason
  switch (decision.reason) {
    case 'grant_ended':
    case 'grant_spent':
    case 'grant_unknown':
      return 'approval_expired'
    case 'task_scope':
      return decision.nextAction === 'retry' ? 'grant_pending' : 'out_of_scope'
    default:
      return decision.reason
  }
}

/** The members of a permit: only an approval that carried it is named, with the end that the decision point knows. */
export function encodePermitMembers(decision: Decision): Pick<Members, 'evaluation_id' | 'approval'> {
  return {
    evaluation_id: decision.id,
    ...(decision.approval === undefined || decision.grant === undefined
      ? {}
      : { approval: { id: decision.approval, approved_until: encodeInstant(decision.grant.endsAt) } }),
  }
}

/** The members of a denial. `request` is never said without an offer: to an enforcement point it would mean `none`. */
export function encodeDenialMembers(decision: Decision, endpoint: string): Members {
  const offer = encodeOffer(decision, endpoint)
  return {
    evaluation_id: decision.id,
    evaluated_at: encodeInstant(decision.at),
    reason: reasonOf(decision),
    next_action: offer === undefined && decision.nextAction === 'request' ? 'none' : decision.nextAction,
    ...given('retry_after', decision.nextAction === 'retry' ? decision.retryAfter : undefined),
    ...given('access_request', offer),
  }
}
