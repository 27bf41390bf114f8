/**
 * Tasks: declared → open → completed | failed | timed-out | cancelled. Pure transitions; `now` is an argument.
 *
 * @module
 */
import type { Window } from './calendar.ts'
import type { EntityRef } from './entity.ts'
import { refKey } from './entity.ts'
import type { AccountRef } from './identity.ts'
import type { Instant, Millis } from './time.ts'
import { MINUTE, SECOND } from './time.ts'

/** What a task may touch: a resource without an id stands for all of its type. */
export type Scope = Readonly<{
  actions: readonly string[]
  resources: readonly Readonly<{ type: string; id?: string }>[]
}>

/** Bounds that are spent: `calls` is the number of permits under the task and everything below it. */
export type Limits = Readonly<{ calls?: number }>

/** How many calls there were in the span of `RATE_STEP` that begins at `at`. */
export type Calls = Readonly<{ at: Instant; calls: number }>

/** Distinct resources remembered of a task. */
export const MOST_RESOURCES = 64
/** Distinct systems remembered of a task. */
export const MOST_SYSTEMS = 64
/** Denied things remembered of a task; once there are more, whatever else is denied counts as a retry. */
export const MOST_DENIED = 32
/** Over which time, and in which steps, the rate of calls is taken. */
export const RATE_SPAN: Millis = MINUTE
export const RATE_STEP: Millis = 5 * SECOND

export type TaskEnd = 'completed' | 'failed' | 'timed-out' | 'cancelled'
export type TaskState = 'declared' | 'open' | TaskEnd

export type Task = Readonly<{
  id: string
  state: TaskState
  purpose: string
  /** Why it is done: counts as justification evidence when not empty. */
  reason?: string
  ticket?: string
  subject: EntityRef
  chain: readonly EntityRef[]
  declaredBy: EntityRef
  /** Human roots of those who instigated it, see separation.ts. Empty: no instigator is resolved. */
  instigators: readonly string[]
  /** Who verifiably set its declarer going, and those of the tasks above. */
  triggers?: readonly (AccountRef | EntityRef)[]
  /** The delegation that it was declared under: it ends with that. */
  delegation?: string
  /** The caller (API key, issuer or session) that declared it. */
  caller: string
  scope: Scope
  limits: Limits
  parent?: string
  /** Where a calendar named it, it is only ever narrowed (`narrowWindow`). */
  window?: Window
  declaredAt: Instant
  /** A declared task times out here; moves on with its requests (see `waitUntil`). */
  waitUntil: Instant
  /** Longest life from opening on. */
  life: Millis
  heartbeat: Millis
  openedAt?: Instant
  /** Fixed at opening: `openedAt + life`, never later than parent's end or window's end. */
  endsAt?: Instant
  heartbeatAt?: Instant
  calls: number
  denials: number
  /** Attempts on what had been denied under it before. */
  retries?: number
  /** Distinct resources touched, as keys; the first `MOST_RESOURCES`. */
  resources: readonly string[]
  /** Types of what was touched; the first `MOST_SYSTEMS`. Without it, those of `resources`. */
  systems?: readonly string[]
  /** What was denied and not permitted since, as digests; the first `MOST_DENIED`. */
  denied?: readonly string[]
  /** Calls of the last minute, oldest first. */
  recent?: readonly Calls[]
  endedAt?: Instant
  ending?: Readonly<{ reason: string; by: string }>
}>

/** How long a declared task waits after the latest of its declaration, pending requests and activation times. */
export const DECLARED_WAIT: Millis = 15 * MINUTE

export const isEnded = (task: Task): boolean => task.state !== 'declared' && task.state !== 'open'

/** Whether `action` on `resource` lies inside the scope. */
export function inScope(scope: Scope, action: string, resource: EntityRef): boolean {
  return (
    scope.actions.includes(action) &&
    scope.resources.some((r) => r.type === resource.type && (r.id === undefined || r.id === resource.id))
  )
}

/** Whether everything in `child` is inside `parent` (law 5). */
export function narrows(child: Scope, parent: Scope): boolean {
  return (
    child.actions.every((action) => parent.actions.includes(action)) &&
    child.resources.every((c) =>
      parent.resources.some((p) => p.type === c.type && (p.id === undefined || p.id === c.id)),
    )
  )
}

/** The window that all of `tasks` leave open; bounds that none has are missing. */
export function windowOf(tasks: readonly Task[]): Readonly<{ startsAt?: Instant; endsAt?: Instant }> {
  const windows = tasks.flatMap((task) => (task.window === undefined ? [] : [task.window]))
  if (windows.length === 0) return {}
  return {
    startsAt: Math.max(...windows.map((w) => w.startsAt)),
    endsAt: Math.min(...windows.map((w) => w.endsAt)),
  }
}

/** The first committed permit opens a declared task: its clocks start now, not while it waited (law 3). */
export function openTask(task: Task, now: Instant, latestEnd: Instant): Task {
  if (task.state !== 'declared') return task
  const endsAt = Math.min(now + task.life, latestEnd, task.window?.endsAt ?? Infinity)
  return { ...task, state: 'open', openedAt: now, heartbeatAt: now, endsAt }
}

/** A heartbeat keeps an open task alive; it never extends its end. Ended tasks stay as they are. */
export function beat(task: Task, now: Instant): Task {
  return task.state === 'open' ? { ...task, heartbeatAt: now } : task
}

/**
 * When the task ends by itself if nothing happens: the lapse of its heartbeat, its end, or (declared) its wait.
 * `undefined` once it has ended.
 */
export function taskLapsesAt(task: Task): Instant | undefined {
  if (task.state === 'declared') return Math.min(task.waitUntil, task.window?.endsAt ?? Infinity)
  if (task.state !== 'open') return undefined
  return Math.min((task.heartbeatAt ?? 0) + task.heartbeat, task.endsAt ?? 0)
}

/** Whether the task may carry authority at `now`. The instant of the lapse is already too late. */
export function isLive(task: Task, now: Instant): boolean {
  const lapsesAt = taskLapsesAt(task)
  return lapsesAt !== undefined && now < lapsesAt
}

/**
 * A window only narrows, and an open task ends with it. One that opens later keeps a declared task waiting for it: that
 * gives nothing that the task did not have.
 */
export function narrowWindow(task: Task, to: Pick<Window, 'startsAt' | 'endsAt'>): Task {
  const { window } = task
  if (isEnded(task) || window === undefined) return task
  const startsAt = Math.max(window.startsAt, to.startsAt)
  const endsAt = Math.min(window.endsAt, to.endsAt)
  if (startsAt === window.startsAt && endsAt === window.endsAt) return task
  const narrowed = { ...task, window: { ...window, startsAt, endsAt } }
  if (task.state === 'declared') return waitUntil(narrowed, startsAt)
  return { ...narrowed, endsAt: Math.min(task.endsAt ?? Infinity, endsAt) }
}

/** Ends once: an ended task keeps its first ending. */
export function endTask(task: Task, how: TaskEnd, now: Instant, reason: string, by: string): Task {
  return isEnded(task) ? task : { ...task, state: how, endedAt: now, ending: { reason, by } }
}

/** Waiting never eats authority: a pending request or an approval not yet used keeps a declared task waiting. */
export function waitUntil(task: Task, at: Instant): Task {
  const until = at + DECLARED_WAIT
  return task.state === 'declared' && until > task.waitUntil ? { ...task, waitUntil: until } : task
}

/** `rate` counts the calls of the last minute in steps of five seconds: at most those of five seconds too many, never too few. */
export const historyNames = ['calls', 'denials', 'retries', 'resources', 'systems', 'rate'] as const

/** What happened under a task, in numbers. */
export type History = Readonly<Record<(typeof historyNames)[number], number>>

/** The history of `task` at `now`. */
export function historyOf(task: Task, now: Instant): History {
  return {
    calls: task.calls,
    denials: task.denials,
    retries: task.retries ?? 0,
    resources: task.resources.length,
    systems: systemsOf(task).length,
    rate: lately(task, now).reduce((sum, { calls }) => sum + calls, 0),
  }
}

/**
 * The task as it was before `own` calls on `touched` that do not count against what is analysed again; the latest, for its
 * rate. Whether others touched the same before is not known: that one thing counts against nobody who has it.
 */
export function withoutCalls(task: Task, own: number, touched?: EntityRef): Task {
  if (own === 0) return task
  let left = own
  const recent = (task.recent ?? []).toReversed().map(({ at, calls }) => {
    const taken = Math.min(left, calls)
    left -= taken
    return { at, calls: calls - taken }
  })
  const less = { ...task, calls: Math.max(0, task.calls - own), recent: recent.toReversed() }
  if (touched === undefined) return less
  const resources = task.resources.filter((key) => key !== refKey(touched))
  // of a list that is full nobody knows what else there was of its type
  const isAlone =
    task.resources.length < MOST_RESOURCES && !resources.some((key) => typeOf(key) === touched.type)
  const systems = systemsOf(task).filter((system) => !isAlone || system !== touched.type)
  return { ...less, resources, systems }
}

/** A permit for `thing` on `resource` at `now`; `isNamed`: under this very task, not below it. */
export function countCall(
  task: Task,
  { thing, resource, isNamed }: Readonly<{ thing: string; resource: EntityRef; isNamed: boolean }>,
  now: Instant,
): Task {
  const retried = isNamed && task.denied?.includes(thing) === true
  const at = Math.floor(now / RATE_STEP) * RATE_STEP
  const recent = lately(task, now)
  const last = recent.at(-1)
  const systems = joined(systemsOf(task), resource.type, MOST_SYSTEMS)
  return {
    ...task,
    calls: task.calls + 1,
    resources: joined(task.resources, refKey(resource), MOST_RESOURCES),
    systems,
    // a clock that went back adds to the latest step
    recent:
      last !== undefined && last.at >= at
        ? [...recent.slice(0, -1), { at: last.at, calls: last.calls + 1 }]
        : [...recent, { at, calls: 1 }],
    ...(retried
      ? { retries: (task.retries ?? 0) + 1, denied: task.denied.filter((one) => one !== thing) }
      : {}),
  }
}

/** No permit for `thing`; `isFinal`: it was denied, not challenged for evidence. */
export function countDenial(task: Task, thing: string, isFinal: boolean): Task {
  const denied = task.denied ?? []
  const known = denied.includes(thing)
  const isFull = denied.length >= MOST_DENIED
  // what cannot be remembered is taken to have been denied before
  const retried = known || (isFinal && isFull)
  return {
    ...task,
    denials: task.denials + 1,
    ...(retried ? { retries: (task.retries ?? 0) + 1 } : {}),
    ...(isFinal && !known && !isFull ? { denied: [...denied, thing] } : {}),
  }
}

const lately = ({ recent = [] }: Task, now: Instant): readonly Calls[] =>
  recent.filter(({ at }) => now < at + RATE_STEP + RATE_SPAN)

const typeOf = (key: string): string => key.slice(0, key.indexOf('/'))

function systemsOf({ systems, resources }: Task): readonly string[] {
  return systems ?? [...new Set(resources.map(typeOf))]
}

const joined = (known: readonly string[], one: string, most: number): readonly string[] =>
  known.includes(one) || known.length >= most ? known : [...known, one]
