/**
 * The world outside Writ: systems that are asked for tickets and incidents and answer as they are told to, and a
 * transmitter of signals. What a system says is told to the model in the same moment.
 *
 * @module
 */
import type { AppOptions } from '../../src/app.ts'
import type { FactSource } from '../../src/context/port.ts'
import { SourceError } from '../../src/context/port.ts'
import type { Observation } from '../../src/model/fact.ts'
import { mintSet } from '../support/ssf.ts'
import type { Desk } from './commands.ts'
import type { Value } from './live.ts'
import { BELIEVED, deskOf, FRESH } from './live.ts'
import type { Model } from './model.ts'
import { MINUTE, SECOND } from './model.ts'

/** What decisions wait for systems at most, ms; whoever asks one itself waits longer. */
const DEADLINE = 250

export const TICKETS = ['OPS-1', 'OPS-2', 'INC-1', 'NOTE-1'] as const

/** A ticket as its system says it is: fine, not approved, closed, gone, fine for some minutes more. */
export function ticketValue(about: string, to: number, now: number): Value {
  const state = ['fine', 'unapproved', 'closed', 'gone', 'ends', 'fine'][to]
  if (state === 'gone') return null
  if (about.startsWith('INC-')) return { id: about, open: state === 'fine', services: [] }
  return {
    id: about,
    status: state === 'closed' ? 'Done' : 'In Progress',
    open: state !== 'closed',
    approved: state !== 'unapproved',
    resources: [],
    ...(state === 'ends' ? { endsAt: now + 100 * SECOND } : {}),
  }
}

export class Systems {
  desk: Desk = 'answers'
  /** How things are; as they were at first where nothing is said. */
  readonly truth = new Map<string, Value>()
  /** What must not happen, and did. */
  readonly complaints: string[] = []
  readonly options: Required<Pick<AppOptions, 'sources' | 'sleep'>>
  readonly #model: Model
  #held: { said: Observation; source: string; land: () => void }[] = []

  constructor(model: Model) {
    this.#model = model
    this.options = {
      sources: [this.#source('desk', 'OPS-1'), this.#source('pager', 'INC-1')],
      // nobody waits for time: whoever is late is so at once, and whoever is not is in time
      sleep: (ms, signal) =>
        this.desk === 'late' && ms <= DEADLINE
          ? new Promise((resolve) => setImmediate(resolve))
          : new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true })),
    }
  }

  truthOf(about: string): Value {
    const known = this.truth.get(about)
    return known === undefined ? ticketValue(about, 0, this.#model.now) : known
  }

  get isHolding(): boolean {
    return this.#held.length > 0
  }

  /** Whoever was late answers now. */
  land(): void {
    for (const { said, source, land } of this.#held.splice(0)) {
      this.#hear(source, said)
      land()
    }
  }

  /** Whoever asked is gone. */
  drop(): void {
    this.#held = []
  }

  #hear(source: string, { name, about, value, observedAt, maxAge }: Observation): void {
    this.#model.observe({
      name: name as 'ticket' | 'incident',
      about,
      value,
      observedAt,
      source,
      ...(maxAge === undefined ? {} : { maxAge }),
    })
  }

  #source(source: string, like: string): FactSource {
    const fact = deskOf(like)?.name as 'ticket' | 'incident'
    return {
      name: source,
      fact,
      fresh: FRESH,
      answersFor: (about) => deskOf(about)?.source === source,
      observe: (about) => this.#answer(source, fact, about),
    }
  }

  async #answer(source: string, name: 'ticket' | 'incident', about: string): Promise<Observation> {
    const { now, facts, asked } = this.#model
    const known = facts.get(`${name} ${about}`)
    if (known !== undefined && now < known.observedAt + FRESH)
      this.complaints.push(`${about} was asked for although it was fresh`)
    asked.add(`${name} ${about} ${now}`)
    const observedAt =
      { 'long ago': now - 10 * MINUTE, 'to come': now + 60 * MINUTE }[this.desk as string] ?? now
    const said = { name, about, value: this.truthOf(about), observedAt, maxAge: BELIEVED } as Observation
    if (this.desk === 'fails') throw new SourceError('it answered 503')
    if (this.desk === 'garbles') return { ...said, about: `${about}0` }
    if (this.desk === 'late')
      return new Promise((resolve) => this.#held.push({ said, source, land: () => resolve(said) }))
    this.#hear(source, said)
    return said
  }
}

type Told = Readonly<{ event: string; payload: Readonly<Record<string, unknown>> }>

/** What a transmitter may say. */
export function eventOf(event: number, value: number): Told {
  const isWell = value % 2 === 0
  if (event === 0) return { event: 'session-revoked', payload: {} }
  if (event <= 2) {
    const change = event === 1 ? 'revoke' : 'create'
    return { event: 'credential-change', payload: { credential_type: 'password', change_type: change } }
  }
  if (event <= 5) {
    const status = isWell ? 'compliant' : 'not-compliant'
    return { event: 'device-compliance-change', payload: { current_status: status } }
  }
  if (event <= 8) {
    const level = (['LOW', 'MEDIUM', 'HIGH'] as const)[value % 3]
    return { event: 'risk-level-change', payload: { principal: 'USER', current_level: level } }
  }
  if (event === 9) return { event: 'token-claims-change', payload: { claims: { ip_address: '192.0.2.1' } } }
  const direction = event === 10 ? 'decrease' : 'increase'
  return {
    event: 'assurance-level-change',
    payload: { namespace: 'NIST-AAL', current_level: 'nist-aal1', change_direction: direction },
  }
}

/** Signed by the transmitter: `told`, of `id`, at `at`. */
export const setOf = (told: Told, id: string, at: number, now: number, jti: string): Promise<string> =>
  mintSet(told.event, told.payload, { subject: { format: 'opaque', id }, at, toldAt: now, jti })

export const wholeSeconds = (at: number): number => Math.floor(at / SECOND) * SECOND
