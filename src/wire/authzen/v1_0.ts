/**
 * AuthZEN Authorization API 1.0: evaluation, evaluations, metadata (§5–§7 and §9 of the specification, final text).
 * Unknown members are ignored, as it demands; names and properties are validated strictly. Search is beside, in
 * `search.ts`.
 *
 * @module
 */
import * as z from 'zod'
import type { Decision } from '../../model/outcome.ts'
import {
  CAPABILITY,
  decisionMembers,
  encodeDenialMembers,
  encodeMetadataMembers,
  encodeOffer,
  encodePermitMembers,
  isReevaluation,
  metadataMembers,
} from '../arap/draft1/index.ts'
import { describeIssues, encodeInstant, given, instantOut, properties } from '../bounds.ts'
import {
  encodeObligations,
  obligationMembers,
  obligationMetadata,
  supportedObligations,
} from './obligations/draft1.ts'
import type { DecodedEvaluation } from './tuple.ts'
import { action, resource, subject } from './tuple.ts'

/** Context members that are Writ's own: the task, grant or approval that the attempt runs under. */
export const contextDescription =
  "What the enforcement point knows about the attempt. `task`, `grant` (ids) and `approval` (the object from an access request's result) are taken out before policy sees it, and so is `supported_obligations`, which decides nothing."

export const evaluationRequest = z
  .object({
    subject,
    action,
    resource,
    context: properties.exactOptional().meta({ description: contextDescription }),
  })
  .meta({ id: 'EvaluationRequest' })

export type EvaluationRequest = z.input<typeof evaluationRequest>

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
  const shared = readDefaults(defaults)
  return {
    kind: 'batch',
    semantic: options?.evaluations_semantic ?? 'execute_all',
    items: evaluations.map((raw) => {
      const own = item.safeParse(raw)
      return own.success ? withDefaults(own.data, shared) : undefined
    }),
  }
}

type Item = z.output<typeof item>
type Defaults = Readonly<{ values: Item; unreadable: readonly (keyof Item)[] }>

/** Once for all items: what a batch costs follows from how long it is, not from how often its defaults stand for others. */
function readDefaults(sent: Readonly<{ [Member in keyof Item]?: unknown }>): Defaults {
  const values: Record<string, unknown> = {}
  const unreadable: (keyof Item)[] = []
  for (const member of ['subject', 'action', 'resource', 'context'] as const) {
    if (sent[member] === undefined) continue
    const schema: z.ZodType = item.shape[member]
    const read = schema.safeParse(sent[member])
    if (read.success) values[member] = read.data
    else unreadable.push(member)
  }
  return { values, unreadable }
}

/** The whole of an item; nothing where a member is missing, or taken from a default that cannot be read. */
function withDefaults(own: Item, { values, unreadable }: Defaults): DecodedEvaluation | undefined {
  if (unreadable.some((member) => own[member] === undefined)) return undefined
  const { subject: who, action: what, resource: on, context } = { ...values, ...own }
  if (who === undefined || what === undefined || on === undefined) return undefined
  return { subject: who, action: what, resource: on, ...given('context', context) }
}

export const decisionContext = z
  .object({
    ...decisionMembers,
    grant: z
      .object({ id: z.string(), ends_at: instantOut, uses_left: z.int().exactOptional() })
      .exactOptional(),
    ...obligationMembers,
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

export function encodeGrantRef(grant: NonNullable<Decision['grant']>): {
  id: string
  ends_at: string
  uses_left?: number
} {
  return { id: grant.id, ends_at: encodeInstant(grant.endsAt), ...given('uses_left', grant.usesLeft) }
}

/** The answer to a single evaluation. `endpoint` is where access requests are submitted. */
export function encodeEvaluation(decision: Decision, endpoint: string): EvaluationResponse {
  if (decision.outcome !== 'permit') {
    return { decision: false, context: encodeDenialMembers(decision, endpoint) }
  }
  return {
    decision: true,
    context: {
      ...encodePermitMembers(decision),
      ...(decision.grant === undefined ? {} : { grant: encodeGrantRef(decision.grant) }),
      ...encodeObligations(decision),
    },
  }
}

/** One item of a batch: nothing beyond the standard, except how a denial may be requested and what came of an approval. */
export function encodeEvaluationItem(decision: Decision, endpoint: string): EvaluationResponse {
  if (isReevaluation(decision)) return encodeEvaluation(decision, endpoint)
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
    search_subject_endpoint: z.string(),
    search_resource_endpoint: z.string(),
    search_action_endpoint: z.string(),
    ...metadataMembers,
    capabilities: z.array(z.string()),
    ...obligationMetadata,
    signed_metadata: z.string().exactOptional().meta({
      description: 'A JWT of the same members, by a key under `jwks_uri`; it wins where they differ',
    }),
  })
  .meta({ id: 'AuthzenConfiguration' })

export type Metadata = z.infer<typeof metadata>

/**
 * The metadata document of the decision point at `origin`, e.g. `https://writ.example`; what is signed of it is added by
 * the door and does not contain itself.
 */
export function encodeMetadata(origin: string): Metadata {
  return {
    policy_decision_point: origin,
    access_evaluation_endpoint: `${origin}/access/v1/evaluation`,
    access_evaluations_endpoint: `${origin}/access/v1/evaluations`,
    search_subject_endpoint: `${origin}/access/v1/search/subject`,
    search_resource_endpoint: `${origin}/access/v1/search/resource`,
    search_action_endpoint: `${origin}/access/v1/search/action`,
    ...encodeMetadataMembers(origin),
    capabilities: [CAPABILITY],
    supported_obligations: [...supportedObligations],
  }
}
