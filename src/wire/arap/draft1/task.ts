/**
 * Tasks, their results, and cancelling: how an access request looks to whoever holds its handle.
 *
 * @module
 */
import * as z from 'zod'
import type { AccessRequest } from '../../../model/request.ts'
import { approvedUntil, handleEndsAt, progressOf } from '../../../model/request.ts'
import type { Instant } from '../../../model/time.ts'
import { MINUTE } from '../../../model/time.ts'
import { encodeInstant, given, instantOut, text } from '../../bounds.ts'

export const cancellation = z
  .object({ reason: text.exactOptional(), comment: text.exactOptional() })
  .meta({ id: 'AccessRequestCancellation' })

/** What a cancellation says of its reasons, for the record. */
export const cancellationReason = (body: z.output<typeof cancellation> | undefined): string | undefined =>
  [body?.reason, body?.comment].filter((part) => part !== undefined && part !== '').join(': ') || undefined

export const arapStatuses = ['pending', 'approved', 'denied', 'expired', 'cancelled', 'failed'] as const

export const arapTask = z
  .object({
    id: z.string(),
    status: z.enum(arapStatuses),
    status_endpoint: z.string(),
    expires_at: instantOut.exactOptional(),
    progress: z
      .object({ current_step: z.int(), total_steps: z.int(), step_name: z.string() })
      .exactOptional()
      .meta({ description: 'Where several approvals are needed; who is asked stays unsaid' }),
    links: z
      .object({
        cancel: z.string().exactOptional(),
        ticket: z.string().exactOptional().meta({ description: 'For the requester, where that is a person' }),
      })
      .exactOptional(),
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
      state: z.string().exactOptional().meta({ description: 'The approval by value, signed' }),
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
 * The task of a request for its holder; its URLs stand under `endpoint`, the access request endpoint. `state` is the
 * approval by value. Nothing of who approves is in it, and never a link for approvers.
 */
export function encodeTaskResponse(request: AccessRequest, endpoint: string, state?: string): TaskResponse {
  const self = `${endpoint}/${encodeURIComponent(request.id)}`
  const approval = request.status === 'approved' ? request.approval : undefined
  const progress = progressOf(request)
  const links = {
    ...(request.status === 'pending' ? { cancel: `${self}/cancel` } : {}),
    ...(request.requester.type === 'Person'
      ? { ticket: `${new URL(endpoint).origin}/requests/${encodeURIComponent(request.id)}` }
      : {}),
  }
  return {
    task: {
      id: request.id,
      status: request.status,
      status_endpoint: self,
      expires_at: encodeInstant(handleEndsAt(request)),
      ...(progress === undefined || progress.steps < 2
        ? {}
        : {
            progress: {
              current_step: progress.step,
              total_steps: progress.steps,
              step_name: progress.pool,
            },
          }),
      ...(Object.keys(links).length === 0 ? {} : { links }),
      ...(request.status === 'denied' && request.reason !== undefined && request.reason !== ''
        ? { display: { reason: request.reason } }
        : {}),
    },
    ...(approval === undefined
      ? {}
      : {
          result: {
            mode: 'reevaluate' as const,
            approval: {
              id: approval,
              approved_until: encodeInstant(approvedUntil(request)),
              ...(request.approvedAt === undefined ? {} : { approved_at: encodeInstant(request.approvedAt) }),
              ...given('state', state),
            },
          },
        }),
  }
}

/** Where a task can be asked about. */
export const locationOf = ({ task }: TaskResponse): string => task.status_endpoint

/** Seconds until it is worth asking again: the longer it has waited, the rarer. */
export function retryAfter(request: AccessRequest, now: Instant): number {
  const waited = now - request.requestedAt
  if (waited < MINUTE) return 1
  return waited < 5 * MINUTE ? 2 : 5
}
