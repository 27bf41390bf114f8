/**
 * The parts of the configuration that say which systems know of tickets and incidents (`sources`), and whose webhooks are
 * taken (`webhooks`). Secrets stand in files or variables, never here.
 *
 * @module
 */
import { z } from 'zod'
import type { CalendarSource } from '../model/calendar.ts'
import type { Json } from '../model/canonical.ts'
import { WritError } from '../model/errors.ts'
import type {
  Condition,
  Credential,
  IncidentKind,
  IncidentSourceConfig,
  SecretPlace,
  SourcesConfig,
  TicketKind,
  TicketSourceConfig,
  ValueList,
  WebhookConfig,
  WebhookScheme,
} from '../model/source.ts'
import { credentialSchemes, incidentKinds, ticketKinds, webhookSchemes } from '../model/source.ts'
import type { SignalsConfig } from '../model/signal.ts'
import type { Millis } from '../model/time.ts'
import { DAY, HOUR, MINUTE, SECOND, formatDuration, parseDuration } from '../model/time.ts'

const text = z.string('is not text; put it in quotes').min(1, 'is empty').max(2_048, 'is too long')

const span = (most: Millis) =>
  z.string().transform((value, context): Millis => {
    const parsed = parseDuration(value)
    if (parsed === undefined) context.addIssue('is not a duration such as `90s`, `15m` or `1h`')
    else if (parsed > most) context.addIssue(`is more than the ${formatDuration(most)} that are possible`)
    return parsed ?? 0
  })

const millis = (fallback: Millis, most: Millis) => span(most).prefault(formatDuration(fallback))

const pointer = z
  .string('is not text; put it in quotes')
  .max(512, 'is too long')
  .regex(/^(?:\/(?:[^~/]|~[01])+)+$/u, 'is no JSON pointer such as `/fields/status/name`')

const values = z.array(text).min(1).max(64)
/** The values alone, or where else they stand. */
const condition = z.union(
  [values, z.strictObject({ at: pointer, in: values })],
  'is neither a list of texts nor `{ at: /pointer, in: [texts] }`',
)
const valueList = z.union(
  [pointer, z.strictObject({ at: pointer, prefix: text.optional() })],
  'is neither a JSON pointer nor `{ at: /pointer, prefix: text }`',
)

const header = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9-]{0,63}$/u, 'is no name of a header')
  .transform((name) => name.toLowerCase())

const place = {
  /** Path of a file with the secret. */
  file: text.optional(),
  /** The variable that holds it. */
  env: z
    .string()
    .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/u, 'is no name of a variable')
    .optional(),
}

const common = {
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/u, 'is not made of a–z, 0–9 and `-`'),
  url: text
    .refine((value) => {
      const url = URL.parse(value.replaceAll('{key}', 'key'))
      return url !== null && /^https?:$/u.test(url.protocol) && url.username === '' && url.hash === ''
    }, 'is not an https URL without a user name')
    .optional(),
  /** What keys of this system begin with; `''` for every key. */
  keys: z.array(z.string('is not text; put it in quotes').max(256)).min(1).max(64),
  /** How old an answer may be before it is asked again. */
  fresh: millis(30 * SECOND, HOUR),
  /** How long an answer is believed. */
  max_age: millis(5 * MINUTE, DAY),
  /** How long one answer may take. */
  timeout: millis(5 * SECOND, 10 * SECOND),
  allow_private: z.boolean('is neither `true` nor `false`').default(false),
  /** Path of a PEM file. */
  ca: text.optional(),
  credential: z
    .strictObject({
      ...place,
      header: header.default('authorization'),
      scheme: z.enum(credentialSchemes, `is not one of ${credentialSchemes.join(', ')}`).optional(),
    })
    .optional(),
  open: condition.optional(),
}

export const ticketSchema = z.strictObject({
  ...common,
  kind: z.enum(ticketKinds, `is not one of ${ticketKinds.join(', ')}`),
  approved: condition.optional(),
  resources: valueList.optional(),
  /** JSON pointers, where they are other than the kind has them. */
  fields: z
    .strictObject({
      id: pointer.optional(),
      status: pointer.optional(),
      type: pointer.optional(),
      priority: pointer.optional(),
      assignee: pointer.optional(),
      starts_at: pointer.optional(),
      ends_at: pointer.optional(),
      changed_at: pointer.optional(),
    })
    .default({}),
})

export const incidentSchema = z.strictObject({
  ...common,
  kind: z.enum(incidentKinds, `is not one of ${incidentKinds.join(', ')}`),
  /** Opsgenie: alerts count instead of incidents. */
  alerts: z.boolean('is neither `true` nor `false`').default(false),
  services: valueList.optional(),
  fields: z
    .strictObject({ id: pointer.optional(), severity: pointer.optional(), changed_at: pointer.optional() })
    .default({}),
})

/** How long a fact is believed that somebody pushes without saying so. */
export const pushedAge = span(30 * DAY)
  .refine((age) => age >= MINUTE, 'is less than `1m`')
  .prefault(formatDuration(DAY))

export const webhookSchema = z.strictObject({
  /** The name of a ticket or incident source; deliveries are taken at `/webhooks/{source}`. */
  source: text,
  scheme: z.enum(webhookSchemes, `is not one of ${webhookSchemes.join(', ')}`).optional(),
  /** Where the signature or the secret stands. */
  header: header.optional(),
  /** Two while a key is replaced. */
  secrets: z.array(z.strictObject(place)).min(1).max(4),
  /** How old what it tells may be. */
  window: span(3 * DAY).optional(),
})

const bad = (message: string, hint: string, cause?: unknown): WritError =>
  new WritError('ERR_CONFIG_INVALID', message, { hint, ...(cause === undefined ? {} : { cause }) })

type Ready = Readonly<{ scheme: WebhookScheme; header: string; window: Millis }>

/** How each kind proves its deliveries, and how late it tries again. */
const hooks: Readonly<Record<TicketKind | IncidentKind, Ready>> = {
  jira: { scheme: 'hub', header: 'x-hub-signature', window: HOUR },
  github: { scheme: 'hub', header: 'x-hub-signature-256', window: HOUR },
  pagerduty: { scheme: 'pagerduty', header: 'x-pagerduty-signature', window: 2 * DAY },
  servicenow: { scheme: 'header', header: 'x-webhook-secret', window: HOUR },
  opsgenie: { scheme: 'header', header: 'x-webhook-secret', window: HOUR },
  http: { scheme: 'standard', header: 'webhook-signature', window: HOUR },
}

const signatureHeaders: Readonly<Record<WebhookScheme, string>> = {
  standard: 'webhook-signature',
  hub: 'x-hub-signature-256',
  pagerduty: 'x-pagerduty-signature',
  header: 'x-webhook-secret',
}

const readyUrls: Readonly<Partial<Record<TicketKind | IncidentKind, string>>> = {
  github: 'https://api.github.com',
  pagerduty: 'https://api.pagerduty.com',
  opsgenie: 'https://api.opsgenie.com',
}

/**
 * Sources with absolute paths.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` for two of one name, an address that is missing or in the clear, and files that
 *   cannot be read.
 */
export function sourcesConfig(
  configured: Readonly<{
    tickets: readonly z.output<typeof ticketSchema>[]
    incidents: readonly z.output<typeof incidentSchema>[]
  }>,
  path: (text: string) => string,
  read: (path: string) => string,
): SourcesConfig {
  const names = new Set<string>()
  for (const { name } of [...configured.tickets, ...configured.incidents]) {
    if (names.has(name)) {
      throw bad(`\`sources\`: \`${name}\` stands there twice`, 'each system needs a `name` of its own')
    }
    names.add(name)
  }
  const shared = (one: z.output<typeof ticketSchema> | z.output<typeof incidentSchema>) => {
    const { name, keys, fresh, max_age: maxAge, timeout, allow_private: allowPrivate } = one
    const credential = one.credential === undefined ? undefined : credentialOf(name, one.credential, path)
    return {
      name,
      url: addressOf(one),
      keys,
      fresh,
      maxAge: Math.max(maxAge, fresh),
      timeout,
      allowPrivate,
      ...(one.ca === undefined ? {} : { ca: pem(name, path(one.ca), read) }),
      ...(credential === undefined ? {} : { credential }),
      ...(one.open === undefined ? {} : { open: conditionOf(one.open) }),
    }
  }
  return {
    tickets: configured.tickets.map((one): TicketSourceConfig => {
      const { starts_at: startsAt, ends_at: endsAt, changed_at: changedAt, ...fields } = one.fields
      return {
        ...shared(one),
        kind: one.kind,
        fields: defined({ ...fields, startsAt, endsAt, changedAt }),
        ...(one.approved === undefined ? {} : { approved: conditionOf(one.approved) }),
        ...(one.resources === undefined ? {} : { resources: listOf(one.resources) }),
      }
    }),
    incidents: configured.incidents.map((one): IncidentSourceConfig => {
      const { changed_at: changedAt, ...fields } = one.fields
      return {
        ...shared(one),
        kind: one.kind,
        alerts: one.alerts,
        fields: defined({ ...fields, changedAt }),
        ...(one.services === undefined ? {} : { services: listOf(one.services) }),
      }
    }),
  }
}

/**
 * Webhooks with absolute paths.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` for a source that there is not, or has two, and for an Opsgenie that only tells
 *   of alerts.
 */
export function webhooksConfig(
  configured: readonly z.output<typeof webhookSchema>[],
  sources: SourcesConfig,
  path: (text: string) => string,
): readonly WebhookConfig[] {
  const all = [...sources.tickets, ...sources.incidents]
  const seen = new Set<string>()
  return configured.map(({ source: name, scheme: chosen, header: named, secrets, window }) => {
    const source = all.find((one) => one.name === name)
    if (source === undefined) {
      throw bad(
        `\`webhooks\`: there is no source \`${name}\``,
        'name one of `sources.tickets` or `sources.incidents`',
      )
    }
    if (seen.has(name))
      throw bad(`\`webhooks\`: \`${name}\` stands there twice`, 'give both keys under `secrets`')
    seen.add(name)
    if (source.kind === 'opsgenie' && !('alerts' in source && source.alerts)) {
      throw bad(
        `\`webhooks\`: \`${name}\` tells of alerts, and is asked for incidents`,
        'set `alerts: true` for it, or let it be asked alone',
      )
    }
    const ready = hooks[source.kind]
    const scheme = chosen ?? ready.scheme
    if (scheme === 'standard' && named !== undefined && named !== 'webhook-signature') {
      throw bad(
        `\`webhooks\`: \`${name}\` names another header`,
        'Standard Webhooks have their own: leave `header` out',
      )
    }
    return {
      source: name,
      scheme,
      header: named ?? (scheme === ready.scheme ? ready.header : signatureHeaders[scheme]),
      secrets: secrets.map((one) => placeOf(`webhook of \`${name}\``, one, path)),
      window: window ?? ready.window,
    }
  })
}

/** Reads secrets where they are; kept by nobody. */
export function secretReader(
  env: Readonly<Record<string, string | undefined>>,
  readText: (path: string) => Promise<string>,
): (place: SecretPlace) => Promise<string> {
  return async (from) => {
    if ('file' in from) return readText(from.file)
    const value = env[from.env]
    if (value === undefined || value === '') throw new TypeError(`the variable \`${from.env}\` is not set`)
    return value
  }
}

type Place = Readonly<{ of: string; from: SecretPlace }>

/** Where secrets stand that are read when they are needed: what is missing is said at the start, not at the first use. */
export function secretPlaces({
  facts,
  webhooks = [],
  calendars = [],
  signals,
}: Readonly<{
  facts?: SourcesConfig
  webhooks?: readonly WebhookConfig[]
  calendars?: readonly CalendarSource[]
  signals?: SignalsConfig
}>): readonly Place[] {
  const at = (of: string, file: string | undefined): Place[] =>
    file === undefined ? [] : [{ of, from: { file } }]
  return [
    ...[...(facts?.tickets ?? []), ...(facts?.incidents ?? [])].flatMap(({ name, credential }) =>
      credential === undefined ? [] : [{ of: `credential of \`${name}\``, from: credential.from }],
    ),
    ...webhooks.flatMap(({ source, secrets }) =>
      secrets.map((from) => ({ of: `webhook secret of \`${source}\``, from })),
    ),
    ...calendars.flatMap(({ name, from }) =>
      at(`token of the calendar \`${name}\``, 'token' in from ? from.token?.file : undefined),
    ),
    ...(signals?.receivers ?? []).flatMap(({ name, tokenFile, authorizationFile }) => [
      ...at(`token for the transmitter \`${name}\``, tokenFile),
      ...at(`secret that the transmitter \`${name}\` shows`, authorizationFile),
    ]),
    ...(signals?.transmitter?.listeners ?? []).flatMap(({ name, authorizationFile }) =>
      at(`secret for the receiver \`${name}\``, authorizationFile),
    ),
  ]
}

/** A sentence for each secret that is not where it should be. */
export async function missingSecrets(
  places: readonly Place[],
  secret: ReturnType<typeof secretReader>,
): Promise<readonly string[]> {
  const said = await Promise.all(
    places.map(async ({ of, from }) => {
      const where = 'file' in from ? `file \`${from.file}\`` : `variable \`${from.env}\``
      try {
        return (await secret(from)).trim() === '' ? [`the ${of} is empty: ${where}`] : []
      } catch {
        return [`the ${of} cannot be read: ${where}`]
      }
    }),
  )
  return said.flat()
}

/** Systems as the record shows them: all that they are trusted with, and nothing secret. */
export function sourcesSummary({ tickets, incidents }: SourcesConfig): Json {
  const shown = ({ ca, url, credential, ...rest }: TicketSourceConfig | IncidentSourceConfig): Json => ({
    ...(rest as unknown as Record<string, Json>),
    // queries may hold keys
    url: url.replace(/\?.*$/u, ''),
    ...(ca === undefined ? {} : { ca: true }),
    ...(credential === undefined ? {} : { credential: credential.header }),
  })
  return { tickets: tickets.map(shown), incidents: incidents.map(shown) }
}

export const webhooksSummary = (configured: readonly WebhookConfig[]): Json =>
  configured.map(({ source, scheme, window }) => ({ source, scheme, window }))

function addressOf({
  name,
  kind,
  url,
  allow_private: allowPrivate,
}: z.output<typeof ticketSchema> | z.output<typeof incidentSchema>): string {
  const address = url ?? readyUrls[kind]
  if (address === undefined) {
    throw bad(
      `\`sources\`: \`${name}\` has no \`url\``,
      `give the address of the API, e.g. \`https://${name}.example\``,
    )
  }
  if (kind === 'http' && !address.includes('{key}')) {
    throw bad(
      `\`sources\`: the \`url\` of \`${name}\` names no \`{key}\``,
      'write `{key}` where the key stands in it',
    )
  }
  const { protocol, host, search } = new URL(address.replaceAll('{key}', 'key'))
  if (kind !== 'http' && search !== '') {
    throw bad(`\`sources\`: the \`url\` of \`${name}\` has a query`, 'give the address of the API alone')
  }
  // a key that says which host is asked would be asked for with our credential
  if (host !== new URL(address.replaceAll('{key}', 'other')).host) {
    throw bad(
      `\`sources\`: the \`url\` of \`${name}\` has \`{key}\` in its host`,
      'keys may stand in path and query',
    )
  }
  if (protocol !== 'https:' && !allowPrivate) {
    throw bad(
      `\`sources\`: \`${name}\` is asked without TLS`,
      'only a system in a private network may be plain HTTP: say so with `allow_private: true`',
    )
  }
  return address
}

function credentialOf(
  name: string,
  { header: named, scheme, ...from }: NonNullable<z.output<typeof ticketSchema>['credential']>,
  path: (text: string) => string,
): Credential {
  // a secret of its own header has no scheme unless it is said
  const own = scheme ?? (named === 'authorization' ? undefined : 'none')
  return {
    header: named,
    from: placeOf(`credential of \`${name}\``, from, path),
    ...(own === undefined ? {} : { scheme: own }),
  }
}

function placeOf(
  what: string,
  { file, env }: Readonly<{ file?: string | undefined; env?: string | undefined }>,
  path: (text: string) => string,
): SecretPlace {
  if (file !== undefined && env === undefined) return { file: path(file) }
  if (env !== undefined && file === undefined) return { env }
  throw bad(`the ${what} stands nowhere, or twice`, 'give either `file` or `env`')
}

function conditionOf(one: z.output<typeof condition>): Condition {
  return Array.isArray(one) ? { in: one } : one
}

function listOf(one: z.output<typeof valueList>): ValueList {
  if (typeof one === 'string') return { at: one }
  return { at: one.at, ...(one.prefix === undefined ? {} : { prefix: one.prefix }) }
}

function defined<K extends string>(
  fields: Readonly<Partial<Record<K, string | undefined>>>,
): Readonly<Partial<Record<K, string>>> {
  const there = Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return Object.fromEntries(there) as Partial<Record<K, string>>
}

function pem(name: string, file: string, read: (path: string) => string): string {
  let content = ''
  let cause: unknown
  try {
    content = read(file)
  } catch (error) {
    cause = error
  }
  if (content.includes('-----BEGIN CERTIFICATE-----')) return content
  throw bad(
    `\`sources\`: \`${file}\` of \`${name}\` ${cause === undefined ? 'holds no certificate' : 'cannot be read'}`,
    'give `ca` the path of a PEM file with the certificates of authorities',
    cause,
  )
}
