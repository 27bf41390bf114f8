/**
 * Durations as Writ writes them.
 *
 * @module
 */
import { WritClientError } from './error.ts'

/** `15m`, `90s`, `1h`, `250ms`, `2d`; or a number of milliseconds. */
export type Duration = string | number

const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/**
 * Milliseconds of a duration.
 *
 * @throws {WritClientError} `ERR_INPUT_INVALID` if it is not one.
 */
export function toMillis(duration: Duration): number {
  if (typeof duration === 'number') {
    if (Number.isSafeInteger(duration) && duration > 0) return duration
  } else {
    const match = /^([1-9]\d{0,9})(ms|s|m|h|d)$/.exec(duration)
    if (match) return Number(match[1]) * (units[match[2] as string] as number)
  }
  throw new WritClientError('ERR_INPUT_INVALID', `\`${String(duration)}\` is not a duration`, {
    hint: 'write it as `90s`, `15m` or `1h`',
  })
}

/** As it stands on the wire: the largest unit that divides it. */
export function toWire(duration: Duration): string {
  const millis = toMillis(duration)
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const size = units[unit] as number
    if (millis % size === 0) return `${millis / size}${unit}`
  }
  return `${millis}ms`
}
