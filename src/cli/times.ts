/**
 * Instants as people write and read them.
 *
 * @module
 */
import { usage } from './exit.ts'
import { plain } from './text.ts'

const units: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/**
 * `2026-11-22T03:12:00Z`, `03:12` of today (or of yesterday, if it has not come yet), `2h ago`, `now`. Where `bare`, a
 * duration alone counts backwards too: `7d`.
 *
 * @throws {CliError} a wrong use that names `flag`.
 */
export function instantOf(text: string, now: number, flag: string, bare = false): number {
  if (text === 'now') return now
  const ago = /^([1-9]\d{0,9})(s|m|h|d)(\s+ago)?$/u.exec(text.trim())
  if (ago !== null && (bare || ago[3] !== undefined))
    return now - Number(ago[1]) * (units[ago[2] as string] as number)
  const clock = /^([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?$/u.exec(text)
  if (clock !== null) {
    const at = new Date(now)
    at.setHours(Number(clock[1]), Number(clock[2]), Number(clock[3] ?? 0), 0)
    if (at.getTime() > now) at.setDate(at.getDate() - 1)
    return at.getTime()
  }
  // a date without its zone means another instant to everybody who reads it
  const rfc3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([Zz]|[+-]\d{2}:\d{2})$/u
  const at = rfc3339.test(text) ? Date.parse(text.replace(' ', 'T')) : Number.NaN
  if (!Number.isFinite(at)) {
    const relative = bare ? '`7d`' : '`2h ago`'
    throw usage(
      `\`--${flag} ${plain(text)}\` is no time`,
      `write \`03:12\`, ${relative} or \`2026-11-22T03:12:00Z\``,
    )
  }
  return at
}

/** `90s`, `30m`, `2h`, `7d` in milliseconds; nothing where it is something else. */
export function durationOf(text: string): number | undefined {
  const found = /^([1-9]\d{0,6})(s|m|h|d)$/u.exec(text.trim())
  return found === null ? undefined : Number(found[1]) * (units[found[2] as string] as number)
}

/**
 * An instant to come: `18:00` of today (or of tomorrow, if it has gone by), or RFC 3339.
 *
 * @throws {CliError} a wrong use.
 */
export function laterInstant(text: string, now: number): number {
  const clock = /^([01]?\d|2[0-3]):([0-5]\d)$/u.exec(text)
  if (clock === null) {
    if (!/^\d{4}-/u.test(text))
      throw usage(
        `\`--until ${plain(text)}\` is no time`,
        'write `18:00` or `2026-11-22T18:00:00Z`, or use `--for 2h`',
      )
    return instantOf(text, now, 'until')
  }
  const at = new Date(now)
  at.setHours(Number(clock[1]), Number(clock[2]), 0, 0)
  if (at.getTime() <= now) at.setDate(at.getDate() + 1)
  return at.getTime()
}

/** `2026-11-22 04:12:00 +01:00 (03:12:00 UTC)`; once where both are the same. */
export function localAndUtc(instant: number): string {
  const at = new Date(instant)
  const two = (n: number): string => String(n).padStart(2, '0')
  const utc = at
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/u, '')
  const offset = -at.getTimezoneOffset()
  if (offset === 0) return `${utc} UTC`
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
  const zone = `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`
  return `${day} ${time} ${zone} (${utc.startsWith(day) ? utc.slice(11) : utc} UTC)`
}
