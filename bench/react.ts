/**
 * P6, P6c: one signal that hits many live grants: how soon nothing is permitted any more, how soon all of them have ended
 * and a credential is revoked at its target, and what decisions of others take meanwhile, against the same without it.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import type { Grant } from '../src/model/grant.ts'
import { FakeSystem } from '../test/support/fake-target.ts'
import type { World } from '../test/support/world.ts'
import { activeGrant, attempt, declare, openWorld, ref, starterPolicies } from '../test/support/world.ts'
import type { Row, Sample } from './measure.ts'
import { percentiles, rss } from './measure.ts'

const policies = [
  ...starterPolicies(),
  {
    name: 'bench.cedar',
    text: `
@id("stow") @ttl("8h") permit (principal, action == Action::"stow", resource);
@id("risky") forbid (principal, action, resource) when { context.live has risk && context.live.risk.level > 2 };`,
  },
]

export async function react(full: boolean): Promise<readonly Row[]> {
  return [...(await storm(10_000)), ...(full ? await storm(100_000) : []), rss('react')]
}

async function storm(grants: number): Promise<Row[]> {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'writ-react-'))
  const system = new FakeSystem()
  await using world = await openWorld({
    http: false,
    folder,
    policies,
    targetKinds: { fake: ({ id }) => system.connect(id) },
  })
  const { flows } = world.app
  await flows.addTarget(world.ada, {
    id: 'orders-db',
    kind: 'fake',
    config: { access: [{ action: 'db:migrate', resource: 'Database/orders', role: 'migrate' }] },
    admin: { user: 'admin', password: randomBytes(8).toString('hex') },
  })
  await many(world, grants)
  await flows.settled()

  const read = attempt('Agent/bystander', 'read', 'Document/handbook')
  await flows.putEntities(world.ada, [{ type: 'Agent', id: 'bystander', kind: 'agent' }])
  await flows.settled()
  const key = await flows.createKey(world.ada, { name: 'b', subject: ref('Agent/bystander') })
  const bystander = { ...world.migrator, id: `key:${key.id}`, subject: ref('Agent/bystander') }
  const once = async (): Promise<void> =>
    assert.equal((await flows.evaluate(bystander, read)).outcome, 'permit')
  const calm = await during(once, until(3_000))

  // one of them has a credential at a target
  const { grant } = await activeGrant(world, await declare(world))
  await flows.issueCredential(world.migrator, grant)
  assert.equal(system.shelf.names().length, 1)
  let lastPermit = -Infinity
  const over = new AbortController()
  const trying = (async (): Promise<void> => {
    const stow = attempt('Agent/migrator', 'stow', 'Document/one')
    while (!over.signal.aborted) {
      const startedAt = performance.now()
      if ((await flows.evaluate(world.migrator, stow)).outcome === 'permit') lastPermit = startedAt
      await turn()
    }
  })()
  const signalledAt = performance.now()
  await flows.facts.observe('bench', 'bench', [
    { name: 'risk', about: 'Agent/migrator', value: { level: 3 }, observedAt: Date.now() },
  ])
  const recordedAt = performance.now()
  let revokedAt = 0
  let endedAt = 0
  const ending = flows.settled().then(() => (endedAt = performance.now()))
  const stormy = await during(once, () => {
    if (revokedAt === 0 && system.shelf.names().length === 0) revokedAt = performance.now()
    return endedAt !== 0
  })
  await ending
  over.abort()
  await trying
  const left = await world.app.store.list('grant', { index: 'grant.state', value: 'active', limit: 1 })
  assert.equal(left.items.length, 0)
  assert.ok(lastPermit < recordedAt, 'something was permitted after the signal was taken')
  const row = (metric: string, value: number, unit: Row['unit'], theirs?: number): Row => ({
    bench: 'react',
    metric: `${grants} grants, ${metric}`,
    value,
    unit,
    peer: theirs === undefined ? null : 'without the storm',
    ratio: theirs === undefined ? null : theirs / value,
  })
  return [
    row('last permit', Math.max(0, lastPermit - signalledAt), 'ms'),
    row('signal taken', recordedAt - signalledAt, 'ms'),
    row('credential revoked', revokedAt - signalledAt, 'ms'),
    row('all ended', endedAt - signalledAt, 'ms'),
    row('ended', (grants * 1_000) / (endedAt - signalledAt), '/s'),
    row('others decide p50', stormy.p50, 'ms', calm.p50),
    row('others decide p99', stormy.p99, 'ms', calm.p99),
  ]
}

const until = (millis: number): (() => boolean) => {
  const end = performance.now() + millis
  return () => performance.now() >= end
}

/** Eight at a time until `isOver`. */
async function during(once: () => Promise<void>, isOver: () => boolean): Promise<Sample> {
  const latencies: number[] = []
  const startedAt = performance.now()
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      while (!isOver()) {
        const before = performance.now()
        await once()
        latencies.push(performance.now() - before)
      }
    }),
  )
  return percentiles(latencies, (performance.now() - startedAt) / 1_000)
}

/** So many grants like one that was given, each for a document of its own. */
async function many(world: World, grants: number): Promise<void> {
  const { flows, store } = world.app
  // less urgent than the database that the one credential is for
  await flows.putEntities(world.ada, [{ type: 'Document', id: 'one', kind: 'resource', sensitivity: 1 }])
  const given = await flows.activate(world.migrator, attempt('Agent/migrator', 'stow', 'Document/one'))
  const id = given.grant?.id ?? ''
  const like = (await store.read([{ kind: 'grant', id }])).get('grant', id)?.value as Grant
  for (let from = 1; from < grants; from += 1_000) {
    await store.commit({
      reads: [],
      run: (tx) => {
        for (let i = from; i < Math.min(from + 1_000, grants); i += 1) {
          const resource = { type: 'Document', id: `storm${i}` }
          const analysed = { ...(like.analysed as Record<string, never>), resource }
          const reads = (like.reads ?? []).map((key) => key.replace('Document/one', `Document/storm${i}`))
          tx.put('grant', `grant_${i}`, {
            ...like,
            id: `grant_${i}`,
            resource,
            analysed,
            reads: reads.sort(),
          })
        }
      },
    })
  }
}
