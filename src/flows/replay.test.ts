/**
 * Deciding again over random worlds, and replaying what was decided through drafts.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { FaultWorld } from '../../test/faults/support.ts'
import { faultWorld, keyFor, withPolicy } from '../../test/faults/support.ts'
import { redecideAll } from '../../test/support/redecide.ts'
import {
  activeGrant,
  attempt,
  declare,
  ref,
  requestMigration,
  starterPolicies,
} from '../../test/support/world.ts'
import type { Caller } from '../model/access.ts'
import { isWritError } from '../model/errors.ts'
import { DAY, SECOND } from '../model/time.ts'

const policies = withPolicy(
  `@id("gold") permit (principal, action == Action::"report:run", resource is Database)
   when { resource has tier && resource.tier == "gold" };
   @id("quota") forbid (principal, action == Action::"report:run", resource)
   when { context has rows && context.rows * 4611686018427387904 > 0 };
   @id("young") permit (principal is Agent, action == Action::"report:run", resource is Database)
   when { context.live has history && context.live.history.calls < 2 && context has rows };
   @id("unlocked") permit (principal in Group::"readers", action == Action::"report:run", resource);`,
)

/** The schema is derived: without one that has it nobody would know of `tier`. */
const entities = [{ type: 'Database', id: 'warehouse', attrs: { tier: 'gold' } }]
const options = { policies, entities }

type Step = Readonly<{ name: string; run(world: FaultWorld, pep: Caller): Promise<unknown> }>

const DATABASES = ['orders', 'payments', 'unheard']

/** Steps that change what decisions are made on, and decisions of every kind. */
const step: fc.Arbitrary<Step> = fc.oneof(
  fc
    .record({
      database: fc.constantFrom(...DATABASES),
      rows: fc.constantFrom<number | string | undefined>(undefined, 0, 1, 3, 1.5, 'many'),
      tier: fc.constantFrom<string | number | undefined>(undefined, 'gold', 'tin', 7),
      subject: fc.constantFrom('Agent/migrator', 'Person/grace', 'Agent/unheard', 'Odd/x'),
      named: fc.boolean(),
    })
    .map(({ database, rows, tier, subject, named }) => ({
      name: `${subject} runs a report on ${database} rows=${rows} tier=${tier} task=${named}`,
      async run(world: FaultWorld, pep: Caller) {
        const task =
          named && subject === 'Agent/migrator'
            ? await declare(world, {
                scope: { actions: ['report:run'], resources: [{ type: 'Database' }] },
              })
            : undefined
        const { resource, ...rest } = attempt(subject, 'report:run', `Database/${database}`)
        return world.app.flows.evaluate(pep, {
          ...rest,
          resource: { ...resource, ...(tier === undefined ? {} : { properties: { tier, owner: 'x' } }) },
          context: {
            ...(rows === undefined ? {} : { rows }),
            undeclared: 1,
            ...(task === undefined ? {} : { task }),
          },
        })
      },
    })),
  fc
    .record({
      database: fc.constantFrom(...DATABASES),
      attrs: fc.constantFrom({}, { tier: 'gold' }, { tier: 'tin', size: 3 }, { tier: 4 }, { note: '\ud800' }),
      sensitivity: fc.constantFrom(1 as const, 4 as const),
      parents: fc.subarray([ref('Group/eu'), ref('Group/readers')]),
    })
    .map(({ database, attrs, sensitivity, parents }) => ({
      name: `inventory: ${database} ${JSON.stringify(attrs)} ${sensitivity}`,
      run: (world: FaultWorld) =>
        world.app.flows.putEntities(world.ada, [
          { type: 'Database', id: database, attrs, sensitivity, parents },
        ]),
    })),
  fc.constantFrom<Step>(
    {
      name: 'a group moves',
      run: (world) =>
        world.app.flows.putEntities(world.ada, [
          { type: 'Group', id: 'deployers', kind: 'group', parents: [ref('Group/readers')] },
        ]),
    },
    {
      name: 'a new type is registered',
      run: (world) =>
        world.app.flows.putEntities(world.ada, [{ type: 'Odd', id: 'x', attrs: { tier: 'gold' } }]),
    },
    { name: 'it is deleted', run: (world) => world.app.flows.deleteEntity(world.ada, ref('Odd/x')) },
    {
      name: 'orders is deleted',
      run: (world) => world.app.flows.deleteEntity(world.ada, ref('Database/orders')),
    },
    {
      name: 'somebody unheard of is locked',
      run: (world) =>
        world.app.flows.locks.lock(world.ada, {
          what: 'subject',
          about: 'Agent/unheard',
          reason: 'who',
          until: world.clock.wall() + SECOND,
        }),
    },
    {
      name: 'somebody is enrolled',
      async run(world) {
        const groups = [ref('Group/readers'), ref('Group/made')]
        const { code } = await world.app.flows.invite(world.ada, { id: 'grace', groups })
        return world.app.flows.redeem(code.expose())
      },
    },
    { name: 'a grant', run: (world) => activeGrant(world) },
    { name: 'a challenge', run: async (world) => requestMigration(world, await declare(world)) },
    { name: 'time passes', run: async (world) => world.clock.advance(3 * SECOND) },
    {
      name: 'another set is published',
      run: (world) => world.app.flows.publish(world.ada, { policies: [...policies].slice(0, -1) }),
    },
    { name: 'the first set again', run: (world) => world.app.flows.publish(world.ada, { policies }) },
    {
      name: 'contention',
      run: (world) =>
        Promise.all([
          world.app.flows.putEntities(world.ada, [
            { type: 'Database', id: 'payments', attrs: { tier: 'gold' } },
          ]),
          ...Array.from({ length: 4 }, () =>
            world.app.flows.evaluate(
              world.migrator,
              attempt('Agent/migrator', 'report:run', 'Database/payments'),
            ),
          ),
        ]),
    },
  ),
)

test('replay: over random worlds every decision is decided again from the log, and replaying it flips nothing', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 14 }), async (steps) => {
      await using world = await faultWorld(options)
      const { flows, store } = world.app
      const began = world.clock.wall()
      const pep = await keyFor(world, 'Service/orders-ci', {
        subjects: ['*'],
        attributes: { Database: ['tier', 'owner'] },
      })
      for (const { name, run } of steps) {
        try {
          await run(world, pep)
        } catch (error) {
          // e.g. nothing to delete, no policy that asks for approval any more
          if (!isWritError(error) && !(error instanceof Error && error.message.startsWith('expected')))
            throw new Error(`${name} failed`, { cause: error })
        }
      }
      world.clock.advance(SECOND)
      await redecideAll(store)
      const current = await flows.policy(world.ada)
      const report = await flows.replayPolicies(world.ada, {
        source: { policies: current?.policies ?? [] },
        since: began,
      })
      const others = new Set<string>()
      for (const flip of report.flips) {
        for (const { decision } of flip.examples) {
          const entry = (await flows.decision(world.ada, decision)) as { policy: string }
          others.add(entry.policy)
        }
      }
      assert.ok(!others.has(current?.version ?? ''), 'the recorded version flips nothing')
      assert.deepEqual(report.lost, [])
    }),
    { numRuns: 15 },
  )
})

test('replay: what a draft would have said is told by subject and action, what it permits first', async () => {
  await using world = await faultWorld(options)
  const { flows, store } = world.app
  for (let times = 0; times < 3; times += 1)
    await flows.evaluate(world.migrator, attempt('Agent/migrator', 'read', 'Database/orders'))
  await flows.evaluate(world.migrator, attempt('Agent/migrator', 'read', 'Document/handbook'))
  const task = await declare(world)
  await requestMigration(world, task)
  const { size } = await store.log.head()
  world.clock.advance(SECOND)
  const draft = starterPolicies().map(({ name, text }) => ({
    name,
    text: text.replace('resource.sensitivity <= 1', 'resource.sensitivity > 1'),
  }))
  const report = await flows.replayPolicies(world.ada, { source: { policies: draft }, since: 0 })
  assert.equal((await store.log.head()).size, size, 'nothing of it is a decision')
  assert.deepEqual(
    report.flips.map(({ subject, action, from, to, count }) => [subject, action, from, to, count]),
    [
      ['Agent/migrator', 'read', 'deny', 'permit', 3],
      ['Agent/migrator', 'read', 'permit', 'deny', 1],
    ],
  )
  assert.deepEqual([report.widened, report.narrowed, report.truncated], [3, 1, false])
  assert.deepEqual(report.flips[0]?.policies, ['low-risk-read'])
  assert.equal(report.flips[0]?.examples.length, 3)
  assert.ok(report.replayed > 4)
  const short = await flows.replayPolicies(world.ada, { source: { policies: draft }, since: 0, limit: 2 })
  assert.deepEqual([short.truncated, short.replayed + short.notEvaluated], [true, 2])
  const none = await flows.replayPolicies(world.ada, {
    source: { policies: draft },
    since: world.clock.wall(),
  })
  assert.equal(none.replayed, 0)
})

test('replay: a draft that does not load is told whole; who may not read the record learns nothing of it', async () => {
  await using world = await faultWorld(options)
  const { flows } = world.app
  const broken = {
    policies: [{ name: 'a.cedar', text: 'permit(principal, action == Action::"read", resource) when {' }],
  }
  await assert.rejects(flows.replayPolicies(world.ada, { source: broken, since: 0 }), (error) =>
    isWritError(error, 'ERR_POLICY_INVALID'),
  )
  await assert.rejects(flows.replayPolicies(world.migrator, { source: broken, since: 0 }), (error) =>
    isWritError(error, 'ERR_FORBIDDEN'),
  )
  await assert.rejects(
    flows.replayPolicies(world.ada, {
      source: { policies },
      since: world.clock.wall(),
      until: world.clock.wall() - DAY,
    }),
    (error) => isWritError(error, 'ERR_INPUT_INVALID'),
  )
})

test('C12 a replay takes its turn: a decision made meanwhile does not wait for it', async () => {
  await using world = await faultWorld(options)
  const { flows } = world.app
  for (let times = 0; times < 400; times += 1)
    await flows.evaluate(world.migrator, attempt('Agent/migrator', 'read', 'Document/handbook'))
  const state = { done: false }
  const replaying = flows
    .replayPolicies(world.ada, { source: { policies }, since: 0 })
    .finally(() => (state.done = true))
  let meanwhile = 0
  while (!state.done && meanwhile < 50) {
    await flows.evaluate(world.migrator, attempt('Agent/migrator', 'read', 'Document/handbook'))
    if (!state.done) meanwhile += 1
  }
  const { flips } = await replaying
  assert.deepEqual(flips, [])
  assert.ok(meanwhile >= 3, `${meanwhile} decisions were made while it replayed`)
})
