/**
 * The events of a calendar within a span of time: series expanded, what was moved moved, what was cancelled left out. A
 * calendar of which anything is not understood has no events that could be relied on, so it fails as a whole.
 *
 * @module
 */
import type { CalendarEvent } from '../../model/calendar.ts'
import type { Instant } from '../../model/time.ts'
import { DAY } from '../../model/time.ts'
import type { Component, Property } from './lines.ts'
import { CalendarError, only, parseComponents, shown } from './lines.ts'
import { parseRule } from './rules.ts'
import type { Duration, Time, ZoneOf } from './values.ts'
import { after, instantOf, parseDuration, parseOffset, parseTime, plainText } from './values.ts'
import type { Wall, Zone } from './zones.ts'
import { definedZone, instantAt, instantsAt, namedZone, UTC } from './zones.ts'

export type ExpandInput = Readonly<{
  text: string
  /** Events that are on at some time from here … */
  from: Instant
  /** … until here. */
  until: Instant
  /** Of days and of times without a zone; `undefined` for what the calendar says. */
  timeZone: string | undefined
  tentative: boolean
  /** Most times of events in the span. */
  most: number
}>

/** Components of one calendar. */
const MOST_PARTS = 20_000
/** Dates that are added to one series, or taken from it. */
const MOST_DATES = 10_000
const MOST_SUMMARY = 60
const MOST_UID = 64

/**
 * In the order of their starts.
 *
 * @throws {CalendarError} with the line of what is wrong.
 */
export function expand(input: ExpandInput): readonly CalendarEvent[] {
  const events = parseComponents(input.text).flatMap((calendar) => eventsIn(calendar, input))
  if (events.length > input.most) throw tooMany(events, input)
  return events.sort(
    (a, b) => a.startsAt - b.startsAt || a.endsAt - b.endsAt || ((a.uid ?? '') < (b.uid ?? '') ? -1 : 1),
  )
}

function eventsIn(calendar: Component, input: ExpandInput): readonly CalendarEvent[] {
  if (calendar.parts.length > MOST_PARTS)
    throw new CalendarError(calendar.line, `it has more than ${MOST_PARTS} components`)
  const version = only(calendar, 'VERSION')
  if (version !== undefined && version.value !== '2.0')
    throw new CalendarError(version.line, `version \`${shown(version.value)}\` is not known here, only 2.0`)
  const method = only(calendar, 'METHOD')
  if (method !== undefined && method.value.toUpperCase() !== 'PUBLISH')
    throw new CalendarError(method.line, 'it is a message about events (`METHOD`), not a published calendar')
  const zones = new Zones(calendar, input)
  const series = new Map<string, Entry[]>()
  for (const part of calendar.parts.filter(({ name }) => name === 'VEVENT')) {
    const entry = entryOf(part, zones)
    series.set(entry.uid, [...(series.get(entry.uid) ?? []), entry])
  }
  const events: CalendarEvent[] = []
  for (const entries of series.values()) {
    events.push(...timesOf(newest(entries), zones, input))
    if (events.length > input.most) throw tooMany(events, input)
  }
  return events
}

const tooMany = (events: readonly CalendarEvent[], { most }: ExpandInput): Error =>
  new CalendarError(1, `more than ${most} times of events within the horizon (${events.length} so far)`)

/** One VEVENT. */
type Entry = Readonly<{
  part: Component
  uid: string
  start: Time
  startLine: Property
  length: Length
  recurrence: Readonly<{ time: Time; line: number }> | undefined
  sequence: number
  stamp: string
  isCancelled: boolean
  isTentative: boolean
  summary: string | undefined
}>

/** By the calendar's days, by a duration, or exactly as long as the first time was. */
type Length = Duration

function entryOf(part: Component, zones: Zones): Entry {
  const uid = only(part, 'UID')
  const startLine = only(part, 'DTSTART')
  if (uid === undefined || uid.value === '') throw new CalendarError(part.line, 'an event has no `UID`')
  if (startLine === undefined) throw new CalendarError(part.line, 'an event has no `DTSTART`')
  const start = parseTime(startLine.value, startLine, zones.of)
  const recurrenceLine = only(part, 'RECURRENCE-ID')
  if (recurrenceLine?.params['RANGE'] !== undefined)
    throw new CalendarError(recurrenceLine.line, '`RANGE` is not known here: change each time of its own')
  const unknown = part.properties.find(({ name }) => name === 'EXRULE')
  if (unknown !== undefined) throw new CalendarError(unknown.line, '`EXRULE` is not known here')
  const status = only(part, 'STATUS')
  const state = status?.value.toUpperCase() ?? 'CONFIRMED'
  if (!['CONFIRMED', 'TENTATIVE', 'CANCELLED'].includes(state))
    throw new CalendarError(
      status?.line ?? part.line,
      `\`STATUS\` is not one of an event: \`${shown(state)}\``,
    )
  const sequence = only(part, 'SEQUENCE')
  if (sequence !== undefined && !/^\d{1,9}$/u.test(sequence.value))
    throw new CalendarError(sequence.line, '`SEQUENCE` is not a number')
  const summary = only(part, 'SUMMARY')
  return {
    part,
    uid: uid.value,
    start,
    startLine,
    length: lengthOf(part, start, startLine, zones),
    recurrence:
      recurrenceLine === undefined
        ? undefined
        : { time: parseTime(recurrenceLine.value, recurrenceLine, zones.of), line: recurrenceLine.line },
    sequence: Number(sequence?.value ?? 0),
    stamp: only(part, 'DTSTAMP')?.value ?? '',
    isCancelled: state === 'CANCELLED',
    isTentative: state === 'TENTATIVE',
    summary: summary === undefined ? undefined : plainText(summary.value, MOST_SUMMARY),
  }
}

function lengthOf(part: Component, start: Time, startLine: Property, zones: Zones): Length {
  const end = only(part, 'DTEND')
  const duration = only(part, 'DURATION')
  if (end !== undefined && duration !== undefined)
    throw new CalendarError(duration.line, 'an event has either `DTEND` or `DURATION`')
  if (duration !== undefined) {
    const length = parseDuration(duration.value, duration)
    if (start.isDate && length.exact > 0)
      throw new CalendarError(duration.line, '`DURATION` has hours, and the event is of whole days')
    return length
  }
  if (end === undefined) return { days: start.isDate ? 1 : 0, exact: 0 }
  const ends = parseTime(end.value, end, zones.of)
  if (ends.isDate !== start.isDate)
    throw new CalendarError(end.line, '`DTEND` and `DTSTART` are not both days or both times')
  const length: Length = start.isDate
    ? { days: (ends.wall - start.wall) / DAY, exact: 0 }
    : { days: 0, exact: zones.instant(ends, end.line) - zones.instant(start, startLine.line) }
  if (length.days < 0 || length.exact < 0) throw new CalendarError(end.line, '`DTEND` is before `DTSTART`')
  return length
}

/** Of what is said several times of one time, the newest. */
function newest(entries: readonly Entry[]): readonly Entry[] {
  const known = new Map<string, Entry>()
  for (const entry of entries) {
    const key = entry.recurrence === undefined ? '' : JSON.stringify(entry.recurrence.time)
    const before = known.get(key)
    const isOlder =
      before !== undefined &&
      (entry.sequence < before.sequence || (entry.sequence === before.sequence && entry.stamp < before.stamp))
    if (!isOlder) known.set(key, entry)
  }
  return [...known.values()]
}

function timesOf(entries: readonly Entry[], zones: Zones, input: ExpandInput): readonly CalendarEvent[] {
  const master = entries.find(({ recurrence }) => recurrence === undefined)
  const moved = entries.filter(({ recurrence }) => recurrence !== undefined)
  if (master?.isCancelled === true) return []
  const counts = ({ isCancelled, isTentative }: Entry): boolean =>
    !isCancelled && (input.tentative || !isTentative)
  const isRecurring =
    master !== undefined && master.part.properties.some(({ name }) => name === 'RRULE' || name === 'RDATE')
  const said = new Map<Instant, CalendarEvent>()
  if (master !== undefined && counts(master))
    for (const event of seriesOf(master, isRecurring, zones, input)) {
      said.set(event.of ?? event.startsAt, event)
    }
  const events: CalendarEvent[] = []
  for (const entry of moved) {
    const { time, line } = entry.recurrence as { time: Time; line: number }
    if (master !== undefined && time.isDate !== master.start.isDate)
      throw new CalendarError(line, '`RECURRENCE-ID` and `DTSTART` are not both days or both times')
    const of = zones.instant(time, line)
    said.delete(of)
    if (counts(entry)) events.push(...within([once(entry, entry.start, of, zones)], input))
  }
  return [...events, ...said.values()]
}

/** The times of one VEVENT, without those that have an entry of their own. */
function seriesOf(
  entry: Entry,
  isRecurring: boolean,
  zones: Zones,
  input: ExpandInput,
): readonly CalendarEvent[] {
  const { part, start, startLine } = entry
  if (!isRecurring) return within([once(entry, start, undefined, zones)], input)
  const zone = start.zone ?? zones.floating(startLine.line)
  const line = only(part, 'RRULE')
  const events: CalendarEvent[] = []
  const add = (wall: Wall, both: boolean): void => {
    const starts = both ? instantsAt(wall, zone) : []
    for (const at of starts.length > 0 ? starts : [instantAt(wall, zone)])
      events.push(...within([{ ...timed(entry, at, wall, zone), of: at }], input))
    if (events.length > input.most) throw tooMany(events, input)
  }
  const first = once(entry, start, undefined, zones)
  if (line === undefined) add(start.wall, false)
  else {
    const rule = parseRule(line, start, zones.of)
    const isStart = rule.between(start.wall, start.wall).length > 0
    // what a rule means that does not begin with its own start is not defined (RFC 5545 §3.8.5.3)
    if (!isStart && (rule.isCounted || within([first], input).length > 0))
      throw new CalendarError(line.line, '`DTSTART` is not one of the times of `RRULE`')
    const reach = first.endsAt - first.startsAt + 2 * DAY
    const until = rule.until
    for (const wall of rule.between(
      Math.max(start.wall, input.from - reach),
      Math.min(input.until + 2 * DAY, until?.isDate === true ? until.wall + DAY - 1 : Infinity),
    )) {
      if (until !== undefined && !until.isDate && instantAt(wall, zone) > zones.instant(until, line.line))
        break
      add(wall, rule.isSubDaily)
    }
  }
  const same = (time: Time, at: Property): void => {
    if (time.isDate !== start.isDate)
      throw new CalendarError(at.line, `\`${at.name}\` and \`DTSTART\` are not both days or both times`)
  }
  for (const property of part.properties.filter(({ name }) => name === 'RDATE')) {
    for (const text of dates(property)) {
      const [from = '', to] = text.split('/')
      if ((to !== undefined) !== (property.params['VALUE']?.toUpperCase() === 'PERIOD'))
        throw new CalendarError(
          property.line,
          `\`RDATE\` is not the time that it says it is: \`${shown(text)}\``,
        )
      const bare = {
        ...property,
        params: { ...property.params, ...(to === undefined ? {} : { VALUE: 'DATE-TIME' }) },
      }
      const time = parseTime(from, bare, zones.of)
      same(time, property)
      const at = zones.instant(time, property.line)
      if (to === undefined) {
        events.push(...within([{ ...once(entry, time, at, zones) }], input))
        continue
      }
      const endsAt = to.startsWith('P')
        ? after(time.wall, parseDuration(to, property), time.zone ?? zones.floating(property.line))
        : zones.instant(parseTime(to, bare, zones.of), property.line)
      if (endsAt < at) throw new CalendarError(property.line, '`RDATE` ends before it starts')
      events.push(...within([{ ...once(entry, time, at, zones), endsAt }], input))
    }
  }
  const gone = new Set<Instant>()
  for (const property of part.properties.filter(({ name }) => name === 'EXDATE')) {
    for (const text of dates(property)) {
      const time = parseTime(text, property, zones.of)
      same(time, property)
      gone.add(zones.instant(time, property.line))
    }
  }
  return events.filter(({ of }) => !gone.has(of as Instant))
}

function dates(property: Property): readonly string[] {
  const all = property.value.split(',', MOST_DATES + 1)
  if (all.length > MOST_DATES) throw new CalendarError(property.line, `more than ${MOST_DATES} dates`)
  return all
}

/** One time of `entry` that starts at `time`. */
function once(entry: Entry, time: Time, of: Instant | undefined, zones: Zones): CalendarEvent {
  const zone = time.zone ?? zones.floating(entry.startLine.line)
  const event = timed(entry, instantAt(time.wall, zone), time.wall, zone)
  return of === undefined ? event : { ...event, of }
}

function timed({ uid, summary, length }: Entry, startsAt: Instant, wall: Wall, zone: Zone): CalendarEvent {
  // a length in exact time begins at this very instant, also in the second hour of an overlap
  const endsAt = length.days === 0 ? startsAt + length.exact : after(wall, length, zone)
  return {
    startsAt,
    endsAt,
    ...(summary === undefined || summary === '' ? {} : { summary }),
    uid: plainText(uid, MOST_UID),
  }
}

/** What lasts some time and is not over before the span nor begins after it. */
const within = (events: readonly CalendarEvent[], { from, until }: ExpandInput): readonly CalendarEvent[] =>
  events.filter(({ startsAt, endsAt }) => startsAt < endsAt && endsAt > from && startsAt < until)

/** Zones by name: those of the tz database by their rules, others by what the calendar says of them. */
class Zones {
  readonly #calendar: Component
  readonly #input: ExpandInput
  readonly #known = new Map<string, Zone>()
  #floating: Zone | undefined
  readonly of: ZoneOf

  constructor(calendar: Component, input: ExpandInput) {
    this.#calendar = calendar
    this.#input = input
    this.of = (tzid, line) => {
      const known = this.#known.get(tzid) ?? namedZone(tzid) ?? this.#defined(tzid)
      if (known === undefined)
        throw new CalendarError(
          line,
          `nobody knows the time zone \`${shown(tzid)}\`: neither its name nor a \`VTIMEZONE\``,
        )
      this.#known.set(tzid, known)
      return known
    }
  }

  instant(time: Time, line: number): Instant {
    return instantOf(time, time.zone ?? this.floating(line))
  }

  /** Of days and of times without a zone: nothing is guessed. */
  floating(line: number): Zone {
    if (this.#floating !== undefined) return this.#floating
    const own = only(this.#calendar, 'X-WR-TIMEZONE')
    const name = this.#input.timeZone ?? own?.value
    if (name === undefined)
      throw new CalendarError(
        line,
        'in which time zone is not said: configure a `time_zone` for this calendar',
      )
    return (this.#floating = this.of(name, own?.line ?? line))
  }

  #defined(tzid: string): Zone | undefined {
    const part = this.#calendar.parts.find(
      (one) => one.name === 'VTIMEZONE' && only(one, 'TZID')?.value === tzid,
    )
    if (part === undefined) return undefined
    const span = { first: this.#input.from - 800 * DAY, last: this.#input.until + 400 * DAY }
    const onsets: { at: Instant; offset: number }[] = []
    let earliest: { at: Instant; before: number } | undefined
    for (const observance of part.parts) {
      if (observance.name !== 'STANDARD' && observance.name !== 'DAYLIGHT') continue
      const [start, from, to] = ['DTSTART', 'TZOFFSETFROM', 'TZOFFSETTO'].map((name) => {
        const property = only(observance, name)
        if (property === undefined) throw new CalendarError(observance.line, `a time zone has no \`${name}\``)
        return property
      }) as [Property, Property, Property]
      const [before, offset] = [parseOffset(from), parseOffset(to)]
      const begins = parseTime(start.value, start, () => UTC)
      const walls = [begins.wall]
      const line = only(observance, 'RRULE')
      if (line !== undefined) {
        const rule = parseRule(line, begins, () => UTC)
        const last =
          rule.until === undefined
            ? Infinity
            : rule.until.wall +
              (rule.until.zone === undefined ? 0 : before) +
              (rule.until.isDate ? DAY - 1 : 0)
        walls.push(...rule.between(Math.max(begins.wall, span.first), Math.min(last, span.last)))
        // a rule that was over before the span: its last onset is what counts on
        if (last < span.first) walls.push(...rule.between(Math.max(begins.wall, last - 800 * DAY), last))
      }
      for (const property of observance.properties.filter(({ name }) => name === 'RDATE'))
        for (const text of dates(property)) walls.push(parseTime(text, property, () => UTC).wall)
      for (const wall of walls) onsets.push({ at: wall - before, offset })
      if (begins.wall - before < (earliest?.at ?? Infinity)) earliest = { at: begins.wall - before, before }
    }
    if (earliest === undefined)
      throw new CalendarError(part.line, 'a time zone has neither STANDARD nor DAYLIGHT')
    return definedZone(
      onsets.sort((a, b) => a.at - b.at),
      earliest.before,
    )
  }
}
