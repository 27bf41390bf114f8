/**
 * Values of extension types, one by one, against the reference: what an expression comes to here, it must be equal to there.
 *
 * @module
 */
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { toCode } from './closures.ts'
import type { Env } from './closures.ts'
import { cut, parsePolicy } from './parse.ts'
import { EntityStore } from './store.ts'
import type { Result } from './values.ts'
import { CedarRecord, DATETIME, DECIMAL, DURATION, EntityRef, IP, isFailure } from './values.ts'

const request = {
  principal: { type: 'User', id: 'a' },
  action: { type: 'Action', id: 'a' },
  resource: { type: 'Doc', id: 'd' },
}
const env: Env = {
  principal: new EntityRef('User', 'a'),
  action: new EntityRef('Action', 'a'),
  resource: new EntityRef('Doc', 'd'),
  principalNode: undefined,
  actionNode: undefined,
  resourceNode: undefined,
  context: new CedarRecord(new Map()),
  store: new EntityStore([], undefined),
}

const policyOf = (body: string): string => `permit(principal, action, resource) when { ${body} };`

function evaluate(expression: string): Result {
  const [part] = cut(policyOf(expression))
  assert.ok(part !== undefined)
  const [condition] = parsePolicy(part).conditions
  assert.ok(condition !== undefined)
  return toCode(condition.body)(env)
}

/** The value as Cedar text, by another way than its own. */
function literal(value: Result): string {
  assert.ok(!isFailure(value))
  if (typeof value !== 'object') return typeof value === 'string' ? JSON.stringify(value) : `${value}`
  switch (value.kind) {
    case DATETIME:
      return `datetime("1970-01-01").offset(duration("${value.value}ms"))`
    case DURATION:
      return `duration("${value.value}ms")`
    case DECIMAL: {
      const digits = String(BigInt(value.value) < 0n ? -BigInt(value.value) : value.value).padStart(5, '0')
      return `decimal("${BigInt(value.value) < 0n ? '-' : ''}${digits.slice(0, -4)}.${digits.slice(-4)}")`
    }
    case IP: {
      const hex = value.address.toString(16).padStart(value.bits / 4, '0')
      const address =
        value.bits === 32
          ? hex
              .match(/../g)
              ?.map((part) => Number.parseInt(part, 16))
              .join('.')
          : hex.match(/..../g)?.join(':')
      return `ip("${address}/${value.prefix}")`
    }
    default:
      throw new TypeError('no extension value')
  }
}

/** Asserts that each expression fails in both, or comes to the same. */
function compare(expressions: readonly string[]): number {
  const values = expressions.map((expression) => [expression, evaluate(expression)] as const)
  const staticPolicies = Object.fromEntries(
    values.map(([expression, value], index) => [
      String(index),
      policyOf(isFailure(value) ? `${expression} == 1` : `${expression} == ${literal(value)}`),
    ]),
  )
  const answer = cedar.isAuthorized({ ...request, context: {}, policies: { staticPolicies }, entities: [] })
  assert.equal(answer.type, 'success', JSON.stringify(answer))
  assert.ok(answer.type === 'success')
  const { reason, errors } = answer.response.diagnostics
  const [held, failed] = [new Set(reason), new Set(errors.map(({ policyId }) => policyId))]
  const wrong = values.flatMap(([expression, value], index) => {
    const theirs = failed.has(String(index)) ? 'fails' : held.has(String(index)) ? 'holds' : 'differs'
    return theirs === (isFailure(value) ? 'fails' : 'holds')
      ? []
      : [
          `${expression} is ${isFailure(value) ? value.message : literal(value)} here; the reference ${theirs}`,
        ]
  })
  assert.deepEqual(wrong, [])
  return held.size
}

const cross = <A, B>(first: readonly A[], second: readonly B[]): [A, B][] =>
  first.flatMap((a) => second.map((b): [A, B] => [a, b]))

const decimals = [
  '0.0', '1.0', '1.00', '1.0000', '-1.5', '-0.0', '0.0001', '-0.0001', '1.23456', '1', '.1', '1.', '+1.0', '01.10', '00.0', '1.0 ', ' 1.0', '1.0\\n',
  '922337203685477.5807', '922337203685477.5808', '-922337203685477.5808', '-922337203685477.5809', '９.0', '1.٣', '99999999999999999999.0', '', '-', '-.1', '1e5',
  '1.0.0', '--1.0', '0.12345', '922337203685478.0', '-922337203685477.9999', '1_0.0', '0x1.0', '\\u{0}1.0',
] // prettier-ignore
const ips = [
  '127.0.0.1', '127.0.0.1/8', '127.0.0.0/7', '127.255.255.255/32', '126.255.255.255', '10.0.0.0/8', '10.1.2.3/8', '10.1.2.3/32', '0.0.0.0/0', '010.0.0.1', '1.2.3',
  '1.2.3.4.5', '256.0.0.1', '1.2.3.4/33', '1.2.3.4/08', '1.2.3.4/', '1.2.3.4/+8', '1.2.3.4/8/8', '1.2.3.4/0', '1.2.3.4/00', '1.2.3.4/1000', '1.2.3.4 ', ' 1.2.3.4',
  '1.2.3.04', '1.2.3.0', '1..2.3', '1.2.3.4/-1', '1.2.3.4/a', '0001.2.3.4', '1.2.3.999', '+1.2.3.4', '0x7f.0.0.1', '2130706433', '127.1', '',
  '::1', '::1/128', '::1/127', '::', '::/0', '::2', 'ff00::', 'FF00::', 'feff::', 'ff02::1/8', 'ff02::1/7', '1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7::', '::2:3:4:5:6:7:8', '1::8', '1::2::3',
  '1:2:3:4:5:6:7:8::', '::1:2:3:4:5:6:7:8', '1:2:3:4::5:6:7:8', '::ffff:1.2.3.4', '::FFFF:102:304', '00001::', '1:2:3:4:5:6:7', 'ffee::/64', 'ffee::/064', '::1%lo', '::1/129', '::1/128 ',
  '0000:0000:0000:0000:0000:0000:0000:0001', '0000:0000:0000:0000:0000:0000:0000:0001/128', ':::', ':1', '1:', ':', '/', '/8', 'g::', '[::1]', '::1/', '1:2', '::12345',
  '224.0.0.1', '224.0.0.0/4', '239.255.255.255', '240.0.0.0', '239.1.1.1/3', '１.2.3.4', '1.2.3.4/８', 'a.b.c.d', '::a.b.c.d', '1:2:3:4:5:6:1.2.3.4',
] // prettier-ignore
const datetimes = [
  '1970-01-01', '1970-01-02', '2024-02-29', '2023-02-29', '1900-02-29', '2000-02-29', '2100-02-29', '0000-02-29', '0004-02-29', '0100-02-29', '1969-12-31', '1969-12-31T23:59:59.999Z',
  '2024-01-01T00:00:00Z', '2024-01-01T00:00:00.000Z', '2024-01-01T01:00:00+0100', '2024-01-01T01:00:00.5Z', '2024-01-01T01:00:00.50Z', '2024-01-01T01:00:00.500-2359',
  '2024-01-01T24:00:00Z', '2024-01-01T23:60:00Z', '2024-01-01T23:59:60Z', '2016-12-31T23:59:60Z', '2024-01-01T23:59:59.999Z', '2024-01-01T23:59:59+2400', '2024-01-01T23:59:59+2359', '2024-01-01T23:59:59+0060',
  '2024-01-01T23:59:59+9900', '0000-01-01', '0000-01-01T00:00:00+2359', '0000-12-31', '0001-01-01', '0099-12-31', '0100-01-01', '9999-12-31', '9999-12-31T23:59:59.999Z', '9999-12-31T23:59:59.999-2359', '10000-01-01',
  '-001-01-01', '+2024-01-01', '2024-1-1', '2024-13-01', '2024-00-01', '2024-01-00', '2024-01-32', '2024-04-31', '2024-01-01T', '2024-01-01T00:00Z', '2024-01-01T00:00:00', '2024-01-01 00:00:00Z',
  '2024-01-01t00:00:00z', '2024-01-01T00:00:00z', '2024-01-01T00:00:00+00:00', '2024-01-01T00:00:00-0000', '2024-01-01T00:00:00+00', '2024-01-01Z', '2024-01-01T00:00:00.0000Z', '2024-01-01T00:00:00.Z',
  '2024-01-01T00:00:00,000Z', '', '２024-01-01', '2024-01-01\\n', ' 2024-01-01', '2024-01-01 ', '2024-01-01T00:00:00ZZ', '2024-01-01T00:00:00.000', '2024-01-01T00:00:00.000+1', '2024-01-01T00:00:00.000+12345',
] // prettier-ignore
const durations = [
  '0ms', '0d', '1ms', '1s', '1m', '1h', '1d', '-1d', '-1ms', '-1s', '-999ms', '-1001ms', '1d2h3m4s5ms', '-1d2h3m4s5ms', '1h1d', '1m1m', '', '-', '1', '1.5s', '+1s', '1 s', '-0s', '01s', '1ms1s', '--1s', '1D', '1MS',
  '106751991167d', '106751991168d', '-106751991168d', '9223372036854775807ms', '9223372036854775808ms', '-9223372036854775808ms', '-9223372036854775809ms', '18446744073709551615ms', '18446744073709551616ms',
  '-106751991167d7h12m55s807ms', '-106751991167d7h12m55s808ms', '-106751991167d7h12m55s809ms', '106751991167d7h12m55s807ms', '106751991167d7h12m55s808ms', '00000000000000000000000000001s',
  '99999999999999999999999d', '1d-1h', '1mss', 'd', 'ms', '1h ', ' 1h', '1h\\n', '１h', '90m', '25h', '86399999ms', '86400000ms', '-86400001ms', '9223372036854775s', '9223372036854776s',
] // prettier-ignore

const isGood = (expression: string): boolean => !isFailure(evaluate(expression))

describe('L7 B9 extension values are those of the reference', () => {
  test('decimal', () => {
    const all = decimals.map((text) => `decimal("${text}")`)
    const good = all.filter(isGood)
    const pairs = cross(good, good).flatMap(([a, b]) =>
      ['lessThan', 'lessThanOrEqual', 'greaterThan', 'greaterThanOrEqual'].map(
        (name) => `${a}.${name}(${b})`,
      ),
    )
    assert.ok(compare([...all, ...pairs, ...cross(good, good).map(([a, b]) => `(${a} == ${b})`)]) > 100)
  })

  test('ip', () => {
    const all = ips.map((text) => `ip("${text}")`)
    const good = all.filter(isGood)
    const tests = cross(good, ['isIpv4', 'isIpv6', 'isLoopback', 'isMulticast']).map(
      ([a, name]) => `${a}.${name}()`,
    )
    const ranges = cross(good, good).map(([a, b]) => `${a}.isInRange(${b})`)
    assert.ok(
      compare([...all, ...tests, ...ranges, ...cross(good, good).map(([a, b]) => `(${a} == ${b})`)]) > 1_000,
    )
  })

  test('datetime', () => {
    const all = datetimes.map((text) => `datetime("${text}")`)
    const good = [...all.filter(isGood), ...FAR]
    const lengths = durations.map((text) => `duration("${text}")`).filter(isGood)
    const parts = good.flatMap((a) => [`${a}.toDate()`, `${a}.toTime()`])
    const offsets = cross(good, lengths).map(([a, b]) => `${a}.offset(${b})`)
    const apart = cross(good, good).flatMap(([a, b]) => [
      `${a}.durationSince(${b})`,
      `(${a} < ${b})`,
      `(${a} >= ${b})`,
    ])
    assert.ok(compare([...all, ...parts, ...offsets]) > 300)
    assert.ok(compare(apart) > 300)
  })

  test('duration', () => {
    const all = durations.map((text) => `duration("${text}")`)
    const good = all.filter(isGood)
    const units = ['toMilliseconds', 'toSeconds', 'toMinutes', 'toHours', 'toDays']
    const counts = cross(good, units).map(([a, name]) => `${a}.${name}()`)
    assert.ok(compare([...all, ...counts, ...cross(good, good).map(([a, b]) => `(${a} <= ${b})`)]) > 300)
  })

  test('functions fail on other types, and on no text', () => {
    const values = [
      '1',
      '"a"',
      'true',
      '[]',
      '{}',
      'User::"a"',
      'ip("::1")',
      'decimal("1.0")',
      'duration("1h")',
      'datetime("2024-01-01")',
    ]
    const methods = ['isIpv4', 'isLoopback', 'toDate', 'toTime', 'toDays'].map((name) => `.${name}()`)
    const others = values.flatMap((value) => [
      ...methods.map((method) => `${value.replace(/^\[\]$/, '([])')}${method}`),
      ...values.flatMap((other) => [
        `${value}.isInRange(${other})`,
        `${value}.lessThan(${other})`,
        `${value}.offset(${other})`,
        `${value}.durationSince(${other})`,
        `(${value} < ${other})`,
        `(${value} == ${other})`,
      ]),
      ...['ip', 'decimal', 'datetime', 'duration'].map((name) => `${name}(${value})`),
    ])
    assert.ok(compare(others) > 50)
  })
})

describe('64-bit integers are those of the reference', () => {
  const longs = [
    '0',
    '1',
    '-1',
    '2',
    '-7',
    '3037000500',
    '-3037000499',
    '4611686018427387904',
    '9007199254740991',
    '9007199254740992',
    '9007199254740993',
    '-9007199254740993',
    '9223372036854775806',
    '9223372036854775807',
    '(-9223372036854775808)',
    '-9223372036854775807',
  ]

  test('sums, differences, products, negation, order', () => {
    const all = cross(longs, longs).flatMap(([a, b]) =>
      ['+', '-', '*']
        .map((operator) => `(${a} ${operator} ${b})`)
        .concat(['<', '<=', '>', '>=', '==', '!='].map((operator) => `(${a} ${operator} ${b})`)),
    )
    assert.ok(
      compare([...all, ...longs.map((one) => `(-(${one}))`), ...longs.map((one) => `(0 * -(${one}))`)]) >
        1_500,
    )
  })
})

describe('like', () => {
  test('wildcards, stars, other alphabets', () => {
    const texts = [
      '',
      'a',
      'ab',
      'aab',
      'a*b',
      '*',
      '**',
      'a*',
      '*a',
      'é',
      'e\\u{301}',
      '😀',
      'a😀b',
      '\\\\',
      '\\"',
      'aaaaab',
      'abcabc',
      '\\n',
    ]
    const patterns = [
      '',
      '*',
      '**',
      'a',
      'a*',
      '*a',
      '*a*',
      'a*b',
      'a**b',
      '\\*',
      '*\\*',
      'a\\u{2a}',
      '\\x2a*b',
      '\\*\\**',
      'a\\*b',
      '*b',
      'ab*ab',
      'abc*abc',
      'abc*bc',
      'é',
      'e*',
      '*\\u{301}',
      '😀',
      '*😀*',
      'a*\\u{1F600}b',
      '\\\\',
      '\\\\*',
      '*\\\\',
      '*\\"*',
      '*\\n*',
      'a*a*a*b',
      '*aab',
    ]
    assert.ok(compare(cross(texts, patterns).map(([text, pattern]) => `("${text}" like "${pattern}")`)) > 400)
  })
})

/** Instants that no text can spell. */
const FAR: readonly string[] = [
  'datetime("1970-01-01").offset(duration("9223372036854775807ms"))',
  'datetime("1970-01-01").offset(duration("-9223372036854775808ms"))',
  'datetime("1970-01-01").offset(duration("-9223372036828800000ms"))',
]
