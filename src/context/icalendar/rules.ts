/**
 * Recurrence rules (RFC 5545 §3.3.10), as wall clocks: which days and hours a rule means does not depend on the zone.
 *
 * @module
 */
import { RRuleTemporal } from 'rrule-temporal'
import type { Property } from './lines.ts'
import { CalendarError, shown } from './lines.ts'
import type { Time, ZoneOf } from './values.ts'
import { parseTime } from './values.ts'
import type { Wall } from './zones.ts'

export type Rule = Readonly<{
  /** The last time there may be, if one is said. */
  until?: Time
  isCounted: boolean
  /** HOURLY and more often: then both hours of an overlap are meant. */
  isSubDaily: boolean
  /** Times from `first` to `last`, ascending. */
  between(first: Wall, last: Wall): readonly Wall[]
}>

const PARTS =
  /^(?:FREQ|INTERVAL|COUNT|UNTIL|WKST|BYSECOND|BYMINUTE|BYHOUR|BYDAY|BYMONTHDAY|BYYEARDAY|BYWEEKNO|BYMONTH|BYSETPOS)$/u

/** What one rule may cost: periods that are looked through, and times that are looked at. */
const MOST_STEPS = 100_000
const MOST_LENGTH = 1_024

/**
 * @throws {CalendarError} for a rule that is not understood wholly.
 */
export function parseRule(property: Property, start: Time, zoneOf: ZoneOf): Rule {
  const { line, value } = property
  const bad = (what: string): CalendarError => new CalendarError(line, `\`RRULE\` ${what}`)
  if (value.length > MOST_LENGTH) throw bad('is too long')
  const parts = new Map<string, string>()
  for (const part of value.toUpperCase().split(';')) {
    const [name = '', said = '', ...rest] = part.split('=')
    if (!PARTS.test(name) || said === '' || rest.length > 0)
      throw bad(`has \`${shown(part)}\`, which is not known here`)
    if (parts.has(name)) throw bad(`says \`${name}\` twice`)
    parts.set(name, said)
  }
  if (parts.has('COUNT') && parts.has('UNTIL')) throw bad('has both `COUNT` and `UNTIL`')
  const timed = [...parts.keys()].find((name) => /^BY(?:HOUR|MINUTE|SECOND)$/u.test(name))
  if (start.isDate && timed !== undefined) throw bad(`has \`${timed}\`, and the event is of whole days`)
  const ends = parts.get('UNTIL')
  const until =
    ends === undefined ? undefined : parseTime(ends, { ...property, name: 'UNTIL', params: {} }, zoneOf)
  if (until !== undefined && start.isDate && !until.isDate)
    throw bad('ends at a time, and the event is of whole days')
  parts.delete('UNTIL')
  const text = [...parts].map(([name, said]) => `${name}=${said}`).join(';')
  const dtstart = new Date(start.wall).toISOString().replace(/[-:]|\.000/gu, '')
  const rule = guarded(() => {
    return new RRuleTemporal({
      rruleString: `DTSTART:${dtstart}\nRRULE:${text}`,
      strict: true,
      maxIterations: MOST_STEPS,
      maxCandidateEvaluations: MOST_STEPS,
    })
  })
  return {
    ...(until === undefined ? {} : { until }),
    isCounted: parts.has('COUNT'),
    isSubDaily: /^(?:HOURLY|MINUTELY|SECONDLY)$/u.test(parts.get('FREQ') ?? ''),
    between: (first, last) =>
      first > last
        ? []
        : guarded(() =>
            rule.between(new Date(first), new Date(last), true).map((at) => at.epochMilliseconds),
          ),
  }

  function guarded<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      throw bad(`is not understood: ${shown(error instanceof Error ? error.message : 'no reason')}`)
    }
  }
}
