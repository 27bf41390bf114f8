import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { SourceError } from './port.ts'
import { holds, instantAt, listAt, parseTime, textAt, valuesAt } from './reading.ts'

describe('reading by JSON pointers', () => {
  const document = {
    a: { 'x/y': 1, 'm~n': 2, '': 3 },
    list: [{ name: 'one' }, { name: 'two' }, {}],
    text: 'Database/orders, Database/shop\nApi/pay',
  }

  test('leads where RFC 6901 says, to every item with a star, and nowhere else', () => {
    assert.deepEqual(valuesAt(document, '/a/x~1y'), [1])
    assert.deepEqual(valuesAt(document, '/a/m~0n'), [2])
    assert.deepEqual(valuesAt(document, '/list/*/name'), ['one', 'two'])
    assert.deepEqual(valuesAt(document, '/list/1/name'), ['two'])
    for (const pointer of [
      '/none',
      '/list/01/name',
      '/list/-',
      '/a/constructor',
      '/text/length',
      '/__proto__',
    ])
      assert.deepEqual(valuesAt(document, pointer), [], pointer)
  })

  test('B58 what is there and cannot be read is an error, what is not there is absent', () => {
    for (const nothing of [{}, { s: null }, { s: '' }]) {
      assert.equal(textAt(nothing, '/s'), undefined)
      assert.equal(instantAt(nothing, '/s'), undefined)
      assert.deepEqual(listAt(nothing, { at: '/s' }), [])
      assert.equal(holds(nothing, { at: '/s', in: ['x'] }), false)
    }
    for (const garbled of [{ s: {} }, { s: [[]] }, { s: 'x\u202ey' }, { s: 'x'.repeat(300) }]) {
      assert.throws(() => textAt(garbled, '/s'), SourceError)
      assert.throws(() => instantAt(garbled, '/s'), SourceError)
      assert.throws(() => listAt(garbled, { at: '/s' }), SourceError)
    }
    const many = { s: Array.from({ length: 300 }, (_, i) => `r${i}`) }
    assert.throws(() => listAt(many, { at: '/s' }), SourceError)
    assert.throws(() => listAt(many, { at: '/s/*' }), SourceError)
  })

  test('lists are read from lists, from text with commas, and by prefix', () => {
    assert.deepEqual(listAt(document, { at: '/text' }), ['Api/pay', 'Database/orders', 'Database/shop'])
    assert.deepEqual(listAt(document, { at: '/list/*/name', prefix: 't' }), ['wo'])
    assert.deepEqual(listAt({ s: ['b', 'a', 'b'] }, { at: '/s' }), ['a', 'b'])
  })

  test('B31 times are read as systems write them, and never guessed', () => {
    const noon = Date.parse('2026-11-22T12:00:00Z')
    for (const text of [
      '2026-11-22T12:00:00Z',
      '2026-11-22T13:00:00.000+0100',
      '2026-11-22T06:30:00.000-05:30',
      '2026-11-22 12:00Z',
      noon,
      noon / 1_000,
      String(noon),
      noon * 1e6,
    ])
      assert.equal(parseTime(text), noon, String(text))
    assert.equal(parseTime('2026-11-22 12:00:00', true), noon)
    assert.equal(parseTime('2028-02-29T00:00:00Z'), Date.parse('2028-02-29T00:00:00Z'))
    for (const text of [
      '2026-11-22 12:00:00',
      '2026-11-22',
      '2026-02-29T00:00:00Z',
      '2026-13-01T00:00:00Z',
      '2026-11-22T24:00:00Z',
      '2026-11-22T12:60:00Z',
      '2026-11-22T12:00:00+25:00',
      'tomorrow',
      '',
      -1,
      NaN,
      Infinity,
      1e30,
      12,
      true,
      null,
    ])
      assert.equal(parseTime(text), undefined, String(text))
  })

  test('B58 no document, however wrong, is anything but read or refused', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom('/a', '/a/*', '/*', '/0', ''), (value, pointer) => {
        for (const read of [
          () => textAt(value, pointer),
          () => instantAt(value, pointer),
          () => listAt(value, { at: pointer }),
          () => holds(value, { at: pointer, in: ['x'] }),
        ]) {
          try {
            read()
          } catch (error) {
            assert.ok(error instanceof SourceError)
          }
        }
      }),
    )
  })
})
