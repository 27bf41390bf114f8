import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Database, Session } from './support/database.ts'
import { openDatabase } from './support/database.ts'
import type { Installation, Keyed } from './support/installation.ts'
import { approveNext, openInstallation } from './support/installation.ts'
import type { Program } from './support/processes.ts'
import { child, startWrit } from './support/processes.ts'
import type { Scenario, Story } from './support/story.ts'
import { sql, sqlRefused } from './support/story.ts'

const SCHEMA = "create table customer (id int primary key, name text); insert into customer values (1, 'Ada')"
const MIGRATIONS: Readonly<Record<string, string>> = {
  '0001-invoices.sql':
    'create table invoice (id int primary key, customer int references customer); create index on invoice (customer)',
  '0002-email.sql': `alter table customer add column email text; update customer set email = 'ada@example.org'`,
}

export const scenario: Scenario = {
  id: 'S16',
  name: 'migration',
  right:
    'a service account runs one agreed schema migration, with a login of its own and lifted, and its tables stay',
  wrong: 'a write after exit: in a new session, in one opened before, in an open transaction, after SET ROLE',

  async run(story) {
    // the first is migrated by a login that exists for the purpose, the second by lifting its service account
    const orders = await story.part(openDatabase({ name: 'orders', schema: SCHEMA }))
    const billing = await story.part(openDatabase({ name: 'billing', schema: SCHEMA }))
    const writ = await story.part(
      openInstallation({
        people: { grace: ['dba'] },
        entities: [
          { type: 'Service', id: 'ci', kind: 'workload', owner: 'Person/ada', parents: ['Group/deployers'] },
          { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 'high' },
          { type: 'Database', id: 'billing', kind: 'resource', sensitivity: 'high' },
        ],
      }),
    )
    await writ.target(orders, { 'db:migrate': 'Database/orders' })
    await writ.target(
      billing,
      { 'db:migrate': 'Database/billing' },
      { shape: 'lift', account: billing.account.user },
    )
    const ci = await writ.key('Service/ci')
    for (const database of [orders, billing]) await migrated(story, writ, ci, database)
  },
}

async function migrated(story: Story, writ: Installation, ci: Keyed, database: Database): Promise<void> {
  const lifted = database.name === 'billing'
  const which = lifted ? 'lifted account' : 'login of its own'
  const folder = join(writ.folder, database.name)
  mkdirSync(folder)
  for (const [file, text] of Object.entries(MIGRATIONS)) writeFileSync(join(folder, file), text)
  const leak = join(folder, 'leaked-address')
  const result = join(folder, 'result.json')
  const { account, owner } = database
  // the account's own password, where its tools look for it
  writeFileSync(join(folder, '.pgpass'), `*:*:*:${account.user}:${account.password}\n`, { mode: 0o600 })
  const run = (args: readonly string[], command: readonly string[]): Promise<Program> =>
    story.part(
      startWrit(
        [
          'run',
          '--for',
          'db:migrate',
          '--on',
          `Database/${database.name}`,
          '--reason',
          'INC-42',
          ...args,
          '--',
          ...command,
        ],
        {
          cwd: folder,
          env: { WRIT_URL: writ.url, WRIT_TOKEN: ci.token, WRIT_RESULT_FILE: result, OWNER_ROLE: owner },
        },
      ),
    )
  const outcome = (): Record<string, unknown> =>
    JSON.parse(readFileSync(result, 'utf8')) as Record<string, unknown>
  const readOnly = async (session: Session): Promise<void> => {
    assert.ok((await session.query('select * from customer')).length > 0)
    await sqlRefused(session.query('insert into customer values (99)'), sql.noRight)
    await sqlRefused(session.query(`set role ${owner}`), sql.noRight)
    await sqlRefused(session.query('create table mine (id int)'), sql.noRight)
  }

  const before = await database.connect(account)
  await story.wrong(`${which}: migrating before anybody agreed`, async () => {
    await readOnly(before)
    const program = await run([], child('migrate.ts').concat(folder))
    assert.deepEqual(await program.ended, { code: 125, signal: null })
    assert.equal(outcome()['outcome'], 'denied')
    assert.match(program.err.join('\n'), /--wait/u)
    assert.deepEqual(await database.look(`select from pg_tables where tablename = 'schema_migrations'`), [])
  })

  const running = await run(['--wait'], [...child('migrate.ts'), folder, leak])
  await approveNext(writ.person('grace'), 'Service/ci')
  await running.says('migrated')
  const url = readFileSync(leak, 'utf8')
  const connect = (): Promise<Session> => (lifted ? database.connect(account) : database.connect({ url }))
  const held = await connect()
  const open = await connect()
  await story.right(`${which}: the agreed migration runs, and writes while it runs`, async () => {
    for (const session of lifted ? [held, before] : [held]) {
      await session.query(`set role ${owner}`)
      await session.query('insert into invoice values ($1, 1)', [session === before ? 2 : 1])
    }
    await open.query(`begin; set role ${owner}; insert into invoice values (3, 1)`)
    assert.ok(running.out.includes('applied 0002-email.sql'))
  })
  await story.wrong(`${which}: printing what it was given`, async () => {
    const password = new URL(url).password
    const said = [...running.out, ...running.err].join('\n')
    assert.ok(lifted ? password === '' : password.length > 20)
    for (const secret of [ci.token, ...(lifted ? [] : [password])]) assert.ok(!said.includes(secret))
  })
  await story.right(`${which}: it exits, and the database is clean when the command returns`, async () => {
    running.write('done')
    assert.deepEqual(await running.ended, { code: 0, signal: null }, running.err.join('\n'))
    assert.deepEqual([outcome()['outcome'], outcome()['clean']], ['exited', true])
    assert.deepEqual([await database.roles(), await database.sessions()], [[], 0])
    assert.match(running.err.join('\n'), /absent at/u)
  })
  await story.wrong(`${which}: writing after exit in what was open: SET ROLE, a transaction`, async () => {
    await Promise.all([held.ended, open.ended, ...(lifted ? [before.ended] : [])])
    for (const session of [held, open]) {
      await sqlRefused(session.query('insert into invoice values (4, 1)'), sql.cut)
      await sqlRefused(session.query('commit'), sql.cut)
    }
  })
  await story.wrong(
    `${which}: writing after exit with what was leaked, or as the service account`,
    async () => {
      if (!lifted) await sqlRefused(connect(), sql.noLogin)
      if (!lifted) await readOnly(before)
      await readOnly(await database.connect(account))
    },
  )
  await story.right(
    `${which}: what was migrated stays and belongs to the owner; what was not committed is not there`,
    async () => {
      const tables = await database.look(
        `select tablename, tableowner from pg_tables where schemaname = 'public' order by 1`,
      )
      assert.deepEqual(
        tables,
        ['customer', 'invoice', 'schema_migrations'].map((tablename) => ({ tablename, tableowner: owner })),
      )
      const invoices = await database.look<{ id: number }>('select id from invoice order by id')
      assert.deepEqual(
        invoices.map(({ id }) => id),
        lifted ? [1, 2] : [1],
      )
      const reader = await database.connect(account)
      assert.deepEqual(await reader.query('select email from customer'), [{ email: 'ada@example.org' }])
    },
  )
  await story.right(
    `${which}: a migration that fails gives its own exit code and leaves nothing`,
    async () => {
      writeFileSync(
        join(folder, '0003-broken.sql'),
        'create table half (id int); alter table nowhere add column x int',
      )
      const failing = await run(['--wait'], [...child('migrate.ts'), folder])
      await approveNext(writ.person('grace'), 'Service/ci')
      assert.deepEqual(await failing.ended, { code: 3, signal: null }, failing.err.join('\n'))
      assert.deepEqual([await database.roles(), await database.sessions()], [[], 0])
      assert.deepEqual(await database.look(`select from pg_tables where tablename = 'half'`), [])
      const { task } = await ci.writ.tasks.get(String(outcome()['task']))
      assert.equal(task.state, 'failed')
    },
  )
}
