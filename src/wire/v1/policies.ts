/**
 * Policy sets on the wire.
 *
 * @module
 */
import * as z from 'zod'
import type { PolicyVersion } from '../../model/access.ts'
import type { Instant } from '../../model/time.ts'
import { displayName, encodeInstant, instant, instantOut, refOut } from '../bounds.ts'

/** Most files in one set, and the longest of them. */
export const FILES_MOST = 256
export const FILE_MOST = 200_000

const file = z.strictObject({
  name: displayName,
  text: z
    .string()
    .max(FILE_MOST)
    .refine((text) => text.isWellFormed(), { error: 'must be well-formed Unicode' }),
})

export const policySource = z
  .strictObject({ policies: z.array(file).min(1).max(FILES_MOST), schema: file.exactOptional() })
  .meta({ id: 'PolicySource', description: "Cedar policy files and, if there is one, the user's schema" })

export type PolicySource = z.input<typeof policySource>

export const policyVersion = z
  .object({
    version: z.string().meta({ description: 'Content hash' }),
    state: z.enum(['proposed', 'published', 'rejected']),
    policies: z.array(z.object({ name: z.string(), text: z.string() })),
    schema: z.object({ name: z.string(), text: z.string() }).exactOptional(),
    composed: z.string().meta({ description: 'The Cedar schema as Writ composed it' }),
    proposed_by: z.string(),
    proposed_at: instantOut,
    agreed_by: z.array(z.string()),
    published_at: instantOut.exactOptional(),
  })
  .meta({ id: 'PolicyVersion' })

export type WirePolicyVersion = z.infer<typeof policyVersion>

export function encodePolicyVersion(value: PolicyVersion): WirePolicyVersion {
  return {
    version: value.version,
    state: value.state,
    policies: value.policies.map(({ name, text }) => ({ name, text })),
    ...(value.schema === undefined ? {} : { schema: { name: value.schema.name, text: value.schema.text } }),
    composed: value.composed,
    proposed_by: value.proposedBy,
    proposed_at: encodeInstant(value.proposedAt),
    agreed_by: [...value.agreedBy],
    ...(value.publishedAt === undefined ? {} : { published_at: encodeInstant(value.publishedAt) }),
  }
}

/** Most decisions that one replay answers again. */
export const REPLAY_MOST = 100_000

export const policyReplay = z
  .strictObject({
    policies: z.array(file).min(1).max(FILES_MOST),
    schema: file.exactOptional(),
    since: instant,
    until: instant.exactOptional().meta({ description: 'By default now' }),
    limit: z.int().min(1).max(REPLAY_MOST).exactOptional().meta({ description: 'By default 10,000' }),
  })
  .meta({ id: 'PolicyReplay', description: 'A draft set, and the recorded decisions it is to answer' })

export type PolicyReplay = z.input<typeof policyReplay>

const says = z.enum(['permit', 'deny'])

export const replayReport = z
  .object({
    version: z.string().meta({ description: 'Content hash of the draft' }),
    since: instantOut,
    until: instantOut.meta({
      description: 'If truncated, the instant of the last decision that was looked at',
    }),
    replayed: z.int().meta({ description: 'Decisions that were answered again' }),
    flipped: z.int(),
    widened: z.int().meta({ description: 'Denied then, permitted by the draft' }),
    narrowed: z.int().meta({ description: 'Permitted then, denied by the draft' }),
    flips: z.array(
      z.object({
        subject: refOut,
        action: z.string(),
        from: says,
        to: says,
        count: z.int(),
        challenges: z.int().meta({ description: 'How many of them could have been permitted with evidence' }),
        policies: z.array(z.string()).meta({ description: 'Policies of the draft that decide now' }),
        examples: z.array(z.object({ decision: z.string(), at: instantOut, resource: refOut })),
      }),
    ),
    more_flips: z.int(),
    not_evaluated: z.int().meta({ description: 'Answered before any policy was asked, e.g. for a lock' }),
    lost: z.array(z.object({ why: z.string(), count: z.int() })),
    truncated: z.boolean(),
    leaves_out: z.array(z.string()),
  })
  .meta({ id: 'ReplayReport' })

export type WireReplayReport = z.infer<typeof replayReport>

type Says = z.infer<typeof says>

/** `flows/replay.ts` says what each member means. */
export function encodeReplayReport(
  value: Readonly<{
    version: string
    since: Instant
    until: Instant
    replayed: number
    widened: number
    narrowed: number
    flips: readonly Readonly<{
      subject: string
      action: string
      from: Says
      to: Says
      count: number
      challenges: number
      policies: readonly string[]
      examples: readonly Readonly<{ decision: string; at: Instant; resource: string }>[]
    }>[]
    moreFlips: number
    notEvaluated: number
    lost: readonly Readonly<{ why: string; count: number }>[]
    truncated: boolean
  }>,
): WireReplayReport {
  const { since, until, flips, moreFlips, notEvaluated, lost, ...rest } = value
  return {
    ...rest,
    since: encodeInstant(since),
    until: encodeInstant(until),
    flipped: value.widened + value.narrowed,
    flips: flips.map(({ policies, examples, ...flip }) => ({
      ...flip,
      policies: [...policies],
      examples: examples.map(({ at, ...example }) => ({ ...example, at: encodeInstant(at) })),
    })),
    more_flips: moreFlips,
    not_evaluated: notEvaluated,
    lost: [...lost],
    leaves_out: [
      'what would be a challenge is not searched again: a challenge counts as the denial it is',
      'each decision is replayed with the evidence it had; what the draft would ask for instead was never given',
    ],
  }
}
