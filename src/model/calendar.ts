/**
 * What a calendar says of an instant: whether it has an event then, when that changes next, and what of a task's window it
 * still leaves. Pure; how calendars are read is in `context/`.
 *
 * @module
 */
import type { Fact } from './fact.ts'
import type { Instant, Millis } from './time.ts'

/** One time of an event; over at `endsAt`. `of` is the start that its series gave it, for one of a series alone. */
export type CalendarEvent = Readonly<{
  startsAt: Instant
  endsAt: Instant
  summary?: string
  uid?: string
  of?: Instant
}>

/** A configured calendar, e.g. `{ name: 'release', from: { file: '/etc/writ/release.ics' }, … }`. */
export type CalendarSource = Readonly<{
  name: string
  from:
    | Readonly<{ file: string }>
    | Readonly<{
        url: string
        allowPrivate: boolean
        /** PEM of further certificate authorities. */
        ca?: string
        /** Sent with what is in the file: `{ header: 'authorization', tokenFile: '/run/secrets/calendar' }`. */
        token?: Readonly<{ header: string; file: string }>
      }>
  /** How often it is read. */
  refresh: Millis
  /** How long what was read is believed. */
  maxAge: Millis
  /** How far ahead its events are looked at. */
  horizon: Millis
  /** Of all-day events and of times without a zone; by default what the calendar says itself (`X-WR-TIMEZONE`). */
  timeZone?: string
  /** Whether an event that nobody has confirmed yet counts. */
  tentative: boolean
}>

/** The span in which a task may act; `calendar` where it is that of an event. */
export type Window = Readonly<{
  startsAt: Instant
  endsAt: Instant
  calendar?: Readonly<{ name: string; uid?: string; of?: Instant; summary?: string }>
}>

type Said = Pick<Fact, 'value'>

/** The events of a `calendar` fact, by their starts; none where it has none. What has no length is no event. */
export const eventsOf = ({ value }: Said): readonly CalendarEvent[] =>
  ((value?.['events'] ?? []) as unknown as readonly CalendarEvent[])
    .filter(({ startsAt, endsAt }) => startsAt < endsAt)
    .sort((a, b) => a.startsAt - b.startsAt || b.endsAt - a.endsAt)

const isOn = ({ startsAt, endsAt }: CalendarEvent, at: Instant): boolean => startsAt <= at && at < endsAt

/** Whether there is an event at `now`; one that has ended at an instant is over at that instant. */
export const openAt = (fact: Said, now: Instant): boolean => eventsOf(fact).some((event) => isOn(event, now))

/**
 * The first instant after `now` at which `openAt` answers otherwise; `Infinity` if there is none. Events that overlap or
 * touch are one: the calendar stays open from one to the next.
 */
export function nextBoundary(fact: Said, now: Instant): Instant {
  const events = eventsOf(fact)
  if (!events.some((event) => isOn(event, now)))
    return events.find(({ startsAt }) => startsAt > now)?.startsAt ?? Infinity
  let end = now
  for (const { startsAt, endsAt } of events) if (startsAt <= end) end = Math.max(end, endsAt)
  return end
}

/** The window of the event that is on at `now`, of several the one that ends last; else of the next one. */
export function windowFrom(name: string, fact: Said, now: Instant): Window | undefined {
  const events = eventsOf(fact)
  const on = events.filter((event) => isOn(event, now))
  const event =
    on.reduce<CalendarEvent | undefined>(
      (last, one) => (one.endsAt > (last?.endsAt ?? 0) ? one : last),
      undefined,
    ) ?? events.find(({ startsAt }) => startsAt > now)
  if (event === undefined) return undefined
  const { startsAt, endsAt, uid, of, summary } = event
  return {
    startsAt,
    endsAt,
    calendar: {
      name,
      ...(uid === undefined ? {} : { uid }),
      ...(of === undefined ? {} : { of }),
      ...(summary === undefined ? {} : { summary }),
    },
  }
}

/**
 * What is left of `window` by what its calendar says now: later, earlier or longer events never widen it. `undefined` when
 * the event is gone (cancelled, or moved to where the window is not). A series that was moved as a whole is known by its
 * time that overlaps most.
 */
export function narrowedBy(window: Window, fact: Said): Window | undefined {
  const { calendar } = window
  const overlap = ({ startsAt, endsAt }: CalendarEvent): Millis =>
    Math.min(endsAt, window.endsAt) - Math.max(startsAt, window.startsAt)
  const mine = eventsOf(fact).filter(({ uid }) => uid === calendar?.uid)
  const event = mine.find(({ of }) => of === calendar?.of) ?? mine.sort((a, b) => overlap(b) - overlap(a))[0]
  if (event === undefined || overlap(event) <= 0) return undefined
  const startsAt = Math.max(window.startsAt, event.startsAt)
  const endsAt = Math.min(window.endsAt, event.endsAt)
  return startsAt === window.startsAt && endsAt === window.endsAt ? window : { ...window, startsAt, endsAt }
}
