/**
 * The database of a story: a real PostgreSQL of its own, prepared as the documentation says.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import pg from 'pg'
import { Secret } from '../../src/model/secret.ts'
import { adminSql, parsePostgresConfig } from '../../src/targets/postgres/config.ts'
import { startPostgres } from '../../test/support/postgres.ts'
import type { Part } from './story.ts'

export type DatabaseOptions = Readonly<{
  /** The database; its owner role is `NAME_owner`. */
  name: string
  /** The existing service account, which may read and nothing more. */
  account?: string
  /** Statements by which the owner makes what is there at the beginning. */
  schema?: string
  /** Whether it keeps a log of every statement, and in which form. */
  log?: 'csvlog' | 'jsonlog'
}>

export type Database = Part &
  Readonly<{
    name: string
    /** The folder of its own log. */
    logs: string
    owner: string
    account: Readonly<{ user: string; password: string }>
    /** What `writ target add` is told, without what it serves. */
    target(over?: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>
    admin: Readonly<{ user: string; password: string }>
    /** As the superuser: what a story looks at, never what it does. */
    look<Row extends object = Record<string, unknown>>(text: string, values?: unknown[]): Promise<Row[]>
    /** A session of somebody else; closed with the database. */
    connect(
      options: Readonly<{ user: string; password: string; application_name?: string } | { url: string }>,
    ): Promise<Session>
    /** As its operator, who changes on purpose what stands: this is what must be there at the end. */
    change(text: string): Promise<void>
    /** Credentials of Writ that exist, by role name. */
    roles(): Promise<string[]>
    /** Sessions under a credential of Writ. */
    sessions(): Promise<number>
  }>

/** One open connection; a query after it was cut rejects. */
export type Session = Readonly<{
  query<Row extends object = Record<string, unknown>>(text: string, values?: unknown[]): Promise<Row[]>
  /** Resolves when the connection is gone. */
  ended: Promise<void>
  end(): Promise<void>
}>

/** Every role that Writ issues is named like this; its administrator is not. */
const ISSUED = '^writ_[0-9a-f]{8}_'

/** Starts it. */
export async function openDatabase({
  name,
  account = `svc_${name}`,
  schema = '',
  log,
}: DatabaseOptions): Promise<Database> {
  const server = await startPostgres(
    log === undefined
      ? {}
      : {
          logging_collector: 'on',
          log_destination: log,
          log_statement: 'all',
          log_connections: 'on',
          log_disconnections: 'on',
        },
  )
  const open = new Set<pg.Client>()
  const secret = (): string => randomBytes(12).toString('hex')
  const admin = { user: 'writ_admin', password: secret() }
  const service = { user: account, password: secret() }
  const owner = `${name}_owner`

  const client = async (options: pg.ClientConfig): Promise<pg.Client> => {
    const made = new pg.Client({ ssl: false, ...options })
    made.on('error', () => {}) // cut on purpose; the next query rejects
    await made.connect()
    open.add(made)
    made.on('end', () => open.delete(made))
    return made
  }
  const superuser = (database: string): Promise<pg.Client> =>
    client({ connectionString: server.url(database) })
  const settings = { host: server.host, port: server.port, database: name }
  const target = (over: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> => ({
    ...settings,
    roles: { migrate: owner },
    ...over,
  })

  let looking: pg.Client
  try {
    const first = await superuser(server.database)
    await first.query(`create role ${owner} nologin`)
    await first.query(`create database ${name} owner ${owner}`)
    await first.end()
    looking = await superuser(name)
    await looking.query(`create role ${account} login password '${service.password}'`)
    const lift = {
      ...target({ shape: 'lift', account }),
      id: name,
      kind: 'postgres',
      admin: { user: admin.user },
    }
    await looking.query(adminSql(parsePostgresConfig(lift, new Secret(admin.password))))
    await looking.query(`alter role ${admin.user} password '${admin.password}'`)
    await looking.query(
      `set role ${owner}; ${schema};
       grant select on all tables in schema public to ${account};
       alter default privileges in schema public grant select on tables to ${account};
       reset role`,
    )
  } catch (error) {
    await server[Symbol.asyncDispose]()
    throw error
  }
  const look: Database['look'] = async <Row extends object>(text: string, values?: unknown[]) =>
    (await looking.query<Row>(text, values)).rows

  /** Every way to authority that the database knows of: what must be the same before and after. */
  const authority = async (): Promise<unknown> => ({
    roles: await look(
      `select rolname, rolcanlogin, rolsuper, rolcreaterole, rolvaliduntil from pg_roles order by 1`,
    ),
    members: await look(
      `select roleid::regrole::text as role, member::regrole::text as member, inherit_option, set_option, admin_option
         from pg_auth_members order by 1, 2, 3, 4, 5`,
    ),
    settings: await look(
      `select setdatabase, setrole::regrole::text as role, setconfig from pg_db_role_setting order by 1, 2`,
    ),
    database: await look(`select datacl::text from pg_database where datname = $1`, [name]),
    prepared: await look(`select gid from pg_prepared_xacts`),
  })
  let before = await authority()

  const roles = async (): Promise<string[]> =>
    (
      await look<{ rolname: string }>(`select rolname from pg_roles where rolname ~ $1 order by 1`, [ISSUED])
    ).map(({ rolname }) => rolname)
  const sessions = async (): Promise<number> =>
    (
      await look(
        `select from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
           and (usename ~ $1 or application_name like 'writ grant%')`,
        [ISSUED],
      )
    ).length

  return {
    name,
    logs: join(server.data, 'log'),
    owner,
    account: service,
    target,
    admin,
    look,
    async change(text) {
      await looking.query(text)
      before = await authority()
    },
    roles,
    sessions,
    async connect(options) {
      const made = await client(
        'url' in options ? { connectionString: options.url } : { ...settings, ...options },
      )
      const ended = new Promise<void>((resolve) => void made.once('end', () => resolve()))
      // one after the other, as a session is
      let last: Promise<unknown> = Promise.resolve()
      return {
        async query<Row extends object>(text: string, values?: unknown[]) {
          const result = last.then(() => made.query<Row>(text, values))
          last = result.catch(() => {})
          return (await result).rows
        },
        ended,
        end: () => made.end(),
      }
    },
    atEnd: {
      what: `nothing of Writ is left at ${name}`,
      async prove() {
        assert.deepEqual(await roles(), [], 'roles of Writ are left at the database')
        assert.equal(await sessions(), 0, 'sessions of Writ are left at the database')
        assert.deepEqual(await authority(), before, 'the database gives other authority than before')
      },
    },
    async [Symbol.asyncDispose]() {
      await Promise.allSettled([...open].map((one) => one.end()))
      await server[Symbol.asyncDispose]()
    },
  }
}
