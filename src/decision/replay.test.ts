import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MINUTE } from '../model/time.ts'
import { manualClock } from '../../test/support/store.ts'
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

test('a key stays bound to its attempt when the answer was no, and the same attempt is decided afresh', async () => {
  await using world = await openWorld({ http: false })
  const { flows } = world.app
  const task = await declare(world)
  const key = { idempotencyKey: 'once' }
  const first = await flows.evaluate(world.migrator, migration(task), key)
  assert.equal(first.outcome, 'challenge')
  const again = await flows.evaluate(world.migrator, migration(task), key)
  assert.equal(again.outcome, 'challenge')
  assert.notEqual(again.id, first.id)
  await assert.rejects(flows.evaluate(world.migrator, migration(task, { other: 'yes' }), key), {
    code: 'ERR_CONFLICT',
    problem: 'duplicate_request',
  })
})

test('a submission that is repeated after its denial became too old finds its request', async () => {
  const clock = manualClock()
  await using world = await openWorld({ http: false, sweeper: false, clock })
  const { flows } = world.app
  const task = await declare(world)
  const denied = await flows.evaluate(world.migrator, migration(task))
  const submission = {
    ...migration(task),
    denial: { evaluationId: denied.id, expiresAt: denied.requestableUntil ?? 0 },
    idempotencyKey: 'once',
  }
  const first = await flows.submit(world.migrator, submission)
  clock.advance(11 * MINUTE)
  assert.equal((await flows.submit(world.migrator, submission)).id, first.id)
  await assert.rejects(flows.submit(world.migrator, { ...submission, justification: 'more' }), {
    problem: 'duplicate_request',
  })
  await assert.rejects(flows.submit(world.migrator, { ...submission, idempotencyKey: 'twice' }), {
    problem: 'expired_denial',
  })
})
