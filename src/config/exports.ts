/**
 * The part of the configuration that says where the record is sent.
 *
 * @module
 */
import { z } from 'zod'
import { WritError } from '../model/errors.ts'
import type { Millis } from '../model/time.ts'
import { formatDuration, parseDuration } from '../model/time.ts'

const path = z.string().min(1)

/** Hosts that are this machine, where nobody listens on the way. */
const loopback = /^(?:localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/u

const millis = (fallback: Millis, most: Millis) =>
  z
    .string()
    .transform((text, context): Millis => {
      const parsed = parseDuration(text)
      if (parsed === undefined) context.addIssue('is not a duration such as `90s`, `15m` or `1h`')
      else if (parsed > most) context.addIssue(`is more than the ${formatDuration(most)} that are possible`)
      return parsed ?? 0
    })
    .prefault(formatDuration(fallback))

const tls = z.strictObject({ ca: path.optional(), cert: path.optional(), key: path.optional() })

const common = {
  /** Names its place in the record: under another id everything is sent from the start. */
  id: z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/u, 'is not made of a–z, 0–9 and `-`'),
  format: z
    .enum(['ocsf', 'cloudevents', 'entries'], 'is not one of ocsf, cloudevents, entries')
    .default('ocsf'),
  /** Kinds of entries, e.g. `decision`; `grant.` for all that begin so. All if it is not given. */
  kinds: z
    .array(z.string().regex(/^[a-z][a-z.-]*$/u, 'is no kind of entry, such as `decision` or `grant.`'))
    .min(1)
    .optional(),
  /** Where a new export begins. */
  from: z.enum(['start', 'now'], 'is not one of start, now').default('start'),
  /** How long one batch may take. */
  timeout: millis(10_000, 120_000),
  /** Most entries of one batch. */
  batch: z.number().int().min(1).max(1_000).default(500),
}

const file = z.strictObject({
  ...common,
  kind: z.literal('file'),
  path,
  /** Bytes after which the file is put aside under a number. */
  rotate_at: z.number().int().min(4_096).default(104_857_600),
})

const http = z.strictObject({
  ...common,
  kind: z.literal('http'),
  url: z.string().refine((text) => {
    const url = URL.parse(text)
    return url !== null && /^https?:$/u.test(url.protocol) && url.username === '' && url.hash === ''
  }, 'is not an http(s) URL without a user name'),
  token_file: path.optional(),
  /** The header that carries the token. */
  header: z
    .string()
    .regex(/^[A-Za-z][A-Za-z0-9-]{0,63}$/u, 'is no name of a header')
    .default('authorization'),
  /** A file with `whsec_…`: batches are signed as Standard Webhooks. */
  webhook_secret_file: path.optional(),
  tls: tls.optional(),
  unsafe_plaintext: z.boolean().default(false),
})

const syslog = z.strictObject({
  ...common,
  kind: z.literal('syslog'),
  /** `host:port`. */
  address: z.string().regex(/^(?:\[[0-9A-Fa-f:.]+\]|[^\s:[\]]+):\d{1,5}$/u, 'is not written host:port'),
  /** TLS with the authorities of the system, or with these files. */
  tls: z.union([z.boolean(), tls]).default(true),
  unsafe_plaintext: z.boolean().default(false),
})

export const exportSchema = z.discriminatedUnion('kind', [file, http, syslog])
export type ExportInput = z.output<typeof exportSchema>

type Common = Readonly<{
  id: string
  format: 'ocsf' | 'cloudevents' | 'entries'
  kinds?: readonly string[]
  from: 'start' | 'now'
  timeout: Millis
  batch: number
}>

/** Paths of PEM files. */
export type TlsFiles = Readonly<{ ca?: string; cert?: string; key?: string }>

/** Where the record is sent; paths are absolute. */
export type ExportConfig = Common &
  (
    | Readonly<{ kind: 'file'; path: string; rotateAt: number }>
    | Readonly<{
        kind: 'http'
        url: string
        header: string
        tokenFile?: string
        webhookSecretFile?: string
        tls?: TlsFiles
      }>
    | Readonly<{ kind: 'syslog'; host: string; port: number; tls?: TlsFiles }>
  )

/**
 * Exports with absolute paths.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` for two of one name or file, and for what would cross a network in the clear.
 */
export function exportConfigs(
  exports: readonly ExportInput[],
  absolute: (path: string) => string,
): readonly ExportConfig[] {
  const seen = new Set<string>()
  return exports.map((one): ExportConfig => {
    const place = one.kind === 'file' ? absolute(one.path) : undefined
    for (const name of [one.id, place]) {
      if (name !== undefined && seen.has(name)) {
        throw new WritError('ERR_CONFIG_INVALID', `\`exports\`: \`${name}\` stands there twice`, {
          hint: 'each export needs an `id`, and a file, of its own',
        })
      }
      if (name !== undefined) seen.add(name)
    }
    const { id, format, kinds, from, timeout, batch } = one
    const common = { id, format, from, timeout, batch, ...(kinds === undefined ? {} : { kinds }) }
    if (one.kind === 'file')
      return { ...common, kind: 'file', path: absolute(one.path), rotateAt: one.rotate_at }
    if (one.kind === 'http') {
      const { protocol, hostname } = new URL(one.url)
      if (protocol === 'http:') refusePlaintext(id, hostname, one.unsafe_plaintext)
      return {
        ...common,
        kind: 'http',
        url: one.url,
        header: one.header.toLowerCase(),
        ...(one.token_file === undefined ? {} : { tokenFile: absolute(one.token_file) }),
        ...(one.webhook_secret_file === undefined
          ? {}
          : { webhookSecretFile: absolute(one.webhook_secret_file) }),
        ...(one.tls === undefined ? {} : { tls: tlsFiles(id, one.tls, absolute) }),
      }
    }
    const [, bracketed, name, port] = /^(?:\[(.+)\]|(.+)):(\d+)$/u.exec(one.address) ?? []
    const host = bracketed ?? name ?? ''
    if (Number(port) < 1 || Number(port) > 65_535) {
      throw new WritError(
        'ERR_CONFIG_INVALID',
        `\`exports\`: \`${one.address}\` of \`${id}\` has no such port`,
        {
          hint: 'ports are 1–65535; syslog over TLS is usually 6514',
        },
      )
    }
    if (one.tls === false) refusePlaintext(id, host, one.unsafe_plaintext)
    return {
      ...common,
      kind: 'syslog',
      host,
      port: Number(port),
      ...(one.tls === false ? {} : { tls: one.tls === true ? {} : tlsFiles(id, one.tls, absolute) }),
    }
  })
}

/** What an export is, without anything that may be secret: for the record of what was configured. */
export function exportSummary(one: ExportConfig): Readonly<Record<string, string>> {
  const to =
    one.kind === 'file'
      ? one.path
      : one.kind === 'http'
        ? new URL(one.url).origin // paths and queries of collectors hold keys
        : `${one.tls === undefined ? 'tcp' : 'tls'}://${one.host}:${one.port}`
  return { id: one.id, kind: one.kind, format: one.format, to }
}

function refusePlaintext(id: string, host: string, allowed: boolean): void {
  if (allowed || loopback.test(host)) return
  throw new WritError('ERR_CONFIG_INVALID', `\`exports\`: \`${id}\` would send the record in the clear`, {
    hint: 'use TLS, or set `unsafe_plaintext: true` if the network is all yours',
  })
}

function tlsFiles(id: string, files: z.output<typeof tls>, absolute: (path: string) => string): TlsFiles {
  if ((files.cert === undefined) !== (files.key === undefined)) {
    throw new WritError('ERR_CONFIG_INVALID', `\`exports\`: half of the TLS pair of \`${id}\` is missing`, {
      hint: 'a client certificate needs both `cert` and `key`',
    })
  }
  return Object.fromEntries(
    Object.entries(files).flatMap(([name, file]) => (file === undefined ? [] : [[name, absolute(file)]])),
  )
}
