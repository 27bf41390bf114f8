/**
 * What was done downstream, on the wire: reports, observations, and the record that joins them to their grant.
 *
 * @module
 */
import * as z from 'zod'
import type { Flag } from '../../model/action.ts'
import { actionOutcomes, outsides } from '../../model/action.ts'
import type { Json } from '../../model/canonical.ts'
import type { EntityRef } from '../../model/entity.ts'
import type { Instant } from '../../model/time.ts'
import {
  actionName,
  displayName,
  encodeInstant,
  encodeRef,
  given,
  id,
  instant,
  instantOut,
  jsonOut,
  jsonUpTo,
  page,
  ref,
  refOut,
  text,
} from '../bounds.ts'

/** Reports in one batch. */
export const ACTIONS_MOST = 100
/** Characters of one report's `detail` as JSON; what an entry cannot hold is kept beside it, under its digest. */
export const DETAIL_MOST = 128 * 1_024

const item = z
  .strictObject({
    id: id.max(128).meta({ description: "The reporter's own: the same report again is one entry" }),
    grant: id.exactOptional(),
    credential: id.exactOptional(),
    task: id.exactOptional(),
    action: actionName,
    resource: ref.exactOptional(),
    at: instant.exactOptional().meta({ description: "By the reporter's clock; now if left out" }),
    outcome: z.enum(actionOutcomes),
    detail: jsonUpTo(DETAIL_MOST)
      .exactOptional()
      .meta({ description: 'Kept as it is, and believed of nobody' }),
    role: displayName
      .exactOptional()
      .meta({ description: 'Observed: the user of the session at the target' }),
    application_name: displayName
      .exactOptional()
      .meta({ description: 'Observed: what the client calls itself; by itself it proves nothing' }),
  })
  .refine(
    (given) =>
      (given.grant ?? given.credential ?? given.task ?? given.role ?? given.application_name) !== undefined,
    {
      error: 'must name a `grant`, `credential` or `task`',
    },
  )

export const actionBatch = z
  .strictObject({
    items: z.array(item).min(1).max(ACTIONS_MOST),
    observed: z
      .literal(true)
      .exactOptional()
      .meta({ description: 'A collector tells what a target says itself; needs `Writ::Action::"observe"`' }),
    target: id.exactOptional().meta({ description: 'Whose log it was read in; with `observed` only' }),
  })
  .refine((batch) => (batch.observed === undefined) === (batch.target === undefined), {
    error: 'must have `observed` and `target` together, or neither',
  })
  .refine(
    (batch) =>
      batch.observed === true
        ? batch.items.every((one) => one.task === undefined)
        : batch.items.every(
            (one) =>
              one.role === undefined &&
              one.application_name === undefined &&
              (one.grant ?? one.credential ?? one.task) !== undefined,
          ),
    {
      error:
        'must name a `grant`, `credential` or `task` for each; `role` and `application_name` are observed, a `task` never is',
    },
  )
  .meta({
    id: 'ActionBatch',
    description: 'What was done: all of it is recorded before the answer, or nothing',
  })

export type ActionBatchInput = z.input<typeof actionBatch>

export function decodeActions(parsed: z.output<typeof actionBatch>) {
  return {
    items: parsed.items.map(({ application_name: application, ...rest }) => ({
      ...rest,
      ...given('application', application),
    })),
    ...(parsed.target === undefined ? {} : { observed: { target: parsed.target } }),
  }
}

export const reportedActions = z
  .object({
    items: z.array(
      z.object({
        id: z.string(),
        action: z.string().meta({ description: 'Its id in the record' }),
        status: z.enum(['recorded', 'duplicate', 'unmatched', 'ignored']),
        grant: z.string().exactOptional(),
        credential: z.string().exactOptional(),
        task: z.string().exactOptional(),
        outside: z.array(z.enum(outsides)).exactOptional().meta({
          description: 'Why the grant does not cover it; recorded as that, and somebody has to explain it',
        }),
      }),
    ),
  })
  .meta({ id: 'ReportedActions' })

export const recordedAction = z
  .object({
    seq: z.int().meta({ description: 'Its entry in the log' }),
    id: z.string(),
    kind: z.enum(['action.reported', 'action.observed', 'action.unmatched', 'action.refused']),
    reported_id: z.string(),
    recorded_at: instantOut,
    done_at: instantOut.exactOptional().meta({ description: 'As the reporter or the target says' }),
    by: z.string(),
    action: z.string(),
    resource: refOut.exactOptional(),
    outcome: z.enum(actionOutcomes),
    link: z
      .string()
      .meta({ description: '`grant`, `credential`, `task`, `role`, `application_name`, `time` or `none`' }),
    claimed: z.boolean().exactOptional().meta({ description: 'The link is what the client says of itself' }),
    outside: z.array(z.string()).exactOptional(),
    grant: z.string().exactOptional(),
    credential: z.string().exactOptional(),
    task: z.string().exactOptional(),
    decision: z.string().exactOptional(),
    request: z.string().exactOptional(),
    subject: refOut.exactOptional(),
    candidates: z.array(z.string()).exactOptional(),
    target: z.string().exactOptional(),
    role: z.string().exactOptional(),
    application_name: z.string().exactOptional(),
    detail: jsonOut
      .exactOptional()
      .meta({ description: 'Untrusted; `$digest` where it was too long for an entry' }),
  })
  .meta({ id: 'RecordedAction' })

export type WireRecordedAction = z.infer<typeof recordedAction>

export const actionPage = page(recordedAction).meta({ id: 'ActionPage' })

type Recorded = { readonly seq: number; readonly at: Instant; readonly entry: Readonly<Record<string, Json>> }

/** Members that the record always has come first; what was cut from an entry is shown as the digest that stands there. */
export function encodeAction({ seq, at, entry }: Recorded): WireRecordedAction {
  const { v: _v, seq: _seq, at: _at, refs: _refs, digest: _digest, done_at, ...rest } = entry
  return {
    ...(rest as unknown as WireRecordedAction),
    seq,
    recorded_at: encodeInstant(at),
    ...(typeof done_at === 'number' ? { done_at: encodeInstant(done_at) } : {}),
  }
}

export const use = z
  .object({
    seq: z.int(),
    at: instantOut,
    decision: z.string(),
    action: z.string(),
    resource: refOut,
    reason: z.string(),
    grant: z.string().exactOptional(),
  })
  .meta({ id: 'Use', description: 'A permit that Writ itself gave' })

export type WireUse = z.infer<typeof use>

export function encodeUse(value: {
  readonly seq: number
  readonly at: Instant
  readonly decision: string
  readonly action: string
  readonly resource: EntityRef
  readonly reason: string
  readonly grant?: string
}): WireUse {
  return {
    seq: value.seq,
    at: encodeInstant(value.at),
    decision: value.decision,
    action: value.action,
    resource: encodeRef(value.resource),
    reason: value.reason,
    ...given('grant', value.grant),
  }
}

export const flagResolution = z.strictObject({ reason: text.min(1) }).meta({ id: 'FlagResolution' })

export const flag = z
  .object({
    id: z.string(),
    kind: z.enum(['unmatched', 'outside', 'refused']),
    what: z.string(),
    count: z.int(),
    action: z.string(),
    first_at: instantOut,
    last_at: instantOut,
    resolved_at: instantOut.exactOptional(),
    resolved_by: z.string().exactOptional(),
    reason: z.string().exactOptional(),
  })
  .meta({ id: 'ActionFlag' })

export type WireActionFlag = z.infer<typeof flag>

export function encodeFlag(value: Flag): WireActionFlag {
  return {
    id: value.id,
    kind: value.kind,
    what: value.what,
    count: value.count,
    action: value.action,
    first_at: encodeInstant(value.firstAt),
    last_at: encodeInstant(value.lastAt),
    ...(value.resolvedAt === undefined ? {} : { resolved_at: encodeInstant(value.resolvedAt) }),
    ...given('resolved_by', value.resolvedBy),
    ...given('reason', value.reason),
  }
}
