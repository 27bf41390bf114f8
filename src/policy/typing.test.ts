/**
 * Typing agrees with Cedar: what we call unknown Cedar refuses, what we take Cedar takes.
 *
 * @module
 */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import fc from 'fast-check'
import type { Json } from '../model/canonical.ts'
import { isWritError } from '../model/errors.ts'
import type { Extension, Field, Type } from './schema.ts'
import { typeText } from './schema.ts'
import type { Findings } from './typing.ts'
import { entityValue, inEngine, isExtension, refuseReferences, typeFields, UNKNOWN } from './typing.ts'

const functions: Readonly<Record<Extension, string>> = {
  decimal: 'decimal',
  ipaddr: 'ip',
  datetime: 'datetime',
  duration: 'duration',
}

/** Whether Cedar itself can make the value. */
function cedarTakes(name: Extension, text: string): boolean {
  const answer = cedar.checkParseContext({ context: { x: { __extn: { fn: functions[name], arg: text } } } })
  return answer.type === 'success'
}

const pieces = (parts: readonly string[], max: number) =>
  fc.array(fc.constantFrom(...parts), { maxLength: max }).map((some) => some.join(''))

const texts: Readonly<Record<Extension, fc.Arbitrary<string>>> = {
  decimal: fc.oneof(
    pieces(['0', '1', '9', '-', '.', '+', '922337203685477', '5807', '5808', ' '], 5),
    fc.tuple(fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }), fc.nat(99_999)).map(([a, b]) => `${a}.${b}`),
  ),
  ipaddr: fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.ipV4Extended(),
    fc
      .tuple(fc.oneof(fc.ipV4(), fc.ipV6()), pieces(['/', '0', '1', '3', '24', '32', '64', '128'], 3))
      .map(([a, b]) => a + b),
    pieces(['0', '1', '255', '256', '01', '.', ':', '::', 'f', 'ffff', '10000', '/', '%'], 10),
  ),
  datetime: fc.oneof(
    fc
      .date({ min: new Date('0000-01-01'), max: new Date('9999-12-31'), noInvalidDate: true })
      .map((date) => date.toISOString()),
    fc
      .tuple(
        fc.constantFrom('2024', '2023', '1900', '2000', '0000', '10000', '-001'),
        fc.constantFrom('00', '01', '02', '04', '12', '13', '1'),
        fc.constantFrom('00', '01', '28', '29', '30', '31', '32'),
        fc.constantFrom(
          '',
          'T00:00:00Z',
          'T23:59:59.999Z',
          'T24:00:00Z',
          'T12:60:00Z',
          'T23:59:60Z',
          't00:00:00Z',
          'T00:00:00',
          'T00:00:00.5Z',
        ),
        fc.constantFrom('', 'Z', '+0000', '-2359', '+2400', '+0060', '+00:00'),
      )
      .map(
        ([year, month, day, time, zone]) =>
          `${year}-${month}-${day}${zone === '' ? time : time.replace('Z', zone)}`,
      ),
  ),
  duration: fc.oneof(
    pieces(['1', '0', '25', 'd', 'h', 'm', 's', 'ms', '-', '+', ' '], 8),
    fc
      .tuple(fc.boolean(), fc.array(fc.nat(10 ** 9), { minLength: 5, maxLength: 5 }))
      .map(([minus, [d, h, m, s, ms]]) => `${minus ? '-' : ''}${d}d${h}h${m}m${s}s${ms}ms`),
    fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }).map((ms) => `${ms}ms`),
  ),
}

for (const name of Object.keys(texts) as Extension[]) {
  test(`${name} values are those of Cedar`, () => {
    fc.assert(
      fc.property(texts[name], (text) => {
        assert.equal(isExtension(name, text), cedarTakes(name, text), JSON.stringify(text))
        assert.equal(inEngine.extension(name, text) !== UNKNOWN, cedarTakes(name, text), JSON.stringify(text))
      }),
      { numRuns: 1_500 },
    )
  })
}

const types = new Map([
  ['Person', { name: 'Person', fields: new Map(), memberOf: [] }],
  ['Colour', { name: 'Colour', fields: new Map(), memberOf: [], ids: new Set(['red', 'green']) }],
])

const leaf = fc.constantFrom<Type>(
  { kind: 'long' },
  { kind: 'string' },
  { kind: 'bool' },
  { kind: 'entity', name: 'Person' },
  { kind: 'entity', name: 'Colour' },
  { kind: 'extension', name: 'datetime' },
  { kind: 'extension', name: 'ipaddr' },
)
const fieldNames = fc.constantFrom('a', 'b', 'constructor', 'toString', 'we ird')
const { type } = fc.letrec<{ type: Type }>((tie) => ({
  type: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    tie('type').map((element): Type => ({ kind: 'set', element })),
    fc
      .dictionary(fieldNames, fc.record({ type: tie('type'), required: fc.boolean() }), {
        maxKeys: 3,
        noNullPrototype: true,
      })
      .map((fields): Type => ({ kind: 'record', fields: new Map(Object.entries(fields)) })),
  ),
}))

/** A value that often fits the type. */
function valueOf(type: Type): fc.Arbitrary<Json> {
  const odd: fc.Arbitrary<Json> = fc.constantFrom<Json>(
    null,
    1.5,
    2 ** 60,
    -1,
    '',
    'x',
    true,
    [],
    {},
    [1],
    { a: 1 },
    'Person::"ada"',
    '\ud800',
  )
  const good = (): fc.Arbitrary<Json> => {
    switch (type.kind) {
      case 'long':
        return fc.maxSafeInteger()
      case 'string':
        return fc.string({ unit: 'binary' })
      case 'bool':
        return fc.boolean()
      case 'entity':
        return fc.constantFrom<Json>(
          'Person::"ada"',
          'Person::"a\\"b"',
          { type: 'Person', id: 'ada' },
          'Colour::"red"',
          'Colour::"blue"',
        )
      case 'extension':
        return fc.constantFrom('2024-02-29', '2023-02-29', '10.0.0.0/8', '10.0.0.0/33')
      case 'set':
        return fc.array(valueOf(type.element), { maxLength: 3 })
      case 'record':
        return fc
          .tuple(
            ...[...type.fields].map(([name, field]) =>
              fc.option(valueOf(field.type), { nil: undefined }).map((value) => [name, value] as const),
            ),
          )
          .map((members) => Object.fromEntries(members.filter(([, value]) => value !== undefined)))
    }
  }
  return fc.oneof({ weight: 9, arbitrary: good() }, { weight: 1, arbitrary: odd })
}

/** Whether a whole number in `value` is past what JavaScript holds exactly. */
const bent = (value: unknown): boolean =>
  typeof value === 'object' && value !== null
    ? Object.values(value).some(bent)
    : Number.isInteger(value) && !Number.isSafeInteger(value)

test('what typing lets through, Cedar takes for the same type; what it calls unknown, Cedar refuses', () => {
  const field = type.chain((of) => fc.tuple(fc.constant(of), valueOf(of)))
  fc.assert(
    fc.property(field, ([of, value]) => {
      const fields = new Map<string, Field>([['x', { type: of, required: true }]])
      const found: Findings = { unknown: [], dropped: [] }
      const typed = typeFields({ x: value }, fields, types, [], found)
      const schema = `entity Person; entity Colour enum ["red", "green"]; action go appliesTo { principal: Person, resource: Person, context: { x: ${typeText(of)} } };`
      const accepts = (context: cedar.Context) =>
        cedar.checkParseContext({ context, schema, action: { type: 'Action', id: 'go' } }).type === 'success'
      if (found.unknown.length === 0) assert.ok(accepts(typed), 'typed value refused by Cedar')
      // Half a character and a whole number beyond 2^53 Cedar may take, because they arrive there as others.
      else if (
        JSON.stringify(value).isWellFormed() &&
        !JSON.stringify(value).includes('ud800') &&
        !bent(value)
      ) {
        assert.ok(!accepts({ x: value as cedar.CedarValueJson }), 'called unknown, taken by Cedar')
      }
    }),
    { numRuns: 200 },
  )
})

test('C6 an input that its type cannot hold is unknown, never absent and never bent', () => {
  const long: Field = { type: { kind: 'long' }, required: false }
  for (const value of [1.5, 2 ** 53, -(2 ** 53), 1e300, NaN, Infinity, null, '1', true, [1], { n: 1 }]) {
    const found: Findings = { unknown: [], dropped: [] }
    assert.deepEqual(typeFields({ n: value }, new Map([['n', long]]), types, [], found), {})
    assert.deepEqual(found.unknown, [['n']], JSON.stringify(value))
  }
  const found: Findings = { unknown: [], dropped: [] }
  assert.deepEqual(typeFields({ n: undefined }, new Map([['n', long]]), types, [], found), {})
  assert.deepEqual(found.unknown, [])
})

test('C6 a required member that is missing is unknown', () => {
  const found: Findings = { unknown: [], dropped: [] }
  typeFields(
    {},
    new Map<string, Field>([['n', { type: { kind: 'long' }, required: true }]]),
    types,
    ['deep'],
    found,
  )
  assert.deepEqual(found.unknown, [['deep', 'n']])
})

test('undeclared members are dropped and noted, at any depth', () => {
  const inner: Field = { type: { kind: 'record', fields: new Map() }, required: true }
  const found: Findings = { unknown: [], dropped: [] }
  assert.deepEqual(
    typeFields({ r: { x: 1 }, y: 2, constructor: 3 }, new Map([['r', inner]]), types, [], found),
    { r: {} },
  )
  assert.deepEqual(found.dropped, ['r.x', 'y', 'constructor'])
})

test('B79 keys that Cedar or JavaScript would read as something else are refused at any depth', () => {
  for (const key of ['__entity', '__extn', '__expr', '__proto__']) {
    const value = JSON.parse(`{"a":[{"b":{${JSON.stringify(key)}:{"type":"Person","id":"ada"}}}]}`) as Json
    assert.throws(
      () => refuseReferences(value),
      (error) => isWritError(error, 'ERR_INPUT_INVALID'),
      key,
    )
  }
  refuseReferences({ constructor: 1, entity: { hasOwnProperty: [1, null, 'x'] } })
  let deep: Json = 1
  for (let at = 0; at < 100_000; at++) deep = [deep]
  refuseReferences(deep)
})

test('entity references are read in both natural forms and no other', () => {
  assert.deepEqual(entityValue('App::Person::"a\\"\\u{1F600}b"'), { type: 'App::Person', id: 'a"\u{1F600}b' })
  assert.deepEqual(entityValue({ type: 'Person', id: 'ada' }), { type: 'Person', id: 'ada' })
  for (const value of [
    'Person/ada',
    'Person::ada',
    '::"x"',
    'Person::"x',
    'Person::"\\q"',
    { type: 'Person' },
    { type: 'P', id: 'x', more: 1 },
    7,
    null,
  ]) {
    assert.equal(entityValue(value), undefined, JSON.stringify(value))
  }
})
