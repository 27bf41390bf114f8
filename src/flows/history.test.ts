import assert from 'node:assert/strict'
import { test } from 'node:test'
import { faultWorld, keyFor, withPolicy } from '../../test/faults/support.ts'
import {
  activeGrant,
  attempt,
  declare,
  migration,
  openWorld,
  ref,
  starterPolicies,
} from '../../test/support/world.ts'
import { decide } from '../decision/decide.ts'
import { History } from './history.ts'
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
  await flows.locks.lock(world.ada, { what: 'subject', about: 'Agent/unheard', reason: 'who is it' })
  await flows.locks.lock(world.ada, { what: 'subject', about: 'Agent/migrator', reason: 'enough' })
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
    assert.ok((await app.flows.history.again(rebuilt)).same)
  }
})

test('C7 what a caller asserted, and what it was not trusted for, is part of what is decided again', async () => {
  const gold =
    '@id("gold") permit (principal, action == Action::"report", resource is Database) when { resource has tier && resource.tier == "gold" };'
  await using world = await faultWorld({
    policies: withPolicy(gold),
    entities: [{ type: 'Database', id: 'warehouse', attrs: { tier: 'tin' } }],
  })
  const { flows, store } = world.app
  const pep = await keyFor(world, 'Service/orders-ci', {
    subjects: ['*'],
    attributes: { Database: ['tier'] },
  })
  const outcomes: string[] = []
  for (const caller of [pep, world.migrator]) {
    const resource = { ...ref('Database/warehouse'), properties: { tier: 'gold', sensitivity: 1 } }
    const { outcome } = await flows.evaluate(caller, {
      ...attempt('Agent/migrator', 'report', 'Database/warehouse'),
      resource,
    })
    outcomes.push(outcome)
  }
  assert.deepEqual(outcomes, ['permit', 'deny'])
  await redecideAll(store)
})

test('B14 a denial that the inventory contradicts by the time it is recorded is decided again', async () => {
  await using world = await faultWorld()
  const { decision, flows, store } = world.app
  let changed = false
  const late: typeof decision.store = {
    ...decision.store,
    async commit(item) {
      if (!changed) {
        changed = true
        await flows.putEntities(world.ada, [{ type: 'Database', id: 'orders', sensitivity: 1 }])
      }
      return decision.store.commit(item)
    },
  }
  const reading = {
    subject: ref('Agent/migrator'),
    action: { name: 'read' },
    resource: ref('Database/orders'),
    context: {},
    chain: [ref('Agent/migrator')],
  }
  const answer = await decide({ ...decision, store: late }, world.migrator, reading)
  assert.equal(answer.outcome, 'permit')
  await redecideAll(store)
})

test('B75 what is kept of a policy set counts only if it is what was published', async () => {
  await using world = await faultWorld()
  const { flows, store } = world.app
  const { id, policy } = await flows.evaluate(
    world.migrator,
    attempt('Agent/migrator', 'read', 'Document/handbook'),
  )
  await store.commit({
    reads: [{ kind: 'policy', id: policy }],
    run(tx) {
      const kept = tx.get('policy', policy)?.value
      assert.ok(kept !== undefined)
      const policies = kept.policies.map(({ name, text }) => ({ name, text: text.replace('<= 1', '<= 4') }))
      tx.put('policy', policy, { ...kept, policies })
    },
  })
  const rebuilt = await new History({ store }).rebuild(id)
  assert.ok(!rebuilt.ok)
  assert.equal(rebuilt.cause, 'differs')
})

test('what retention has pruned, and what never was, is said and not a failure', async () => {
  await using world = await faultWorld()
  const { flows, store } = world.app
  const first = await flows.evaluate(world.migrator, attempt('Agent/migrator', 'read', 'Document/handbook'))
  const second = await flows.evaluate(world.migrator, attempt('Agent/migrator', 'read', 'Document/handbook'))
  const inventory = (await flows.history.seqs(['kind=inventory.put'])).at(0) as number
  await store.commit({ reads: [], run: (tx) => void tx.append({ kind: 'log.pruned', refs: [], entries: 2 }) })
  await store.log.prune([inventory, first.seq as number])
  const gone = await flows.history.rebuild(first.seq as number)
  assert.deepEqual([gone.ok, gone.ok ? '' : gone.cause], [false, 'pruned'])
  const half = await flows.history.rebuild(second.id)
  assert.deepEqual([half.ok, half.ok ? '' : half.cause], [false, 'pruned'])
  const never = await flows.history.rebuild('dec_never')
  assert.deepEqual([never.ok, never.ok ? '' : never.cause], [false, 'unknown'])
  await redecideAll(store)
  world.clock.advance(1_000)
  const report = await flows.replayPolicies(world.ada, { source: { policies: starterPolicies() }, since: 0 })
  assert.ok(report.lost.some(({ why }) => /pruned by retention/.test(why)))
  assert.deepEqual(report.flips, [])
})
