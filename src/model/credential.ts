/**
 * Credentials: planned → live → revoking → absent | unresolved. The row is written before the thing exists (law 8).
 *
 * @module
 */
import type { Json } from './canonical.ts'
import type { Instant, Millis } from './time.ts'

export type CredentialState = 'planned' | 'live' | 'revoking' | 'absent' | 'unresolved'

export type Credential = Readonly<{
  id: string
  state: CredentialState
  grant: string
  task?: string
  target: string
  /** What the target driver decided beforehand: enough to revoke, never a secret. */
  planned: Json
  plannedAt: Instant
  endsAt: Instant
  liveAt?: Instant
  revokingAt?: Instant
  absentAt?: Instant
  tries: number
  nextTryAt?: Instant
  /** Why it is unresolved, in one sentence. */
  problem?: string
  /** What the target reported: sessions cut, objects left behind. */
  report?: Json
}>

const RETRY_FIRST: Millis = 500
const RETRY_MOST: Millis = 60_000

export function credentialLive(credential: Credential, now: Instant): Credential {
  return credential.state === 'planned' ? { ...credential, state: 'live', liveAt: now } : credential
}

/** Starts taking back; also from `planned`, because the thing may exist although nobody heard of it. */
export function credentialRevoking(credential: Credential, now: Instant): Credential {
  return credential.state === 'planned' || credential.state === 'live'
    ? { ...credential, state: 'revoking', revokingAt: now }
    : credential
}

export function credentialAbsent(credential: Credential, now: Instant, report: Json): Credential {
  if (credential.state !== 'revoking' && credential.state !== 'unresolved') return credential
  const { problem: _problem, nextTryAt: _next, ...rest } = credential
  return { ...rest, state: 'absent', absentAt: now, report, tries: credential.tries + 1 }
}

/** A failed try: unresolved, retried for ever with growing distance, `jitter` in [0, 1). */
export function credentialUnresolved(
  credential: Credential,
  now: Instant,
  problem: string,
  jitter: number,
): Credential {
  if (credential.state === 'absent') return credential
  const wait = Math.min(RETRY_MOST, RETRY_FIRST * 2 ** Math.min(credential.tries, 16))
  return {
    ...credential,
    state: 'unresolved',
    problem,
    tries: credential.tries + 1,
    nextTryAt: now + Math.round(wait * (0.5 + jitter)),
  }
}

/** The names under which sessions of it are seen at its target: its own, and that of an account that it lifts. */
export function namesAtTarget(credential: Credential): readonly string[] {
  const { name, shape } = (credential.planned ?? {}) as { name?: Json; shape?: { account?: Json } }
  return [name, shape?.account].filter((one) => typeof one === 'string')
}

export const isAtTarget = (credential: Credential): boolean => credential.state !== 'absent'
