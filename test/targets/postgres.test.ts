import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { inspect } from 'node:util'

import fc from 'fast-check'
import type pg from 'pg'

import { isWritError } from '../../src/model/errors.ts'
import { issueLock } from '../../src/targets/postgres/names.ts'
import type { IssuedSecret, PlannedCredential, Target } from '../../src/targets/port.ts'
import { flakyProxy } from './flaky-proxy.ts'
import { installation, startWorld } from './world.ts'
import type { World } from './world.ts'

const MINUTE = 60_000
let world: World
let serial = 0

before(async () => {
  world = await startWorld({
    log_statement: 'all',
    max_prepared_transactions: '20',
    log_min_messages: 'debug1',
  })
})
after(async () => {
  await world[Symbol.asyncDispose]()
})

type Issued = { planned: PlannedCredential; secret: IssuedSecret }

async function issue(target: Target, role = 'migrate'): Promise<Issued> {
  const planned = target.plan(`cred_${String(serial++)}`, { role, label: 'grant_7' })
  return { planned, secret: await target.issue(planned, Date.now() + MINUTE) }
}

/** Names of roles of this installation, and settings kept for roles that are gone. */
async function leftovers(): Promise<number> {
  const [row] = await world.sql<{ count: number }>(
    `select (select count(*) from pg_roles where rolname like 'writ\\_________\\_%')::int +
       (select count(*) from pg_db_role_setting where setrole <> 0)::int as count`,
  )
  return row?.count ?? -1
}

const sessionsOf = async (name: string): Promise<number> =>
  (await world.sql(`select from pg_stat_activity where usename = $1`, [name])).length

const code = (state: string) => (error: unknown) => (error as { code?: string }).code === state

/** A connection that is past the login check and delays the rest of its start: in no view of sessions. */
async function hide(secret: IssuedSecret, options = ''): Promise<{ pid: number; ended: Promise<void> }> {
  // It locks its database only after the login check.
  const starting = `select pid from pg_locks where locktype = 'object' and classid = 'pg_database'::regclass
    and pid not in (select pid from pg_stat_activity where usesysid is not null or backend_type <> 'client backend')`
  const known = new Set((await world.sql<{ pid: number }>(starting)).map((row) => row.pid))
  const ended = world
    .as(secret, { options: `-c post_auth_delay=600 ${options}` })
    .then(() => assert.fail('the connection came up'))
    .catch(() => {})
  for (;;) {
    const pid = (await world.sql<{ pid: number }>(starting))
      .map((row) => row.pid)
      .find((one) => !known.has(one))
    if (pid !== undefined) return { pid, ended }
  }
}

describe('ephemeral', () => {
  test('S16 what a migration creates belongs to the owner role and stays; an open write does not land', async () => {
    const target = world.target()
    const { planned, secret } = await issue(target)
    const migration = await world.as(secret)
    await migration.query('create table public.invoice (id int primary key); insert into invoice values (1)')
    const open = await world.as(secret)
    await open.query('begin; set role orders_owner; insert into invoice values (2)')
    const other = await world.as(secret)
    await other.query(`set role none; set statement_timeout = 0; set application_name = 'me'`)

    const report = await target.revoke(planned)
    assert.equal(report.absent, true)
    assert.equal(report.sessionsCut, 3)
    assert.deepEqual(
      report.leftBehind.objects.filter((object) => object.type === 'table'),
      [{ database: 'orders', type: 'table', name: 'public.invoice', owner: 'orders_owner' }],
    )
    await assert.rejects(open.query('commit'))
    await assert.rejects(migration.query('insert into invoice values (3)'))
    assert.deepEqual(await world.sql('select id from invoice'), [{ id: 1 }])
    assert.deepEqual(await world.sql(`select tableowner from pg_tables where tablename = 'invoice'`), [
      { tableowner: 'orders_owner' },
    ])
    await assert.rejects(world.as(secret), code('28P01'))
    assert.deepEqual(await world.sql('select from pg_roles where rolname = $1', [planned.name]), [])
  })

  test('B38 nothing that the owner role defined runs as the administrator', async () => {
    const target = world.target()
    const { planned, secret } = await issue(target)
    const client = await world.as(secret)
    // what the administrator's own statements would call, were they to look beyond the system catalog
    await client.query(`
      create schema evil; grant usage on schema evil to public; grant create on schema evil to public;
      create function evil.run(name text) returns void language plpgsql as $$
        begin execute format('create role %I login', name); exception when others then end $$;
      create function evil.join(text, regclass) returns text language sql as
        $$ select evil.run('through_operator'), pg_catalog.format('%s%s', $1, $2::oid); select '' $$;
      create operator evil.|| (leftarg = text, rightarg = regclass, function = evil.join);
      create function evil.format(text, name) returns text language sql as
        $$ select evil.run('through_function'); select '' $$;
      create view evil.pg_roles as select * from pg_catalog.pg_roles where evil.run('through_view') is null;
      grant select on evil.pg_roles to public;
      create table public.bait (id int); grant select on public.bait to public;
      alter database orders set search_path = evil, public, pg_catalog`)
    await target.close()
    try {
      const report = await world.target().revoke(planned)
      assert.equal(report.absent, true)
      assert.deepEqual(
        await world.sql(`select rolname from pg_catalog.pg_roles where rolname like 'through\\_%'`),
        [],
      )
      assert.equal(
        (await world.sql('select from pg_catalog.pg_roles where rolname = $1', [planned.name])).length,
        0,
      )
    } finally {
      await world.sql(
        'alter database orders reset search_path; drop schema evil cascade; drop table public.bait',
      )
    }
  })

  for (const [how, shut, open] of [
    ['makes it read-only', 'set default_transaction_read_only = on', 'reset default_transaction_read_only'],
    ['ends idle sessions at once', "set idle_session_timeout = '1ms'", 'reset idle_session_timeout'],
    ['ends transactions at once', "set transaction_timeout = '1ms'", 'reset transaction_timeout'],
    ['lets nobody connect', 'connection limit 0', 'connection limit -1'],
  ] as const) {
    test(`B37 the owner of the database keeps no session by shutting the administrator out: ${how}`, async () => {
      const target = world.target()
      const { planned, secret } = await issue(target)
      const client = await world.as(secret)
      await client.query(`alter database orders ${shut}`)
      await target.close()
      try {
        const again = world.target()
        assert.ok((await again.list()).includes(planned.name))
        const report = await again.revoke(planned)
        assert.deepEqual([report.absent, report.sessionsCut], [true, 1])
        await assert.rejects(client.query('select 1'))
      } finally {
        await world.sql(`alter database orders ${open}`, undefined, 'postgres')
      }
    })
  }

  test('a credential is bounded by the owner role, its end and what remains of it', async () => {
    await world.sql(`create role other_owner nologin; create table public.foreign_table (id int);
      alter table foreign_table owner to other_owner`)
    const target = world.target()
    const { planned, secret } = await issue(target)
    const client = await world.as(secret)
    const limits = await client.query<{ name: string; setting: string }>(
      `select name, setting from pg_settings where name like '%\\_timeout' and source = 'user' order by name`,
    )
    assert.deepEqual(
      limits.rows.map((row) => row.name),
      [
        'idle_in_transaction_session_timeout',
        'idle_session_timeout',
        'lock_timeout',
        'statement_timeout',
        'transaction_timeout',
      ],
    )
    for (const { setting } of limits.rows) assert.ok(Number(setting) > 0 && Number(setting) <= MINUTE)
    const shown = await client.query<{ name: string }>(`select current_setting('application_name') as name`)
    assert.equal(shown.rows[0]?.name, 'writ grant_7')
    assert.equal(secret.expose().env['PGAPPNAME'], 'writ grant_7')
    const [role] = await world.sql<{ rolvaliduntil: Date; rolconnlimit: number; rolinherit: boolean }>(
      'select rolvaliduntil, rolconnlimit, rolinherit from pg_roles where rolname = $1',
      [planned.name],
    )
    assert.ok(role !== undefined && role.rolvaliduntil.getTime() <= Date.now() + MINUTE)
    assert.deepEqual([role.rolconnlimit, role.rolinherit], [10, false])

    for (const escape of [
      'select * from foreign_table',
      'set role other_owner',
      'set role writ_admin',
      'set role postgres',
      'set session authorization orders_owner',
      'create role mine login',
      `alter role "${planned.name}" valid until 'infinity'`,
      `alter role "${planned.name}" connection limit 100`,
      `grant orders_owner to svc_migrator`,
      `grant "${planned.name}" to svc_migrator`,
      `comment on role "${planned.name}" is null`,
      'alter role orders_owner login',
    ]) {
      await assert.rejects(client.query(escape), code('42501'), escape)
      await client.query('set role none')
      await assert.rejects(client.query(escape), code('42501'), `${escape} as itself`)
      await client.query('reset role')
    }
    await target.revoke(planned)
  })

  test('the server itself refuses a login after the end', async () => {
    const target = world.target({}, { clock: () => Date.now() - 60 * MINUTE })
    const planned = target.plan('cred_late', { role: 'migrate' })
    const secret = await target.issue(planned, Date.now() - 30 * MINUTE)
    await assert.rejects(world.as(secret), code('28P01'))
    assert.equal((await target.revoke(planned)).absent, true)
  })

  test('with `manual` a session starts as itself, without privileges, and may become the owner', async () => {
    const target = world.target({ setRole: 'manual' })
    const { planned, secret } = await issue(target)
    const client = await world.as(secret)
    await assert.rejects(client.query('create table public.mine (id int)'), code('42501'))
    await client.query('set role orders_owner; create table public.mine (id int)')
    await target.revoke(planned)
  })

  test('the address opens a session as it is given', async () => {
    const target = world.target()
    const { planned, secret } = await issue(target)
    const client = await world.client({ connectionString: secret.expose().url })
    const { rows } = await client.query(
      `select current_user::text as me, current_setting('application_name') as name`,
    )
    assert.deepEqual(rows, [{ me: 'orders_owner', name: 'writ grant_7' }])
    await target.revoke(planned)
  })

  test('it works where not everyone may connect', async () => {
    await world.sql('create database closed owner orders_owner')
    await world.sql(
      'revoke connect on database closed from public; grant connect on database closed to writ_admin',
    )
    const target = world.target({ database: 'closed' })
    assert.match((await target.check())[0]?.message ?? '', /cannot let anyone connect/)
    await world.sql('grant connect on database closed to writ_admin with grant option')
    assert.deepEqual(
      (await target.check()).map((finding) => finding.message),
      [],
    )
    const { planned, secret } = await issue(target)
    const client = await world.as(secret)
    await client.query('create table public.t (id int)')
    assert.equal((await target.revoke(planned)).absent, true)
    assert.equal(await leftovers(), 0)
    await target.close()
    await world.sql('drop database closed with (force)')
  })
})

describe('B37 sessions', () => {
  test('B37 a connection hidden by post_auth_delay is cut, and nobody else is', async () => {
    const target = world.target()
    const mine = await issue(target)
    const other = await issue(target)
    const hidden = await hide(mine.secret, '-c role=orders_owner')
    const innocent = await hide(other.secret)
    assert.equal(await sessionsOf(mine.planned.name), 0)
    const report = await target.revoke(mine.planned)
    assert.equal(report.absent, true)
    assert.equal(report.sessionsCut, 1)
    await hidden.ended
    const open = await world.sql<{ pid: number }>(`select pid from pg_locks where locktype = 'virtualxid'`)
    assert.ok(open.some((row) => row.pid === innocent.pid))
    assert.ok(!open.some((row) => row.pid === hidden.pid))
    assert.equal((await target.revoke(other.planned)).sessionsCut, 1)
    await innocent.ended
  })

  test('B37 connecting again and again while being revoked wins nothing', async () => {
    const target = world.target({ connectionLimit: 1000 })
    const { planned, secret } = await issue(target)
    let refused = 0
    const storm = Array.from({ length: 4 }, async () => {
      for (;;) {
        try {
          const client = await world.as(secret)
          await client.query('create table if not exists public.storm (id int); insert into storm values (1)')
        } catch (error) {
          if (code('28000')(error) || code('28P01')(error)) break
        }
        refused++
      }
    })
    while ((await sessionsOf(planned.name)) < 4);
    const report = await target.revoke(planned)
    const rows = async () => (await world.sql<{ n: string }>('select count(*) as n from storm'))[0]?.n
    const before = await rows()
    await Promise.all(storm)
    assert.equal(report.absent, true)
    assert.ok(refused > 0)
    assert.equal(await rows(), before)
    assert.deepEqual(
      await world.sql(`select from pg_stat_activity a where usesysid is not null
      and not exists (select from pg_roles where oid = usesysid)`),
      [],
    )
  })

  test('B37 a row lock on the role does not hold up the end', async () => {
    const target = world.target()
    const { planned, secret } = await issue(target)
    const client = await world.as(secret)
    await client.query(`set role none; begin; alter role current_user password 'mine-now'`)
    const report = await target.revoke(planned)
    assert.equal(report.absent, true)
    await assert.rejects(client.query('commit'))
    await assert.rejects(world.as(secret, { password: 'mine-now' }), code('28P01'))
  })

  test('B37 a prepared transaction that locks the role does not hold up the end', async () => {
    const target = world.target()
    const { planned, secret } = await issue(target)
    const client = await world.as(secret)
    await client.query(`set role none`)
    await client.query(`begin; alter role current_user password 'mine-now'; prepare transaction 'lock'`)
    const report = await target.revoke(planned)
    assert.equal(report.absent, true)
    assert.deepEqual(report.leftBehind.preparedTransactions, [
      { database: 'orders', gid: 'lock', owner: planned.name, rolledBack: true },
    ])
    assert.deepEqual(await world.sql('select from pg_prepared_xacts'), [])
  })

  test('sessions of a role that somebody dropped are cut', async () => {
    const target = world.target()
    const { planned, secret } = await issue(target)
    const client = await world.as(secret)
    await client.query(`set application_name = 'innocent'`)
    await world.sql(`drop role "${planned.name}"`)
    assert.equal((await target.revoke(planned)).sessionsCut, 1)
    await assert.rejects(client.query('select 1'))
  })
})

describe('what is left behind', () => {
  test('functions with authority, privileges, memberships and objects are reported, older ones are not', async () => {
    await world.sql(`create role friend login; create role app_group nologin;
      grant app_group to orders_owner with admin option;
      create function public.old() returns int language sql security definer as 'select 1';
      alter function old() owner to orders_owner;
      create table public.old_table (id int); alter table old_table owner to orders_owner`)
    const target = world.target()
    const { planned, secret } = await issue(target)
    const client = await world.as(secret)
    await client.query(`create schema crm; create table crm.customer (id int, mail text);
      create function crm.door() returns int language sql security definer as 'select 1';
      create function crm.plain() returns int language sql as 'select 1';
      grant select on old_table to public; grant select (mail) on crm.customer to friend;
      alter default privileges in schema crm grant insert on tables to friend; grant app_group to friend`)
    const { absent, leftBehind } = await target.revoke(planned)
    assert.equal(absent, true)
    assert.deepEqual(
      leftBehind.securityDefiner.map((one) => one.name),
      ['crm.door()'],
    )
    assert.deepEqual(
      leftBehind.aclChanges.map(({ object, grantee, privileges }) => [object, grantee, privileges]),
      [
        ['column crm.customer.mail', 'friend', ['SELECT']],
        ['default privileges of orders_owner on tables', 'friend', ['INSERT']],
        ['relation public.old_table', 'public', ['SELECT']],
        ['role app_group', 'friend', ['MEMBER']],
      ],
    )
    const names = leftBehind.objects.map((object) => `${object.type} ${object.name}`)
    for (const name of ['schema crm', 'table crm.customer', 'function crm.door()', 'function crm.plain()']) {
      assert.ok(names.includes(name), name)
    }
    assert.ok(!names.some((name) => name.includes('old')))
    assert.deepEqual(leftBehind.unseen, [])
  })

  test('a function that becomes SECURITY DEFINER is reported, in another database too', async () => {
    await world.sql('create database crm owner orders_owner')
    await world.sql(
      `create function public.quiet() returns int language sql as 'select 1'; alter function quiet() owner to orders_owner`,
      undefined,
      'crm',
    )
    const target = world.target()
    const { planned, secret } = await issue(target)
    const client = await world.as(secret, { database: 'crm' })
    await client.query('alter function public.quiet() security definer')
    const { leftBehind } = await target.revoke(planned)
    assert.deepEqual(leftBehind.securityDefiner, [
      { database: 'crm', type: 'function', name: 'public.quiet()', owner: 'orders_owner' },
    ])
    await world.sql('drop database crm with (force)')
  })

  test('privileges that name the role do not keep it', async () => {
    await world.sql('create database elsewhere owner orders_owner')
    const target = world.target()
    const { planned, secret } = await issue(target)
    const client = await world.as(secret)
    await client.query(`create table public.given (id int); grant select on given to "${planned.name}";
      alter table given enable row level security; create policy p on given to "${planned.name}" using (true);
      grant create on database orders to "${planned.name}"`)
    const far = await world.as(secret, { database: 'elsewhere' })
    await far.query(`create table public.given (id int); grant select on given to "${planned.name}"`)
    assert.equal((await target.revoke(planned)).absent, true)
    assert.equal((await world.sql(`select from pg_tables where tablename = 'given'`)).length, 1)
    assert.equal(
      (await world.sql(`select from pg_tables where tablename = 'given'`, undefined, 'elsewhere')).length,
      1,
    )
    await world.sql('drop database elsewhere with (force)')
  })

  test('objects of the role itself are neither dropped nor given away: it stays, powerless and named', async () => {
    const target = world.target()
    const { planned, secret } = await issue(target)
    const client = await world.as(secret)
    await client.query(`create schema own; grant create, usage on schema own to "${planned.name}"; set role none;
      create table own.kept (id int)`)
    const report = await target.revoke(planned)
    assert.equal(report.absent, false)
    assert.match(report.problem ?? '', /own\.kept/)
    assert.deepEqual(report.leftBehind.objects[0], {
      database: 'orders',
      type: 'table',
      name: 'own.kept',
      owner: planned.name,
    })
    await assert.rejects(client.query('select 1'))
    await assert.rejects(world.as(secret), code('28P01'))
    assert.deepEqual(
      await world.sql(
        `select rolcanlogin, array(select roleid::regrole::text from pg_auth_members m where m.member = r.oid) as groups
         from pg_roles r where rolname = $1`,
        [planned.name],
      ),
      [{ rolcanlogin: false, groups: [] }],
    )
    assert.ok((await target.list()).includes(planned.name))
    assert.equal((await target.revoke(planned)).absent, false)
    await world.sql(`reassign owned by "${planned.name}" to orders_owner`)
    assert.equal((await target.revoke(planned)).absent, true)
    assert.equal(
      (await world.sql(`select from pg_tables where tablename = 'kept' and tableowner = 'orders_owner'`))
        .length,
      1,
    )
  })

  test('a prepared transaction is rolled back, unless somebody else may have prepared it', async () => {
    const target = world.target({ roles: { migrate: 'orders_owner', solo: 'solo_owner' } })
    await world.sql(`create role solo_owner nologin; grant create on schema public to solo_owner;
      grant solo_owner to writ_admin with admin true, inherit false, set false`)
    const solo = await issue(target, 'solo')
    const client = await world.as(solo.secret)
    await client.query(`begin; create table public.never (id int); prepare transaction 'solo'`)
    assert.deepEqual((await target.revoke(solo.planned)).leftBehind.preparedTransactions, [
      { database: 'orders', gid: 'solo', owner: 'solo_owner', rolledBack: true },
    ])
    assert.deepEqual(
      await world.sql(
        `select admin_option, inherit_option, set_option from pg_auth_members
         where roleid = 'solo_owner'::regrole and member = 'writ_admin'::regrole`,
      ),
      [{ admin_option: true, inherit_option: false, set_option: false }],
    )

    const one = await issue(target)
    const two = await issue(target)
    const both = await world.as(two.secret)
    await both.query(`begin; create table public.maybe (id int); prepare transaction 'shared'`)
    assert.deepEqual((await target.revoke(one.planned)).leftBehind.preparedTransactions, [
      { database: 'orders', gid: 'shared', owner: 'orders_owner', rolledBack: false },
    ])
    assert.deepEqual((await target.revoke(two.planned)).leftBehind.preparedTransactions, [
      { database: 'orders', gid: 'shared', owner: 'orders_owner', rolledBack: true },
    ])
  })
})

describe('refusals', () => {
  test('an owner role whose authority would outlive the credential is refused', async () => {
    await world.sql(`create role o_super superuser nologin; create role o_create createrole nologin;
      create role o_login login; create role o_far nologin; grant o_login to o_far;
      create role o_files nologin; grant pg_write_server_files to o_files;
      create role o_slots nologin replication; create role o_feeds nologin; grant pg_create_subscription to o_feeds`)
    const roles = {
      a: 'o_super',
      b: 'o_create',
      c: 'o_login',
      d: 'o_far',
      e: 'o_files',
      f: 'o_missing',
      g: 'o_slots',
      h: 'o_feeds',
    }
    const target = world.target({ roles })
    const expected = {
      a: 'o_super is a superuser',
      b: 'o_create may create roles',
      c: 'o_login may log in',
      d: 'o_login may log in',
      e: 'files or programs',
      f: '`o_missing` does not exist',
      g: 'o_slots may replicate',
      h: 'keeps subscriptions',
    }
    const findings = (await target.check()).map((finding) => finding.message)
    for (const [role, text] of Object.entries(expected)) {
      await assert.rejects(
        issue(target, role),
        (error) => isWritError(error, 'ERR_TARGET_REFUSED') && error.message.includes(text),
        role,
      )
      assert.ok(
        findings.some((finding) => finding.includes(text)),
        role,
      )
    }
    assert.equal(await leftovers(), 0)
  })

  test('the doctor says what an administrator lacks or has too much of', async () => {
    const messages = async (target: Target) => (await target.check()).map((finding) => finding.message)
    await world.sql(`create role weak login password '${world.adminPassword}';
      create role strong login superuser password '${world.adminPassword}'`)
    assert.deepEqual(await messages(world.target({ admin: { user: 'weak' } })), [
      'administrator `weak` may not create roles',
      'administrator `weak` may not cut sessions',
      'administrator `weak` may not give `orders_owner` (role `migrate`)',
    ])
    const strong = world.target({ admin: { user: 'strong' } })
    assert.deepEqual(await messages(strong), ['administrator `strong` is a superuser'])
    const { planned, secret } = await issue(strong)
    await world.as(secret)
    assert.equal((await strong.revoke(planned)).sessionsCut, 1)
    assert.match(
      (await messages(world.target({ admin: { user: 'nobody_here' } })))[0] ?? '',
      /authentication failed/,
    )
    assert.match((await messages(world.target({ database: 'absent' })))[0] ?? '', /does not exist/)
    assert.match((await messages(world.target({ port: 1 })))[0] ?? '', /does not answer: ECONNREFUSED/)
    const skewed = world.target({}, { clock: () => Date.now() + 90_000 })
    assert.match((await messages(skewed))[0] ?? '', /clock of the server is \d+ ms behind/)
  })
})

describe('lift', () => {
  const lift = { shape: 'lift', account: 'svc_migrator' }
  const connect = () => world.client({ user: 'svc_migrator', password: 'svc-password', database: 'orders' })
  const lifted = async (client: pg.Client): Promise<void> => {
    await client.query('set role orders_owner; create table if not exists public.lifted (id int)')
    await client.query('insert into lifted values (1)')
  }

  test('an account is lifted while a grant lives; ending one of two never cuts the other', async () => {
    const target = world.target(lift)
    assert.match(target.notices.join('\n'), /all sessions of that account are cut/)
    const standing = await connect()
    await assert.rejects(standing.query('set role orders_owner'), code('42501'))

    const one = await issue(target)
    assert.equal(one.secret.expose().password, undefined)
    await lifted(standing)
    const two = await issue(target)
    const first = await target.revoke(one.planned)
    assert.deepEqual([first.absent, first.sessionsCut], [true, 0])
    await lifted(standing)

    const idle = await connect()
    await idle.query('begin; set role orders_owner; insert into lifted values (2)')
    const last = await target.revoke(two.planned)
    assert.deepEqual([last.absent, last.sessionsCut], [true, 2])
    await assert.rejects(standing.query('insert into lifted values (3)'))
    await assert.rejects(idle.query('commit'))
    const later = await connect()
    await assert.rejects(lifted(later), code('42501'))
    assert.deepEqual(await world.sql('select from lifted where id > 1'), [])
  })

  test('of two grants that end at once at least one cuts', async () => {
    const target = world.target(lift)
    for (let round = 0; round < 5; round++) {
      const [one, two] = [await issue(target), await issue(target)]
      const client = await connect()
      await lifted(client)
      const reports = await Promise.all([target.revoke(one.planned), target.revoke(two.planned)])
      assert.ok(reports.some((report) => report.sessionsCut > 0))
      await assert.rejects(client.query('insert into lifted values (9)'))
    }
  })

  test('B37 a hidden connection of the account is cut, ordinary ones that come later are not waited for', async () => {
    const target = world.target(lift)
    const { planned, secret } = await issue(target)
    const hidden = await hide(secret, '-c role=orders_owner')
    const done = new AbortController()
    const service = (async () => {
      while (!done.signal.aborted) await connect().catch(() => {})
    })()
    const report = await target.revoke(planned)
    done.abort()
    await service
    assert.equal(report.absent, true)
    assert.ok(report.sessionsCut >= 1)
    await hidden.ended
  })

  test('with `inherit` privileges come without SET ROLE and go with the grant', async () => {
    await world.sql('create table public.ledger (id int); alter table ledger owner to orders_owner')
    const target = world.target({ ...lift, inherit: true })
    assert.match(target.notices.join('\n'), /belongs to it, also afterwards/)
    const client = await connect()
    await assert.rejects(client.query('insert into ledger values (1)'), code('42501'))
    const { planned } = await issue(target)
    await client.query('insert into ledger values (1)')
    assert.equal((await target.revoke(planned)).absent, true)
    await assert.rejects((await connect()).query('insert into ledger values (1)'), code('42501'))
  })
})

describe('B38 hostile names', () => {
  const hostile = fc.oneof(
    fc.constantFrom(
      '"; drop table public.precious; --',
      `'; drop table public.precious; --`,
      `\\'; drop table public.precious; --`,
      '$$; drop table public.precious; $$',
      'a"b',
      "a'b",
      'a\\',
      'é漢😀',
      'select',
      ' ',
      'public',
      '%s %I $1 :x',
      'line\nbreak\r\t',
    ),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 15 }),
  )
  const storable = (name: string) =>
    !name.includes('\0') &&
    name.isWellFormed() &&
    Buffer.byteLength(name) <= 63 &&
    !/^(public|none|pg_.*)$/.test(name)

  test('B38 any owner, database, label and id is quoted, issued, revoked', async () => {
    await world.sql('create table public.precious (id int); alter table precious owner to orders_owner')
    const names = hostile.filter(storable)
    let round = 0
    await fc.assert(
      fc.asyncProperty(
        names,
        names,
        hostile,
        fc.string({ unit: 'binary' }),
        async (owner, database, label, id) => {
          const suffix = String(round++)
          const role = owner.slice(0, 8) + suffix
          const base = database.slice(0, 8) + suffix
          if (!storable(role) || !storable(base)) return
          const quoted = `"${role.replaceAll('"', '""')}"`
          await world.sql(
            `create role ${quoted} nologin; grant ${quoted} to writ_admin with admin true, set false, inherit false`,
          )
          await world.sql(`create database "${base.replaceAll('"', '""')}" owner ${quoted} strategy wal_log`)
          const target = world.target({ roles: { migrate: role }, database: base })
          const planned = target.plan(id + suffix, { role: 'migrate', label })
          assert.match(planned.name, /^writ_[0-9a-f]{8}_[a-z0-9_]{1,47}$/)
          const secret = await target.issue(planned, Date.now() + MINUTE)
          const client = await world.as(secret)
          await client.query('create table public.made (id int)')
          const report = await target.revoke({ name: planned.name })
          assert.equal(report.absent, true)
          assert.equal(report.sessionsCut, 1)
          assert.ok(
            report.leftBehind.objects.some(
              (object) => object.name === 'public.made' && object.owner === role,
            ),
          )
          await target.close()
        },
      ),
      { numRuns: 20 },
    )
    assert.equal((await world.sql(`select from pg_tables where tablename = 'precious'`)).length, 1)
    assert.equal(await leftovers(), 0)
  })
})

describe('failures', () => {
  test('B35 B47 a connection lost at any step of issue and revoke leaves nothing that the next call does not finish', async () => {
    const direct = world.target()
    for (const keep of ['the request', 'the answer'] as const) {
      for (let steps = 1, done = false; !done; steps++) {
        await using proxy = await flakyProxy(world, keep)
        const flaky = world.target({ port: proxy.port })
        await flaky.list() // connected
        const planned = flaky.plan(`cred_flaky_${String(serial++)}`, { role: 'migrate' })
        proxy.failAfter(steps)
        const issued = await flaky.issue(planned, Date.now() + MINUTE).catch((error: unknown) => {
          assert.ok(isWritError(error, 'ERR_TARGET_UNREACHABLE'), String(error))
          return undefined
        })
        proxy.failAfter(Infinity)
        const listed = (await direct.list()).includes(planned.name)
        if (issued !== undefined) assert.ok(listed)
        assert.equal((await direct.revoke(planned)).absent, true)
        assert.equal(await leftovers(), 0)
        await flaky.close()
        done = issued !== undefined
      }
      for (let steps = 1, done = false; !done; steps++) {
        const { planned, secret } = await issue(direct)
        const client = await world.as(secret)
        await client.query(`begin; grant create on database orders to "${planned.name}"; commit`)
        await using proxy = await flakyProxy(world, keep)
        const flaky = world.target({ port: proxy.port })
        await flaky.list()
        proxy.failAfter(steps)
        const report = await flaky.revoke(planned).catch((error: unknown) => {
          assert.ok(isWritError(error, 'ERR_TARGET_UNREACHABLE'), String(error))
          return undefined
        })
        proxy.failAfter(Infinity)
        const denied = await world.as(secret).then(
          () => false,
          () => true,
        )
        assert.equal((await direct.revoke(planned)).absent, true)
        await assert.rejects(client.query('select 1'))
        assert.equal(await leftovers(), 0)
        assert.deepEqual(
          await world.sql(`select from pg_auth_members where member = 'writ_admin'::regrole
            and (set_option or inherit_option) and roleid not in ('pg_signal_backend'::regrole, 'svc_migrator'::regrole)`),
          [],
        )
        await flaky.close()
        done = report !== undefined
        if (done) assert.ok(denied)
      }
    }
  })

  test('B35 an issue that is still on its way when its sender is gone comes to nothing', async () => {
    const target = world.target()
    const planned = target.plan('cred_on_its_way', { role: 'migrate' })
    const sender = await world.client({
      user: 'writ_admin',
      password: world.adminPassword,
      database: 'orders',
    })
    await sender.query('select pg_advisory_lock($1)', [issueLock(planned.name)])
    assert.equal((await target.revoke(planned)).absent, true)
    await assert.rejects(sender.query(`create role "${planned.name}" login`))
    assert.deepEqual(await target.list(), [])
  })

  test('B36 issue and revoke in great number leave no role and no setting', async () => {
    const target = world.target()
    await Promise.all(
      Array.from({ length: 60 }, async () => {
        const { planned } = await issue(target)
        assert.equal((await target.revoke(planned)).absent, true)
      }),
    )
    assert.equal(await leftovers(), 0)
    assert.deepEqual(await target.list(), [])
  })

  test('two installations on one server do not see each other', async () => {
    const [one, two] = [world.target(), world.target({}, { installation: `${installation}_2` })]
    const mine = await issue(one)
    const theirs = await issue(two)
    assert.deepEqual(await one.list(), [mine.planned.name])
    assert.deepEqual(await two.list(), [theirs.planned.name])
    await assert.rejects(one.revoke(theirs.planned), (error) => isWritError(error, 'ERR_INPUT_INVALID'))
    await one.revoke(mine.planned)
    await two.revoke(theirs.planned)
  })

  test('B43 passwords reach neither the server log nor errors', async () => {
    const target = world.target()
    const { planned, secret } = await issue(target)
    await world.as(secret)
    const errors: unknown[] = []
    await target.issue(planned, Date.now() + MINUTE).catch((error: unknown) => errors.push(error))
    await world
      .target({ admin: { user: 'nobody_here' } })
      .list()
      .catch((error: unknown) => errors.push(error))
    await world
      .target({ port: 1 })
      .list()
      .catch((error: unknown) => errors.push(error))
    assert.equal(errors.length, 3)
    await target.revoke(planned)
    const { password } = secret.expose()
    assert.ok(password !== undefined && password.length >= 43)
    assert.match(world.log(), new RegExp(`CREATE ROLE "${planned.name}"`))
    for (const text of [
      world.log(),
      inspect(errors, { depth: 20, showHidden: true }),
      inspect(target, { depth: 20, showHidden: true }),
    ]) {
      assert.ok(!text.includes(password))
    }
    assert.ok(!inspect(errors, { depth: 20, showHidden: true }).includes(world.adminPassword))
  })

  test('B46 a dead database is an error at once, and the next call after its return finishes', async () => {
    const target = world.target()
    const { planned, secret } = await issue(target)
    const client = await world.as(secret)
    await client.query('create table public.survivor (id int)')
    await world.kill()
    for (const call of [() => target.revoke(planned), () => target.list(), () => issue(target)]) {
      const startedAt = performance.now()
      await assert.rejects(call, (error) => isWritError(error, 'ERR_TARGET_UNREACHABLE'))
      assert.ok(performance.now() - startedAt < 10_000)
    }
    await world.restart()
    assert.equal((await target.revoke(planned)).absent, true)
    await assert.rejects(world.as(secret), code('28P01'))
    assert.deepEqual(await target.list(), [])
  })
})
