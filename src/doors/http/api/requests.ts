/**
 * Access requests: the AuthZEN profile for whoever needs access, `/v1` for whoever gives it.
 *
 * @module
 */
import * as z from 'zod'
import { WritError, isWritError } from '../../../model/errors.ts'
import type { AccessRequest } from '../../../model/request.ts'
import type { ArapProblem } from '../../../wire/arap/draft1.ts'
import {
  cancellation,
  decodeSubmission,
  encodeTaskResponse,
  retryAfter,
  submission,
  taskResponse,
} from '../../../wire/arap/draft1.ts'
import { cursor, flag, given, limit } from '../../../wire/bounds.ts'
import {
  accessRequest,
  accessRequestPage,
  approve,
  denyRequest,
  encodeAccessRequest,
} from '../../../wire/v1/index.ts'
import type { Answer, Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { CONFLICT, NOT_FOUND, byId, failed, pageOf, requestsEndpoint } from './shared.ts'

/** Calls `act`; what it throws gets the profile's name for it, unless it has one. */
async function named<T>(
  names: Readonly<Partial<Record<string, ArapProblem>>>,
  act: () => Promise<T>,
): Promise<T> {
  try {
    return await act()
  } catch (error) {
    if (!isWritError(error) || error.problem !== undefined) throw error
    const problem = names[error.code]
    if (problem === undefined) throw error
    throw new WritError(error.code, error.message, {
      problem,
      cause: error,
      ...given('hint', error.hint),
      ...given('detail', error.detail),
    })
  }
}

export function requestRoutes(door: Door): Route[] {
  const { flows } = door

  const taskAnswer = (request: AccessRequest, origin: string, status: number): Answer => {
    const body = encodeTaskResponse(request, requestsEndpoint(origin))
    return {
      status,
      body,
      headers: {
        ...(status === 200 ? {} : { location: body.task.status_endpoint }),
        ...(request.status === 'pending' ? { 'retry-after': String(retryAfter(request, door.now())) } : {}),
      },
    }
  }

  const tag = 'Access requests (AuthZEN profile, Draft 1)'
  return [
    route({
      method: 'POST',
      path: '/access/v1/requests',
      tag,
      summary: 'Ask that the evidence a denial names may be given',
      who: 'caller',
      audit: { event: 'request.submitted' },
      errors: 'arap',
      consumes: 'json',
      idempotent: true,
      body: submission,
      responses: {
        201: { description: 'Settled already', schema: taskResponse },
        202: { description: 'Waiting', schema: taskResponse },
        400: failed('`not_requestable`, `invalid_denial_binding`, or it cannot be read'),
        409: failed('`duplicate_request`'),
        410: failed('`expired_denial`'),
      },
      handle: async ({ caller, body, idempotencyKey, origin }) => {
        const input = { ...decodeSubmission(body), ...given('idempotencyKey', idempotencyKey) }
        const request = await named(
          { ERR_CONFLICT: 'duplicate_request', ERR_NOT_FOUND: 'invalid_denial_binding' },
          () => flows.submit(caller, input),
        )
        return taskAnswer(request, origin, request.status === 'pending' ? 202 : 201)
      },
    }),
    route({
      method: 'GET',
      path: '/access/v1/requests/:id',
      tag,
      summary: 'How an access request stands; wait as long as `Retry-After` says before asking again',
      who: 'caller',
      audit: READS,
      errors: 'arap',
      params: byId,
      responses: {
        200: { description: 'The task and, once approved, its result', schema: taskResponse },
        404: failed('`unknown_task`'),
        410: failed('`task_expired`'),
      },
      handle: async ({ caller, params, origin }) =>
        taskAnswer(
          await named({ ERR_NOT_FOUND: 'unknown_task' }, () => flows.request(caller, params.id)),
          origin,
          200,
        ),
    }),
    route({
      method: 'POST',
      path: '/access/v1/requests/:id/cancel',
      tag,
      summary: 'Withdraw an access request that is waiting',
      who: 'caller',
      audit: { event: 'request.ended' },
      errors: 'arap',
      consumes: 'json',
      params: byId,
      body: cancellation.optional(),
      responses: {
        200: { description: 'Cancelled', schema: taskResponse },
        404: failed('`unknown_task`'),
        409: failed('`invalid_task_state`'),
      },
      handle: async ({ caller, params, body, origin }) => {
        const names = { ERR_NOT_FOUND: 'unknown_task', ERR_CONFLICT: 'invalid_task_state' } as const
        const request = await named(names, () =>
          flows.cancelRequest(caller, params.id, body?.reason ?? body?.comment),
        )
        return taskAnswer(request, origin, 200)
      },
    }),
    route({
      method: 'GET',
      path: '/v1/requests',
      heavy: true,
      tag: 'Approving',
      summary: 'Access requests the caller submitted and, for a person, those it could approve',
      who: 'caller',
      audit: READS,
      query: z.strictObject({
        pending: flag.exactOptional(),
        cursor: cursor.exactOptional(),
        limit: limit.exactOptional(),
      }),
      responses: { 200: { description: 'A page', schema: accessRequestPage } },
      handle: async ({ caller, query }) => {
        const { cursor: after, ...rest } = query
        const page = await flows.requests(caller, { ...rest, ...given('after', after) })
        return ok(pageOf(page, (item) => encodeAccessRequest(item, caller.kind === 'session')))
      },
    }),
    route({
      method: 'GET',
      path: '/v1/requests/:id',
      tag: 'Approving',
      summary: 'One access request with the statement that evidence would be given for',
      who: 'caller',
      audit: READS,
      params: byId,
      responses: { 200: { description: 'The request', schema: accessRequest }, 404: NOT_FOUND },
      handle: async ({ caller, params }) =>
        ok(encodeAccessRequest(await flows.request(caller, params.id), caller.kind === 'session')),
    }),
    route({
      method: 'POST',
      path: '/v1/requests/:id/approve',
      tag: 'Approving',
      summary: 'Approve exactly the statement whose digest is given',
      who: 'person',
      audit: { event: 'approval.given' },
      consumes: 'json',
      params: byId,
      body: approve,
      responses: {
        200: { description: 'The request as it stands now', schema: accessRequest },
        403: failed('Not eligible'),
        404: NOT_FOUND,
        409: CONFLICT,
      },
      handle: async ({ caller, params, body }) =>
        ok(encodeAccessRequest(await flows.approve(caller, params.id, body), true)),
    }),
    route({
      method: 'POST',
      path: '/v1/requests/:id/deny',
      tag: 'Approving',
      summary: 'Deny it: one denial ends a request',
      who: 'person',
      audit: { event: 'request.denied' },
      consumes: 'json',
      params: byId,
      body: denyRequest,
      responses: {
        200: { description: 'The request as it stands now', schema: accessRequest },
        403: failed('Not eligible'),
        404: NOT_FOUND,
        409: CONFLICT,
      },
      handle: async ({ caller, params, body }) =>
        ok(encodeAccessRequest(await flows.denyRequest(caller, params.id, body), true)),
    }),
  ]
}
