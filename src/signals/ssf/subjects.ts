/**
 * Who a transmitter speaks of: only subjects that were configured as its own (B53).
 *
 * @module
 */
import { personOf } from '../../identity/accounts.ts'
import type { EntityRef } from '../../model/entity.ts'
import { sameRef } from '../../model/entity.ts'
import type { SubjectId, SubjectRules } from '../../model/signal.ts'
import { fromTemplate, subjectKey } from '../../model/signal.ts'
import { Picture } from '../../store/picture.ts'
import type { Store } from '../../store/port.ts'

/** The subject that `id` is among those of the transmitter; `undefined` for everybody else. */
export async function subjectOf(
  store: Store,
  { accounts = [], map, template }: SubjectRules,
  id: SubjectId,
): Promise<EntityRef | undefined> {
  const key = subjectKey(id)
  if (Object.hasOwn(map, key)) return map[key]
  if (id.format === 'email') return ofAddress(map, key)
  if (id.format === 'iss_sub') {
    const linked = accounts.find(({ iss }) => iss === id.iss)
    if (linked === undefined) return undefined
    return personOf(new Picture(store), { issuer: linked.issuer, id: id.sub })
  }
  return id.format === 'opaque' && template !== undefined ? fromTemplate(template, id.id) : undefined
}

/** Addresses are one, however their letters are written (RFC 9493 §3.2.2.1), unless two people are told apart by that. */
function ofAddress(map: SubjectRules['map'], address: string): EntityRef | undefined {
  const plain = (text: string): string => text.replace(/[A-Z]/gu, (letter) => letter.toLowerCase())
  const wanted = plain(address)
  const [found, ...others] = Object.entries(map).flatMap(([key, ref]) => (plain(key) === wanted ? [ref] : []))
  return found !== undefined && others.every((other) => sameRef(found, other)) ? found : undefined
}
