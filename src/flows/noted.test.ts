import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SECOND } from '../model/time.ts'
import { Noted } from './noted.ts'

test('of many refusals at once some are recorded, and the next one says how many were not', () => {
  const noted = new Noted()
  const taken = (now: number, times: number): readonly (number | undefined)[] =>
    Array.from({ length: times }, () => noted.take(now))
  assert.deepEqual(new Set(taken(0, 200)), new Set([0]))
  assert.deepEqual(new Set(taken(0, 300)), new Set([undefined]))
  const later = taken(SECOND, 21)
  assert.deepEqual(later, [300, ...Array<number>(19).fill(0), undefined])
  // a clock that is set back gives nothing
  assert.equal(noted.take(0), undefined)
  noted.missed(2)
  assert.equal(noted.take(SECOND), 4)
  assert.equal(taken(1_000 * SECOND, 500).filter((one) => one !== undefined).length, 200)
})
