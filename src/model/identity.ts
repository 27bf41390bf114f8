/**
 * What proves who asks: one form, whatever the proof was.
 *
 * @module
 */
import type { EntityRef, Properties } from './entity.ts'
import type { Instant } from './time.ts'

/** An account at an issuer, e.g. GitHub's `actor_id`; who it is, is known once it is linked to a person. */
export type AccountRef = Readonly<{ issuer: string; id: string }>

/**
 * A token, assertion or document that was verified. `subject` is the acting party; `behind` are those it acts for,
 * outermost first (RFC 8693 `act` turned inside out: the actor acts, `sub` is behind it).
 */
export type Proved = Readonly<{
  /** Configured name of the issuer. */
  issuer: string
  subject: EntityRef
  behind: readonly EntityRef[]
  /** Who set it going, where the issuer says so. */
  instigator?: AccountRef
  /** What else was verified about the workload, under the names that policies read. */
  workload: Properties
  /** How and when a person signed in. */
  auth?: Readonly<{ at?: Instant; acr?: string; amr?: readonly string[] }>
  endsAt: Instant
  /** When it was made, where it says so. */
  issuedAt?: Instant
  /** With the issuer, names this proof among all. */
  jti?: string
  /** RFC 7638 thumbprint of the key that it is bound to (`cnf.jkt`). */
  confirmed?: string
  /** The claims as verified, for the record and for what is issued from it. */
  claims: Properties
}>

/** An account is one person's; only a linked one makes its person a root (law 4). */
export type Account = Readonly<{
  /** `issuer` and account id, joined by a line end. */
  id: string
  issuer: string
  account: string
  person: EntityRef
  generation: number
  linkedBy: string
  linkedAt: Instant
  endedAt?: Instant
}>

/**
 * A key pair that a person proves themselves with at a page of ours; the private half never leaves their device. Kept under
 * the id of the credential.
 */
export type Passkey = Readonly<{
  /** Credential id, base64url. */
  id: string
  person: EntityRef
  /** Generation of the person then: a recreated person inherits no passkey (B34). */
  generation: number
  /** COSE key, base64url. */
  publicKey: string
  /** Signatures that the device has counted; one that goes back was made by a copy. */
  counter: number
  transports: readonly string[]
  /** Host name that it is for. */
  rp: string
  name: string
  /** Kept by a service of its maker and so on several devices. */
  synced: boolean
  createdAt: Instant
  usedAt?: Instant
  endedAt?: Instant
}>

export const accountId = ({ issuer, id }: AccountRef): string => `${issuer}\n${id}`

/** A person lets an agent act for them, for a time and within bounds. */
export type Delegation = Readonly<{
  id: string
  delegator: EntityRef
  actor: EntityRef
  /** Action names; all if absent. */
  actions?: readonly string[]
  /** Resources, each with what is below it; all if absent. */
  resources?: readonly EntityRef[]
  /** By `refKey`: who was made again inherits nothing. */
  generations: Readonly<Record<string, number>>
  reason?: string
  createdBy: string
  createdAt: Instant
  endsAt: Instant
  revokedAt?: Instant
  /** When the sweeper noted that its time was over. */
  sweptAt?: Instant
}>

/** A proof that was used: nothing is accepted twice, on any node, after any restart (B6, B23). */
export type SpentProof = Readonly<{
  /** Digest of kind, issuer and `jti`. */
  id: string
  kind: 'assertion' | 'dpop' | 'token' | 'reauth' | 'login' | 'set' | 'webhook'
  endsAt: Instant
}>
