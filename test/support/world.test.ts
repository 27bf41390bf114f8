import assert from 'node:assert/strict'
import { test } from 'node:test'
import { activeGrant, openWorld } from './world.ts'

test('a world reaches an active grant and survives a restart', async () => {
  await using world = await openWorld()
  const { grant, task } = await activeGrant(world)
  const again = await world.restart()
  const shown = await again.app.flows.grant(again.migrator, grant)
  assert.equal(shown.grant.state, 'active')
  await again.app.flows.endTask(again.migrator, task, 'completed')
  assert.equal((await again.app.flows.grant(again.migrator, grant)).grant.state, 'closed')
  await again.app.stop()
})
