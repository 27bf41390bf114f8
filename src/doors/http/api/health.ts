/**
 * Health, readiness, and the description of this API.
 *
 * @module
 */
import type { Caller } from '../../../model/access.ts'
import { isWritError } from '../../../model/errors.ts'
import { health, readiness } from '../../../wire/v1/index.ts'
import type { Door, Route } from '../route.ts'
import { ok, route } from '../route.ts'
import { failed } from './shared.ts'

export function healthRoutes(door: Door, openapi: () => unknown): Route[] {
  const tag = 'Health'
  const { flows, version } = door
  /** What is wrong names credentials and targets of everybody. */
  const mayRead = async (caller: Caller): Promise<boolean> => {
    try {
      await flows.entries(caller, 0, 0)
      return true
    } catch (error) {
      if (isWritError(error, 'ERR_FORBIDDEN')) return false
      throw error
    }
  }
  return [
    route({
      method: 'GET',
      path: '/healthz',
      tag,
      summary: 'The process answers',
      who: 'public',
      audit: { none: 'says nothing about anyone' },
      responses: { 200: { description: 'It does', schema: health } },
      handle: async () => ok({ status: 'ok', version }),
    }),
    route({
      method: 'GET',
      path: '/readyz',
      tag,
      summary: 'The store answers; who may read the log also learns what is wrong',
      who: 'public',
      audit: { none: 'says nothing about anyone' },
      responses: {
        200: { description: 'It can decide', schema: readiness },
        503: failed('It cannot'),
      },
      handle: async ({ request }) => {
        await flows.head()
        const problems = await flows.problems()
        const status = problems.length === 0 ? 'ok' : 'degraded'
        if (request.headers.authorization === undefined) return ok({ status, version })
        const caller = await door.callers.authenticate({ authorization: request.headers.authorization })
        return ok((await mayRead(caller)) ? { status, version, problems } : { status, version })
      },
    }),
    route({
      method: 'GET',
      path: '/openapi.json',
      tag,
      summary: 'This description',
      who: 'public',
      audit: { none: 'constant' },
      responses: { 200: { description: 'OpenAPI 3.1' } },
      handle: async () => ok(openapi()),
    }),
  ]
}
