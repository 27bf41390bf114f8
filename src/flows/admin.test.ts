import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openWorld, ref } from '../../test/support/world.ts'

test('C4 what a write of the inventory leaves out stays, so that an owner cannot vanish unnamed; null takes it away', async () => {
  await using world = await openWorld({ http: false })
  const { flows } = world.app
  const put = async (more: object) =>
    (await flows.putEntities(world.ada, [{ ...ref('Agent/migrator'), ...more }]))[0]

  const kept = await put({ sensitivity: 2 })
  assert.deepEqual(
    [kept?.owner, kept?.parents, kept?.sensitivity, kept?.kind],
    [ref('Person/ada'), [ref('Group/deployers')], 2, 'agent'],
  )
  assert.equal((await put({ owner: null }))?.owner, undefined)
  assert.deepEqual((await put({ parents: [] }))?.parents, [])
})
