/**
 * How the witnesses of the log stand to it.
 *
 * @module
 */
import { encodeLogWitnesses, logWitnesses } from '../../../wire/v1/index.ts'
import type { Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { failed } from './shared.ts'

export function witnessRoutes({ flows }: Door): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/log/witnesses',
      tag: 'Log',
      summary: 'Who cosigns the heads of the log, and how far they did',
      who: 'caller',
      audit: READS,
      responses: { 200: { description: 'The witnesses', schema: logWitnesses }, 403: failed('Not allowed') },
      handle: async ({ caller }) => {
        await flows.entries(caller, 0, 0) // for those who may read the log
        return ok(encodeLogWitnesses(flows.witnesses.states()))
      },
    }),
  ]
}
