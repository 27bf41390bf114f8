import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Task } from '../model/task.ts'
import { dueAt, Schedule } from './schedule.ts'

describe('the schedule', () => {
  test('gives what is due, earliest first, each once, and only as it was last set', () => {
    const step = fc.record({
      id: fc.constantFrom('a', 'b', 'c', 'd'),
      at: fc.option(fc.nat(20), { nil: undefined }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.nat(20), (steps, now) => {
        const schedule = new Schedule()
        const last = new Map<string, number>()
        for (const { id, at } of steps) {
          schedule.set('task', id, at)
          if (at === undefined) last.delete(id)
          else last.set(id, at)
        }
        assert.equal(schedule.size, last.size)
        assert.equal(schedule.next, last.size === 0 ? undefined : Math.min(...last.values()))
        const due = schedule.take(now, 100)
        const expected = [...last].filter(([, at]) => at <= now)
        assert.deepEqual(
          due.map(({ id, at }) => `${id}@${at}`).sort(),
          expected.map(([id, at]) => `${id}@${at}`).sort(),
        )
        assert.deepEqual(
          due.map(({ at }) => at),
          due.map(({ at }) => at).toSorted((a, b) => a - b),
        )
        assert.deepEqual(schedule.take(now, 100), [])
      }),
    )
  })

  test('takes no more than it was asked for', () => {
    const schedule = new Schedule()
    for (let i = 0; i < 10; i += 1) schedule.set('grant', `g${i}`, 5)
    assert.equal(schedule.take(5, 4).length, 4)
    assert.equal(schedule.take(5, 40).length, 6)
  })

  test('a heartbeat that moves an end a million times holds one place', () => {
    const schedule = new Schedule()
    for (let i = 0; i < 100_000; i += 1) {
      schedule.set('task', 'a', 1_000 + i)
    }
    assert.equal(schedule.size, 1)
    assert.ok(schedule.places <= 1_100, `${schedule.places} places`)
  })

  test('knows when each kind is due', () => {
    assert.equal(dueAt('grant', { state: 'active', endsAt: 5 } as never), 5)
    assert.equal(dueAt('grant', { state: 'ended', endsAt: 5 } as never), undefined)
    assert.equal(dueAt('request', { status: 'pending', expiresAt: 5 } as never), 5)
    assert.equal(dueAt('request', { status: 'approved', expiresAt: 5 } as never), undefined)
    assert.equal(dueAt('credential', { state: 'unresolved', nextTryAt: 5 } as never), 5)
    assert.equal(dueAt('credential', { state: 'live' } as never), undefined)
    assert.equal(dueAt('task', { state: 'declared', waitUntil: 5 } as Task), 5)
    assert.equal(dueAt('meta', {}), undefined)
  })
})
