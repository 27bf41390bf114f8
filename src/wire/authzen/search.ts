/**
 * AuthZEN Authorization API 1.0, search (§8): who may, on what, and which action. The entity that is searched for is
 * named by its type alone; results are bare entities.
 *
 * @module
 */
import * as z from 'zod'
import type { EntityRef } from '../../model/entity.ts'
import { entityType, given, properties } from '../bounds.ts'
import { action, resource, subject } from './tuple.ts'

/** Most results of one page, also when more are asked for. */
export const RESULTS_MOST = 1_000

/** Most characters of a page token that comes back. */
const TOKEN_MOST = 8_192

/** The side that is searched for: an id beside the type is ignored, as the standard demands. */
const open = z.object({ type: entityType, properties: properties.exactOptional() })

export const pageRequest = z
  .object({
    token: z
      .string()
      .max(TOKEN_MOST)
      .exactOptional()
      .meta({ description: '`next_token` of the page before' }),
    limit: z
      .int()
      .min(0)
      .exactOptional()
      .meta({ description: `Most results of this page; at most ${RESULTS_MOST} are given` }),
    properties: z.record(z.string(), z.unknown()).exactOptional().meta({ description: 'Ignored' }),
  })
  .meta({ id: 'PageRequest' })

const common = { context: properties.exactOptional(), page: pageRequest.exactOptional() }

export const subjectSearch = z
  .object({ subject: open.meta({ id: 'SubjectType' }), action, resource, ...common })
  .meta({ id: 'SubjectSearchRequest' })

export const resourceSearch = z
  .object({ subject, action, resource: open.meta({ id: 'ResourceType' }), ...common })
  .meta({ id: 'ResourceSearchRequest' })

/** An `action` that is sent is ignored. */
export const actionSearch = z.object({ subject, resource, ...common }).meta({ id: 'ActionSearchRequest' })

export type SubjectSearch = z.input<typeof subjectSearch>
export type ResourceSearch = z.input<typeof resourceSearch>
export type ActionSearch = z.input<typeof actionSearch>

const pageResponse = z
  .object({ next_token: z.string().meta({ description: 'Empty when there are no more results' }) })
  .meta({ id: 'PageResponse' })

const answer = <T extends z.ZodType>(result: T, id: string) =>
  z.object({ page: pageResponse.exactOptional(), results: z.array(result) }).meta({ id })

const entity = z.object({ type: z.string(), id: z.string() })

export const entitySearchResponse = answer(entity, 'EntitySearchResponse')
export const actionSearchResponse = answer(z.object({ name: z.string() }), 'ActionSearchResponse')

/** What was found: entities, or names of actions, and where to go on. */
export type Found<T> = Readonly<{ results: readonly T[]; next: string | undefined }>

/**
 * The answer: `page` first, and only for who asked for pages or has more to come, since answers are compared whole.
 */
function encode<T, R>(
  { results, next }: Found<T>,
  paged: boolean,
  one: (result: T) => R,
): { page?: { next_token: string }; results: R[] } {
  const page = paged || next !== undefined ? { next_token: next ?? '' } : undefined
  return { ...given('page', page), results: results.map(one) }
}

export const encodeEntities = (
  found: Found<EntityRef>,
  paged: boolean,
): z.infer<typeof entitySearchResponse> => encode(found, paged, ({ type, id }) => ({ type, id }))

export const encodeActions = (found: Found<string>, paged: boolean): z.infer<typeof actionSearchResponse> =>
  encode(found, paged, (name) => ({ name }))
