import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { isWritError } from '../../model/errors.ts'
import { parseForm, parseJson } from './json.ts'

const parse = (text: string, depth = 32): unknown => parseJson(Buffer.from(text), depth)
const refuses = (text: string | Buffer, code = 'ERR_INPUT_INVALID', depth = 32): void => {
  assert.throws(
    () => parseJson(Buffer.from(text as string), depth),
    (error) => isWritError(error) && error.code === code,
  )
}

describe('B78 what is validated is what was parsed', () => {
  test('reads whatever JSON.parse reads, the same way', () => {
    fc.assert(
      fc.property(fc.json({ depthSize: 'small' }), (text) => {
        assert.deepEqual(parse(text, 64), JSON.parse(text))
      }),
    )
  })
  test('refuses what JSON.parse refuses, without quoting it', () => {
    for (const text of [
      '',
      '{',
      '[1,]',
      "{'a':1}",
      '{"a":1}x',
      '\ufeff{}',
      'NaN',
      '{"a":"\n"}',
      '{"\\x":1}',
      '"\\u12"',
    ]) {
      assert.throws(
        () => parse(text),
        (error) => isWritError(error, 'ERR_INPUT_INVALID') && error.message === 'the body is not JSON',
        text,
      )
    }
  })
  test('a member stands once, however it is spelt', () => {
    refuses('{"a":1,"a":2}')
    refuses('{"a":1,"\\u0061":2}')
    refuses('{"x":[{"a":1,"b":{"a":1},"a":2}]}')
    assert.deepEqual(parse('{"a":{"a":1},"b":["a","a",{"a":1},{"a":1}]}'), {
      a: { a: 1 },
      b: ['a', 'a', { a: 1 }, { a: 1 }],
    })
    assert.deepEqual(parse('{"a":"{\\"a\\":1,\\"a\\":2}"}'), { a: '{"a":1,"a":2}' })
  })
  test('invalid UTF-8 is refused, never repaired', () => {
    assert.throws(() => parseJson(Buffer.from([0x22, 0xc3, 0x28, 0x22]), 8), /not UTF-8/)
  })
  test('a form field stands once', () => {
    assert.throws(() => parseForm(Buffer.from('a=1&a=2')), /twice/)
    const fields = parseForm(Buffer.from('__proto__=x&a=%26'))
    assert.equal(Object.getPrototypeOf(fields), null)
    assert.equal(fields['a'], '&')
  })
})

describe('B76 bounded before it is parsed', () => {
  test('depth', () => {
    assert.deepEqual(parse('[[[]]]', 3), [[[]]])
    refuses('[[[[]]]]', 'ERR_TOO_LARGE', 3)
    refuses('{"a":{"b":{"c":{}}}}', 'ERR_TOO_LARGE', 3)
    refuses('['.repeat(200_000), 'ERR_TOO_LARGE')
    refuses('{"a":'.repeat(40_000), 'ERR_TOO_LARGE')
    assert.deepEqual(parse('[[],[],[],[]]', 2), [[], [], [], []])
    assert.equal(parse('"[[[["', 1), '[[[[')
  })
})

describe('B79 no prototype is reached', () => {
  test('`__proto__` is refused at any depth, also when spelt with escapes', () => {
    refuses('{"__proto__":{"polluted":true}}')
    refuses('{"a":[{"__prot\\u006f__":1}]}')
    assert.equal(({} as Record<string, unknown>)['polluted'], undefined)
  })
  test('as a value it is just text', () => {
    assert.deepEqual(parse('{"a":"__proto__"}'), { a: '__proto__' })
  })
})
