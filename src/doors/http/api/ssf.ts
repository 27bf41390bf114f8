/**
 * The Shared Signals Framework: where transmitters push what happened (RFC 8935), and where listeners find, manage and poll
 * what Writ tells (SSF 1.0 §7 and §8, RFC 8936).
 *
 * @module
 */
import * as z from 'zod'
import type { Caller } from '../../../model/access.ts'
import { WritError } from '../../../model/errors.ts'
import { given } from '../../../wire/bounds.ts'
import type { ListenerView, StreamWish } from '../../../signals/ssf/transmitter/transmitter.ts'
import {
  POLL,
  POLL_MOST,
  POLL_PATH,
  PUSH,
  SSF_JWKS_PATH,
  SSF_METADATA_PATH,
  STATUS_PATH,
  STREAM_PATH,
  VERIFY_PATH,
  encodeMetadata,
  encodeSetError,
  eventName,
  eventUri,
  pollAnswer,
  pollRequest,
  setError,
  ssfMetadata,
  statusBody,
  streamAnswer,
  streamRequest,
  verifyRequest,
} from '../../../wire/ssf/index.ts'
import type { Answer, Door, Route } from '../route.ts'
import { READS, ok, route } from '../route.ts'

const METADATA_CACHED = 'public, max-age=300'
const NO_STORE = { 'cache-control': 'no-store' }

const streamQuery = z.strictObject({ stream_id: z.string().max(256).exactOptional() })
const jwks = z.object({ keys: z.array(z.looseObject({ kty: z.string() })) }).meta({ id: 'SsfKeys' })

export function ssfRoutes(door: Door): Route[] {
  const tag = 'Shared signals'
  const signals = () => door.flows.signals
  const transmitter = () => signals().transmitter

  const view = (stream: ListenerView, origin: string) => ({
    stream_id: stream.id,
    iss: signals().issuer,
    aud: stream.audience,
    delivery: {
      method: stream.method === 'push' ? PUSH : POLL,
      ...given('endpoint_url', stream.method === 'push' ? stream.url : `${origin}${POLL_PATH}`),
    },
    events_supported: stream.supported.map((name) => eventUri(name as never)),
    events_requested: stream.requested.map((name) => eventUri(name as never)),
    events_delivered: stream.delivered.map((name) => eventUri(name as never)),
    min_verification_interval: stream.verifyEvery,
    ...given('description', stream.description),
  })

  const update = async (
    {
      caller,
      body,
      origin,
    }: Readonly<{ caller: Caller; body: z.output<typeof streamRequest>; origin: string }>,
    whole: boolean,
  ): Promise<Answer> => ({
    ...ok(view(await transmitter().update(caller, body.stream_id, wishOf(body), whole), origin)),
    headers: NO_STORE,
  })

  return [
    route({
      method: 'POST',
      path: '/ssf/push/:transmitter',
      tag,
      summary: 'Tell what happened: one signed event (RFC 8935); it is acted on before this answers',
      who: 'client',
      audit: { event: 'signal.received' },
      consumes: 'set',
      params: z.strictObject({ transmitter: z.string().max(64) }),
      body: z.string().meta({ description: 'A security event token (RFC 8417)' }),
      responses: {
        202: { description: 'Taken: it is in effect and on the record' },
        400: { description: 'Refused', schema: setError },
        503: { description: 'Not now: send it again' },
      },
      handle: async ({ params, body, request }): Promise<Answer> => {
        const { authorization } = request.headers
        const taken = await signals().push(params.transmitter, body.trim(), authorization)
        if (taken === undefined) throw new WritError('ERR_NOT_FOUND', 'nobody is listened to under this name')
        if (taken.taken === true) return { status: 202 }
        if (taken.refused !== undefined)
          return { status: 400, body: encodeSetError(taken.refused), headers: { 'content-language': 'en' } }
        return { status: 503, headers: { 'retry-after': String(taken.retryAfter) } }
      },
    }),
    route({
      method: 'GET',
      path: SSF_METADATA_PATH,
      tag,
      summary: 'Where this transmitter answers, and what it can (SSF 1.0 §7)',
      who: 'public',
      audit: { none: 'constant' },
      responses: { 200: { description: 'Metadata', schema: ssfMetadata } },
      handle: async ({ origin }) => {
        transmitter()
        return {
          ...ok(encodeMetadata(signals().issuer, origin)),
          headers: { 'cache-control': METADATA_CACHED },
        }
      },
    }),
    route({
      method: 'GET',
      path: SSF_JWKS_PATH,
      tag,
      summary: 'The public keys that events are signed with',
      who: 'public',
      audit: { none: 'constant' },
      responses: { 200: { description: 'A JWK set', schema: jwks } },
      handle: async () => {
        transmitter()
        return { ...ok({ keys: signals().keys(door.now()) }), headers: { 'cache-control': METADATA_CACHED } }
      },
    }),
    route({
      method: 'POST',
      path: STREAM_PATH,
      tag,
      summary: 'Make the stream that was configured for the caller',
      who: 'caller',
      audit: { event: 'signal.listener' },
      consumes: 'json',
      body: streamRequest,
      responses: { 201: { description: 'The stream', schema: streamAnswer } },
      handle: async ({ caller, body, origin }) => ({
        status: 201,
        body: view(await transmitter().make(caller, wishOf(body)), origin),
        headers: NO_STORE,
      }),
    }),
    route({
      method: 'GET',
      path: STREAM_PATH,
      tag,
      summary: 'The stream of the caller',
      who: 'caller',
      audit: READS,
      query: streamQuery,
      responses: { 200: { description: 'The stream', schema: streamAnswer } },
      handle: async ({ caller, query, origin }) => ({
        ...ok(view(transmitter().show(caller, query.stream_id), origin)),
        headers: NO_STORE,
      }),
    }),
    route({
      method: 'PATCH',
      path: STREAM_PATH,
      tag,
      summary: 'Change what is said of it',
      who: 'caller',
      audit: { event: 'signal.listener' },
      consumes: 'json',
      body: streamRequest,
      responses: { 200: { description: 'The stream', schema: streamAnswer } },
      handle: (context) => update(context, false),
    }),
    route({
      method: 'PUT',
      path: STREAM_PATH,
      tag,
      summary: 'Replace all that is said of it',
      who: 'caller',
      audit: { event: 'signal.listener' },
      consumes: 'json',
      body: streamRequest,
      responses: { 200: { description: 'The stream', schema: streamAnswer } },
      handle: (context) => update(context, true),
    }),
    route({
      method: 'DELETE',
      path: STREAM_PATH,
      tag,
      summary: 'Delete it: what happens from then on is not told',
      who: 'caller',
      audit: { event: 'signal.listener' },
      query: streamQuery,
      responses: { 204: { description: 'It is gone' } },
      handle: async ({ caller, query }) => {
        await transmitter().delete(caller, query.stream_id)
        return { status: 204 }
      },
    }),
    route({
      method: 'GET',
      path: STATUS_PATH,
      tag,
      summary: 'Whether the stream is enabled, paused or disabled',
      who: 'caller',
      audit: READS,
      query: streamQuery,
      responses: { 200: { description: 'Its status', schema: statusBody } },
      handle: async ({ caller, query }) => {
        const { id, status, reason } = transmitter().status(caller, query.stream_id)
        return { ...ok({ stream_id: id, status, ...given('reason', reason) }), headers: NO_STORE }
      },
    }),
    route({
      method: 'POST',
      path: STATUS_PATH,
      tag,
      summary: 'Enable, pause (events wait) or disable it (events are not kept)',
      who: 'caller',
      audit: { event: 'signal.stream' },
      consumes: 'json',
      body: statusBody,
      responses: { 200: { description: 'Its status', schema: statusBody } },
      handle: async ({ caller, body }) => {
        await transmitter().setStatus(caller, body.stream_id, body.status, body.reason)
        return {
          ...ok({ stream_id: body.stream_id, status: body.status, ...given('reason', body.reason) }),
          headers: NO_STORE,
        }
      },
    }),
    route({
      method: 'POST',
      path: VERIFY_PATH,
      tag,
      summary: 'Ask for an event that proves that everything before it was delivered',
      who: 'caller',
      audit: { event: 'signal.verify' },
      consumes: 'json',
      body: verifyRequest,
      responses: { 204: { description: 'It will come' } },
      handle: async ({ caller, body }) => {
        await transmitter().verify(caller, body.stream_id, body.state)
        return { status: 204 }
      },
    }),
    route({
      method: 'POST',
      path: POLL_PATH,
      tag,
      summary: 'Acknowledge what came, and get what waits (RFC 8936)',
      who: 'caller',
      audit: { event: 'signal.undelivered' },
      consumes: 'json',
      body: pollRequest,
      responses: { 200: { description: 'Signed events by their `jti`', schema: pollAnswer } },
      handle: async ({ caller, body, request }) => {
        const { socket } = request.raw
        const closed = new AbortController()
        const close = (): void => closed.abort()
        socket.once('close', close)
        try {
          const { sets, more } = await transmitter().poll(
            caller,
            {
              most: Math.min(body.maxEvents ?? POLL_MOST, POLL_MOST),
              immediately: body.returnImmediately,
              ack: body.ack,
              errors: body.setErrs as never,
            },
            closed.signal,
          )
          return { ...ok({ sets, ...(more ? { moreAvailable: true } : {}) }), headers: NO_STORE }
        } finally {
          // the same connection polls again and again
          socket.off('close', close)
        }
      },
    }),
  ]
}

/** Events that are not understood are not delivered, and no mistake (SSF 1.0 §8.1.1). */
function wishOf({
  delivery,
  events_requested: events,
  description,
}: z.output<typeof streamRequest>): StreamWish {
  if (delivery !== undefined && delivery.method !== PUSH && delivery.method !== POLL) {
    throw new WritError('ERR_INPUT_INVALID', '`delivery.method` is not known', {
      hint: `use ${PUSH} or ${POLL}`,
    })
  }
  return {
    ...(delivery === undefined
      ? {}
      : {
          method: delivery.method === PUSH ? ('push' as const) : ('poll' as const),
          ...given('url', delivery.endpoint_url),
          ...given('authorization', delivery.authorization_header),
        }),
    ...given(
      'events',
      events?.map(eventName).filter((name) => name !== undefined),
    ),
    ...given('description', description),
  }
}
