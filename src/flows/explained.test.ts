import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withPolicy } from '../../test/faults/support.ts'
import { proveNewest } from '../../test/support/prove.ts'
import {
  activeGrant,
  attempt,
  declare,
  migration,
  openWorld,
  ref,
  starterPolicies,
} from '../../test/support/world.ts'
import type { World } from '../../test/support/world.ts'
import { analyse } from '../decision/analyse.ts'
import type { RecordedExplanation } from '../decision/explanation.ts'
import { recordedOf, redecide } from '../decision/redecide.ts'
import type { Json } from '../model/canonical.ts'
import { toAttempt } from './attempts.ts'
import type { LiveEvent } from './port.ts'

type Explained = Readonly<{ decision: Record<string, Json>; explanation: RecordedExplanation | null }>

const explain = async (world: World, id: string): Promise<Explained> =>
  (await world.app.flows.explain(world.ada, id)) as unknown as Explained

const failing = (explanation: RecordedExplanation | null): string[] =>
  (explanation?.nearest[0]?.clauses ?? []).filter(({ status }) => status !== 'holds').map(({ text }) => text)

test('why is recorded when it is decided, and stays what it was whatever changes afterwards', async () => {
  await using world = await openWorld({ http: false })
  const { flows } = world.app
  const { id } = await flows.evaluate(world.migrator, migration(await declare(world)))
  const before = await explain(world, id)
  assert.deepEqual(failing(before.explanation), ['context.proof.approvals.dba >= 1'])
  assert.deepEqual(before.decision['explanation'], before.explanation)
  await flows.putEntities(world.ada, [{ type: 'Database', id: 'orders', sensitivity: 4 }])
  await flows.publish(world.ada, {
    policies: starterPolicies().map(({ name, text }) => ({ name, text: `\n\n${text}` })),
  })
  assert.deepEqual(await explain(world, id), before)
})

test('of a permit the policies that decided are named with where they stand, and nothing is recorded', async () => {
  await using world = await openWorld({ http: false })
  const { id } = await world.app.flows.evaluate(
    world.migrator,
    attempt('Agent/migrator', 'read', 'Document/handbook'),
  )
  const { decision, explanation } = await explain(world, id)
  assert.equal(decision['explanation'], undefined)
  const [policy] = explanation?.determining ?? []
  assert.deepEqual(
    [policy?.policy, policy?.file, policy?.effect],
    ['low-risk-read', 'migration.cedar', 'permit'],
  )
  assert.ok((policy?.line ?? 0) > 1)
  assert.deepEqual([explanation?.nearest, explanation?.fired], [[], []])
})

test('what is settled before policy is asked has no rules to tell', async () => {
  await using world = await openWorld({ http: false })
  const { id } = await world.app.flows.evaluate(world.migrator, migration('task_none'))
  const { decision, explanation } = await explain(world, id)
  assert.deepEqual(
    [decision['reason'], decision['explanation'], explanation],
    ['task_unknown', undefined, null],
  )
})

test('C12 a requester sees remedies, never rules: in its decisions, its stream and its answers', async () => {
  await using world = await openWorld({ http: false })
  const { flows } = world.app
  const events: LiveEvent[] = []
  const stop = await flows.events(world.migrator, undefined, (event) => events.push(event))
  const answer = await flows.evaluate(world.migrator, migration(await declare(world)))
  const asked = await flows.ask(world.migrator, migration(await declare(world)))
  const own = (await flows.decision(world.migrator, answer.id)) as Record<string, Json>
  assert.ok(Array.isArray(own['alternatives']))
  await assert.rejects(flows.explain(world.migrator, answer.id), { code: 'ERR_NOT_FOUND' })
  await assert.rejects(flows.entries(world.migrator, 0, 100))
  const listed = await flows.decisions(world.migrator, {})
  const found = await flows.decisions(world.migrator, { ref: 'Agent/migrator' })
  stop()
  const told = JSON.stringify([own, listed, found, events, answer, asked])
  assert.doesNotMatch(told, /explanation|nearest|migration\.cedar|context\.proof/)
})

test('a recorded explanation is told, never believed: deciding again does not read it', async () => {
  await using world = await openWorld({ http: false })
  const { flows } = world.app
  const { id } = await flows.evaluate(world.migrator, migration(await declare(world)))
  const rebuilt = await flows.history.rebuild(id)
  assert.ok(rebuilt.ok && rebuilt.policy !== undefined)
  const set = await flows.history.set(rebuilt.policy)
  const recorded = recordedOf(rebuilt.entry)
  for (const explanation of [
    undefined,
    null,
    'permit',
    { determining: [{ policy: 'x', effect: 'permit' }] },
  ]) {
    const forged = { ...rebuilt.entry, explanation } as Record<string, Json | undefined>
    assert.deepEqual(redecide(forged, rebuilt.entities, set), recorded)
  }
})

test('a proof of why carries the explanations of what it tells, and verifies', async () => {
  await using world = await openWorld({ http: false })
  const { grant } = await activeGrant(world)
  const text = await world.app.flows.prove(world.ada, grant)
  assert.match(text, /\\"explanation\\":\{\\"determining\\"/)
  await proveNewest(world.app, world.ada, 4)
})

test('B76 however much was read, the entry is recorded whole and what explains it is short', async () => {
  const long = `@id("long") permit (principal, action == Action::"load", resource is Database)
    when { ${Array.from({ length: 12 }, (_, at) => `context has m${at} && context.m${at} == "${'a'.repeat(50)}"`).join(' && ')} };`
  await using world = await openWorld({ http: false, policies: withPolicy(long) })
  const { flows } = world.app
  const context = Object.fromEntries(
    Array.from({ length: 12 }, (_, at) => [`m${at}`, '\u{1F600}ü'.repeat(3_000)]),
  )
  const { id } = await flows.evaluate(world.migrator, {
    ...attempt('Agent/migrator', 'load', 'Database/orders'),
    context,
  })
  const { decision, explanation } = await explain(world, id)
  assert.ok(Buffer.byteLength(JSON.stringify(explanation)) <= 16 * 1024)
  assert.equal(explanation?.cut, true)
  assert.equal(explanation.nearest[0]?.policy, 'long')
  assert.deepEqual((decision['attempt'] as { context: Json }).context, context)
})

test('where a delegator is who may not, the explanation is about the delegator', async () => {
  const delegated = `@id("agents") permit (principal is Agent, action == Action::"load", resource);
    @id("people") permit (principal is Person, action == Action::"load", resource) when { resource.sensitivity <= 1 };`
  await using world = await openWorld({ http: false, policies: withPolicy(delegated) })
  const asked = {
    ...toAttempt(attempt('Agent/migrator', 'load', 'Database/orders')),
    chain: [ref('Agent/migrator'), ref('Person/ada')],
  }
  const acting = { ...world.migrator, chain: [ref('Person/ada')] }
  const analysis = await analyse(world.app.decision, acting, asked, 'question')
  assert.equal(analysis.outcome, 'deny')
  const explanation = analysis.explanation?.()
  assert.deepEqual([explanation?.principal, explanation?.nearest[0]?.policy], ['Person/ada', 'people'])
})
