/**
 * Security event tokens (RFC 8417) in the profile of the Shared Signals Framework 1.0: claims, push answers (RFC 8935) and
 * poll bodies (RFC 8936).
 *
 * @module
 */
import * as z from 'zod'
import type { Json } from '../../model/canonical.ts'
import type { Instant } from '../../model/time.ts'
import type { SetClaims, SetError, SignalEvent, SubjectId } from '../../model/signal.ts'
import { encodeEvent, parseEvent, parseOnDevice, parseSubject } from './events.ts'

/** `typ` of every SET. */
export const SET_TYP = 'secevent+jwt'
export const SET_TYPE = 'application/secevent+jwt'
/** Most SETs of one poll. */
export const POLL_MOST = 100

const SECOND = 1_000
/** 9999-12-31 in seconds. */
const LAST = 253_402_300_799

const jti = z.string().min(1).max(256)
const claims = z.looseObject({
  iss: z.string().min(1).max(512),
  aud: z.union([z.string().max(512), z.array(z.string().max(512)).min(1).max(16)]),
  jti,
  iat: z.number().nonnegative().max(LAST),
  txn: z.string().max(512).optional(),
  sub_id: z.looseObject({ format: z.string() }),
  events: z.record(z.string().max(512), z.looseObject({})),
})

/** The claims of a SET, or the first thing that is wrong with them. Unknown events are no mistake. */
export function decodeSet(
  value: unknown,
): Readonly<{ set: SetClaims; problem?: undefined }> | Readonly<{ problem: string }> {
  const read = claims.safeParse(value)
  // SSF 1.0: neither belongs there, and whoever reads one could take a SET for an identity token
  const foreign = ['sub', 'exp'].find((name) => Object.hasOwn(Object(value) as object, name))
  if (foreign !== undefined) return { problem: `\`${foreign}\` is there and must not be` }
  if (!read.success) return { problem: firstOf(read.error, '') }
  const { iss, aud, jti: id, iat, txn, sub_id, events } = read.data
  const [only, another] = Object.entries(events)
  if (only === undefined || another !== undefined) return { problem: '`events` has not exactly one event' }
  let subject: SubjectId | undefined
  let parsed: ReturnType<typeof parseEvent>
  try {
    subject = parseSubject(sub_id)
  } catch (error) {
    if (error instanceof z.ZodError) return { problem: firstOf(error, 'sub_id') }
    throw error
  }
  try {
    parsed = parseEvent(only[0], only[1])
  } catch (error) {
    if (error instanceof z.ZodError) return { problem: firstOf(error, 'events') }
    throw error
  }
  // other events would be about that device alone, which nobody here can tell from the others
  const onDevice = parsed.event.kind === 'device-compliance-change' ? parseOnDevice(sub_id) : undefined
  const issuedAt = Math.floor(iat * SECOND)
  // it cannot have been told before it happened
  const at = Math.min(issuedAt, Math.floor((parsed.seconds ?? Infinity) * SECOND))
  return {
    set: {
      iss,
      audiences: typeof aud === 'string' ? [aud] : aud,
      jti: id,
      issuedAt,
      at,
      ...(txn === undefined ? {} : { txn }),
      ...(subject === undefined ? {} : { subject }),
      ...onDevice,
      event: parsed.event,
    },
  }
}

function firstOf(error: z.ZodError, within: string): string {
  const [issue] = error.issues
  const path = [...(within === '' ? [] : [within]), ...(issue?.path ?? [])].map(String).join('.')
  return `\`${path}\` ${issue?.message ?? 'is wrong'}`.slice(0, 300)
}

/** The claims of a SET of ours. */
export function encodeSet(
  set: Readonly<{
    iss: string
    aud: string
    jti: string
    issuedAt: Instant
    /** When it happened. */
    at: Instant
    txn?: string
    subject: SubjectId
    event: SignalEvent
  }>,
): Readonly<Record<string, Json>> {
  const { iss, aud, jti: id, issuedAt, at, txn, subject, event } = set
  return {
    iss,
    aud,
    jti: id,
    iat: Math.floor(issuedAt / SECOND),
    ...(txn === undefined ? {} : { txn }),
    sub_id: { ...subject },
    events: encodeEvent(event, Math.floor(at / SECOND)),
  }
}

/** RFC 8935 §2.3, also inside `setErrs`. */
export const setError = z
  .object({ err: z.string().max(64), description: z.string().max(1_000).optional() })
  .meta({ id: 'SetError', description: 'Why a SET is refused (RFC 8935)' })

export const encodeSetError = ({ err, description }: SetError): Json => ({ err, description })

/** What a receiver answered to a push that it refused; `undefined` if it said nothing readable. */
export function parseSetError(value: unknown): Readonly<{ err: string; description?: string }> | undefined {
  const read = setError.safeParse(value)
  if (!read.success) return undefined
  const { err, description } = read.data
  return { err, ...(description === undefined ? {} : { description }) }
}

/** RFC 8936 §2.2. */
export const pollRequest = z
  .looseObject({
    maxEvents: z.int().min(0).exactOptional(),
    returnImmediately: z.boolean().default(false),
    ack: z.array(jti).max(1_000).default([]),
    setErrs: z.record(jti, setError).default({}),
  })
  .meta({ id: 'PollRequest' })

export const pollAnswer = z
  .object({ sets: z.record(jti, z.string()), moreAvailable: z.boolean().exactOptional() })
  .meta({ id: 'PollAnswer' })

/** What a transmitter answered; `undefined` if it is no answer to a poll. */
export function parsePollAnswer(
  value: unknown,
): Readonly<{ sets: Readonly<Record<string, string>>; more: boolean }> | undefined {
  const read = z.looseObject({
    sets: z.record(z.string(), z.string()),
    moreAvailable: z.boolean().optional(),
  })
  const { success, data } = read.safeParse(value)
  if (!success || Object.keys(data.sets).length > 1_000) return undefined
  return { sets: data.sets, more: data.moreAvailable === true }
}

export const encodePoll = (
  poll: Readonly<{
    most: number
    immediately: boolean
    ack: readonly string[]
    errors: Readonly<Record<string, SetError>>
  }>,
): Json => ({
  maxEvents: poll.most,
  returnImmediately: poll.immediately,
  ack: [...poll.ack],
  ...(Object.keys(poll.errors).length === 0
    ? {}
    : {
        setErrs: Object.fromEntries(
          Object.entries(poll.errors).map(([id, error]) => [id, encodeSetError(error)]),
        ),
      }),
})
