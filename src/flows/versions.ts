/**
 * Policy sets out of the store: every published version is kept, and loads again whatever has happened to the inventory.
 *
 * @module
 */
import type { PolicyVersion } from '../model/access.ts'
import { WritError, isWritError } from '../model/errors.ts'
import { isTypeName } from '../model/name.ts'
import { cedarEntity } from '../identity/inventory.ts'
import type { Entity } from '../model/entity.ts'
import type { EntityData, PolicySet, PolicySource } from '../policy/index.ts'
import { loadPolicySet, renderProblem } from '../policy/index.ts'
import { hex, sha256 } from '../store/hash.ts'
import type { Store } from '../store/port.ts'

/** The inventory as a schema is derived from it: the lines in force, and those that were deleted. */
export type Lines = Readonly<{ live: readonly EntityData[]; deleted: readonly EntityData[] }>

export function linesOf(entities: Iterable<Entity>): Lines {
  const live: EntityData[] = []
  const deleted: EntityData[] = []
  for (const entity of entities) {
    // a line that Cedar cannot name can have no authority, and must not keep the others from loading
    if (isTypeName(entity.type)) (entity.deletedAt === undefined ? live : deleted).push(cedarEntity(entity))
  }
  return { live, deleted }
}

/** Every line of the inventory by its key, deleted ones too. */
export async function everything(store: Pick<Store, 'list'>): Promise<Map<string, Entity>> {
  const all = new Map<string, Entity>()
  let after: string | undefined
  do {
    const page = await store.list('entity', { limit: 1_000, ...(after === undefined ? {} : { after }) })
    for (const { id, value } of page.items) all.set(id, value)
    after = page.next
  } while (after !== undefined)
  return all
}

/** The loaded set. @throws {WritError} `ERR_POLICY_INVALID` with every problem. */
export function setOf(loaded: ReturnType<typeof loadPolicySet>): PolicySet {
  if (loaded.ok) return loaded.set
  const [first, ...more] = loaded.problems
  const place =
    first === undefined || first.file === '' ? '' : `${first.file}:${first.line}:${first.column}: `
  const others = more.length === 0 ? '' : ` (and ${more.length} more)`
  throw new WritError('ERR_POLICY_INVALID', `${place}${first?.message ?? 'the set does not load'}${others}`, {
    hint: loaded.problems.map(renderProblem).join('\n\n'),
  })
}

const load = (source: PolicySource, inventory: readonly EntityData[]): PolicySet =>
  setOf(loadPolicySet(source, { hash: (text) => hex(sha256(text)), inventory }))

/**
 * Loads what was valid once. Deleting the last entity of a type must neither stop the server from starting nor the
 * inventory from changing: what a derived schema then lacks comes from the lines that were deleted. At once: for a start,
 * when nobody waits for anything else.
 */
export function loadAgain(source: PolicySource, { live, deleted }: Lines): PolicySet {
  try {
    return load(source, live)
  } catch (error) {
    if (!isWritError(error, 'ERR_POLICY_INVALID') || deleted.length === 0) throw error
    try {
      return load(source, [...live, ...deleted])
    } catch {
      throw error // what is wrong with the inventory of now is what somebody can mend
    }
  }
}

export const sourceOf = (version: PolicyVersion): PolicySource => ({
  policies: version.policies,
  ...(version.schema === undefined ? {} : { schema: version.schema }),
})
