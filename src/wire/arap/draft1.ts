/**
 * AuthZEN Access Request and Approval Profile, Draft 1 (openid/authzen at b304f68cb206): submission, task, result,
 * cancellation, errors. What it calls a task is an access request here; `ArapTask` exists in this file only.
 *
 * @module
 */
import * as z from 'zod'
import { isText } from '../../model/name.ts'
import type { AccessRequest } from '../../model/request.ts'
import type { Instant } from '../../model/time.ts'
import { MINUTE } from '../../model/time.ts'
import { action, resource, subject } from '../authzen/v1_0.ts'
import type { DecodedEvaluation } from '../authzen/v1_0.ts'
import { TEXT_MOST, encodeInstant, given, id, instant, instantOut, properties, text } from '../bounds.ts'

const denial = z.object({
  evaluation_id: id.exactOptional(),
  evaluated_at: text.exactOptional(),
  expires_at: instant,
  reason: text.exactOptional(),
})

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
    client: properties.exactOptional(),
  })
  .meta({
    id: 'AccessRequestSubmission',
    description: 'The denied tuple with its denial, and `context.justification`',
  })

export type Submission = z.input<typeof submission>

/** A submission as a door hands it on. */
export type DecodedSubmission = DecodedEvaluation &
  Readonly<{
    denial: Readonly<{ evaluationId?: string; expiresAt: Instant; evaluatedAt?: string; reason?: string }>
    justification?: string
    requestedUntil?: Instant
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
      expiresAt: parsed.denial.expires_at,
      ...given('evaluatedAt', parsed.denial.evaluated_at),
      ...given('reason', parsed.denial.reason),
    },
    ...(typeof justification === 'string' && justification.trim() !== '' ? { justification } : {}),
    ...given('requestedUntil', parsed.requested_access?.requested_until),
  }
}

export const cancellation = z
  .object({ reason: text.exactOptional(), comment: text.exactOptional() })
  .meta({ id: 'AccessRequestCancellation' })

export const arapStatuses = ['pending', 'approved', 'denied', 'expired', 'cancelled', 'failed'] as const

export const arapTask = z
  .object({
    id: z.string(),
    status: z.enum(arapStatuses),
    status_endpoint: z.string(),
    expires_at: instantOut.exactOptional(),
    links: z.object({ cancel: z.string().exactOptional() }).exactOptional(),
    display: z.object({ reason: z.string().exactOptional() }).exactOptional(),
  })
  .meta({ id: 'ArapTask', description: 'The handle of an access request' })

export const result = z
  .object({
    mode: z.literal('reevaluate'),
    approval: z.object({
      id: z.string(),
      approved_until: instantOut,
      approved_at: instantOut.exactOptional(),
    }),
  })
  .meta({
    id: 'AccessRequestResult',
    description: 'Evaluate again with `approval` unchanged at `context.approval`',
  })

export const taskResponse = z
  .object({ task: arapTask, result: result.exactOptional() })
  .meta({ id: 'AccessRequestResponse' })

export type TaskResponse = z.infer<typeof taskResponse>

/**
 * Until when an approval helps: `activate_by` + ttl while it waits, activation + ttl once it is spent.
 */
function approvedUntil(request: AccessRequest): Instant {
  return (request.spentAt ?? request.activateBy ?? request.expiresAt) + request.ttl
}

/** The task of a request; its URLs stand under `endpoint`, the access request endpoint. */
export function encodeTaskResponse(request: AccessRequest, endpoint: string): TaskResponse {
  const self = `${endpoint}/${encodeURIComponent(request.id)}`
  const approved = request.status === 'approved' && request.approval !== undefined
  return {
    task: {
      id: request.id,
      status: request.status,
      status_endpoint: self,
      expires_at: encodeInstant(approved ? approvedUntil(request) : request.expiresAt),
      ...(request.status === 'pending' ? { links: { cancel: `${self}/cancel` } } : {}),
      ...(request.status === 'denied' && request.reason !== undefined && request.reason !== ''
        ? { display: { reason: request.reason } }
        : {}),
    },
    ...(approved
      ? {
          result: {
            mode: 'reevaluate' as const,
            approval: {
              id: request.approval,
              approved_until: encodeInstant(approvedUntil(request)),
              ...(request.approvedAt === undefined ? {} : { approved_at: encodeInstant(request.approvedAt) }),
            },
          },
        }
      : {}),
  }
}

/** Seconds until it is worth asking again: the longer it has waited, the rarer. */
export function retryAfter(request: AccessRequest, now: Instant): number {
  const waited = now - request.requestedAt
  if (waited < MINUTE) return 1
  return waited < 5 * MINUTE ? 2 : 5
}

/** The profile's problem names and their statuses. */
export const problemStatus = {
  not_requestable: 400,
  invalid_denial_binding: 400,
  expired_denial: 410,
  duplicate_request: 409,
  unknown_task: 404,
  task_expired: 410,
  invalid_task_state: 409,
} as const

export type ArapProblem = keyof typeof problemStatus

export function isArapProblem(name: string | undefined): name is ArapProblem {
  return name !== undefined && Object.hasOwn(problemStatus, name)
}

export function arapProblemType(name: ArapProblem): string {
  return `urn:openid:authzen:access-request:error:${name}`
}
