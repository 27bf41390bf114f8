/**
 * What is bound by value: denials and approvals as signed artifacts that a caller carries and nobody can change. The
 * codec that gives them their form is the profile's (`wire/arap`); here is what they say.
 *
 * @module
 */
import type { Json } from './canonical.ts'
import type { Tuple } from './attempt.ts'
import type { Instant, Millis } from './time.ts'
import { DAY } from './time.ts'

/** No artifact is good for longer: so long a retired key stays published. */
export const ARTIFACT_MOST: Millis = 30 * DAY

/** A denial that may be asked about until `endsAt`. */
export type SealedDenial = Readonly<{
  /** Of the artifact itself: it makes one request at most. */
  id: string
  evaluation: string
  at: Instant
  endsAt: Instant
  tuple: Tuple
  members: readonly string[]
}>

/** An approval: of one exact attempt (`tuple` and `members`), or of a whole task. */
export type SealedApproval = Readonly<{
  approval: string
  request: string
  evaluation: string
  at: Instant
  until: Instant
  tuple: Tuple
  members: readonly string[]
  /** With a task, everything in its scope is covered; otherwise the tuple alone. */
  task?: string
}>

/** What a denial proves once it has been verified. */
export type ProvenDenial = Readonly<{ id: string; evaluation?: string; endsAt: Instant }>

/** Why an artifact counts for nothing: not ours or not whole, about something else, too old. */
export type Refused = Readonly<{ refused: 'unverifiable' | 'mismatch' | 'expired' }>

/** Makes and verifies artifacts; a verified one has passed signature, type, issuer, audience and time. */
export type Artifacts = Readonly<{
  sealDenial(denial: SealedDenial): string
  /**
   * `sent` is what was submitted with it: `tuple(members)` is the submission cut to those context members, `endsAt` the
   * echoed end of the denial.
   */
  openDenial(
    token: string,
    sent: Readonly<{ tuple(members: readonly string[]): Tuple; endsAt: Instant }>,
    now: Instant,
  ): Promise<ProvenDenial | Refused>
  sealApproval(approval: SealedApproval): string
  /** The id of the approval that `state` proves, and whether it covers an attempt whose tuple is `tuple(members)`. */
  openApproval(
    state: Json,
    sent: Readonly<{ tuple(members: readonly string[]): Tuple; task?: string | undefined }>,
    now: Instant,
  ): Promise<Readonly<{ approval: string; covers: boolean }> | Refused>
  /** `members` as a JWT that `issuer` attests to; it is nobody's permission, and is never taken for one. */
  signMetadata(issuer: string, members: Readonly<Record<string, Json>>): string
  /** The public keys by which artifacts are verified at `now`, each a JWK. */
  keys(now: Instant): readonly Readonly<Record<string, string>>[]
}>
