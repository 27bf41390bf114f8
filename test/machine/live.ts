/**
 * What the model knows of the world outside: what others said and how long that may be believed, events of calendars, and
 * locks. As simple as it can be said; shares nothing with `src`.
 *
 * @module
 */

const DAY = 86_400_000
/** An answer of a system is asked for again when it is older. */
export const FRESH = 30_000
/** How long an answer of a system is believed. */
export const BELIEVED = 60_000

export const factKinds = ['posture', 'risk', 'session', 'ticket', 'incident', 'calendar'] as const
export type FactKind = (typeof factKinds)[number]
/** `null`: there is none. */
export type Value = Readonly<Record<string, unknown>> | null
export type Said = Readonly<{
  name: FactKind
  about: string
  value: Value
  observedAt: number
  maxAge?: number
  source: string
}>
export type Known = Required<Said>

export type Event = Readonly<{ uid: string; startsAt: number; endsAt: number }>

export type LockKind = 'subject' | 'task' | 'tool' | 'resource' | 'owner'
export type Lock = { readonly what: LockKind; readonly about: string; at: number; until: number }

/** What an attempt sees; what is missing is absent. */
export type Seen = Readonly<{
  posture?: boolean | 'unknown'
  risk?: number | 'unknown'
  session?: boolean | 'unknown'
  ticket?: Value | 'unknown'
  incident?: Value | 'unknown'
  calendars: ReadonlySet<string> | 'unknown'
}>

/** The facts that each action is about, by the policies of the machine; risk adds up posture and session. */
export const factsOf: Readonly<Record<string, readonly FactKind[]>> = {
  'db:look': ['posture'],
  'db:stow': ['risk'],
  'db:keep': ['risk'],
  'db:change': ['ticket'],
  'db:fix': ['incident'],
  'db:release': ['calendar'],
  'db:sit': ['session'],
}
export const CALENDARS = ['release', 'freeze'] as const

export const idOf = ({ name, about }: Pick<Said, 'name' | 'about'>): string => `${name} ${about}`
export const lockIdOf = ({ what, about }: Pick<Lock, 'what' | 'about'>): string => `${what} ${about}`

/** The system that answers for a ticket or an incident, by its name. */
export const deskOf = (about: string): { source: string; name: 'ticket' | 'incident' } | undefined => {
  if (about.startsWith('OPS-')) return { source: 'desk', name: 'ticket' }
  return about.startsWith('INC-') ? { source: 'pager', name: 'incident' } : undefined
}

/** What is known once `said` has arrived: the later word; of two at one time the worse one. */
export function joined(known: Known | undefined, said: Said, now: number): Known {
  const arrived: Known = {
    ...said,
    observedAt: Math.min(said.observedAt, now),
    maxAge: Math.min(said.maxAge ?? DAY, DAY),
  }
  if (known === undefined || arrived.observedAt > known.observedAt) return arrived
  if (arrived.observedAt < known.observedAt) return known
  const worse = badness(arrived) - badness(known)
  if (worse !== 0) return worse > 0 ? arrived : known
  return textOf(arrived.value) > textOf(known.value) ? arrived : known
}

export const isBelieved = ({ observedAt, maxAge }: Known, now: number): boolean => now < observedAt + maxAge

/** Whether what depends on it has anything new to look at. */
export const isNews = (before: Known | undefined, after: Known): boolean =>
  before === undefined ||
  textOf(before.value) !== textOf(after.value) ||
  before.maxAge !== after.maxAge ||
  before.source !== after.source

function badness({ name, value }: Said): number {
  if (name === 'posture') return value?.['compliant'] === true ? 0 : 1
  if (name === 'risk') return Number(value?.['level'])
  if (name === 'session')
    return Number(value?.['compromised'] === true) * 2 + Number(value?.['addressChanged'] === true)
  if (name === 'calendar') return value === null ? 1 : 0
  if (name === 'incident') return value === null ? 1 : value['open'] === true ? 0 : 2
  if (value === null) return 3
  return Number(value['open'] !== true) * 2 + Number(value['approved'] !== true)
}

/** The same text for the same value. */
export function textOf(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(textOf).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, one]) => `${JSON.stringify(name)}:${textOf(one)}`).join(',')}}`
}

export const eventsIn = (value: Value): readonly Event[] => (value?.['events'] ?? []) as readonly Event[]

const isOn = ({ startsAt, endsAt }: Event, now: number): boolean => startsAt <= now && now < endsAt

export const isOpen = (value: Value, now: number): boolean =>
  eventsIn(value).some((event) => isOn(event, now))

/** The event that a task declared now would have as its window: the one that is on and ends last, or the next one. */
export function nextEvent(value: Value, now: number): Event | undefined {
  const events = eventsIn(value)
  const on = events.filter((event) => isOn(event, now)).sort((a, b) => b.endsAt - a.endsAt)
  const later = events.filter(({ startsAt }) => startsAt > now).sort((a, b) => a.startsAt - b.startsAt)
  return on[0] ?? later[0]
}

/** What is left of a window of event `uid`; nothing when that is gone or elsewhere. */
export function leftOf(
  { startsAt, endsAt }: Readonly<{ startsAt: number; endsAt: number }>,
  uid: string,
  value: Value,
): Readonly<{ startsAt: number; endsAt: number }> | undefined {
  const event = eventsIn(value).find((one) => one.uid === uid)
  if (event === undefined) return undefined
  const left = { startsAt: Math.max(startsAt, event.startsAt), endsAt: Math.min(endsAt, event.endsAt) }
  return left.startsAt < left.endsAt ? left : undefined
}
