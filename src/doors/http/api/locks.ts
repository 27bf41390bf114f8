/**
 * The kill switch: locks.
 *
 * @module
 */
import * as z from 'zod'
import { cursor, given, limit } from '../../../wire/bounds.ts'
import {
  encodeLock,
  encodeLocked,
  lock,
  lockAnswer,
  lockInput,
  lockPage,
  unlockInput,
} from '../../../wire/v1/index.ts'
import type { Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { NOT_FOUND, failed, pageOf } from './shared.ts'

export function lockRoutes({ flows }: Door): Route[] {
  const tag = 'Locks'
  return [
    route({
      method: 'POST',
      path: '/v1/locks',
      tag,
      summary: 'Refuse something at once with everything under it, and end what was given under it',
      who: 'caller',
      audit: { event: 'lock.set' },
      consumes: 'json',
      body: lockInput,
      responses: {
        200: {
          description: 'Denied at once; while `ending`, what is not listed ends as it is looked at',
          schema: lockAnswer,
        },
        403: failed('Not allowed'),
        404: failed('There is no such task'),
      },
      handle: async ({ caller, body }) => ok(encodeLocked(await flows.locks.lock(caller, body))),
    }),
    route({
      method: 'GET',
      path: '/v1/locks',
      tag,
      summary: 'Locks in force',
      who: 'caller',
      audit: READS,
      query: z.strictObject({ cursor: cursor.exactOptional(), limit: limit.exactOptional() }),
      responses: { 200: { description: 'A page', schema: lockPage }, 403: failed('Not allowed') },
      handle: async ({ caller, query }) => {
        const { cursor: after, ...rest } = query
        return ok(pageOf(await flows.locks.list(caller, { ...rest, ...given('after', after) }), encodeLock))
      },
    }),
    route({
      method: 'POST',
      path: '/v1/locks/unlock',
      tag,
      summary: 'Take a lock away; what it ended stays ended',
      who: 'caller',
      audit: { event: 'lock.ended' },
      consumes: 'json',
      body: unlockInput,
      responses: {
        200: { description: 'The lock, ended', schema: lock },
        403: failed('Not allowed, or under it'),
        404: NOT_FOUND,
        409: failed('Tasks under it are still being ended'),
      },
      handle: async ({ caller, body }) =>
        ok(encodeLock(await flows.locks.unlock(caller, body.what, body.about, body.reason))),
    }),
  ]
}
