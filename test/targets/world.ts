/**
 * A PostgreSQL prepared as documented: a database, an owner role that cannot log in, a minimal administrator.
 *
 * @module
 */
import { randomBytes } from 'node:crypto'
import pg from 'pg'

import { Secret } from '../../src/model/secret.ts'
import { adminSql, parsePostgresConfig } from '../../src/targets/postgres/config.ts'
import { postgresTarget } from '../../src/targets/postgres/driver.ts'
import type { PostgresDependencies } from '../../src/targets/postgres/driver.ts'
import type { IssuedSecret, Target } from '../../src/targets/port.ts'
import { startPostgres } from '../support/postgres.ts'
import type { PostgresSettings } from '../support/postgres.ts'

export type World = AsyncDisposable &
  Readonly<{
    host: string
    port: number
    adminPassword: string
    log(): string
    kill(): Promise<void>
    restart(): Promise<void>
    /** Runs statements as superuser, in database `orders` unless told otherwise. */
    sql<Row extends object = Record<string, unknown>>(
      text: string,
      values?: unknown[],
      database?: string,
    ): Promise<Row[]>
    /** A target on this server; `over` wins over the documented configuration. */
    target(over?: Record<string, unknown>, dependencies?: Partial<PostgresDependencies>): Target
    /** A client that is closed with the world. */
    client(options: pg.ClientConfig): Promise<pg.Client>
    as(secret: IssuedSecret, options?: pg.ClientConfig): Promise<pg.Client>
  }>

export const installation = 'inst_test'

/** Starts it; `settings` are the server's. */
export async function startWorld(settings: PostgresSettings = {}): Promise<World> {
  const server = await startPostgres(settings)
  const adminPassword = `admin-${randomBytes(12).toString('hex')}`
  const open = new Set<{ end(): Promise<void> }>()
  const targets = new Set<Target>()
  const client = async (options: pg.ClientConfig): Promise<pg.Client> => {
    const made = new pg.Client({ host: server.host, port: server.port, ssl: false, ...options })
    made.on('error', () => {}) // being cut is what is tested; the next query rejects
    await made.connect()
    open.add(made)
    return made
  }
  const superuser = new Map<string, pg.Client>()
  const sql: World['sql'] = async <Row extends object>(
    text: string,
    values?: unknown[],
    database = 'orders',
  ) => {
    let connected = superuser.get(database)
    if (connected === undefined) {
      connected = await client({ database, user: server.superuser, password: server.password })
      connected.on('end', () => superuser.delete(database))
      superuser.set(database, connected)
    }
    return (await connected.query<Row>(text, values)).rows
  }
  const config = (over: Record<string, unknown>) =>
    parsePostgresConfig(
      {
        id: 'orders-db',
        host: server.host,
        port: server.port,
        database: 'orders',
        admin: { user: 'writ_admin' },
        roles: { migrate: 'orders_owner' },
        ...over,
      },
      new Secret(adminPassword),
    )

  await sql('create role orders_owner nologin', undefined, 'postgres')
  await sql('create database orders owner orders_owner', undefined, 'postgres')
  await sql(`create role svc_migrator login password 'svc-password'`)
  const lift = config({ shape: 'lift', account: 'svc_migrator' })
  await sql(adminSql(lift))
  await sql(`alter role writ_admin password '${adminPassword}'`)

  return {
    host: server.host,
    port: server.port,
    adminPassword,
    log: () => server.log(),
    kill: () => server.kill(),
    restart: () => server.restart(),
    sql,
    client,
    as: async (secret, options) => {
      const { user, password, database } = secret.expose()
      return await client({ user, password: password ?? 'svc-password', database, ...options })
    },
    target: (over = {}, dependencies = {}) => {
      const made = postgresTarget(config(over), {
        installation,
        clock: () => Date.now(),
        randomBytes: (size) => randomBytes(size),
        ...dependencies,
      })
      targets.add(made)
      return made
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.allSettled([...targets].map((target) => target.close()))
      await Promise.allSettled([...open].map((one) => one.end()))
      await server[Symbol.asyncDispose]()
    },
  }
}
