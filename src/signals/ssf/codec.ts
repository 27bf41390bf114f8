/**
 * The Shared Signals Framework as receiver and transmitter see it; `wire/ssf` speaks it.
 *
 * @module
 */
import type { Json } from '../../model/canonical.ts'
import type {
  CaepEvent,
  SetClaims,
  SetError,
  SignalEvent,
  StreamDescription,
  StreamStatus,
  SubjectId,
  TransmitterMetadata,
} from '../../model/signal.ts'
import type { Instant } from '../../model/time.ts'

/** A SET of ours before it is signed. */
export type OwnSet = Readonly<{
  iss: string
  aud: string
  jti: string
  issuedAt: Instant
  at: Instant
  txn?: string
  subject: SubjectId
  event: SignalEvent
}>

export type SsfCodec = Readonly<{
  decodeSet(
    claims: unknown,
  ): Readonly<{ set: SetClaims; problem?: undefined }> | Readonly<{ problem: string }>
  encodeSet(set: OwnSet): Readonly<Record<string, Json>>
  encodePoll(
    poll: Readonly<{
      most: number
      immediately: boolean
      ack: readonly string[]
      errors: Readonly<Record<string, SetError>>
    }>,
  ): Json
  parsePollAnswer(
    value: unknown,
  ): Readonly<{ sets: Readonly<Record<string, string>>; more: boolean }> | undefined
  parseSetError(value: unknown): Readonly<{ err: string; description?: string }> | undefined
  eventName(uri: string): CaepEvent | undefined
  eventUri(event: CaepEvent): string
  encodeStreamRequest(
    stream: Readonly<{
      id?: string
      push?: Readonly<{ url: string; authorization?: string }>
      events: readonly string[]
      description: string
    }>,
  ): Json
  metadataUrl(issuer: string): URL | undefined
  parseMetadata(value: unknown): TransmitterMetadata | undefined
  parseStatus(value: unknown): Readonly<{ status: StreamStatus; reason?: string }> | undefined
  parseStreams(value: unknown): readonly StreamDescription[] | undefined
  /** What the two ways of delivery are called. */
  methods: Readonly<{ push: string; poll: string }>
}>
