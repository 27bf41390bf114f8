/**
 * Health, readiness, and the description of this API.
 *
 * @module
 */
import { health, readiness } from '../../../wire/v1/index.ts'
import type { Door, Route } from '../route.ts'
import { ok, route } from '../route.ts'
import { failed, mayRead } from './shared.ts'

export function healthRoutes(door: Door, openapi: () => unknown): Route[] {
  const tag = 'Health'
  const { flows, version } = door
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
        // what is wrong names credentials and targets of everybody
        return ok((await mayRead(flows, caller)) ? { status, version, problems } : { status, version })
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
