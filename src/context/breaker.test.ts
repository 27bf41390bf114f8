import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Breaker } from './breaker.ts'

function at(): { now: number; breaker: Breaker } {
  const clock = { now: 1_000 }
  const breaker = new Breaker({ failures: 3, rest: 100, longest: 1_000, monotonic: () => clock.now })
  return Object.assign(clock, { breaker })
}

const fail = (breaker: Breaker, times: number, rest?: number): void => {
  for (let i = 0; i < times; i += 1) breaker.enter()?.failed(rest)
}

describe('circuit breaker', () => {
  test('B58 who fails so often in a row is left alone, then tried by one alone', () => {
    const it = at()
    fail(it.breaker, 2)
    it.breaker.enter()?.succeeded()
    fail(it.breaker, 2)
    assert.equal(it.breaker.state, 'closed')
    fail(it.breaker, 1)
    assert.equal(it.breaker.state, 'open')
    assert.equal(it.breaker.enter(), undefined)
    assert.equal(it.breaker.resting, 100)
    it.now += 100
    const trial = it.breaker.enter()
    assert.notEqual(trial, undefined)
    assert.equal(it.breaker.enter(), undefined, 'one alone')
    trial?.succeeded()
    assert.equal(it.breaker.state, 'closed')
    assert.notEqual(it.breaker.enter(), undefined)
    assert.notEqual(it.breaker.enter(), undefined)
  })

  test('B58 each trial that fails makes the rest twice as long, up to the longest', () => {
    const it = at()
    fail(it.breaker, 3)
    for (const rest of [200, 400, 800, 1_000, 1_000]) {
      it.now += it.breaker.resting
      fail(it.breaker, 1)
      assert.equal(it.breaker.resting, rest)
    }
    it.now += 1_000
    it.breaker.enter()?.succeeded()
    fail(it.breaker, 3)
    assert.equal(it.breaker.resting, 100, 'it begins again')
  })

  test('who asks to be left alone is, at once, but not for ever', () => {
    const it = at()
    fail(it.breaker, 1, 500)
    assert.equal(it.breaker.resting, 500)
    it.now += 500
    fail(it.breaker, 1, 86_400_000)
    assert.equal(it.breaker.resting, 1_000)
  })

  test('late news of before changes nothing, and news are told once', () => {
    const it = at()
    const late = it.breaker.enter()
    fail(it.breaker, 3)
    late?.succeeded()
    assert.equal(it.breaker.state, 'open')
    it.now += 100
    const trial = it.breaker.enter()
    const before = it.breaker.resting
    late?.failed()
    assert.equal(it.breaker.resting, before)
    trial?.failed()
    trial?.succeeded()
    assert.equal(it.breaker.state, 'open')
  })

  test('whatever happens, it lets somebody through again before the longest rest is over', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom('ok', 'bad', 'rest'), fc.integer({ min: 0, max: 300 })), {
          maxLength: 60,
        }),
        (steps) => {
          const it = at()
          for (const [step, wait] of steps) {
            const passage = it.breaker.enter()
            if (step === 'ok') passage?.succeeded()
            else passage?.failed(step === 'rest' ? 10_000 : undefined)
            it.now += wait
          }
          it.now += 1_000
          assert.notEqual(it.breaker.enter(), undefined)
        },
      ),
    )
  })
})
