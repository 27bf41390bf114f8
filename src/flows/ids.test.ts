import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import test from 'node:test'
import { idMaker } from './ids.ts'

test('what is made later is named later, with 80 bits left to chance', () => {
  let now = 1_795_348_800_000
  const newId = idMaker(() => now, randomBytes)
  const ids = Array.from({ length: 200 }, () => {
    now += 1
    return newId('dec')
  })
  assert.deepEqual(ids, ids.toSorted())
  now = 7
  const same = Array.from({ length: 1_000 }, () => newId('grant'))
  assert.equal(new Set(same).size, 1_000)
  for (const id of same) assert.match(id, /^grant_0{9}[0-9a-hjkmnp-tv-z]{17}$/)
})

test('handles of what others may not know of do not tell when it was made', () => {
  const newId = idMaker(() => 7, randomBytes)
  for (const prefix of ['req', 'appr', 'key', 'inst', 'question']) {
    const ids = Array.from({ length: 20 }, () => newId(prefix))
    assert.ok(new Set(ids.map((id) => id.slice(0, prefix.length + 6))).size > 15, ids.join())
  }
})

test('a clock that cannot be read names by chance alone', () => {
  for (const wall of [Number.NaN, -1, Number.POSITIVE_INFINITY, 2 ** 48])
    assert.match(idMaker(() => wall, randomBytes)('dec'), /^dec_[0-9a-hjkmnp-tv-z]{26}$/)
})
