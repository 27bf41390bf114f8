/**
 * The proof of why: one file that verifies without this server.
 *
 * @module
 */
import { proofBundle } from '../../../wire/v1/proofs.ts'
import type { Door, Route } from '../route.ts'
import { READS, route } from '../route.ts'
import { NOT_FOUND, byId, failed } from './shared.ts'

export function proofRoutes({ flows }: Door): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/log/proofs/:id',
      heavy: true,
      tag: 'Log',
      summary: 'The proof of why, of a decision, grant, credential, task or access request',
      who: 'caller',
      audit: READS,
      params: byId,
      responses: {
        200: { description: 'The file, to be kept byte for byte', schema: proofBundle },
        403: failed('Not allowed'),
        404: NOT_FOUND,
      },
      handle: async ({ caller, params }) => ({
        status: 200,
        body: await flows.prove(caller, params.id),
        type: 'application/json; charset=utf-8',
        headers: {
          'content-disposition': `attachment; filename="${params.id.replaceAll(/[^\w-]/gu, '_')}.json"`,
        },
      }),
    }),
  ]
}
