import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { createApp } from '../../src/app.ts'
import { openLogFolder } from '../../src/audit/folder.ts'
import { verifyLog } from '../../src/audit/verify.ts'
import type { PlannedCredential } from '../../src/targets/port.ts'
import { copyData } from '../machine/setup.ts'
import { engineFlags } from '../support/engine.ts'
import type { World } from '../support/world.ts'
import { activeGrant, declare, openWorld } from '../support/world.ts'
import type { World as Database } from '../targets/world.ts'
import { startWorld } from '../targets/world.ts'
import type { Prepared } from './flows-postgres-child.ts'

let database: Database
let world: World
let prepared: Prepared

before(async () => {
  ;[database, world] = await Promise.all([startWorld(), openWorld({ http: false, sweeper: false })])
  await world.app.flows.addTarget(world.ada, {
    id: 'orders-db',
    kind: 'postgres',
    config: {
      host: database.host,
      port: database.port,
      database: 'orders',
      roles: { migrate: 'orders_owner' },
      access: [{ action: 'db:migrate', resource: 'Database/orders', role: 'migrate' }],
    },
    admin: { user: 'writ_admin', password: database.adminPassword },
  })
  const { task, grant } = await activeGrant(world, await declare(world, { heartbeat: 3_600_000 }))
  prepared = { config: world.config, migrator: world.migrator, task, grant }
  await world.app.stop()
})

after(async () => {
  await world[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

type Ran = Readonly<{
  saw: readonly string[]
  steps: readonly string[]
  signal: string | undefined
  errors: string
}>

/** A process issues and takes back, until it ends or is killed at a step. */
function run(mine: Prepared, killAt: number): Promise<Ran> {
  const file = `${mine.config.data}.json`
  writeFileSync(file, JSON.stringify(mine))
  const child = join(import.meta.dirname, 'flows-postgres-child.ts')
  return new Promise((resolve) => {
    execFile(process.execPath, [...engineFlags, child, file, String(killAt)], (error, stdout, stderr) => {
      const lines = stdout.split('\n').filter((line) => line !== '')
      const said = lines.map((line) => JSON.parse(line) as { saw?: string; steps?: string[] })
      resolve({
        saw: said.flatMap(({ saw }) => saw ?? []),
        steps: said.flatMap(({ steps }) => steps ?? []),
        signal: error?.signal ?? undefined,
        errors: stderr,
      })
    })
  })
}

/** A copy of the installation, for one process to die on. */
function copy(name: string): Prepared {
  const data = join(world.folder, name)
  copyData(prepared.config.data, data)
  // with a memory of its own of what was signed: the copies live side by side
  const mark = readdirSync(world.folder).find((file) => /^secrets\.key\..*\.mark$/u.test(file)) ?? ''
  copyFileSync(join(world.folder, mark), `${data}.mark`)
  return { ...prepared, config: { ...prepared.config, data, log: { mark: `${data}.mark` } } }
}

async function rolesLeft(): Promise<string[]> {
  const rows = await database.sql<{ rolname: string }>(
    String.raw`select rolname from pg_roles where rolname like 'writ\_%' and rolname <> 'writ_admin' order by 1`,
  )
  return rows.map(({ rolname }) => rolname)
}

async function recover({ config, migrator, task, grant }: Prepared, saw: readonly string[]): Promise<void> {
  const options = { mode: 'server', http: false, sweeper: false, log: () => undefined } as const
  const app = await createApp(config, options)
  const { flows, store } = app
  const before = (await flows.grant(migrator, grant)).credentials
  if (saw.includes('credential'))
    assert.ok(
      before.some(({ liveAt }) => liveAt !== undefined),
      'C1',
    )
  if (saw.includes('ended')) assert.equal((await flows.task(migrator, task)).task.state, 'completed', 'B47')
  if (saw.includes('absent'))
    assert.deepEqual(
      before.map(({ state }) => state),
      ['absent'],
      'C1',
    )
  await flows.sweeper.sweep()
  await flows.settled()
  const swept = await flows.grant(migrator, grant)
  const live = swept.credentials.filter(({ state }) => state === 'live')
  assert.ok(
    swept.credentials.every(({ state }) => state === 'live' || state === 'absent'),
    'B35',
  )
  assert.ok(live.length === 0 || swept.grant.state === 'active', 'B47')
  const names = live.map(({ planned }) => (planned as unknown as PlannedCredential).name)
  assert.deepEqual(await rolesLeft(), names, 'B35, B36 only what is live is at the target')
  await flows.endTask(migrator, task, 'completed')
  await flows.settled()
  assert.equal((await flows.task(migrator, task)).clean, true, 'C8')
  assert.deepEqual(await rolesLeft(), [], 'C8')
  const head = await store.log.head()
  await app.stop()
  const source = openLogFolder(config.data)
  assert.equal((await verifyLog(source, head)).firstBad, undefined, 'C11')
  source.close()
}

test('B35, B36, B47 killed with -9 around issue and revoke at PostgreSQL, no role is left and what ended stays ended', async () => {
  const whole = await run(copy('whole'), 0)
  assert.deepEqual(whole.saw, ['credential', 'ended', 'absent'], whole.errors)
  const { steps } = whole
  // nothing is at the target before the row of what is planned
  const from = steps.lastIndexOf('commit: before', steps.indexOf('issue: before'))
  for (let killAt = from + 1; killAt <= steps.length; killAt += 1) {
    const mine = copy(`kill-${killAt}`)
    const { saw, signal, errors } = await run(mine, killAt)
    const where = `step ${killAt}, ${steps[killAt - 1]}`
    assert.equal(signal, 'SIGKILL', `${where}: ${errors}`)
    await recover(mine, saw).catch((error: unknown) => {
      throw new Error(`killed at ${where}`, { cause: error })
    })
  }
})
