/**
 * Tasks: declare first, then ask for access under it.
 *
 * @module
 */
import * as z from 'zod'
import { cursor, flag, given, limit } from '../../../wire/bounds.ts'
import {
  decodeTask,
  encodeNarrowing,
  encodeRecord,
  encodeTask,
  encodeTaskState,
  narrowing,
  revocation,
  task,
  taskDeclaration,
  taskEnding,
  taskPage,
  taskState,
} from '../../../wire/v1/index.ts'
import type { Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { CONFLICT, NOT_FOUND, byId, failed, pageOf, recordQuery } from './shared.ts'

export function taskRoutes({ flows }: Door): Route[] {
  const tag = 'Tasks'
  return [
    route({
      method: 'POST',
      path: '/v1/tasks',
      tag,
      summary: 'Declare a piece of work: purpose, scope, limits',
      who: 'caller',
      audit: { event: 'task.declared' },
      consumes: 'json',
      idempotent: true,
      body: taskDeclaration,
      responses: {
        201: { description: 'Declared; it opens with its first permit', schema: task },
        403: failed('The caller may not declare it'),
        409: CONFLICT,
      },
      handle: async ({ caller, body, idempotencyKey }) => {
        const declared = await flows.declareTask(
          caller,
          decodeTask(body),
          given('idempotencyKey', idempotencyKey),
        )
        return { status: 201, body: encodeTask(declared), headers: { location: `/v1/tasks/${declared.id}` } }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/tasks',
      tag,
      summary: 'Tasks the caller may see',
      who: 'caller',
      heavy: true,
      audit: READS,
      query: z.strictObject({
        live: flag.exactOptional(),
        cursor: cursor.exactOptional(),
        limit: limit.exactOptional(),
      }),
      responses: { 200: { description: 'A page', schema: taskPage } },
      handle: async ({ caller, query }) => {
        const { cursor: after, ...rest } = query
        return ok(pageOf(await flows.tasks(caller, { ...rest, ...given('after', after) }), encodeTask))
      },
    }),
    route({
      method: 'GET',
      path: '/v1/tasks/:id',
      tag,
      summary: 'A task with everything below it',
      who: 'caller',
      audit: READS,
      params: byId,
      query: recordQuery,
      responses: { 200: { description: 'Its state', schema: taskState }, 404: NOT_FOUND },
      handle: async ({ caller, params, query }) => {
        const people = caller.kind === 'session'
        const state = encodeTaskState(await flows.task(caller, params.id), people)
        if (query.record !== true) return ok(state)
        return ok({ ...state, record: encodeRecord(await flows.taskRecord(caller, params.id), people) })
      },
    }),
    route({
      method: 'POST',
      path: '/v1/tasks/:id/heartbeat',
      tag,
      summary: 'Keep an open task alive; this never extends its end',
      who: 'caller',
      audit: { none: 'a sign of life; its lapse is the entry `task.ended`' },
      consumes: 'json',
      params: byId,
      body: z.strictObject({}).optional(),
      responses: { 200: { description: 'The task', schema: task }, 404: NOT_FOUND },
      handle: async ({ caller, params }) => ok(encodeTask(await flows.heartbeat(caller, params.id))),
    }),
    route({
      method: 'POST',
      path: '/v1/tasks/:id/end',
      tag,
      summary: 'End a task and everything below it',
      who: 'caller',
      audit: { event: 'task.ended' },
      consumes: 'json',
      params: byId,
      body: taskEnding,
      responses: {
        200: { description: 'Its state; ask again until it is clean', schema: taskState },
        404: NOT_FOUND,
      },
      handle: async ({ caller, params, body }) =>
        ok(
          encodeTaskState(
            await flows.endTask(caller, params.id, body.status, body.reason),
            caller.kind === 'session',
          ),
        ),
    }),
    route({
      method: 'POST',
      path: '/v1/tasks/:id/revoke',
      tag,
      summary: 'Take back a task and everything below it',
      who: 'caller',
      audit: { event: 'task.ended' },
      consumes: 'json',
      params: byId,
      body: revocation,
      responses: {
        200: { description: 'Denied at once', schema: narrowing },
        403: failed('Not allowed'),
        404: NOT_FOUND,
      },
      handle: async ({ caller, params, body }) =>
        ok(encodeNarrowing(await flows.revokeTask(caller, params.id, body.reason))),
    }),
  ]
}
