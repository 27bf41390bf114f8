/**
 * Obligations (AuthZEN Obligations Profile, Draft 1) on the wire: what a policy's author wrote and nothing else.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withPolicy } from '../faults/support.ts'
import type { World } from '../support/world.ts'
import { openWorld, ref } from '../support/world.ts'
import type { Point } from './support.ts'
import { pointAt } from './support.ts'

const policies = withPolicy(`
  @id("page") @notify("on-call audit") @ttl("5m") @review("24h")
  permit (principal is Agent, action == Action::"page", resource is Document);
  @id("page-again") @notify("on-call")
  permit (principal is Agent, action == Action::"page", resource is Document);
  @id("ask") @notify("on-call")
  permit (principal is Agent, action == Action::"ask", resource is Database) when { context.proof.approvals.dba >= 1 };
`)
const evaluation = (action: string, context?: object): object => ({
  subject: ref('Agent/migrator'),
  action: { name: action },
  resource: ref(action === 'ask' ? 'Database/orders' : 'Document/handbook'),
  ...(context === undefined ? {} : { context }),
})

async function open(): Promise<{ world: World; pep: Point }> {
  const world = await openWorld({ policies })
  return { world, pep: pointAt(world.app.url, world.tokens.migrator) }
}

test('`@notify` of the permits that decided is one notification for each name, on a permit alone', async () => {
  const { world, pep } = await open()
  await using _world = world
  const permit = (await pep.post('/access/v1/evaluation', evaluation('page'))).body
  const body = `Agent/migrator was permitted page on Document/handbook (${permit.context.evaluation_id})`
  assert.equal(permit.decision, true)
  assert.deepEqual(permit.context.obligations, [
    { id: 'obl-1', type: 'notification', properties: { to: 'audit', topic: 'permitted', body } },
    { id: 'obl-2', type: 'notification', properties: { to: 'on-call', topic: 'permitted', body } },
  ])
  for (const other of ['read', 'ask', 'fly']) {
    const answer = (await pep.post('/access/v1/evaluation', evaluation(other))).body
    assert.equal('obligations' in answer.context, false, other)
  }
  const batch = await pep.post('/access/v1/evaluations', { ...evaluation('page'), evaluations: [{}] })
  assert.deepEqual(batch.body, { evaluations: [{ decision: true }] })
  const found = await pep.post('/access/v1/search/action', evaluation('page'))
  assert.deepEqual(found.body, { results: [{ name: 'page' }, { name: 'read' }] })
})

test('what an enforcement point says that it can fulfil decides nothing and binds nothing', async () => {
  const { world, pep } = await open()
  await using _world = world
  for (const said of [['notification'], [], ['step-up', 7], 'all', null]) {
    const context = { supported_obligations: said }
    const permit = (await pep.post('/access/v1/evaluation', evaluation('page', context))).body
    assert.deepEqual([permit.decision, permit.context.obligations.length], [true, 2], JSON.stringify(said))
    const recorded = (await world.app.flows.decision(world.ada, permit.context.evaluation_id)) as {
      attempt?: { context?: unknown }
      dropped?: unknown
    }
    assert.deepEqual([recorded.attempt?.context, recorded.dropped], [{}, undefined])
  }
  // evidence that was given without it serves an attempt that says it, and the other way round
  const context = { supported_obligations: ['notification'] }
  const denied = (await pep.post('/access/v1/evaluation', evaluation('ask', context))).body
  const asked = await pep.post('/access/v1/requests', {
    ...evaluation('ask', context),
    denial: {
      evaluation_id: denied.context.evaluation_id,
      expires_at: denied.context.access_request.expires_at,
    },
  })
  assert.ok([201, 202].includes(asked.status), asked.text)
  const { id } = asked.body.task
  const { digest } = await world.app.flows.request(world.grace, id)
  await world.app.flows.approve(world.grace, id, { statement: digest })
  const { approval } = await world.app.flows.request(world.migrator, id)
  const carried = (await pep.post('/access/v1/evaluation', evaluation('ask', { approval: { id: approval } })))
    .body
  assert.equal(carried.decision, true, JSON.stringify(carried))
  assert.equal(carried.context.obligations.length, 1)
})
