/**
 * The one schema of Writ's configuration: name, type, unit, default, environment variable, sentence. The reference
 * page, the JSON schema, `writ config explain` and the loader all come from here.
 *
 * @module
 */
import { z } from 'zod'
import type { Millis } from '../model/time.ts'
import { formatDuration, parseDuration } from '../model/time.ts'
import { callbackSchema } from './callbacks.ts'
import { exportSchema } from './exports.ts'
import { issuerSchema } from './issuers.ts'
import { loginProvider, passkeyModes } from './login.ts'
import { receiverSchema, transmitterSchema } from './signals.ts'
import { calendarsSchema } from './calendars.ts'
import { incidentSchema, pushedAge, ticketSchema, webhookSchema } from './sources.ts'
import { tokenClient, tokenResource } from './tokens.ts'

/** What is known of one setting beside its zod schema. */
export type SettingMeta = Readonly<{
  type: 'string' | 'path' | 'url' | 'integer' | 'boolean' | 'duration' | 'bytes' | 'choice' | 'list' | 'map'
  /** The unit of the number, where the type alone does not say it. */
  unit?: string
  /** The default as it would be written in the file; absent when there is none. */
  default?: string
  env?: string
  sentence: string
  /** Who reads it. */
  reader: 'client' | 'server'
  /** True for what a file that came with somebody's repository may not set. */
  personal?: boolean
}>

const registry = z.registry<SettingMeta>()

/** The meta of a leaf of the schema, `undefined` for a group. */
export function settingMeta(schema: z.core.$ZodType): SettingMeta | undefined {
  return registry.get(schema)
}

function setting<S extends z.ZodType>(schema: S, meta: SettingMeta): S {
  const described = schema.describe(meta.sentence)
  registry.add(described, meta)
  return described
}

type Common = Readonly<{ env?: string; sentence: string; reader: 'client' | 'server'; personal?: boolean }>

/** `15m`, `90s`: kept as milliseconds. */
function duration(fallback: Millis, most: Millis, meta: Common) {
  const schema = z
    .string()
    .transform((text, context): Millis => {
      const millis = parseDuration(text)
      if (millis === undefined) context.addIssue('is not a duration such as `90s`, `15m` or `1h`')
      else if (millis > most) context.addIssue(`is more than the ${formatDuration(most)} that are possible`)
      return millis ?? 0
    })
    .prefault(formatDuration(fallback))
  return setting(schema, { ...meta, type: 'duration', default: formatDuration(fallback) })
}

function integer(
  fallback: number,
  least: number,
  most: number,
  meta: Common & { unit?: string; type?: 'bytes' },
) {
  const { type = 'integer', ...rest } = meta
  const schema = z
    .number('is not a number')
    .int('is not a whole number')
    .min(least, `is less than ${least}`)
    .max(most, `is more than ${most}`)
    .default(fallback)
  return setting(schema, { ...rest, type, default: String(fallback) })
}

function text(meta: Common & { type?: 'string' | 'path' | 'url' }) {
  const { type = 'string', ...rest } = meta
  return setting(z.string('is not text').min(1, 'is empty').optional(), { ...rest, type })
}

function textOr(fallback: string, meta: Common & { type?: 'string' | 'path' | 'url' }) {
  const { type = 'string', ...rest } = meta
  return setting(z.string('is not text').min(1, 'is empty').default(fallback), {
    ...rest,
    type,
    default: fallback,
  })
}

const webUrl = (value: string): boolean => {
  const url = URL.parse(value)
  return url !== null && (url.protocol === 'http:' || url.protocol === 'https:') && url.username === ''
}

/** A witness (C2SP tlog-witness): where it is asked, and the key that it cosigns with. */
const witness = z.strictObject({
  url: z.string().refine(webUrl, 'is not an http(s) URL'),
  key: z.string().min(1),
})

const profile = z.strictObject({
  url: z.string().refine(webUrl, 'is not an http(s) URL').optional(),
  token_file: z.string().min(1).optional(),
  output: z.enum(['table', 'json', 'yaml', 'ndjson']).optional(),
})

const DAY: Millis = 86_400_000
const HOUR: Millis = 3_600_000
const MINUTE: Millis = 60_000

export const configSchema = z.strictObject({
  url: setting(
    z.string('is not text').refine(webUrl, 'is not an http(s) URL').default('http://127.0.0.1:9748'),
    {
      type: 'url',
      default: 'http://127.0.0.1:9748',
      env: 'WRIT_URL',
      reader: 'client',
      // a repository that says where tokens and one-time codes are sent would have them
      personal: true,
      sentence: 'Where the Writ server is that commands talk to.',
    },
  ),
  token_file: text({
    type: 'path',
    env: 'WRIT_TOKEN_FILE',
    reader: 'client',
    personal: true,
    sentence:
      'A file that holds the token to authenticate with; the variable `WRIT_TOKEN` holds the token itself and wins.',
  }),
  log_key: text({
    env: 'WRIT_LOG_KEY',
    reader: 'client',
    personal: true,
    sentence: 'The key that the log of the server is signed with; by default the one that was seen first.',
  }),
  profile: text({
    env: 'WRIT_PROFILE',
    reader: 'client',
    personal: true,
    sentence: 'The name under `profiles` whose settings are used.',
  }),
  output: setting(
    z.enum(['table', 'json', 'yaml', 'ndjson'], 'is not one of table, json, yaml, ndjson').default('table'),
    {
      type: 'choice',
      default: 'table',
      env: 'WRIT_OUTPUT',
      reader: 'client',
      sentence: 'How data is written to standard output: `table`, `json`, `yaml` or `ndjson`.',
    },
  ),
  profiles: setting(z.record(z.string().min(1), profile).default({}), {
    type: 'map',
    default: '{}',
    reader: 'client',
    personal: true,
    sentence: 'Named sets of `url`, `token_file` and `output`, chosen with `--profile`.',
  }),

  data: textOr('./writ-data', {
    type: 'path',
    env: 'WRIT_DATA',
    reader: 'server',
    sentence: 'The data folder: state and journal, owned by one process, mode 0700.',
  }),
  host: textOr('127.0.0.1', {
    env: 'WRIT_HOST',
    reader: 'server',
    sentence: 'The address to listen on; loopback only until told otherwise.',
  }),
  port: integer(9748, 0, 65_535, {
    env: 'WRIT_PORT',
    reader: 'server',
    sentence: 'The port to listen on; 0 takes a free one.',
  }),
  public_url: setting(z.string('is not text').refine(webUrl, 'is not an http(s) URL').optional(), {
    type: 'url',
    env: 'WRIT_PUBLIC_URL',
    reader: 'server',
    sentence: 'The URL under which callers reach this server, when a proxy stands before it.',
  }),
  tls: z
    .strictObject({
      cert: text({
        type: 'path',
        env: 'WRIT_TLS_CERT',
        reader: 'server',
        sentence: 'PEM file of the certificate chain; with it the server speaks TLS.',
      }),
      key: text({
        type: 'path',
        env: 'WRIT_TLS_KEY',
        reader: 'server',
        sentence: 'PEM file of the private key that belongs to the certificate.',
      }),
    })
    .prefault({}),
  key_file: text({
    type: 'path',
    env: 'WRIT_KEY_FILE',
    reader: 'server',
    sentence:
      'The key that secrets are encrypted under at rest; outside the data folder, made on first start (mode 0600), by default under `$XDG_STATE_HOME/writ`.',
  }),
  log: z
    .strictObject({
      tiles: setting(z.boolean('is neither `true` nor `false`').default(true), {
        type: 'boolean',
        default: 'true',
        env: 'WRIT_LOG_TILES',
        reader: 'server',
        sentence: 'Whether the log is also kept as files (C2SP tiles) under `log` in the data folder.',
      }),
      retention: setting(
        z
          .string()
          .regex(/^[1-9]\d{0,4}d$/u, 'is not a number of days such as `400d`')
          .transform((days): Millis => Number(days.slice(0, -1)) * DAY)
          .optional(),
        {
          type: 'duration',
          env: 'WRIT_LOG_RETENTION',
          reader: 'server',
          sentence:
            'How old entries of the log get, in days such as `400d`, before only their hashes are kept; unset: all are kept.',
        },
      ),
      mark: text({
        type: 'path',
        env: 'WRIT_LOG_MARK',
        reader: 'server',
        sentence:
          'Where the last signed head is remembered, outside the data folder; by default beside the key file.',
      }),
      witnesses: setting(z.array(witness).default([]), {
        type: 'list',
        default: '[]',
        reader: 'server',
        sentence:
          'Witnesses that cosign the heads of the log: `url` and `key` of each, which `writ witness` prints.',
      }),
    })
    .prefault({}),
  policies: textOr('./policies', {
    type: 'path',
    env: 'WRIT_POLICIES',
    reader: 'server',
    sentence: 'The policy folder that `writ dev` reloads; a server runs what was published.',
  }),
  verify_decisions: setting(z.enum(['off', 'on'], 'is not one of off, on').default('off'), {
    type: 'choice',
    default: 'off',
    env: 'WRIT_VERIFY_DECISIONS',
    reader: 'server',
    sentence:
      'Whether every decision is taken again by reference Cedar after it was recorded, with an alarm when it answers otherwise: `on` or `off`.',
  }),
  inventory: text({
    type: 'path',
    env: 'WRIT_INVENTORY',
    reader: 'server',
    sentence:
      'The inventory file that `writ dev` loads at start, by default `./inventory.yaml` if it exists.',
  }),
  defaults: z
    .strictObject({
      request: duration(15 * MINUTE, DAY, {
        env: 'WRIT_DEFAULT_REQUEST',
        reader: 'server',
        sentence: 'How long an access request waits before it expires.',
      }),
      task: duration(30 * MINUTE, DAY, {
        env: 'WRIT_DEFAULT_TASK',
        reader: 'server',
        sentence: 'The longest life of a task, counted from its first permit.',
      }),
      heartbeat: duration(15_000, HOUR, {
        env: 'WRIT_DEFAULT_HEARTBEAT',
        reader: 'server',
        sentence: 'How long an open task lives without a heartbeat.',
      }),
      grant: duration(15 * MINUTE, DAY, {
        env: 'WRIT_DEFAULT_GRANT',
        reader: 'server',
        sentence: 'The longest life of a grant where policy does not say less.',
      }),
      third_party_grant: duration(5 * MINUTE, DAY, {
        env: 'WRIT_DEFAULT_THIRD_PARTY_GRANT',
        reader: 'server',
        sentence:
          'The longest life of a grant in which a third party has part (`third_party` in the inventory), whatever policy gives it.',
      }),
    })
    .prefault({}),
  limits: z
    .strictObject({
      body: integer(262_144, 1_024, 16_777_216, {
        type: 'bytes',
        unit: 'bytes',
        env: 'WRIT_LIMIT_BODY',
        reader: 'server',
        sentence: 'The largest request body that is read.',
      }),
      depth: integer(32, 4, 256, {
        unit: 'levels',
        env: 'WRIT_LIMIT_DEPTH',
        reader: 'server',
        sentence: 'How deep JSON in a request may nest.',
      }),
      rate: integer(2_000, 1, 1_000_000, {
        unit: 'requests per second',
        env: 'WRIT_LIMIT_RATE',
        reader: 'server',
        sentence: 'How many requests each caller may make per second.',
      }),
    })
    .prefault({}),
  issuers: setting(z.array(issuerSchema).default([]), {
    type: 'list',
    default: '[]',
    reader: 'server',
    sentence:
      'Whose tokens prove who asks: `name`, `kind` (`oidc`, `github`, `gitlab`, `kubernetes`, `spiffe`), `issuer`, `audiences`, where its keys are (`jwks`, `jwks_uri`, `bundle`, or by discovery), and `subjects`: which token is whom.',
  }),
  tokens: z
    .strictObject({
      life: duration(5 * MINUTE, HOUR, {
        env: 'WRIT_TOKEN_LIFE',
        reader: 'server',
        sentence: 'The longest life of an access token; never longer than the grant behind it.',
      }),
      sender_constrained: setting(
        z
          .enum(['privileged', 'always', 'never'], 'is not one of privileged, always, never')
          .default('privileged'),
        {
          type: 'choice',
          default: 'privileged',
          env: 'WRIT_TOKENS_SENDER_CONSTRAINED',
          reader: 'server',
          sentence:
            'Which access tokens are bound to a key of their holder (DPoP): `privileged` are those for resources of high sensitivity and those that needed evidence.',
        },
      ),
      clients: setting(z.array(tokenClient).default([]), {
        type: 'list',
        default: '[]',
        reader: 'server',
        sentence:
          'Clients that prove themselves with a key of their own: `id`, `subject` (Type/id), `jwks` (a file with public keys), `serves` (resources whose tokens it may look at).',
      }),
      resources: setting(z.array(tokenResource).default([]), {
        type: 'list',
        default: '[]',
        reader: 'server',
        sentence: 'What resources are called as URIs in token requests: `uri` and `resource` (Type/id).',
      }),
    })
    .prefault({}),
  login: z
    .strictObject({
      passkey: setting(z.enum(passkeyModes, `is not one of ${passkeyModes.join(', ')}`).default('owned'), {
        type: 'choice',
        default: 'owned',
        env: 'WRIT_LOGIN_PASSKEY',
        reader: 'server',
        sentence:
          'Which approvals need a passkey, used for that very request: `owned` those of sensitive things by people who have one, `high` those of sensitive things by anybody, `always` all, `off` none.',
      }),
      providers: setting(z.array(loginProvider).default([]), {
        type: 'list',
        default: '[]',
        reader: 'server',
        sentence:
          'OpenID Connect providers that people sign in with: `name` (one of `issuers`, or with an `issuer` of its own), `label`, `client_id`, `key_file` (`private_key_jwt`) or `secret_file` or neither, `scopes`, `device_claim` (names the device whose posture counts), `allow_private`, `ca`.',
      }),
      server: setting(z.boolean('is neither `true` nor `false`').default(true), {
        type: 'boolean',
        default: 'true',
        env: 'WRIT_LOGIN_SERVER',
        reader: 'server',
        sentence:
          'Whether programs may have people sign in here (authorization code with PKCE): `writ login`, MCP clients.',
      }),
      client_metadata: setting(z.boolean('is neither `true` nor `false`').default(false), {
        type: 'boolean',
        default: 'false',
        env: 'WRIT_LOGIN_CLIENT_METADATA',
        reader: 'server',
        sentence:
          'Whether such a program may be named by the https URL of its metadata document, which is then fetched.',
      }),
      registration: setting(z.boolean('is neither `true` nor `false`').default(false), {
        type: 'boolean',
        default: 'false',
        env: 'WRIT_LOGIN_REGISTRATION',
        reader: 'server',
        sentence: 'Whether such a program may register itself (RFC 7591); forgotten when the server stops.',
      }),
    })
    .prefault({}),
  callbacks: setting(z.array(callbackSchema).default([]), {
    type: 'list',
    default: '[]',
    reader: 'server',
    sentence:
      'Where enforcement points may be told how their access requests end: `subject` (Type/id), `endpoint` (one URL, or all below it when it ends in a slash), `secret_file` (`whsec_…`), `allow_private`.',
  }),
  signals: z
    .strictObject({
      receivers: setting(z.array(receiverSchema).default([]), {
        type: 'list',
        default: '[]',
        reader: 'server',
        sentence:
          'Whose signals are listened to (SSF): `name`, `issuer`, `audiences`, `delivery` (`push`, `poll`), `authorization_file`, `token_file`, `subjects` (`accounts`, `map`, `template`: whom it may speak of), `verify`, `silence`, `max_age`, `rate`; see the page on signals.',
      }),
      transmitter: setting(transmitterSchema.optional(), {
        type: 'map',
        reader: 'server',
        sentence:
          'Who is told what Writ takes away (SSF): `algorithm` (`RS256`, `ES256`) and `receivers`, each with `name`, `subject` (Type/id), `audience`, `delivery`, `endpoint`, `events`, `subjects`; see the page on signals.',
      }),
    })
    .prefault({}),
  sources: z
    .strictObject({
      tickets: setting(z.array(ticketSchema).default([]), {
        type: 'list',
        default: '[]',
        reader: 'server',
        sentence:
          'Systems of tickets that are asked: `name`, `kind` (`jira`, `servicenow`, `github`, `http`), `url`, `keys` (what their keys begin with), `credential` (`file` or `env`, `header`, `scheme`), `open`, `approved`, `resources`, `fields`, `fresh`, `max_age`, `timeout`, `allow_private`, `ca`; see the page on context.',
      }),
      incidents: setting(z.array(incidentSchema).default([]), {
        type: 'list',
        default: '[]',
        reader: 'server',
        sentence:
          'Systems of incidents that are asked: the same with `kind` (`pagerduty`, `opsgenie`, `http`), `alerts`, `services`, and `severity` among `fields`.',
      }),
      calendars: setting(calendarsSchema, {
        type: 'list',
        default: '[]',
        reader: 'server',
        sentence:
          'Calendars (iCalendar) of change windows, freezes and on-call: `name`, `file` or `url`, `refresh`, `max_age`, `horizon`, `time_zone`, `tentative`, `token_file`, `header`, `allow_private`, `ca`; see the page on calendars.',
      }),
      pushed: z
        .strictObject({
          max_age: setting(pushedAge, {
            type: 'duration',
            default: '1d',
            reader: 'server',
            sentence:
              'How long a fact is believed that is reported or signalled without an age of its own; nothing is believed longer than this or a day, whichever is more.',
          }),
          most: setting(z.int('is not a whole number').min(1).max(10_000_000).default(100_000), {
            type: 'integer',
            default: '100000',
            reader: 'server',
            sentence:
              'Things (devices, subjects, sessions, tickets, incidents) that one reporter, transmitter or webhook may tell of; more are refused, since facts are kept for good.',
          }),
        })
        .prefault({}),
    })
    .prefault({}),
  webhooks: setting(z.array(webhookSchema).default([]), {
    type: 'list',
    default: '[]',
    reader: 'server',
    sentence:
      'Whose webhooks are taken at `/webhooks/{source}`: `source` (the name of a ticket or incident system), `secrets` (each `file` or `env`), `scheme` (`standard`, `hub`, `pagerduty`, `header`), `header`, `window`.',
  }),
  exports: setting(z.array(exportSchema).default([]), {
    type: 'list',
    default: '[]',
    reader: 'server',
    sentence:
      'Where the record is sent: `id`, `kind` (`file`, `http`, `syslog`), `format` (`ocsf`, `cloudevents`, `entries`), `kinds`, `from`, and `path`, `url` or `address`; see the page on export.',
  }),
})

/** Configuration as validated: names as in the file, durations in milliseconds. */
export type Config = z.output<typeof configSchema>

/** One leaf of the schema. */
export type Setting = SettingMeta & Readonly<{ name: string; path: readonly string[]; schema: z.ZodType }>

/** The object inside `.prefault()`, if `schema` is a group of settings. */
function group(schema: z.core.$ZodType): z.ZodObject | undefined {
  const inner = schema instanceof z.ZodPrefault ? schema.unwrap() : schema
  return inner instanceof z.ZodObject ? inner : undefined
}

function leaves(object: z.ZodObject, path: readonly string[]): Setting[] {
  return Object.entries(object.shape as Record<string, z.ZodType>).flatMap(([key, schema]) => {
    const here = [...path, key]
    const meta = settingMeta(schema)
    if (meta) return [{ ...meta, name: here.join('.'), path: here, schema }]
    const inner = group(schema)
    return inner ? leaves(inner, here) : []
  })
}

/** Every setting, in the order of the reference page. */
export const settings: readonly Setting[] = leaves(configSchema, [])
