/**
 * Creating what was planned: one message to the server, which is one transaction, so that a role never exists without
 * its end, its limits and its mark.
 *
 * The message may still be on its way when its sender is long dead. Therefore the connection takes a lock first, which
 * the server lets go when the message is done or the connection is; a revocation that finds no role takes that lock
 * before it believes it (law 8).
 *
 * @module
 */
import { WritError } from '../../model/errors.ts'
import { Secret } from '../../model/secret.ts'
import type { Instant } from '../../model/time.ts'
import { toRfc3339 } from '../../model/time.ts'
import type { IssuedSecret, PlannedCredential, PostgresSecret } from '../port.ts'
import type { PostgresConfig } from './config.ts'
import type { Session } from './connection.ts'
import { sqlState } from './connection.ts'
import { applicationName, encodeMark, issueLock } from './names.ts'
import { scramVerifier } from './scram.ts'

/** Settings are 32-bit milliseconds at the server, some 24 days. */
const LONGEST_SETTING = 2_147_483_647

/** What was decided at planning. */
export type Shape = Readonly<
  | { shape: 'ephemeral'; owner: string; label: string; setRole: 'login' | 'manual' }
  | { shape: 'lift'; owner: string; label: string; account: string; inherit: boolean }
>

export type IssueContext = Readonly<{
  config: PostgresConfig
  installation: string
  now: Instant
  randomBytes: (size: number) => Uint8Array
}>

const refused = (config: PostgresConfig, problem: string, hint?: string): WritError =>
  new WritError(
    'ERR_TARGET_REFUSED',
    `target \`${config.id}\`: ${problem}`,
    hint === undefined ? {} : { hint },
  )

/** Issues `planned`; see the port. */
export async function issue(
  session: Session,
  context: IssueContext,
  planned: PlannedCredential,
  shape: Shape,
  endsAt: Instant,
): Promise<Readonly<{ secret: IssuedSecret; oid: number | undefined }>> {
  const { config, now } = context
  if (!Number.isFinite(endsAt) || endsAt <= now)
    throw refused(config, 'the credential would already have ended')
  const lock = issueLock(planned.name)
  const found = await surroundings(session, shape, lock)
  try {
    return await create(session, context, planned, shape, endsAt, found)
  } catch (error) {
    // If this fails too the connection is broken, and the lock gone with it.
    await session.query(`SELECT pg_advisory_unlock_all()`).catch(() => {})
    throw error
  }
}

async function create(
  session: Session,
  context: IssueContext,
  planned: PlannedCredential,
  shape: Shape,
  endsAt: Instant,
  found: Surroundings,
): Promise<Readonly<{ secret: IssuedSecret; oid: number | undefined }>> {
  const { config } = context
  const problem = hazardOf(found, shape)
  if (problem !== undefined) throw refused(config, problem.message, problem.hint)

  const password = Buffer.from(context.randomBytes(32)).toString('base64url')
  const statements =
    shape.shape === 'ephemeral'
      ? ephemeralSql(
          session,
          context,
          planned,
          shape,
          endsAt,
          found,
          await scramVerifier(password, context.randomBytes(16)),
        )
      : liftSql(session, context, planned, shape, endsAt, found)
  const lock = issueLock(planned.name)
  // The connection's lock is exchanged for the transaction's, which lasts until what was made can be seen.
  const hold = `SELECT pg_advisory_xact_lock(${lock})`
  const made = `SELECT oid, pg_advisory_unlock(${lock}) FROM pg_roles WHERE rolname = ${session.literal(planned.name)}`
  let role: { oid: number } | undefined
  try {
    ;[role] = await session.query<{ oid: number }>([hold, ...statements, made].join(';\n'))
  } catch (error) {
    if (sqlState(error) === '42710') {
      throw new WritError(
        'ERR_TARGET_REFUSED',
        `target \`${config.id}\`: \`${planned.name}\` was issued before`,
        {
          hint: 'a lost secret is revoked and a new credential planned, never repeated',
          cause: error,
        },
      )
    }
    throw error
  }
  return { secret: secretFor(config, shape, planned.name, password), oid: role?.oid }
}

type Surroundings = Readonly<{
  version: number
  recovering: boolean
  public_connect: boolean
  owner: boolean
  owner_hazard: string | null
  account: boolean
  account_hazard: string | null
}>

/**
 * What surrounds the credential to be. A hazard is a way to authority that would outlive it: becoming a login role
 * means setting that role's password, CREATEROLE makes new logins, slots and subscriptions go on without a session, and a
 * superuser or a role that reads, writes or runs as the server's system user can do anything. Membership without use counts, since its holder can give it.
 *
 * With `lock` the connection holds that advisory lock afterwards.
 */
export async function surroundings(
  session: Session,
  shape: Shape,
  lock: string | null,
): Promise<Surroundings> {
  const [row] = await session.query<Surroundings>(
    `select current_setting('server_version_num')::int as version, pg_is_in_recovery() as recovering, pg_advisory_lock($3::int8)::text as locked,
       has_database_privilege('public', current_database(), 'CONNECT') as public_connect,
       owner.oid is not null as owner,
       (select format('%I %s', r.rolname, case when r.rolsuper then 'is a superuser'
           when r.rolcreaterole then 'may create roles' when r.rolcanlogin then 'may log in'
           when r.rolreplication then 'may replicate' when r.rolname = 'pg_create_subscription' then 'keeps subscriptions'
           else 'reaches the server''s files or programs' end)
         from pg_roles r
         where owner.oid is not null and pg_has_role(owner.oid, r.oid, 'MEMBER')
           and (r.rolsuper or r.rolcreaterole or r.rolcanlogin or r.rolreplication or r.rolname in
             ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files', 'pg_create_subscription'))
         order by r.rolsuper desc, r.rolname = $1 desc, r.rolname limit 1) as owner_hazard,
       coalesce(account.rolcanlogin, false) as account,
       case when account.rolsuper then 'is a superuser' when account.rolcreaterole then 'may create roles' end
         as account_hazard
     from (select) one left join pg_roles owner on owner.rolname = $1 left join pg_roles account on account.rolname = $2`,
    [shape.owner, shape.shape === 'lift' ? shape.account : null, lock],
  )
  if (row === undefined) throw new TypeError('the server returned no row')
  return row
}

/** Why nothing may be issued here, with the mend. */
export function hazardOf(found: Surroundings, shape: Shape): { message: string; hint?: string } | undefined {
  if (found.recovering) return { message: 'the server is a standby', hint: 'configure the primary' }
  if (found.version < 140_000) return { message: 'PostgreSQL 14 or later is needed' }
  if (!found.owner) return { message: `owner role \`${shape.owner}\` does not exist` }
  if (found.owner_hazard !== null) {
    return {
      message: `authority of \`${shape.owner}\` would outlive the credential: ${found.owner_hazard}`,
      hint: 'use an owner role that is NOLOGIN, creates no roles and belongs to none that does',
    }
  }
  if (shape.shape === 'lift' && !found.account)
    return { message: `account \`${shape.account}\` does not exist or cannot log in` }
  if (shape.shape === 'lift' && found.account_hazard !== null) {
    return { message: `account \`${shape.account}\` ${found.account_hazard}: lifting it bounds nothing` }
  }
  return undefined
}

function ephemeralSql(
  { identifier, literal }: Session,
  { installation, now, config }: IssueContext,
  planned: PlannedCredential,
  shape: Shape & { shape: 'ephemeral' },
  endsAt: Instant,
  found: Surroundings,
  verifier: string,
): string[] {
  const role = identifier(planned.name)
  const owner = identifier(shape.owner)
  const end = toRfc3339(endsAt)
  const remaining = Math.min(Math.max(1, Math.floor(endsAt - now)), LONGEST_SETTING)
  const limits = [
    'statement_timeout',
    'lock_timeout',
    'idle_in_transaction_session_timeout',
    'idle_session_timeout',
  ]
  if (found.version >= 170_000) limits.push('transaction_timeout')
  const connections = config.shape === 'ephemeral' ? config.connectionLimit : 10
  return [
    `CREATE ROLE ${role} LOGIN NOINHERIT CONNECTION LIMIT ${connections} PASSWORD ${literal(verifier)} VALID UNTIL ${literal(end)}`,
    // Before 16 the role's own NOINHERIT says the same.
    `GRANT ${owner} TO ${role}${found.version >= 160_000 ? ' WITH INHERIT FALSE, SET TRUE' : ''}`,
    ...limits.map((limit) => `ALTER ROLE ${role} SET ${limit} = ${remaining}`),
    `ALTER ROLE ${role} SET application_name = ${literal(applicationName(shape.label))}`,
    ...(shape.setRole === 'login' ? [`ALTER ROLE ${role} SET role = ${literal(shape.owner)}`] : []),
    ...(found.public_connect ? [] : [`GRANT CONNECT ON DATABASE ${identifier(config.database)} TO ${role}`]),
    `COMMENT ON ROLE ${role} IS ${literal(
      encodeMark({
        writ: installation,
        credential: planned.id,
        shape: 'ephemeral',
        owner: shape.owner,
        endsAt: end,
      }),
    )}`,
  ]
}

/**
 * The account joins a group role of this credential alone, which belongs to the owner role: the database counts
 * overlapping grants by itself, and removing one group leaves the authority of the others.
 */
function liftSql(
  { identifier, literal }: Session,
  { installation }: IssueContext,
  planned: PlannedCredential,
  shape: Shape & { shape: 'lift' },
  endsAt: Instant,
  found: Surroundings,
): string[] {
  const group = identifier(planned.name)
  const use = found.version >= 160_000 ? ` WITH INHERIT ${shape.inherit ? 'TRUE' : 'FALSE'}, SET TRUE` : ''
  const mark = {
    writ: installation,
    credential: planned.id,
    shape: 'lift',
    owner: shape.owner,
    account: shape.account,
    endsAt: toRfc3339(endsAt),
  }
  return [
    `CREATE ROLE ${group} NOLOGIN ${shape.inherit ? 'INHERIT' : 'NOINHERIT'}`,
    `COMMENT ON ROLE ${group} IS ${literal(encodeMark(mark))}`,
    `GRANT ${identifier(shape.owner)} TO ${group}${use}`,
    `GRANT ${group} TO ${identifier(shape.account)}${use}`,
  ]
}

function secretFor(config: PostgresConfig, shape: Shape, role: string, generated: string): IssuedSecret {
  const { host, port, database } = config
  const user = shape.shape === 'ephemeral' ? role : shape.account
  const password = shape.shape === 'ephemeral' ? generated : undefined
  const { mode: sslmode, caFile } = config.tls
  const label = applicationName(shape.label)

  const query = new URLSearchParams({ sslmode, application_name: label })
  if (caFile !== undefined) query.set('sslrootcert', caFile)
  const socket = host.startsWith('/')
  if (socket) query.set('host', host)
  if (socket) query.set('port', String(port))
  const at = socket ? '' : `${host.includes(':') ? `[${host}]` : encodeURIComponent(host)}:${port}`
  const who = encodeURIComponent(user) + (password === undefined ? '' : `:${encodeURIComponent(password)}`)
  // Spaces as %20: libpq does not read `+` as a space.
  const address = `postgresql://${who}@${at}/${encodeURIComponent(database)}?${query.toString().replaceAll('+', '%20')}`
  const secret: PostgresSecret = {
    kind: 'postgres',
    host,
    port,
    database,
    user,
    ...(password === undefined ? {} : { password }),
    sslmode,
    url: address,
    env: {
      PGHOST: host,
      PGPORT: String(port),
      PGDATABASE: database,
      PGUSER: user,
      ...(password === undefined ? {} : { PGPASSWORD: password }),
      PGSSLMODE: sslmode,
      ...(caFile === undefined ? {} : { PGSSLROOTCERT: caFile }),
      PGAPPNAME: label,
      DATABASE_URL: address,
    },
  }
  return new Secret(secret)
}
