import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WorldOptions } from '../../test/support/world.ts'
import { declare, migration, openWorld, requestMigration } from '../../test/support/world.ts'

/** A world in which grace has approved the migration under `task`. */
async function approvedMigration(options: WorldOptions = {}) {
  const world = await openWorld(options)
  const task = await declare(world)
  const request = await requestMigration(world, task)
  const { approval = '' } = await world.app.flows.approve(world.grace, request.id, {
    statement: request.digest,
  })
  return { world, task, approval }
}

test('a retry gets the permit of its grant again, without spending a second use', async () => {
  const { world, task, approval } = await approvedMigration()
  await using _ = world
  const { flows } = world.app
  await flows.activate(world.migrator, migration(task, { approval }))
  const attempt = migration(task)
  const first = await flows.evaluate(world.migrator, attempt, { idempotencyKey: 'once' })
  assert.deepEqual([first.outcome, first.grant?.usesLeft], ['permit', 0])
  assert.deepEqual(await flows.evaluate(world.migrator, attempt, { idempotencyKey: 'once' }), first)
  const { grant } = await flows.grant(world.migrator, first.grant?.id ?? '')
  assert.equal(grant.used, 1)
})

test('a retry after the grant was revoked is denied as changed', async () => {
  const { world, task, approval } = await approvedMigration()
  await using _ = world
  const { flows } = world.app
  const attempt = migration(task, { approval })
  const first = await flows.evaluate(world.migrator, attempt, { idempotencyKey: 'once' })
  assert.equal(first.outcome, 'permit')
  await flows.revokeGrant(world.ada, first.grant?.id ?? '', 'enough')
  const late = await flows.evaluate(world.migrator, attempt, { idempotencyKey: 'once' })
  assert.deepEqual([late.outcome, late.reason], ['deny', 'changed'])
})
