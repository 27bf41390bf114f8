import assert from 'node:assert/strict'
import { test } from 'node:test'

import fc from 'fast-check'

import { applicationName, encodeMark, parseMark, roleName, rolePrefix } from './names.ts'

test('B38 any ids give a plain name below the length at which PostgreSQL cuts', () => {
  const id = fc.string({ unit: 'binary' })
  fc.assert(
    fc.property(id, id, (installation, credential) => {
      const name = roleName(installation, credential)
      assert.match(name, /^writ_[0-9a-f]{8}_[a-z0-9_]{1,47}$/)
      assert.ok(Buffer.byteLength(name) <= 63)
      assert.ok(name.startsWith(rolePrefix(installation)))
      assert.equal(roleName(installation, credential), name)
    }),
  )
})

test('different ids give different names', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 2 }), (ids) => {
      assert.equal(new Set(ids.map((id) => roleName('inst', id))).size, ids.length)
    }),
  )
})

test('an application name is what PostgreSQL keeps of it', () => {
  assert.equal(applicationName('grant_1'), 'writ grant_1')
  assert.equal(applicationName('é\n'), 'writ ??')
  assert.equal(applicationName('x'.repeat(100)).length, 63)
})

test('a mark survives, and other comments are not marks', () => {
  const mark = { writ: 'i', credential: 'c', shape: 'lift', owner: `"'\\`, account: 'a', endsAt: 'e' }
  assert.deepEqual(parseMark(encodeMark(mark)), mark)
  for (const comment of [
    null,
    '',
    'hello',
    '1',
    'null',
    '[]',
    '{}',
    '{"writ":1}',
    '{"writ":"i","credential":"c"}',
  ]) {
    assert.equal(parseMark(comment), undefined)
  }
})
