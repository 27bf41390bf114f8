import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { declaredTask } from '../../test/support/task.ts'
import type { CalendarEvent, Window } from './calendar.ts'
import { narrowedBy, nextBoundary, openAt, windowFrom } from './calendar.ts'
import type { Fact } from './fact.ts'
import { endTask, isLive, narrowWindow, openTask, taskLapsesAt } from './task.ts'
import { MINUTE } from './time.ts'

const saying = (...events: CalendarEvent[]): Pick<Fact, 'value'> => ({ value: { events } })
const at = fc.integer({ min: 0, max: 60 })
const event: fc.Arbitrary<CalendarEvent> = fc.record({
  startsAt: at,
  endsAt: at,
  uid: fc.constantFrom('a', 'b'),
  of: at,
})
const said = fc.array(event, { maxLength: 6 }).map((events) => saying(...events))

describe('open and next', () => {
  test('nextBoundary never skips a change, and is one', () => {
    fc.assert(
      fc.property(said, at, (fact, now) => {
        const next = nextBoundary(fact, now)
        const isOpen = openAt(fact, now)
        assert.ok(next > now)
        // no instant before it is otherwise, and it is otherwise itself
        for (let later = now; later < Math.min(next, 70); later += 1)
          assert.equal(openAt(fact, later), isOpen)
        if (next === Infinity) assert.equal(isOpen, false, 'what is open ends')
        else assert.equal(openAt(fact, next), !isOpen)
      }),
      { numRuns: 2_000 },
    )
  })

  test('an end is over, a beginning is not; what has no length is no event; what touches is one', () => {
    const fact = saying(
      { startsAt: 10, endsAt: 20 },
      { startsAt: 20, endsAt: 30 },
      { startsAt: 40, endsAt: 40 },
    )
    assert.deepEqual(
      [9, 10, 29, 30, 40].map((now) => openAt(fact, now)),
      [false, true, true, false, false],
    )
    assert.deepEqual(
      [0, 10, 25, 30].map((now) => nextBoundary(fact, now)),
      [10, 30, 30, Infinity],
    )
    assert.equal(nextBoundary({ value: null }, 0), Infinity)
    assert.equal(openAt({ value: null }, 0), false)
  })
})

describe('windows of events', () => {
  test('the event that is on, of several the one that ends last; else the next', () => {
    const fact = saying(
      { startsAt: 10, endsAt: 20, uid: 'a' },
      { startsAt: 12, endsAt: 30, uid: 'b', summary: 'release' },
      { startsAt: 50, endsAt: 60, uid: 'c', of: 49 },
    )
    const of = (now: number): string | undefined => windowFrom('release', fact, now)?.calendar?.uid
    assert.deepEqual([of(0), of(11), of(15), of(25), of(30), of(60)], ['a', 'a', 'b', 'b', 'c', undefined])
    assert.deepEqual(windowFrom('release', fact, 40), {
      startsAt: 50,
      endsAt: 60,
      calendar: { name: 'release', uid: 'c', of: 49 },
    })
  })

  const window: Window = { startsAt: 10, endsAt: 20, calendar: { name: 'release', uid: 'a', of: 10 } }
  const moved = (startsAt: number, endsAt: number, of = 10, uid = 'a'): CalendarEvent => ({
    startsAt,
    endsAt,
    of,
    uid,
  })

  test('what is moved or shortened narrows, what is longer does not widen, what is gone is gone', () => {
    const left = (...events: CalendarEvent[]): [number, number] | undefined => {
      const narrowed = narrowedBy(window, saying(...events))
      return narrowed === undefined ? undefined : [narrowed.startsAt, narrowed.endsAt]
    }
    assert.deepEqual(left(moved(10, 15)), [10, 15])
    assert.deepEqual(left(moved(15, 40)), [15, 20])
    assert.deepEqual(left(moved(0, 40)), [10, 20])
    assert.equal(left(moved(20, 30)), undefined)
    assert.equal(left(), undefined)
    assert.equal(left(moved(10, 20, 10, 'b')), undefined, 'another event at the same time is another')
    // a series that begins later now; its own time counts before one that overlaps more
    assert.deepEqual(left(moved(0, 2, 0), moved(12, 22, 12)), [12, 20])
    assert.deepEqual(left(moved(10, 20, 3), moved(10, 12)), [10, 12])
    assert.equal(narrowedBy(window, saying(moved(0, 40))), window)
  })

  test('C3 C5 whatever calendars say one after another, a task is never given more', () => {
    fc.assert(
      fc.property(fc.array(said, { maxLength: 5 }), fc.boolean(), (facts, isOpen) => {
        const declared = declaredTask(0, { window, life: 30 * MINUTE })
        let task = isOpen ? openTask(declared, 12, Infinity) : declared
        for (const fact of facts) {
          const before = task
          const left = narrowedBy(task.window as Window, fact)
          task =
            left === undefined ? endTask(task, 'cancelled', 15, 'gone', 'test') : narrowWindow(task, left)
          if (task === before) continue
          for (let now = 0; now < 60; now += 1) {
            const may = (one: typeof task): boolean =>
              isLive(one, now) && now >= (one.window?.startsAt ?? 0) && now < (one.window?.endsAt ?? 60)
            assert.ok(!may(task) || may(before), `more at ${now}`)
          }
        }
      }),
      { numRuns: 1_000 },
    )
  })

  test('a window that opens later is waited for; an open task ends with it; an ended one stays as it is', () => {
    const wide: Window = { startsAt: 0, endsAt: 120 * MINUTE }
    const declared = declaredTask(0, { window: wide })
    const later = narrowWindow(declared, { startsAt: 60 * MINUTE, endsAt: 90 * MINUTE })
    assert.equal(taskLapsesAt(later), 75 * MINUTE)
    const open = openTask(declared, 0, Infinity)
    assert.equal(narrowWindow(open, { startsAt: 0, endsAt: 10 * MINUTE }).endsAt, 10 * MINUTE)
    assert.equal(narrowWindow(open, { startsAt: -5, endsAt: 240 * MINUTE }), open)
    const ended = endTask(open, 'completed', 5, 'done', 'test')
    assert.equal(narrowWindow(ended, { startsAt: 0, endsAt: 1 }), ended)
    assert.equal(narrowWindow(declaredTask(0), { startsAt: 0, endsAt: 1 }).window, undefined)
  })
})
