import assert from 'node:assert/strict'
import { once, EventEmitter } from 'node:events'
import { describe, test } from 'node:test'
import type { Batch, Sink } from '../signals/sink.ts'
import { SinkError } from '../signals/sink.ts'
import { openTestStore } from '../../test/support/store.ts'
import type { TestStore } from '../../test/support/store.ts'
import type { Export } from './exports.ts'
import { Exports } from './exports.ts'

const log = (): void => undefined

async function append(store: TestStore, count: number, kind = 'test.filler'): Promise<void> {
  await store.commit({
    reads: [],
    run: (tx) => {
      for (let at = 0; at < count; at += 1) tx.append({ kind, refs: [] })
    },
  })
}

/** A sink that takes what `on` does not refuse. */
class FakeSink implements Sink {
  readonly taken: number[] = []
  readonly batches: Batch[] = []
  readonly happened = new EventEmitter()
  tries = 0
  on: (batch: Batch, signal: AbortSignal) => Promise<void> | void = () => undefined

  async send(batch: Batch, signal: AbortSignal): Promise<void> {
    this.tries += 1
    try {
      await this.on(batch, signal)
    } finally {
      this.happened.emit('tried')
    }
    this.batches.push(batch)
    this.taken.push(...batch.lines.map(({ seq }) => seq))
    this.happened.emit('taken')
  }

  async close(): Promise<void> {}

  /** Resolves when it has `count` entries. */
  async has(count: number): Promise<void> {
    while (this.taken.length < count) await once(this.happened, 'taken')
  }

  async tried(times: number): Promise<void> {
    while (this.tries < times) await once(this.happened, 'tried')
  }
}

const exportOf = (sink: Sink, more: Partial<Export> = {}): Export => ({
  id: 'siem',
  format: 'entries',
  from: 'start',
  timeout: 10_000,
  batch: 100,
  sink,
  ...more,
})

async function open(store: TestStore, ...some: Export[]): Promise<Exports & AsyncDisposable> {
  const exports = new Exports({ store, installation: 'inst_a', version: '1', log, jitter: () => 0 }, some)
  await exports.recover()
  exports.start()
  return Object.assign(exports, { [Symbol.asyncDispose]: () => exports.stop() })
}

const upTo = (size: number): number[] => Array.from({ length: size }, (_, seq) => seq)

/** Until the place of every sink is durable. */
async function kept(store: TestStore, exports: Exports, next: number): Promise<void> {
  while (exports.states().some((state) => state.next < next)) {
    await store.read([])
    await new Promise((resolve) => setImmediate(resolve))
  }
}

describe('exports', () => {
  test('send the log from its start, in order, and go on with what comes', async () => {
    await using store = await openTestStore()
    await append(store, 250)
    const sink = new FakeSink()
    await using exports = await open(store, exportOf(sink))
    await sink.has(250)
    await append(store, 3)
    await sink.has(253)
    assert.deepEqual(sink.taken, upTo(253))
    assert.deepEqual(
      sink.batches.slice(0, 3).map(({ lines }) => lines.length),
      [100, 100, 50],
    )
    assert.deepEqual(exports.problems(store.clock.wall()), [])
  })

  test('C1 begin where they stood, in another process too; what was not acknowledged comes again with its id', async () => {
    await using store = await openTestStore()
    await append(store, 150)
    const first = new FakeSink()
    first.on = ({ lines }) => {
      if ((lines[0]?.seq ?? 0) >= 100) throw new SinkError('it answered 503')
    }
    const exports = await open(store, exportOf(first))
    await first.tried(2)
    await exports.stop()
    assert.deepEqual(first.taken, upTo(100))

    await using again = await store.reopen()
    const second = new FakeSink()
    await using _ = await open(again, exportOf(second))
    await second.has(50)
    assert.deepEqual(second.taken, upTo(150).slice(100))
    assert.equal(second.batches[0]?.id, 'inst_a-100-149')
  })

  test('B46 one that hangs, one that fails and one that is well do not touch each other', async () => {
    await using store = await openTestStore()
    await append(store, 30)
    const [hanging, failing, well] = [new FakeSink(), new FakeSink(), new FakeSink()]
    hanging.on = () => new Promise(() => undefined) // hears no signal either
    failing.on = () => {
      throw Object.assign(new Error('connect ECONNREFUSED 10.0.0.1:6514'), { code: 'ECONNREFUSED' })
    }
    await using exports = await open(
      store,
      exportOf(hanging, { id: 'hanging', timeout: 20 }),
      exportOf(failing, { id: 'failing' }),
      exportOf(well, { id: 'well' }),
    )
    await well.has(30)
    await hanging.tried(0)
    await failing.tried(2)
    while (exports.problems(store.clock.wall()).length < 2) await failing.tried(failing.tries + 1)
    assert.deepEqual(exports.problems(store.clock.wall()), [
      'export `hanging` is 30 entries behind since 2026-11-22T12:00:00.000Z: it did not answer in time',
      'export `failing` is 30 entries behind since 2026-11-22T12:00:00.000Z: nothing listens at its address',
    ])
    assert.deepEqual([exports.mayPrune(0), exports.mayPrune(29)], [false, false])
    failing.on = () => undefined
    await failing.has(30)
    assert.deepEqual(failing.taken, upTo(30))
  })

  test('B46 further and further apart, and never sooner than was asked', async (t) => {
    await using store = await openTestStore()
    await append(store, 1)
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const sink = new FakeSink()
    sink.on = () => {
      throw new SinkError('it answered 429', sink.tries === 3 ? { retryAfter: 90_000 } : {})
    }
    await using _ = await open(store, exportOf(sink))
    const until = async (tries: number): Promise<number> => {
      let waited = 0
      while (sink.tries < tries) {
        for (let turns = 0; turns < 20; turns += 1) await new Promise((resolve) => setImmediate(resolve))
        if (sink.tries >= tries) break
        t.mock.timers.tick(25)
        waited += 25
      }
      return waited
    }
    await until(1)
    assert.deepEqual([await until(2), await until(3), await until(4)], [125, 250, 90_000])
  })

  test('a batch that is too large is halved until it is not', async () => {
    await using store = await openTestStore()
    await append(store, 40)
    const sink = new FakeSink()
    sink.on = ({ lines }) => {
      if (lines.length > 10) throw new SinkError('it answered 413', { tooLarge: true })
    }
    await using _ = await open(store, exportOf(sink))
    await sink.has(40)
    assert.deepEqual(sink.taken, upTo(40))
  })

  test('mayPrune: nothing that a sink still lacks', async () => {
    await using store = await openTestStore()
    await append(store, 20)
    const sink = new FakeSink()
    sink.on = ({ lines }) => {
      if ((lines[0]?.seq ?? 0) > 0) throw new SinkError('it answered 500')
    }
    await using exports = await open(store, exportOf(sink, { batch: 5 }))
    await sink.tried(2)
    assert.deepEqual(
      [4, 5, 19].map((seq) => exports.mayPrune(seq)),
      [true, false, false],
    )
    sink.on = () => undefined
    await sink.has(20)
    await kept(store, exports, 20)
    assert.equal(exports.mayPrune(19), true)
    assert.equal(exports.mayPrune(20), false)
    assert.equal(
      new Exports({ store, installation: 'i', version: '1', log, jitter: () => 0 }, []).mayPrune(9),
      true,
    )
  })

  test('what was pruned before is sent as pruned', async () => {
    await using store = await openTestStore()
    await append(store, 3)
    await store.log.prune([1])
    const sink = new FakeSink()
    await using _ = await open(store, exportOf(sink))
    await sink.has(3)
    const texts = sink.batches.flatMap(({ lines }) => lines.map(({ text }) => JSON.parse(text) as object))
    assert.deepEqual(
      texts.map((text) => 'pruned' in text),
      [false, true, false],
    )
  })

  test('only the kinds that are wanted, and past all others', async () => {
    await using store = await openTestStore()
    await append(store, 5_000)
    await append(store, 1, 'grant.ended')
    await append(store, 1, 'grants')
    await append(store, 1, 'decision')
    const sink = new FakeSink()
    await using exports = await open(store, exportOf(sink, { kinds: ['grant.', 'decision'] }))
    await sink.has(2)
    assert.deepEqual(sink.taken, [5_000, 5_002])
    await kept(store, exports, 5_003)
  })

  test('a new one may begin now', async () => {
    await using store = await openTestStore()
    await append(store, 10)
    const sink = new FakeSink()
    await using _ = await open(store, exportOf(sink, { from: 'now' }))
    await append(store, 2)
    await sink.has(2)
    assert.deepEqual(sink.taken, [10, 11])
  })

  test('C1 a process that dies between any two steps loses nothing, and repeats a batch under its id at most', async () => {
    let steps = Infinity
    for (let die = 1; die < steps; die += 1) {
      await using store = await openTestStore()
      await append(store, 7)
      const sent: Batch[] = []
      let left = die
      const dead = Promise.withResolvers<void>()
      /** What is asked of the world; from step `die` on nothing ever answers. */
      const step = async <T>(work: () => T | Promise<T>): Promise<T> => {
        left -= 1
        if (left <= 0) {
          dead.resolve()
          return new Promise<T>(() => undefined)
        }
        return work()
      }
      const dying: typeof store = Object.assign(Object.create(store) as typeof store, {
        read: (reads: Parameters<typeof store.read>[0]) => step(() => store.read(reads)),
        async commit(item: Parameters<typeof store.commit>[0]) {
          const result = await step(() => store.commit(item))
          return step(() => result)
        },
        log: {
          ...store.log,
          head: () => step(() => store.log.head()),
          entries: (from: number, to: number) => step(() => store.log.entries(from, to)),
        },
      })
      const taking: Sink = {
        async send(batch) {
          await step(() => sent.push(batch))
          await step(() => undefined) // taken, but the answer is on its way
        },
        close: async () => undefined,
      }
      const how = { installation: 'inst_a', version: '1', log, jitter: () => 0 }
      const exports = new Exports({ ...how, store: dying }, [exportOf(taking, { batch: 3 })])
      const alive = exports.recover().then(() => {
        exports.start()
        return kept(store, exports, 7)
      })
      await Promise.race([alive, dead.promise])
      if (left > 0) {
        steps = die // it did all that there is to do
        await exports.stop()
      }

      const again = new FakeSink()
      again.on = (batch) => void sent.push(batch)
      await using after = await open(store, exportOf(again, { batch: 3 }))
      await kept(store, after, 7)
      const seqs = sent.map(({ lines }) => lines.map(({ seq }) => seq))
      assert.deepEqual([...new Set(seqs.flat())], upTo(7), `died at step ${die}`)
      const ids = sent.map(({ id }) => id)
      assert.ok(ids.length - new Set(ids).size <= 1, `died at step ${die}: ${ids.join(' ')}`)
    }
    assert.ok(steps > 15, `only ${steps} steps`)
  })

  test('B68 a store without room neither stops an export nor sends anything twice', async () => {
    await using store = await openTestStore()
    await append(store, 10)
    const sink = new FakeSink()
    let full = true
    const seen = { refused: 0 }
    const tight: typeof store = Object.assign(Object.create(store) as typeof store, {
      read: store.read.bind(store),
      commit: ((item: Parameters<typeof store.commit>[0]) => {
        if (!full) return store.commit(item)
        seen.refused += 1
        sink.happened.emit('tried')
        return Promise.reject(new Error('full'))
      }) as typeof store.commit,
    })
    await using exports = await open(tight, exportOf(sink))
    await sink.has(10)
    while (seen.refused < 2) await once(sink.happened, 'tried')
    assert.match(exports.problems(0)[0] ?? '', /its place could not be recorded/)
    assert.equal(exports.mayPrune(0), false)
    full = false
    await kept(store, exports, 10)
    assert.deepEqual(sink.taken, upTo(10))
  })
})
