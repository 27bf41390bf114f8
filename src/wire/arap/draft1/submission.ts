/**
 * Submissions: the denied tuple, what binds it to its denial, and what the requester adds.
 *
 * @module
 */
import * as z from 'zod'
import { isText } from '../../../model/name.ts'
import type { Instant } from '../../../model/time.ts'
import { action, resource, subject } from '../../authzen/tuple.ts'
import type { DecodedEvaluation } from '../../authzen/tuple.ts'
import type { CallbackWish } from '../../../model/callback.ts'
import { ID_MOST, TEXT_MOST, given, id, instant, properties, text } from '../../bounds.ts'
import { callback, decodeCallback } from './callback.ts'

/** Most characters of a signed artifact that comes back. */
export const ARTIFACT_CHARACTERS_MOST = 16_384

/** A denial as its answer had it, echoed unchanged. */
const denial = z.object({
  expires_at: instant,
  evaluation_id: id.exactOptional(),
  binding_token: z.string().min(1).max(ARTIFACT_CHARACTERS_MOST).exactOptional(),
  evaluated_at: text.exactOptional(),
  reason: text.exactOptional(),
  template: text.exactOptional(),
})

/** What the caller calls itself: shown and recorded, never believed. `actor` and `source` are not even read. */
const client = z.object({
  id: text.max(ID_MOST).exactOptional(),
  name: text.max(ID_MOST).exactOptional(),
})

/** A member of a companion of the profile that is not offered: refused, because leaving it out would change what is asked. */
const notOffered = (what: string) =>
  z
    .unknown()
    .refine((value) => value === undefined, { error: `must not be there: ${what}` })
    .exactOptional()
    .meta({ description: `Not offered: ${what}` })

/** What a requester adds to the original context: why. Never part of what evidence binds to. */
const submissionContext = properties.refine(
  (context) => {
    const why = context['justification']
    return why === undefined || (typeof why === 'string' && why.length <= TEXT_MOST && isText(why))
  },
  {
    error: `must have a text of at most ${TEXT_MOST} characters as \`justification\``,
    path: ['justification'],
  },
)

export const submission = z
  .object({
    subject,
    action,
    resource,
    context: submissionContext.exactOptional(),
    denial,
    requested_access: z
      .object({ requested_until: instant.exactOptional(), emergency: z.boolean().exactOptional() })
      .exactOptional(),
    client: client.exactOptional(),
    items: notOffered('one submission asks for one thing'),
    callback: callback.exactOptional(),
  })
  .meta({
    id: 'AccessRequestSubmission',
    description: 'The denied tuple with its denial, and `context.justification`',
  })

export type Submission = z.input<typeof submission>

/** A submission as a door hands it on. */
export type DecodedSubmission = DecodedEvaluation &
  Readonly<{
    denial: Readonly<{
      evaluationId?: string
      bindingToken?: string
      expiresAt: Instant
      evaluatedAt?: string
      reason?: string
      template?: string
    }>
    justification?: string
    requestedUntil?: Instant
    emergency?: true
    client?: Readonly<{ id?: string; name?: string }>
    callback?: CallbackWish
  }>

export function decodeSubmission(parsed: z.output<typeof submission>): DecodedSubmission {
  const justification = parsed.context?.['justification']
  return {
    subject: parsed.subject,
    action: parsed.action,
    resource: parsed.resource,
    ...given('context', parsed.context),
    denial: {
      ...given('evaluationId', parsed.denial.evaluation_id),
      ...given('bindingToken', parsed.denial.binding_token),
      expiresAt: parsed.denial.expires_at,
      ...given('evaluatedAt', parsed.denial.evaluated_at),
      ...given('reason', parsed.denial.reason),
      ...given('template', parsed.denial.template),
    },
    ...(typeof justification === 'string' && justification.trim() !== '' ? { justification } : {}),
    ...given('requestedUntil', parsed.requested_access?.requested_until),
    ...(parsed.requested_access?.emergency === true ? { emergency: true } : {}),
    ...given('client', parsed.client),
    ...given('callback', parsed.callback === undefined ? undefined : decodeCallback(parsed.callback)),
  }
}
