/**
 * Time in the model: instants and durations are plain milliseconds; nothing here reads a clock.
 *
 * @module
 */

/** Epoch milliseconds, e.g. `1_790_000_000_000`. */
export type Instant = number

/** Milliseconds. */
export type Millis = number

export const SECOND: Millis = 1_000
export const MINUTE: Millis = 60_000
export const HOUR: Millis = 3_600_000
export const DAY: Millis = 86_400_000

const units: Readonly<Record<string, Millis>> = { ms: 1, s: SECOND, m: MINUTE, h: HOUR, d: DAY }

/**
 * A duration such as `15m`, `90s`, `1h`, `250ms` or `2d` in milliseconds; `undefined` if it is not one.
 * Whole positive numbers only, at most 365 days: an unbounded duration is never meant.
 */
export function parseDuration(text: string): Millis | undefined {
  const match = /^([1-9]\d{0,9})(ms|s|m|h|d)$/.exec(text)
  if (!match) return undefined
  const millis = Number(match[1]) * (units[match[2] as string] as number)
  return millis <= 365 * DAY ? millis : undefined
}

/** `900_000` as `15m`: the largest unit that divides it. */
export function formatDuration(millis: Millis): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const size = units[unit] as number
    if (millis !== 0 && millis % size === 0) return `${millis / size}${unit}`
  }
  return `${millis}ms`
}

/** RFC 3339 in UTC with milliseconds. */
export function toRfc3339(at: Instant): string {
  return new Date(at).toISOString()
}
