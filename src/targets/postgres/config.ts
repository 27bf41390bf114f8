/**
 * What an operator configures of a PostgreSQL target, what they must know of it, and the SQL that prepares it.
 *
 * @module
 */
import { WritError } from '../../model/errors.ts'
import { Secret } from '../../model/secret.ts'

export type Tls = Readonly<{
  /** `require` encrypts without knowing whom it talks to; `verify-full` also checks certificate and host name. */
  mode: 'disable' | 'require' | 'verify-full'
  /** Path of the certificate authority in PEM; the system's authorities if left out. */
  caFile?: string
}>

type Common = Readonly<{
  id: string
  kind: 'postgres'
  /** A host name, an address, or the folder of a Unix socket. */
  host: string
  port: number
  database: string
  /** The role Writ works as: minimal, see `adminSql`. */
  admin: Readonly<{ user: string; password?: Secret<string> }>
  tls: Tls
  /** What a request may ask for, and the role whose authority that is, e.g. `{ migrate: 'orders_owner' }`. */
  roles: Readonly<Record<string, string>>
  /** Connections that Writ itself opens at most. Default 8. */
  poolSize: number
}>

/** An ephemeral login for each credential, that may `SET ROLE` to the owner role. The default. */
export type EphemeralConfig = Common &
  Readonly<{
    shape: 'ephemeral'
    /** `login`: sessions start as the owner role, so that any tool works. `manual`: the tool says `SET ROLE`. */
    setRole: 'login' | 'manual'
    /** Sessions that one credential may have open at once. Default 10. */
    connectionLimit: number
  }>

/** An existing service account that may `SET ROLE` to the owner role while a grant lives. */
export type LiftConfig = Common &
  Readonly<{
    shape: 'lift'
    account: string
    /** Whether the account has the owner role's privileges without `SET ROLE`; what it creates is then its own. */
    inherit: boolean
  }>

export type PostgresConfig = EphemeralConfig | LiftConfig

const members = [
  'id', 'kind', 'url', 'host', 'port', 'database', 'admin', 'tls', 'shape', 'roles', 'setRole', 'account', 'inherit',
  'connectionLimit', 'poolSize',
] // prettier-ignore

const invalid = (id: string, problem: string, hint?: string): WritError =>
  new WritError('ERR_CONFIG_INVALID', `target \`${id}\`: ${problem}`, hint === undefined ? {} : { hint })

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Secret)

/**
 * The configuration of a target from untrusted input, every default filled in.
 *
 * Host, port, database and administrator may come as one `url` (`postgresql://writ_admin:…@host:5432/orders`). The
 * administrator's password may be in `admin.password`, in the URL, or given separately as `password` where it is kept
 * apart from the rest. TLS defaults to `disable` on this machine and to `verify-full` everywhere else.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID`, naming the member and the mend, never a value that may be secret.
 */
export function parsePostgresConfig(input: unknown, password?: Secret<string>): PostgresConfig {
  if (!isRecord(input)) throw invalid('?', 'must be an object')
  const id =
    typeof input['id'] === 'string' && /^[a-z0-9][a-z0-9._-]{0,62}$/.test(input['id'])
      ? input['id']
      : undefined
  if (id === undefined)
    throw invalid('?', '`id` must be lower-case letters, digits, `.`, `_` or `-`, at most 63')
  const unknown = Object.keys(input).find((member) => !members.includes(member))
  if (unknown !== undefined)
    throw invalid(id, `unknown member \`${unknown}\``, `known are ${members.join(', ')}`)

  const text = (value: unknown, member: string): string => {
    if (typeof value !== 'string' || value === '')
      throw invalid(id, `\`${member}\` must be a string that is not empty`)
    if (value.includes('\0') || !value.isWellFormed()) throw invalid(id, `\`${member}\` is not text`)
    return value
  }
  // PostgreSQL cuts a longer name silently, and would then speak of another role.
  const name = (value: unknown, member: string): string => {
    const given = text(value, member)
    if (Buffer.byteLength(given) > 63)
      throw invalid(id, `\`${member}\` is longer than the 63 bytes of a PostgreSQL name`)
    return given
  }
  const whole = (value: unknown, member: string, least: number, most: number, otherwise: number): number => {
    if (value === undefined) return otherwise
    if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
      throw invalid(id, `\`${member}\` must be a whole number from ${least} to ${most}`)
    }
    return value
  }
  const choice = <T extends string>(value: unknown, member: string, choices: readonly [T, ...T[]]): T => {
    if (value === undefined) return choices[0]
    const chosen = choices.find((one) => one === value)
    if (chosen === undefined)
      throw invalid(id, `\`${member}\` must be one of ${choices.map((c) => `\`${c}\``).join(', ')}`)
    return chosen
  }

  if (input['kind'] !== undefined && input['kind'] !== 'postgres')
    throw invalid(id, '`kind` must be `postgres`')
  const fromUrl = input['url'] === undefined ? {} : parseUrl(id, text(input['url'], 'url'))
  const given = isRecord(input['admin']) ? input['admin'] : {}
  if (input['admin'] !== undefined && !isRecord(input['admin']))
    throw invalid(id, '`admin` must be `{ user, password }`')
  const host = text(input['host'] ?? fromUrl.host ?? 'localhost', 'host')
  const user = name(given['user'] ?? fromUrl.user, 'admin.user')
  const adminPassword =
    password ??
    (given['password'] instanceof Secret
      ? (given['password'] as Secret<string>)
      : given['password'] !== undefined
        ? new Secret(text(given['password'], 'admin.password'))
        : fromUrl.password)

  const rawRoles = input['roles']
  if (!isRecord(rawRoles) || Object.keys(rawRoles).length === 0) {
    throw invalid(
      id,
      '`roles` must map at least one name to a PostgreSQL role',
      'e.g. `roles: { migrate: orders_owner }`',
    )
  }
  // No prototype: a role asked for as `constructor` must not be found.
  const roles: Record<string, string> = Object.create(null) as Record<string, string>
  for (const [key, value] of Object.entries(rawRoles)) roles[text(key, 'roles')] = name(value, `roles.${key}`)

  const rawTls = input['tls']
  if (rawTls !== undefined && !isRecord(rawTls)) throw invalid(id, '`tls` must be `{ mode, caFile }`')
  const here = host.startsWith('/') || ['localhost', '127.0.0.1', '::1'].includes(host)
  const wanted = rawTls?.['mode'] ?? fromUrl.sslmode
  const tls: Tls = {
    mode:
      wanted === undefined
        ? here
          ? 'disable'
          : 'verify-full'
        : choice(wanted, 'tls.mode', ['verify-full', 'require', 'disable']),
    ...(rawTls?.['caFile'] === undefined ? {} : { caFile: text(rawTls['caFile'], 'tls.caFile') }),
  }

  const common: Common = {
    id,
    kind: 'postgres',
    host,
    port: whole(input['port'] ?? fromUrl.port, 'port', 1, 65_535, 5432),
    database: name(input['database'] ?? fromUrl.database, 'database'),
    admin: { user, ...(adminPassword === undefined ? {} : { password: adminPassword }) },
    tls,
    roles,
    poolSize: whole(input['poolSize'], 'poolSize', 1, 64, 8),
  }
  const belongs = (member: string, shape: string): void => {
    if (input[member] !== undefined) throw invalid(id, `\`${member}\` belongs to shape \`${shape}\``)
  }
  if (choice(input['shape'], 'shape', ['ephemeral', 'lift']) === 'ephemeral') {
    belongs('account', 'lift')
    belongs('inherit', 'lift')
    return {
      ...common,
      shape: 'ephemeral',
      setRole: choice(input['setRole'], 'setRole', ['login', 'manual']),
      connectionLimit: whole(input['connectionLimit'], 'connectionLimit', 1, 1000, 10),
    }
  }
  belongs('setRole', 'ephemeral')
  belongs('connectionLimit', 'ephemeral')
  if (input['inherit'] !== undefined && typeof input['inherit'] !== 'boolean') {
    throw invalid(id, '`inherit` must be true or false')
  }
  const account = name(input['account'], 'account')
  if (account === user) throw invalid(id, '`account` must not be the administrator')
  return { ...common, shape: 'lift', account, inherit: input['inherit'] ?? false }
}

function parseUrl(
  id: string,
  text: string,
): {
  host?: string
  port?: number
  database?: string
  user?: string
  password?: Secret<string>
  sslmode?: string
} {
  let url: URL
  try {
    url = new URL(text)
    if (url.protocol !== 'postgresql:' && url.protocol !== 'postgres:')
      throw new TypeError('not a PostgreSQL address')
    const decode = (part: string): string => decodeURIComponent(part)
    const sslmode = url.searchParams.get('sslmode')
    return {
      ...(url.hostname === '' ? {} : { host: decode(url.hostname.replaceAll(/^\[|\]$/g, '')) }),
      ...(url.port === '' ? {} : { port: Number(url.port) }),
      ...(url.pathname.length < 2 ? {} : { database: decode(url.pathname.slice(1)) }),
      ...(url.username === '' ? {} : { user: decode(url.username) }),
      ...(url.password === '' ? {} : { password: new Secret(decode(url.password)) }),
      ...(sslmode === null ? {} : { sslmode }),
    }
  } catch {
    // The cause would repeat the address, and with it the password.
    throw invalid(
      id,
      '`url` is not a PostgreSQL address',
      'e.g. `postgresql://writ_admin:…@localhost:5432/orders`',
    )
  }
}

/** What the operator must know when this target is configured. */
export function postgresNotices(config: PostgresConfig): readonly string[] {
  if (config.shape === 'ephemeral') {
    return [
      'a session can set its own timeouts away: it ends because Writ cuts it, not because they elapse',
      'what is created after `SET ROLE NONE` belongs to the ephemeral role and holds up its removal',
    ]
  }
  return [
    `when the last grant on \`${config.account}\` ends, all sessions of that account are cut, also those of other work`,
    'a lifted account has no end of its own at the database: while Writ is down it stays lifted',
    'while grants on the account overlap, a session opened under one goes on under the other',
    ...(config.inherit
      ? [`what \`${config.account}\` creates without \`SET ROLE\` belongs to it, also afterwards`]
      : []),
  ]
}

const identifier = (name: string): string => `"${name.replaceAll('"', '""')}"`

/**
 * The SQL by which a superuser prepares the administrator role: all it needs and no more. Version 16 and later give
 * it no use of the owner roles themselves; before that PostgreSQL cannot tell giving a role from using it.
 *
 * The password is left to the operator (`\password` in psql computes the verifier on the client).
 */
export function adminSql(config: PostgresConfig, serverVersion = 160_000): string {
  const modern = serverVersion >= 160_000
  const admin = identifier(config.admin.user)
  const lines = [
    `CREATE ROLE ${admin} LOGIN CREATEROLE;`,
    `GRANT pg_signal_backend TO ${admin};`,
    ...[...new Set(Object.values(config.roles))].map((owner) =>
      modern
        ? `GRANT ${identifier(owner)} TO ${admin} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE;`
        : `GRANT ${identifier(owner)} TO ${admin} WITH ADMIN OPTION;`,
    ),
  ]
  if (config.shape === 'lift') {
    const account = identifier(config.account)
    // Only as the account itself can Writ tell the account's half-open connections from everyone else's.
    lines.push(
      modern ? `GRANT ${account} TO ${admin} WITH INHERIT FALSE, SET TRUE;` : `GRANT ${account} TO ${admin};`,
    )
  }
  return lines.join('\n')
}
