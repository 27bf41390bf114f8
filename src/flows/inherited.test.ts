import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isWritError } from '../model/errors.ts'
import { FakeSystem } from '../../test/support/fake-target.ts'
import { manualClock } from '../../test/support/store.ts'
import { activeGrant, declare, migration, openWorld, ref, starterPolicies } from '../../test/support/world.ts'

const forbidden = (error: unknown): boolean => isWritError(error, 'ERR_FORBIDDEN')

test('B34 who was deleted declares nothing and asks for nothing, so that who comes back inherits neither', async () => {
  await using world = await openWorld({ http: false })
  const { flows } = world.app
  const task = await declare(world)
  const { id } = await flows.evaluate(world.migrator, migration(task))
  await flows.deleteEntity(world.ada, ref('Agent/migrator'))
  await assert.rejects(declare(world), forbidden)
  await flows.putEntities(world.ada, [
    {
      type: 'Agent',
      id: 'migrator',
      kind: 'agent',
      owner: ref('Person/ada'),
      parents: [ref('Group/deployers')],
    },
  ])
  await assert.rejects(declare(world), forbidden)
  await assert.rejects(
    flows.submit(world.migrator, { ...migration(task), denial: { evaluationId: id, expiresAt: 0 } }),
    forbidden,
  )
})

test('B19 an approval for a task serves nothing outside of it', async () => {
  const query = `
    @id("query") @binding("task")
    permit (principal in Group::"deployers", action == Action::"db:query", resource is Database)
    when { context.proof.approvals.dba >= 1 };`
  const policies = [...starterPolicies(), { name: 'query.cedar', text: query }]
  await using world = await openWorld({ http: false, policies })
  const { flows } = world.app
  const task = await declare(world, { scope: { actions: ['db:query'], resources: [ref('Database/orders')] } })
  const attempt = { ...migration(task), action: { name: 'db:query' } }
  const { id } = await flows.evaluate(world.migrator, attempt)
  const request = await flows.submit(world.migrator, {
    ...attempt,
    denial: { evaluationId: id, expiresAt: 0 },
  })
  const { approval = '' } = await flows.approve(world.grace, request.id, { statement: request.digest })
  const outside = await flows.evaluate(world.migrator, { ...attempt, context: { approval } })
  assert.equal(outside.outcome, 'challenge')
  assert.equal(outside.reason, 'out_of_scope')
})

test('C3 no secret leaves when its task lapses while the target makes it, swept up or not', async () => {
  const clock = manualClock()
  const system = new FakeSystem()
  await using world = await openWorld({
    http: false,
    sweeper: false,
    clock,
    targetKinds: { fake: ({ id }) => system.connect(id) },
  })
  const { flows } = world.app
  const access = [{ action: 'db:migrate', resource: 'Database/orders', role: 'any' }]
  const admin = { user: 'fake', password: 'fake' }
  await flows.addTarget(world.ada, { id: 'fake-db', kind: 'fake', config: { access }, admin })
  const { grant } = await activeGrant(world)
  system.around = (call, moment) => {
    if (call === 'issue' && moment === 'after') clock.advance(15_000)
  }
  const { decision, secret } = await flows.issueCredential(world.migrator, grant)
  assert.equal(secret, undefined)
  assert.equal(decision.reason, 'grant_ended')
  await flows.settled()
  assert.deepEqual(system.shelf.names(), [])
})
