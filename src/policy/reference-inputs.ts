/**
 * What is asked, in Cedar's JSON for the reference, with everything that is unknown or dropped: what `inputs.ts` does for
 * the engine, written a second time, and keeping nothing.
 *
 * @module
 */
import type { CedarValueJson, EntityJson } from '@cedar-policy/cedar-wasm/nodejs'
import type { Json } from '../model/canonical.ts'
import type { ReferenceRequest } from './reference-cedar.ts'
import type { Unknown } from './reads.ts'
import type { ActionType, EntityType, Schema } from './schema.ts'
import { reservedKeys } from './schema.ts'
import type { Lineage } from './scope.ts'
import { lineageOf } from './scope.ts'
import type { EntityData, EntityUid, Query } from './types.ts'
import { sameUid, uidText } from './types.ts'
import type { Findings } from './typing.ts'
import { isName, refuseReferences, typeFields, typeValue, UNKNOWN } from './typing.ts'

export type ReferencePrepared = Readonly<{
  action: ActionType
  lineage: Lineage
  request: ReferenceRequest
  unknowns: readonly Unknown[]
  dropped: readonly string[]
}>

/** Sensitivity of what nobody registered. */
const HIGHEST = 4

type TypedEntity = Readonly<{ json: EntityJson; unknown: readonly (readonly string[])[] }>

export class ReferenceInputs {
  readonly #schema: Schema
  readonly #pools: readonly string[]

  constructor(schema: Schema, pools: readonly string[]) {
    this.#schema = schema
    this.#pools = pools
  }

  #index(heads: readonly EntityUid[], entities: readonly EntityData[]): Map<string, EntityData> {
    const index = new Map<string, EntityData>()
    for (const entity of entities) {
      const key = uidText(entity.uid)
      if (!index.has(key)) index.set(key, entity)
    }
    for (const uid of heads) {
      const key = uidText(uid)
      if (!index.has(key)) index.set(key, { uid, attrs: {}, parents: [] })
    }
    return index
  }

  /** @throws {WritError} `ERR_INPUT_INVALID` for keys that Cedar would read as references. */
  prepare(query: Query, action: ActionType): ReferencePrepared {
    refuseReferences(query.context)
    refuseReferences(query.live)
    const unknowns: Unknown[] = []
    const dropped: string[] = []
    const types = this.#schema.entityTypes

    const entities: EntityJson[] = [this.#actionEntity(action)]
    const index = this.#index([query.principal, query.resource], query.entities)
    for (const entity of index.values()) {
      const type = types.get(entity.uid.type)
      // Types that the schema does not know cannot be named by any policy.
      if (type === undefined || !isName(entity.uid)) continue
      const { json, unknown } = this.#entity(entity, type)
      entities.push(json)
      for (const path of unknown) {
        const principal = sameUid(entity.uid, query.principal)
        const resource = sameUid(entity.uid, query.resource)
        const root = principal ? 'principal' : resource ? 'resource' : uidText(entity.uid)
        unknowns.push({ kind: 'entity', principal, resource, path, label: [root, ...path].join('.') })
      }
    }

    const found: Findings = { unknown: [], dropped }
    const sent = Object.fromEntries(
      Object.entries(query.context).filter(([key]) => {
        if (reservedKeys.has(key)) dropped.push(key)
        return !reservedKeys.has(key)
      }),
    )
    const context = typeFields(sent, action.context, types, [], found)
    for (const path of found.unknown) unknowns.push({ kind: 'context', path })

    const live = this.#live(query, unknowns)
    const { justification, reauth } = query.proof
    const approvals = Object.fromEntries(
      this.#pools.map((pool) => [pool, count(query.proof.approvals, pool)]),
    )
    return {
      action,
      lineage: lineageOf(index),
      request: {
        principal: query.principal,
        action: query.action,
        resource: query.resource,
        context: { ...context, live, proof: { approvals, justification, reauth } },
        entities,
      },
      unknowns,
      dropped,
    }
  }

  #live(query: Query, unknowns: Unknown[]): Record<string, CedarValueJson> {
    const live: Record<string, CedarValueJson> = {}
    for (const [name, field] of this.#schema.facts) {
      const value: Json | undefined = Object.hasOwn(query.live, name) ? query.live[name] : undefined
      if (query.unknown.has(name)) {
        unknowns.push({ kind: 'fact', name })
      } else if (value === undefined) {
        if (field.required) unknowns.push({ kind: 'fact', name })
      } else {
        // Parts that do not fit make the whole fact unknown: a source that errs in one thing is not half trusted.
        const found: Findings = { unknown: [], dropped: [] }
        const typed = typeValue(value, field.type, this.#schema.entityTypes, found)
        if (typed === UNKNOWN || found.unknown.length > 0) unknowns.push({ kind: 'fact', name })
        else live[name] = typed
      }
    }
    return live
  }

  #entity(entity: EntityData, type: EntityType): TypedEntity {
    refuseReferences(entity.attrs)
    const found: Findings = { unknown: [], dropped: [] }
    const attrs = Object.hasOwn(entity.attrs, 'sensitivity')
      ? entity.attrs
      : { ...entity.attrs, sensitivity: HIGHEST }
    const json: EntityJson = {
      uid: { type: entity.uid.type, id: entity.uid.id },
      attrs: typeFields(attrs, type.fields, this.#schema.entityTypes, [], found),
      parents: entity.parents.filter(isName).map(({ type: parent, id }) => ({ type: parent, id })),
    }
    return { json, unknown: found.unknown }
  }

  #actionEntity(action: ActionType): EntityJson {
    const key = uidText(action.uid)
    const parents = [...action.self].flatMap((name) =>
      name === key ? [] : (this.#schema.actions.get(name)?.uid ?? []),
    )
    return { uid: { ...action.uid }, attrs: {}, parents: parents.map((uid) => ({ ...uid })) }
  }
}

/** Counts are required and zero by default; what is no count counts nothing. */
function count(approvals: Readonly<Record<string, number>>, pool: string): number {
  const value = Object.hasOwn(approvals, pool) ? approvals[pool] : undefined
  return value !== undefined && Number.isSafeInteger(value) && value > 0 ? value : 0
}
