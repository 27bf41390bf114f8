/**
 * What the killed process writes: every kind of write of the commit path at least once, and after each batch records
 * from which one can tell which batches are there.
 *
 * @module
 */
import type { Credential } from '../../src/model/credential.ts'
import type { Item, Transaction } from '../../src/store/port.ts'

function credential(id: string, state: Credential['state']): Credential {
  return { id, state, grant: 'g', target: 't', planned: {}, plannedAt: 0, endsAt: 1, tries: 0 }
}

function item(run: (tx: Transaction) => void, narrowing = false): Item<void> {
  return { reads: [], narrowing, run }
}

const put = (id: string, state: Credential['state'], narrowing = false): Item<void> =>
  item((tx) => {
    tx.put('credential', id, credential(id, state))
    tx.append({ kind: `credential.${state}`, refs: [id] })
  }, narrowing)

const remove = (id: string): Item<void> =>
  item((tx) => {
    tx.delete('credential', id)
    tx.append({ kind: 'credential.deleted', refs: [id] })
  })

export const batches: readonly (readonly Item<void>[])[] = [
  [put('a', 'planned'), put('b', 'live')],
  [put('a', 'live'), remove('b'), put('c', 'planned')],
  [put('a', 'absent', true)],
]

/** The records after each number of batches, as `id:state`. */
export const recordsAfter: readonly (readonly string[])[] = [
  [],
  ['a:planned', 'b:live'],
  ['a:live', 'c:planned'],
  ['a:absent', 'c:planned'],
]

/** The size of the log after each number of batches. */
export const sizeAfter: readonly number[] = [0, 2, 5, 6]
