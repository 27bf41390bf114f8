/**
 * Signals: what others tell of subjects that are theirs (SSF 1.0, CAEP 1.0), and what Writ tells of what it took away.
 *
 * @module
 */
import type { Json } from './canonical.ts'
import type { EntityRef } from './entity.ts'
import { parseRef } from './entity.ts'
import type { Jwk } from './issuer.ts'
import { isIdentity, isTypeName } from './name.ts'
import type { Instant, Millis } from './time.ts'

/** Events of CAEP 1.0 that are understood, by the last part of their URI. */
export const caepEvents = [
  'session-revoked',
  'token-claims-change',
  'credential-change',
  'assurance-level-change',
  'device-compliance-change',
  'risk-level-change',
  'session-established',
  'session-presented',
] as const
export type CaepEvent = (typeof caepEvents)[number]

/** What Writ tells others. */
export const toldEvents = ['session-revoked', 'credential-change', 'token-claims-change'] as const
export type ToldEvent = (typeof toldEvents)[number]

/** Who an event is about, as its transmitter names them (RFC 9493). */
export type SubjectId =
  | Readonly<{ format: 'email'; email: string }>
  | Readonly<{ format: 'iss_sub'; iss: string; sub: string }>
  | Readonly<{ format: 'opaque'; id: string }>

export type StreamStatus = 'enabled' | 'paused' | 'disabled'

/** What happened; `unknown` is every event that nobody here understands. */
export type SignalEvent =
  | Readonly<{ kind: 'session-revoked' | 'session-established' | 'session-presented' }>
  | Readonly<{ kind: 'token-claims-change'; claims: Readonly<Record<string, Json>> }>
  | Readonly<{
      kind: 'credential-change'
      credential: string
      change: 'create' | 'revoke' | 'update' | 'delete'
    }>
  | Readonly<{
      kind: 'assurance-level-change'
      namespace: string
      level: string
      direction?: 'increase' | 'decrease'
    }>
  | Readonly<{ kind: 'device-compliance-change'; status: 'compliant' | 'not-compliant' }>
  | Readonly<{ kind: 'risk-level-change'; level: 1 | 2 | 3; principal: string; reason?: string }>
  | Readonly<{ kind: 'verification'; state?: string }>
  | Readonly<{ kind: 'stream-updated'; status: StreamStatus; reason?: string }>
  | Readonly<{ kind: 'unknown'; uri: string }>

/** The claims of a security event token (RFC 8417), in our words. Nothing of it is verified. */
export type SetClaims = Readonly<{
  iss: string
  audiences: readonly string[]
  jti: string
  issuedAt: Instant
  /** When it happened, where the event says so; else when it was told. */
  at: Instant
  txn?: string
  /** Absent where it is named in a way that is not understood. */
  subject?: SubjectId
  /** Which device of theirs. */
  device?: string
  event: SignalEvent
}>

/** Why a SET is refused, as RFC 8935 §2.4 names it. */
export const setErrors = [
  'invalid_request',
  'invalid_key',
  'invalid_issuer',
  'invalid_audience',
  'authentication_failed',
  'access_denied',
] as const
export type SetErrorCode = (typeof setErrors)[number]
export type SetError = Readonly<{ err: SetErrorCode; description: string }>

/** Which subject of ours an identifier of a transmitter is: its own subjects, and nobody else's. */
export type SubjectRules = Readonly<{
  /** Accounts at this issuer that are linked to people: `iss` as the transmitter writes it, and the name of the links. */
  accounts?: readonly Readonly<{ iss: string; issuer: string }>[]
  /** Exact identifiers (an opaque id, an address, or `iss sub`) and who they are. */
  map: Readonly<Record<string, EntityRef>>
  /** `Device/{id}`: every opaque id is this. */
  template?: string
}>

/** A transmitter that is listened to. Files are absolute paths. */
export type ReceiverConfig = Readonly<{
  name: string
  /** The exact `iss`. */
  issuer: string
  audiences: readonly string[]
  algorithms: readonly string[]
  /** Found by the metadata of the transmitter when absent. */
  keys?: Readonly<{ from: 'jwks'; keys: readonly Jwk[] }> | Readonly<{ from: 'uri'; uri: string }>
  delivery: 'push' | 'poll'
  /** What a transmitter that pushes must show. */
  authorizationFile?: string
  /** Of its stream management and polling. */
  tokenFile?: string
  /** Whether the stream is made and kept by us; else it was made by hand. */
  manage: boolean
  /** Where to poll, if the stream was made by hand. */
  pollUrl?: string
  events: readonly CaepEvent[]
  subjects: SubjectRules
  /** How often a verification event is asked for, and after which time without one there is an alarm. */
  verifyEvery: Millis
  silence: Millis
  /** How long what it says may be believed; afterwards it is unknown. */
  maxAge?: Millis
  /** Events per minute that are acted on. */
  rate: number
  /** Whether `iss` and its addresses may be plain HTTP; of use on this machine alone. */
  unsafeHttp: boolean
  allowPrivate: boolean
  ca?: string
}>

/** Who is told. */
export type ListenerConfig = Readonly<{
  name: string
  /** Who may poll and manage the stream, by its API key or token. */
  subject: EntityRef
  audience: string
  delivery: 'push' | 'poll'
  /** Where SETs are pushed to. */
  endpoint?: string
  /** What to show there. */
  authorizationFile?: string
  events: readonly ToldEvent[]
  /** How subjects are named: `iss_sub` under our own name, `opaque`, or their account at a configured issuer. */
  subjects: 'iss_sub' | 'opaque' | Readonly<{ iss: string; issuer: string }>
  from: 'start' | 'now'
  allowPrivate: boolean
  ca?: string
}>

export const setAlgorithms = ['RS256', 'ES256'] as const
export type SetAlgorithm = (typeof setAlgorithms)[number]

export type TransmitterConfig = Readonly<{
  /** What SETs are signed with: RS256 is what the interoperability profile asks for. */
  algorithm: SetAlgorithm
  listeners: readonly ListenerConfig[]
}>

export type SignalsConfig = Readonly<{
  receivers: readonly ReceiverConfig[]
  transmitter?: TransmitterConfig
}>

/** The metadata of a transmitter (SSF 1.0 §7.1), as far as it is used. */
export type TransmitterMetadata = Readonly<{
  issuer: string
  jwksUri?: string
  configurationEndpoint?: string
  statusEndpoint?: string
  verificationEndpoint?: string
  deliveryMethods: readonly string[]
}>

/** A stream as its transmitter describes it (SSF 1.0 §8.1). */
export type StreamDescription = Readonly<{
  id: string
  issuer: string
  audiences: readonly string[]
  delivery: Readonly<{ method: string; url?: string; authorization?: string }>
  requested: readonly string[]
  delivered: readonly string[]
}>

/** The one text by which an identifier stands in a map. */
export function subjectKey(subject: SubjectId): string {
  switch (subject.format) {
    case 'email':
      return subject.email
    case 'iss_sub':
      return `${subject.iss} ${subject.sub}`
    case 'opaque':
      return subject.id
  }
}

/** The subject that `template` makes of an opaque id; `undefined` for what nobody can be. */
export function fromTemplate(template: string, id: string): EntityRef | undefined {
  // braces in the id are no part of the template
  const ref = parseRef(template.replace('{id}', () => id))
  return ref !== undefined && isTypeName(ref.type) && isIdentity(ref.id) ? ref : undefined
}

/** A stream as an operator sees it: `in` from a transmitter, `out` to a listener. */
export type SignalStream = Readonly<{
  name: string
  direction: 'in' | 'out'
  delivery: 'push' | 'poll'
  status?: StreamStatus | 'gone'
  /** When it last said anything that was verified. */
  heardAt?: Instant
  /** Since when events wait for it. */
  behindSince?: Instant
  /** Events that it refused and that can be sent again. */
  refused?: number
  problems: readonly string[]
}>
