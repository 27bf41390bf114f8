/**
 * Connections to a PostgreSQL target as its administrator: bounded in number and in time. The only file that loads
 * the driver, and only when a target is first used.
 *
 * @module
 */
import { readFile } from 'node:fs/promises'
import type { Client, ClientBase, ClientConfig, Pool, QueryResult } from 'pg'
import { WritError } from '../../model/errors.ts'
import type { PostgresConfig } from './config.ts'

/** How long a host may take to answer a connection; a dead one is reported after this at the latest. */
const CONNECT_MS = 3_000
/** How long one statement may run at the server, and a little more for the answer to travel. */
const STATEMENT_MS = 10_000
const ANSWER_MS = 12_000
/** How long a statement may wait for a lock: what it waits for may be a session that is to be cut. */
const LOCK_MS = 250

/**
 * Settings of every connection. The owner role may own the database, and with it the defaults of whoever connects:
 * nothing that it defined may run as the administrator, whose names are looked up in the system catalog alone, nor may
 * a default of its keep the administrator from writing.
 */
const SETTINGS = [
  'search_path=pg_catalog',
  'role=none',
  'default_transaction_read_only=off',
  'default_transaction_deferrable=off',
  'default_transaction_isolation=read\\ committed',
  'idle_session_timeout=0',
  'idle_in_transaction_session_timeout=0',
  // the same few statements for ever: planned once per connection, never compiled
  'plan_cache_mode=force_generic_plan',
  'jit=off',
]
/** Databases that every server has, for when the target's own shuts us out. */
const ELSEWHERE = ['postgres', 'template1']

/**
 * One connection for a while. `query` without values may hold several statements, which are then one transaction and
 * answer with the rows of the last; with values it is one statement, planned once per connection.
 */
export type Session = Readonly<{
  query<Row extends object>(sql: string, values?: readonly unknown[]): Promise<Row[]>
  identifier(name: string): string
  literal(text: string): string
}>

export type Connections = Readonly<{
  /** Runs `work` on a pooled connection to the target's own database. */
  use<T>(work: (session: Session) => Promise<T>): Promise<T>
  /**
   * The same for what belongs to the whole server: whoever owns the target's database can shut us out of it (privileges,
   * connection limit, timeouts) and must not keep a credential by that. Then `work` runs from the start again on
   * another `database`.
   */
  useAnywhere<T>(work: (session: Session, database: string) => Promise<T>): Promise<T>
  /** Runs `work` on a fresh connection to any database of the server, which is closed afterwards. */
  useFresh<T>(database: string, work: (session: Session) => Promise<T>): Promise<T>
  close(): Promise<void>
}>

/** The SQLSTATE of an error that the server itself reported. */
export function sqlState(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('severity' in error) || !('code' in error)) return undefined
  return typeof error.code === 'string' && /^[0-9A-Z]{5}$/.test(error.code) ? error.code : undefined
}

/** Says whether the target could not be asked (come back later) or said no (someone must mend it). */
export function targetError(id: string, error: unknown): WritError {
  if (error instanceof WritError) return error
  const state = sqlState(error)
  const text = error instanceof Error ? error.message : String(error)
  // 08 connection, 53 resources, 57P shutdown: the server is there but cannot serve.
  if (state === undefined || /^(08|53|57P)/.test(state)) {
    const code = error instanceof Error && 'code' in error ? `${String(error.code)}: ` : ''
    return new WritError('ERR_TARGET_UNREACHABLE', `target \`${id}\` does not answer`, {
      detail: state === undefined && text.startsWith(code.slice(0, -2)) ? text : code + text,
      hint: 'check that the database is running and reachable from here',
      cause: error,
    })
  }
  const hint = state.startsWith('28')
    ? 'check the administrator role and its password'
    : state === '3D000'
      ? 'check `database`'
      : state === '42501'
        ? 'the administrator role lacks a right: `writ doctor` names it'
        : undefined
  return new WritError('ERR_TARGET_REFUSED', `target \`${id}\` refused`, {
    detail: `${state}: ${text}`,
    ...(hint === undefined ? {} : { hint }),
    cause: error,
  })
}

/** Opens nothing yet. */
export function openConnections(config: PostgresConfig): Connections {
  let opening: Promise<Pool> | undefined
  let closed = false
  const admit = limiter(config.poolSize)

  const options = async (): Promise<ClientConfig> => {
    const { mode, caFile } = config.tls
    return {
      host: config.host,
      port: config.port,
      database: config.database,
      user: config.admin.user,
      // A function, so that neither pool nor client options hold the password.
      password: () => config.admin.password?.expose() ?? '',
      ssl:
        mode === 'disable'
          ? false
          : {
              rejectUnauthorized: mode === 'verify-full',
              ...(caFile === undefined ? {} : { ca: await readFile(caFile, 'utf8') }),
            },
      application_name: 'writ',
      connectionTimeoutMillis: CONNECT_MS,
      statement_timeout: STATEMENT_MS,
      query_timeout: ANSWER_MS,
      lock_timeout: LOCK_MS,
      keepAlive: true,
      options: SETTINGS.map((setting) => `-c ${setting}`).join(' '),
    }
  }
  const driver = async () => {
    if (closed) throw new WritError('ERR_TARGET_UNREACHABLE', `target \`${config.id}\` is closed`)
    try {
      return (await import('pg')).default
    } catch (cause) {
      throw new WritError('ERR_TARGET_UNREACHABLE', 'the PostgreSQL driver is not installed', {
        hint: 'npm install pg',
        cause,
      })
    }
  }
  const open = async (): Promise<Pool> => {
    const pg = await driver()
    const pool = new pg.Pool({ ...(await options()), max: config.poolSize, idleTimeoutMillis: 30_000 })
    // An idle connection that breaks is dropped by the pool; whoever needs one next opens it and sees the error then.
    pool.on('error', () => {})
    // One that breaks between two queries of its borrower: the second query rejects.
    pool.on('connect', (client) => client.on('error', () => {}))
    return pool
  }

  const connections: Connections = {
    use: (work) =>
      admit(async () => {
        try {
          opening ??= open()
          const pool = await opening.catch((error: unknown) => {
            opening = undefined // e.g. an unreadable authority file, mended meanwhile
            throw error
          })
          const client = await pool.connect()
          let broken = true
          try {
            const result = await work(session(client))
            broken = false
            return result
          } catch (error) {
            broken = sqlState(error) === undefined && !(error instanceof WritError)
            throw error
          } finally {
            // After anything but the server's own clear answer the connection's state is unknown: never lend it again.
            client.release(broken)
          }
        } catch (error) {
          throw targetError(config.id, error)
        }
      }),

    useAnywhere: async (work) => {
      try {
        return await connections.use((lent) => work(lent, config.database))
      } catch (error) {
        if (!isAnswer(error)) throw error
        for (const database of ELSEWHERE.filter((name) => name !== config.database)) {
          try {
            return await connections.useFresh(database, (lent) => work(lent, database))
          } catch (other) {
            // what the other databases say matters only if one of them does better
            if (!isAnswer(other)) throw other
          }
        }
        throw error
      }
    },

    useFresh: async (database, work) => {
      let client: Client | undefined
      try {
        const pg = await driver()
        client = new pg.Client({ ...(await options()), database })
        client.on('error', () => {}) // the query under way rejects with it
        await client.connect()
        return await work(session(client))
      } catch (error) {
        throw targetError(config.id, error)
      } finally {
        // Closing what never opened or is broken already fails, and nothing depends on it.
        await client?.end().catch(() => {})
      }
    },

    close: async () => {
      closed = true
      const pool = await opening?.catch(() => undefined)
      opening = undefined
      await pool?.end()
    },
  }
  return connections
}

/** Whether the server itself said no, but for a wrong password: the same elsewhere, and counted against the role. */
function isAnswer(error: unknown): boolean {
  const state = error instanceof WritError ? sqlState(error.cause) : undefined
  return state !== undefined && !state.startsWith('28')
}

function session(client: ClientBase): Session {
  return {
    query: async <Row extends object>(sql: string, values?: readonly unknown[]) => {
      if (values !== undefined) {
        return (await client.query<Row>({ name: statementName(sql), text: sql, values: [...values] })).rows
      }
      const result: QueryResult<Row> | readonly QueryResult<Row>[] = await client.query<Row>(sql)
      return (Array.isArray(result) ? (result.at(-1) as QueryResult<Row> | undefined) : result)?.rows ?? []
    },
    identifier: (name) => client.escapeIdentifier(name),
    literal: (text) => client.escapeLiteral(text),
  }
}

const statementNames = new Map<string, string>()

/** There is a fixed number of statements with values in this driver; each keeps its number. */
function statementName(sql: string): string {
  let name = statementNames.get(sql)
  if (name === undefined) statementNames.set(sql, (name = `writ_${statementNames.size}`))
  return name
}

/** At most `most` at once, the rest in order: waiting for a turn must not count as waiting for the host. */
function limiter(most: number): <T>(work: () => Promise<T>) => Promise<T> {
  let busy = 0
  const waiting: (() => void)[] = []
  return async (work) => {
    if (busy >= most) await new Promise<void>((resolve) => waiting.push(resolve))
    else busy++
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else busy--
    }
  }
}
