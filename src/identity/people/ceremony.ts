/**
 * What a passkey signs. A challenge is the digest of what it is for: the purpose, the installation, the statement that was
 * shown, and a nonce of ours that says when it was given out and to whom. Nothing is stored until somebody answers (B23).
 *
 * @module
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Instant, Millis } from '../../model/time.ts'
import { MINUTE } from '../../model/time.ts'
import { sha256 } from '../../store/hash.ts'

/** How long an answer may take, and how long what it proves is good. */
export const CEREMONY_MOST: Millis = 5 * MINUTE

/**
 * `signin`: whoever it is; `register` and `manage`: one's own passkeys; `approve`: one request; `prove`: the evidence `reauth`
 * for one statement.
 */
export type Purpose = 'signin' | 'register' | 'manage' | 'approve' | 'prove'

/** What is proved. `digest` is of the statement that is shown; `bound` are session, person and what else must be the same. */
export type Ceremony = Readonly<{ purpose: Purpose; digest: string; bound: readonly string[] }>

/** What signs the nonces, and what the challenges of no other installation are. */
export type CeremonyKey = Readonly<{ installation: string; key: Uint8Array }>

/** A nonce for `ceremony`, given out at `now`; `random` are 16 bytes. */
export function newNonce(of: CeremonyKey, ceremony: Ceremony, now: Instant, random: Uint8Array): string {
  const text = `${now.toString(36)}.${Buffer.from(random).toString('base64url')}`
  return `${text}.${seal(of, ceremony, text)}`
}

/** When what was given out for this very `ceremony` ends; nothing if it was not, or has. */
export function nonceEnd(
  of: CeremonyKey,
  ceremony: Ceremony,
  nonce: string,
  now: Instant,
): Instant | undefined {
  const [, at = '', random = '', mac = ''] = /^([0-9a-z]{1,11})\.([\w-]{22})\.([\w-]{43})$/.exec(nonce) ?? []
  const wanted = Buffer.from(seal(of, ceremony, `${at}.${random}`))
  const given = Buffer.from(mac)
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return undefined
  const endsAt = Number.parseInt(at, 36) + CEREMONY_MOST
  return now < endsAt && now >= endsAt - CEREMONY_MOST ? endsAt : undefined
}

/** The 32 bytes that the passkey signs over. */
export function challengeOf(
  { installation }: CeremonyKey,
  { purpose, digest }: Ceremony,
  nonce: string,
): Uint8Array {
  return sha256(JSON.stringify(['writ/passkey', purpose, installation, digest, nonce]))
}

function seal(
  { installation, key }: CeremonyKey,
  { purpose, digest, bound }: Ceremony,
  text: string,
): string {
  return createHmac('sha256', key)
    .update(JSON.stringify(['writ/passkey-nonce', purpose, installation, digest, bound, text]))
    .digest('base64url')
}
