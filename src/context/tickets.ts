/**
 * Systems of tickets: Jira, ServiceNow (change requests), GitHub Issues, and whatever else answers with JSON. Each is a
 * mapping to one normal form; a ticket that cannot be read in every part that is there is unknown.
 *
 * @module
 */
import type { Observation } from '../model/fact.ts'
import type {
  Condition,
  CredentialScheme,
  TicketField,
  TicketKind,
  TicketSourceConfig,
  ValueList,
} from '../model/source.ts'
import { ticketFields } from '../model/source.ts'
import type { Instant, Millis } from '../model/time.ts'
import type { AskedDeps } from './asked.ts'
import { Asked } from './asked.ts'
import { SourceError } from './port.ts'
import { holds, instantAt, listAt, textAt, valuesAt } from './reading.ts'
import type { TellingSource, Told, Value } from './told.ts'
import { Changes, begins, below, given, observation, plainKey } from './told.ts'

type At = Condition & Readonly<{ at: string }>
type Fields = Readonly<Partial<Record<TicketField, string>> & { status: string }>

/** How one kind is asked and read. */
type Shape = Readonly<{
  scheme: CredentialScheme
  accept: string
  fields: Fields
  open: At
  approved: At
  resources: ValueList
  /** Times without a zone are UTC. */
  utc: boolean
  /** What its statuses are called, where it numbers them. */
  statusNames: Readonly<Record<string, string>>
  /** Its key, where no pointer leads to it. */
  key?(ticket: unknown): string | undefined
  url(base: string, key: string, read: readonly string[]): URL
  /** The ticket in an answer; none where it knows of none. */
  found(answer: unknown): readonly unknown[]
  /** The ticket in the body of a webhook, whether it is gone, and where its time stands in the body. */
  told(body: unknown): Readonly<{ ticket: unknown; gone: boolean; at?: string }> | undefined
}>

const member = (value: unknown, pointer: string): unknown => valuesAt(value, pointer)[0]

/** Names of members right below `under` that pointers read: all that has to be asked for. */
const namesUnder = (under: string, pointers: readonly string[]): string =>
  [
    ...new Set(
      pointers
        .filter((pointer) => pointer.startsWith(under))
        .map((pointer) => pointer.slice(under.length).split('/')[0] ?? ''),
    ),
  ].join(',')

const shapes: Readonly<Record<TicketKind, Shape>> = {
  jira: {
    scheme: 'basic',
    accept: 'application/json',
    fields: {
      id: '/key',
      status: '/fields/status/name',
      type: '/fields/issuetype/name',
      priority: '/fields/priority/name',
      assignee: '/fields/assignee/emailAddress',
      changedAt: '/fields/updated',
    },
    open: { at: '/fields/status/statusCategory/key', in: ['new', 'indeterminate'] },
    approved: { at: '/fields/status/name', in: ['Approved', 'Awaiting implementation', 'Implementing'] },
    resources: { at: '/fields/labels/*', prefix: 'resource:' },
    utc: false,
    statusNames: {},
    // version 2 is the one that Cloud and Data Center share
    url: (base, key, read) => {
      const url = below(base, `/rest/api/2/issue/${encodeURIComponent(plainKey(key))}`)
      url.searchParams.set('fields', namesUnder('/fields/', read))
      return url
    },
    found: (answer) => [answer],
    told(body) {
      const event = member(body, '/webhookEvent')
      // events of comments and the like carry half an issue
      if (typeof event !== 'string' || !event.startsWith('jira:issue_')) return undefined
      return { ticket: member(body, '/issue'), gone: event === 'jira:issue_deleted', at: '/timestamp' }
    },
  },
  servicenow: {
    scheme: 'basic',
    accept: 'application/json',
    fields: {
      id: '/number',
      status: '/state',
      type: '/type',
      priority: '/priority',
      assignee: '/assigned_to.user_name',
      startsAt: '/start_date',
      endsAt: '/end_date',
      changedAt: '/sys_updated_on',
    },
    // in review the work is done
    open: { at: '/state', in: ['-5', '-4', '-3', '-2', '-1'] },
    approved: { at: '/approval', in: ['approved'] },
    resources: { at: '/cmdb_ci.name' },
    utc: true,
    statusNames: {
      '-5': 'New',
      '-4': 'Assess',
      '-3': 'Authorize',
      '-2': 'Scheduled',
      '-1': 'Implement',
      '0': 'Review',
      '3': 'Closed',
      '4': 'Canceled',
    },
    url: (base, key, read) => {
      const url = below(base, '/api/now/table/change_request')
      url.searchParams.set('sysparm_query', `number=${plainKey(key)}`)
      url.searchParams.set('sysparm_limit', '2')
      url.searchParams.set('sysparm_display_value', 'false')
      url.searchParams.set('sysparm_exclude_reference_link', 'true')
      url.searchParams.set('sysparm_fields', namesUnder('/', read))
      return url
    },
    found(answer) {
      const result = member(answer, '/result')
      if (Array.isArray(result)) return result as unknown[]
      throw new SourceError('its answer has no `result`')
    },
    // there is no form of its own: the business rule that sends it is written as documented
    told: (body) => ({ ticket: body, gone: false, at: '/sys_updated_on' }),
  },
  github: {
    scheme: 'bearer',
    accept: 'application/vnd.github+json',
    fields: {
      status: '/state',
      type: '/type/name',
      assignee: '/assignee/login',
      changedAt: '/updated_at',
    },
    open: { at: '/state', in: ['open'] },
    approved: { at: '/labels/*/name', in: ['approved'] },
    resources: { at: '/labels/*/name', prefix: 'resource:' },
    utc: false,
    statusNames: {},
    key(ticket) {
      const [, owner, repo] =
        /\/repos\/([^/]+)\/([^/]+)$/u.exec(textAt(ticket, '/repository_url') ?? '') ?? []
      const number = member(ticket, '/number')
      return owner === undefined || repo === undefined || typeof number !== 'number'
        ? undefined
        : `${owner}/${repo}#${number}`
    },
    url(base, key) {
      const [, owner = '', repo = '', number] =
        /^([A-Za-z0-9_.-]{1,100})\/([A-Za-z0-9_.-]{1,100})#([1-9]\d{0,9})$/u.exec(key) ?? []
      if (number === undefined) throw new SourceError('what it is asked for is not `owner/repository#number`')
      return below(base, `/repos/${plainKey(owner)}/${plainKey(repo)}/issues/${number}`)
    },
    found: (answer) => [answer],
    told(body) {
      const ticket = member(body, '/issue')
      if (typeof ticket !== 'object' || ticket === null) return undefined
      const action = member(body, '/action')
      const isOfIssue = member(body, '/comment') === undefined
      const gone = isOfIssue && (action === 'deleted' || action === 'transferred')
      return { ticket, gone, at: '/issue/updated_at' }
    },
  },
  http: {
    scheme: 'bearer',
    accept: 'application/json',
    fields: {
      id: '/id',
      status: '/status',
      type: '/type',
      priority: '/priority',
      assignee: '/assignee',
      startsAt: '/starts_at',
      endsAt: '/ends_at',
      changedAt: '/changed_at',
    },
    open: { at: '/open', in: ['true'] },
    approved: { at: '/approved', in: ['true'] },
    resources: { at: '/resources' },
    utc: false,
    statusNames: {},
    url: (base, key) => new URL(base.replaceAll('{key}', () => encodeURIComponent(plainKey(key)))),
    found: (answer) => [answer],
    told: enveloped,
  },
}

/** The thing itself, or `{ type, timestamp, data }` as Standard Webhooks advises. */
export function enveloped(body: unknown): Readonly<{ ticket: unknown; gone: boolean; at?: string }> {
  const data = member(body, '/data')
  const isEnvelope = typeof data === 'object' && data !== null && typeof member(body, '/type') === 'string'
  if (!isEnvelope) return { ticket: body, gone: false }
  return {
    ticket: data,
    gone: false,
    ...(member(body, '/timestamp') === undefined ? {} : { at: '/timestamp' }),
  }
}

export class TicketSource implements TellingSource {
  readonly fact = 'ticket'
  readonly name: string
  readonly fresh: Millis
  readonly maxAge: Millis
  readonly #config: TicketSourceConfig
  readonly #shape: Shape
  readonly #fields: Fields
  readonly #open: At
  readonly #approved: At
  readonly #resources: ValueList
  readonly #asked: Asked
  readonly #changes: Changes

  constructor(config: TicketSourceConfig, deps: AskedDeps) {
    const shape = shapes[config.kind]
    this.name = config.name
    this.fresh = config.fresh
    this.maxAge = config.maxAge
    this.#config = config
    this.#shape = shape
    this.#fields = { ...shape.fields, ...config.fields }
    this.#open = { ...shape.open, ...config.open }
    this.#approved = { ...shape.approved, ...config.approved }
    this.#resources = config.resources ?? shape.resources
    this.#asked = new Asked({ ...config, accept: shape.accept, scheme: shape.scheme }, deps)
    this.#changes = new Changes(config.maxAge, deps.clock)
  }

  answersFor(about: string): boolean {
    return begins(this.#config.keys, about)
  }

  async observe(about: string, signal: AbortSignal): Promise<Observation> {
    if (!this.answersFor(about)) throw new SourceError('it does not answer for this')
    const url = this.#shape.url(this.#config.url, about, this.#pointers())
    const said = await this.#asked.ask(url, signal)
    const [ticket, ...more] = said.document === undefined ? [] : this.#shape.found(said.document)
    if (more.length > 0) throw new SourceError('it knows more than one of this key')
    const found = ticket === undefined ? undefined : this.#read(ticket)
    const observed = observation(this, about, said, found)
    this.#changes.answered(about, found?.changedAt)
    return observed
  }

  told(body: unknown): Told | undefined {
    const found = this.#shape.told(body)
    if (found === undefined) return undefined
    const { ticket, gone, at: pointer } = found
    const at =
      pointer === undefined
        ? instantAt(ticket, this.#fields.changedAt, this.#shape.utc)
        : instantAt(body, pointer, this.#shape.utc)
    const known = at === undefined ? {} : { at }
    if (gone) return { about: this.#key(ticket), value: null, ...known }
    const about = this.#key(ticket)
    const { value, changedAt } = this.#read(ticket)
    this.#changes.shown(about, changedAt)
    return { about, value, ...known }
  }

  #pointers(): readonly string[] {
    const fields = ticketFields.flatMap((name) => this.#fields[name] ?? [])
    return [...fields, this.#open.at, this.#approved.at, this.#resources.at]
  }

  #key(ticket: unknown): string {
    const pointer = this.#config.fields.id ?? this.#fields.id
    const key = pointer === undefined ? this.#shape.key?.(ticket) : textAt(ticket, pointer)
    if (key === undefined) throw new SourceError('it does not say which ticket it is')
    return key
  }

  #read(ticket: unknown): Readonly<{ value: Value; changedAt: Instant | undefined }> {
    const { status: statusAt, type, priority, assignee, startsAt: from, endsAt: to, changedAt } = this.#fields
    const { utc, statusNames } = this.#shape
    const id = this.#key(ticket)
    const status = textAt(ticket, statusAt)
    if (status === undefined) throw new SourceError('it does not say the status of the ticket')
    const startsAt = instantAt(ticket, from, utc)
    const endsAt = instantAt(ticket, to, utc)
    if (startsAt !== undefined && endsAt !== undefined && endsAt < startsAt) {
      throw new SourceError('the window of the ticket ends before it begins')
    }
    const value = given({
      id,
      status: Object.hasOwn(statusNames, status) ? statusNames[status] : status,
      open: holds(ticket, this.#open),
      approved: holds(ticket, this.#approved),
      type: textAt(ticket, type),
      priority: textAt(ticket, priority),
      assignee: textAt(ticket, assignee),
      startsAt,
      endsAt,
      resources: listAt(ticket, this.#resources),
    })
    return { value, changedAt: instantAt(ticket, changedAt, utc) }
  }
}
