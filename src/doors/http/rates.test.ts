import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { RateLimited, Rates, addressKey } from './rates.ts'

const taken = (rates: Rates, key: string): number => {
  for (let count = 0; ; count++) {
    try {
      rates.take(key)
    } catch (error) {
      assert.ok(error instanceof RateLimited)
      assert.ok(error.retryAfter >= 1)
      return count
    }
  }
}

describe('rates', () => {
  test('a burst, then so many a second', () => {
    let now = 1_000
    const rates = new Rates({ perSecond: 2, burst: 5 }, () => now)
    assert.equal(taken(rates, 'a'), 5)
    now += 1_000
    assert.equal(taken(rates, 'a'), 2)
    now += 3_600_000
    assert.equal(taken(rates, 'a'), 5)
  })
  test('B80 one caller never takes from another', () => {
    const rates = new Rates({ perSecond: 1, burst: 3 }, () => 0)
    assert.equal(taken(rates, 'hostile'), 3)
    assert.equal(taken(rates, 'victim'), 3)
  })
  test('a clock that jumps back gives nothing', () => {
    let now = 10_000
    const rates = new Rates({ perSecond: 1, burst: 3 }, () => now)
    assert.equal(taken(rates, 'a'), 3)
    now = 0
    assert.equal(taken(rates, 'a'), 0)
    now = 10_000
    assert.equal(taken(rates, 'a'), 0)
  })
  test('memory is bounded, and a flood of names frees nobody early', () => {
    const rates = new Rates({ perSecond: 0.001, burst: 2 }, () => 0)
    assert.equal(taken(rates, 'last'), 2)
    for (let i = 0; i < 49_999; i++) rates.take(`n${i}`)
    assert.equal(taken(rates, 'last'), 0)
    rates.take('one more')
    assert.equal(taken(rates, 'n49998'), 1)
  })
})

test('IPv6 callers are counted by their /64', () => {
  assert.equal(addressKey('2001:db8:1:2:3:4:5:6'), addressKey('2001:db8:1:2::9'))
  assert.notEqual(addressKey('2001:db8:1:2::1'), addressKey('2001:db8:1:3::1'))
  assert.equal(addressKey('10.0.0.1'), '10.0.0.1')
  assert.equal(addressKey('::ffff:10.0.0.1'), '::ffff:10.0.0.1')
  assert.equal(addressKey('::1'), '0:0:0:0')
})
