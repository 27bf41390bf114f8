import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import type { Json } from '../model/canonical.ts'
import { ENTRY_LIMIT, encodeEntry } from './entry.ts'
import { hex, sha256 } from './hash.ts'

const decode = (bytes: Uint8Array): Record<string, never> =>
  JSON.parse(Buffer.from(bytes).toString()) as never
const encode = (members: Record<string, Json>) =>
  encodeEntry(7, 42, { kind: 'test', refs: ['r'], ...members }).bytes
const digestOf = (text: string) => ({
  $digest: `sha256:${hex(sha256(text))}`,
  kept: true,
  size: Buffer.byteLength(text),
})

test('an entry is canonical JSON with its place and time', () => {
  const bytes = encode({ b: 1, a: 'x\ny' })
  assert.equal(
    Buffer.from(bytes).toString(),
    '{"a":"x\\ny","at":42,"b":1,"kind":"test","refs":["r"],"seq":7,"v":1}',
  )
})

test('B69 no field makes an entry too long: the largest part gives way to its digest', () => {
  const huge = 'x'.repeat(100_000)
  const bytes = encode({
    subject: { id: 'a' },
    action: { name: 'run', properties: { sql: huge, dry: true } },
  })
  assert.ok(bytes.length <= ENTRY_LIMIT)
  assert.deepEqual(decode(bytes), {
    v: 1,
    seq: 7,
    at: 42,
    kind: 'test',
    refs: ['r'],
    subject: { id: 'a' },
    action: { name: 'run', properties: { dry: true, sql: digestOf(JSON.stringify(huge)) } },
    cut: ['/action/properties/sql'],
  })
})

test('B69 of two large members both stay if the larger is enough', () => {
  const entry = decode(encode({ a: 'a'.repeat(40_000), b: 'b'.repeat(50_000) }))
  assert.deepEqual(entry['b'], digestOf(JSON.stringify('b'.repeat(50_000))))
  assert.equal(entry['a'], 'a'.repeat(40_000))
  assert.deepEqual(entry['cut'], ['/b'])
})

test('B69 many small members and endless references give way too', () => {
  const many = Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`m${i}`, 'x'.repeat(100)]))
  assert.deepEqual(decode(encode(many))['cut'], ['/rest'])
  const refs = Array.from({ length: 5_000 }, (_, i) => `reference-${i}`)
  const entry = decode(encode({ refs }))
  assert.deepEqual(entry['refs'], digestOf(JSON.stringify(refs)))
  assert.deepEqual(entry['cut'], ['/refs'])
})

test('B69 text without a UTF-8 form is kept by its digest, in names too', () => {
  const entry = decode(
    encode({ reason: 'a\ud800b', context: { 'k\udfff': 1, fine: 'x' }, list: ['ok', '\ud83d'] }),
  )
  assert.deepEqual(entry['reason'], digestOf('"a\\ud800b"'))
  assert.deepEqual(entry['context'], digestOf('{"k\\udfff":1,"fine":"x"}'))
  assert.deepEqual(entry['list'], ['ok', digestOf('"\\ud83d"')])
  assert.deepEqual(entry['cut'], ['/reason', '/context', '/list/1'])
})

test('B69 what looks like a replacement is not one unless `cut` names it', () => {
  const entry = decode(encode({ context: { $digest: 'sha256:00', size: 9 } }))
  assert.equal(entry['cut'], undefined)
  for (const name of ['v', 'seq', 'at', 'cut']) assert.throws(() => encode({ [name]: 1 }), TypeError)
})

test('B69 what JSON cannot hold is a mistake of the caller', () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 1n as unknown as number]) {
    assert.throws(() => encode({ value }), TypeError)
  }
  assert.throws(() => encode({ kind: '' }), TypeError)
})

test('B69 any JSON becomes one line of canonical, bounded, parseable text', () => {
  const text = fc.string({
    unit: fc.oneof(fc.constantFrom('\n', '\u2028', '"', '\\', '\ud800', '\0', '/', '~'), fc.string()),
  })
  const large = fc
    .tuple(fc.string({ minLength: 1 }), fc.nat(40_000))
    .map(([unit, times]) => unit.repeat(times).slice(0, 90_000))
  const json = fc.letrec<{ value: Json }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small' },
      text,
      large,
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.constantFrom<Json>(null, true, -0),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(fc.oneof(text, fc.constantFrom('__proto__', '$digest', '7')), tie('value'), {
        maxKeys: 4,
      }),
    ),
  })).value
  fc.assert(
    fc.property(fc.dictionary(fc.string({ minLength: 5 }), json, { maxKeys: 6 }), (members) => {
      const bytes = encode(members)
      assert.ok(bytes.length <= ENTRY_LIMIT)
      const line = Buffer.from(bytes).toString()
      assert.ok(Buffer.from(line).equals(bytes))
      assert.ok(!line.includes('\n'))
      const entry = decode(bytes)
      assert.equal(entry['seq'], 7)
      assert.equal(entry['kind'], 'test')
      assert.deepEqual(entry['refs'], ['r'])
    }),
    { numRuns: 60 },
  )
})
