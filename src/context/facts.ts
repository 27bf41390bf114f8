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
import { refKey, sameRef } from '../model/entity.ts'
import type { Fact, FactName } from '../model/fact.ts'
import { devicesIn, isFresh, knownUntil, worstPosture } from '../model/fact.ts'
import { claimNames } from '../model/issuer.ts'
import type { Task } from '../model/task.ts'
import { historyOf } from '../model/task.ts'
import type { Instant, Millis } from '../model/time.ts'
import { SECOND, toRfc3339 } from '../model/time.ts'
import type { Signs } from './risk.ts'
import { riskOf } from './risk.ts'

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
  provedAt?: Instant,
): Facts {
  const live: Record<string, Json> = { now: toRfc3339(now), caller, chain: chain.map(refKey) }
  if (workload !== undefined) {
    live['workload'] = { ...proved(workload), ...(provedAt === undefined ? {} : { age: age(provedAt, now) }) }
  }
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
    live['history'] = historyOf(task, now)
  }
  return { live, unknown: new Set(), observedAt: now }
}

const windowFact = ({ startsAt, endsAt, calendar }: Window): Json => ({
  startsAt: toRfc3339(startsAt),
  endsAt: toRfc3339(endsAt),
  ...(calendar === undefined ? {} : { calendar: calendar.name }),
})

/** Whole seconds, never less than none. */
const age = (since: Instant, now: Instant): number => Math.max(0, Math.floor((now - since) / SECOND))

/** Claims as text: a claim that is missing, empty or no plain value is no claim, and a policy that reads it does not hold. */
function proved(workload: Properties): Record<string, Json> {
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
export type FactRef = Readonly<{ name: FactName; about: string; device?: string }>

/** What an attempt is about, as far as facts go. */
export type Situation = Readonly<{
  /** Names that policies in scope read. */
  names: ReadonlySet<string>
  chain: readonly EntityRef[]
  caller: Pick<Caller, 'id' | 'kind' | 'subject' | 'auth'>
  /** That the attempt names, without calls that do not count against it. */
  task: Task | undefined
  /** What the inventory says of a party of the chain. */
  standing: (party: EntityRef) => Pick<Signs, 'isRegistered' | 'isThirdParty'>
  /** The configured calendars. */
  calendars: readonly string[]
}>

/** Whether `name` is read, or is part of something that is: risk adds up what is known of device and session. */
const reads = ({ names }: Situation, name: 'posture' | 'session'): boolean =>
  names.has(name) || names.has('risk')

/** The device that the session of `party` names: its posture counts, and not that of others of theirs. */
function deviceOf({ caller }: Situation, party: EntityRef): string | undefined {
  return sameRef(caller.subject, party) ? caller.auth?.device : undefined
}

/** The stored facts that a decision on `situation` reads; `moreNeeded` says which others, once these are read. */
export function factsNeeded(situation: Situation): readonly FactRef[] {
  const { names, chain, caller, task, calendars } = situation
  const needed: FactRef[] = []
  for (const party of chain) {
    const about = refKey(party)
    if (names.has('risk')) needed.push({ name: 'risk', about })
    if (!reads(situation, 'posture')) continue
    const device = deviceOf(situation, party)
    needed.push({ name: 'posture', about })
    needed.push(device === undefined ? { name: 'devices', about } : { name: 'posture', about, device })
  }
  if (reads(situation, 'session') && caller.kind === 'session') {
    needed.push({ name: 'session', about: caller.id })
  }
  const ticket = task?.ticket
  for (const name of ['ticket', 'incident'] as const)
    if (names.has(name) && ticket !== undefined) needed.push({ name, about: ticket })
  if (names.has('calendars')) needed.push(...calendars.map((about) => ({ name: 'calendar' as const, about })))
  return needed
}

/** The postures of all devices of whoever names none. */
export function moreNeeded(situation: Situation, stored: Stored): readonly FactRef[] {
  if (!reads(situation, 'posture')) return []
  return situation.chain.flatMap((party): FactRef[] => {
    const about = refKey(party)
    if (deviceOf(situation, party) !== undefined) return []
    return devicesIn(stored({ name: 'devices', about })).map((device) => ({ name: 'posture', about, device }))
  })
}

type Stored = (ref: FactRef) => Fact | undefined

/**
 * `own` with the facts of others: those about a subject for each party of the chain, the others for all. What cannot be
 * believed any more is unknown; what nobody ever said is absent, except where a source answers for it and did not
 * (`expected`).
 */
export function withLive(
  own: Facts,
  situation: Situation,
  now: Instant,
  stored: Stored,
  expected: (ref: FactRef) => boolean,
): Facts {
  const { names, caller, chain, task, calendars } = situation
  const live: Record<string, Json> = { ...own.live }
  const of: Record<string, Record<string, Json>> = {}
  const unknown = new Set(own.unknown)
  let changesAt = Infinity
  /** What may be believed of it; absent and unknown are two things. */
  const know = (ref: FactRef): Fact | 'absent' | 'unknown' => {
    const fact = stored(ref)
    if (fact === undefined) return expected(ref) ? 'unknown' : 'absent'
    if (!isFresh(fact, now)) return 'unknown'
    const until = knownUntil(fact)
    changesAt = Math.min(
      changesAt,
      expected(ref) && ref.name !== 'calendar' ? askedAgainAt(fact, now) : until,
    )
    return fact.value === null ? 'absent' : fact
  }
  const tell = (name: string, found: Fact | 'absent' | 'unknown', into: Record<string, Json>): void => {
    if (!names.has(name) || found === 'absent') return
    if (found === 'unknown') unknown.add(name)
    else into[name] = { ...timed(found.value ?? {}), observedAt: toRfc3339(found.observedAt) }
  }
  /** Of a party with several devices the worst; of one that nobody can say any more nobody knows whether it is. */
  const posture = (party: EntityRef): Fact | 'absent' | 'unknown' => {
    const about = refKey(party)
    const device = deviceOf(situation, party)
    const devices = device === undefined ? devicesIn(stored({ name: 'devices', about })) : [device]
    const refs: FactRef[] = [
      { name: 'posture', about },
      ...devices.map((one): FactRef => ({ name: 'posture', about, device: one })),
    ]
    const found = refs.map(know)
    if (found.includes('unknown')) return 'unknown'
    return worstPosture(found.filter((one) => typeof one === 'object')) ?? 'absent'
  }

  const session = reads(situation, 'session') ? sessionOf(caller, now, know) : undefined
  for (const [at, party] of chain.entries()) {
    const about = refKey(party)
    const theirs: Record<string, Json> = {}
    const device = reads(situation, 'posture') ? posture(party) : 'absent'
    tell('posture', device, theirs)
    if (names.has('risk')) {
      const reported = know({ name: 'risk', about })
      const signs = {
        ...situation.standing(party),
        ...(session !== undefined && sameRef(caller.subject, party) ? { session: session.state } : {}),
        ...(device === 'absent' ? {} : { posture: complianceOf(device) }),
        // what happens under the task is the doing of whoever acts
        ...(at > 0 || task === undefined ? {} : historyOf(task, now)),
      }
      const known = typeof reported === 'object' ? reported : undefined
      const risk = riskOf(known?.value ?? undefined, signs)
      if (reported === 'unknown') unknown.add('risk')
      else theirs['risk'] = { ...risk, observedAt: toRfc3339(known?.observedAt ?? now) }
    }
    if (Object.keys(theirs).length > 0) of[about] = theirs
  }
  if (names.has('session') && session !== undefined) {
    if (session.state === 'unknown') unknown.add('session')
    else if (session.fact !== undefined) (of[refKey(caller.subject)] ??= {})['session'] = session.fact
  }
  const ticket = task?.ticket
  for (const name of ['ticket', 'incident'] as const)
    if (names.has(name) && ticket !== undefined) tell(name, know({ name, about: ticket }), live)
  if (names.has('calendars')) {
    const open: string[] = []
    for (const about of calendars) {
      const fact = know({ name: 'calendar', about })
      if (fact === 'unknown') unknown.add('calendars')
      if (typeof fact !== 'object') continue
      if (openAt(fact, now)) open.push(about)
      changesAt = Math.min(changesAt, nextBoundary(fact, now))
    }
    if (!unknown.has('calendars') && calendars.length > 0) live['calendars'] = open.sort()
  }
  return {
    ...own,
    live,
    unknown,
    ...(Object.keys(of).length === 0 ? {} : { of }),
    ...(changesAt === Infinity ? {} : { changesAt }),
  }
}

/** Of how long an answer is believed, how much may pass before its source is asked again. */
const BELIEVED_UNASKED = 0.8
/** Less time than this is too little for another try. */
const ONE_MORE: Millis = 5 * SECOND

/** From when on its source is asked again, whatever it calls fresh. */
export const askedAgainFrom = (fact: Pick<Fact, 'observedAt' | 'maxAge'>): Instant =>
  Math.floor(fact.observedAt + (fact.maxAge ?? Infinity) * BELIEVED_UNASKED)

/**
 * Before what its source said is too old: one answer that is late or lost ends nothing, and a change is found sooner. Who
 * has asked in vain asks again after half of the time that is left.
 */
function askedAgainAt(fact: Fact, now: Instant): Instant {
  const until = knownUntil(fact)
  const first = askedAgainFrom(fact)
  if (now < first || until === Infinity) return first
  const half = Math.floor((until - now) / 2)
  return half < ONE_MORE ? until : now + half
}

const complianceOf = (device: Fact | 'unknown'): NonNullable<Signs['posture']> =>
  device === 'unknown' ? device : device.value?.['compliant'] === true ? 'compliant' : 'not-compliant'

/** How the person who asks is signed in (nothing, while that is unknown); without a session there is none, and that is known. */
function sessionOf(
  { id, kind, auth }: Situation['caller'],
  now: Instant,
  know: (ref: FactRef) => Fact | 'absent' | 'unknown',
): Readonly<{ fact?: Record<string, Json>; state: NonNullable<Signs['session']> }> | undefined {
  if (kind !== 'session') return undefined
  const said = know({ name: 'session', about: id })
  if (said === 'unknown') return { state: said }
  const { compromised = false, addressChanged = false } = said === 'absent' ? {} : (said.value ?? {})
  const state = { compromised: compromised !== false, addressChanged: addressChanged !== false }
  if (auth === undefined) return { state }
  return {
    state,
    fact: {
      authenticatedAt: toRfc3339(auth.at),
      age: age(auth.at, now),
      ...(auth.acr === undefined ? {} : { acr: auth.acr }),
      amr: [...(auth.amr ?? [])],
      ...(auth.device === undefined ? {} : { device: auth.device }),
      compromised,
      addressChanged,
    },
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
