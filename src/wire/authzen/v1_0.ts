/**
 * AuthZEN Authorization API 1.0: evaluation, evaluations, metadata (§5–§7 and §9 of the specification, final text).
 * Unknown members are ignored, as it demands; names and properties are validated strictly.
 *
 * @module
 */
import * as z from 'zod'
import type { Json } from '../../model/canonical.ts'
import type { Action, Properties, Resource, Subject } from '../../model/entity.ts'
import type { Decision } from '../../model/outcome.ts'
import {
  actionName,
  describeIssues,
  encodeDuration,
  encodeInstant,
  entityType,
  given,
  id,
  instantOut,
  properties,
} from '../bounds.ts'

const part = { type: entityType, id, properties: properties.exactOptional() }

export const subject = z.object(part).meta({ id: 'Subject', description: 'Who acts' })
export const action = z
  .object({ name: actionName, properties: properties.exactOptional() })
  .meta({ id: 'Action', description: 'What is tried' })
export const resource = z.object(part).meta({ id: 'Resource', description: 'What it is tried on' })

/** Context members that are Writ's own: the task, grant or approval that the attempt runs under. */
export const contextDescription =
  "What the enforcement point knows about the attempt. `task`, `grant` (ids) and `approval` (the object from an access request's result) are taken out before policy sees it."

export const evaluationRequest = z
  .object({
    subject,
    action,
    resource,
    context: properties.exactOptional().meta({ description: contextDescription }),
  })
  .meta({ id: 'EvaluationRequest' })

export type EvaluationRequest = z.input<typeof evaluationRequest>

/** An attempt as a door hands it on. */
export type DecodedEvaluation = Readonly<{
  subject: Subject
  action: Action
  resource: Resource
  context?: Properties
}>

export const semantics = ['execute_all', 'deny_on_first_deny', 'permit_on_first_permit'] as const
export type Semantic = (typeof semantics)[number]

/** Most items in one batch. */
export const EVALUATIONS_MOST = 256

const item = z.object({
  subject: subject.exactOptional(),
  action: action.exactOptional(),
  resource: resource.exactOptional(),
  context: properties.exactOptional(),
})

/**
 * Defaults beside `evaluations`. Items are validated one by one: an item that cannot be read is denied by itself and
 * never makes the batch fail.
 */
const evaluationsEnvelope = z.object({
  subject: z.unknown().optional(),
  action: z.unknown().optional(),
  resource: z.unknown().optional(),
  context: z.unknown().optional(),
  evaluations: z.array(z.unknown()).max(EVALUATIONS_MOST).optional(),
  options: z.object({ evaluations_semantic: z.enum(semantics).optional() }).optional(),
})

/** As documented in OpenAPI; requests are read by `parseEvaluations`. */
export const evaluationsRequest = z
  .object({
    ...item.shape,
    evaluations: z.array(item).max(EVALUATIONS_MOST).exactOptional(),
    options: z.object({ evaluations_semantic: z.enum(semantics).exactOptional() }).exactOptional(),
  })
  .meta({
    id: 'EvaluationsRequest',
    description: 'Members beside `evaluations` are defaults; a member of an item replaces the whole default',
  })

export type EvaluationsRequest = z.input<typeof evaluationsRequest>

export type ParsedEvaluations =
  /** Without `evaluations`: answered like a single evaluation. */
  | Readonly<{ kind: 'single'; item: DecodedEvaluation }>
  | Readonly<{ kind: 'batch'; items: readonly (DecodedEvaluation | undefined)[]; semantic: Semantic }>
  | Readonly<{ kind: 'invalid'; message: string }>

/** Reads a batch: an item is `undefined` where it cannot be decided and therefore is denied. */
export function parseEvaluations(body: unknown): ParsedEvaluations {
  const envelope = evaluationsEnvelope.safeParse(body)
  if (!envelope.success) return { kind: 'invalid', message: describeIssues(envelope.error) }
  const { evaluations, options, ...defaults } = envelope.data
  if (evaluations === undefined || evaluations.length === 0) {
    const single = evaluationRequest.safeParse(defaults)
    if (!single.success) return { kind: 'invalid', message: describeIssues(single.error) }
    return { kind: 'single', item: single.data }
  }
  return {
    kind: 'batch',
    semantic: options?.evaluations_semantic ?? 'execute_all',
    items: evaluations.map((raw) => {
      if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) return undefined
      const parsed = evaluationRequest.safeParse({ ...withoutAbsent(defaults), ...raw })
      return parsed.success ? parsed.data : undefined
    }),
  }
}

function withoutAbsent(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined))
}

const requirementOut = z.object({
  kind: z.enum(['approval', 'justification']),
  pool: z.string().exactOptional(),
  count: z.int().exactOptional(),
})

/** One way to turn a denial into a permit: all of `requirements`, with the obligations that come with them. */
export const alternative = z
  .object({
    requirements: z.array(requirementOut),
    binding: z.enum(['attempt', 'task']),
    ttl: z.string().exactOptional(),
    uses: z.int().exactOptional(),
  })
  .meta({ id: 'Alternative', description: 'Evidence that together would change the answer' })

export type Alternative = z.infer<typeof alternative>

export const accessRequestOffer = z
  .object({
    expires_at: instantOut,
    endpoint: z.string(),
    display: z.object({ alternatives: z.array(alternative), truncated: z.boolean() }),
  })
  .meta({
    id: 'AccessRequestOffer',
    description: 'The denial may be submitted as an access request until `expires_at`',
  })

export const decisionContext = z
  .object({
    evaluation_id: z.string().exactOptional(),
    evaluated_at: instantOut.exactOptional(),
    reason: z.string().exactOptional(),
    next_action: z.enum(['request', 'retry', 'none']).exactOptional(),
    retry_after: z.int().exactOptional(),
    access_request: accessRequestOffer.exactOptional(),
    grant: z
      .object({ id: z.string(), ends_at: instantOut, uses_left: z.int().exactOptional() })
      .exactOptional(),
    approval: z.object({ id: z.string(), approved_until: instantOut }).exactOptional(),
    error: z.object({ status: z.int(), message: z.string() }).exactOptional(),
  })
  .meta({ id: 'DecisionContext' })

export const evaluationResponse = z
  .object({ decision: z.boolean(), context: decisionContext.exactOptional() })
  .meta({ id: 'EvaluationResponse' })

export const evaluationsResponse = z
  .object({ evaluations: z.array(evaluationResponse) })
  .meta({ id: 'EvaluationsResponse' })

export type EvaluationResponse = z.infer<typeof evaluationResponse>
export type EvaluationsResponse = z.infer<typeof evaluationsResponse>

/** `alternatives` of a decision as they are shown. */
export function encodeAlternatives(alternatives: Decision['alternatives']): Alternative[] {
  return alternatives.map((set) => ({
    requirements: set.requirements.map((r) =>
      r.kind === 'approval' ? { kind: r.kind, pool: r.pool, count: r.count } : { kind: r.kind },
    ),
    binding: set.binding,
    ...(set.ttl === undefined ? {} : { ttl: encodeDuration(set.ttl) }),
    ...given('uses', set.uses),
  }))
}

/** The offer to submit a challenge as an access request at `endpoint`; nothing when it may not be. */
export function encodeOffer(
  decision: Decision,
  endpoint: string,
): z.infer<typeof accessRequestOffer> | undefined {
  if (decision.outcome !== 'challenge' || decision.requestableUntil === undefined) return undefined
  return {
    expires_at: encodeInstant(decision.requestableUntil),
    endpoint,
    display: { alternatives: encodeAlternatives(decision.alternatives), truncated: decision.truncated },
  }
}

/** The id of the approval that an attempt carried in `context.approval`, for the answer to name it again. */
function approvalOf(decision: Decision): { approval: { id: string; approved_until: string } } | undefined {
  const { approval } = decision.attempt
  if (approval === undefined || decision.grant === undefined) return undefined
  return { approval: { id: approval, approved_until: encodeInstant(decision.grant.endsAt) } }
}

export function encodeGrantRef(grant: NonNullable<Decision['grant']>): {
  id: string
  ends_at: string
  uses_left?: number
} {
  return { id: grant.id, ends_at: encodeInstant(grant.endsAt), ...given('uses_left', grant.usesLeft) }
}

/** The answer to a single evaluation. `endpoint` is where access requests are submitted. */
export function encodeEvaluation(decision: Decision, endpoint: string): EvaluationResponse {
  if (decision.outcome === 'permit') {
    return {
      decision: true,
      context: {
        evaluation_id: decision.id,
        ...(decision.grant === undefined ? {} : { grant: encodeGrantRef(decision.grant) }),
        ...approvalOf(decision),
      },
    }
  }
  const offer = encodeOffer(decision, endpoint)
  return {
    decision: false,
    context: {
      evaluation_id: decision.id,
      evaluated_at: encodeInstant(decision.at),
      reason: decision.reason,
      // without an offer, `request` would mean `none` to an enforcement point
      next_action: offer === undefined && decision.nextAction === 'request' ? 'none' : decision.nextAction,
      ...given('retry_after', decision.nextAction === 'retry' ? decision.retryAfter : undefined),
      ...given('access_request', offer),
    },
  }
}

/** One item of a batch: nothing beyond the standard, except how a denial may be requested. */
export function encodeEvaluationItem(decision: Decision, endpoint: string): EvaluationResponse {
  if (decision.outcome === 'permit') return { decision: true }
  return encodeOffer(decision, endpoint) === undefined
    ? { decision: false }
    : encodeEvaluation(decision, endpoint)
}

export const metadata = z
  .object({
    policy_decision_point: z.string(),
    access_evaluation_endpoint: z.string(),
    access_evaluations_endpoint: z.string(),
    access_request_endpoint: z.string(),
    capabilities: z.array(z.string()),
  })
  .meta({ id: 'AuthzenConfiguration' })

export type Metadata = z.infer<typeof metadata>

/** The metadata document of the decision point at `origin`, e.g. `https://writ.example`. */
export function encodeMetadata(origin: string): Metadata {
  return {
    policy_decision_point: origin,
    access_evaluation_endpoint: `${origin}/access/v1/evaluation`,
    access_evaluations_endpoint: `${origin}/access/v1/evaluations`,
    access_request_endpoint: `${origin}/access/v1/requests`,
    capabilities: ['urn:openid:authzen:capability:access-request'],
  }
}

/** What `context.approval` names, whatever else stands in it; `undefined` when it names nothing. */
export function approvalId(context: Properties | undefined): string | undefined {
  const approval: Json | undefined = context?.['approval']
  if (typeof approval !== 'object' || approval === null || Array.isArray(approval)) return undefined
  const value = (approval as { readonly id?: Json }).id
  return typeof value === 'string' ? value : undefined
}
