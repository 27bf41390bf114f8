/**
 * Where ticket and incident systems tell by themselves what has changed.
 *
 * @module
 */
import * as z from 'zod'
import type { Door, Route } from '../route.ts'
import { route } from '../route.ts'
import { failed } from './shared.ts'

export function webhookRoutes({ flows }: Pick<Door, 'flows'>): Route[] {
  return [
    route({
      method: 'POST',
      path: '/webhooks/:source',
      tag: 'Facts',
      summary:
        'A webhook of a configured ticket or incident system; what it tells is in effect before this answers',
      who: 'client',
      audit: { event: 'fact.observed' },
      consumes: 'raw',
      large: true,
      params: z.strictObject({ source: z.string().max(64) }),
      body: z
        .custom<Uint8Array>((body) => body instanceof Uint8Array)
        .meta({ schema: z.unknown().meta({ description: 'As the system sends it, signed' }) }),
      responses: {
        204: { description: 'Taken, known already, or about nothing that its source answers for' },
        400: failed('It is theirs and cannot be read, is too old, or of a time to come'),
        401: failed('Not signed as it must be'),
        404: failed('No webhooks are configured under this name'),
        429: failed('Too many'),
      },
      handle: async ({ params, body, request }) => {
        await flows.webhooks.receive(params.source, { headers: request.headers, body })
        return { status: 204 }
      },
    }),
  ]
}
