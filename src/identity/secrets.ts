/**
 * Secrets that Writ hands out to its own callers: 256 random bits with a prefix that secret scanners know, kept as
 * their SHA-256 only. So many bits need no slow hash, and a lookup by digest has nothing to compare in time.
 *
 * @module
 */
import { hash } from 'node:crypto'
import { Secret } from '../model/secret.ts'

export const KEY_PREFIX = 'writ_key_'
export const SESSION_PREFIX = 'writ_sess_'

/** Bits of every secret, as bytes. */
const BYTES = 32

export type Prefix = typeof KEY_PREFIX | typeof SESSION_PREFIX

/** A new secret, e.g. `writ_key_…` with 43 base64url characters. `random` gives that many bytes. */
export function newSecret(prefix: Prefix, random: (bytes: number) => Uint8Array): Secret<string> {
  return new Secret(prefix + Buffer.from(random(BYTES)).toString('base64url'))
}

/** The digest under which a secret is kept: lowercase hex SHA-256 of the whole text, prefix included. */
export function secretDigest(text: string): string {
  return hash('sha256', text, 'hex')
}
