import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { World, WorldOptions } from '../../test/support/world.ts'
import { activeGrant, attempt, declare, migration, openWorld, ref } from '../../test/support/world.ts'
import { entries, withPolicy } from '../../test/faults/support.ts'
import type { Evaluation, PolicySet } from '../policy/index.ts'
import { entryOf } from './thread.ts'
import { Given, Verifying } from './verifying.ts'

type Said = Readonly<{ level: string; message: string; fields: Readonly<Record<string, unknown>> }>

/** A world whose decisions are verified, and what its server's log says. */
async function verified(options: WorldOptions = {}): Promise<World & { said: Said[] }> {
  const said: Said[] = []
  const world = await openWorld({
    http: false,
    log: (level, message, fields = {}) => said.push({ level, message, fields }),
    ...options,
    config: { verifyDecisions: true },
  })
  return { ...world, said }
}

/** An engine that is wrong: what permits denies, what denies permits by the same policies. */
function wrong(set: PolicySet): PolicySet {
  const turned = (answer: Evaluation): Evaluation => ({
    ...answer,
    decision: answer.decision === 'permit' ? 'deny' : 'permit',
    errors: [],
  })
  const ask: PolicySet['ask'] = (query) => {
    const asked = set.ask(query)
    return { evaluate: (proof) => turned(asked.evaluate(proof)), explain: (proof) => asked.explain(proof) }
  }
  const evaluate: PolicySet['evaluate'] = (query) => turned(set.evaluate(query))
  return new Proxy(set, {
    get(_, name) {
      if (name === 'ask') return ask
      if (name === 'evaluate') return evaluate
      const own: unknown = Reflect.get(set, name, set)
      return typeof own === 'function' ? own.bind(set) : own
    },
  })
}

const report =
  '@id("report") permit (principal, action == Action::"report", resource is Document) when { resource.sensitivity < 2 };'

const counts = async ({ app }: World) => {
  await app.flows.verifying?.idle()
  return app.flows.verifying?.counts
}

test('law 7: a story whose decisions are all taken again raises no alarm', async () => {
  await using world = await verified()
  const { flows } = world.app
  const { task, grant } = await activeGrant(world)
  await flows.evaluate(world.migrator, migration(task))
  await flows.evaluate(world.migrator, attempt('Agent/migrator', 'nothing:known', 'Database/orders'))
  await flows.evaluate(world.migrator, attempt('Agent/other', 'db:migrate', 'Database/orders'))
  await flows.putEntities(world.ada, [
    { type: 'Database', id: 'orders', sensitivity: 4, attrs: { tier: 'gold' } },
  ])
  await flows.evaluate(world.migrator, migration(await declare(world), { note: 'x'.repeat(40_000) }))
  await flows.revokeGrant(world.migrator, grant, 'done')
  await flows.deleteEntity(world.ada, ref('Database/orders'))
  await flows.evaluate(world.migrator, migration(await declare(world)))
  const { checked = 0, ...rest } = (await counts(world)) ?? {}
  assert.deepEqual(rest, { differences: 0, unverified: 0 })
  assert.ok(checked >= 10, `${checked} were checked`)
  assert.deepEqual(await flows.problems(), [])
  assert.deepEqual(
    (await entries(world.app)).filter(({ kind }) => String(kind).startsWith('engine.')),
    [],
  )
})

test('law 7: an engine that answers otherwise is an alarm: on record, in the log, and in what is wrong', async () => {
  await using world = await verified({ policies: withPolicy(report) })
  const { app, migrator, said } = world
  const { flows, decision } = app
  const asked = attempt('Agent/migrator', 'report', 'Document/handbook')
  await flows.evaluate(migrator, asked)
  const before = (await counts(world))?.checked ?? 0
  const { version = '' } = (await flows.policy(world.ada)) ?? {}
  const set = decision.policies.get(version)
  assert.ok(set !== undefined)
  decision.policies.add(wrong(set))
  const { id, outcome } = await flows.evaluate(migrator, asked)
  assert.equal(outcome, 'deny')
  assert.deepEqual(await counts(world), { checked: before + 1, differences: 1, unverified: 0 })
  decision.policies.add(set)

  const why = 'it said deny, policy says permit'
  const found = (await entries(app)).filter(({ kind }) => kind === 'engine.differs')
  assert.deepEqual(
    found.map(({ refs, decision: of, why: sentence }) => ({ refs, of, sentence })),
    [{ refs: [id, version], of: id, sentence: why }],
  )
  assert.deepEqual(
    said.filter(({ level }) => level === 'error').map(({ fields }) => fields),
    [{ decision: id, policy: version, why }],
  )
  assert.deepEqual(await flows.problems(), [
    `reference Cedar answers otherwise to decision \`${id}\`: ${why}`,
  ])
  await flows.evaluate(migrator, asked)
  assert.deepEqual(await counts(world), { checked: before + 2, differences: 1, unverified: 0 })
})

test('what was not verified is counted, on record, and in what is wrong', async () => {
  await using world = await openWorld({ http: false })
  const { app, migrator } = world
  const { store, flows, decision } = app
  const said: string[] = []
  const verifying = new Verifying(
    { store, decision, log: (_level, message) => said.push(message) },
    flows.history,
    new Given(),
    // a thread that judges policies understands none of this, and most find no room
    { entry: entryOf('checking-thread', import.meta.url), most: 2 },
  )
  verifying.start()
  const asked = attempt('Agent/migrator', 'read', 'Document/handbook')
  await Promise.all(Array.from({ length: 8 }, () => flows.evaluate(migrator, asked)))
  await verifying.idle()
  assert.deepEqual(verifying.counts, { checked: 0, differences: 0, unverified: 8 })
  assert.deepEqual(verifying.problems(), ['8 decisions since the start were not verified'])
  await verifying.stop()
  const all = await entries(app)
  const seqs = all.filter(({ kind }) => kind === 'decision').map(({ seq }) => Number(seq))
  const told = all.filter(({ kind }) => kind === 'engine.unverified')
  assert.equal(
    told.reduce((sum, { count }) => sum + Number(count), 0),
    8,
  )
  assert.equal(Math.min(...told.map(({ first }) => Number(first))), seqs.at(-8))
  assert.equal(Math.max(...told.map(({ last }) => Number(last))), seqs.at(-1))
  assert.ok(said.includes('decisions were not verified'))
  assert.ok(said.includes('decisions could not be verified'))
})

test('what memory has lost of a decision is read from the record', async () => {
  await using world = await openWorld({ http: false })
  const { store, flows, decision } = world.app
  const verifying = new Verifying(
    { store, decision, log: () => undefined },
    flows.history,
    new Given(), // nobody tells it anything
  )
  verifying.start()
  await flows.evaluate(world.migrator, migration(await declare(world)))
  await verifying.idle()
  await verifying.stop()
  const { checked, ...rest } = verifying.counts
  assert.deepEqual(rest, { differences: 0, unverified: 0 })
  assert.ok(checked > 0)
})
