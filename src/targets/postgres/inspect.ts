/**
 * What a credential leaves behind, read from the catalogs: rows that were written since the transaction that issued
 * it. Works for every database of the server and needs nothing remembered here.
 *
 * @module
 */
import type { AclChange, LeftObject } from '../port.ts'
import type { Session } from './connection.ts'

/** More of a kind than this is cut, and said. */
const MOST = 200

/** Whose traces are sought, since when: `since` is the transaction id of the issue. */
export type Trace = Readonly<{ roles: readonly number[]; since: string }>

export type Seen = Readonly<{
  objects: readonly LeftObject[]
  aclChanges: readonly AclChange[]
  securityDefiner: readonly LeftObject[]
  unseen: readonly string[]
}>

/** A prepared transaction since then; `mine` if its owner is `subject`. */
export type Prepared = Readonly<{ gid: string; database: string; owner: string; owner_oid: number }>

// `age` counts transactions backwards from now, so that comparing two survives the wraparound of their ids; rows
// older than half the id space come out negative.
const since = (row: string, parameter: string): string =>
  `age(${row}.xmin) between 0 and age(${parameter}::text::xid)`

/** Databases, other than the connected one, in which `roles` own anything or are mentioned in privileges. */
export async function otherDatabases(session: Session, roles: readonly number[]): Promise<string[]> {
  const rows = await session.query<{ datname: string }>(
    `select datname::text from pg_database
     where datname <> current_database() and oid in (select dbid from pg_shdepend
       where refclassid = 'pg_authid'::regclass and refobjid = any($1::oid[]))
     order by datname`,
    [roles],
  )
  return rows.map((row) => row.datname)
}

/** What `trace` leaves in the connected database; with `shared`, also what belongs to the whole server. */
export async function inspect(session: Session, trace: Trace, which: 'shared' | 'local'): Promise<Seen> {
  const shared = which === 'shared'
  const parameters = [trace.roles, trace.since, MOST + 1]
  const objects = await session.query<LeftObject>(
    `select current_database()::text as database, o.type, o.identity as name, r.rolname::text as owner
     from pg_shdepend d join pg_roles r on r.oid = d.refobjid,
       lateral pg_identify_object(d.classid, d.objid, 0) o
     where d.refclassid = 'pg_authid'::regclass and d.deptype = 'o' and d.refobjid = any($1::oid[])
       and (d.dbid = (select oid from pg_database where datname = current_database()) or d.dbid = 0 and ${shared})
       and ${since('d', '$2')} and o.identity is not null
     order by o.type, o.identity limit $3`,
    parameters,
  )
  const securityDefiner = await session.query<LeftObject>(
    `select current_database()::text as database, o.type, o.identity as name, r.rolname::text as owner
     from pg_proc p join pg_roles r on r.oid = p.proowner,
       lateral pg_identify_object('pg_proc'::regclass, p.oid, 0) o
     where p.prosecdef and p.proowner = any($1::oid[]) and ${since('p', '$2')}
     order by o.identity limit $3`,
    parameters,
  )
  const aclChanges = await session.query<AclChange>(
    `with changed (object, owner, acl) as (
       select 'relation ' || c.oid::regclass, c.relowner, c.relacl from pg_class c where ${since('c', '$2')}
       union all select format('column %s.%I', c.oid::regclass, a.attname), c.relowner, a.attacl
         from pg_attribute a join pg_class c on c.oid = a.attrelid where a.attacl is not null and ${since('a', '$2')}
       union all select 'routine ' || p.oid::regprocedure, p.proowner, p.proacl from pg_proc p where ${since('p', '$2')}
       union all select format('schema %I', n.nspname), n.nspowner, n.nspacl from pg_namespace n where ${since('n', '$2')}
       union all select 'type ' || t.oid::regtype, t.typowner, t.typacl from pg_type t where ${since('t', '$2')}
       union all select format('database %I', d.datname), d.datdba, d.datacl from pg_database d
         where ${shared} and ${since('d', '$2')}
       union all select format('foreign server %I', s.srvname), s.srvowner, s.srvacl
         from pg_foreign_server s where ${since('s', '$2')}
       union all select format('large object %s', l.oid), l.lomowner, l.lomacl
         from pg_largeobject_metadata l where ${since('l', '$2')}
       union all select format('default privileges of %I on %s', r.rolname, case a.defaclobjtype
             when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'routines' when 'T' then 'types'
             when 'n' then 'schemas' else 'objects' end), a.defaclrole, a.defaclacl
         from pg_default_acl a join pg_roles r on r.oid = a.defaclrole where ${since('a', '$2')}
     ),
     given (object, grantee, privilege) as (
       select c.object, case when e.grantee = 0 then 'public' else coalesce(r.rolname::text, e.grantee::text) end,
         e.privilege_type
       from changed c, lateral aclexplode(c.acl) e left join pg_roles r on r.oid = e.grantee
       where c.owner = any($1::oid[]) and e.grantee <> c.owner
       union select format('role %I', granted.rolname), member.rolname::text, 'MEMBER'
       from pg_auth_members m join pg_roles granted on granted.oid = m.roleid join pg_roles member on member.oid = m.member
       where ${shared} and m.grantor = any($1::oid[]) and ${since('m', '$2')}
     )
     select current_database()::text as database, object, grantee, json_agg(distinct privilege) as privileges
     from given group by object, grantee order by object, grantee limit $3`,
    parameters,
  )
  const unseen: string[] = []
  const cut = <T>(kind: string, list: readonly T[]): readonly T[] => {
    if (list.length > MOST) unseen.push(`more than ${MOST} ${kind} changed; the first ${MOST} are listed`)
    return list.slice(0, MOST)
  }
  return {
    objects: cut('objects', objects),
    securityDefiner: cut('functions', securityDefiner),
    aclChanges: cut('privileges', aclChanges),
    unseen,
  }
}

/** Transactions prepared since then, in any database, by one of `trace.roles`. */
export async function preparedTransactions(session: Session, trace: Trace): Promise<Prepared[]> {
  return await session.query<Prepared>(
    `select p.gid, p.database::text, r.rolname::text as owner, r.oid as owner_oid
     from pg_prepared_xacts p join pg_roles r on r.rolname = p.owner
     where r.oid = any($1::oid[]) and age(p.transaction) between 0 and age($2::text::xid) order by p.gid`,
    [trace.roles, trace.since],
  )
}

/**
 * Whether nobody else could have done what was done as `owner`: no other login role reaches it. Superusers, who need
 * no membership, and the administrator, who only gives it, are left out.
 */
export async function isSoleUser(session: Session, owner: number, subject: number): Promise<boolean> {
  const [row] = await session.query<{ others: boolean }>(
    `select exists (select from pg_roles r where r.rolcanlogin and not r.rolsuper and r.oid <> $2::oid
       and r.rolname <> session_user and pg_has_role(r.oid, $1::oid, 'MEMBER')) as others`,
    [owner, subject],
  )
  return row?.others === false
}
