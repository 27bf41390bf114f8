/**
 * The part of the configuration that says which calendars there are (`sources.calendars`).
 *
 * @module
 */
import { z } from 'zod'
import type { CalendarSource } from '../model/calendar.ts'
import type { Json } from '../model/canonical.ts'
import { WritError } from '../model/errors.ts'
import type { Millis } from '../model/time.ts'
import { DAY, formatDuration, MINUTE, parseDuration, SECOND } from '../model/time.ts'

const text = z.string('is not text; put it in quotes').min(1, 'is empty')

const millis = (fallback: Millis, least: Millis, most: Millis) =>
  z
    .string()
    .transform((value, context): Millis => {
      const parsed = parseDuration(value)
      if (parsed === undefined) context.addIssue('is not a duration such as `90s`, `15m` or `1h`')
      else if (parsed < least) context.addIssue(`is less than ${formatDuration(least)}`)
      else if (parsed > most) context.addIssue(`is more than the ${formatDuration(most)} that are possible`)
      return parsed ?? 0
    })
    .prefault(formatDuration(fallback))

const isZone = (name: string): boolean => {
  try {
    return new Intl.DateTimeFormat('en-US', { timeZone: name }).resolvedOptions().timeZone !== ''
  } catch {
    return false
  }
}

export const calendarSchema = z.strictObject({
  /** As policies read it in `context.live.calendars`, and tasks name it as their window. */
  name: z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/u, 'is not made of a–z, 0–9 and `-`'),
  /** Path of an iCalendar file. */
  file: text.optional(),
  /** Where it is fetched instead. */
  url: text
    .refine((value) => {
      const url = URL.parse(value)
      return url !== null && /^https?:$/u.test(url.protocol) && url.username === '' && url.hash === ''
    }, 'is not an https URL without a user name')
    .optional(),
  allow_private: z.boolean('is neither `true` nor `false`').default(false),
  /** Path of a PEM file. */
  ca: text.optional(),
  /** A file with what `header` is sent with. */
  token_file: text.optional(),
  header: z
    .string()
    .regex(/^[A-Za-z][A-Za-z0-9-]{0,63}$/u, 'is no name of a header')
    .default('authorization'),
  refresh: millis(5 * MINUTE, 5 * SECOND, 12 * 60 * MINUTE),
  max_age: millis(30 * MINUTE, 10 * SECOND, DAY),
  horizon: millis(32 * DAY, 2 * DAY, 92 * DAY),
  /** Of all-day events and of times that name no zone. */
  time_zone: text.refine(isZone, 'is no time zone such as `Europe/Berlin`').optional(),
  /** Whether events that are not confirmed yet count. */
  tentative: z.boolean('is neither `true` nor `false`').default(false),
})

export const calendarsSchema = z.array(calendarSchema).max(64, 'has more than 64 calendars').default([])

/**
 * Calendars with absolute paths.
 *
 * @throws {WritError} `ERR_CONFIG_INVALID` for two of one name, one that is nowhere or in two places, plain HTTP across a
 *   public network, and an age that ends before it is read again.
 */
export function calendarConfigs(
  configured: z.output<typeof calendarsSchema>,
  path: (text: string) => string,
  read: (path: string) => string,
): readonly CalendarSource[] {
  const names = new Set<string>()
  return configured.map((one) => {
    const { name, file, url, allow_private, ca, token_file, refresh, max_age, time_zone } = one
    const bad = (what: string, hint: string): WritError =>
      new WritError('ERR_CONFIG_INVALID', `calendar \`${name}\` ${what}`, { hint })
    if (names.has(name)) throw bad('is there twice', 'give each calendar a name of its own')
    names.add(name)
    if ((file === undefined) === (url === undefined))
      throw bad('needs one place to be read from', 'give it either `file` or `url`')
    if (url === undefined && (ca !== undefined || token_file !== undefined || allow_private))
      throw bad('is a file and says how it is fetched', 'leave `ca`, `token_file` and `allow_private` out')
    if (url !== undefined && !allow_private && new URL(url).protocol !== 'https:')
      throw bad(
        'is not fetched by https',
        'only what is in a private network may be plain HTTP: `allow_private: true`',
      )
    if (max_age < 2 * refresh)
      throw bad(
        `is believed for ${formatDuration(max_age)} and read every ${formatDuration(refresh)}`,
        'let `max_age` be at least twice `refresh`, or it is unknown whenever one reading fails',
      )
    return {
      name,
      from:
        url === undefined
          ? { file: path(file as string) }
          : {
              url,
              allowPrivate: allow_private,
              ...(ca === undefined ? {} : { ca: pem(path(ca), name, read) }),
              ...(token_file === undefined
                ? {}
                : { token: { header: one.header.toLowerCase(), file: path(token_file) } }),
            },
      refresh,
      maxAge: max_age,
      horizon: one.horizon,
      ...(time_zone === undefined ? {} : { timeZone: time_zone }),
      tentative: one.tentative,
    }
  })
}

function pem(path: string, name: string, read: (path: string) => string): string {
  let found: string | undefined
  let cause: unknown
  try {
    found = read(path)
  } catch (error) {
    cause = error
  }
  if (found?.includes('-----BEGIN CERTIFICATE-----') === true) return found
  throw new WritError(
    'ERR_CONFIG_INVALID',
    `calendar \`${name}\`: \`${path}\` ${cause === undefined ? 'holds no certificate' : 'cannot be read'}`,
    { hint: 'give `ca` the path of a PEM file with the certificates of authorities', cause },
  )
}

/** A calendar as the record shows it: an address may hold a secret in its path, and is shown by its host alone. */
export function calendarSummary({ from, ...rest }: CalendarSource): Json {
  return {
    ...rest,
    from:
      'file' in from
        ? { file: from.file }
        : { host: new URL(from.url).host, allow_private: from.allowPrivate, token: from.token !== undefined },
  }
}
