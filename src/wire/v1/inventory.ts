/**
 * The inventory on the wire: subjects, resources, groups and roles.
 *
 * @module
 */
import * as z from 'zod'
import type { Entity, EntityInput, Sensitivity, SubjectKind } from '../../model/entity.ts'
import { sensitivityNames } from '../../model/entity.ts'
import {
  LIST_MOST,
  displayName,
  encodeInstant,
  encodeRef,
  entityType,
  given,
  id,
  instant,
  instantOut,
  jsonOut,
  page,
  properties,
  ref,
  refOut,
} from '../bounds.ts'

const kinds = ['human', 'workload', 'agent', 'group', 'resource'] as const satisfies readonly SubjectKind[]

/** Most parents of one entity. */
export const PARENTS_MOST = 64

export const entityInput = z
  .strictObject({
    type: entityType,
    id,
    kind: z.enum(kinds).exactOptional(),
    name: displayName.exactOptional(),
    owner: ref.nullable().exactOptional().meta({ description: 'The person who owns it; `null` for nobody' }),
    team: ref
      .nullable()
      .exactOptional()
      .meta({ description: 'A group whose members own it together; `null` for none' }),
    third_party: z
      .boolean()
      .nullable()
      .exactOptional()
      .meta({ description: "Somebody else's, e.g. a vendor's; policies read it as `third_party`" }),
    environment: displayName
      .nullable()
      .exactOptional()
      .meta({ description: 'Where it belongs, e.g. `production`; policies read it as `environment`' }),
    sensitivity: z.enum(sensitivityNames).exactOptional(),
    parents: z.array(ref).max(PARENTS_MOST).exactOptional(),
    attrs: properties.exactOptional(),
    ends_at: instant
      .nullable()
      .exactOptional()
      .meta({ description: 'After this instant the subject has no authority; `null` for never' }),
  })
  .meta({ id: 'EntityInput' })

export const inventoryInput = z
  .strictObject({ entities: z.array(entityInput).min(1).max(LIST_MOST) })
  .meta({ id: 'InventoryInput' })

export type EntityInputWire = z.input<typeof entityInput>
export type InventoryInput = z.input<typeof inventoryInput>

export function decodeEntity(parsed: z.output<typeof entityInput>): EntityInput {
  const { sensitivity, ends_at, third_party, ...rest } = parsed
  return {
    ...rest,
    ...given('endsAt', ends_at),
    ...given('thirdParty', third_party),
    ...(sensitivity === undefined
      ? {}
      : { sensitivity: (sensitivityNames.indexOf(sensitivity) + 1) as Sensitivity }),
  }
}

export const entity = z
  .object({
    type: z.string(),
    id: z.string(),
    kind: z.enum(kinds),
    name: z.string().exactOptional(),
    owner: refOut.exactOptional(),
    team: refOut.exactOptional(),
    third_party: z.boolean().exactOptional(),
    environment: z.string().exactOptional(),
    sensitivity: z.enum(sensitivityNames),
    parents: z.array(refOut),
    attrs: z.record(z.string(), jsonOut),
    generation: z.int(),
    ends_at: instantOut.exactOptional(),
    locked: z
      .object({ reason: z.string(), at: instantOut, until: instantOut.exactOptional() })
      .exactOptional(),
  })
  .meta({ id: 'Entity' })

export type WireEntity = z.infer<typeof entity>

export const entityPage = page(entity).meta({ id: 'EntityPage' })
export const entityList = z.object({ items: z.array(entity) }).meta({ id: 'EntityList' })

export function encodeEntity(value: Entity): WireEntity {
  return {
    type: value.type,
    id: value.id,
    kind: value.kind,
    ...given('name', value.name),
    ...(value.owner === undefined ? {} : { owner: encodeRef(value.owner) }),
    ...(value.team === undefined ? {} : { team: encodeRef(value.team) }),
    ...given('third_party', value.thirdParty),
    ...given('environment', value.environment),
    sensitivity: sensitivityNames[value.sensitivity - 1] ?? 'critical',
    parents: value.parents.map(encodeRef),
    attrs: { ...value.attrs },
    generation: value.generation,
    ...(value.endsAt === undefined ? {} : { ends_at: encodeInstant(value.endsAt) }),
    ...(value.locked === undefined
      ? {}
      : {
          locked: {
            reason: value.locked.reason,
            at: encodeInstant(value.locked.at),
            ...(value.locked.until === undefined ? {} : { until: encodeInstant(value.locked.until) }),
          },
        }),
  }
}
