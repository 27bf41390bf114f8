/**
 * The keys that Writ signs with: checkpoints of its log, artifacts that come back to it, access tokens and signals.
 *
 * @module
 */
import type { Instant } from './time.ts'

/**
 * `log` signs checkpoints (Ed25519), `artifact` what comes back to us as a JWS and `token` access tokens (ES256, both
 * published as JWKS), `signal` the events that others are told (RS256 or ES256, as configured).
 */
export type SignerUse = 'log' | 'artifact' | 'token' | 'signal'

/** One key pair; the private half is sealed under the key file (PKCS #8 PEM before that). */
export type Signer = Readonly<{
  /** `key_…`; the `kid` of an artifact. */
  id: string
  use: SignerUse
  /** The public half as a JWK without `kid`, e.g. `{ kty: 'OKP', crv: 'Ed25519', x: '…' }`. */
  public: Readonly<Record<string, string>>
  /** Empty when it signs no more: the private half is gone. */
  sealed: string
  createdAt: Instant
  /** The epoch of the log that it signs in; 1 if it says nothing. */
  epoch?: number
  /** Size of the log from which on this key signs. */
  fromSize: number
  /** Signs nothing any more; what it signed before is still verified. */
  retiredAt?: Instant
  /** Size of the log up to which a checkpoint by this key is believed. */
  untilSize?: number
  /** Its word for the key that took over, a signed note. */
  endorsement?: string
  /** Somebody else may have it: nothing it signed beyond `untilSize` is believed. */
  compromised?: boolean
}>
