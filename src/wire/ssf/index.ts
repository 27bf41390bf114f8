/**
 * Shared Signals Framework 1.0 and CAEP 1.0 (final, 2025-08-29), RFC 8417, 8935, 8936, 9493.
 *
 * @module
 */
import { decodeSet, encodePoll, encodeSet, parsePollAnswer, parseSetError } from './set.ts'
import { eventName, eventUri } from './events.ts'
import {
  POLL,
  PUSH,
  encodeStreamRequest,
  metadataUrl,
  parseMetadata,
  parseStatus,
  parseStreams,
} from './stream.ts'

export * from './events.ts'
export * from './set.ts'
export * from './stream.ts'

/** The whole protocol as receiver and transmitter use it (`SsfCodec` in `signals/ssf`). */
export const ssfCodec = {
  decodeSet,
  encodeSet,
  encodePoll,
  parsePollAnswer,
  parseSetError,
  eventName,
  eventUri,
  encodeStreamRequest,
  metadataUrl,
  parseMetadata,
  parseStatus,
  parseStreams,
  methods: { push: PUSH, poll: POLL },
} as const
