/**
 * The PostgreSQL target.
 *
 * @module
 */
import { WritError } from '../../model/errors.ts'
import type { Instant } from '../../model/time.ts'
import type { CredentialRequest, IssuedSecret, PlannedCredential, RevokeReport, Target } from '../port.ts'
import { check } from './check.ts'
import type { PostgresConfig } from './config.ts'
import { postgresNotices } from './config.ts'
import { openConnections } from './connection.ts'
import type { Shape } from './issue.ts'
import { issue } from './issue.ts'
import { applicationName, parseMark, roleName, rolePrefix } from './names.ts'
import { revoke } from './revoke.ts'

export type PostgresDependencies = Readonly<{
  /** The installation's id: part of every name and mark. */
  installation: string
  clock: () => Instant
  randomBytes: (size: number) => Uint8Array
}>

/** A driver for `config`; connects on first use. */
export function postgresTarget(config: PostgresConfig, dependencies: PostgresDependencies): Target {
  const { installation, clock, randomBytes } = dependencies
  const connections = openConnections(config)
  const oneAtATime = byName()
  // Ids of roles this process issued: finds sessions of a role that somebody else dropped.
  const oids = new Map<string, number>()

  return {
    kind: 'postgres',
    id: config.id,
    notices: postgresNotices(config),

    check: () => check(config, connections, clock),

    plan: (credentialId, request) => ({
      id: credentialId,
      target: config.id,
      name: roleName(installation, credentialId),
      shape: shapeOf(config, credentialId, request),
    }),

    issue: (planned: PlannedCredential, endsAt: Instant): Promise<IssuedSecret> =>
      oneAtATime(planned.name, () =>
        connections.use(async (session) => {
          const shape = parseShape(planned)
          const { secret, oid } = await issue(
            session,
            { config, installation, now: clock(), randomBytes },
            planned,
            shape,
            endsAt,
          )
          if (oid !== undefined && shape.shape === 'ephemeral') oids.set(planned.name, oid)
          return secret
        }),
      ),

    revoke: (credential): Promise<RevokeReport> =>
      oneAtATime(credential.name, async () => {
        const { name } = credential
        if (!name.startsWith(rolePrefix(installation))) {
          throw new WritError('ERR_INPUT_INVALID', `\`${name}\` was not issued by this installation`)
        }
        const planned = credential.shape === undefined ? undefined : parseShape({ shape: credential.shape })
        const oid = oids.get(name)
        const known = {
          ...(planned === undefined
            ? {}
            : {
                shape: planned.shape,
                owner: planned.owner,
                applicationName: applicationName(planned.label),
              }),
          ...(planned?.shape === 'lift' ? { account: planned.account } : {}),
          ...(oid === undefined ? {} : { oid }),
        }
        const report = await connections.useAnywhere((session, database) =>
          revoke(session, { config: { ...config, database }, connections, clock, name, known }),
        )
        if (report.absent) oids.delete(name)
        return report
      }),

    list: () =>
      connections.useAnywhere(async (session) => {
        const rows = await session.query<{ rolname: string; comment: string | null }>(
          `select r.rolname::text, d.description as comment from pg_roles r left join pg_shdescription d
             on d.objoid = r.oid and d.classoid = 'pg_authid'::regclass
           where starts_with(r.rolname::text, $1) order by r.rolname`,
          [rolePrefix(installation)],
        )
        return rows
          .filter(({ comment }) => {
            const mark = parseMark(comment)
            return mark === undefined || mark.writ === installation
          })
          .map((row) => row.rolname)
      }),

    carries: (name) => name.startsWith(rolePrefix(installation)),

    close: () => connections.close(),
  }
}

function shapeOf(
  config: PostgresConfig,
  credentialId: string,
  { role, label }: CredentialRequest,
): PlannedCredential['shape'] {
  const owner = Object.hasOwn(config.roles, role) ? config.roles[role] : undefined
  if (owner === undefined) {
    throw new WritError('ERR_INPUT_INVALID', `target \`${config.id}\` has no role \`${role}\``, {
      hint: `it has ${Object.keys(config.roles)
        .map((one) => `\`${one}\``)
        .join(', ')}`,
    })
  }
  const shape: Shape =
    config.shape === 'ephemeral'
      ? { shape: 'ephemeral', owner, label: label ?? credentialId, setRole: config.setRole }
      : {
          shape: 'lift',
          owner,
          label: label ?? credentialId,
          account: config.account,
          inherit: config.inherit,
        }
  return shape
}

/** The shape of a plan that came back from the store. */
function parseShape({ shape: given }: Pick<PlannedCredential, 'shape'>): Shape {
  const { shape, owner, label, setRole, account, inherit } = given
  if (typeof owner === 'string' && typeof label === 'string') {
    if (shape === 'ephemeral' && (setRole === 'login' || setRole === 'manual'))
      return { shape, owner, label, setRole }
    if (shape === 'lift' && typeof account === 'string' && typeof inherit === 'boolean') {
      return { shape, owner, label, account, inherit }
    }
  }
  throw new TypeError('not a plan of this driver')
}

/** One call at a time per name: a revocation waits for the issue that is under way, and then finds what it made. */
function byName(): <T>(name: string, work: () => Promise<T>) => Promise<T> {
  const last = new Map<string, Promise<unknown>>()
  return async (name, work) => {
    const before = last.get(name)
    const turn = (async () => {
      await before?.catch(() => {}) // its caller hears of that
      return await work()
    })()
    last.set(name, turn)
    try {
      return await turn
    } finally {
      if (last.get(name) === turn) last.delete(name)
    }
  }
}
