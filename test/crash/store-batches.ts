/**
 * What the killed process writes: every kind of write of the commit path at least once, and after each batch records
 * from which one can tell which batches are there.
 *
 * @module
 */
import type { Credential } from '../../src/model/credential.ts'
import { hex, sha256 } from '../../src/store/hash.ts'
import type { Item, Transaction } from '../../src/store/port.ts'
import { TEST_START } from '../support/store.ts'

function credential(id: string, state: Credential['state']): Credential {
  return { id, state, grant: 'g', target: 't', planned: {}, plannedAt: 0, endsAt: 1, tries: 0 }
}

function item(run: (tx: Transaction) => void, narrowing = false): Item<void> {
  return { reads: [], narrowing, run }
}

const put = (id: string, state: Credential['state'], narrowing = false): Item<void> =>
  item((tx) => {
    tx.put('credential', id, credential(id, state))
    // what has no UTF-8 form is kept beside the entry
    tx.append({ kind: `credential.${state}`, refs: [id], ...(state === 'planned' ? { why: '\ud800' } : {}) })
  }, narrowing)

const remove = (id: string): Item<void> =>
  item((tx) => {
    tx.delete('credential', id)
    tx.append({ kind: 'credential.deleted', refs: [id] })
  })

/** Entries that were there before: the next few complete a subtree, which is written with them. */
export const FILLED = 252
/** What is pruned when all batches are written. */
export const PRUNED = [0, 1] as const

const prune = item((tx) =>
  tx.append({
    kind: 'log.pruned',
    refs: [],
    from: 0,
    to: 2,
    count: 2,
    before: TEST_START + 1,
    times: `sha256:${hex(sha256(JSON.stringify([TEST_START, TEST_START])))}`,
  }),
)

export const batches: readonly (readonly Item<void>[])[] = [
  [put('a', 'planned'), put('b', 'live')],
  [put('a', 'live'), remove('b'), put('c', 'planned')],
  [put('a', 'absent', true), prune],
]

/** The records after each number of batches, as `id:state`. */
export const recordsAfter: readonly (readonly string[])[] = [
  [],
  ['a:planned', 'b:live'],
  ['a:live', 'c:planned'],
  ['a:absent', 'c:planned'],
]

/** The size of the log after each number of batches. */
export const sizeAfter: readonly number[] = [0, 2, 5, 7].map((size) => FILLED + size)
