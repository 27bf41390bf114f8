import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { compareIds, mergeIds } from './order.ts'

const id = fc.string({
  unit: fc.constantFrom('a', 'b', '/', '\ud83d\ude00', '\uffff', '\ue000', '\ud7ff', 'é'),
  maxLength: 4,
})

test('ids are ordered as their UTF-8 bytes are', () => {
  fc.assert(
    fc.property(id, id, (a, b) => {
      assert.equal(Math.sign(compareIds(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)))
    }),
  )
})

test('changes merge into a sorted list as into a set', () => {
  fc.assert(
    fc.property(fc.uniqueArray(id), fc.array(fc.tuple(id, fc.boolean())), (start, changes) => {
      const ids = start.toSorted(compareIds)
      const expected = new Set(ids)
      const latest = new Map(changes)
      for (const [changed, listed] of latest) {
        if (listed) expected.add(changed)
        else expected.delete(changed)
      }
      assert.deepEqual(mergeIds(ids, latest), [...expected].sort(compareIds))
    }),
  )
})
