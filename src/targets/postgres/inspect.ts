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

/**
 * What `trace` leaves in the connected database. With `shared` also what belongs to the whole server: transactions
 * prepared in any database, and the other databases in which the roles have anything.
 */
export async function inspect(
  session: Session,
  trace: Trace,
  which: 'shared' | 'local',
): Promise<Seen & Readonly<{ prepared: readonly Prepared[]; databases: readonly string[] }>> {
  const shared = which === 'shared'
  const [row] = await session.query<
    Omit<Seen, 'unseen'> & { prepared: readonly Prepared[]; databases: readonly string[] }
  >(
    // Everything an owner role has is found by the index of ownership; only large catalogs notice the difference.
    `with mine (classid, objid, owner, name, made) as materialized (
       select s.classid, s.objid, r.oid, r.rolname::text, ${since('s', '$2')}
       from pg_shdepend s join pg_roles r on r.oid = s.refobjid
       where s.refclassid = 'pg_authid'::regclass and s.deptype = 'o' and s.refobjid = any($1::oid[])
         and (s.dbid = (select oid from pg_database where datname = current_database()) or s.dbid = 0 and ${shared})
     ),
     changed (object, owner, acl) as (
       select 'relation ' || c.oid::regclass, c.relowner, c.relacl from mine m join pg_class c on c.oid = m.objid
         where m.classid = 'pg_class'::regclass and c.relacl is not null and ${since('c', '$2')}
       union all select format('column %s.%I', a.attrelid::regclass, a.attname), m.owner, a.attacl
         from mine m join pg_attribute a on a.attrelid = m.objid
         where m.classid = 'pg_class'::regclass and a.attacl is not null and ${since('a', '$2')}
       union all select 'routine ' || p.oid::regprocedure, p.proowner, p.proacl
         from mine m join pg_proc p on p.oid = m.objid
         where m.classid = 'pg_proc'::regclass and p.proacl is not null and ${since('p', '$2')}
       union all select format('schema %I', n.nspname), n.nspowner, n.nspacl
         from mine m join pg_namespace n on n.oid = m.objid
         where m.classid = 'pg_namespace'::regclass and n.nspacl is not null and ${since('n', '$2')}
       union all select 'type ' || t.oid::regtype, t.typowner, t.typacl from mine m join pg_type t on t.oid = m.objid
         where m.classid = 'pg_type'::regclass and t.typacl is not null and ${since('t', '$2')}
       union all select format('database %I', d.datname), d.datdba, d.datacl
         from mine m join pg_database d on d.oid = m.objid
         where m.classid = 'pg_database'::regclass and d.datacl is not null and ${since('d', '$2')}
       union all select format('foreign server %I', s.srvname), s.srvowner, s.srvacl
         from mine m join pg_foreign_server s on s.oid = m.objid
         where m.classid = 'pg_foreign_server'::regclass and s.srvacl is not null and ${since('s', '$2')}
       union all select format('large object %s', l.oid), l.lomowner, l.lomacl
         from mine m join pg_largeobject_metadata l on l.oid = m.objid
         where m.classid = 'pg_largeobject'::regclass and l.lomacl is not null and ${since('l', '$2')}
       union all select format('default privileges of %I on %s', r.rolname, case a.defaclobjtype
             when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'routines' when 'T' then 'types'
             when 'n' then 'schemas' else 'objects' end), a.defaclrole, a.defaclacl
         from pg_default_acl a join pg_roles r on r.oid = a.defaclrole
         where a.defaclrole = any($1::oid[]) and ${since('a', '$2')}
     ),
     given (object, grantee, privilege) as (
       select c.object, case when e.grantee = 0 then 'public' else coalesce(r.rolname::text, e.grantee::text) end,
         e.privilege_type
       from changed c, lateral aclexplode(c.acl) e left join pg_roles r on r.oid = e.grantee
       where e.grantee <> c.owner
       union select format('role %I', granted.rolname), member.rolname::text, 'MEMBER'
       from pg_auth_members m join pg_roles granted on granted.oid = m.roleid
         join pg_roles member on member.oid = m.member
       where ${shared} and m.grantor = any($1::oid[]) and ${since('m', '$2')}
     )
     select
       (select coalesce(json_agg(one), '[]') from (
         select current_database()::text as database, o.type, o.identity as name, m.name as owner
         from mine m, lateral pg_identify_object(m.classid, m.objid, 0) o
         where m.made and o.identity is not null order by o.type, o.identity limit $3) one) as objects,
       (select coalesce(json_agg(one), '[]') from (
         select current_database()::text as database, o.type, o.identity as name, m.name as owner
         from mine m join pg_proc p on p.oid = m.objid, lateral pg_identify_object(m.classid, m.objid, 0) o
         where m.classid = 'pg_proc'::regclass and p.prosecdef and ${since('p', '$2')}
         order by o.identity limit $3) one) as "securityDefiner",
       (select coalesce(json_agg(one), '[]') from (
         select current_database()::text as database, object, grantee, json_agg(distinct privilege) as privileges
         from given group by object, grantee order by object, grantee limit $3) one) as "aclChanges",
       (select coalesce(json_agg(one), '[]') from (
         select p.gid, d.datname::text as database, r.rolname::text as owner, r.oid::int8 as owner_oid
         from pg_prepared_xact() p join pg_roles r on r.oid = p.ownerid join pg_database d on d.oid = p.dbid
         where ${shared} and r.oid = any($1::oid[]) and age(p.transaction) between 0 and age($2::text::xid)
         order by p.gid) one) as prepared,
       (select coalesce(json_agg(datname::text order by datname), '[]') from pg_database
         where ${shared} and datname <> current_database() and oid in (select dbid from pg_shdepend
           where refclassid = 'pg_authid'::regclass and refobjid = any($1::oid[]))) as databases`,
    [trace.roles, trace.since, MOST + 1],
  )
  if (row === undefined) throw new TypeError('the server returned no row')
  const unseen: string[] = []
  const cut = <T>(kind: string, list: readonly T[]): readonly T[] => {
    if (list.length > MOST) unseen.push(`more than ${MOST} ${kind} changed; the first ${MOST} are listed`)
    return list.slice(0, MOST)
  }
  return {
    objects: cut('objects', row.objects),
    securityDefiner: cut('functions', row.securityDefiner),
    aclChanges: cut('privileges', row.aclChanges),
    unseen,
    prepared: row.prepared,
    databases: row.databases,
  }
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
