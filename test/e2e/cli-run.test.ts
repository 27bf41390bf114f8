/**
 * `writ run` against a real server and a real PostgreSQL.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { createWrit } from '../../client/src/index.ts'
import type { Writ } from '../../client/src/index.ts'
import { Cli } from '../support/cli.ts'
import type { CliOptions, Ran, Running } from '../support/cli.ts'
import { ordersDb } from '../support/orders-db.ts'
import { openWorld } from '../support/world.ts'
import type { World } from '../support/world.ts'
import { startWorld } from '../targets/world.ts'
import type { World as Database } from '../targets/world.ts'

let world: World
let database: Database
let cli: Cli
let ada: Writ
let grace: Writ
let serial = 0

before(async () => {
  ;[world, database] = await Promise.all([openWorld(), startWorld()])
  const { url } = world.app
  ada = createWrit({ url, token: world.tokens.ada })
  grace = createWrit({ url, token: world.tokens.grace })
  await ada.targets.add(ordersDb(database))
  cli = new Cli({ WRIT_URL: url, WRIT_TOKEN: world.tokens.migrator })
})

after(async () => {
  cli[Symbol.dispose]()
  await world[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
})

const flags = (...more: string[]): string[] => [
  'run', '--for', 'db:migrate', '--on', 'Database/orders', '--reason', `INC-${++serial}`, '--wait', ...more,
] // prettier-ignore

/** Approves whatever this run asks for. */
async function approve(running: Running): Promise<string> {
  const [, id = ''] = await running.says(/access request (req_\w+)/)
  const { digest } = await grace.requests.get(id)
  await grace.requests.approve(id, digest)
  return id
}

/** Runs a command that is approved on the way. */
async function run(
  command: readonly string[],
  options: CliOptions & { flags?: string[] } = {},
): Promise<Ran> {
  const running = cli.start([...flags(...(options.flags ?? [])), '--', ...command], options)
  await approve(running)
  return running.done
}

const node = (script: string): string[] => [process.execPath, '-e', script]

/** A script that queries with what its environment gives it. */
const query = (sql: string, more = '', onCut = `console.log('cut', error.code); process.exit(9)`): string[] =>
  node(`
    const { default: pg } = await import(${JSON.stringify(import.meta.resolve('pg'))})
    const client = new pg.Client({ ssl: false })
    client.on('error', (error) => { ${onCut} })
    await client.connect()
    const { rows } = await client.query(${JSON.stringify(sql)})
    console.log(JSON.stringify(rows))
    ${more}
    await client.end()
  `)

const result = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>

suite('writ run', () => {
  test('S16 a migration is challenged, approved, run as the owner, and leaves nothing behind', async () => {
    const file = join(cli.home, 'result.json')
    const ran = await run(query('create table invoice (id int); select current_user, session_user'), {
      env: { WRIT_RESULT_FILE: file },
    }).catch((error: unknown) => {
      throw error
    })
    assert.equal(ran.code, 0, ran.stderr)
    assert.match(ran.stderr, /needs one approval by dba/)
    assert.match(ran.stderr, /absent at orders-db after \d+\.\d s/)
    assert.match(ran.stderr, /stays: table public\.invoice, owned by orders_owner/)
    const [owner] = await database.sql<{ owner: string }>(
      `select tableowner as owner from pg_tables where tablename = 'invoice'`,
    )
    assert.equal(owner?.owner, 'orders_owner')
    const roles = await database.sql(`select rolname from pg_roles where rolname like 'writ\\_%\\_cred%'`)
    assert.deepEqual(roles, [])
    const written = result(file)
    assert.deepEqual([written['outcome'], written['exit_code'], written['clean']], ['exited', 0, true])
    const task = await ada.tasks.get(String(written['task']))
    assert.deepEqual([task.task.state, task.clean], ['completed', true])
  })

  test("the child's code passes through, and a failure ends the task as failed", async () => {
    const file = join(cli.home, 'result-7.json')
    const ran = await run(node('process.exit(7)'), { env: { WRIT_RESULT_FILE: file } })
    assert.equal(ran.code, 7, ran.stderr)
    const task = await ada.tasks.get(String(result(file)['task']))
    assert.deepEqual(
      [task.task.state, task.task.ending?.reason, task.clean],
      ['failed', 'the command exited with 7', true],
    )
  })

  test('B43 the child gets its credential and no other authority; piped output is masked', async () => {
    const ran = await run(
      node(`
        const names = Object.keys(process.env).filter((name) => /^(PG|WRIT_|DATABASE)/.test(name)).sort()
        console.log(JSON.stringify(names))
        console.log('password', process.env.PGPASSWORD, Buffer.from(process.env.PGPASSWORD).toString('base64'))
        console.error('url', process.env.DATABASE_URL)
        process.stdout.write(process.env.PGPASSWORD.slice(0, 9))
        setTimeout(() => console.log(process.env.PGPASSWORD.slice(9)), 50)
        console.log = console.log
      `),
      { env: { PGHOSTADDR: '192.0.2.1', PGSERVICE: 'elsewhere', PGOPTIONS: '-c role=postgres' } },
    )
    assert.equal(ran.code, 0, ran.stderr)
    const [first = '[]', second = '', third = ''] = ran.stdout.split('\n')
    const names = JSON.parse(first) as string[]
    for (const name of [
      'PGHOST',
      'PGPORT',
      'PGUSER',
      'PGPASSWORD',
      'PGDATABASE',
      'DATABASE_URL',
      'WRIT_TASK',
      'WRIT_GRANT',
    ]) {
      assert.ok(names.includes(name), name)
    }
    for (const name of ['WRIT_TOKEN', 'WRIT_RESULT_FILE', 'PGHOSTADDR', 'PGSERVICE'])
      assert.ok(!names.includes(name), name)
    assert.equal(second, 'password [masked by writ] [masked by writ]')
    assert.equal(third, '[masked by writ]')
    assert.match(ran.stderr, /url \[masked by writ\]/)
    assert.ok(!`${ran.stdout}${ran.stderr}`.includes(world.tokens.migrator))
  })

  test('--no-mask leaves output as it is', async () => {
    const ran = await run(node('console.log(process.env.PGPASSWORD)'), { flags: ['--no-mask'] })
    assert.match(ran.stdout.trim(), /^\S{16,}$/)
    assert.doesNotMatch(ran.stdout, /masked/)
  })

  test('what is not there is told before anybody is asked: 127, 126, 125', async () => {
    const plain = join(cli.home, 'plain')
    writeFileSync(plain, 'echo never')
    chmodSync(plain, 0o644)
    const folder = join(cli.home, 'folder')
    mkdirSync(folder)
    const file = join(cli.home, 'result-126.json')
    const cases: [string[], number, RegExp][] = [
      [['no-such-command-here'], 127, /no command `no-such-command-here`/],
      [['./nowhere/at-all'], 127, /does not exist/],
      [[plain], 126, /cannot be executed/],
      [[folder], 126, /is a folder/],
      [[], 125, /no command to run/],
    ]
    for (const [command, code, message] of cases) {
      const ran = await cli.run([...flags(), '--', ...command], { env: { WRIT_RESULT_FILE: file } })
      assert.deepEqual([ran.code, ran.stdout], [code, ''], ran.stderr)
      assert.match(ran.stderr, message)
      assert.deepEqual([result(file)['outcome'], result(file)['exit_code']], ['not_started', code])
    }
    const pending = await grace.requests.list({ pending: true })
    assert.deepEqual(pending.items, [])
  })

  test('a missing interpreter is 127, and the authority is given back', async () => {
    const script = join(cli.home, 'script')
    writeFileSync(script, '#!/no/such/interpreter\n')
    chmodSync(script, 0o755)
    const ran = await run([script])
    assert.equal(ran.code, 127, ran.stderr)
    assert.match(ran.stderr, /interpreter does not exist/)
    assert.match(ran.stderr, /absent at orders-db/)
  })

  test('signals reach the child, and the code says which ended it', async () => {
    for (const [signal, trap, code] of [
      ['SIGTERM', `process.on('SIGTERM', () => process.exit(42))`, 42],
      ['SIGHUP', '', 128 + 1],
      [
        'SIGINT',
        `process.on('SIGINT', () => { console.log('told once'); setTimeout(() => process.exit(3), 200) })`,
        3,
      ],
    ] as const) {
      const running = cli.start([
        ...flags(),
        '--',
        ...node(`${trap}; console.log('up'); setInterval(() => {}, 1000)`),
      ])
      await approve(running)
      await running.says(/up/, 'stdout')
      running.process.kill(signal)
      const ran = await running.done
      assert.equal(ran.code, code, ran.stderr)
      assert.match(ran.stderr, /absent at orders-db/)
      assert.ok(ran.stdout.split('told once').length <= 2)
    }
  })

  test('Ctrl-C while waiting leaves the request pending, and the work is picked up later', async () => {
    const running = cli.start([...flags(), '--', ...node('console.log("ran", process.env.WRIT_TASK)')])
    const [, id = ''] = await running.says(/access request (req_\w+)/)
    await running.says(/is pending/)
    running.process.kill('SIGINT')
    const ran = await running.done
    assert.equal(ran.code, 130, ran.stderr)
    assert.match(ran.stderr, new RegExp(`writ requests wait ${id}`))
    assert.match(ran.stderr, new RegExp(`writ run --request ${id} -- `))
    const { digest, status, task } = await grace.requests.get(id)
    assert.equal(status, 'pending')
    await grace.requests.approve(id, digest)
    const waited = await cli.run(['requests', 'wait', id])
    assert.deepEqual([waited.code, waited.stdout], [0, 'approved\n'])
    const later = await cli.run([
      'run',
      '--request',
      id,
      '--',
      ...node('console.log("ran", process.env.WRIT_TASK)'),
    ])
    assert.equal(later.code, 0, later.stderr)
    assert.equal(later.stdout, `ran ${task ?? ''}\n`)
    // an approval is spent once
    const again = await cli.run(['run', '--request', id, '--', 'true'])
    assert.equal(again.code, 125, again.stderr)
  })

  test('denied, not in time, not asked for: nothing runs', async () => {
    const file = join(cli.home, 'result-no.json')
    const env = { WRIT_RESULT_FILE: file }
    const marker = node('console.log("ran")')
    const denied = cli.start([...flags(), '--', ...marker], { env })
    const [, id = ''] = await denied.says(/access request (req_\w+)/)
    const { digest } = await grace.requests.get(id)
    await grace.requests.deny(id, digest, 'not before the freeze')
    const ran = await denied.done
    assert.deepEqual([ran.code, ran.stdout, result(file)['outcome']], [125, '', 'denied'], ran.stderr)
    assert.match(ran.stderr, /is denied \(not before the freeze\)/)

    const late = await cli.run([...flags('--wait=1s'), '--', ...marker], { env })
    assert.deepEqual(
      [late.code, late.stdout, result(file)['outcome']],
      [125, '', 'not_approved'],
      late.stderr,
    )
    assert.match(late.stderr, /was not approved in time/)

    const unasked = await cli.run([...flags().filter((word) => word !== '--wait'), '--', ...marker], { env })
    assert.deepEqual(
      [unasked.code, unasked.stdout, result(file)['outcome']],
      [125, '', 'denied'],
      unasked.stderr,
    )
    assert.match(unasked.stderr, /needs one approval by dba[^]*--wait/)
  })

  test('nesting is refused without --nest', async () => {
    const ran = await cli.run([...flags(), '--', 'true'], { env: { WRIT_TASK: 'task_outer' } })
    assert.equal(ran.code, 125)
    assert.match(ran.stderr, /runs inside task `task_outer`[^]*--nest/)
  })

  test('S21 a grant that ends under its task ends its command at once, long before a heartbeat would tell', async () => {
    const running = cli.start([
      ...flags('--heartbeat', '1h'),
      '--',
      ...node(`process.on('SIGTERM', () => process.exit(0)); console.log('up'); setInterval(() => {}, 1000)`),
    ])
    const id = await approve(running)
    await running.says(/up/, 'stdout')
    const { grant = '' } = await ada.requests.get(id)
    await ada.grants.revoke(grant, 'incident 10')
    const ran = await running.done
    assert.equal(ran.code, 125, ran.stderr)
    assert.match(ran.stderr, /authority is gone: the grant ended: .*incident 10/)
  })

  test('a task that is revoked ends its command, which says why', async () => {
    const file = join(cli.home, 'result-lost.json')
    const running = cli.start(
      [
        // so that a busy machine is in time; it hears at the next one that the task is over
        ...flags('--heartbeat', '15s'),
        '--',
        ...node(
          `process.on('SIGTERM', () => process.exit(0)); console.log('up'); setInterval(() => {}, 1000)`,
        ),
      ],
      {
        env: { WRIT_RESULT_FILE: file },
      },
    )
    const id = await approve(running)
    await running.says(/up/, 'stdout')
    const { task = '' } = await ada.requests.get(id)
    await ada.tasks.revoke(task, 'incident 9')
    const ran = await running.done
    assert.equal(ran.code, 125, ran.stderr)
    assert.match(ran.stderr, /authority is gone: the task ended: .*incident 9/)
    assert.equal(result(file)['outcome'], 'authority_lost')
  })

  test('S14 B44 the wrapper is killed: role gone and session cut within heartbeat + 1 s, no child left', async () => {
    const running = cli.start([
      ...flags('--heartbeat', '5s'),
      '--',
      ...query(
        'select current_user as me',
        `console.log('pid', process.pid); await new Promise(() => setInterval(() => {}, 1000))`,
        // it does not care, and writes nowhere: only the watchdog ends it
        '',
      ),
    ])
    await approve(running)
    const [, pid = ''] = await running.says(/pid (\d+)/, 'stdout')
    const logins = () =>
      database.sql<{ rolname: string }>(
        `select rolname from pg_roles where rolname like 'writ\\_%' and rolname <> 'writ_admin'`,
      )
    assert.equal((await logins()).length, 1)
    const killedAt = performance.now()
    running.process.kill('SIGKILL')
    // what server and database, which are beside us, lose on a busy machine shows in how long a look takes
    let lost = 0
    for (let from = killedAt; (await logins()).length > 0; from = performance.now()) {
      assert.ok(from - killedAt < 120_000, 'the role is still there')
      await new Promise((resolve) => setTimeout(resolve, 20))
      lost += Math.max(0, performance.now() - from - 50)
    }
    const took = performance.now() - killedAt
    assert.ok(took < 5_000 + 1_000 + 500 + 3 * lost, `took ${took} ms, of which ${lost} ms were lost`)
    const sessions = await database.sql(
      `select 1 from pg_stat_activity where usename like 'writ\\_%' and usename <> 'writ_admin'`,
    )
    assert.deepEqual(sessions, [])
    while (isAlive(Number(pid))) {
      assert.ok(performance.now() - killedAt < 240_000, 'the child is still there')
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })

  test('a server that is gone at the end: 8, and it says what will happen', async () => {
    const told = join(cli.home, 'told')
    const running = cli.start([
      ...flags('--heartbeat', '30s'),
      '--',
      ...node(
        `const { existsSync } = await import('node:fs'); console.log('up')
        while (!existsSync(${JSON.stringify(told)})) await new Promise((resolve) => setTimeout(resolve, 20))`,
      ),
    ])
    await approve(running)
    await running.says(/up/, 'stdout')
    await world.app.stop()
    writeFileSync(told, '')
    const ran = await running.done
    world = await (async () => {
      const { createApp } = await import('../../src/app.ts')
      const app = await createApp(world.config, { mode: 'server', log: () => undefined })
      return { ...world, app, [Symbol.asyncDispose]: () => app.stop() }
    })()
    assert.equal(ran.code, 8, ran.stderr)
    assert.match(ran.stderr, /revoke unconfirmed: cannot reach/)
    assert.match(ran.stderr, /30s after the last heartbeat/)
  })
})

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
