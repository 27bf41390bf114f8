import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type * as z from 'zod'
import {
  JSON_DEPTH,
  actionName,
  describeIssues,
  duration,
  encodeDuration,
  encodeInstant,
  encodeRef,
  entityType,
  id,
  instant,
  parseInstant,
  properties,
  ref,
  text,
} from './bounds.ts'

const accepts = (schema: z.ZodType, value: unknown): boolean => schema.safeParse(value).success

describe('B7 one thing has one spelling', () => {
  const hostile = [
    '',
    ' a',
    'a ',
    'a\u0000b',
    'a\nb',
    'a\u007f',
    'a\u0085b', // next line
    'a\u200bb', // zero width space
    'a\u202eb', // right-to-left override
    'a\u2028b', // line separator
    '\ufeffa',
    'e\u0301', // é in two code points
    '\ud800',
    'a\udc00b',
    'x'.repeat(257),
  ]
  for (const name of hostile) {
    test(`refuses ${JSON.stringify(name).slice(0, 24)}`, () => {
      assert.equal(accepts(id, name), false)
      assert.equal(accepts(ref, `Agent/${name}`), false)
    })
  }
  test('takes what people and machines are really called', () => {
    for (const name of [
      'ada',
      'a b',
      'é',
      '日本',
      'db/orders',
      'https://x.example/a?b=c#d',
      '*',
      '${x}',
      '..',
      'A\\B',
      '🚀',
    ]) {
      assert.equal(accepts(id, name), true, name)
    }
  })
  test('types are Cedar entity types', () => {
    for (const type of ['Agent', 'A::B', '_x1', 'user']) assert.equal(accepts(entityType, type), true, type)
    for (const type of ['', '1a', 'A:B', 'A::', '::A', 'A/B', 'A B', 'Ä', 'A\n'])
      assert.equal(accepts(entityType, type), false, type)
  })
  test('actions are bounded', () => {
    assert.equal(accepts(actionName, 'x'.repeat(128)), true)
    assert.equal(accepts(actionName, 'x'.repeat(129)), false)
  })
})

describe('B24 what a person reads cannot rewrite the page around it', () => {
  test('newlines and tabs are text, other controls and direction marks are not', () => {
    assert.equal(accepts(text, 'a\n\tb — ünïcödé 日本'), true)
    for (const mark of ['\u0007', '\u001b[31m', '\r', '\u202e', '\u2066', '\ud800'])
      assert.equal(accepts(text, `a${mark}b`), false)
    assert.equal(accepts(text, 'x'.repeat(2_001)), false)
  })
})

describe('scalars', () => {
  test('a reference is the same after encoding and reading', () => {
    const identity = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
      .filter((value) => accepts(id, value))
    const type = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,8}(::[A-Za-z_][A-Za-z0-9_]{0,8}){0,2}$/)
    fc.assert(
      fc.property(type, identity, (type, id) => {
        assert.deepEqual(ref.parse(encodeRef({ type, id })), { type, id })
      }),
    )
  })
  test('a duration is the same after encoding and reading', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9_999_999_999 }), (millis) => {
        assert.equal(duration.parse(encodeDuration(millis)), millis)
      }),
    )
  })
  test('an instant is the same after encoding and reading', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 253_402_300_799_999 }), (at) => {
        assert.equal(instant.parse(encodeInstant(at)), at)
      }),
    )
  })
  test('instants are RFC 3339 and nothing near it', () => {
    for (const [text, at] of [
      ['1970-01-01T00:00:00Z', 0],
      ['1970-01-01T01:00:00+01:00', 0],
      ['1970-01-01T00:00:00.5Z', 500],
      ['2024-02-29T00:00:00Z', Date.UTC(2024, 1, 29)],
    ] as const) {
      assert.equal(parseInstant(text), at, text)
    }
    for (const text of [
      '1970-01-01',
      '1970-01-01 00:00:00Z',
      '1970-01-01T00:00:00',
      '2026-02-30T00:00:00Z',
      '2025-02-29T00:00:00Z',
      '1970-13-01T00:00:00Z',
      '1970-01-01T24:00:00Z',
      '9999-12-31T23:59:59-23:59',
      '0000-01-01T00:00:00+23:59',
      '1970-01-01T00:00:00Z\n',
      'now',
      '0',
    ]) {
      assert.equal(parseInstant(text), undefined, text)
    }
  })
})

describe('B79 properties hold what was sent and nothing else', () => {
  test('any JSON within bounds stays as it is', () => {
    const json = fc.object({
      maxDepth: 4,
      maxKeys: 5,
      key: fc
        .string({ maxLength: 8 })
        .filter((key) => !['__proto__', '__entity', '__extn', '__expr'].includes(key)),
      values: [
        fc.boolean(),
        fc.constant(null),
        fc.string({ maxLength: 20 }),
        fc.integer(),
        fc.double({ noNaN: true, noDefaultInfinity: true, noInteger: true }),
      ],
    })
    fc.assert(
      fc.property(json, (value) => {
        assert.equal(JSON.stringify(properties.parse(value)), JSON.stringify(value))
      }),
    )
  })
  test('no member is found that was not sent', () => {
    const parsed = properties.parse(JSON.parse('{"a":{"b":1}}'))
    assert.equal(Object.getPrototypeOf(parsed), null)
    assert.equal(Object.getPrototypeOf(parsed['a']), null)
    assert.equal('constructor' in parsed, false)
    assert.equal('toString' in parsed, false)
  })
  test('`constructor` and `prototype` are names like any other', () => {
    const parsed = properties.parse(JSON.parse('{"constructor":{"prototype":{"polluted":true}}}'))
    assert.equal(JSON.stringify(parsed), '{"constructor":{"prototype":{"polluted":true}}}')
    assert.equal(({} as Record<string, unknown>)['polluted'], undefined)
  })
  test('names that would be read as references or prototypes are refused at any depth', () => {
    for (const name of ['__proto__', '__entity', '__extn', '__expr']) {
      assert.equal(accepts(properties, JSON.parse(`{"a":[{"${name}":1}]}`)), false, name)
    }
  })
  test('depth, size and numbers are bounded', () => {
    const nested = (depth: number): unknown => (depth === 0 ? {} : { a: nested(depth - 1) })
    assert.equal(accepts(properties, nested(JSON_DEPTH - 1)), true)
    assert.equal(accepts(properties, nested(JSON_DEPTH)), false)
    assert.equal(accepts(properties, { a: 'x'.repeat(16_000) }), true)
    assert.equal(accepts(properties, { a: 'x'.repeat(17_000) }), false)
    assert.equal(accepts(properties, { a: Array.from({ length: 5_000 }, () => 0) }), false)
    for (const number of [Number.NaN, Infinity, 2 ** 53, -(2 ** 53)])
      assert.equal(accepts(properties, { number }), false)
    assert.equal(accepts(properties, { number: 2 ** 53 - 1 }), true)
    assert.equal(JSON.stringify(properties.parse({ zero: -0 })), '{"zero":0}')
    assert.equal(accepts(properties, { text: '\ud800' }), false)
  })
  test('only objects are properties', () => {
    for (const value of [null, [], 'a', 1, true, undefined]) assert.equal(accepts(properties, value), false)
  })
})

test('messages name the place and never repeat the value', () => {
  const result = properties.safeParse({ password: { __entity: 'hunter2' } })
  assert.equal(result.success, false)
  if (!result.success) assert.doesNotMatch(describeIssues(result.error), /hunter2/)
})
