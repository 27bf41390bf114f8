import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Scope, Task } from './task.ts'
import {
  MOST_DENIED,
  RATE_SPAN,
  RATE_STEP,
  beat,
  countCall,
  countDenial,
  endTask,
  historyOf,
  inScope,
  isEnded,
  isLive,
  narrows,
  openTask,
  taskLapsesAt,
  waitUntil,
  windowOf,
  withoutCalls,
} from './task.ts'
import { MINUTE, SECOND } from './time.ts'

function task(more: Partial<Task> = {}): Task {
  return {
    id: 'task_1',
    state: 'declared',
    purpose: 'p',
    subject: { type: 'Agent', id: 'a' },
    chain: [{ type: 'Agent', id: 'a' }],
    declaredBy: { type: 'Agent', id: 'a' },
    instigators: [],
    caller: 'key:k',
    scope: { actions: ['x'], resources: [{ type: 'Database' }] },
    limits: {},
    declaredAt: 0,
    waitUntil: 15 * MINUTE,
    life: 30 * MINUTE,
    heartbeat: 15 * SECOND,
    calls: 0,
    denials: 0,
    resources: [],
    ...more,
  }
}

const name = fc.constantFrom('a', 'b', 'c')
const scope: fc.Arbitrary<Scope> = fc.record({
  actions: fc.uniqueArray(name, { minLength: 1 }),
  resources: fc.array(fc.oneof(fc.record({ type: name, id: name }), fc.record({ type: name })), {
    minLength: 1,
    maxLength: 4,
  }),
})

describe('C5 a child only narrows', () => {
  test('whatever is inside a narrower scope is inside the wider one', () => {
    fc.assert(
      fc.property(scope, scope, name, name, name, (child, parent, action, type, id) => {
        if (narrows(child, parent) && inScope(child, action, { type, id })) {
          assert.ok(inScope(parent, action, { type, id }))
        }
      }),
      { numRuns: 2_000 },
    )
  })

  test('any of a type is not inside one of it', () => {
    const one = { actions: ['x'], resources: [{ type: 'Database', id: 'orders' }] }
    const any = { actions: ['x'], resources: [{ type: 'Database' }] }
    assert.equal(narrows(any, one), false)
    assert.equal(narrows(one, any), true)
  })

  test('windows of a whole line of tasks meet', () => {
    const of = (startsAt: number, endsAt: number): Task => task({ window: { startsAt, endsAt } })
    assert.deepEqual(windowOf([of(10, 50), task(), of(20, 40)]), { startsAt: 20, endsAt: 40 })
    assert.deepEqual(windowOf([task()]), {})
  })
})

describe('C3 clocks of a task start when it opens, and nothing extends its end', () => {
  test('waiting eats nothing', () => {
    const opened = openTask(task(), 14 * MINUTE, Infinity)
    assert.deepEqual([opened.state, opened.endsAt], ['open', 44 * MINUTE])
    assert.equal(openTask(opened, 20 * MINUTE, Infinity), opened)
  })

  test('B28 a child opens no longer than its parent and its window', () => {
    assert.equal(openTask(task(), MINUTE, 5 * MINUTE).endsAt, 5 * MINUTE)
    assert.equal(
      openTask(task({ window: { startsAt: 0, endsAt: 3 * MINUTE } }), MINUTE, 5 * MINUTE).endsAt,
      3 * MINUTE,
    )
  })

  test('B30 heartbeats keep a task alive up to its end, and never beyond', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 40 * MINUTE }), { maxLength: 30 }), (beats) => {
        let open = openTask(task(), 0, Infinity)
        for (const at of beats.sort((a, b) => a - b)) open = beat(open, at)
        assert.equal(isLive(open, 30 * MINUTE), false)
        assert.ok((taskLapsesAt(open) ?? Infinity) <= 30 * MINUTE)
      }),
    )
    const open = openTask(task(), 0, Infinity)
    assert.equal(isLive(open, 15 * SECOND - 1), true)
    assert.equal(isLive(open, 15 * SECOND), false)
    assert.equal(isLive(beat(open, 10 * SECOND), 25 * SECOND - 1), true)
  })

  test('a declared task waits for answers, an open one does not', () => {
    assert.equal(waitUntil(task(), 10 * MINUTE).waitUntil, 25 * MINUTE)
    assert.equal(waitUntil(task(), -10 * MINUTE).waitUntil, 15 * MINUTE)
    const open = openTask(task(), 0, Infinity)
    assert.equal(waitUntil(open, 60 * MINUTE), open)
    assert.equal(taskLapsesAt(task({ window: { startsAt: 0, endsAt: MINUTE } })), MINUTE)
  })

  test('a task ends once', () => {
    const ended = endTask(task(), 'completed', 5, 'done', 'a')
    assert.equal(endTask(ended, 'failed', 6, 'no', 'b'), ended)
    assert.equal(isEnded(ended) && !isLive(ended, 5), true)
    assert.equal(beat(ended, 6), ended)
    assert.equal(openTask(ended, 6, Infinity), ended)
  })
})

test('what is denied again is a retry; what was permitted since is not', () => {
  const at = Date.UTC(2026, 10, 23)
  const resource = { type: 'Database', id: 'orders' }
  const fresh = task()
  const denied = countDenial(fresh, 'a', true)
  assert.deepEqual([denied.denials, historyOf(denied, at).retries], [1, 0])
  const again = countDenial(denied, 'a', true)
  assert.deepEqual([again.denials, historyOf(again, at).retries], [2, 1])
  const permitted = countCall(again, { thing: 'a', resource, isNamed: true }, at)
  assert.equal(historyOf(permitted, at).retries, 2)
  assert.equal(historyOf(countDenial(permitted, 'a', true), at).retries, 2)
  // a challenge is an invitation to come back, and what happens below is no attempt of this one
  assert.equal(historyOf(countDenial(countDenial(fresh, 'a', false), 'a', true), at).retries, 0)
  assert.equal(historyOf(countCall(denied, { thing: 'a', resource, isNamed: false }, at), at).retries, 0)
})

test('what cannot be remembered any more is taken to have been denied before', () => {
  let one = task()
  for (let n = 0; n < MOST_DENIED; n += 1) one = countDenial(one, `thing ${n}`, true)
  assert.equal(historyOf(one, 0).retries, 0)
  one = countDenial(one, 'one more', true)
  assert.equal(historyOf(one, 0).retries, 1)
  assert.equal(one.denied?.length, MOST_DENIED)
})

test('the rate is never too low, at most five seconds too high, and takes no more room than a minute', () => {
  const call = { thing: 'a', resource: { type: 'Database', id: 'orders' }, isNamed: true }
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 60 }), (waits) => {
      let [one, now]: [Task, number] = [task(), 1_000_000]
      const times: number[] = []
      for (const wait of waits) {
        now += wait
        one = countCall(one, call, now)
        times.push(now)
        const within = (span: number): number => times.filter((time) => time > now - span).length
        const { rate } = historyOf(one, now)
        assert.ok(rate >= within(RATE_SPAN) && rate <= within(RATE_SPAN + RATE_STEP))
        assert.ok((one.recent?.length ?? 0) <= RATE_SPAN / RATE_STEP + 1)
      }
      assert.equal(historyOf(one, now + RATE_SPAN + RATE_STEP).rate, 0)
      assert.equal(historyOf(withoutCalls(one, times.length), now).rate, 0)
    }),
  )
  // a clock that went back loses nothing
  const ahead = countCall(task(), call, 1_000_000)
  assert.equal(historyOf(countCall(ahead, call, 900_000), 1_000_000).rate, 2)
})

test('a task from before there were systems has those of what it touched', () => {
  const one = task({ resources: ['Database/a', 'Database/b', 'Document/c'] })
  assert.equal(historyOf(one, 0).systems, 2)
  const call = { thing: 'a', resource: { type: 'Queue', id: 'q' }, isNamed: true }
  assert.deepEqual(countCall(one, call, 0).systems, ['Database', 'Document', 'Queue'])
})
