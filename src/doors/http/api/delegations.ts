/**
 * Delegations: people let agents and workloads act for them.
 *
 * @module
 */
import * as z from 'zod'
import { cursor, flag, given, limit, ref } from '../../../wire/bounds.ts'
import {
  decodeDelegation,
  delegation,
  delegationInput,
  delegationPage,
  encodeDelegation,
  encodeNarrowing,
  narrowing,
  revocation,
} from '../../../wire/v1/index.ts'
import type { Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { NOT_FOUND, byId, failed, pageOf } from './shared.ts'

export function delegationRoutes({ flows }: Door): Route[] {
  const tag = 'Delegations'
  return [
    route({
      method: 'POST',
      path: '/v1/delegations',
      tag,
      summary: 'Let an agent or a workload act for you, for a time and within bounds',
      who: 'person',
      audit: { event: 'delegation.made' },
      consumes: 'json',
      body: delegationInput,
      responses: {
        201: { description: 'Name its id as `context.delegation`', schema: delegation },
        403: failed('Not allowed'),
        404: failed('Nobody has registered the actor'),
      },
      handle: async ({ caller, body }) => {
        const made = await flows.delegations.make(caller, decodeDelegation(body))
        return {
          status: 201,
          body: encodeDelegation(made),
          headers: { location: `/v1/delegations/${made.id}` },
        }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/delegations',
      tag,
      summary: 'Delegations that the caller gives or has, all for who may read',
      who: 'caller',
      audit: READS,
      query: z.strictObject({
        subject: ref.exactOptional(),
        live: flag.exactOptional(),
        cursor: cursor.exactOptional(),
        limit: limit.exactOptional(),
      }),
      responses: { 200: { description: 'A page', schema: delegationPage } },
      handle: async ({ caller, query }) => {
        const { cursor: after, ...rest } = query
        const found = await flows.delegations.list(caller, { ...rest, ...given('after', after) })
        return ok(pageOf(found, encodeDelegation))
      },
    }),
    route({
      method: 'GET',
      path: '/v1/delegations/:id',
      tag,
      summary: 'A delegation',
      who: 'caller',
      audit: READS,
      params: byId,
      responses: { 200: { description: 'As it is now', schema: delegation }, 404: NOT_FOUND },
      handle: async ({ caller, params }) =>
        ok(encodeDelegation(await flows.delegations.show(caller, params.id))),
    }),
    route({
      method: 'POST',
      path: '/v1/delegations/:id/revoke',
      tag,
      summary: 'Take a delegation back with everything under it',
      who: 'caller',
      audit: { event: 'delegation.revoked' },
      consumes: 'json',
      params: byId,
      body: revocation,
      responses: { 200: { description: 'Denied at once', schema: narrowing }, 404: NOT_FOUND },
      handle: async ({ caller, params, body }) =>
        ok(encodeNarrowing(await flows.delegations.revoke(caller, params.id, body.reason))),
    }),
  ]
}
