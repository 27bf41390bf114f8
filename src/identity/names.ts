/**
 * One name for one subject: who could be taken for somebody else is not registered (B7).
 *
 * @module
 */
import type { Entity } from '../model/entity.ts'
import { WritError } from '../model/errors.ts'
import { lookOf } from '../model/name.ts'

/** Resources are often files and the like, of which two may differ in case alone; subjects never do. */
const isSubject = (entity: Entity | undefined): entity is Entity =>
  entity !== undefined && entity.deletedAt === undefined && entity.kind !== 'resource'

/**
 * Judged over the inventory as it will be, for what changes.
 *
 * @throws {WritError} `ERR_CONFLICT` naming the one that it looks like.
 */
export function checkNames(all: ReadonlyMap<string, Entity>, changed: readonly string[]): void {
  const subjects = changed.map((key) => all.get(key)).filter(isSubject)
  if (subjects.length === 0) return
  const types = new Set(subjects.map(({ type }) => type))
  const looks = new Map<string, string>()
  const wanted = new Set(changed)
  for (const pass of [false, true]) {
    for (const [key, entity] of all) {
      if (wanted.has(key) !== pass || !types.has(entity.type) || !isSubject(entity)) continue
      const look = `${entity.type}/${lookOf(entity.id)}`
      const other = looks.get(look)
      if (pass && other !== undefined) {
        throw new WritError('ERR_CONFLICT', `\`${key}\` would be taken for \`${other}\``, {
          hint: 'names of subjects differ in more than case or script: choose another',
        })
      }
      looks.set(look, key)
    }
  }
}
