/**
 * Entities, parsed once and closed over their ancestors.
 *
 * @module
 */
import { members, readRecord, readUid, refuse } from './json.ts'
import type { EntityType, Schema } from './schema.ts'
import type { EntityRef } from './values.ts'
import { CedarRecord, equal } from './values.ts'

/** One entity with everything it is in; `ancestors` holds keys. */
export type EntityNode = Readonly<{
  ref: EntityRef
  key: string
  attrs: CedarRecord
  tags: CedarRecord
  parents: readonly EntityRef[]
  ancestors: ReadonlySet<string>
}>

/** Where entities are looked up while a policy is evaluated. */
export interface Entities {
  find(type: string, id: string): EntityNode | undefined
}

export type OpenNode = { -readonly [K in keyof EntityNode]: EntityNode[K] } & { ancestors: Set<string> }

/** Entities by name. Immutable; made by `prepareEntities`. */
export class EntityStore implements Entities {
  readonly #byType: ReadonlyMap<string, ReadonlyMap<string, EntityNode>>
  readonly size: number
  /** The schema that the entities were read by. */
  readonly schema: Schema | undefined

  constructor(nodes: Iterable<EntityNode>, schema: Schema | undefined) {
    this.schema = schema
    const byType = new Map<string, Map<string, EntityNode>>()
    let size = 0
    for (const node of nodes) {
      const { type, id } = node.ref
      let known = byType.get(type)
      if (known === undefined) byType.set(type, (known = new Map<string, EntityNode>()))
      known.set(id, node)
      size += 1
    }
    this.#byType = byType
    this.size = size
  }

  find(type: string, id: string): EntityNode | undefined {
    return this.#byType.get(type)?.get(id)
  }
}

/**
 * Cedar's JSON for entities, as a store that any number of decisions may use. With a schema, its actions are in it.
 *
 * @throws {WritError} `ERR_INPUT_INVALID` for what the reference refuses: two entities of one name that differ, a cycle,
 *   an action below something else, what does not conform to the schema; and for integers that are not exact.
 */
export function prepareEntities(json: readonly unknown[], schema?: Schema): EntityStore {
  if (!Array.isArray(json)) throw refuse('entities must be a list')
  const nodes = new Map<string, OpenNode>()
  for (const entity of json) addEntity(nodes, readEntity(entity, schema))
  if (schema !== undefined) addActions(nodes, schema)
  close(nodes)
  if (schema !== undefined) for (const node of nodes.values()) checkAncestors(node, schema)
  return new EntityStore(nodes.values(), schema)
}

const EMPTY = new CedarRecord(new Map())

export function newNode(
  ref: EntityRef,
  attrs: CedarRecord,
  tags: CedarRecord,
  parents: readonly EntityRef[],
): OpenNode {
  return { ref, key: ref.key, attrs, tags, parents, ancestors: new Set() }
}

const isActionType = (type: string): boolean => type === 'Action' || type.endsWith('::Action')

const nameOf = ({ type, id }: EntityRef): string => `\`${type}::${JSON.stringify(id)}\``

function readEntity(json: unknown, schema: Schema | undefined): OpenNode {
  const { uid, attrs, parents: above, tags = {} } = members(json, 'an entity')
  const ref = readUid(uid)
  const name = nameOf(ref)
  if (!Array.isArray(above)) throw refuse(`${name} lacks its \`parents\``, 'give a list')
  const parents = above.map(readUid)
  if (isActionType(ref.type)) {
    const other = parents.find(({ type }) => !isActionType(type))
    if (other !== undefined) throw refuse(`the action ${name} is in ${nameOf(other)}, which is no action`)
  }
  const [ofAttrs, ofTags] = [`the attributes of ${name}`, `the tags of ${name}`]
  if (schema === undefined) return newNode(ref, readRecord(attrs, ofAttrs), readRecord(tags, ofTags), parents)
  if (schema.actions.has(ref.key))
    return newNode(ref, readRecord(attrs, ofAttrs), readRecord(tags, ofTags), parents)
  const type = schema.entityTypes.get(ref.type)
  if (type === undefined) throw refuse(`${name} has a type that is not declared`)
  schema.checkId(ref)
  return newNode(
    ref,
    schema.record(attrs, type.fields, ofAttrs),
    readTags(tags, type, ofTags, schema),
    parents,
  )
}

function readTags(json: unknown, { tags: type }: EntityType, what: string, schema: Schema): CedarRecord {
  const entries = Object.entries(members(json, what)).filter(([, value]) => value !== undefined)
  if (entries.length === 0) return EMPTY
  if (type === undefined) throw refuse(`${what}: its type has none`)
  return new CedarRecord(new Map(entries.map(([name, value]) => [name, schema.value(value, type, what, 1)])))
}

function addEntity(nodes: Map<string, OpenNode>, node: OpenNode): void {
  const before = nodes.get(node.key)
  if (before !== undefined && !isSame(before, node))
    throw refuse(`${nameOf(node.ref)} is given twice, and differs`)
  nodes.set(node.key, node)
}

/** The actions of the schema; one that is given too must be the same. */
function addActions(nodes: Map<string, OpenNode>, schema: Schema): void {
  const declared = new Map<string, OpenNode>()
  for (const { ref, parents } of schema.actions.values())
    declared.set(ref.key, newNode(ref, EMPTY, EMPTY, parents))
  close(declared)
  for (const [key, action] of declared) {
    const given = nodes.get(key)
    if (given === undefined) {
      nodes.set(key, { ...action, ancestors: new Set() })
      continue
    }
    // the reference takes the parents that are given for all that it is in
    const above = new Set(given.parents.map((parent) => parent.key))
    const isSameAbove =
      above.size === action.ancestors.size && [...above].every((one) => action.ancestors.has(one))
    if (!isSameAbove || given.attrs.fields.size > 0 || given.tags.fields.size > 0) {
      throw refuse(`${nameOf(given.ref)} is not as the schema declares it`)
    }
  }
}

function checkAncestors({ ref, parents }: EntityNode, schema: Schema): void {
  const type = schema.entityTypes.get(ref.type)
  if (type === undefined) return
  for (const parent of parents) {
    if (!type.above.has(parent.type)) throw refuse(`${nameOf(ref)} cannot be in ${nameOf(parent)}`)
    schema.checkId(parent)
  }
}

function isSame(a: EntityNode, b: EntityNode): boolean {
  const names = (parents: readonly EntityRef[]): string =>
    [...new Set(parents.map(({ key }) => key))].sort().join()
  return equal(a.attrs, b.attrs) && equal(a.tags, b.tags) && names(a.parents) === names(b.parents)
}

/** Ancestors of all entities together: a line of some thousands has millions. */
const MOST_ANCESTORS = 5_000_000

/**
 * Ancestors of all, each entity after its parents; without recursion, since a hierarchy may be a long line.
 *
 * @throws {WritError} `ERR_INPUT_INVALID` for a cycle, and for too large a hierarchy.
 */
export function close(nodes: ReadonlyMap<string, OpenNode>): void {
  let total = 0
  const done = new Set<OpenNode>()
  const open = new Set<OpenNode>()
  for (const start of nodes.values()) {
    const stack: OpenNode[] = [start]
    while (stack.length > 0) {
      const node = stack.at(-1) as OpenNode
      if (done.has(node)) {
        stack.pop()
        continue
      }
      const isFirst = !open.has(node)
      open.add(node)
      const before = stack.length
      for (const { key } of isFirst ? node.parents : []) {
        const parent = nodes.get(key)
        if (parent === undefined || done.has(parent)) continue
        if (open.has(parent)) {
          throw refuse(`the parents of ${nameOf(parent.ref)} form a cycle`)
        }
        stack.push(parent)
      }
      if (stack.length > before) continue
      stack.pop()
      for (const { key } of node.parents) {
        node.ancestors.add(key)
        for (const above of nodes.get(key)?.ancestors ?? []) node.ancestors.add(above)
      }
      total += node.ancestors.size
      if (total > MOST_ANCESTORS) throw refuse('the hierarchy of entities is too large', 'make it flatter')
      done.add(node)
      open.delete(node)
    }
  }
}
