/**
 * Names and marks at the target: decided from ids alone, so that they are known before anything exists.
 *
 * @module
 */
import { createHash } from 'node:crypto'

const digest = (text: string, length: number): string =>
  createHash('sha256').update(text).digest('hex').slice(0, length)

/** How every role of this installation begins, e.g. `writ_3f9c0a1b_`. */
export function rolePrefix(installation: string): string {
  return `writ_${digest(installation, 8)}_`
}

/**
 * The role of a credential, e.g. `writ_3f9c0a1b_cred_01k2m_5be0c1a2f3d4e5f60718`: a readable part of the id, then 80
 * bits of its digest, so that two ids that read alike never share a role. At most 61 bytes of `[a-z0-9_]`, below
 * the 63 at which PostgreSQL would cut a name silently.
 */
export function roleName(installation: string, credentialId: string): string {
  const readable = credentialId
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '_')
    .slice(0, 26)
  return `${rolePrefix(installation)}${readable}_${digest(`${installation}\n${credentialId}`, 20)}`
}

/** The advisory lock that an issue of `name` holds: 64 bits, as the decimal text of a signed integer. */
export function issueLock(name: string): string {
  return createHash('sha256').update(`writ issue\n${name}`).digest().readBigInt64BE().toString()
}

/** `application_name` of its sessions, e.g. `writ grant_01k2m`: what PostgreSQL would keep of it. */
export function applicationName(label: string): string {
  return `writ ${label}`.replaceAll(/[^ -~]/g, '?').slice(0, 63)
}

/** What the comment on a role says of it; enough to take back a role of which no row is left. */
export type Mark = Readonly<{
  writ: string
  credential: string
  shape: string
  owner: string
  account?: string
  endsAt: string
}>

export function encodeMark(mark: Mark): string {
  return JSON.stringify(mark)
}

/** The mark in a comment; `undefined` for a comment that somebody else wrote. */
export function parseMark(comment: string | null): Mark | undefined {
  if (comment === null) return undefined
  let value: unknown
  try {
    value = JSON.parse(comment)
  } catch {
    return undefined // not JSON: not ours
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { writ, credential, shape, owner, account, endsAt } = value as Record<string, unknown>
  if (typeof writ !== 'string' || typeof credential !== 'string' || typeof shape !== 'string')
    return undefined
  if (typeof owner !== 'string' || typeof endsAt !== 'string') return undefined
  return { writ, credential, shape, owner, endsAt, ...(typeof account === 'string' ? { account } : {}) }
}
