/**
 * Streams and the metadata of transmitters (SSF 1.0 §7 and §8).
 *
 * @module
 */
import * as z from 'zod'
import type { Json } from '../../model/canonical.ts'
import type { StreamDescription, StreamStatus, TransmitterMetadata } from '../../model/signal.ts'

export const PUSH = 'urn:ietf:rfc:8935'
export const POLL = 'urn:ietf:rfc:8936'
export const SSF_METADATA_PATH = '/.well-known/ssf-configuration'
export const SSF_JWKS_PATH = '/ssf/jwks'
export const STREAM_PATH = '/ssf/stream'
export const STATUS_PATH = '/ssf/status'
export const VERIFY_PATH = '/ssf/verify'
export const POLL_PATH = '/ssf/poll'

const url = z.string().min(1).max(2_048)

/** Where the metadata of `issuer` are: between its host and its path, as RFC 8414 does it. */
export function metadataUrl(issuer: string): URL | undefined {
  const parsed = URL.parse(issuer)
  if (parsed === null || parsed.search !== '' || parsed.hash !== '') return undefined
  const path = parsed.pathname === '/' ? '' : parsed.pathname
  return new URL(`${SSF_METADATA_PATH}${path}`, parsed)
}

export const ssfMetadata = z
  .looseObject({
    issuer: z.string(),
    jwks_uri: url.exactOptional(),
    spec_version: z.string().exactOptional(),
    delivery_methods_supported: z.array(z.string()).exactOptional(),
    configuration_endpoint: url.exactOptional(),
    status_endpoint: url.exactOptional(),
    verification_endpoint: url.exactOptional(),
    authorization_schemes: z.array(z.looseObject({ spec_urn: z.string() })).exactOptional(),
    default_subjects: z.string().exactOptional(),
  })
  .meta({ id: 'SsfMetadata' })

export function parseMetadata(value: unknown): TransmitterMetadata | undefined {
  const { success, data } = ssfMetadata.safeParse(value)
  if (!success) return undefined
  const some = <K extends string>(name: K, text: string | undefined) =>
    (text === undefined ? {} : { [name]: text }) as Partial<Record<K, string>>
  return {
    issuer: data.issuer,
    ...some('jwksUri', data.jwks_uri),
    ...some('configurationEndpoint', data.configuration_endpoint),
    ...some('statusEndpoint', data.status_endpoint),
    ...some('verificationEndpoint', data.verification_endpoint),
    deliveryMethods: data.delivery_methods_supported ?? [],
  }
}

/** Of this server; `origin` never ends in a slash. */
export const encodeMetadata = (issuer: string, origin: string): Json => ({
  spec_version: '1_0',
  issuer,
  jwks_uri: `${origin}${SSF_JWKS_PATH}`,
  delivery_methods_supported: [PUSH, POLL],
  configuration_endpoint: `${origin}${STREAM_PATH}`,
  status_endpoint: `${origin}${STATUS_PATH}`,
  verification_endpoint: `${origin}${VERIFY_PATH}`,
  authorization_schemes: [{ spec_urn: 'urn:ietf:rfc:6749' }],
  default_subjects: 'ALL',
})

const delivery = z.looseObject({
  method: z.string().max(128),
  endpoint_url: url.exactOptional(),
  authorization_header: z.string().min(1).max(4_096).exactOptional(),
})

/** What a receiver says of its stream, when it makes or changes one. */
export const streamRequest = z
  .looseObject({
    stream_id: z.string().max(256).exactOptional(),
    delivery: delivery
      .extend({
        // with anything else in it nothing could ever be sent
        authorization_header: z
          .string()
          .max(4_096)
          .regex(/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/u, {
            error: 'must be the value of one header: visible ASCII without line breaks',
          })
          .exactOptional(),
      })
      .exactOptional(),
    events_requested: z.array(z.string().max(512)).max(100).exactOptional(),
    description: z.string().max(500).exactOptional(),
  })
  .meta({ id: 'StreamRequest' })

export const streamAnswer = z
  .looseObject({
    stream_id: z.string().min(1).max(256),
    iss: z.string(),
    aud: z.union([z.string(), z.array(z.string()).min(1)]),
    delivery,
    events_supported: z.array(z.string()).exactOptional(),
    events_requested: z.array(z.string()).exactOptional(),
    events_delivered: z.array(z.string()).exactOptional(),
    min_verification_interval: z.int().exactOptional(),
    description: z.string().exactOptional(),
  })
  .meta({ id: 'Stream' })

export function parseStream(value: unknown): StreamDescription | undefined {
  const { success, data } = streamAnswer.safeParse(value)
  if (!success) return undefined
  return {
    id: data.stream_id,
    issuer: data.iss,
    audiences: typeof data.aud === 'string' ? [data.aud] : data.aud,
    delivery: {
      method: data.delivery.method,
      ...(data.delivery.endpoint_url === undefined ? {} : { url: data.delivery.endpoint_url }),
    },
    requested: data.events_requested ?? [],
    delivered: data.events_delivered ?? [],
  }
}

/** All streams of whoever asks: some transmitters answer a list, some one. */
export function parseStreams(value: unknown): readonly StreamDescription[] | undefined {
  const all = (Array.isArray(value) ? value.slice(0, 100) : [value]).map(parseStream)
  return all.every((one) => one !== undefined) ? all : undefined
}

export const statusBody = z
  .looseObject({
    stream_id: z.string().max(256),
    status: z.enum(['enabled', 'paused', 'disabled']),
    reason: z.string().max(500).exactOptional(),
  })
  .meta({ id: 'StreamStatus' })

export function parseStatus(value: unknown): Readonly<{ status: StreamStatus; reason?: string }> | undefined {
  const { success, data } = statusBody.safeParse(value)
  if (!success) return undefined
  return { status: data.status, ...(data.reason === undefined ? {} : { reason: data.reason }) }
}

export const verifyRequest = z
  .looseObject({ stream_id: z.string().max(256), state: z.string().max(1_024).exactOptional() })
  .meta({ id: 'VerificationRequest' })

export const encodeStreamRequest = (
  stream: Readonly<{
    id?: string
    push?: Readonly<{ url: string; authorization?: string }>
    events: readonly string[]
    description: string
  }>,
): Json => ({
  ...(stream.id === undefined ? {} : { stream_id: stream.id }),
  delivery:
    stream.push === undefined
      ? { method: POLL }
      : {
          method: PUSH,
          endpoint_url: stream.push.url,
          ...(stream.push.authorization === undefined
            ? {}
            : { authorization_header: stream.push.authorization }),
        },
  events_requested: [...stream.events],
  description: stream.description,
})
