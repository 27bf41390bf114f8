/**
 * P6b: an ephemeral role with an open session, removed and verified absent, against the same statements by hand, which
 * verify and report nothing.
 *
 * @module
 */
import { strict as assert } from 'node:assert'
import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { startPostgres } from '../test/support/postgres.ts'
import { parsePostgresConfig } from '../src/targets/postgres/config.ts'
import { postgresTarget } from '../src/targets/postgres/driver.ts'
import type { Row, Sample } from './measure.ts'
import { median, percentiles, rows, rss, RUNS } from './measure.ts'

const EACH_RUN = 40

export async function revoke(): Promise<readonly Row[]> {
  await using server = await startPostgres()
  const root = new pg.Client({ connectionString: server.url() })
  await root.connect()
  try {
    await root.query('CREATE ROLE orders_owner NOLOGIN')
    const target = postgresTarget(
      parsePostgresConfig({
        id: 'orders-db',
        kind: 'postgres',
        host: server.host,
        port: server.port,
        database: 'postgres',
        admin: { user: server.superuser, password: server.password },
        roles: { migrate: 'orders_owner' },
      }),
      { installation: 'inst_bench', clock: () => Date.now(), randomBytes },
    )
    let made = 0
    const ours = async (lanes: number): Promise<Sample> =>
      runs(lanes, async () => {
        const planned = target.plan(`cred_${(made += 1)}`, { role: 'migrate' })
        const secret = (await target.issue(planned, Date.now() + 60_000)).expose()
        const { ended } = await session(secret.url)
        return async () => {
          const report = await target.revoke(planned)
          assert.ok(report.absent && report.sessionsCut === 1)
          await ended
        }
      })
    const byHand = async (lanes: number): Promise<Sample> => {
      const clients = await Promise.all(
        Array.from({ length: lanes }, async () => {
          const client = new pg.Client({ connectionString: server.url() })
          await client.connect()
          return client
        }),
      )
      const answer = await runs(lanes, async (lane) => {
        const name = `by_hand_${(made += 1)}`
        const client = clients[lane] as pg.Client
        await client.query(`CREATE ROLE ${name} LOGIN NOINHERIT PASSWORD 'x' IN ROLE orders_owner`)
        const { ended } = await session(server.url('postgres', name, 'x'))
        return async () => {
          await client.query(`ALTER ROLE ${name} NOLOGIN`)
          await client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [
            name,
          ])
          await client.query(`DROP OWNED BY ${name}`)
          await client.query(`DROP ROLE ${name}`)
          await ended
        }
      })
      await Promise.all(clients.map((client) => client.end()))
      return answer
    }
    const result: Row[] = []
    for (const lanes of [1, 8]) {
      const peer = { name: 'the statements by hand, unverified', sample: await byHand(lanes) }
      result.push(
        ...rows('revoke', lanes === 1 ? '1 at a time' : `${lanes} in flight`, await ours(lanes), peer),
      )
    }
    await target.close()
    return [...result, rss('revoke')]
  } finally {
    await root.end()
  }
}

/** Opens a session; `ended` resolves when it was cut. */
async function session(url: string): Promise<{ ended: Promise<void> }> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query('SELECT 1')
  const { promise: ended, resolve } = Promise.withResolvers<void>()
  client.on('error', () => undefined) // being cut is what this session is for
  client.on('end', () => resolve())
  return { ended }
}

/** Prepares one credential per lane, then times taking them back; medians over the runs. */
async function runs(lanes: number, prepare: (lane: number) => Promise<() => Promise<void>>): Promise<Sample> {
  const samples: Sample[] = []
  for (let run = 0; run <= RUNS; run += 1) {
    const latencies: number[] = []
    let seconds = 0
    for (let round = 0; round < EACH_RUN / lanes; round += 1) {
      const takeBacks = await Promise.all(Array.from({ length: lanes }, (_, lane) => prepare(lane)))
      const startedAt = performance.now()
      await Promise.all(
        takeBacks.map(async (takeBack) => {
          const before = performance.now()
          await takeBack()
          latencies.push(performance.now() - before)
        }),
      )
      seconds += (performance.now() - startedAt) / 1_000
    }
    if (run > 0) samples.push(percentiles(latencies, seconds)) // the first one warms up
  }
  return {
    p50: median(samples.map((s) => s.p50)),
    p99: median(samples.map((s) => s.p99)),
    p999: median(samples.map((s) => s.p999)),
    rate: median(samples.map((s) => s.rate)),
  }
}
