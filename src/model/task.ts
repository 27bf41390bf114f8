/**
 * Tasks: declared → open → completed | failed | timed-out | cancelled. Pure transitions; `now` is an argument.
 *
 * @module
 */
import type { Window } from './calendar.ts'
import type { EntityRef } from './entity.ts'
import type { AccountRef } from './identity.ts'
import type { Instant, Millis } from './time.ts'
import { MINUTE } from './time.ts'

/** What a task may touch: a resource without an id stands for all of its type. */
export type Scope = Readonly<{
  actions: readonly string[]
  resources: readonly Readonly<{ type: string; id?: string }>[]
}>

/** Bounds that are spent: `calls` is the number of permits under the task and everything below it. */
export type Limits = Readonly<{ calls?: number }>

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
  /** Distinct resources touched, as keys; bounded by `limits` of the door. */
  resources: readonly string[]
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
