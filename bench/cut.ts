/**
 * P6: a signal about somebody, at 10,000 live grants of others: until it is taken, so that nothing is permitted any more, and
 * until their open PostgreSQL session is closed; against the same revoked by hand.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import pg from 'pg'
import { startPostgres } from '../test/support/postgres.ts'
import { attempt, openWorld, ref, starterPolicies } from '../test/support/world.ts'
import type { World } from '../test/support/world.ts'
import type { Row, Sample } from './measure.ts'
import { percentiles, rows } from './measure.ts'
import { LONG, RISKY, benchFolder, cloned, grantOf } from './storm.ts'

const TIMES = 100

export async function cut(): Promise<readonly Row[]> {
  await using server = await startPostgres()
  const root = new pg.Client({ connectionString: server.url() })
  await root.connect()
  try {
    await root.query('CREATE ROLE orders_owner NOLOGIN')
    await using world = await openWorld({
      http: false,
      folder: benchFolder(),
      policies: [...starterPolicies(), RISKY],
      config: { defaults: LONG },
    })
    const like = await grantOf(world)
    await world.app.flows.addTarget(world.ada, {
      id: 'orders-db',
      kind: 'postgres',
      config: {
        host: server.host,
        port: server.port,
        database: 'postgres',
        roles: { migrate: 'orders_owner' },
        access: [{ action: 'db:migrate', resource: 'Database/orders', role: 'migrate' }],
      },
      admin: { user: server.superuser, password: server.password },
    })
    await cloned(world.app.store, 10_000, (tx, i) =>
      tx.put('grant', `grant_${i}`, { ...like, id: `grant_${i}`, task: `task_${i}` }),
    )
    await world.app.flows.settled()
    const measured: Record<'taken' | 'closed' | 'byHand', number[]> = { taken: [], closed: [], byHand: [] }
    for (let i = 0; i < TIMES; i += 1) {
      const one = await worker(world, `signalled${i}`)
      const before = performance.now()
      await world.app.flows.facts.observe('bench', `bench${i}`, [
        { name: 'risk', about: `Agent/signalled${i}`, value: { level: 3 }, observedAt: Date.now() },
      ])
      measured.taken.push(performance.now() - before)
      assert.notEqual((await world.app.flows.evaluate(one.caller, one.attempt)).outcome, 'permit')
      await one.ended
      measured.closed.push(performance.now() - before)
      const other = await worker(world, `revoked${i}`)
      const revokedAt = performance.now()
      await world.app.flows.revokeGrant(world.ada, other.grant, 'by hand')
      await other.ended
      measured.byHand.push(performance.now() - revokedAt)
    }
    const sampleOf = (latencies: number[]): Sample => percentiles(latencies, latencies.length)
    const peer = { name: 'revoked by hand', sample: sampleOf(measured.byHand) }
    return [
      ...rows('cut', 'signal taken', sampleOf(measured.taken), peer),
      ...rows('cut', 'session closed', sampleOf(measured.closed), peer),
    ].filter(({ metric }) => /p50$|p99$/.test(metric)) // of a hundred there is no more
  } finally {
    await root.end()
  }
}

/** An agent with an approved grant and an open session at the database. */
async function worker(
  world: World,
  id: string,
): Promise<
  Readonly<{
    caller: World['migrator']
    attempt: ReturnType<typeof attempt>
    grant: string
    ended: Promise<void>
  }>
> {
  const { flows } = world.app
  const subject = `Agent/${id}`
  await flows.putEntities(world.ada, [
    {
      type: 'Agent',
      id,
      kind: 'agent',
      owner: ref('Person/ada'),
      parents: [ref('Group/deployers')],
    },
  ])
  const key = await flows.createKey(world.ada, { name: id, subject: ref(subject) })
  const caller = { ...world.migrator, id: `key:${key.id}`, subject: ref(subject) }
  const { id: task } = await flows.declareTask(caller, {
    purpose: 'add a column',
    reason: 'INC-42',
    scope: { actions: ['db:migrate'], resources: [ref('Database/orders')] },
  })
  const asked = attempt(subject, 'db:migrate', 'Database/orders', { task })
  const denied = await flows.evaluate(caller, asked)
  const request = await flows.submit(caller, {
    ...asked,
    denial: { evaluationId: denied.id, expiresAt: denied.requestableUntil ?? 0 },
  })
  const { approval = '' } = await flows.approve(world.grace, request.id, { statement: request.digest })
  const { grant } = await flows.activate(
    caller,
    attempt(subject, 'db:migrate', 'Database/orders', { task, approval }),
  )
  assert.ok(grant !== undefined)
  const issued = await flows.issueCredential(caller, grant.id)
  assert.ok(issued.secret !== undefined)
  const { url } = issued.secret.expose() as { url: string }
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query('SELECT 1')
  const { promise: ended, resolve } = Promise.withResolvers<void>()
  client.on('error', () => undefined) // being cut is what this session is for
  client.on('end', () => resolve())
  return { caller, attempt: asked, grant: grant.id, ended }
}
