/**
 * Entities, parsed once and closed over their ancestors.
 *
 * @module
 */
import { members, readRecord, readUid, refuse } from './json.ts'
import type { CedarRecord, EntityRef } from './values.ts'
import { equal } from './values.ts'

/** One entity with everything it is in; `ancestors` holds keys. */
export type EntityNode = Readonly<{
  ref: EntityRef
  key: string
  attrs: CedarRecord
  tags: CedarRecord
  parents: readonly EntityRef[]
  ancestors: ReadonlySet<string>
}>

type Mutable = { -readonly [K in keyof EntityNode]: EntityNode[K] } & { ancestors: Set<string> }

/** Entities by name. Immutable; made by `prepareEntities`. */
export class EntityStore {
  readonly #byType: ReadonlyMap<string, ReadonlyMap<string, EntityNode>>
  readonly size: number

  constructor(nodes: Iterable<EntityNode>) {
    const byType = new Map<string, Map<string, EntityNode>>()
    let size = 0
    for (const node of nodes) {
      const { type, id } = node.ref
      let known = byType.get(type)
      if (known === undefined) byType.set(type, (known = new Map()))
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
 * Cedar's JSON for entities, as a store that any number of decisions may use.
 *
 * @throws {WritError} `ERR_INPUT_INVALID` for what the reference refuses: two entities of one name that differ, a cycle,
 *   an action below something else; and for integers that are not exact.
 */
export function prepareEntities(json: readonly unknown[], actions: readonly EntityNode[] = []): EntityStore {
  if (!Array.isArray(json)) throw refuse('entities must be a list')
  const nodes = new Map<string, Mutable>()
  for (const action of actions) nodes.set(action.key, { ...action, ancestors: new Set() })
  for (const entity of json) addEntity(nodes, entity)
  close(nodes)
  return new EntityStore(nodes.values())
}

const isActionType = (type: string): boolean => type === 'Action' || type.endsWith('::Action')

function addEntity(nodes: Map<string, Mutable>, json: unknown): void {
  const entity = members(json, 'an entity')
  const ref = readUid(entity['uid'])
  const name = `\`${ref.type}::${JSON.stringify(ref.id)}\``
  if (!Array.isArray(entity['parents'])) throw refuse(`${name} lacks its \`parents\``, 'give a list')
  const parents = entity['parents'].map(readUid)
  if (isActionType(ref.type) && parents.some(({ type }) => !isActionType(type))) {
    throw refuse(`the action ${name} has a parent that is no action`)
  }
  const node: Mutable = {
    ref,
    key: ref.key,
    attrs: readRecord(entity['attrs'], `the attributes of ${name}`),
    tags: readRecord(entity['tags'] ?? {}, `the tags of ${name}`),
    parents,
    ancestors: new Set(),
  }
  const before = nodes.get(node.key)
  if (before !== undefined && !isSame(before, node)) throw refuse(`${name} is given twice, and differs`)
  nodes.set(node.key, node)
}

function isSame(a: EntityNode, b: EntityNode): boolean {
  const names = (parents: readonly EntityRef[]): string =>
    [...new Set(parents.map(({ key }) => key))].sort().join()
  return equal(a.attrs, b.attrs) && equal(a.tags, b.tags) && names(a.parents) === names(b.parents)
}

/** Ancestors of all, each entity after its parents; without recursion, since a hierarchy may be a long line. */
function close(nodes: ReadonlyMap<string, Mutable>): void {
  const done = new Set<Mutable>()
  const open = new Set<Mutable>()
  for (const start of nodes.values()) {
    const stack: Mutable[] = [start]
    while (stack.length > 0) {
      const node = stack.at(-1) as Mutable
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
          throw refuse(`the parents of \`${parent.ref.type}::${JSON.stringify(parent.ref.id)}\` form a cycle`)
        }
        stack.push(parent)
      }
      if (stack.length > before) continue
      stack.pop()
      for (const { key } of node.parents) {
        node.ancestors.add(key)
        for (const above of nodes.get(key)?.ancestors ?? []) node.ancestors.add(above)
      }
      done.add(node)
      open.delete(node)
    }
  }
}
