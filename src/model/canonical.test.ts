import assert from 'node:assert/strict'
import test from 'node:test'
import canonicalize from 'canonicalize'
import fc from 'fast-check'
import type { Json } from './canonical.ts'
import { canonical } from './canonical.ts'

const name = fc.oneof(
  fc.constantFrom(
    'a',
    'b',
    'aa',
    '',
    '0',
    '10',
    '9x',
    '-1',
    '__proto__',
    'toJSON',
    'é',
    '\u{1f600}',
    '\uffff',
    '\ud800',
  ),
  fc.string({ unit: 'binary' }),
)
const json = fc.letrec<{ value: Json | undefined }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.constantFrom(
      null,
      true,
      false,
      undefined,
      0,
      -0,
      1e21,
      1e-7,
      0.1,
      Number.NaN,
      Number.POSITIVE_INFINITY,
    ),
    fc.double(),
    fc.string({ unit: 'binary' }),
    fc.constantFrom('\ud800', '\u2028', '"\\\b\f\n\r\t\u001f/'),
    fc.array(tie('value'), { maxLength: 4 }) as fc.Arbitrary<Json>,
    fc
      .array(fc.tuple(name, tie('value')), { maxLength: 6 })
      .map((members) => Object.fromEntries(members) as Json),
  ),
})).value

const outcome = (write: () => string | undefined): string | undefined => {
  try {
    return write()
  } catch {
    return undefined
  }
}

test('the canonical form is that of RFC 8785, or there is none, whatever the value', () => {
  fc.assert(
    fc.property(json, (value) => {
      assert.equal(
        outcome(() => canonical(value as Json)),
        outcome(() => canonicalize(value)),
      )
    }),
    { numRuns: 2_000 },
  )
})

test('members that the engine would move, inherit or hide are written where they belong', () => {
  const parsed = (text: string): Json => JSON.parse(text) as Json
  assert.equal(
    canonical(parsed('{"b":1,"10":2,"9":3,"a":{"2":0,"!":0}}')),
    '{"10":2,"9":3,"a":{"!":0,"2":0},"b":1}',
  )
  assert.equal(canonical(parsed('{"b":1,"__proto__":{"a":1}}')), '{"__proto__":{"a":1},"b":1}')
  assert.equal(canonical(parsed('{"\u{1f600}":1,"\uffff":2}')), '{"\u{1f600}":1,"\uffff":2}')
  assert.equal(canonical({ at: new Date(0) as unknown as Json }), '{"at":"1970-01-01T00:00:00.000Z"}')
  const deep = '['.repeat(5_000) + ']'.repeat(5_000)
  assert.equal(canonical(parsed(deep)), deep)
  for (const value of ['\ud800', { '\ud800': 1 }, { a: Number.NaN }])
    assert.throws(() => canonical(value), Error)
})
