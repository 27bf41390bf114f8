/**
 * What `writ doctor` says of a PostgreSQL target. Looks, changes nothing.
 *
 * @module
 */
import { WritError } from '../../model/errors.ts'
import type { Instant, Millis } from '../../model/time.ts'
import type { Finding } from '../port.ts'
import type { PostgresConfig } from './config.ts'
import { adminSql } from './config.ts'
import type { Connections, Session } from './connection.ts'
import type { Shape } from './issue.ts'
import { hazardOf, surroundings } from './issue.ts'

/** A clock further off than this ends logins visibly early or late. */
const SKEW: Millis = 2_000

export async function check(
  config: PostgresConfig,
  connections: Connections,
  clock: () => Instant,
): Promise<readonly Finding[]> {
  try {
    return await connections.use(async (session) => {
      const sentAt = clock()
      const [server] = await session.query<Server>(
        `select current_setting('server_version_num')::int as version, session_user::text as admin, r.rolsuper, r.rolcreaterole,
           pg_has_role('pg_signal_backend', 'USAGE') as signals,
           has_database_privilege('public', current_database(), 'CONNECT') as public_connect,
           has_database_privilege(current_database(), 'CONNECT WITH GRANT OPTION') as gives_connect,
           coalesce((select has_schema_privilege('public', oid, 'CREATE') from pg_namespace where nspname = 'public'), false)
             as public_create,
           extract(epoch from clock_timestamp()) * 1000 as now
         from pg_roles r where r.rolname = session_user`,
      )
      if (server === undefined) throw new TypeError('the server returned no row')
      const findings = [...ofServer(config, server, sentAt, clock())]
      for (const [name, owner] of Object.entries(config.roles)) {
        findings.push(...(await ofOwner(session, config, server, name, owner)))
      }
      if (config.shape === 'lift') findings.push(...(await ofAccount(session, config, server)))
      return findings
    })
  } catch (error) {
    if (!(error instanceof WritError)) throw error
    const message = error.detail === undefined ? error.message : `${error.message}: ${error.detail}`
    return [{ level: 'error', message, ...(error.hint === undefined ? {} : { hint: error.hint }) }]
  }
}

type Server = Readonly<{
  version: number
  admin: string
  rolsuper: boolean
  rolcreaterole: boolean
  signals: boolean
  public_connect: boolean
  gives_connect: boolean
  public_create: boolean
  now: string
}>

function* ofServer(
  config: PostgresConfig,
  server: Server,
  before: Instant,
  after: Instant,
): Iterable<Finding> {
  if (config.tls.mode === 'require') {
    yield { level: 'warning', message: 'TLS does not verify the server', hint: 'use `verify-full`' }
  } else if (config.tls.mode === 'disable' && !isHere(config.host)) {
    yield {
      level: 'warning',
      message: 'connections over the network are not encrypted',
      hint: 'use `verify-full`',
    }
  }
  const ahead = Number(server.now) - (before + after) / 2
  if (Math.abs(ahead) > SKEW + (after - before)) {
    yield {
      level: 'warning',
      message: `the clock of the server is ${Math.abs(Math.round(ahead))} ms ${ahead > 0 ? 'ahead' : 'behind'}`,
      hint: 'synchronise the clocks: `VALID UNTIL` is judged by the server',
    }
  }
  if (server.rolsuper) {
    yield {
      level: 'warning',
      message: `administrator \`${server.admin}\` is a superuser`,
      hint: `a minimal one is enough:\n${adminSql(config, server.version)}`,
    }
    return
  }
  if (!server.rolcreaterole) {
    yield {
      level: 'error',
      message: `administrator \`${server.admin}\` may not create roles`,
      hint: adminSql(config, server.version),
    }
  }
  if (!server.signals) {
    yield {
      level: 'error',
      message: `administrator \`${server.admin}\` may not cut sessions`,
      hint: adminSql(config, server.version),
    }
  }
  if (config.shape === 'ephemeral' && !server.public_connect && !server.gives_connect) {
    yield {
      level: 'error',
      message: `administrator \`${server.admin}\` cannot let anyone connect to \`${config.database}\``,
      hint: `GRANT CONNECT ON DATABASE … TO ${server.admin} WITH GRANT OPTION`,
    }
  }
  if (config.shape === 'ephemeral' && server.public_create) {
    yield {
      level: 'warning',
      message:
        'everyone may create in schema `public`: what a credential creates as itself holds up its removal',
      hint: 'REVOKE CREATE ON SCHEMA public FROM PUBLIC',
    }
  }
}

async function ofOwner(
  session: Session,
  config: PostgresConfig,
  server: Server,
  name: string,
  owner: string,
): Promise<Finding[]> {
  const shape: Shape =
    config.shape === 'ephemeral'
      ? { shape: 'ephemeral', owner, label: '', setRole: config.setRole }
      : { shape: 'lift', owner, label: '', account: config.account, inherit: config.inherit }
  const problem = hazardOf(await surroundings(session, shape, null), shape)
  const findings: Finding[] = problem === undefined ? [] : [{ level: 'error', ...problem }]
  const modern = server.version >= 160_000
  const rows = await session.query<{ gives: boolean; uses: boolean }>(
    `select pg_has_role(session_user, oid, 'MEMBER WITH ADMIN OPTION') as gives,
       pg_has_role(session_user, oid, 'USAGE') or pg_has_role(session_user, oid, '${modern ? 'SET' : 'USAGE'}') as uses
     from pg_roles where rolname = $1`,
    [owner],
  )
  for (const { gives, uses } of rows) {
    // Before version 16 CREATEROLE may give any role that is not a superuser.
    if (!gives && modern) {
      findings.push({
        level: 'error',
        message: `administrator \`${server.admin}\` may not give \`${owner}\` (role \`${name}\`)`,
        hint: adminSql(config, server.version),
      })
    }
    if (uses && !server.rolsuper && modern) {
      findings.push({
        level: 'warning',
        message: `administrator \`${server.admin}\` may itself act as \`${owner}\``,
        hint: `grant it again WITH ADMIN TRUE, INHERIT FALSE, SET FALSE`,
      })
    }
  }
  return findings
}

async function ofAccount(
  session: Session,
  config: PostgresConfig & { shape: 'lift' },
  server: Server,
): Promise<Finding[]> {
  const [row] = await session.query<{ becomes: boolean; standing: string[] }>(
    `select pg_has_role(session_user, oid, '${server.version >= 160_000 ? 'SET' : 'MEMBER'}') as becomes,
       array(select o.rolname::text from pg_auth_members m join pg_roles o on o.oid = m.roleid
         where m.member = r.oid and o.rolname = any($2)) as standing
     from pg_roles r where rolname = $1`,
    [config.account, Object.values(config.roles)],
  )
  const findings: Finding[] = []
  if (row !== undefined && !row.becomes) {
    findings.push({
      level: 'error',
      message: `administrator \`${server.admin}\` may not act as \`${config.account}\`, so that half-open connections of it could not be cut`,
      hint: adminSql(config, server.version),
    })
  }
  for (const owner of row?.standing ?? []) {
    findings.push({
      level: 'warning',
      message: `\`${config.account}\` belongs to \`${owner}\` at all times: a grant adds nothing and its end takes nothing`,
      hint: `REVOKE "${owner}" FROM "${config.account}"`,
    })
  }
  return findings
}

const isHere = (host: string): boolean =>
  host.startsWith('/') || ['localhost', '127.0.0.1', '::1'].includes(host)
