import assert from 'node:assert/strict'
import { setImmediate as breathe } from 'node:timers/promises'
import { test } from 'node:test'
import { declare, migration, openWorld } from '../../test/support/world.ts'

test('C12 who reads the whole log from its start keeps nobody waiting, and misses nothing', async () => {
  await using world = await openWorld({ http: false })
  const { flows, store } = world.app
  await store.commit({
    reads: [],
    run: (tx) => {
      for (let at = 0; at < 3_000; at += 1) tx.append({ kind: 'test.filler', refs: ['filler'], at_most: at })
    },
  })
  const seen: number[] = []
  const stop = await flows.events(world.ada, 0, ({ id }) => seen.push(id))
  const task = await declare(world)
  await flows.evaluate(world.migrator, migration(task))
  assert.ok(seen.length < 3_000, 'a decision waited for a reader of the log')

  while (seen.length < (await flows.head()).size - 1) await breathe()
  await flows.endTask(world.migrator, task, 'completed')
  const { size } = await flows.head()
  while (seen.length < size - 1) await breathe()
  assert.deepEqual(
    seen,
    Array.from({ length: size - 1 }, (_, at) => at + 1),
  )
  stop()
  await declare(world)
  await breathe()
  assert.equal(seen.length, size - 1)
})
