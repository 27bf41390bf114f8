/**
 * Facts that others observe: posture, risk, tickets, incidents, calendars, what became of a session. Each is one record with
 * who said it and when it was observed. However they arrive, pushed or pulled, once, twice or in another order, what is
 * known afterwards is the same.
 *
 * @module
 */
import type { Json } from './canonical.ts'
import { canonical } from './canonical.ts'
import type { Instant, Millis } from './time.ts'

/** What can be observed; each is read by policies under `context.live`, as `policy/facts.ts` describes it. */
export const factNames = ['posture', 'session', 'risk', 'ticket', 'incident', 'calendar'] as const
/** `devices` is kept by Writ itself: of which devices of a subject a posture is known. */
export type FactName = (typeof factNames)[number] | 'devices'

/** Observations that come at once. */
export const MOST_OBSERVED = 100
/** Devices of one subject whose posture is kept. */
export const MOST_DEVICES = 32

/**
 * What a source says: `{ name: 'ticket', about: 'OPS-7', value: { status: 'In Progress', open: true, approved: true },
 * observedAt, maxAge: 60_000 }`. `about` is a subject (`Person/ada`), a session, a ticket, an incident or a calendar.
 * `value` is `null` where the source knows that there is none.
 */
export type Observation = Readonly<{
  name: FactName
  about: string
  /** Which device of it; only a posture has one. Each device has its own. */
  device?: string
  value: Readonly<Record<string, Json>> | null
  /** By the source's word; a time to come is taken for the time of arrival. */
  observedAt: Instant
  /** How long it may be believed; afterwards the fact is unknown, not absent. */
  maxAge?: Millis
}>

/** Kept under `factId(name, about, device)`. */
export type Fact = Observation &
  Readonly<{
    id: string
    /** The configured name of whoever said it. */
    source: string
    receivedAt: Instant
    /** What it came with: the `jti` of a SET, the id of a delivery, the caller. */
    by: string
  }>

/** `ticket OPS-7`; that of a device stands on a line of its own, which no name can hold. */
export const factId = (name: FactName, about: string, device?: string): string =>
  device === undefined ? `${name} ${about}` : `${name} ${about}\n${device}`

/** The devices in a fact of that name. */
export const devicesIn = (fact: Pick<Fact, 'value'> | undefined): readonly string[] =>
  (fact?.value?.['devices'] ?? []) as readonly string[]

/** The name in an id. */
export const factOf = (id: string): string => id.slice(0, id.indexOf(' '))

/** When the fact stops being known by itself, if it does. */
export const knownUntil = ({ observedAt, maxAge }: Pick<Fact, 'observedAt' | 'maxAge'>): Instant =>
  maxAge === undefined ? Infinity : observedAt + maxAge

/** Whether `fact` may be believed at `now`. */
export const isFresh = (fact: Pick<Fact, 'observedAt' | 'maxAge'>, now: Instant): boolean =>
  now < knownUntil(fact)

/**
 * What is known after `arrived` joins `known`: the later observation; of two that were made at once the stricter, else the
 * one whose text comes last, so that every order of arrival ends the same.
 */
export function merge(known: Fact | undefined, arrived: Fact): Fact {
  if (known === undefined || arrived.observedAt > known.observedAt) return arrived
  if (arrived.observedAt < known.observedAt) return known
  const [ours, theirs] = [strictness(known), strictness(arrived)]
  if (ours !== theirs) return theirs > ours ? arrived : known
  return canonical(arrived.value ?? null) > canonical(known.value ?? null) ? arrived : known
}

/** The worst of several postures: one that is not compliant, then one that nobody manages, then the oldest. */
export function worstPosture(postures: readonly Fact[]): Fact | undefined {
  return postures.toSorted(
    (a, b) =>
      strictness(b) - strictness(a) ||
      Number(b.value?.['managed'] !== true) - Number(a.value?.['managed'] !== true) ||
      a.observedAt - b.observedAt ||
      (a.id < b.id ? -1 : 1),
  )[0]
}

/** Larger is stricter: what ends authority wins where two sources speak at once. */
function strictness({ name, value }: Fact): number {
  if (value === null) return name === 'incident' || name === 'calendar' ? 1 : 3
  if (name === 'posture') return value['compliant'] === true ? 0 : 2
  if (name === 'session')
    return (value['compromised'] === true ? 2 : 0) + (value['addressChanged'] === true ? 1 : 0)
  if (name === 'risk') return Number(value['level'] ?? 0)
  if (name === 'ticket') return (value['open'] === true ? 0 : 2) + (value['approved'] === true ? 0 : 1)
  if (name === 'incident') return value['open'] === true ? 0 : 2
  return 0
}
