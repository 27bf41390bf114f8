/**
 * Systems that know of tickets and incidents: how they are asked, how what they say is read, and how their webhooks prove
 * that they are theirs. As configured; how it is done is in `context/` and `signals/`.
 *
 * @module
 */
import type { Millis } from './time.ts'

export const ticketKinds = ['jira', 'servicenow', 'github', 'http'] as const
export type TicketKind = (typeof ticketKinds)[number]

export const incidentKinds = ['pagerduty', 'opsgenie', 'http'] as const
export type IncidentKind = (typeof incidentKinds)[number]

/** How a credential stands in its header: `Bearer …`, `Basic …` (of `user:password`), `Token token=…`, `GenieKey …`. */
export const credentialSchemes = ['bearer', 'basic', 'token', 'geniekey', 'none'] as const
export type CredentialScheme = (typeof credentialSchemes)[number]

/** Where a secret is; read whenever it is needed, so that it may be changed while the server runs. */
export type SecretPlace = Readonly<{ file: string }> | Readonly<{ env: string }>

export type Credential = Readonly<{
  /** In lower case, e.g. `authorization`. */
  header: string
  scheme?: CredentialScheme
  from: SecretPlace
}>

/** Whether one of the values at a JSON pointer is one of these texts; nothing there is no. */
export type Condition = Readonly<{ at?: string; in: readonly string[] }>

/** Values that stand in a list, or in text with commas; `prefix` chooses those that begin so, and is taken off. */
export type ValueList = Readonly<{ at: string; prefix?: string }>

/** What can be read of a ticket, each by a JSON pointer. */
export const ticketFields = [
  'id',
  'status',
  'type',
  'priority',
  'assignee',
  'startsAt',
  'endsAt',
  'changedAt',
] as const
export type TicketField = (typeof ticketFields)[number]

export const incidentFields = ['id', 'severity', 'changedAt'] as const
export type IncidentField = (typeof incidentFields)[number]

type Asked = Readonly<{
  /** Stands in the record, and in the path of its webhooks. */
  name: string
  /** Of the API; for `http` the URL of one thing with `{key}` in it. */
  url: string
  /** It answers for what begins with one of these texts, and for nothing else. */
  keys: readonly string[]
  fresh: Millis
  maxAge: Millis
  timeout: Millis
  allowPrivate: boolean
  /** PEM of further certificate authorities. */
  ca?: string
  credential?: Credential
}>

/** A system of tickets; what is absent is as its kind has it. */
export type TicketSourceConfig = Asked &
  Readonly<{
    kind: TicketKind
    fields: Readonly<Partial<Record<TicketField, string>>>
    open?: Condition
    approved?: Condition
    resources?: ValueList
  }>

/** A system of incidents; what is absent is as its kind has it. */
export type IncidentSourceConfig = Asked &
  Readonly<{
    kind: IncidentKind
    /** Opsgenie: whether its alerts count instead of its incidents. */
    alerts: boolean
    fields: Readonly<Partial<Record<IncidentField, string>>>
    open?: Condition
    services?: ValueList
  }>

/**
 * How a delivery proves whose it is. `standard`: Standard Webhooks. `hub`: HMAC-SHA-256 of the body as `sha256=…` (GitHub,
 * Jira). `pagerduty`: the same as `v1=…`, several of them while a key is replaced. `header`: a shared secret in a header, for
 * senders that sign nothing.
 */
export const webhookSchemes = ['standard', 'hub', 'pagerduty', 'header'] as const
export type WebhookScheme = (typeof webhookSchemes)[number]

/** Deliveries of a source that are taken at `/webhooks/{source}`. */
export type WebhookConfig = Readonly<{
  /** The name of the ticket or incident source. */
  source: string
  scheme: WebhookScheme
  /** Where the signature or the secret stands, in lower case. */
  header: string
  /** Several while a key is replaced. */
  secrets: readonly SecretPlace[]
  /** How old what it tells may be. */
  window: Millis
}>

export type SourcesConfig = Readonly<{
  tickets: readonly TicketSourceConfig[]
  incidents: readonly IncidentSourceConfig[]
}>
