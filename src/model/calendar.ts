/**
 * What a calendar says of an instant: whether it has an event then, and when that changes next.
 *
 * @module
 */
import type { Fact } from './fact.ts'
import type { Instant } from './time.ts'

export type CalendarEvent = Readonly<{ startsAt: Instant; endsAt: Instant; summary?: string; uid?: string }>

/** The events of a `calendar` fact; none where it has none. */
export const eventsOf = ({ value }: Pick<Fact, 'value'>): readonly CalendarEvent[] =>
  (value?.['events'] ?? []) as unknown as readonly CalendarEvent[]

/** Whether there is an event at `now`; one that has ended at an instant is over at that instant. */
export const openAt = (fact: Pick<Fact, 'value'>, now: Instant): boolean =>
  eventsOf(fact).some(({ startsAt, endsAt }) => startsAt <= now && now < endsAt)

/** The first instant after `now` at which an event begins or ends; `Infinity` if there is none. */
export const nextBoundary = (fact: Pick<Fact, 'value'>, now: Instant): Instant =>
  Math.min(
    Infinity,
    ...eventsOf(fact).flatMap(({ startsAt, endsAt }) => [startsAt, endsAt].filter((at) => at > now)),
  )
