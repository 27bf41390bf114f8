/**
 * Systems of incidents: PagerDuty, Opsgenie, and whatever else answers with JSON; asked by id, read into one normal form.
 *
 * @module
 */
import type { Observation } from '../model/fact.ts'
import type {
  Condition,
  CredentialScheme,
  IncidentField,
  IncidentKind,
  IncidentSourceConfig,
  ValueList,
} from '../model/source.ts'
import type { Instant, Millis } from '../model/time.ts'
import type { AskedDeps } from './asked.ts'
import { Asked } from './asked.ts'
import { SourceError } from './port.ts'
import { holds, instantAt, listAt, textAt, valuesAt } from './reading.ts'
import { enveloped } from './tickets.ts'
import type { TellingSource, Told, Value } from './told.ts'
import { Changes, begins, below, given, observation, plainKey } from './told.ts'

type At = Condition & Readonly<{ at: string }>

type Shape = Readonly<{
  scheme: CredentialScheme
  accept: string
  /** Where it stands in an answer. */
  root: string
  fields: Readonly<Record<'id', string> & Partial<Record<IncidentField, string>>>
  /** Where there is no severity of its own. */
  urgency?: string
  open: At
  /** The values that mean that it is not, where all are known. */
  over?: readonly string[]
  services: ValueList
  url(base: string, key: string): URL
  /** The incident in the body of a webhook, and what its body says of being open where the incident does not. */
  told(body: unknown): Readonly<{ incident: unknown; gone: boolean; open?: boolean; at?: string }> | undefined
}>

const member = (value: unknown, pointer: string): unknown => valuesAt(value, pointer)[0]

const opsgenie = {
  scheme: 'geniekey',
  accept: 'application/json',
  root: '/data',
  open: { at: '/status', in: ['open'] },
  over: ['closed', 'resolved'],
} as const

/** What Opsgenie does to an alert that says whether it is open; all else leaves it as it was. */
const alertActions: Readonly<Record<string, boolean | 'gone'>> = {
  Create: true,
  Acknowledge: true,
  UnAcknowledge: true,
  Close: false,
  Delete: 'gone',
}

const shapes: Readonly<Record<IncidentKind | 'alerts', Shape>> = {
  pagerduty: {
    scheme: 'token',
    accept: 'application/vnd.pagerduty+json;version=2',
    root: '/incident',
    fields: { id: '/id', severity: '/priority/summary', changedAt: '/updated_at' },
    urgency: '/urgency',
    open: { at: '/status', in: ['triggered', 'acknowledged'] },
    over: ['resolved'],
    services: { at: '/service/summary' },
    url: (base, key) => below(base, `/incidents/${plainKey(key)}`),
    told(body) {
      // notes, workflows and pings are no incidents
      if (member(body, '/event/data/type') !== 'incident') return undefined
      return { incident: member(body, '/event/data'), gone: false, at: '/event/occurred_at' }
    },
  },
  opsgenie: {
    ...opsgenie,
    fields: { id: '/id', severity: '/priority', changedAt: '/updatedAt' },
    services: { at: '/impactedServices' },
    url: (base, key) => below(base, `/v1/incidents/${plainKey(key)}?identifierType=id`),
    // its webhooks tell of alerts alone
    told: () => undefined,
  },
  alerts: {
    ...opsgenie,
    fields: { id: '/id', severity: '/priority', changedAt: '/updatedAt' },
    services: { at: '/tags', prefix: 'service:' },
    url: (base, key) => below(base, `/v2/alerts/${plainKey(key)}?identifierType=id`),
    told(body) {
      const action = member(body, '/action')
      const alert = member(body, '/alert')
      if (typeof action !== 'string' || typeof alert !== 'object' || alert === null) return undefined
      const means = Object.hasOwn(alertActions, action) ? alertActions[action] : undefined
      if (means === undefined) return undefined
      const incident = { ...alert, id: member(alert, '/alertId') }
      return { incident, gone: means === 'gone', open: means === true, at: '/alert/updatedAt' }
    },
  },
  http: {
    scheme: 'bearer',
    accept: 'application/json',
    root: '',
    fields: { id: '/id', severity: '/severity', changedAt: '/changed_at' },
    open: { at: '/open', in: ['true'] },
    over: ['false'],
    services: { at: '/services' },
    url: (base, key) => new URL(base.replaceAll('{key}', () => encodeURIComponent(plainKey(key)))),
    told(body) {
      const { ticket, ...rest } = enveloped(body)
      return { incident: ticket, ...rest }
    },
  },
}

export class IncidentSource implements TellingSource {
  readonly fact = 'incident'
  readonly name: string
  readonly fresh: Millis
  readonly maxAge: Millis
  readonly #config: IncidentSourceConfig
  readonly #shape: Shape
  readonly #fields: Shape['fields']
  readonly #open: At
  readonly #services: ValueList
  readonly #asked: Asked
  readonly #changes: Changes

  constructor(config: IncidentSourceConfig, deps: AskedDeps) {
    const shape = shapes[config.kind === 'opsgenie' && config.alerts ? 'alerts' : config.kind]
    this.name = config.name
    this.fresh = config.fresh
    this.maxAge = config.maxAge
    this.#config = config
    this.#shape = shape
    this.#fields = { ...shape.fields, ...config.fields }
    this.#open = { ...shape.open, ...config.open }
    this.#services = config.services ?? shape.services
    this.#asked = new Asked({ ...config, accept: shape.accept, scheme: shape.scheme }, deps)
    this.#changes = new Changes(config.maxAge, deps.clock)
  }

  answersFor(about: string): boolean {
    return begins(this.#config.keys, about)
  }

  async observe(about: string, signal: AbortSignal): Promise<Observation> {
    if (!this.answersFor(about)) throw new SourceError('it does not answer for this')
    const said = await this.#asked.ask(this.#shape.url(this.#config.url, about), signal)
    if (said.document === undefined) return observation(this, about, said, undefined)
    const incident = member(said.document, this.#shape.root)
    if (incident === undefined) throw new SourceError('there is no incident in its answer')
    const found = this.#read(incident)
    const observed = observation(this, about, said, found)
    this.#changes.answered(about, found.changedAt)
    return observed
  }

  told(body: unknown): Told | undefined {
    const found = this.#shape.told(body)
    if (found === undefined) return undefined
    const { incident, gone, open, at: pointer } = found
    const at = pointer === undefined ? instantAt(incident, this.#fields.changedAt) : instantAt(body, pointer)
    const known = at === undefined ? {} : { at }
    if (gone) return { about: this.#key(incident), value: null, ...known }
    const { value, changedAt } = this.#read(incident, open)
    const about = this.#key(incident)
    this.#changes.shown(about, changedAt)
    return { about, value, ...known }
  }

  #key(incident: unknown): string {
    const key = textAt(incident, this.#fields.id)
    if (key === undefined) throw new SourceError('it does not say which incident it is')
    return key
  }

  /** @throws {SourceError} */
  #requireStatus(incident: unknown): void {
    const found = valuesAt(incident, this.#open.at).filter((value) => value !== null && value !== '')
    if (found.length === 0) throw new SourceError('it does not say the status of the incident')
    const { over } = this.#shape
    // what a mapping of the operator's does not name is over by its word
    if (over === undefined || this.#config.open !== undefined || holds(incident, this.#open)) return
    if (!holds(incident, { at: this.#open.at, in: over }))
      throw new SourceError('it says a status of the incident that is not known')
  }

  #read(incident: unknown, open?: boolean): Readonly<{ value: Value; changedAt: Instant | undefined }> {
    // without a word on whether it is open, or with one that nobody knows, it may be
    if (open === undefined) this.#requireStatus(incident)
    const value = given({
      id: this.#key(incident),
      open: open ?? holds(incident, this.#open),
      severity: textAt(incident, this.#fields.severity) ?? textAt(incident, this.#shape.urgency),
      services: listAt(incident, this.#services),
    })
    return { value, changedAt: instantAt(incident, this.#fields.changedAt) }
  }
}
