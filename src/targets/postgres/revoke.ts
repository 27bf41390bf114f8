/**
 * Taking a credential back: deny, cut, remove, verify. Each step stands alone and may be repeated, so that a crash
 * between any two leaves something that the next call finishes.
 *
 * What a hostile holder can do against it, and what is done about that:
 *
 * - Keep a session open, idle in a transaction or after `SET ROLE`: sessions are found by the user who logged in and
 *   cut; they are gone from `pg_stat_activity` only after their transaction was aborted.
 * - Connect with `post_auth_delay`: such a connection has passed the login check and may already have become the
 *   owner role, but is in no view of sessions. It is found by the lock of its start-up transaction, and cut by
 *   signalling *as* the ephemeral role, which the server permits for that role's own connections only.
 * - Change the own password in an open or prepared transaction, which locks the role's row against `NOLOGIN`: then
 *   membership, which the holder cannot lock, is taken away first, and the transaction is ended.
 * - Prepare a transaction, to be committed later by a friend: it is rolled back.
 * - Be named in privileges, which keeps the role from being dropped: they are removed in every database. Those that
 *   a role unknown here gave stay, and are named in the report.
 * - Own objects (`SET ROLE NONE`): they are neither dropped nor given to a stronger role. The role stays, without
 *   login, password use, sessions or memberships, and the report says what must be resolved.
 *
 * @module
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { WritError } from '../../model/errors.ts'
import type { Instant } from '../../model/time.ts'
import type { LeftBehind, LeftObject, LeftPrepared, RevokeReport } from '../port.ts'
import type { PostgresConfig } from './config.ts'
import type { Connections, Session } from './connection.ts'
import { sqlState } from './connection.ts'
import type { Prepared, Seen, Trace } from './inspect.ts'
import { inspect, isSoleUser } from './inspect.ts'
import type { Mark } from './names.ts'
import { issueLock, parseMark } from './names.ts'

/** How long sessions may take to end; an aborting transaction can be busy for a while. */
const CUT_MS = 5_000
/** Attempts against concurrent change, e.g. a second revocation of the same credential. */
const TRIES = 8

export type RevokeContext = Readonly<{
  config: PostgresConfig
  connections: Connections
  clock: () => Instant
  name: string
  /** What is known of it besides its name; the mark at the target comes first. */
  known: Readonly<{
    shape?: string
    owner?: string
    account?: string
    applicationName?: string
    oid?: number
  }>
}>

type Role = Readonly<{
  oid: number
  mark: Mark | undefined
  since: string | undefined
  knownOwner: number | null
}>

/** Revokes; see the port. */
export async function revoke(session: Session, context: RevokeContext): Promise<RevokeReport> {
  const startedAt = context.clock()
  let sessionsCut = 0
  const progress: Progress = {
    startedAt,
    deniedAt: undefined,
    cutAt: undefined,
    cut: (count) => (sessionsCut += count),
    sessionsCut: () => sessionsCut,
  }
  for (let tries = 1; ; tries++) {
    try {
      return await attempt(session, context, progress)
    } catch (error) {
      // Somebody else was at the same rows: look again from the start, every step is idempotent.
      if (tries === TRIES || !isConcurrent(error)) throw error
      await sleep(tries * 5)
    }
  }
}

type Progress = {
  readonly startedAt: Instant
  deniedAt: Instant | undefined
  cutAt: Instant | undefined
  readonly cut: (count: number) => void
  readonly sessionsCut: () => number
}

const isConcurrent = (error: unknown): boolean => {
  const state = sqlState(error)
  // XX000 is how the catalogs say that a row was changed or removed under the statement.
  return state !== undefined && ['40001', '40P01', '42704', '55P03', 'XX000'].includes(state)
}

async function attempt(session: Session, context: RevokeContext, progress: Progress): Promise<RevokeReport> {
  const { clock, name, known } = context
  const report = (
    absent: boolean,
    leftBehind: LeftBehind,
    problem?: { problem: string; hint: string },
  ): RevokeReport => {
    const now = clock()
    return {
      absent,
      ...problem,
      sessionsCut: progress.sessionsCut(),
      leftBehind,
      took: {
        denied: (progress.deniedAt ?? now) - progress.startedAt,
        cut: (progress.cutAt ?? now) - progress.startedAt,
        total: now - progress.startedAt,
      },
    }
  }

  let role = await lookUp(session, name, known.owner)
  if (role === undefined) {
    await endIssue(session, context)
    role = await lookUp(session, name, known.owner)
  }
  if (role === undefined) {
    // Gone, or never there. A role that somebody dropped by hand may have left sessions.
    progress.cut(await cutGhosts(session, known))
    return report(true, nothingLeft)
  }
  const shape = role.mark?.shape ?? known.shape ?? context.config.shape
  const ownerName = role.mark?.owner ?? known.owner
  const owner =
    ownerName === undefined
      ? undefined
      : ownerName === known.owner
        ? (role.knownOwner ?? undefined)
        : await oidOf(session, ownerName)

  let subject: number
  let prepared: readonly LeftPrepared[] = []
  const trace = (roles: readonly (number | undefined)[]): Trace | undefined =>
    role.since === undefined
      ? undefined
      : { roles: roles.filter((one) => one !== undefined), since: role.since }

  if (shape === 'lift') {
    const accountName = role.mark?.account ?? known.account
    const account = accountName === undefined ? undefined : await oidOf(session, accountName)
    await dropMembers(session, name, role.oid)
    progress.deniedAt ??= clock()
    if (accountName !== undefined && account !== undefined) {
      if (!(await isLiftedByAnother(session, role.oid, account, owner))) {
        progress.cut(await cutAll(session, context, { name: accountName, oid: account }, 'those open now'))
      }
      subject = account
    } else {
      subject = role.oid
    }
  } else {
    subject = role.oid
    await denyLogin(session, context, role, async () => {
      progress.cut(await cutVisible(session, context, role.oid))
      const early = trace([role.oid, owner])
      if (early === undefined) return
      const found = await inspect(session, early, 'shared')
      prepared = [...prepared, ...(await endPrepared(session, context, found.prepared, role.oid, shape))]
    })
    progress.deniedAt ??= clock()
    progress.cut(await cutAll(session, context, { name, oid: role.oid }, 'until none is left'))
  }
  progress.cutAt ??= clock()

  const traced = trace([subject, owner])
  let seen: Seen = {
    ...nothingLeft,
    unseen: ['the mark of the role was removed, so that it is not known since when to look'],
  }
  if (traced !== undefined) {
    const found = await inspect(session, traced, 'shared')
    prepared = [...prepared, ...(await endPrepared(session, context, found.prepared, subject, shape))]
    seen = await withOtherDatabases(context, traced, found, found.databases)
  }
  const leftBehind: LeftBehind = { ...seen, preparedTransactions: prepared }

  const blocking = await remove(
    session,
    context,
    role,
    ownerName === undefined || owner === undefined ? undefined : { name: ownerName, oid: owner },
  )
  if (blocking.length > 0) {
    const quoted = session.identifier(name)
    const owned = blocking.filter((one) => one.owned).map(({ owned: _owned, ...object }) => object)
    const names = blocking.map((one) => `${one.type} ${one.name} (database ${one.database})`).join(', ')
    return report(
      false,
      { ...leftBehind, objects: merged(owned, leftBehind.objects) },
      {
        problem: `\`${name}\` is denied and stripped but not removed: ${owned.length > 0 ? 'it owns or is' : 'it is'} named in ${names}`,
        hint: `in each of these databases: REASSIGN OWNED BY ${quoted} TO …; DROP OWNED BY ${quoted}`,
      },
    )
  }
  if (!(await isAbsent(session, context, role.oid))) {
    // A session that outlived its role.
    progress.cut(await cutVisible(session, context, role.oid))
    if (!(await isAbsent(session, context, role.oid))) throw stillThere(context, 'its role')
  }
  return report(true, leftBehind)
}

const nothingLeft: LeftBehind = {
  objects: [],
  aclChanges: [],
  securityDefiner: [],
  preparedTransactions: [],
  unseen: [],
}

const stillThere = ({ config, name }: RevokeContext, what: string): WritError =>
  new WritError('ERR_TARGET_REFUSED', `target \`${config.id}\`: ${what} is still there`, {
    detail: `revoking ${name}`,
    hint: 'access is denied; the removal is retried',
  })

async function lookUp(session: Session, name: string, owner: string | undefined): Promise<Role | undefined> {
  const [row] = await session.query<{
    oid: number
    since: string | null
    comment: string | null
    owner: number | null
  }>(
    // The comment was written in the transaction that made the role: its row tells which that was.
    `select r.oid, d.xmin::text as since, d.description as comment,
       (select o.oid from pg_roles o where o.rolname = $2) as owner
     from pg_roles r left join pg_shdescription d on d.objoid = r.oid and d.classoid = 'pg_authid'::regclass
     where r.rolname = $1`,
    [name, owner ?? null],
  )
  if (row === undefined) return undefined
  return {
    oid: row.oid,
    mark: parseMark(row.comment),
    since: row.since ?? undefined,
    knownOwner: row.owner,
  }
}

/**
 * Ends an issue of this name that is under way on a connection whose sender was lost: what it made can be seen then,
 * or never comes to be.
 */
async function endIssue(session: Session, context: RevokeContext): Promise<void> {
  const lock = issueLock(context.name)
  const deadline = performance.now() + CUT_MS
  for (let wait = 1; ; wait = Math.min(wait * 2, 50)) {
    // The lock is the database's own, and this may be another one: then its holder still shows.
    const [row] = await session.query<{ free: boolean }>(
      `select pg_try_advisory_xact_lock($1::int8) and not exists (select from pg_locks
         where locktype = 'advisory' and granted and objsubid = 1
           and (classid::int8 << 32 | objid::int8) = $1::int8 and pid <> pg_backend_pid()) as free`,
      [lock],
    )
    if (row?.free === true) return
    if (performance.now() > deadline) throw stillThere(context, 'its issue')
    await session.query(
      `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and objsubid = 1
         and (classid::int8 << 32 | objid::int8) = $1::int8 and pid <> pg_backend_pid()`,
      [lock],
    )
    await sleep(wait)
  }
}

/** Neither the name nor a session of what it was. */
async function isAbsent(session: Session, { name }: RevokeContext, oid: number): Promise<boolean> {
  const [row] = await session.query<{ absent: boolean }>(
    `select not exists (select from pg_roles where rolname = $1)
       and not exists (select from pg_stat_get_activity(null) where usesysid = $2::oid) as absent`,
    [name, oid],
  )
  return row?.absent === true
}

async function oidOf(session: Session, name: string): Promise<number | undefined> {
  const [row] = await session.query<{ oid: number }>('select oid from pg_roles where rolname = $1', [name])
  return row?.oid
}

// ---- deny

/** No new login from here on. `unblock` ends what may hold the role's row. */
async function denyLogin(
  session: Session,
  context: RevokeContext,
  role: Role,
  unblock: () => Promise<void>,
): Promise<void> {
  const sql = `ALTER ROLE ${session.identifier(context.name)} NOLOGIN`
  for (let tries = 1; ; tries++) {
    try {
      await session.query(sql)
      return
    } catch (error) {
      if (tries === TRIES || !isConcurrent(error) || sqlState(error) === '42704') throw error
      await leaveGroups(session, context.name, role.oid)
      await unblock()
    }
  }
}

/** Takes every membership of the role away: whoever still gets in as it can become nobody else. */
async function leaveGroups(session: Session, name: string, oid: number): Promise<void> {
  const groups = await session.query<{ rolname: string }>(
    `select g.rolname::text from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = $1::oid`,
    [oid],
  )
  for (const { rolname } of groups) {
    await session.query(`REVOKE ${session.identifier(rolname)} FROM ${session.identifier(name)}`)
  }
}

/** Takes the lifted account out of the credential's group role. */
async function dropMembers(session: Session, name: string, oid: number): Promise<void> {
  const members = await session.query<{ rolname: string }>(
    `select a.rolname::text from pg_auth_members m join pg_roles a on a.oid = m.member
     where m.roleid = $1::oid and a.rolname <> session_user`,
    [oid],
  )
  for (const { rolname } of members) {
    await session.query(`REVOKE ${session.identifier(name)} FROM ${session.identifier(rolname)}`)
  }
}

/**
 * Whether another credential lifts `account` to the same owner role. Asked after this one's membership is gone, so
 * that of two ending at once at least the later sees none.
 */
async function isLiftedByAnother(
  session: Session,
  group: number,
  account: number,
  owner: number | undefined,
): Promise<boolean> {
  if (owner === undefined) return false
  const [row] = await session.query<{ lifted: boolean }>(
    `select exists (select from pg_auth_members a join pg_auth_members o on o.member = a.roleid
       join pg_roles g on g.oid = a.roleid
       where a.member = $1::oid and o.roleid = $2::oid and a.roleid <> $3::oid and g.rolname like 'writ\\_%') as lifted`,
    [account, owner, group],
  )
  return row?.lifted === true
}

// ---- cut

type Named = Readonly<{ name: string; oid: number }>

/** Cuts every connection of `who` that began before now: those that show, and those not yet in any view. */
async function cutAll(
  session: Session,
  context: RevokeContext,
  who: Named,
  which: 'until none is left' | 'those open now',
): Promise<number> {
  // First those that do not show: one that comes into view meanwhile is then among the visible.
  const hidden = await startingPids(session)
  let cut = 0
  if (which === 'until none is left') {
    cut += await cutVisible(session, context, who.oid)
  } else {
    const open = await session.query<{ pid: number }>(
      'select pid from pg_stat_get_activity(null) where usesysid = $1::oid and pid <> pg_backend_pid()',
      [who.oid],
    )
    cut += await cutVisible(
      session,
      context,
      who.oid,
      open.map((row) => row.pid),
    )
  }
  if (hidden.length === 0) return cut
  const still = new Set(await startingPids(session))
  const suspects = hidden.filter((pid) => still.has(pid))
  if (suspects.length > 0) cut += await cutHidden(context, who, suspects)
  // One that came into view between the two looks.
  return cut + (await cutVisible(session, context, who.oid, hidden))
}

/** Signals the sessions of `oid`, or those of `only`, until none of them is left; how many there were. */
async function cutVisible(
  session: Session,
  context: RevokeContext,
  oid: number,
  only: readonly number[] | null = null,
): Promise<number> {
  const seen = new Set<number>()
  const deadline = performance.now() + CUT_MS
  for (let wait = 1; ; wait = Math.min(wait * 2, 50)) {
    const open = await session.query<{ pid: number }>(
      `select pid, pg_terminate_backend(pid) from pg_stat_get_activity(null)
       where usesysid = $1::oid and pid <> pg_backend_pid() and ($2::int[] is null or pid = any($2))`,
      [oid, only],
    )
    for (const { pid } of open) seen.add(pid)
    if (open.length === 0) return seen.size
    if (performance.now() > deadline)
      throw stillThere(context, `a session (pid ${open.map((o) => o.pid).join(', ')})`)
    await sleep(wait)
  }
}

/**
 * Connections whose start-up transaction is open and that no view attributes to a user yet. Every connection passes
 * through this state; `post_auth_delay` lets a client stay in it.
 */
async function startingPids(session: Session): Promise<number[]> {
  const rows = await session.query<{ pid: number }>(
    `select pid from pg_locks where locktype = 'virtualxid' and mode = 'ExclusiveLock' and pid is not null
     and pid not in (select pid from pg_stat_get_activity(null)
       where usesysid is not null or backend_type <> 'client backend')`,
    [],
  )
  return rows.map((row) => row.pid)
}

/**
 * Cuts those of `pids` that belong to `who`. The server does not say to whom they belong, but lets a role without
 * further rights end its own connections only.
 */
async function cutHidden(context: RevokeContext, who: Named, pids: readonly number[]): Promise<number> {
  return await actAs(context, context.config.database, who, async (session) => {
    const cut: number[] = []
    const signal = async (pid: number): Promise<void> => {
      try {
        const [row] = await session.query<{ signalled: boolean }>(
          'select pg_terminate_backend($1) as signalled',
          [pid],
        )
        if (row?.signalled === true) cut.push(pid)
      } catch (error) {
        if (sqlState(error) !== '42501') throw error // 42501: somebody else's
      }
    }
    for (const pid of pids) await signal(pid)
    const others = pids.filter((pid) => !cut.includes(pid))
    if (others.length > 0) {
      // Between the look at the role and the moment the server knows whose the connection is lies a very short time.
      await sleep(10)
      for (const pid of others) await signal(pid)
    }
    const deadline = performance.now() + CUT_MS
    for (let wait = 1; ; wait = Math.min(wait * 2, 50)) {
      const open = await session.query(
        `select pid from pg_locks where locktype = 'virtualxid' and pid = any($1::int[])
         union select pid from pg_stat_activity where pid = any($1::int[])`,
        [cut],
      )
      if (open.length === 0) return cut.length
      if (performance.now() > deadline) throw stillThere(context, 'a connection that is starting')
      await sleep(wait)
    }
  })
}

/** Sessions whose role was dropped by someone else while they were open. */
async function cutGhosts(session: Session, known: RevokeContext['known']): Promise<number> {
  const rows = await session.query(
    `select pid, pg_terminate_backend(pid) from pg_stat_activity a
     where not exists (select from pg_roles r where r.oid = a.usesysid)
       and (usesysid = $1::oid or (usesysid is not null and application_name = $2))`,
    [known.oid ?? null, known.applicationName ?? null],
  )
  return rows.length
}

// ---- what stays

/** Ends the transactions prepared under the credential, and reports those that may be somebody else's. */
async function endPrepared(
  session: Session,
  context: RevokeContext,
  prepared: readonly Prepared[],
  subject: number,
  shape: string,
): Promise<LeftPrepared[]> {
  const left: LeftPrepared[] = []
  for (const { gid, database, owner, owner_oid: oid } of prepared) {
    // A lifted account's own transactions are its own work; those as the owner role came from whoever can be it.
    const rolledBack = oid === subject ? shape !== 'lift' : await isSoleUser(session, oid, subject)
    if (rolledBack) {
      await actAs(context, database, { name: owner, oid }, (acting) =>
        acting.query(`ROLLBACK PREPARED ${acting.literal(gid)}`),
      )
    }
    left.push({ database, gid, owner, rolledBack })
  }
  return left
}

async function withOtherDatabases(
  { connections }: RevokeContext,
  trace: Trace,
  here: Seen,
  databases: readonly string[],
): Promise<Seen> {
  const seen = [here]
  for (const database of databases) {
    try {
      seen.push(await connections.useFresh(database, (other) => inspect(other, trace, 'local')))
    } catch (error) {
      // The report is incomplete and says so; removal does not wait for it.
      const why = error instanceof WritError ? (error.detail ?? error.message) : 'unknown error'
      seen.push({ ...nothingLeft, unseen: [`database \`${database}\` could not be looked at: ${why}`] })
    }
  }
  return {
    objects: merged(...seen.map((one) => one.objects)),
    aclChanges: merged(...seen.map((one) => one.aclChanges)),
    securityDefiner: merged(...seen.map((one) => one.securityDefiner)),
    unseen: merged(...seen.map((one) => one.unseen)),
  }
}

/** The lists one after the other, each thing once: shared objects show in every database. */
function merged<T>(...lists: readonly (readonly T[])[]): T[] {
  return [...new Map(lists.flat().map((item) => [JSON.stringify(item), item])).values()]
}

// ---- remove

/** Drops the role. Returns what it owns or is named in, if that forbids it: then it is left without memberships. */
async function remove(
  session: Session,
  context: RevokeContext,
  role: Role,
  owner: Named | undefined,
): Promise<readonly Dependent[]> {
  const { name, config, connections } = context
  const drops = async (): Promise<boolean> => {
    try {
      await session.query(`DROP ROLE ${session.identifier(name)}`)
      return true
    } catch (error) {
      if (sqlState(error) !== '2BP01') throw error // 2BP01: something depends on it
      return false
    }
  }
  if (await drops()) return []
  const depending = await session.query<{ database: string | null; owned: boolean }>(
    `select distinct d.datname::text as database, s.deptype = 'o' as owned
     from pg_shdepend s left join pg_database d on d.oid = s.dbid
     where s.refclassid = 'pg_authid'::regclass and s.refobjid = $1::oid`,
    [role.oid],
  )
  const databases = [...new Set(depending.map((one) => one.database ?? config.database))]
  if (!depending.some((one) => one.owned)) {
    for (const database of databases) await unname(context, database, { name, oid: role.oid }, owner)
    if (await drops()) return []
  }
  await leaveGroups(session, name, role.oid)
  await session.query(`ALTER ROLE ${session.identifier(name)} NOLOGIN PASSWORD NULL`)
  const lists: Dependent[][] = []
  for (const database of databases) {
    lists.push(await connections.useFresh(database, (other) => dependents(other, role.oid)))
  }
  return merged(...lists)
}

/**
 * Takes a role that owns nothing out of privileges and policies. What its owner role gave it can be taken only with
 * that role's privileges; the administrator has both for this one transaction.
 */
async function unname(
  { connections }: RevokeContext,
  database: string,
  role: Named,
  owner: Named | undefined,
): Promise<void> {
  await connections.useFresh(database, async (session) => {
    const modern = await isModern(session)
    const dropped = session.identifier(role.name)
    const given: string[] = []
    for (const { name, oid } of owner === undefined ? [role] : [role, owner]) {
      const [has] = await session.query<{ yes: boolean }>(
        `select pg_has_role(session_user, $1::oid, 'USAGE') as yes`,
        [oid],
      )
      if (has?.yes !== true) given.push(session.identifier(name))
    }
    const [give, take] = modern ? [' WITH INHERIT TRUE, SET FALSE', ' GRANTED BY CURRENT_USER'] : ['', '']
    await session.query(
      [
        // The administrator may have given this one itself, where not everyone may connect.
        `REVOKE CONNECT ON DATABASE ${session.identifier(database)} FROM ${dropped}`,
        ...given.map((one) => `GRANT ${one} TO CURRENT_USER${give}`),
        `DROP OWNED BY ${dropped} RESTRICT`,
        ...given.map((one) => `REVOKE ${one} FROM CURRENT_USER${take}`),
      ].join(';\n'),
    )
  })
}

/** What keeps a role from being dropped; `owned`, or only naming it. */
type Dependent = LeftObject & Readonly<{ owned: boolean }>

async function dependents(session: Session, oid: number): Promise<Dependent[]> {
  return await session.query<Dependent>(
    `select current_database()::text as database, o.type, o.identity as name, r.rolname::text as owner,
       bool_or(d.deptype = 'o') as owned
     from pg_shdepend d join pg_roles r on r.oid = d.refobjid, lateral pg_identify_object(d.classid, d.objid, 0) o
     where d.refclassid = 'pg_authid'::regclass and d.refobjid = $1::oid
       and d.dbid in (0, (select oid from pg_database where datname = current_database())) and o.identity is not null
     group by 2, 3, 4 order by 2, 3 limit 200`,
    [oid],
  )
}

async function isModern(session: Session): Promise<boolean> {
  const [row] = await session.query<{ modern: boolean }>(
    `select current_setting('server_version_num')::int >= 160000 as modern`,
  )
  return row?.modern === true
}

/**
 * Runs `work` as `role` on a fresh connection. The administrator makes itself able to for that long, if it is not:
 * a minimal one may give the roles it works with, but not use them.
 */
async function actAs<T>(
  { connections }: RevokeContext,
  database: string,
  { name, oid }: Named,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  return await connections.useFresh(database, async (session) => {
    const modern = await isModern(session)
    const [may] = await session.query<{ yes: boolean }>(
      `select pg_has_role(session_user, $1::oid, '${modern ? 'SET' : 'MEMBER'}') as yes`,
      [oid],
    )
    const role = session.identifier(name)
    const given = may?.yes !== true
    if (given) {
      await session.query(`GRANT ${role} TO CURRENT_USER${modern ? ' WITH INHERIT FALSE, SET TRUE' : ''}`)
    }
    try {
      await session.query(`SET ROLE ${role}`)
      return await work(session)
    } finally {
      await session.query('RESET ROLE')
      if (given)
        await session.query(`REVOKE ${role} FROM CURRENT_USER${modern ? ' GRANTED BY CURRENT_USER' : ''}`)
    }
  })
}
