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

const line = z.int().min(1).meta({ description: 'From 1' })
const effect = z.enum(['permit', 'forbid'])

/** One part of a rule that must hold. */
const clauseResult = z
  .object({
    kind: z.enum(['scope', 'when', 'unless']),
    text: z.string().meta({ description: 'As it is written' }),
    line,
    column: line,
    endLine: line,
    endColumn: line,
    status: z.enum(['holds', 'fails', 'errors', 'unknown']),
    message: z.string().exactOptional(),
    actual: z
      .array(
        z.object({
          path: z.string(),
          value: jsonOut.exactOptional(),
          unknown: z.literal(true).exactOptional(),
        }),
      )
      .meta({ description: 'What it read; without `value` where there was none' }),
    required: z
      .object({
        path: z.string(),
        operator: z.enum([
          '==',
          '!=',
          '<',
          '<=',
          '>',
          '>=',
          'in',
          'is',
          'has',
          'lacks',
          'like',
          'contains',
          'one of',
        ]),
        value: jsonOut.exactOptional(),
      })
      .exactOptional()
      .meta({ description: 'What it asks of one value, where it is such a comparison' }),
    get any() {
      return z
        .array(clauseResult)
        .exactOptional()
        .meta({ description: 'Parts of a disjunction, of which one must hold' })
    },
  })
  .meta({ id: 'ClauseResult' })

const ruleResult = z
  .object({ policy: z.string(), file: z.string(), line, effect, clauses: z.array(clauseResult) })
  .meta({
    id: 'RuleResult',
    description: 'Which policy, where it stands, and its clauses with what they read',
  })

const rules = z
  .object({
    determining: z.array(z.object({ policy: z.string(), file: z.string(), line, effect })),
    fired: z.array(ruleResult).meta({ description: 'Forbids that fired, with what made them fire' }),
    nearest: z.array(ruleResult).meta({
      description: 'Permits in scope that do not apply, those with the fewest clauses in the way first',
    }),
    inScope: z.int().meta({ description: 'Policies whose head matches' }),
    mismatch: z.string().exactOptional().meta({ description: 'Why no policy could apply at all' }),
    principal: refOut
      .exactOptional()
      .meta({ description: 'Whom it is about, where that is somebody on whose behalf it was tried' }),
    cut: z.literal(true).exactOptional().meta({ description: 'Something was left out or shortened' }),
  })
  .meta({
    id: 'Explanation',
    description: 'Which rules decided and, for the nearest permits, clause by clause',
  })

export const explanation = z
  .object({
    decision: decisionEntry,
    explanation: rules.nullable().meta({
      description: 'What was recorded with it; null where no policy was asked, or nothing is left to tell',
    }),
    lost: z.string().exactOptional().meta({ description: 'Why it cannot be told any more' }),
  })
  .meta({ id: 'ExplainedDecision', description: 'Why a decision fell as it did' })

export type ExplainedDecision = z.infer<typeof explanation>
