/**
 * Who a transmitter speaks of: only subjects that were configured as its own (B53).
 *
 * @module
 */
import { personOf } from '../../identity/accounts.ts'
import type { EntityRef } from '../../model/entity.ts'
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
  if (id.format === 'iss_sub') {
    const linked = accounts.find(({ iss }) => iss === id.iss)
    if (linked === undefined) return undefined
    return personOf(new Picture(store), { issuer: linked.issuer, id: id.sub })
  }
  return id.format === 'opaque' && template !== undefined ? fromTemplate(template, id.id) : undefined
}
