/**
 * Values of properties: times, durations, texts (RFC 5545 §3.3).
 *
 * @module
 */
import type { Instant, Millis } from '../../model/time.ts'
import { DAY, SECOND } from '../../model/time.ts'
import type { Property } from './lines.ts'
import { CalendarError, shown } from './lines.ts'
import type { Wall, Zone } from './zones.ts'
import { instantAt, UTC } from './zones.ts'

/** `isDate` for a day; `zone` is `undefined` where no zone is named (floating). */
export type Time = Readonly<{ wall: Wall; isDate: boolean; zone: Zone | undefined }>

/** Whole days as the calendar counts them, and exact time. */
export type Duration = Readonly<{ days: number; exact: Millis }>

/** A zone by its `TZID`. @throws {CalendarError} for one that nobody knows. */
export type ZoneOf = (tzid: string, line: number) => Zone

export function parseTime(text: string, { line, name, params }: Property, zoneOf: ZoneOf): Time {
  const match = /^(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?$/u.exec(text)
  if (match === null) throw new CalendarError(line, `\`${name}\` is not a time: \`${shown(text)}\``)
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map((digits) => Number(digits ?? 0)) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  const isDate = match[4] === undefined
  const wall = Date.UTC(year, month - 1, day, hour, minute, Math.min(second, 59))
  const at = new Date(wall)
  const isReal =
    year >= 1_000 &&
    at.getUTCMonth() === month - 1 &&
    at.getUTCDate() === day &&
    hour < 24 &&
    minute < 60 &&
    second <= 60
  if (!isReal) throw new CalendarError(line, `\`${name}\` is a time that there is not: \`${shown(text)}\``)
  const wanted = params['VALUE']?.toUpperCase()
  if ((wanted === 'DATE' && !isDate) || (wanted === 'DATE-TIME' && isDate))
    throw new CalendarError(line, `\`${name}\` is not the ${wanted} that it says it is`)
  const tzid = params['TZID']
  const zone = match[7] === 'Z' ? UTC : isDate || tzid === undefined ? undefined : zoneOf(tzid, line)
  return { wall, isDate, zone }
}

/** The instant of `time`, in `floating` where it names no zone. */
export const instantOf = (time: Time, floating: Zone): Instant => instantAt(time.wall, time.zone ?? floating)

export function parseDuration(text: string, { line, name }: Property): Duration {
  const match =
    /^\+?P(?:(\d{1,5})W|(?:(\d{1,5})D)?(?:T(?:(\d{1,7})H)?(?:(\d{1,7})M)?(?:(\d{1,9})S)?)?)$/u.exec(text)
  const parts = match?.slice(1).filter((part) => part !== undefined) ?? []
  if (match === null || parts.length === 0)
    throw new CalendarError(line, `\`${name}\` is not a duration: \`${shown(text)}\``)
  const [weeks = 0, days = 0, hours = 0, minutes = 0, seconds = 0] = match
    .slice(1)
    .map((digits) => Number(digits ?? 0))
  return { days: weeks * 7 + days, exact: (hours * 3_600 + minutes * 60 + seconds) * SECOND }
}

/** When what begins at `wall` in `zone` is over: days by the calendar, the rest exactly (RFC 5545 §3.3.6). */
export const after = (wall: Wall, { days, exact }: Duration, zone: Zone): Instant =>
  instantAt(wall + days * DAY, zone) + exact

/** `±hhmm[ss]`. */
export function parseOffset(property: Property): Millis {
  const { line, name, value } = property
  const match = /^([+-])(\d\d)([0-5]\d)([0-5]\d)?$/u.exec(value)
  if (match === null) throw new CalendarError(line, `\`${name}\` is not an offset: \`${shown(value)}\``)
  const [hours = 0, minutes = 0, seconds = 0] = match.slice(2).map((digits) => Number(digits ?? 0))
  return (match[1] === '-' ? -1 : 1) * (hours * 3_600 + minutes * 60 + seconds) * SECOND
}

const ESCAPED = /\\([\\;,nN])/gu

/** Somebody else's text in one line, at most `most` characters. */
export function plainText(value: string, most: number): string {
  const line = value
    .slice(0, 8 * most)
    .replace(ESCAPED, (_, what: string) => (what.toLowerCase() === 'n' ? ' ' : what))
    .toWellFormed()
    // control and direction characters show something else than is there
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim()
  const characters = Array.from(line)
  return characters.length <= most ? line : `${characters.slice(0, most - 1).join('')}…`
}
