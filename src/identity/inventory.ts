/**
 * The inventory: who and what is registered, with owners, parents and sensitivity.
 *
 * @module
 */
import type { Json } from '../model/canonical.ts'
import type { Entity, EntityInput, EntityRef } from '../model/entity.ts'
import { defaultKind, parseRef, refKey } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import type { Instant } from '../model/time.ts'
import type { Picture } from '../store/picture.ts'

/** Parents are followed this far; a deeper hierarchy is refused when it is written. */
export const MAX_DEPTH = 16

/** Most ancestors one entity may have in all. */
export const MAX_ANCESTORS = 256

/** An entity as Cedar sees it. */
export type CedarEntity = Readonly<{
  uid: EntityRef
  attrs: Readonly<Record<string, Json>>
  parents: readonly EntityRef[]
}>

/** The live line of `ref`, or nothing when it is unregistered or deleted. */
export function registered(picture: Picture, ref: EntityRef): Entity | undefined {
  const entity = picture.get('entity', refKey(ref))?.value
  return entity === undefined || entity.deletedAt !== undefined ? undefined : entity
}

/** Whom those of `refs` belong to at once: what policy is given beside them. They are in the picture. */
export function directOwners(picture: Picture, refs: readonly EntityRef[]): readonly EntityRef[] {
  return refs.flatMap((ref) => {
    const entity = registered(picture, ref)
    return [entity?.owner, entity?.team].filter((owner) => owner !== undefined)
  })
}

/**
 * Whom those of `refs` belong to that are registered, people and teams, along owner after owner as far as the picture
 * reaches (`loadOwners`): who acts by an agent of an agent acts too. What a group belongs to is not its members'.
 */
export function ownersIn(picture: Picture, refs: readonly EntityRef[]): readonly EntityRef[] {
  const found = new Map<string, EntityRef>()
  let next = refs
  while (next.length > 0) {
    const owners = directOwners(
      picture,
      next.filter(
        (ref) =>
          picture.has('entity', refKey(ref)) &&
          (refs.includes(ref) || registered(picture, ref)?.kind !== 'group'),
      ),
    )
    next = owners.filter((owner) => !found.has(refKey(owner)))
    for (const owner of next) found.set(refKey(owner), owner)
  }
  return [...found.values()]
}

/**
 * Loads all owners of `refs`, which are in the picture, and their ancestors.
 *
 * @throws {WritError} `ERR_TOO_LARGE` beyond the bounds.
 */
export async function loadOwners(picture: Picture, refs: readonly EntityRef[]): Promise<void> {
  for (let depth = 0; ; depth += 1) {
    const missing = ownersIn(picture, refs).filter((owner) => !picture.has('entity', refKey(owner)))
    if (missing.length === 0) return
    if (depth > MAX_DEPTH)
      throw new WritError('ERR_TOO_LARGE', 'there are too many owners of owners to be followed', {
        hint: `keep what belongs to others to ${MAX_DEPTH} levels`,
      })
    await loadClosure(picture, missing)
  }
}

/** `ref` and what it lies below; they are in the picture. */
export function upwards(picture: Picture, ref: EntityRef): readonly EntityRef[] {
  const found = new Map<string, EntityRef>()
  const climb = (one: EntityRef): void => {
    const key = refKey(one)
    if (found.has(key) || !picture.has('entity', key)) return
    found.set(key, one)
    registered(picture, one)?.parents.forEach(climb)
  }
  climb(ref)
  return [...found.values()]
}

/** Whether somebody else's has part: one that is marked so, or belongs to one that is. `loadOwners` of them first. */
export const hasThirdParty = (picture: Picture, chain: readonly EntityRef[]): boolean =>
  [...chain, ...ownersIn(picture, chain)].some(
    (ref) => picture.has('entity', refKey(ref)) && registered(picture, ref)?.thirdParty === true,
  )

/**
 * Loads `refs` and all their ancestors into the picture; cycles end by themselves.
 *
 * @throws {WritError} `ERR_TOO_LARGE` beyond the bounds: a hierarchy that is cut off would hide what a policy forbids.
 */
export async function loadClosure(picture: Picture, refs: readonly EntityRef[]): Promise<void> {
  const loaded = new Set<string>()
  let next = [...new Set(refs.map(refKey))]
  const most = next.length * (1 + MAX_ANCESTORS)
  for (let depth = 0; next.length > 0; depth += 1) {
    if (depth > MAX_DEPTH || loaded.size + next.length > most) {
      throw new WritError(
        'ERR_TOO_LARGE',
        'the hierarchy of the inventory is too deep or too wide to be followed',
        {
          hint: `keep entities to ${MAX_DEPTH} levels and ${MAX_ANCESTORS} ancestors`,
        },
      )
    }
    await picture.load(next.map((id) => ({ kind: 'entity' as const, id })))
    for (const id of next) loaded.add(id)
    const parents = next.flatMap((id) => (picture.get('entity', id)?.value.parents ?? []).map(refKey))
    next = [...new Set(parents)].filter((id) => !loaded.has(id))
  }
}

/**
 * Parents form no cycle and stay within bounds, judged over the inventory as it will be, for what changes and for
 * everything below it.
 *
 * @throws {WritError} `ERR_INPUT_INVALID` for a cycle, `ERR_TOO_LARGE` beyond the bounds.
 */
export function checkHierarchy(all: ReadonlyMap<string, Entity>, changed: readonly string[]): void {
  const children = new Map<string, string[]>()
  for (const [key, entity] of all) {
    for (const parent of entity.parents) {
      const listed = children.get(refKey(parent))
      if (listed === undefined) children.set(refKey(parent), [key])
      else listed.push(key)
    }
  }
  const affected = new Set(changed)
  for (const key of affected) for (const child of children.get(key) ?? []) affected.add(child)
  for (const key of affected) {
    const above = new Set<string>()
    let next = [key]
    for (let depth = 0; next.length > 0; depth += 1) {
      const parents = new Set(next.flatMap((id) => (all.get(id)?.parents ?? []).map(refKey)))
      if (parents.has(key)) throw new WritError('ERR_INPUT_INVALID', `\`${key}\` would be its own ancestor`)
      next = [...parents].filter((id) => !above.has(id))
      for (const id of next) above.add(id)
      if (above.size > MAX_ANCESTORS || (next.length > 0 && depth >= MAX_DEPTH)) {
        throw new WritError(
          'ERR_TOO_LARGE',
          `\`${key}\` has more than ${MAX_DEPTH} levels or ${MAX_ANCESTORS} ancestors`,
        )
      }
    }
  }
}

/**
 * The line that `input` makes, of `existing` where there is one. What is left out stays as it was: an owner must not
 * vanish, and with it who may not approve, by not being named. `now` is when one that was deleted is made again.
 */
export function toEntity(input: EntityInput, existing?: Entity, now?: Instant): Entity {
  const kept = existing?.deletedAt === undefined ? existing : undefined
  const name = input.name ?? kept?.name
  const owner = input.owner === undefined ? kept?.owner : input.owner
  const team = input.team === undefined ? kept?.team : input.team
  const endsAt = input.endsAt === undefined ? kept?.endsAt : input.endsAt
  const thirdParty = input.thirdParty === undefined ? kept?.thirdParty : input.thirdParty
  const environment = input.environment === undefined ? kept?.environment : input.environment
  return {
    type: input.type,
    id: input.id,
    kind: input.kind ?? existing?.kind ?? defaultKind(input.type),
    ...(name === undefined ? {} : { name }),
    ...(owner === undefined || owner === null ? {} : { owner: { type: owner.type, id: owner.id } }),
    ...(team === undefined || team === null ? {} : { team: { type: team.type, id: team.id } }),
    ...(thirdParty === undefined || thirdParty === null ? {} : { thirdParty }),
    ...(environment === undefined || environment === null ? {} : { environment }),
    // what nobody has judged is critical
    sensitivity: input.sensitivity ?? kept?.sensitivity ?? 4,
    parents: (input.parents ?? kept?.parents ?? []).map((p) => ({ type: p.type, id: p.id })),
    attrs: input.attrs ?? kept?.attrs ?? {},
    generation: existing?.generation ?? 0,
    ...remade(existing, now),
    ...(endsAt === undefined || endsAt === null ? {} : { endsAt }),
    ...(kept?.locked === undefined ? {} : { locked: kept.locked }),
  }
}

/** Since when there is an entity of this name again; nothing for one that was never deleted. */
export function remade(existing: Entity | undefined, now?: Instant): Readonly<{ remadeAt?: Instant }> {
  const at = existing?.deletedAt === undefined ? existing?.remadeAt : (now ?? existing.deletedAt)
  return at === undefined ? {} : { remadeAt: at }
}

/**
 * Whether what was proved at `issuedAt` may have been proved of an earlier one of this name: a proof that does not say when
 * it was made may (B34).
 */
export function isOfEarlier(entity: Entity | undefined, issuedAt: Instant | undefined): boolean {
  return entity?.remadeAt !== undefined && !(issuedAt !== undefined && issuedAt >= entity.remadeAt)
}

/** `refs` and their registered ancestors, as Cedar entities. Call `loadClosure` first. */
export function cedarEntities(picture: Picture, refs: readonly EntityRef[]): readonly CedarEntity[] {
  const found = new Map<string, CedarEntity>()
  const visit = (ref: EntityRef): void => {
    const id = refKey(ref)
    if (found.has(id) || !picture.has('entity', id)) return
    const entity = registered(picture, ref)
    if (entity === undefined) return
    found.set(id, cedarEntity(entity))
    entity.parents.forEach(visit)
  }
  refs.forEach(visit)
  return [...found.values()]
}

const asCedar = new WeakMap<Entity, CedarEntity>()

/** The same object for the same record, so that what is computed for it is computed once. */
export function cedarEntity(entity: Entity): CedarEntity {
  const before = asCedar.get(entity)
  if (before !== undefined) return before
  const made = {
    uid: { type: entity.type, id: entity.id },
    attrs: {
      ...entity.attrs,
      sensitivity: entity.sensitivity,
      ...(entity.owner === undefined ? {} : { owner: { type: entity.owner.type, id: entity.owner.id } }),
      ...(entity.team === undefined ? {} : { team: { type: entity.team.type, id: entity.team.id } }),
      ...(entity.thirdParty === undefined ? {} : { third_party: entity.thirdParty }),
      ...(entity.environment === undefined ? {} : { environment: entity.environment }),
    },
    parents: entity.parents,
  }
  asCedar.set(entity, made)
  return made
}

export function refOf(key: string): EntityRef {
  const ref = parseRef(key)
  if (ref === undefined) throw new TypeError(`\`${key}\` is no reference`)
  return ref
}
