/**
 * The inventory: subjects, resources, groups, roles.
 *
 * @module
 */
import * as z from 'zod'
import { cursor, entityType, given, id, limit } from '../../../wire/bounds.ts'
import { decodeEntity, encodeEntity, entityList, entityPage, inventoryInput } from '../../../wire/v1/index.ts'
import type { Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'
import { NOT_FOUND, failed, pageOf } from './shared.ts'

export function inventoryRoutes({ flows }: Door): Route[] {
  const tag = 'Inventory'
  return [
    route({
      method: 'GET',
      path: '/v1/inventory',
      tag,
      summary: 'Subjects, resources, groups and roles',
      who: 'caller',
      audit: READS,
      query: z.strictObject({
        type: entityType.exactOptional(),
        cursor: cursor.exactOptional(),
        limit: limit.exactOptional(),
      }),
      responses: { 200: { description: 'A page', schema: entityPage } },
      handle: async ({ caller, query }) => {
        const { cursor: after, ...rest } = query
        return ok(pageOf(await flows.inventory(caller, { ...rest, ...given('after', after) }), encodeEntity))
      },
    }),
    route({
      method: 'PUT',
      path: '/v1/inventory',
      tag,
      summary: 'Add or replace entities, all or none',
      who: 'caller',
      audit: { event: 'inventory.put' },
      consumes: 'json',
      large: true,
      heavy: true,
      body: inventoryInput,
      responses: {
        200: { description: 'As they stand now', schema: entityList },
        403: failed('Not allowed'),
      },
      handle: async ({ caller, body }) => {
        const entities = await flows.putEntities(caller, body.entities.map(decodeEntity))
        return ok({ items: entities.map(encodeEntity) })
      },
    }),
    route({
      method: 'DELETE',
      path: '/v1/inventory/:type/:id',
      tag,
      summary: 'Delete an entity; one made again under the same name inherits nothing',
      who: 'caller',
      audit: { event: 'inventory.deleted' },
      params: z.strictObject({ type: entityType, id }),
      responses: {
        204: { description: 'Deleted' },
        403: failed('Not allowed'),
        404: NOT_FOUND,
        409: failed('A group that still has members'),
      },
      handle: async ({ caller, params }) => {
        await flows.deleteEntity(caller, params)
        return { status: 204 }
      },
    }),
  ]
}
