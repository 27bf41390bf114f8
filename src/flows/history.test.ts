import assert from 'node:assert/strict'
import { test } from 'node:test'
import { activeGrant, attempt, declare, migration, openWorld, ref } from '../../test/support/world.ts'
import { redecideAll } from '../../test/support/redecide.ts'

test('replay: every decision of a story is decided again from its log, and gives the same', async () => {
  await using world = await openWorld()
  const { flows, store } = world.app
  const { task, grant } = await activeGrant(world)
  await flows.evaluate(world.migrator, migration(task))
  await flows.evaluate(world.migrator, attempt('Agent/migrator', 'nothing:known', 'Database/orders'))
  await flows.evaluate(world.migrator, attempt('Agent/other', 'db:migrate', 'Database/orders'))
  await flows.putEntities(world.ada, [
    { type: 'Database', id: 'orders', sensitivity: 4, attrs: { tier: 'gold' } },
  ])
  await flows.putEntities(world.ada, [{ type: 'Robot', id: 'r2', attrs: { colour: 'blue' } }])
  await flows.evaluate(world.migrator, migration(await declare(world)))
  await flows.revokeGrant(world.migrator, grant, 'done')
  await flows.deleteEntity(world.ada, ref('Database/orders'))
  await flows.evaluate(world.migrator, migration(await declare(world)))
  await flows.revokeSubject(world.ada, ref('Agent/unheard'), 'who is it')
  await flows.revokeSubject(world.ada, ref('Agent/migrator'), 'enough')
  await flows.evaluate(world.migrator, migration(undefined))
  const first = await redecideAll(store)
  assert.ok(first.evaluated >= 10, `${first.evaluated} of ${first.decisions} were evaluated`)
  await using again = await world.restart()
  const { app } = again
  assert.deepEqual((await redecideAll(app.store)).evaluated, first.evaluated)
  // one by one, each by its own search, gives what the walk gave
  const { size } = await app.store.log.head()
  for (let seq = 0; seq < size; seq += 1) {
    if ((await app.flows.history.decision(seq)) === undefined) continue
    const rebuilt = await app.flows.history.rebuild(seq)
    assert.ok(rebuilt.ok, rebuilt.ok ? '' : rebuilt.why)
    assert.ok(app.flows.history.again(rebuilt).same)
  }
})
