import assert from 'node:assert/strict'
import { test } from 'node:test'
import { starterPolicies } from '../support/world.ts'
import { attempt, fails, faultWorld, keyFor, put, ref, sessionFor, withPolicy } from './support.ts'

test('B12 whoever may not publish cannot push the set in force out of memory', async () => {
  await using world = await faultWorld()
  const { flows } = world.app
  for (let i = 0; i < 12; i += 1) {
    const policies = withPolicy(`@id("p${i}") permit (principal, action == Action::"read", resource);`)
    await fails(flows.publish(world.migrator, { policies }), 'ERR_FORBIDDEN')
  }
  const decision = await flows.evaluate(
    world.migrator,
    attempt('Agent/migrator', 'read', 'Document/handbook'),
  )
  assert.equal(decision.outcome, 'permit')
})

test('B12 the founding rule is over once there was a policy, even when it cannot be loaded', async () => {
  await using world = await faultWorld()
  const { store, policies } = world.app.decision
  await store.commit({ reads: [], run: (tx) => tx.put('meta', 'policy', { version: 'lost' }) })
  assert.equal(policies.get('lost'), undefined)
  const tried = await world.app.flows.evaluate(
    world.ada,
    attempt('Person/ada', 'Writ::publish', 'Writ::System/writ'),
  )
  assert.equal(tried.outcome, 'deny')
})

test('a bad set is refused with every problem, and the set in force stays', async () => {
  await using world = await faultWorld()
  const { flows } = world.app
  const before = await flows.policy(world.ada)
  const unknown = await fails(
    flows.publish(world.ada, {
      policies: withPolicy('permit (principal, action == Action::"read", resource is Databse);'),
    }),
    'ERR_POLICY_INVALID',
  )
  assert.match(unknown.hint ?? '', /did you mean `Database`/)
  assert.match(unknown.hint ?? '', /test\.cedar:1:/)
  await fails(flows.publish(world.ada, { policies: withPolicy('permit (principal,') }), 'ERR_POLICY_INVALID')
  assert.equal((await flows.policy(world.ada))?.version, before?.version)
  assert.equal(
    (await world.app.store.read([{ kind: 'meta', id: 'policy' }])).get('meta', 'policy')?.value['version'],
    before?.version,
  )
})

test('a set after which nobody could publish is refused, also when that is so only by the time somebody agrees', async () => {
  await using world = await faultWorld()
  const { flows } = world.app
  const none = starterPolicies().map(({ name, text }) => ({
    name,
    text: text.replaceAll('Writ::Action::"publish",', ''),
  }))
  const refused = await fails(flows.publish(world.ada, { policies: none }), 'ERR_CONFLICT')
  assert.match(refused.message, /nobody could publish/)

  const turing = await sessionFor(world, 'turing', ['Group/administrators'])
  const onlyLovelace = [
    ...none,
    {
      name: 'p.cedar',
      text: '@id("p") permit (principal == Person::"lovelace", action == Writ::Action::"publish", resource);',
    },
  ]
  await put(world, { type: 'Person', id: 'lovelace' })
  const proposed = await flows.publish(world.ada, { policies: onlyLovelace })
  assert.equal(proposed.state, 'proposed')
  await flows.deleteEntity(world.ada, ref('Person/lovelace'))
  await fails(flows.agree(turing, proposed.version), 'ERR_CONFLICT')
})

test('C4 a publish needs a second human root once two could publish', async () => {
  await using world = await faultWorld()
  const { flows } = world.app
  const before = await flows.policy(world.ada)
  const turing = await sessionFor(world, 'turing', ['Group/administrators'])
  const proposed = await flows.publish(world.ada, {
    policies: withPolicy('@id("x") permit (principal, action == Action::"read", resource);'),
  })
  assert.equal(proposed.state, 'proposed')
  assert.equal((await flows.policy(world.ada))?.version, before?.version)
  await fails(flows.agree(world.ada, proposed.version), 'ERR_FORBIDDEN')
  await fails(flows.agree(world.grace, proposed.version), 'ERR_FORBIDDEN')
  const agreed = await flows.agree(turing, proposed.version)
  assert.deepEqual([agreed.state, agreed.agreedBy], ['published', ['Person/ada', 'Person/turing']])
  assert.equal((await flows.policy(world.ada))?.version, proposed.version)
  await fails(flows.agree(turing, proposed.version), 'ERR_CONFLICT')
})

test('C4 nobody agrees to what their own pipeline proposed', async () => {
  await using world = await faultWorld()
  const { flows } = world.app
  const turing = await sessionFor(world, 'turing', ['Group/administrators'])
  await put(world, {
    type: 'Service',
    id: 'gitops',
    kind: 'workload',
    owner: ref('Person/ada'),
    parents: [ref('Group/administrators')],
  })
  await put(world, {
    type: 'Service',
    id: 'nobodys',
    kind: 'workload',
    parents: [ref('Group/administrators')],
  })
  const gitops = await keyFor(world, 'Service/gitops')
  const proposed = await flows.publish(gitops, {
    policies: withPolicy('@id("x") permit (principal, action == Action::"read", resource);'),
  })
  assert.equal(proposed.state, 'proposed')
  await fails(flows.agree(world.ada, proposed.version), 'ERR_FORBIDDEN')
  await fails(flows.agree(gitops, proposed.version), 'ERR_FORBIDDEN')
  await fails(
    flows.publish(await keyFor(world, 'Service/nobodys'), {
      policies: withPolicy('@id("y") permit (principal, action == Action::"read", resource);'),
    }),
    'ERR_FORBIDDEN',
  )
  assert.equal((await flows.agree(turing, proposed.version)).state, 'published')
})

test('deleting the last entity of a type stops neither the next start nor the next change', async () => {
  await using world = await faultWorld({
    policies: withPolicy(
      '@id("prod") forbid (principal, action == Action::"db:migrate", resource is Database) when { resource has stage && resource.stage == "frozen" };',
    ),
    entities: [{ type: 'Database', id: 'frozen', attrs: { stage: 'frozen' } }],
  })
  await world.app.flows.deleteEntity(world.ada, ref('Database/frozen'))
  await put(world, { type: 'Document', id: 'more', sensitivity: 1 })
  const again = await world.restart()
  await put(again, { type: 'Document', id: 'still', sensitivity: 1 })
  const decision = await again.app.flows.evaluate(
    again.migrator,
    attempt('Agent/migrator', 'read', 'Document/still'),
  )
  assert.equal(decision.outcome, 'permit')
  await again.app.stop()
})

test('inventory changes at once leave a schema that knows both', async () => {
  await using world = await faultWorld({
    policies: withPolicy('@id("all") permit (principal, action == Action::"see", resource);'),
  })
  const { flows } = world.app
  await Promise.all(
    ['Alpha', 'Beta', 'Gamma', 'Delta'].map((type) => put(world, { type, id: 'x', kind: 'resource' })),
  )
  for (const type of ['Alpha', 'Beta', 'Gamma', 'Delta']) {
    const decision = await flows.evaluate(world.migrator, attempt('Agent/migrator', 'see', `${type}/x`))
    assert.equal(decision.outcome, 'permit', type)
  }
})

test('who may not change the inventory learns nothing of policies from the refusal', async () => {
  await using world = await faultWorld()
  const error = await fails(
    world.app.flows.putEntities(world.migrator, [{ type: 'Database', id: 'x', attrs: { stage: 1.5 } }]),
    'ERR_FORBIDDEN',
  )
  assert.doesNotMatch(JSON.stringify([error.message, error.hint]), /cedar|stage/)
})
