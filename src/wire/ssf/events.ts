/**
 * Events of CAEP 1.0 and of the Shared Signals Framework 1.0 on the wire.
 *
 * @module
 */
import * as z from 'zod'
import type { Json } from '../../model/canonical.ts'
import type { CaepEvent, SignalEvent, SubjectId } from '../../model/signal.ts'
import { caepEvents, subjectKey } from '../../model/signal.ts'
import { isIdentity } from '../../model/name.ts'
import { text } from '../bounds.ts'

const CAEP = 'https://schemas.openid.net/secevent/caep/event-type/'
const SSF = 'https://schemas.openid.net/secevent/ssf/event-type/'
export const VERIFICATION = `${SSF}verification`
export const STREAM_UPDATED = `${SSF}stream-updated`

/** `session-revoked` → its URI. */
export const eventUri = (event: CaepEvent): string => `${CAEP}${event}`

/** The short name of a URI that CAEP defines. */
export function eventName(uri: string): CaepEvent | undefined {
  const name = uri.startsWith(CAEP) ? uri.slice(CAEP.length) : undefined
  return caepEvents.find((known) => known === name)
}

const identifier = z.string().min(1).max(512).refine(isIdentity)

/** RFC 9493, in the three formats that the interoperability profile asks for. */
export const subjectId = z
  .discriminatedUnion('format', [
    z.object({ format: z.literal('email'), email: identifier }),
    z.object({ format: z.literal('iss_sub'), iss: identifier, sub: identifier }),
    z.object({ format: z.literal('opaque'), id: identifier }),
  ])
  .meta({ id: 'SubjectIdentifier' })

/** The subject; `undefined` for a format that is not understood. @throws {z.ZodError} for one that is, and is wrong. */
export function parseSubject(value: unknown): SubjectId | undefined {
  const { format } = z.looseObject({ format: z.string().max(64) }).parse(value)
  if (!['email', 'iss_sub', 'opaque'].includes(format)) return undefined
  return subjectId.parse(value)
}

const complex = z.strictObject({ format: z.literal('complex'), user: subjectId, device: subjectId })

/** Somebody on a device of theirs: of complex subjects (SSF 1.0 §3) that one alone is understood. */
export function parseOnDevice(value: unknown): Readonly<{ subject: SubjectId; device: string }> | undefined {
  const { success, data } = complex.safeParse(value)
  return success ? { subject: data.user, device: subjectKey(data.device) } : undefined
}

const common = { event_timestamp: z.number().nonnegative().optional() }
const revoked = z.looseObject(common)
const level = z.enum(['LOW', 'MEDIUM', 'HIGH'])
const short = z.string().min(1).max(256)

const payloads = {
  'session-revoked': revoked.transform((): SignalEvent => ({ kind: 'session-revoked' })),
  'session-established': revoked.transform((): SignalEvent => ({ kind: 'session-established' })),
  'session-presented': revoked.transform((): SignalEvent => ({ kind: 'session-presented' })),
  'token-claims-change': z
    .looseObject({ ...common, claims: z.record(short, z.json()) })
    .transform(({ claims }): SignalEvent => ({
      kind: 'token-claims-change',
      claims: claims as Record<string, Json>,
    })),
  'credential-change': z
    .looseObject({
      ...common,
      credential_type: short,
      change_type: z.enum(['create', 'revoke', 'update', 'delete']),
    })
    .transform(({ credential_type, change_type }): SignalEvent => ({
      kind: 'credential-change',
      credential: credential_type,
      change: change_type,
    })),
  'assurance-level-change': z
    .looseObject({
      ...common,
      namespace: short,
      current_level: short,
      change_direction: z.enum(['increase', 'decrease']).optional(),
    })
    .transform(({ namespace, current_level, change_direction }): SignalEvent => ({
      kind: 'assurance-level-change',
      namespace,
      level: current_level,
      ...(change_direction === undefined ? {} : { direction: change_direction }),
    })),
  'device-compliance-change': z
    .looseObject({ ...common, current_status: z.enum(['compliant', 'not-compliant']) })
    .transform(({ current_status }): SignalEvent => ({
      kind: 'device-compliance-change',
      status: current_status,
    })),
  'risk-level-change': z
    .looseObject({
      ...common,
      principal: short,
      current_level: level,
      risk_reason: text.optional(),
    })
    .transform(({ principal, current_level, risk_reason }): SignalEvent => ({
      kind: 'risk-level-change',
      level: ({ LOW: 1, MEDIUM: 2, HIGH: 3 } as const)[current_level],
      principal,
      ...(risk_reason === undefined ? {} : { reason: risk_reason }),
    })),
} satisfies Record<CaepEvent, z.ZodType<SignalEvent>>

const ofStream = {
  [VERIFICATION]: z
    .looseObject({ state: z.string().max(1_024).optional() })
    .transform(({ state }): SignalEvent => ({
      kind: 'verification',
      ...(state === undefined ? {} : { state }),
    })),
  [STREAM_UPDATED]: z
    .looseObject({ status: z.enum(['enabled', 'paused', 'disabled']), reason: text.optional() })
    .transform(({ status, reason }): SignalEvent => ({
      kind: 'stream-updated',
      status,
      ...(reason === undefined ? {} : { reason }),
    })),
} satisfies Record<string, z.ZodType<SignalEvent>>

/** The event under its URI, and when it happened (seconds) where it says so. @throws {z.ZodError} */
export function parseEvent(
  uri: string,
  payload: unknown,
): Readonly<{ event: SignalEvent; seconds?: number }> {
  const name = eventName(uri)
  if (name !== undefined) {
    const event = payloads[name].parse(payload)
    const seconds = (payload as { event_timestamp?: number }).event_timestamp
    return { event, ...(seconds === undefined ? {} : { seconds }) }
  }
  if (uri === VERIFICATION || uri === STREAM_UPDATED) return { event: ofStream[uri].parse(payload) }
  return { event: { kind: 'unknown', uri } }
}

/** What Writ itself tells, as it stands under `events`. `at` in seconds. */
export function encodeEvent(event: SignalEvent, at: number): Readonly<Record<string, Json>> {
  switch (event.kind) {
    case 'session-revoked':
      return { [eventUri(event.kind)]: { event_timestamp: at, initiating_entity: 'system' } }
    case 'credential-change':
      return {
        [eventUri(event.kind)]: {
          event_timestamp: at,
          credential_type: event.credential,
          change_type: event.change,
        },
      }
    case 'token-claims-change':
      return { [eventUri(event.kind)]: { event_timestamp: at, claims: event.claims } }
    case 'verification':
      return { [VERIFICATION]: event.state === undefined ? {} : { state: event.state } }
    case 'stream-updated':
      return {
        [STREAM_UPDATED]: {
          status: event.status,
          ...(event.reason === undefined ? {} : { reason: event.reason }),
        },
      }
    default:
      throw new TypeError(`\`${event.kind}\` is an event that Writ does not tell`)
  }
}
