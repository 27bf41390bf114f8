import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { DAY, HOUR, MINUTE } from '../../model/time.ts'
import type { ExpandInput } from './events.ts'
import { expand } from './events.ts'
import { instantAt, instantsAt, namedZone } from './zones.ts'

const calendar = (...lines: string[]): string =>
  ['BEGIN:VCALENDAR', 'VERSION:2.0', 'PRODID:-//test', ...lines, 'END:VCALENDAR', ''].join('\r\n')
const event = (...lines: string[]): string[] => ['BEGIN:VEVENT', 'UID:u1', ...lines, 'END:VEVENT']

const within = (from: string, until: string, more: Partial<ExpandInput> = {}): Omit<ExpandInput, 'text'> => ({
  from: Date.parse(from),
  until: Date.parse(until),
  timeZone: undefined,
  tentative: false,
  most: 400,
  ...more,
})
/** `03-29T01:30/02:00`: each time in UTC, with the day of its end where that is another. */
const times = (text: string, span: Omit<ExpandInput, 'text'>): string[] =>
  expand({ text, ...span }).map(({ startsAt, endsAt }) => {
    const [start, end] = [startsAt, endsAt].map((at) => new Date(at).toISOString().slice(5, 16)) as [
      string,
      string,
    ]
    return `${start}/${end.slice(0, 5) === start.slice(0, 5) ? end.slice(6) : end}`
  })
const daily = (zone: string, clock: string, ...more: string[]): string =>
  calendar(...event(`DTSTART;TZID=${zone}:20260101T${clock}00`, ...more, 'RRULE:FREQ=DAILY'))
const refuses = (text: string, what: RegExp, more: Partial<ExpandInput> = {}): void =>
  assert.throws(
    () => expand({ text, ...within('2026-11-01T00:00Z', '2026-12-01T00:00Z', more) }),
    (error: Error) => {
      assert.equal(error.name, 'CalendarError', String(error.stack))
      assert.match(error.message, what)
      return true
    },
  )

describe('B31 clocks that are put forward and back', () => {
  test('Europe/Berlin: 02:30 is 03:30 where it is skipped, and the first of two', () => {
    const nights = daily('Europe/Berlin', '0230', 'DURATION:PT1H')
    assert.deepEqual(times(nights, within('2026-03-28T00:00Z', '2026-03-31T00:00Z')), [
      '03-28T01:30/02:30',
      '03-29T01:30/02:30',
      '03-30T00:30/01:30',
    ])
    assert.deepEqual(times(nights, within('2026-10-24T00:00Z', '2026-10-27T00:00Z')), [
      '10-24T00:30/01:30',
      '10-25T00:30/01:30',
      '10-26T01:30/02:30',
    ])
  })

  test('America/New_York: 01:30 of the long night is in summer time', () => {
    const nights = daily('America/New_York', '0130', 'DURATION:PT1H')
    assert.deepEqual(times(nights, within('2026-03-07T00:00Z', '2026-03-10T00:00Z')), [
      '03-07T06:30/07:30',
      '03-08T06:30/07:30',
      '03-09T05:30/06:30',
    ])
    assert.deepEqual(times(nights, within('2026-10-31T00:00Z', '2026-11-03T00:00Z')), [
      '10-31T05:30/06:30',
      '11-01T05:30/06:30',
      '11-02T06:30/07:30',
    ])
  })

  test('Australia/Lord_Howe moves by half an hour', () => {
    const nights = daily('Australia/Lord_Howe', '0145', 'DURATION:PT1H')
    // back on 5 April at 02:00 to 01:30, forward on 4 October at 02:00 to 02:30
    assert.deepEqual(times(nights, within('2026-04-03T14:00Z', '2026-04-05T20:00Z')), [
      '04-03T14:45/15:45',
      '04-04T14:45/15:45',
      '04-05T15:15/16:15',
    ])
    const early = daily('Australia/Lord_Howe', '0215', 'DURATION:PT1H')
    assert.deepEqual(times(early, within('2026-10-02T18:00Z', '2026-10-05T00:00Z')), [
      '10-03T15:45/16:45',
      '10-04T15:15/16:15',
    ])
  })

  test('an end is exact time after the start, a duration in days is by the calendar', () => {
    const span = within('2026-03-28T12:00Z', '2026-03-29T12:00Z')
    const shift = ['RRULE:FREQ=DAILY']
    const start = 'DTSTART;TZID=Europe/Berlin:20260101T220000'
    const ended = calendar(...event(start, 'DTEND;TZID=Europe/Berlin:20260102T060000', ...shift))
    assert.deepEqual(times(ended, span), ['03-28T21:00/03-29T05:00'])
    assert.deepEqual(times(calendar(...event(start, 'DURATION:P1D', ...shift)), span), [
      '03-27T21:00/03-28T21:00',
      '03-28T21:00/03-29T20:00',
    ])
  })

  test('a day is from midnight to midnight of its zone, 23 or 25 hours if need be', () => {
    const days = calendar(...event('DTSTART;VALUE=DATE:20260101', 'RRULE:FREQ=DAILY'))
    const berlin = { timeZone: 'Europe/Berlin' }
    assert.deepEqual(times(days, within('2026-03-29T00:00Z', '2026-03-29T10:00Z', berlin)), [
      '03-28T23:00/03-29T22:00',
    ])
    assert.deepEqual(times(days, within('2026-10-25T00:00Z', '2026-10-25T10:00Z', berlin)), [
      '10-24T22:00/10-25T23:00',
    ])
    // in Cairo that day begins at 01:00
    const egypt = within('2026-04-24T00:00Z', '2026-04-24T10:00Z', { timeZone: 'Africa/Cairo' })
    assert.deepEqual(times(days, egypt), ['04-23T22:00/04-24T21:00'])
  })

  test('every hour means both hours of an overlap', () => {
    const hours = calendar(
      ...event('DTSTART;TZID=Europe/Berlin:20260101T003000', 'DURATION:PT10M', 'RRULE:FREQ=HOURLY'),
    )
    assert.deepEqual(times(hours, within('2026-10-25T00:00Z', '2026-10-25T03:00Z')), [
      '10-25T00:30/00:40',
      '10-25T01:30/01:40',
      '10-25T02:30/02:40',
    ])
  })

  test('wall clocks and instants agree, whatever the zone and the day', () => {
    const zones = [
      'Europe/Berlin',
      'America/New_York',
      'Australia/Lord_Howe',
      'Asia/Kathmandu',
      'Africa/Cairo',
    ]
    const at = fc.integer({ min: Date.UTC(2020, 0, 1) / MINUTE, max: Date.UTC(2040, 0, 1) / MINUTE })
    fc.assert(
      fc.property(fc.constantFrom(...zones), at, (name, minute) => {
        const zone = namedZone(name)
        assert.ok(zone !== undefined)
        const instant = minute * MINUTE
        const wall = instant + zone.offsetAt(instant)
        assert.ok(instantsAt(wall, zone).includes(instant))
        const first = instantAt(wall, zone)
        assert.equal(first + zone.offsetAt(first), wall)
        assert.ok(first <= instant)
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('B31 calendars far away and at the edges', () => {
  test('in the year 2100, which has no leap day, and in 2096 and 2104, which have', () => {
    const leap = calendar(...event('DTSTART:20240229T100000Z', 'DURATION:PT1H', 'RRULE:FREQ=YEARLY'))
    const in_ = (year: number): number =>
      times(leap, within(`${year}-02-01T00:00Z`, `${year}-03-31T00:00Z`)).length
    assert.deepEqual([2096, 2099, 2100, 2101, 2104].map(in_), [1, 0, 0, 0, 1])
    const last = calendar(
      ...event('DTSTART:20240131T100000Z', 'DURATION:PT1H', 'RRULE:FREQ=MONTHLY;BYMONTHDAY=-1'),
    )
    assert.deepEqual(times(last, within('2100-02-01T00:00Z', '2100-03-02T00:00Z')), ['02-28T10:00/11:00'])
    // with the clocks that are known today
    const nights = daily('Europe/Berlin', '0230', 'DURATION:PT1H')
    assert.deepEqual(times(nights, within('2100-03-27T00:00Z', '2100-03-30T00:00Z')), [
      '03-27T01:30/02:30',
      '03-28T01:30/02:30',
      '03-29T00:30/01:30',
    ])
  })

  test('the n-th of what a rule says, across the night on which clocks change, without those that were taken out', () => {
    for (const [zone, expected] of [
      ['Europe/Berlin', ['02-27T08:00/09:00', '03-31T07:00/08:00', '04-30T07:00/08:00']],
      ['America/New_York', ['02-27T14:00/15:00', '03-31T13:00/14:00', '04-30T13:00/14:00']],
      ['Australia/Lord_Howe', ['02-26T22:00/23:00', '03-30T22:00/23:00', '04-29T22:30/23:30']],
    ] as const) {
      const text = calendar(
        ...event(
          `DTSTART;TZID=${zone}:20260130T090000`,
          'DURATION:PT1H',
          'RRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1',
        ),
      )
      const span = within('2026-02-20T00:00Z', '2026-05-01T00:00Z')
      const all = times(text, span)
      assert.deepEqual(all, expected, zone)
      // taken out by another writing of the same instant, it is out, and what takes out nothing changes nothing
      const [first = assert.fail()] = expand({ text, ...span })
      const at = new Date(first.startsAt).toISOString().replace(/[-:]|\.000/gu, '')
      const without = text.replace('END:VEVENT', `EXDATE:${at}\r\nEXDATE:20260303T030303Z\r\nEND:VEVENT`)
      assert.deepEqual(times(without, span), all.slice(1), zone)
    }
  })

  test('a time that was moved onto another, added twice, or moved out of its own series, is there once and where it was put', () => {
    const series = [
      'DTSTART;TZID=Europe/Berlin:20261102T200000',
      'DURATION:PT1H',
      'RRULE:FREQ=DAILY;COUNT=4',
      'RDATE;TZID=Europe/Berlin:20261103T200000',
    ]
    const moved = (of: string, to: string): string[] =>
      event(`RECURRENCE-ID;TZID=Europe/Berlin:${of}`, `DTSTART;TZID=Europe/Berlin:${to}`, 'DURATION:PT1H')
    const span = within('2026-11-01T00:00Z', '2026-12-01T00:00Z')
    const plain = times(calendar(...event(...series)), span)
    assert.deepEqual(
      [...new Set(plain)],
      ['11-02T19:00/20:00', '11-03T19:00/20:00', '11-04T19:00/20:00', '11-05T19:00/20:00'],
    )
    const text = calendar(...event(...series), ...moved('20261104T200000', '20261120T080000'))
    const found = times(text, span)
    assert.ok(found.includes('11-20T07:00/08:00') && !found.includes('11-04T19:00/20:00'), found.join())
    // of a time that the series does not have: there, as it says, and nothing else changes
    const stray = calendar(...event(...series), ...moved('20261109T200000', '20261121T080000'))
    assert.deepEqual(new Set(times(stray, span)), new Set([...plain, '11-21T07:00/08:00']))
  })

  test('floating times are of the zone that is configured, on each side of its change of clocks', () => {
    const text = calendar(...event('DTSTART:20260101T090000', 'DURATION:PT1H', 'RRULE:FREQ=WEEKLY;BYDAY=TH'))
    for (const [timeZone, before, after] of [
      ['Europe/Berlin', '03-26T08:00/09:00', '04-02T07:00/08:00'],
      ['America/New_York', '03-05T14:00/15:00', '03-12T13:00/14:00'],
      ['Australia/Lord_Howe', '04-01T22:00/23:00', '04-08T22:30/23:30'],
    ] as const) {
      const found = times(text, within('2026-03-01T00:00Z', '2026-04-12T00:00Z', { timeZone }))
      assert.ok(found.includes(before) && found.includes(after), `${timeZone}: ${found.join()}`)
    }
  })
})

describe('rules', () => {
  test('a day that most years do not have', () => {
    const leap = calendar(...event('DTSTART:20240229T100000Z', 'DURATION:PT1H', 'RRULE:FREQ=YEARLY'))
    assert.deepEqual(times(leap, within('2026-01-01T00:00Z', '2032-12-31T00:00Z')), [
      '02-29T10:00/11:00',
      '02-29T10:00/11:00',
    ])
    const last = calendar(
      ...event('DTSTART:20240131T100000Z', 'DURATION:PT1H', 'RRULE:FREQ=MONTHLY;BYMONTHDAY=-1'),
    )
    assert.deepEqual(times(last, within('2028-02-01T00:00Z', '2028-04-01T00:00Z')), [
      '02-29T10:00/11:00',
      '03-31T10:00/11:00',
    ])
  })

  test('the second Tuesday, the last weekday, and how long', () => {
    const of = (rule: string, start = '20260113T200000Z'): string[] =>
      times(
        calendar(...event(`DTSTART:${start}`, 'DURATION:PT2H', `RRULE:${rule}`)),
        within('2026-03-01T00:00Z', '2026-06-01T00:00Z'),
      )
    const tuesdays = ['03-10T20:00/22:00', '04-14T20:00/22:00', '05-12T20:00/22:00']
    assert.deepEqual(of('FREQ=MONTHLY;BYDAY=2TU'), tuesdays)
    assert.deepEqual(of('FREQ=MONTHLY;BYDAY=2TU;COUNT=4'), tuesdays.slice(0, 2))
    assert.deepEqual(of('FREQ=MONTHLY;BYDAY=2TU;UNTIL=20260414T200000Z'), tuesdays.slice(0, 2))
    assert.deepEqual(of('FREQ=MONTHLY;BYDAY=2TU;UNTIL=20260414T195959Z'), tuesdays.slice(0, 1))
    assert.deepEqual(of('FREQ=MONTHLY;BYDAY=2TU;UNTIL=20260414'), tuesdays.slice(0, 2))
    assert.deepEqual(of('FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1', '20260130T200000Z'), [
      '03-31T20:00/22:00',
      '04-30T20:00/22:00',
      '05-29T20:00/22:00',
    ])
    assert.deepEqual(of('FREQ=WEEKLY;INTERVAL=4;BYDAY=TU'), [
      '03-10T20:00/22:00',
      '04-07T20:00/22:00',
      '05-05T20:00/22:00',
    ])
  })

  test('an end in UTC is an instant also where the start has a zone', () => {
    const until = (at: string): string =>
      calendar(
        ...event(
          'DTSTART;TZID=America/New_York:20261101T220000',
          'DURATION:PT1H',
          `RRULE:FREQ=DAILY;UNTIL=${at}`,
        ),
      )
    const span = within('2026-11-01T00:00Z', '2026-12-01T00:00Z')
    // 22:00 in New York is 03:00 of the next day in UTC
    assert.equal(times(until('20261105T030000Z'), span).length, 4)
    assert.equal(times(until('20261105T025959Z'), span).length, 3)
  })

  test('times that are added, taken out, moved and cancelled', () => {
    const text = calendar(
      ...event(
        'SEQUENCE:1',
        'SUMMARY:release',
        'DTSTART;TZID=Europe/Berlin:20261102T200000',
        'DTEND;TZID=Europe/Berlin:20261102T220000',
        'RRULE:FREQ=WEEKLY;COUNT=5',
        'EXDATE:20261109T190000Z',
        'RDATE;TZID=Europe/Berlin:20261111T200000',
        'RDATE;VALUE=PERIOD:20261112T100000Z/PT30M,20261113T100000Z/20261113T101500Z',
      ),
      ...event(
        'SUMMARY:moved',
        'RECURRENCE-ID;TZID=Europe/Berlin:20261116T200000',
        'DTSTART;TZID=Europe/Berlin:20261117T080000',
        'DURATION:PT1H',
      ),
      ...event(
        'RECURRENCE-ID:20261123T190000Z',
        'STATUS:CANCELLED',
        'DTSTART:20261123T190000Z',
        'DURATION:PT2H',
      ),
    )
    const span = within('2026-11-01T00:00Z', '2026-12-15T00:00Z')
    assert.deepEqual(times(text, span), [
      '11-02T19:00/21:00',
      '11-11T19:00/21:00',
      '11-12T10:00/10:30',
      '11-13T10:00/10:15',
      '11-17T07:00/08:00',
      '11-30T19:00/21:00',
    ])
    const moved = expand({ text, ...span }).find(({ summary }) => summary === 'moved')
    assert.deepEqual([moved?.uid, moved?.of], ['u1', Date.parse('2026-11-16T19:00Z')])
  })

  test('C6 what is cancelled or not confirmed is no event; the newest word counts, in whatever order', () => {
    const one = (status: string, sequence: number): string[] =>
      event('DTSTART:20261110T100000Z', 'DURATION:PT1H', `STATUS:${status}`, `SEQUENCE:${sequence}`)
    const span = within('2026-11-01T00:00Z', '2026-12-01T00:00Z')
    assert.equal(times(calendar(...one('CONFIRMED', 0)), span).length, 1)
    assert.equal(times(calendar(...one('TENTATIVE', 0)), span).length, 0)
    assert.equal(times(calendar(...one('TENTATIVE', 0)), { ...span, tentative: true }).length, 1)
    assert.equal(times(calendar(...one('CONFIRMED', 1), ...one('CANCELLED', 2)), span).length, 0)
    assert.equal(times(calendar(...one('CANCELLED', 2), ...one('CONFIRMED', 1)), span).length, 0)
    assert.deepEqual(times(calendar(), span), [])
  })

  test('an event that began long before is still on; one that has just ended or begins later is not there', () => {
    const text = calendar(...event('DTSTART:20260101T000000Z', 'DTEND:20270101T000000Z'))
    assert.equal(times(text, within('2026-06-01T00:00Z', '2026-06-02T00:00Z')).length, 1)
    assert.equal(times(text, within('2027-01-01T00:00Z', '2027-06-02T00:00Z')).length, 0)
    assert.equal(times(text, within('2025-06-01T00:00Z', '2026-01-01T00:00Z')).length, 0)
    const series = calendar(...event('DTSTART:20260101T000000Z', 'DURATION:P40D', 'RRULE:FREQ=YEARLY'))
    assert.equal(times(series, within('2027-02-01T00:00Z', '2027-02-02T00:00Z')).length, 1)
  })
})

describe('zones', () => {
  const outlook = [
    'BEGIN:VTIMEZONE',
    'TZID:W. Europe Standard Time',
    'BEGIN:STANDARD',
    'DTSTART:16010101T030000',
    'TZOFFSETFROM:+0200',
    'TZOFFSETTO:+0100',
    'RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10',
    'END:STANDARD',
    'BEGIN:DAYLIGHT',
    'DTSTART:16010101T020000',
    'TZOFFSETFROM:+0100',
    'TZOFFSETTO:+0200',
    'RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3',
    'END:DAYLIGHT',
    'END:VTIMEZONE',
  ]
  const start = 'DTSTART;TZID="W. Europe Standard Time":20260101T023000'

  test('one that the calendar defines itself is the same as its namesake', () => {
    const own = calendar(...outlook, ...event(start, 'DURATION:PT1H', 'RRULE:FREQ=DAILY'))
    for (const [from, until] of [
      ['2026-03-20T00:00Z', '2026-04-10T00:00Z'],
      ['2026-10-20T00:00Z', '2026-11-10T00:00Z'],
    ] as const) {
      const span = within(from, until)
      assert.deepEqual(times(own, span), times(daily('Europe/Berlin', '0230', 'DURATION:PT1H'), span))
    }
  })

  test('one that the tz database knows needs no definition, one that nobody knows is named with its line', () => {
    const span = within('2026-01-01T00:00Z', '2026-01-02T00:00Z')
    const text = calendar(...event('DTSTART;TZID=Asia/Kathmandu:20260101T120000', 'DURATION:PT1H'))
    assert.deepEqual(times(text, span), ['01-01T06:15/07:15'])
    refuses(calendar(...event(start, 'DURATION:PT1H')), /^line 6: nobody knows the time zone `W\. Europe/u)
  })

  test('nothing is guessed: without a zone a day is refused, unless one is configured or the calendar has one', () => {
    const day = event('DTSTART;VALUE=DATE:20261123')
    refuses(calendar(...day), /^line 6: in which time zone is not said/u)
    const span = within('2026-11-01T00:00Z', '2026-12-01T00:00Z')
    assert.deepEqual(times(calendar('X-WR-TIMEZONE:Asia/Tokyo', ...day), span), ['11-22T15:00/11-23T15:00'])
    const told = { ...span, timeZone: 'Europe/Berlin' }
    assert.deepEqual(times(calendar('X-WR-TIMEZONE:Asia/Tokyo', ...day), told), ['11-22T23:00/11-23T23:00'])
    const floating = calendar(...event('DTSTART:20261123T090000', 'DURATION:PT1H'))
    assert.deepEqual(times(floating, told), ['11-23T08:00/09:00'])
  })
})

describe('C6 a calendar that is not understood wholly says nothing, and which line is wrong is said', () => {
  const start = 'DTSTART:20261110T100000Z'
  for (const [what, text, expected] of [
    ['a page instead', '<html>\nsign in', /^line 1: /u],
    ['nothing', '', /^line 1: this is no calendar/u],
    ['cut off', calendar(...event(start)).slice(0, -30), /^line 4: `BEGIN:VEVENT` has no end/u],
    [
      'crossed',
      calendar('BEGIN:VEVENT', 'END:VTODO'),
      /^line 5: `END:VTODO` does not end the `VEVENT` of line 4/u,
    ],
    ['no uid', calendar('BEGIN:VEVENT', start, 'END:VEVENT'), /^line 4: an event has no `UID`/u],
    ['no start', calendar(...event()), /^line 4: an event has no `DTSTART`/u],
    ['two starts', calendar(...event(start, start)), /^line 7: a second `DTSTART`/u],
    [
      'no such day',
      calendar(...event('DTSTART:20260230T100000Z')),
      /^line 6: `DTSTART` is a time that there is not/u,
    ],
    ['no time', calendar(...event('DTSTART:tomorrow')), /^line 6: `DTSTART` is not a time: `tomorrow`/u],
    ['ends first', calendar(...event(start, 'DTEND:20261109T100000Z')), /^line 7: `DTEND` is before/u],
    ['mixed kinds', calendar(...event(start, 'DTEND;VALUE=DATE:20261111')), /^line 7: .* not both/u],
    ['two lengths', calendar(...event(start, 'DTEND:20261111T100000Z', 'DURATION:PT1H')), /^line 8: /u],
    ['no duration', calendar(...event(start, 'DURATION:P')), /^line 7: `DURATION` is not a duration/u],
    ['backwards', calendar(...event(start, 'DURATION:-PT1H')), /^line 7: `DURATION` is not a duration/u],
    ['folded', calendar(...event(start, 'SUMMARY:a\r\n b', 'DURATION:x')), /^line 9: /u],
    ['no value', calendar(...event(start, 'DURATION')), /^line 7: `DURATION` has no value/u],
    [
      'a broken parameter',
      calendar(...event('DTSTART;TZID:20261110T100000')),
      /^line 6: a parameter of `DTSTART`/u,
    ],
    ['a strange status', calendar(...event(start, 'STATUS:MAYBE')), /^line 7: `STATUS`/u],
    ['an old rule', calendar(...event(start, 'EXRULE:FREQ=DAILY')), /^line 7: `EXRULE` is not known/u],
    [
      'two rules',
      calendar(...event(start, 'RRULE:FREQ=DAILY', 'RRULE:FREQ=DAILY')),
      /^line 8: a second `RRULE`/u,
    ],
    [
      'a range',
      calendar(...event(start, 'RECURRENCE-ID;RANGE=THISANDFUTURE:20261110T100000Z')),
      /^line 7: `RANGE`/u,
    ],
    [
      'a date among times',
      calendar(...event(start, 'DURATION:PT1H', 'RRULE:FREQ=DAILY', 'EXDATE;VALUE=DATE:20261111')),
      /^line 9: `EXDATE`/u,
    ],
    ['a message', calendar('METHOD:CANCEL', ...event(start)), /^line 4: it is a message/u],
    ['another version', calendar().replace('2.0', '1.0'), /^line 2: version `1\.0`/u],
    ['nested', 'BEGIN:VCALENDAR\n'.repeat(9), /^line 9: components are nested too deep/u],
  ] as const)
    test(what, () => refuses(text, expected))

  for (const rule of [
    'FREQ=FORTNIGHTLY',
    'INTERVAL=2',
    'FREQ=DAILY;INTERVAL=0',
    'FREQ=DAILY;X-A=1',
    'FREQ=DAILY;COUNT=2;UNTIL=20261201T000000Z',
    'FREQ=DAILY;BYDAY=XX',
    'FREQ=DAILY;FREQ=WEEKLY',
    'FREQ=DAILY;BYSETPOS=1',
    'RSCALE=CHINESE;FREQ=YEARLY',
    'FREQ=DAILY;UNTIL=soon',
    // which times it means is not defined when it does not begin with its own
    'FREQ=WEEKLY;BYDAY=MO',
    'FREQ=DAILY;BYHOUR=11;COUNT=3',
  ])
    test(`rule ${rule}`, () =>
      refuses(calendar(...event(start, 'DURATION:PT1H', `RRULE:${rule}`)), /^line (?:8|6):/u))

  test('what others wrote cannot make a sentence look like another', () => {
    refuses(
      calendar(...event('DTSTART:`\u202Eevil\u0007')),
      /^line 6: `DTSTART` is not a time: `'\?evil\?`$/u,
    )
  })
})

describe('bounds', () => {
  const start = ['DTSTART:19900101T000000Z', 'DURATION:PT1S']
  const span = within('2026-11-01T00:00Z', '2026-12-04T00:00Z')
  const time = (work: () => void): number => {
    const begun = performance.now()
    work()
    return performance.now() - begun
  }

  for (const rule of [
    'FREQ=SECONDLY',
    'FREQ=MINUTELY',
    'FREQ=SECONDLY;COUNT=2000000000',
    'FREQ=HOURLY;BYMINUTE=0,30',
  ])
    test(`more times than are kept fail: ${rule}`, () =>
      refuses(
        calendar(...event(...start, `RRULE:${rule}`)),
        /^line \d+: (?:more than 400 times|`RRULE` is not understood)/u,
      ))

  test('rules that never come true have no times, at once', () => {
    for (const rule of ['FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30', 'FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30'])
      assert.ok(
        time(() => assert.deepEqual(times(calendar(...event(...start, `RRULE:${rule}`)), span), [])) < 2_000,
      )
  })

  test('a rare second of a rule by seconds is found without counting them all', () => {
    const rule = 'RRULE:FREQ=SECONDLY;BYHOUR=3;BYMINUTE=0;BYSECOND=0'
    assert.equal(times(calendar(...event(...start, rule)), span).length, 33)
  })

  test('many events are counted, and only those within the horizon', () => {
    const at = (n: number): string =>
      new Date(Date.UTC(2026, 10, 1) + n * HOUR).toISOString().replace(/[-:]|\.000/gu, '')
    const many = (count: number): string =>
      calendar(
        ...Array.from({ length: count }, (_, n) => [
          'BEGIN:VEVENT',
          `UID:u${n}`,
          `DTSTART:${at(n)}`,
          'DURATION:PT1H',
          'END:VEVENT',
        ]).flat(),
      )
    assert.equal(times(many(400), span).length, 400)
    refuses(many(401), /more than 400 times/u)
    assert.equal(times(many(4_000), within('2026-11-01T00:00Z', '2026-11-03T00:00Z')).length, 48)
  })

  test('whatever is written, it is a calendar or a named error', () => {
    const piece = fc.constantFrom(
      'BEGIN:VCALENDAR',
      'END:VCALENDAR',
      'BEGIN:VEVENT',
      'END:VEVENT',
      'UID:a',
      'DTSTART:20261110T100000Z',
      'DTSTART;TZID=Europe/Berlin:20261110T100000',
      'DURATION:PT1H',
      'RRULE:FREQ=DAILY',
      'RRULE:FREQ=DAILY;COUNT=3',
      'EXDATE:20261111T100000Z',
      'RDATE:20261111T120000Z',
      'RECURRENCE-ID:20261111T100000Z',
      'STATUS:CANCELLED',
      ' x',
      '',
      ':',
      ';=:',
    )
    const line = fc.oneof(
      { weight: 8, arbitrary: piece },
      { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
    )
    fc.assert(
      fc.property(fc.array(line, { maxLength: 14 }), fc.boolean(), (lines, whole) => {
        const text = whole ? calendar('BEGIN:VEVENT', 'UID:b', ...lines, 'END:VEVENT') : lines.join('\n')
        try {
          for (const { startsAt, endsAt } of expand({ text, ...span })) {
            assert.ok(startsAt < endsAt && endsAt > span.from && startsAt < span.until)
          }
        } catch (error) {
          assert.equal((error as Error).name, 'CalendarError', String((error as Error).stack))
          assert.match((error as Error).message, /^line \d+: \P{Cc}+$/u)
        }
      }),
      { numRuns: 1_000 },
    )
  })

  test('the events of a span are those of its days', () => {
    const rules = fc.constantFrom(
      'FREQ=DAILY',
      'FREQ=WEEKLY;BYDAY=SU,TH',
      'FREQ=MONTHLY;BYDAY=-1SU,1TH',
      'FREQ=DAILY;INTERVAL=3',
    )
    const zones = fc.constantFrom('Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe')
    fc.assert(
      fc.property(
        rules,
        zones,
        fc.integer({ min: 0, max: 23 }),
        fc.integer({ min: 1, max: 700 }),
        (rule, zone, hour, days) => {
          const clock = String(hour).padStart(2, '0')
          const text = calendar(
            ...event(`DTSTART;TZID=${zone}:20260101T${clock}3000`, 'DURATION:PT5H', `RRULE:${rule}`),
          )
          const from = Date.UTC(2026, 0, 10) + days * DAY
          const of = (first: number, last: number) => ({ ...within('', ''), from: first, until: last })
          const whole = expand({ text, ...of(from, from + 6 * DAY) })
          const parts = Array.from({ length: 6 }, (_, n) =>
            expand({ text, ...of(from + n * DAY, from + (n + 1) * DAY) }),
          ).flat()
          assert.deepEqual(
            new Set(parts.map(({ startsAt }) => startsAt)),
            new Set(whole.map(({ startsAt }) => startsAt)),
          )
        },
      ),
      { numRuns: 60 },
    )
  })
})
