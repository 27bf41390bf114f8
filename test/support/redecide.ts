/**
 * The property over a whole log: whatever was decided is decided again from the log alone, and gives the same.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { History, policySource } from '../../src/flows/history.ts'
import type { Reference } from '../../src/policy/index.ts'
import { referenceSet } from '../../src/policy/index.ts'
import { hex, sha256 } from '../../src/store/hash.ts'
import type { Store } from '../../src/store/port.ts'

/** Loading one takes longer than asking it, and runs share them. */
const references = new Map<string, Reference>()

export type Redone = Readonly<{ decisions: number; evaluated: number; pruned: number }>

/**
 * Decides every decision of the log again with reference Cedar.
 *
 * @throws {AssertionError} naming the first that gives something else, or cannot be rebuilt although nothing was pruned.
 */
export async function redecideAll(store: Pick<Store, 'log' | 'read'>): Promise<Redone> {
  const history = new History({ store })
  const { size } = await store.log.head()
  let decisions = 0
  let evaluated = 0
  let pruned = 0
  await history.walk(0, size, async (found, rebuild) => {
    if ('pruned' in found) {
      pruned += 1
      return
    }
    if (found.entry['kind'] !== 'decision') return
    decisions += 1
    const id = found.entry['id'] as string
    const rebuilt = await rebuild()
    if (!rebuilt.ok) {
      assert.ok(rebuilt.cause === 'pruned' && pruned > 0, `${id} cannot be rebuilt: ${rebuilt.why}`)
      return
    }
    const { policy } = rebuilt
    if (policy === undefined) return
    const key = `${policy.version}\n${policy.schema}`
    const hash = (text: string): string => hex(sha256(text))
    const reference =
      references.get(key) ?? referenceSet(policySource(policy), policy.schemaText, policy.version, hash)
    references.set(key, reference)
    const again = await history.again(rebuilt, reference)
    assert.ok(again.same, `${id} decided again by the reference: ${again.why ?? ''}`)
    if (again.evaluated) evaluated += 1
  })
  return { decisions, evaluated, pruned }
}
