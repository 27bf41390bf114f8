/**
 * Tasks on the wire.
 *
 * @module
 */
import * as z from 'zod'
import type { Scope, Task } from '../../model/task.ts'
import { taskLapsesAt } from '../../model/task.ts'
import type { EntityRef } from '../../model/entity.ts'
import type { Instant, Millis } from '../../model/time.ts'
import {
  actionName,
  displayName,
  duration,
  durationOut,
  encodeDuration,
  encodeInstant,
  encodeRef,
  entityType,
  given,
  id,
  instant,
  instantOut,
  page,
  ref,
  refOut,
  text,
} from '../bounds.ts'

/** Most actions, and most resources, in one scope. */
export const SCOPE_MOST = 64

const scopeShape = {
  actions: z.array(actionName).min(1).max(SCOPE_MOST),
  resources: z
    .array(z.strictObject({ type: entityType, id: id.exactOptional() }))
    .min(1)
    .max(SCOPE_MOST),
}

export const taskDeclaration = z
  .strictObject({
    purpose: text.min(1).max(512),
    scope: z
      .strictObject(scopeShape)
      .meta({ description: 'A resource without `id` stands for all of its type' }),
    subject: ref.exactOptional().meta({ description: "Defaults to the caller's own subject" }),
    reason: text.exactOptional().meta({ description: 'Counts as justification' }),
    ticket: displayName.exactOptional(),
    limits: z.strictObject({ calls: z.int().min(1).max(1_000_000_000).exactOptional() }).exactOptional(),
    window: z
      .union([
        z.strictObject({ starts_at: instant, ends_at: instant }),
        z.strictObject({ calendar: id.meta({ description: 'A configured calendar' }) }),
      ])
      .exactOptional()
      .meta({ description: 'Of a calendar: its event that is on, or the next one' }),
    parent: id.exactOptional(),
    delegation: id.exactOptional().meta({ description: 'The delegation that it is done under' }),
    ttl: duration.exactOptional().meta({ description: 'Longest life from activation; 30m if left out' }),
    heartbeat: duration.exactOptional().meta({ description: '15s if left out' }),
  })
  .meta({ id: 'TaskDeclaration' })

export type TaskDeclaration = z.input<typeof taskDeclaration>

/** A declaration as a door hands it on. */
export type DecodedTask = Readonly<{
  purpose: string
  scope: Scope
  subject?: EntityRef
  reason?: string
  ticket?: string
  limits?: Readonly<{ calls?: number }>
  window?: Readonly<{ startsAt: Instant; endsAt: Instant }> | Readonly<{ calendar: string }>
  parent?: string
  delegation?: string
  life?: Millis
  heartbeat?: Millis
}>

export function decodeTask(parsed: z.output<typeof taskDeclaration>): DecodedTask {
  const { window, ttl, ...rest } = parsed
  return {
    ...rest,
    ...(window === undefined
      ? {}
      : {
          window: 'calendar' in window ? window : { startsAt: window.starts_at, endsAt: window.ends_at },
        }),
    ...given('life', ttl),
  }
}

export const taskEnding = z
  .strictObject({ status: z.enum(['completed', 'failed', 'cancelled']), reason: text.exactOptional() })
  .meta({ id: 'TaskEnding' })

export type TaskEnding = z.input<typeof taskEnding>

export const taskStates = ['declared', 'open', 'completed', 'failed', 'timed-out', 'cancelled'] as const

export const task = z
  .object({
    id: z.string(),
    state: z.enum(taskStates),
    purpose: z.string(),
    reason: z.string().exactOptional(),
    ticket: z.string().exactOptional(),
    subject: refOut,
    chain: z.array(refOut),
    declared_by: refOut,
    scope: z.object({
      actions: z.array(z.string()),
      resources: z.array(z.object({ type: z.string(), id: z.string().exactOptional() })),
    }),
    limits: z.object({ calls: z.int().exactOptional() }),
    parent: z.string().exactOptional(),
    delegation: z.string().exactOptional(),
    window: z
      .object({
        starts_at: instantOut,
        ends_at: instantOut,
        calendar: z.string().exactOptional().meta({ description: 'The calendar whose event it is' }),
        event: z.string().exactOptional().meta({ description: 'What the calendar calls the event' }),
      })
      .exactOptional(),
    declared_at: instantOut,
    ttl: durationOut,
    heartbeat: durationOut,
    opened_at: instantOut.exactOptional(),
    ends_at: instantOut.exactOptional(),
    lapses_at: instantOut.exactOptional().meta({ description: 'When it ends by itself if nothing happens' }),
    calls: z.int().meta({ description: 'Permits under it and below it' }),
    denials: z.int(),
    ended_at: instantOut.exactOptional(),
    ending: z.object({ reason: z.string(), by: z.string() }).exactOptional(),
  })
  .meta({ id: 'Task' })

export type WireTask = z.infer<typeof task>

export const taskPage = page(task).meta({ id: 'TaskPage' })

export function encodeTask(value: Task): WireTask {
  const lapsesAt = taskLapsesAt(value)
  return {
    id: value.id,
    state: value.state,
    purpose: value.purpose,
    ...given('reason', value.reason),
    ...given('ticket', value.ticket),
    subject: encodeRef(value.subject),
    chain: value.chain.map(encodeRef),
    declared_by: encodeRef(value.declaredBy),
    scope: {
      actions: [...value.scope.actions],
      resources: value.scope.resources.map((r) => ({ type: r.type, ...given('id', r.id) })),
    },
    limits: { ...given('calls', value.limits.calls) },
    ...given('parent', value.parent),
    ...given('delegation', value.delegation),
    ...(value.window === undefined
      ? {}
      : {
          window: {
            starts_at: encodeInstant(value.window.startsAt),
            ends_at: encodeInstant(value.window.endsAt),
            ...given('calendar', value.window.calendar?.name),
            ...given('event', value.window.calendar?.summary),
          },
        }),
    declared_at: encodeInstant(value.declaredAt),
    ttl: encodeDuration(value.life),
    heartbeat: encodeDuration(value.heartbeat),
    ...(value.openedAt === undefined ? {} : { opened_at: encodeInstant(value.openedAt) }),
    ...(value.endsAt === undefined ? {} : { ends_at: encodeInstant(value.endsAt) }),
    ...(lapsesAt === undefined ? {} : { lapses_at: encodeInstant(lapsesAt) }),
    calls: value.calls,
    denials: value.denials,
    ...(value.endedAt === undefined ? {} : { ended_at: encodeInstant(value.endedAt) }),
    ...(value.ending === undefined ? {} : { ending: { reason: value.ending.reason, by: value.ending.by } }),
  }
}
