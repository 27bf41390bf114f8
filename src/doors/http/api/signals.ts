/**
 * Streams of signals as operators see them; what the other side may do with its own is in `ssf.ts`.
 *
 * @module
 */
import { encodeSignalStream, redelivered, redelivery, signalStreams } from '../../../wire/v1/index.ts'
import type { Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { NOT_FOUND, failed } from './shared.ts'

export function signalRoutes({ flows }: Door): Route[] {
  const tag = 'Shared signals'
  return [
    route({
      method: 'GET',
      path: '/v1/signals',
      tag,
      summary: 'Transmitters that are listened to and listeners that are told, with what is wrong',
      who: 'caller',
      audit: READS,
      responses: { 200: { description: 'All of them', schema: signalStreams }, 403: failed('Not allowed') },
      handle: async ({ caller }) =>
        ok({ items: (await flows.signals.streams(caller)).map(encodeSignalStream) }),
    }),
    route({
      method: 'POST',
      path: '/v1/signals/redeliver',
      tag,
      summary: 'Send what a listener refused once more, under the same ids',
      who: 'caller',
      audit: { event: 'signal.redelivered' },
      consumes: 'json',
      body: redelivery,
      responses: {
        200: { description: 'They wait for it again', schema: redelivered },
        403: failed('Not allowed'),
        404: NOT_FOUND,
      },
      handle: async ({ caller, body }) =>
        ok({ listener: body.listener, again: await flows.signals.redeliver(caller, body.listener) }),
    }),
  ]
}
