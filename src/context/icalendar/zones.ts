/**
 * Wall clocks and instants. A wall clock is written as the instant at which a clock in UTC shows the same, so that days and
 * weeks of it are plain arithmetic.
 *
 * @module
 */
import type { Instant, Millis } from '../../model/time.ts'
import { DAY, SECOND } from '../../model/time.ts'

export type Wall = number

export type Zone = Readonly<{
  /** How far its clocks are ahead of UTC at `at`. */
  offsetAt(at: Instant): Millis
}>

export const UTC: Zone = { offsetAt: () => 0 }

/** A zone of the tz database, e.g. `Europe/Berlin`, or `undefined`. */
export function namedZone(name: string): Zone | undefined {
  let format: Intl.DateTimeFormat
  try {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: name,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
  return {
    offsetAt(at) {
      const part: Record<string, number> = {}
      for (const { type, value } of format.formatToParts(at)) part[type] = Number(value)
      const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = part
      const whole = Math.floor(at / SECOND) * SECOND
      return Date.UTC(year, month - 1, day, hour, minute, second) - whole
    },
  }
}

/** A zone that a calendar defines itself: from each instant on, an offset. `onsets` rise; `before` is that of earlier. */
export function definedZone(
  onsets: readonly Readonly<{ at: Instant; offset: Millis }>[],
  before: Millis,
): Zone {
  return {
    offsetAt(at) {
      let [low, high] = [0, onsets.length]
      while (low < high) {
        const middle = (low + high) >>> 1
        if ((onsets[middle]?.at ?? Infinity) <= at) low = middle + 1
        else high = middle
      }
      return onsets[low - 1]?.offset ?? before
    },
  }
}

/** The instants at which clocks in `zone` show `wall`: none in a gap, two in an overlap, the earlier first. */
export function instantsAt(wall: Wall, zone: Zone): readonly Instant[] {
  const offsets = new Set([zone.offsetAt(wall - DAY), zone.offsetAt(wall + DAY)])
  return [...offsets]
    .map((offset) => wall - offset)
    .filter((at) => at + zone.offsetAt(at) === wall)
    .sort((a, b) => a - b)
}

/**
 * The instant that `wall` stands for (RFC 5545 §3.3.5): of two the first, and in a gap that of a clock which was not put
 * forward, so that 02:30 is 03:30.
 */
export const instantAt = (wall: Wall, zone: Zone): Instant =>
  instantsAt(wall, zone)[0] ?? wall - zone.offsetAt(wall - DAY)
