/**
 * What is asked, taken through the schema: values for the engine, and everything that is unknown or dropped.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'
import { isWritError, WritError } from '../model/errors.ts'
import type { Env } from './engine/closures.ts'
import type { Entities, EntityNode, OpenNode } from './engine/store.ts'
import { close, newNode } from './engine/store.ts'
import type { Value } from './engine/values.ts'
import { CedarRecord, EntityRef } from './engine/values.ts'
import type { Unknown } from './reads.ts'
import type { ActionType, EntityType, Field, Schema } from './schema.ts'
import { reservedKeys } from './schema.ts'
import type { EntityData, EntityUid, Head, Proof, Query } from './types.ts'
import { uidText } from './types.ts'
import type { Findings } from './typing.ts'
import { fieldsIn, inEngine, isName, refuseReferences, UNKNOWN, valueIn } from './typing.ts'

/** An attempt that the schema has a place for: what heads are matched with. */
export type Placed = Readonly<{
  action: ActionType
  /** With no context. */
  env: Env
  /** Why no policy can be evaluated over these entities, e.g. a cycle in the hierarchy. */
  broken: string | undefined
}>

/** A query typed once. */
export type Prepared = Placed &
  Readonly<{
    unknowns: readonly Unknown[]
    dropped: readonly string[]
    /** The environment to evaluate in, given this evidence. */
    with(proof: Proof): Env
  }>

/** Sensitivity of what nobody registered. */
const HIGHEST = 4

const EMPTY = new CedarRecord(new Map())

type Paths = readonly (readonly string[])[]

/** An entity by the schema, wherever it stands. */
type Typed = Readonly<{ ref: EntityRef; attrs: CedarRecord; unknown: Paths; parents: readonly EntityRef[] }>

/** Entities of one list, each with everything it is in. */
type World = Readonly<{
  length: number
  byType: ReadonlyMap<string, ReadonlyMap<string, EntityNode>>
  /** Those of which some attribute is unknown. */
  partly: readonly Readonly<{ node: EntityNode; unknown: Paths }>[]
  broken: string | undefined
}>

type KnownAction = Readonly<{ type: ActionType; node: EntityNode }>

/**
 * Takes queries through one schema. What was made of an entity, and of a list of them, is kept for as long as they live.
 */
export class Inputs {
  readonly #schema: Schema
  readonly #pools: readonly string[]
  readonly #facts: readonly (readonly [string, Field])[]
  readonly #actions = new Map<string, Map<string, KnownAction>>()
  readonly #typed = new WeakMap<EntityData, Typed>()
  readonly #worlds = new WeakMap<readonly EntityData[], World>()
  readonly #bare = new Map<string, Readonly<{ attrs: CedarRecord; unknown: Paths }>>()

  /** @param facts those that any policy reads: others are not looked at; all, if not given */
  constructor(schema: Schema, pools: readonly string[], facts?: ReadonlySet<string>) {
    this.#schema = schema
    this.#pools = pools
    this.#facts = [...schema.facts].filter(([name]) => facts?.has(name) ?? true)
    for (const type of schema.actions.values()) {
      const { uid, self } = type
      const ref = new EntityRef(uid.type, uid.id)
      const node = newNode(ref, EMPTY, EMPTY, [])
      for (const name of self) {
        const above = schema.actions.get(name)?.uid
        if (above !== undefined && above !== uid) node.ancestors.add(new EntityRef(above.type, above.id).key)
      }
      const known = this.#actions.get(uid.type) ?? new Map<string, KnownAction>()
      this.#actions.set(uid.type, known.set(uid.id, { type, node }))
    }
  }

  /** Why the schema has no place for such an attempt; `undefined` if it has. */
  mismatch({ principal, action, resource }: Head): string | undefined {
    if (!principal.id.isWellFormed() || !action.id.isWellFormed() || !resource.id.isWellFormed()) {
      throw new WritError('ERR_INPUT_INVALID', 'an id is not well-formed text', { hint: 'send UTF-8' })
    }
    const known = this.action(action)
    if (known === undefined) return `action \`${uidText(action)}\` is not declared`
    return (
      this.#misfit(principal, known.principals, 'principal', action) ??
      this.#misfit(resource, known.resources, 'resource', action)
    )
  }

  #misfit(uid: EntityUid, types: ReadonlySet<string>, role: string, action: EntityUid): string | undefined {
    const type = this.#schema.entityTypes.get(uid.type)
    if (type === undefined) return `entity type \`${uid.type}\` is not declared`
    if (!types.has(uid.type)) return `\`${uid.type}\` cannot be the ${role} of \`${uidText(action)}\``
    if (type.ids !== undefined && !type.ids.has(uid.id)) return `\`${uidText(uid)}\` is not one of its type`
    return undefined
  }

  action(uid: EntityUid): ActionType | undefined {
    return this.#known(uid)?.type
  }

  #known({ type, id }: EntityUid): KnownAction | undefined {
    return this.#actions.get(type)?.get(id)
  }

  /** For a head that fits the schema. */
  place(head: Head, entities: readonly EntityData[]): Placed {
    return this.#place(head, this.#world(entities))
  }

  #place({ principal, action, resource }: Head, world: World): Placed {
    const { type, node } = this.#known(action) as KnownAction
    const principalNode = find(world, principal) ?? this.#bareNode(principal)
    const resourceNode =
      find(world, resource) ??
      (principal.type === resource.type && principal.id === resource.id
        ? principalNode
        : this.#bareNode(resource))
    return {
      action: type,
      broken: world.broken,
      env: {
        principal: principalNode.ref,
        action: node.ref,
        resource: resourceNode.ref,
        principalNode,
        actionNode: node,
        resourceNode,
        context: EMPTY,
        store: new Around(world, [node, principalNode, resourceNode]),
      },
    }
  }

  /**
   * For a query that fits the schema.
   *
   * @throws {WritError} `ERR_INPUT_INVALID` for keys that Cedar would read as references.
   */
  prepare(query: Omit<Query, 'proof'>): Prepared {
    refuseReferences(query.context)
    refuseReferences(query.live)
    const world = this.#world(query.entities)
    const placed = this.#place(query, world)
    const unknowns: Unknown[] = []
    const dropped: string[] = []
    this.#unknownAttributes(placed.env, world, unknowns)
    const found: Findings = { unknown: [], dropped }
    const fields = fieldsIn<Value>(
      inEngine,
      withoutReserved(query.context, dropped),
      placed.action.context,
      this.#schema.entityTypes,
      [],
      found,
    )
    for (const path of found.unknown) unknowns.push({ kind: 'context', path })
    fields.set('live', this.#live(query, unknowns))
    return {
      ...placed,
      unknowns,
      dropped,
      with: (proof) => ({
        ...placed.env,
        context: new CedarRecord(new Map(fields).set('proof', this.#proof(proof))),
      }),
    }
  }

  #proof({ approvals, justification, reauth }: Proof): CedarRecord {
    const counts = new Map<string, Value>()
    for (const pool of this.#pools) counts.set(pool, count(approvals, pool))
    return new CedarRecord(
      new Map<string, Value>([
        ['approvals', new CedarRecord(counts)],
        ['justification', justification],
        ['reauth', reauth],
      ]),
    )
  }

  #live(query: Omit<Query, 'proof'>, unknowns: Unknown[]): CedarRecord {
    const live = new Map<string, Value>()
    for (const [name, field] of this.#facts) {
      const value: Json | undefined = Object.hasOwn(query.live, name) ? query.live[name] : undefined
      if (query.unknown.has(name)) {
        unknowns.push({ kind: 'fact', name })
      } else if (value === undefined) {
        if (field.required) unknowns.push({ kind: 'fact', name })
      } else {
        // Parts that do not fit make the whole fact unknown: a source that errs in one thing is not half trusted.
        const found: Findings = { unknown: [], dropped: [] }
        const typed = valueIn<Value>(inEngine, value, field.type, this.#schema.entityTypes, [], name, found)
        if (typed === UNKNOWN || found.unknown.length > 0) unknowns.push({ kind: 'fact', name })
        else live.set(name, typed)
      }
    }
    return new CedarRecord(live)
  }

  #unknownAttributes({ principalNode, resourceNode }: Env, world: World, unknowns: Unknown[]): void {
    const add = (node: EntityNode, path: readonly string[]): void => {
      const [principal, resource] = [node === principalNode, node === resourceNode]
      const root = principal ? 'principal' : resource ? 'resource' : uidText(node.ref)
      unknowns.push({ kind: 'entity', principal, resource, path, label: [root, ...path].join('.') })
    }
    for (const { node, unknown } of world.partly) for (const path of unknown) add(node, path)
    for (const node of new Set([principalNode, resourceNode])) {
      if (node === undefined || find(world, node.ref) !== undefined) continue
      for (const path of this.#bareAttributes(node.ref.type)?.unknown ?? []) add(node, path)
    }
  }

  #world(entities: readonly EntityData[]): World {
    const known = this.#worlds.get(entities)
    // a list that somebody went on filling is another list
    if (known !== undefined && known.length === entities.length) return known
    const world = this.#makeWorld(entities)
    this.#worlds.set(entities, world)
    return world
  }

  #makeWorld(entities: readonly EntityData[]): World {
    const byType = new Map<string, Map<string, OpenNode>>()
    const nodes = new Map<string, OpenNode>()
    const partly: { node: EntityNode; unknown: Paths }[] = []
    for (const entity of entities) {
      const { uid } = entity
      const type = this.#schema.entityTypes.get(uid.type)
      // Types that the schema does not know cannot be named by any policy.
      if (type === undefined || !isName(uid)) continue
      let ofType = byType.get(uid.type)
      if (ofType === undefined) byType.set(uid.type, (ofType = new Map<string, OpenNode>()))
      if (ofType.has(uid.id)) continue
      const { ref, attrs, unknown, parents } = this.#entity(entity, type)
      const node = newNode(ref, attrs, EMPTY, parents)
      ofType.set(uid.id, node)
      nodes.set(ref.key, node)
      if (unknown.length > 0) partly.push({ node, unknown })
    }
    return { length: entities.length, byType, partly, broken: closed(nodes) }
  }

  #entity(entity: EntityData, type: EntityType): Typed {
    const before = this.#typed.get(entity)
    if (before !== undefined) return before
    refuseReferences(entity.attrs)
    const found: Findings = { unknown: [], dropped: [] }
    const attrs = Object.hasOwn(entity.attrs, 'sensitivity')
      ? entity.attrs
      : { ...entity.attrs, sensitivity: HIGHEST }
    const typed = {
      ref: new EntityRef(entity.uid.type, entity.uid.id),
      attrs: new CedarRecord(
        fieldsIn<Value>(inEngine, attrs, type.fields, this.#schema.entityTypes, [], found),
      ),
      unknown: found.unknown,
      parents: entity.parents.filter(isName).map(({ type: parent, id }) => new EntityRef(parent, id)),
    }
    this.#typed.set(entity, typed)
    return typed
  }

  /** What is known of an entity that nobody registered. */
  #bareAttributes(name: string): Readonly<{ attrs: CedarRecord; unknown: Paths }> | undefined {
    const before = this.#bare.get(name)
    const type = this.#schema.entityTypes.get(name)
    if (before !== undefined || type === undefined) return before
    const found: Findings = { unknown: [], dropped: [] }
    const fields = fieldsIn<Value>(
      inEngine,
      { sensitivity: HIGHEST },
      type.fields,
      this.#schema.entityTypes,
      [],
      found,
    )
    const bare = { attrs: new CedarRecord(fields), unknown: found.unknown }
    this.#bare.set(name, bare)
    return bare
  }

  #bareNode({ type, id }: EntityUid): EntityNode {
    return newNode(new EntityRef(type, id), this.#bareAttributes(type)?.attrs ?? EMPTY, EMPTY, [])
  }
}

/** The entities of a world, and those that an attempt brings along. */
class Around implements Entities {
  readonly #world: World
  readonly #own: readonly EntityNode[]

  constructor(world: World, own: readonly EntityNode[]) {
    this.#world = world
    this.#own = own
  }

  find(type: string, id: string): EntityNode | undefined {
    const known = this.#world.byType.get(type)?.get(id)
    if (known !== undefined) return known
    for (const node of this.#own) if (node.ref.id === id && node.ref.type === type) return node
    return undefined
  }
}

function find({ byType }: World, { type, id }: EntityUid): EntityNode | undefined {
  return byType.get(type)?.get(id)
}

/** Closes all over their ancestors; says why it could not, as it then does as well as it can. */
function closed(nodes: ReadonlyMap<string, OpenNode>): string | undefined {
  try {
    close(nodes)
    return undefined
  } catch (error) {
    if (!isWritError(error, 'ERR_INPUT_INVALID')) throw error
    for (const node of nodes.values()) {
      node.ancestors.clear()
      for (const { key } of node.parents) node.ancestors.add(key)
      for (const key of node.ancestors) {
        if (node.ancestors.size > MOST_ABOVE) break
        for (const parent of nodes.get(key)?.parents ?? []) node.ancestors.add(parent.key)
      }
      node.ancestors.delete(node.key)
    }
    return error.message
  }
}

/** Ancestors that are told of an entity in a hierarchy that is broken anyway. */
const MOST_ABOVE = 1_000

function withoutReserved(
  context: Readonly<Record<string, Json>>,
  dropped: string[],
): Readonly<Record<string, Json>> {
  let sent: Record<string, Json> | undefined
  for (const key of reservedKeys) {
    if (!Object.hasOwn(context, key)) continue
    sent ??= { ...context }
    delete sent[key]
  }
  if (sent === undefined) return context
  for (const key of Object.keys(context)) if (reservedKeys.has(key)) dropped.push(key)
  return sent
}

/** Counts are required and zero by default; what is no count counts nothing. */
function count(approvals: Readonly<Record<string, number>>, pool: string): number {
  const value = Object.hasOwn(approvals, pool) ? approvals[pool] : undefined
  return value !== undefined && Number.isSafeInteger(value) && value > 0 ? value : 0
}
