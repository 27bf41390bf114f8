/**
 * Access requests: the AuthZEN profile for whoever needs access, `/v1` for whoever gives it.
 *
 * @module
 */
import * as z from 'zod'
import { WritError, isWritError } from '../../../model/errors.ts'
import type { Caller } from '../../../model/access.ts'
import type { AccessRequest } from '../../../model/request.ts'
import { handleEndsAt, holds, requestAt } from '../../../model/request.ts'
import type { ArapProblem } from '../../../wire/arap/draft1/index.ts'
import {
  JWKS_PATH,
  cancellation,
  cancellationReason,
  decodeSubmission,
  encodeRequestSchema,
  encodeTaskResponse,
  jwks,
  locationOf,
  requestSchema,
  retryAfter,
  submission,
  taskResponse,
  templateName,
} from '../../../wire/arap/draft1/index.ts'
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

const unknownTask = (id: string): WritError =>
  new WritError('ERR_NOT_FOUND', `there is no access request \`${id}\``, { problem: 'unknown_task' })

/** How long verifiers keep the keys: a new key signs nothing that has to be believed sooner. */
const KEYS_CACHED = 'public, max-age=300'

export function requestRoutes(door: Door): Route[] {
  const { flows } = door

  /** The task as its holder sees it; others learn nothing here, whatever else they may see elsewhere. */
  const taskAnswer = (caller: Caller, found: AccessRequest, origin: string, status: number): Answer => {
    const now = door.now()
    const request = requestAt(found, now)
    if (!holds(caller, request)) throw unknownTask(request.id)
    if (request.status !== 'pending' && now >= handleEndsAt(request)) {
      throw new WritError('ERR_NOT_FOUND', 'the handle of this access request has expired', {
        problem: 'task_expired',
        hint: 'evaluate again',
      })
    }
    const proof = request.status === 'approved' ? flows.proofOf(request, now) : undefined
    const body = encodeTaskResponse(request, requestsEndpoint(origin), proof)
    return {
      status,
      body,
      headers: {
        ...(status === 200 ? {} : { location: locationOf(body) }),
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
        return taskAnswer(caller, request, origin, request.status === 'pending' ? 202 : 201)
      },
    }),
    route({
      method: 'GET',
      path: '/access/v1/requests/schemas/:name',
      tag,
      summary: 'What a submission may and must add to what was denied',
      who: 'public',
      audit: { none: 'constant' },
      errors: 'arap',
      params: templateName,
      responses: { 200: { description: 'JSON Schema', schema: requestSchema } },
      handle: async ({ params, origin }) => ok(encodeRequestSchema(params.name, requestsEndpoint(origin))),
    }),
    route({
      method: 'GET',
      path: JWKS_PATH,
      tag,
      summary: 'The keys by which signed denials and approvals are verified',
      who: 'public',
      audit: { none: 'public keys' },
      responses: { 200: { description: 'A JWK Set', schema: jwks } },
      handle: async () => ({
        ...ok({ keys: flows.artifactKeys(door.now()) }),
        headers: { 'cache-control': KEYS_CACHED },
      }),
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
          caller,
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
          flows.cancelRequest(caller, params.id, cancellationReason(body)),
        )
        return taskAnswer(caller, request, origin, 200)
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
