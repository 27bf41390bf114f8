/**
 * Reading what another system says by JSON pointers. What is not there is absent; what is there and cannot be read is an
 * error, since nobody knows what it would have said.
 *
 * @module
 */
import { isText } from '../model/name.ts'
import type { Condition, ValueList } from '../model/source.ts'
import type { Instant } from '../model/time.ts'
import { SECOND } from '../model/time.ts'
import { SourceError } from './port.ts'

/** Longest text that is taken, characters. */
const TEXT_MOST = 256
const ITEMS_MOST = 256
/** 2000-01-01 and 9999-12-31: what lies beyond was never meant. */
const FIRST: Instant = 946_684_800_000
const LAST: Instant = 253_402_300_799_999

/**
 * All values at a JSON pointer (RFC 6901); a `*` stands for every item of a list. None for what does not lead anywhere.
 */
export function valuesAt(document: unknown, pointer: string): readonly unknown[] {
  if (pointer === '') return [document]
  let values: unknown[] = [document]
  for (const step of pointer.slice(1).split('/')) {
    const name = step.replaceAll('~1', '/').replaceAll('~0', '~')
    values = values.flatMap((value) => {
      if (Array.isArray(value)) {
        const items = value as unknown[]
        if (step === '*') return items
        return /^(?:0|[1-9]\d{0,5})$/u.test(name) && Number(name) < items.length ? [items[Number(name)]] : []
      }
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return []
      return [(value as Record<string, unknown>)[name]]
    })
    if (values.length > ITEMS_MOST)
      throw new SourceError(`it says more than ${ITEMS_MOST} things at \`${pointer}\``)
  }
  return values
}

const isScalar = (value: unknown): value is string | number | boolean =>
  typeof value === 'string' ||
  typeof value === 'boolean' ||
  (typeof value === 'number' && Number.isFinite(value))

/** One text; `undefined` where there is none, null or empty. @throws {SourceError} */
export function textAt(document: unknown, pointer: string | undefined): string | undefined {
  if (pointer === undefined) return undefined
  const [value, ...more] = valuesAt(document, pointer)
  if (more.length > 0) throw new SourceError(`it says more than one thing at \`${pointer}\``)
  if (value === undefined || value === null || value === '') return undefined
  return text(value, pointer)
}

function text(value: unknown, pointer: string): string {
  if (!isScalar(value)) throw new SourceError(`it says no text at \`${pointer}\``)
  const written = String(value)
  if (written.length > TEXT_MOST || !isText(written)) {
    throw new SourceError(`what it says at \`${pointer}\` cannot be shown, or is too long`)
  }
  return written
}

/** Whether the condition holds; not where nothing is there. @throws {SourceError} */
export function holds(document: unknown, { at, in: wanted }: Condition & { at: string }): boolean {
  return valuesAt(document, at).some((value) => {
    if (value === undefined || value === null) return false
    if (!isScalar(value)) throw new SourceError(`it says no text at \`${at}\``)
    return wanted.includes(String(value))
  })
}

/** The values of a list, or of text with commas or lines; each once, in order. @throws {SourceError} */
export function listAt(document: unknown, list: ValueList | undefined): readonly string[] {
  if (list === undefined) return []
  const { at, prefix = '' } = list
  const found = valuesAt(document, at).flatMap((value): string[] => {
    if (value === undefined || value === null || value === '') return []
    if (Array.isArray(value)) return value.map((item: unknown) => text(item, at))
    // commas part only what is no list of its own
    if (typeof value === 'string' && !at.includes('*')) {
      if (value.length > TEXT_MOST * ITEMS_MOST)
        throw new SourceError(`what it says at \`${at}\` is too long`)
      return value.split(/[,\n]/u).map((part) => text(part.trim(), at))
    }
    return [text(value, at)]
  })
  const chosen = found
    .filter((item) => item.startsWith(prefix))
    .map((item) => item.slice(prefix.length).trim())
    .filter((item) => item !== '')
  const once = [...new Set(chosen)].sort()
  if (once.length > ITEMS_MOST) throw new SourceError(`it says more than ${ITEMS_MOST} things at \`${at}\``)
  return once
}

/** A time; `undefined` where there is none. `utc`: text without a zone is UTC. @throws {SourceError} for one that is none. */
export function instantAt(document: unknown, pointer: string | undefined, utc = false): Instant | undefined {
  if (pointer === undefined) return undefined
  const [value, ...more] = valuesAt(document, pointer)
  if (more.length > 0) throw new SourceError(`it says more than one thing at \`${pointer}\``)
  if (value === undefined || value === null || value === '') return undefined
  const at = parseTime(value, utc)
  if (at === undefined) throw new SourceError(`the time at \`${pointer}\` cannot be read`)
  return at
}

const written =
  /^(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(?:(Z)|([+-])(\d{2}):?(\d{2}))?$/u

/**
 * A time as systems write it: RFC 3339, the same without the colon in the zone or with a space before the time, or a number
 * of seconds, milli-, micro- or nanoseconds. `undefined` for everything else, also for days that no month has.
 */
export function parseTime(value: unknown, utc = false): Instant | undefined {
  if (typeof value === 'number') return epoch(value)
  if (typeof value !== 'string') return undefined
  if (/^\d{10,19}$/u.test(value)) return epoch(Number(value))
  const match = written.exec(value)
  if (match === null) return undefined
  const [, year, month, day, hour, minute, second = '0', fraction = '', z, sign, zoneHour, zoneMinute] = match
  if (z === undefined && sign === undefined && !utc) return undefined
  const parts = [
    Number(year),
    Number(month) - 1,
    Number(day),
    Number(hour),
    Number(minute),
    Number(second),
  ] as const
  if (parts[3] > 23 || parts[4] > 59 || parts[5] > 59) return undefined
  const local = Date.UTC(...parts, Number(fraction.slice(0, 3).padEnd(3, '0')))
  const date = new Date(local)
  if (date.getUTCMonth() !== parts[1] || date.getUTCDate() !== parts[2]) return undefined
  const zone = (Number(zoneHour ?? 0) * 60 + Number(zoneMinute ?? 0)) * 60 * SECOND
  if (Number(zoneHour ?? 0) > 23 || Number(zoneMinute ?? 0) > 59) return undefined
  return within(sign === '-' ? local + zone : local - zone)
}

function epoch(value: number): Instant | undefined {
  if (!Number.isFinite(value) || value < 0) return undefined
  const digits = Math.floor(value).toString().length
  if (value >= 1e20 || digits < 9) return undefined
  const scale = digits <= 11 ? SECOND : digits <= 14 ? 1 : digits <= 17 ? 1e-3 : 1e-6
  return within(Math.floor(value * scale))
}

const within = (at: Instant): Instant | undefined => (at >= FIRST && at <= LAST ? at : undefined)
