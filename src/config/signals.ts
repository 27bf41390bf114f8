/**
 * The part of the configuration that says whose signals are listened to, and who is told what Writ takes away.
 *
 * @module
 */
import { z } from 'zod'
import { WritError } from '../model/errors.ts'
import { parseRef } from '../model/entity.ts'
import type { EntityRef } from '../model/entity.ts'
import type { Issuer, Jwk } from '../model/issuer.ts'
import { isLoopback, publicAlgorithms } from '../model/issuer.ts'
import type { Json } from '../model/canonical.ts'
import { isIdentity, isTypeName } from '../model/name.ts'
import type { ListenerConfig, ReceiverConfig, SignalsConfig } from '../model/signal.ts'
import { caepEvents, setAlgorithms, toldEvents } from '../model/signal.ts'
import type { Millis } from '../model/time.ts'
import { parseDuration } from '../model/time.ts'

const text = z.string('is not text; put it in quotes').min(1, 'is empty')
const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/u, 'is not made of a–z, 0–9 and `-`')

const isRef = (value: string): boolean => {
  const ref = parseRef(value)
  return ref !== undefined && isTypeName(ref.type) && isIdentity(ref.id)
}
const ref = text.refine(isRef, 'is not written `Type/id`').transform((value) => parseRef(value) as EntityRef)
const url = text.refine((value) => {
  const parsed = URL.parse(value)
  return parsed !== null && /^https?:$/u.test(parsed.protocol) && parsed.username === '' && parsed.hash === ''
}, 'is not an https URL without a user name')

const duration = z.string().transform((value, context): Millis => {
  const millis = parseDuration(value)
  if (millis === undefined) context.addIssue('is not a duration such as `90s`, `15m` or `1h`')
  return millis ?? 0
})

export const receiverSchema = z.strictObject({
  name,
  /** The exact `iss`. */
  issuer: url,
  audiences: z.array(text).min(1),
  algorithms: z
    .array(z.enum(publicAlgorithms, `is not one of ${publicAlgorithms.join(', ')}`))
    .min(1)
    .default(['RS256', 'ES256']),
  /** Path of a JWKS file, or where its keys are; otherwise found by its metadata. */
  jwks: text.optional(),
  jwks_uri: url.optional(),
  delivery: z.enum(['push', 'poll'], 'is neither `push` nor `poll`').default('push'),
  /** A file with what the transmitter must show when it pushes. */
  authorization_file: text.optional(),
  /** A file with the token for its stream management and polling. */
  token_file: text.optional(),
  /** Whether Writ makes and keeps the stream there. */
  manage: z.boolean('is neither `true` nor `false`').default(true),
  poll_url: url.optional(),
  events: z
    .array(z.enum(caepEvents, `is not one of ${caepEvents.join(', ')}`))
    .min(1)
    .default([...caepEvents]),
  subjects: z
    .strictObject({
      /** Names of issuers: their accounts that are linked to people. */
      accounts: z.array(text).default([]),
      /** An identifier of the transmitter (opaque id, address, or `iss sub`) and who it is. */
      map: z.record(text, ref).default({}),
      /** `Device/{id}`: every opaque id. */
      template: text
        .refine(
          (value) => /^[A-Za-z_][\w:]*\/[^{}]*\{id\}[^{}]*$/u.test(value) && isRef(value),
          'is not written `Type/{id}`',
        )
        .optional(),
    })
    .prefault({}),
  verify: duration.prefault('10m'),
  silence: duration.prefault('30m'),
  max_age: duration.optional(),
  /** Events a minute. */
  rate: z.int('is not a whole number').min(1).max(1_000_000).default(6_000),
  /** Of use on this machine alone. */
  unsafe_http: z.boolean('is neither `true` nor `false`').default(false),
  allow_private: z.boolean('is neither `true` nor `false`').default(false),
  ca: text.optional(),
})

const listenerSchema = z.strictObject({
  name,
  /** Who polls and manages the stream. */
  subject: ref,
  audience: text,
  delivery: z.enum(['push', 'poll'], 'is neither `push` nor `poll`').default('poll'),
  endpoint: url.optional(),
  authorization_file: text.optional(),
  events: z
    .array(z.enum(toldEvents, `is not one of ${toldEvents.join(', ')}`))
    .min(1)
    .default([...toldEvents]),
  /** `iss_sub`, `opaque`, or the name of an issuer: by their account there. */
  subjects: text.default('iss_sub'),
  from: z.enum(['start', 'now'], 'is neither `start` nor `now`').default('now'),
  allow_private: z.boolean('is neither `true` nor `false`').default(false),
  ca: text.optional(),
})

export const transmitterSchema = z.strictObject({
  algorithm: z.enum(setAlgorithms, `is not one of ${setAlgorithms.join(', ')}`).default('RS256'),
  receivers: z.array(listenerSchema).min(1),
})

type Files = Readonly<{ path: (text: string) => string; read: (path: string) => string }>

/**
 * Signals with absolute paths.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` for what must not be trusted as it is written.
 */
export function signalsConfig(
  configured: Readonly<{
    receivers: readonly z.output<typeof receiverSchema>[]
    transmitter?: z.output<typeof transmitterSchema> | undefined
  }>,
  issuers: readonly Issuer[],
  path: Files['path'],
  read: Files['read'],
): SignalsConfig {
  const files = { path, read }
  const receivers = configured.receivers.map((one) => receiverOf(one, issuers, files))
  once(
    receivers.map((one) => one.name),
    'signals.receivers',
    'name',
  )
  // one issuer, one set of subjects: else the wider one would count
  once(
    receivers.flatMap(({ issuer, audiences }) => [...new Set(audiences)].map((one) => `${issuer} ${one}`)),
    'signals.receivers',
    'issuer and audience',
  )
  const { transmitter } = configured
  if (transmitter === undefined) return { receivers }
  const listeners = transmitter.receivers.map((one) => listenerOf(one, issuers, files))
  once(
    listeners.map((one) => one.name),
    'signals.transmitter.receivers',
    'name',
  )
  once(
    listeners.map(({ subject }) => `${subject.type}/${subject.id}`),
    'signals.transmitter.receivers',
    'subject',
  )
  return { receivers, transmitter: { algorithm: transmitter.algorithm, listeners } }
}

function receiverOf(
  one: z.output<typeof receiverSchema>,
  issuers: readonly Issuer[],
  files: Files,
): ReceiverConfig {
  const bad = (why: string, hint: string): WritError =>
    new WritError('ERR_CONFIG_INVALID', `\`signals\`: transmitter \`${one.name}\` ${why}`, { hint })
  const issuer = new URL(one.issuer)
  if (issuer.protocol !== 'https:' && !one.unsafe_http)
    throw bad(
      'is not https',
      'anybody on the way could speak for it; `unsafe_http: true` is for this machine alone',
    )
  if (one.unsafe_http && issuer.protocol !== 'https:' && !isLoopback(issuer) && !one.allow_private)
    throw bad('is plain HTTP and not on this machine', 'give its https address')
  if (one.delivery === 'poll' && !one.manage && one.poll_url === undefined)
    throw bad(
      'says nowhere where to poll',
      'give `poll_url`, or have Writ make the stream with `manage: true`',
    )
  if (one.silence <= one.verify)
    throw bad('would be called silent before it was asked', 'make `silence` longer than `verify`')
  if (one.jwks !== undefined && one.jwks_uri !== undefined)
    throw bad('says twice where its keys are', 'give one of `jwks` and `jwks_uri`, or neither')
  const { accounts, map, template } = one.subjects
  if (accounts.length === 0 && Object.keys(map).length === 0 && template === undefined)
    throw bad(
      'has no subjects',
      'say whom it may speak of: `subjects.accounts` (names of issuers), `subjects.map` or `subjects.template`',
    )
  const named = accounts.map((issuerName) => {
    const found = issuers.find((it) => it.name === issuerName)
    if (found === undefined)
      throw bad(`names the issuer \`${issuerName}\`, which is not configured`, 'list it under `issuers`')
    return { iss: found.issuer, issuer: found.name }
  })
  const { path } = files
  return {
    name: one.name,
    issuer: one.issuer,
    audiences: one.audiences,
    algorithms: one.algorithms,
    ...(one.jwks === undefined
      ? {}
      : { keys: { from: 'jwks' as const, keys: keySet(files, one.jwks, bad) } }),
    ...(one.jwks_uri === undefined ? {} : { keys: { from: 'uri' as const, uri: one.jwks_uri } }),
    delivery: one.delivery,
    ...(one.authorization_file === undefined ? {} : { authorizationFile: path(one.authorization_file) }),
    ...(one.token_file === undefined ? {} : { tokenFile: path(one.token_file) }),
    manage: one.manage,
    ...(one.poll_url === undefined ? {} : { pollUrl: one.poll_url }),
    events: one.events,
    subjects: {
      accounts: named,
      map,
      ...(template === undefined ? {} : { template }),
    },
    verifyEvery: one.verify,
    silence: one.silence,
    ...(one.max_age === undefined ? {} : { maxAge: one.max_age }),
    rate: one.rate,
    unsafeHttp: one.unsafe_http,
    allowPrivate: one.allow_private,
    ...(one.ca === undefined ? {} : { ca: pemIn(files, one.ca, bad) }),
  }
}

function listenerOf(
  one: z.output<typeof listenerSchema>,
  issuers: readonly Issuer[],
  files: Files,
): ListenerConfig {
  const bad = (why: string, hint: string): WritError =>
    new WritError('ERR_CONFIG_INVALID', `\`signals\`: receiver \`${one.name}\` ${why}`, { hint })
  if (one.delivery === 'push' && one.endpoint === undefined)
    throw bad('has no `endpoint`', 'say where its signals are pushed to')
  if (one.endpoint !== undefined && !one.allow_private && new URL(one.endpoint).protocol !== 'https:')
    throw bad(
      'is not https',
      'only an endpoint in a private network may be plain HTTP: say so with `allow_private: true`',
    )
  const found = issuers.find((it) => it.name === one.subjects)
  if (one.subjects !== 'iss_sub' && one.subjects !== 'opaque' && found === undefined)
    throw bad('names subjects in no known way', '`subjects` is `iss_sub`, `opaque` or the name of an issuer')
  const { path } = files
  return {
    name: one.name,
    subject: one.subject,
    audience: one.audience,
    delivery: one.delivery,
    ...(one.endpoint === undefined ? {} : { endpoint: one.endpoint }),
    ...(one.authorization_file === undefined ? {} : { authorizationFile: path(one.authorization_file) }),
    events: one.events,
    subjects:
      one.subjects === 'iss_sub' || one.subjects === 'opaque'
        ? one.subjects
        : { iss: (found as Issuer).issuer, issuer: (found as Issuer).name },
    from: one.from,
    allowPrivate: one.allow_private,
    ...(one.ca === undefined ? {} : { ca: pemIn(files, one.ca, bad) }),
  }
}

type Bad = (why: string, hint: string) => WritError

function once(values: readonly string[], where: string, what: string): void {
  const twice = values.find((value, at) => values.indexOf(value) !== at)
  if (twice !== undefined)
    throw new WritError('ERR_CONFIG_INVALID', `\`${where}\` has the ${what} \`${twice}\` twice`)
}

function readFile({ path, read }: Files, file: string, bad: Bad): string {
  try {
    return read(path(file))
  } catch {
    throw bad(`names a file that cannot be read: \`${path(file)}\``, 'it must be readable for who runs Writ')
  }
}

function keySet(files: Files, file: string, bad: Bad): readonly Jwk[] {
  let parsed: unknown
  try {
    parsed = JSON.parse(readFile(files, file, bad))
  } catch (error) {
    if (error instanceof WritError) throw error
  }
  const schema = z.looseObject({ keys: z.array(z.looseObject({ kty: z.string() })).min(1) })
  const { success, data } = schema.safeParse(parsed)
  if (!success || data.keys.some((key) => 'd' in key || 'k' in key || key.kty === 'oct'))
    throw bad('has keys that are none', 'give `jwks` the path of a JSON file {"keys": […]} with public keys')
  return data.keys as unknown as readonly Jwk[]
}

function pemIn(files: Files, file: string, bad: Bad): string {
  const pem = readFile(files, file, bad)
  if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem
  throw bad(`names a file without a certificate: \`${file}\``, 'give `ca` the path of a PEM file')
}

/** Queries may hold keys. */
const bare = (address: string): string => address.replace(/\?.*$/u, '')

/** What is trusted, as the record shows it: no paths, which may hold secrets, and no keys by value. */
export function signalsSummary({ receivers, transmitter }: SignalsConfig): Json {
  return {
    receivers: receivers.map(
      ({ authorizationFile, tokenFile: _token, ca: _ca, keys, pollUrl, ...one }): Json => ({
        ...(one as unknown as Record<string, Json>),
        ...(pollUrl === undefined ? {} : { pollUrl: bare(pollUrl) }),
        authorized: authorizationFile !== undefined,
        ...(keys === undefined ? {} : { keys: keys.from === 'uri' ? bare(keys.uri) : 'configured' }),
      }),
    ),
    ...(transmitter === undefined
      ? {}
      : {
          transmitter: {
            algorithm: transmitter.algorithm,
            listeners: transmitter.listeners.map(
              ({ authorizationFile: _authorization, ca: _ca, endpoint, ...one }): Json => ({
                ...(one as unknown as Record<string, Json>),
                ...(endpoint === undefined ? {} : { to: new URL(endpoint).origin }),
              }),
            ),
          },
        }),
  }
}
