import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { manualClock, TEST_START } from '../../test/support/store.ts'
import { StoreClock } from './clock.ts'

test('B31 a wall clock set back does not stop time, and is reported', () => {
  const clock = manualClock()
  const store = new StoreClock(clock)
  assert.equal(store.now(), TEST_START)
  clock.rewind(3_600_000)
  assert.equal(store.now(), TEST_START)
  assert.equal(store.behind(), 3_600_000)
  clock.advance(5_000)
  assert.equal(store.now(), TEST_START + 5_000)
  assert.equal(store.behind(), 3_600_000)
})

test('B31 a wall clock set forward is followed, and stays when it is set back again', () => {
  const clock = manualClock()
  const store = new StoreClock(clock)
  store.now()
  clock.set(TEST_START + 60_000)
  assert.equal(store.now(), TEST_START + 60_000)
  clock.set(TEST_START)
  clock.advance(1_000)
  assert.equal(store.now(), TEST_START + 61_000)
  assert.equal(store.behind(), 60_000)
})

test('B31 after a start with the clock behind the last record, time goes on from there', () => {
  const clock = manualClock()
  const store = new StoreClock(clock, TEST_START + 10_000)
  assert.equal(store.behind(), 10_000)
  clock.advance(4_000)
  assert.equal(store.now(), TEST_START + 14_000)
})

test('B31 a clock that cannot be read counts as infinitely far behind, and time still passes', () => {
  for (const wall of [Number.NaN, Number.POSITIVE_INFINITY, -1, 9e15]) {
    const clock = manualClock()
    const store = new StoreClock(clock)
    store.now()
    clock.advance(1_000)
    clock.set(wall)
    assert.equal(store.now(), TEST_START + 1_000)
    assert.equal(store.behind(), Number.POSITIVE_INFINITY)
  }
})

test('B31 whatever is done to the wall clock, no less time passes than really does', () => {
  const step = fc.record({ pass: fc.nat(10_000), jump: fc.integer({ min: -1e7, max: 1e7 }) })
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const clock = manualClock()
      const store = new StoreClock(clock)
      let before = store.now()
      for (const { pass, jump } of steps) {
        clock.advance(pass)
        clock.set(clock.wall() + jump)
        const now = store.now()
        assert.ok(Number.isInteger(now))
        assert.ok(now >= before + pass)
        assert.ok(now >= clock.wall())
        before = now
      }
    }),
  )
})
