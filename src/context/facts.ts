/**
 * Facts at the moment of action. Each has the time it was observed; what is not known by then is unknown, never absent.
 *
 * @module
 */
import type { Caller } from '../model/access.ts'
import type { Window } from '../model/calendar.ts'
import { nextBoundary, openAt } from '../model/calendar.ts'
import type { Json } from '../model/canonical.ts'
import type { EntityRef, Properties } from '../model/entity.ts'
import { refKey } from '../model/entity.ts'
import type { Fact, FactName } from '../model/fact.ts'
import { isFresh, knownUntil } from '../model/fact.ts'
import { claimNames } from '../model/issuer.ts'
import type { Task } from '../model/task.ts'
import type { Instant } from '../model/time.ts'
import { SECOND, toRfc3339 } from '../model/time.ts'

/** Facts by name, as policies read them under `context.live`, and the names of those that are unknown. */
export type Facts = Readonly<{
  live: Readonly<Record<string, Json>>
  unknown: ReadonlySet<string>
  observedAt: Instant
  /** What only one party of the chain is evaluated with, by `refKey`. */
  of?: Readonly<Record<string, Readonly<Record<string, Json>>>>
  /** When the same would be known differently by time alone, if it would. */
  changesAt?: Instant
}>

/**
 * The facts that Writ knows by itself: the time, who calls, the chain, what was proved of the workload, the task and its
 * history. They come from the store's own picture and the proof at the door, so none of them is ever late.
 */
export function ownFacts(
  now: Instant,
  caller: string,
  chain: readonly EntityRef[],
  task: Task | undefined,
  workload?: Properties,
): Facts {
  const live: Record<string, Json> = { now: toRfc3339(now), caller, chain: chain.map(refKey) }
  if (workload !== undefined) live['workload'] = proved(workload)
  if (task !== undefined) {
    live['task'] = {
      id: task.id,
      purpose: task.purpose,
      state: task.state,
      ...(task.reason === undefined ? {} : { reason: task.reason }),
      ...(task.ticket === undefined ? {} : { ticket: task.ticket }),
      declaredAt: toRfc3339(task.declaredAt),
      ...(task.openedAt === undefined ? {} : { openedAt: toRfc3339(task.openedAt) }),
      ...(task.window === undefined ? {} : { window: windowFact(task.window) }),
      ...(task.parent === undefined ? {} : { parent: task.parent }),
    }
    live['history'] = { calls: task.calls, denials: task.denials, resources: task.resources.length }
  }
  return { live, unknown: new Set(), observedAt: now }
}

const windowFact = ({ startsAt, endsAt, calendar }: Window): Json => ({
  startsAt: toRfc3339(startsAt),
  endsAt: toRfc3339(endsAt),
  ...(calendar === undefined ? {} : { calendar: calendar.name }),
})

/** Claims as text: a claim that is missing, empty or no plain value is no claim, and a policy that reads it does not hold. */
function proved(workload: Properties): Json {
  const known: Record<string, Json> = {}
  const others: string[] = []
  for (const [name, value] of Object.entries(workload)) {
    if (value === '' || value === null || typeof value === 'object') continue
    if (name === 'issuer' || claimNames.includes(name)) known[name] = String(value)
    else others.push(`${name}=${String(value)}`)
  }
  return { ...known, ...(others.length === 0 ? {} : { claims: others.sort() }) }
}

/** What is asked about whom: which stored facts a decision reads. */
export type FactRef = Readonly<{ name: FactName; about: string }>

/** What an attempt is about, as far as facts go. */
export type Situation = Readonly<{
  /** Names that policies in scope read. */
  names: ReadonlySet<string>
  chain: readonly EntityRef[]
  caller: Pick<Caller, 'id' | 'kind' | 'subject' | 'auth'>
  /** Of the task that the attempt names. */
  ticket: string | undefined
  /** The configured calendars. */
  calendars: readonly string[]
}>

/** The stored facts that a decision on `situation` reads, and no others. */
export function factsNeeded({ names, chain, caller, ticket, calendars }: Situation): readonly FactRef[] {
  const needed: FactRef[] = []
  for (const name of ['posture', 'risk'] as const)
    if (names.has(name)) needed.push(...chain.map((party) => ({ name, about: refKey(party) })))
  if (names.has('session') && caller.kind === 'session') needed.push({ name: 'session', about: caller.id })
  for (const name of ['ticket', 'incident'] as const)
    if (names.has(name) && ticket !== undefined) needed.push({ name, about: ticket })
  if (names.has('calendars')) needed.push(...calendars.map((about) => ({ name: 'calendar' as const, about })))
  return needed
}

/**
 * `own` with the facts of others: those about a subject for each party of the chain, the others for all. What cannot be
 * believed any more is unknown; what nobody ever said is absent, except where a source answers for it and did not
 * (`expected`).
 */
export function withLive(
  own: Facts,
  situation: Situation,
  now: Instant,
  stored: (ref: FactRef) => Fact | undefined,
  expected: (ref: FactRef) => boolean,
): Facts {
  const live: Record<string, Json> = { ...own.live }
  const of: Record<string, Record<string, Json>> = {}
  const unknown = new Set(own.unknown)
  let changesAt = Infinity
  const know = (ref: FactRef): Fact | undefined => {
    const fact = stored(ref)
    if (fact === undefined ? expected(ref) : !isFresh(fact, now)) unknown.add(CATALOGUED[ref.name])
    if (fact === undefined || !isFresh(fact, now)) return undefined
    changesAt = Math.min(changesAt, knownUntil(fact))
    return fact
  }
  const { caller } = situation
  const open: string[] = []
  for (const ref of factsNeeded(situation)) {
    const fact = know(ref)
    if (ref.name === 'session') continue
    if (fact === undefined || fact.value === null) continue
    const observed = { observedAt: toRfc3339(fact.observedAt) }
    if (ref.name === 'calendar') {
      if (openAt(fact, now)) open.push(ref.about)
      changesAt = Math.min(changesAt, nextBoundary(fact, now))
    } else if (ref.name === 'posture') (of[ref.about] ??= {})['posture'] = { ...fact.value, ...observed }
    else if (ref.name === 'risk') (of[ref.about] ??= {})['risk'] = { ...scored(fact.value), ...observed }
    else live[ref.name] = { ...timed(fact.value), ...observed }
  }
  if (situation.names.has('calendars') && !unknown.has('calendars') && situation.calendars.length > 0)
    live['calendars'] = open.sort()
  const session = sessionOf(caller, now, stored({ name: 'session', about: caller.id })?.value ?? {})
  if (situation.names.has('session') && session !== undefined && !unknown.has('session'))
    (of[refKey(caller.subject)] ??= {})['session'] = session
  return {
    ...own,
    live,
    unknown,
    ...(Object.keys(of).length === 0 ? {} : { of }),
    ...(changesAt === Infinity ? {} : { changesAt }),
  }
}

/** The name under which policies read each. */
const CATALOGUED: Readonly<Record<FactName, string>> = {
  posture: 'posture',
  session: 'session',
  risk: 'risk',
  ticket: 'ticket',
  incident: 'incident',
  calendar: 'calendars',
}

/** How the person who asks is signed in; without a session there is nothing, and that is known. */
function sessionOf(
  { kind, auth }: Situation['caller'],
  now: Instant,
  { compromised = false, addressChanged = false }: Readonly<Record<string, Json>>,
): Record<string, Json> | undefined {
  if (kind !== 'session' || auth === undefined) return undefined
  return {
    authenticatedAt: toRfc3339(auth.at),
    age: Math.max(0, Math.floor((now - auth.at) / SECOND)),
    ...(auth.acr === undefined ? {} : { acr: auth.acr }),
    amr: [...(auth.amr ?? [])],
    compromised,
    addressChanged,
  }
}

/** The level as reported, and the sum of what contributed to it, each with its points. */
function scored({ level = 3, contributions = [] }: Readonly<Record<string, Json>>): Record<string, Json> {
  const listed = contributions as readonly Readonly<{ what: string; points: number }>[]
  return {
    level,
    score: listed.reduce((sum, { points }) => sum + points, 0),
    contributions: listed.map(({ what, points }) => `${what} +${points}`).sort(),
  }
}

/** Times as policies read them. */
const timed = (value: Readonly<Record<string, Json>>): Record<string, Json> =>
  Object.fromEntries(
    Object.entries(value).map(([name, one]) => [
      name,
      name.endsWith('At') && typeof one === 'number' ? toRfc3339(one) : one,
    ]),
  )
