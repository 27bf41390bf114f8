import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { RateLimited, Rates, Turns, addressKey } from './rates.ts'

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
  test('a call that is worth more takes more, and never waits for what there cannot be', () => {
    let now = 0
    const rates = new Rates({ perSecond: 2, burst: 5 }, () => now)
    rates.take('a', 4)
    assert.throws(() => rates.take('a', 4), RateLimited)
    rates.take('a')
    now += 2_500
    rates.take('a', 1_000)
    assert.equal(taken(rates, 'a'), 0)
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

describe('turns', () => {
  test('B80 calls of one caller wait for each other, for nobody else, and not without end', async () => {
    const turns = new Turns()
    const done: string[] = []
    const first = Promise.withResolvers<void>()
    const slow = turns.take('hostile', () => first.promise.then(() => done.push('hostile 1')))
    const rest = Array.from({ length: 63 }, (_, i) =>
      turns.take('hostile', async () => done.push(`hostile ${i + 2}`)),
    )
    await assert.rejects(
      turns.take('hostile', async () => done.push('never')),
      RateLimited,
    )
    await turns.take('victim', async () => done.push('victim'))
    first.resolve()
    await Promise.all([slow, ...rest])
    assert.deepEqual(done, ['victim', ...Array.from({ length: 64 }, (_, i) => `hostile ${i + 1}`)])
  })
  test('a call that fails lets the next one go', async () => {
    const turns = new Turns()
    const failing = turns.take('a', () => Promise.reject(new Error('x')))
    const next = turns.take('a', async () => 'next')
    await assert.rejects(failing, /x/)
    assert.equal(await next, 'next')
  })
})
