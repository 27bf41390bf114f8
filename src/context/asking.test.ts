import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, test } from 'node:test'
import { openTestStore } from '../../test/support/store.ts'
import type { Observation } from '../model/fact.ts'
import { factId } from '../model/fact.ts'
import { Asking } from './asking.ts'
import type { FactSource } from './port.ts'
import { SourceError } from './port.ts'

const DEADLINE = 250

type Say = (about: string, signal: AbortSignal) => Promise<Observation>

/** Sources over a store whose time nobody waits for: `late` lets all that has been waited for be over. */
async function asking(sources: Readonly<Record<string, Say>>) {
  const store = await openTestStore()
  const asked: string[] = []
  const logged: string[] = []
  const waits: { ms: number; over: () => void }[] = []
  const it = new Asking({
    store,
    calendars: [],
    sources: Object.entries(sources).map(([name, say]): FactSource => ({
      name,
      fact: 'ticket',
      fresh: 30_000,
      answersFor: (about) => about.startsWith(`${name}-`),
      observe(about, signal) {
        asked.push(about)
        return say(about, signal)
      },
    })),
    observe: async (source, by, observations) => {
      await store.commit({
        reads: [],
        run: (tx) => {
          for (const one of observations) {
            const id = factId(one.name, one.about)
            tx.put('fact', id, { ...one, id, source, by, receivedAt: tx.now })
          }
        },
      })
    },
    sleep: (ms, signal) =>
      new Promise((over) => {
        const wait = { ms, over }
        waits.push(wait)
        signal.addEventListener('abort', () => {
          waits.splice(waits.indexOf(wait), 1)
          over()
        })
      }),
    log: (_message, { why, source }) => logged.push(`${String(source)}: ${String(why)}`),
  })
  return {
    store,
    asked,
    logged,
    refresh: (...abouts: readonly string[]) => it.refresh(abouts.map((about) => ({ name: 'ticket', about }))),
    knows: async (about: string) =>
      (await store.read([{ kind: 'fact', id: factId('ticket', about) }])).get('fact', factId('ticket', about))
        ?.value.value?.['open'],
    late(ms: number) {
      for (const { over } of waits.filter((wait) => wait.ms === ms)) over()
    },
    waits,
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
}

const ticket = (about: string, observedAt: number): Observation => ({
  name: 'ticket',
  about,
  value: { id: about, open: true },
  observedAt,
  maxAge: 60_000,
})
const never = (): Promise<never> => new Promise(() => undefined)
const turns = async (): Promise<void> => {
  for (let i = 0; i < 20; i += 1) await turn()
}

describe('B58 asking sources', () => {
  test('one that hangs takes nobody else\u2019s places, and costs who waits for it no more than the deadline', async () => {
    await using it = await asking({
      dead: never,
      good: async (about) => ticket(about, it.store.clock.wall()),
    })
    const many = Array.from({ length: 100 }, (_, n) => `dead-${n}`)
    const waiting = it.refresh(...many)
    await turns()
    assert.equal(it.asked.length, 64, 'so many at once and no more')
    // whoever wants to know of the other does not wait at all
    await it.refresh('good-1')
    assert.equal(await it.knows('good-1'), true)
    const both = it.refresh('good-2', 'dead-1')
    await turns()
    assert.equal(await it.knows('good-2'), true)
    it.late(DEADLINE)
    await Promise.all([waiting, both])
    assert.equal(await it.knows('dead-1'), undefined)
  })

  test('of all that want to know the same, one asks', async () => {
    const answer = Promise.withResolvers<void>()
    await using it = await asking({
      slow: async (about) => {
        await answer.promise
        return ticket(about, it.store.clock.wall())
      },
    })
    const waiting = Array.from({ length: 200 }, () => it.refresh('slow-1'))
    await turns()
    assert.deepEqual(it.asked, ['slow-1'])
    answer.resolve()
    await Promise.all(waiting)
    assert.equal(await it.knows('slow-1'), true)
    await it.refresh('slow-1')
    assert.deepEqual(it.asked, ['slow-1'], 'it is fresh')
    assert.deepEqual(it.waits, [], 'nothing waits on')
  })

  test('B58 what is believed no longer than it is fresh is asked for again before that', async () => {
    await using it = await asking({
      short: async (about) => ({ ...ticket(about, it.store.clock.wall()), maxAge: 30_000 }),
    })
    await it.refresh('short-1')
    it.store.clock.advance(23_999)
    await it.refresh('short-1')
    assert.equal(it.asked.length, 1)
    it.store.clock.advance(1)
    await it.refresh('short-1')
    assert.equal(it.asked.length, 2)
  })

  test('one that never says, and does not hear that it is given up, is asked again', async () => {
    let given = 0
    await using it = await asking({
      deaf: (_about, signal) => {
        signal.addEventListener('abort', () => (given += 1))
        return never()
      },
    })
    for (let nth = 1; nth <= 2; nth += 1) {
      const waiting = it.refresh('deaf-1')
      await turns()
      it.late(DEADLINE)
      await waiting
      await it.refresh('other-1')
      assert.equal(it.asked.length, nth)
      it.late(10_000)
      await turns()
      assert.equal(given, nth)
    }
    assert.deepEqual(it.logged, ['deaf: it did not say in time', 'deaf: it did not say in time'])
  })

  test('each that is dead in its turn leaves the others as they were', async () => {
    const names = ['a', 'b', 'c']
    const ways: readonly Say[] = [
      never,
      () => Promise.reject(new SourceError('down')),
      () => {
        throw new TypeError('at once')
      },
      async () => ticket('a-9', 0),
      async () => undefined as never,
    ]
    let [dead, way] = ['', never as Say]
    await using it = await asking(
      Object.fromEntries(
        names.map((name) => [
          name,
          (about, signal) =>
            name === dead ? way(about, signal) : Promise.resolve(ticket(about, it.store.clock.wall())),
        ]),
      ),
    )
    let nth = 0
    for (dead of names)
      for (way of ways) {
        nth += 1
        const waiting = it.refresh(...names.map((name) => `${name}-${nth}`))
        await turns()
        it.late(DEADLINE)
        await waiting
        const known = await Promise.all(names.map((name) => it.knows(`${name}-${nth}`)))
        assert.deepEqual(
          known,
          names.map((name) => (name === dead ? undefined : true)),
        )
      }
  })
})
