/**
 * What was done downstream: reported by those who did it, observed by collectors.
 *
 * @module
 */
import * as z from 'zod'
import { id, index, limit, ref } from '../../../wire/bounds.ts'
import {
  actionBatch,
  actionPage,
  decodeActions,
  encodeAction,
  encodeFlag,
  flag,
  flagResolution,
  reportedActions,
} from '../../../wire/v1/index.ts'
import type { Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { CONFLICT, NOT_FOUND, byId, failed, pageOf } from './shared.ts'

export function actionRoutes({ flows }: Door): Route[] {
  const tag = 'Downstream actions'
  return [
    route({
      method: 'POST',
      path: '/v1/actions',
      tag,
      summary: 'Report what was done under a grant, credential or task; recorded before the answer',
      who: 'caller',
      audit: { event: 'action.reported' },
      consumes: 'json',
      large: true,
      body: actionBatch,
      responses: {
        201: { description: 'All of it is on the record', schema: reportedActions },
        403: failed('The caller may not say what a target saw'),
        404: NOT_FOUND,
        409: CONFLICT,
      },
      handle: async ({ caller, body, charge }) => {
        charge(body.items.length - 1)
        return { status: 201, body: { items: await flows.reportActions(caller, decodeActions(body)) } }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/actions',
      heavy: true,
      tag,
      summary: 'What was done under a grant, credential or task, or by a subject; newest first',
      who: 'caller',
      audit: READS,
      query: z.strictObject({
        grant: id.exactOptional(),
        credential: id.exactOptional(),
        task: id.exactOptional(),
        subject: ref.exactOptional(),
        before: index.exactOptional(),
        limit: limit.exactOptional(),
      }),
      responses: {
        200: { description: 'A page; `next_cursor` is the next `before`', schema: actionPage },
        404: NOT_FOUND,
      },
      handle: async ({ caller, query }) => ok(pageOf(await flows.actions(caller, query), encodeAction)),
    }),
    route({
      method: 'POST',
      path: '/v1/actions/flags/:id/resolve',
      tag,
      summary:
        'Say why something was done that no grant covers; it is a problem no more until it happens again',
      who: 'caller',
      audit: { event: 'action.resolved' },
      consumes: 'json',
      params: byId,
      body: flagResolution,
      responses: {
        200: { description: 'Resolved', schema: flag },
        403: failed('Not allowed'),
        404: NOT_FOUND,
      },
      handle: async ({ caller, params, body }) =>
        ok(encodeFlag(await flows.resolveFlag(caller, params.id, body.reason))),
    }),
  ]
}
