/**
 * P6, P6c, P11: many live grants that end at once: by a signal, by a lock on who has them, because their time is over. How
 * soon nothing is permitted any more, how soon all have ended and a credential is revoked at its target, what decisions of
 * others take meanwhile against the same without it, and how long the event loop stands still.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as turn, setTimeout as pause } from 'node:timers/promises'
import type { Grant } from '../src/model/grant.ts'
import type { Instant } from '../src/model/time.ts'
import { HOUR } from '../src/model/time.ts'
import type { Transaction } from '../src/store/port.ts'
import { FakeSystem } from '../test/support/fake-target.ts'
import type { World } from '../test/support/world.ts'
import {
  activeGrant,
  attempt,
  declare,
  migration,
  openWorld,
  ref,
  starterPolicies,
} from '../test/support/world.ts'
import type { Row, Sample } from './measure.ts'
import { percentiles, rss } from './measure.ts'

/** Nobody who is at high risk does anything. */
export const RISKY = {
  name: 'bench.cedar',
  text: '@id("risky") forbid (principal, action, resource) when { context.live has risk.level && context.live.risk.level > 2 };',
}

const policies = [
  ...starterPolicies().map(({ name, text }) => ({
    name,
    text: text.replaceAll('@ttl("10m")', '@ttl("8h")'),
  })),
  RISKY,
]

/** Nothing ends before the storm does. */
export const LONG = {
  request: HOUR,
  task: 8 * HOUR,
  heartbeat: HOUR,
  grant: 8 * HOUR,
  thirdPartyGrant: 8 * HOUR,
}

/** What ends all grants of the migrator. */
type Cause = Readonly<{
  name: 'signal' | 'lock' | 'expiry'
  /** When the grants end by themselves. */
  endsAt?: (begun: Instant, grants: number) => Instant
  /** Resolves when nothing may be permitted any more. */
  happens: (world: World, endsAt: Instant) => Promise<void>
}>

const causes: readonly Cause[] = [
  {
    name: 'signal',
    happens: ({ app }) =>
      app.flows.facts.observe('bench', 'bench', [
        { name: 'risk', about: 'Agent/migrator', value: { level: 3 }, observedAt: Date.now() },
      ]),
  },
  {
    name: 'lock',
    happens: async ({ app, ada }) => {
      const said = await app.flows.locks.lock(ada, {
        what: 'subject',
        about: 'Agent/migrator',
        reason: 'bench',
      })
      assert.ok(said.denied)
    },
  },
  {
    name: 'expiry',
    // time to write them all and to measure the calm before
    endsAt: (begun, grants) => begun + 10_000 + grants / 2,
    happens: async (_world, endsAt) => {
      await pause(Math.max(0, endsAt - Date.now()))
    },
  },
]

export async function storm(full: boolean): Promise<readonly Row[]> {
  const found: Row[] = []
  for (const grants of full ? [10_000, 100_000] : [10_000])
    for (const cause of causes) found.push(...(await measured(cause, grants)))
  return [...found, rss('storm')]
}

/** On a file system in memory where there is one: what is measured is Writ, not the disk. */
export const benchFolder = (): string =>
  mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'writ-bench-'))

async function measured(cause: Cause, grants: number): Promise<Row[]> {
  const system = new FakeSystem()
  await using world = await openWorld({
    http: false,
    folder: benchFolder(),
    policies,
    config: { defaults: LONG },
    targetKinds: { fake: ({ id }) => system.connect(id) },
  })
  const { flows } = world.app
  await flows.addTarget(world.ada, {
    id: 'orders-db',
    kind: 'fake',
    config: { access: [{ action: 'db:migrate', resource: 'Database/orders', role: 'migrate' }] },
    admin: { user: 'admin', password: randomBytes(8).toString('hex') },
  })
  const endsAt = cause.endsAt?.(Date.now(), grants) ?? Infinity
  const { id: first, task } = await manyGrants(world, grants, endsAt)
  await flows.settled()

  const read = attempt('Agent/bystander', 'read', 'Document/handbook')
  await flows.putEntities(world.ada, [{ type: 'Agent', id: 'bystander', kind: 'agent' }])
  await flows.settled()
  const key = await flows.createKey(world.ada, { name: 'b', subject: ref('Agent/bystander') })
  const bystander = { ...world.migrator, id: `key:${key.id}`, subject: ref('Agent/bystander') }
  const once = async (): Promise<void> =>
    assert.equal((await flows.evaluate(bystander, read)).outcome, 'permit')
  const calm = await during(once, until(3_000))

  // one of them has a credential at a target; of those whose time is over none has
  const isTimed = endsAt !== Infinity
  if (isTimed) {
    await flows.revokeGrant(world.ada, first, 'only the others are measured')
    assert.ok(Date.now() < endsAt, 'the grants ended before the storm could begin')
  } else {
    await flows.issueCredential(world.migrator, first)
    assert.equal(system.shelf.names().length, 1)
  }
  let lastPermit = -Infinity
  let permits = 0
  const over = new AbortController()
  const trying = (async (): Promise<void> => {
    for (let i = 1; !over.signal.aborted; i = (i % (grants - 1)) + 1) {
      const named = migration(task, { grant: `grant_${i}` })
      const startedAt = performance.now()
      if ((await flows.evaluate(world.migrator, named)).outcome === 'permit') {
        lastPermit = startedAt
        permits += 1
      }
      await turn()
    }
  })()
  await pause(200)
  const before = performance.now()
  await cause.happens(world, endsAt)
  const takenAt = performance.now()
  const begunAt = isTimed ? takenAt : before
  let revokedAt = 0
  let endedAt = 0
  const ending = (async (): Promise<void> => {
    while (
      (await world.app.store.list('grant', { index: 'grant.state', value: 'active', limit: 1 })).items
        .length > 0
    )
      await pause(5)
    await flows.settled()
    endedAt = performance.now()
  })()
  const stalls = monitorEventLoopDelay({ resolution: 1 })
  stalls.enable()
  const stormy = await during(once, () => {
    if (revokedAt === 0 && system.shelf.names().length === 0) revokedAt = performance.now()
    return endedAt !== 0
  })
  stalls.disable()
  await ending
  over.abort()
  await trying
  assert.ok(permits > 0, 'nothing was permitted before')
  assert.ok(lastPermit < takenAt, 'something was permitted afterwards')
  const row = (metric: string, value: number, unit: Row['unit'], theirs?: number): Row => ({
    bench: 'storm',
    metric: `${cause.name} ${grants} ${metric}`,
    value,
    unit,
    peer: theirs === undefined ? null : 'without the storm',
    ratio: theirs === undefined ? null : theirs / value,
  })
  return [
    row('last permit', Math.max(0, lastPermit - begunAt), 'ms'),
    ...(isTimed
      ? []
      : [row('taken', takenAt - begunAt, 'ms'), row('credential gone', revokedAt - begunAt, 'ms')]),
    row('all ended', endedAt - begunAt, 'ms'),
    row('ended', (grants * 1_000) / (endedAt - begunAt), '/s'),
    row('others decide p50', stormy.p50, 'ms', calm.p50),
    row('others decide p99', stormy.p99, 'ms', calm.p99),
    row('loop stall p99', stalls.percentile(99) / 1e6, 'ms'),
    row('loop stall max', stalls.max / 1e6, 'ms'),
  ]
}

export const until = (millis: number): (() => boolean) => {
  const end = performance.now() + millis
  return () => performance.now() >= end
}

/** Eight at a time until `isOver`. */
export async function during(once: () => Promise<void>, isOver: () => boolean): Promise<Sample> {
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

/**
 * So many grants like one that was approved, `grant_1` and on, which is `like`. They are written as they are kept, since
 * to ask for each would take an hour.
 */
async function manyGrants(world: World, grants: number, endsAt: Instant): Promise<Grant> {
  const like = await grantOf(world)
  await cloned(world.app.store, grants - 1, (tx, i) =>
    tx.put('grant', `grant_${i + 1}`, {
      ...like,
      id: `grant_${i + 1}`,
      endsAt: Math.min(like.endsAt, endsAt),
    }),
  )
  return like
}

/** A grant as it is kept: of the migrator for its database, under a task. */
export async function grantOf(world: World): Promise<Grant> {
  const { grant: id } = await activeGrant(world, await declare(world))
  return (await world.app.store.read([{ kind: 'grant', id }])).get('grant', id)?.value as Grant
}

/** Calls `write` for 0 to `many`, a thousand in a transaction. */
export async function cloned(
  store: World['app']['store'],
  many: number,
  write: (tx: Transaction, i: number) => void,
): Promise<void> {
  for (let from = 0; from < many; from += 1_000) {
    await store.commit({
      reads: [],
      run: (tx) => {
        for (let i = from; i < Math.min(from + 1_000, many); i += 1) write(tx, i)
      },
    })
  }
}
