import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { CalendarSource } from '../model/calendar.ts'
import { openAt } from '../model/calendar.ts'
import type { Observation } from '../model/fact.ts'
import { isFresh } from '../model/fact.ts'
import { DAY, HOUR, MINUTE, SECOND } from '../model/time.ts'
import type { CalendarDeps } from './calendars.ts'
import { CALENDAR_MOST, Calendars, expandCalendar } from './calendars.ts'

const NOW = Date.UTC(2026, 10, 23, 12)
const release = (more = ''): string =>
  `BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nUID:a\nDTSTART:20260101T220000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY\n${more}END:VEVENT\nEND:VCALENDAR\n`
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

const common = { refresh: 5 * MINUTE, maxAge: 30 * MINUTE, horizon: 32 * DAY, tentative: false }
const file: CalendarSource = { name: 'release', from: { file: '/etc/release.ics' }, ...common }
const web: CalendarSource = {
  name: 'release',
  from: { url: 'https://calendars.example/secret/release.ics', allowPrivate: false },
  ...common,
}

/** A world of one clock, in which timers run when the test says so. */
function world(sources: readonly CalendarSource[], deps: Partial<CalendarDeps> = {}) {
  const seen: Observation[] = []
  const logged: { message: string; fields: Readonly<Record<string, unknown>> }[] = []
  const timers: { ms: number; what: () => void }[] = []
  const clock = { now: NOW }
  const calendars = new Calendars(sources, {
    fetch: () => assert.fail('nothing is fetched'),
    readFile: () => assert.fail('no file is read'),
    expand: (input) => Promise.resolve(expandCalendar(input)),
    observe: (source, by, observations) => {
      assert.deepEqual([source, by], ['release', 'read'])
      seen.push(...observations)
      return Promise.resolve()
    },
    now: () => clock.now,
    jitter: () => 0.5,
    later(ms, what) {
      const timer = { ms, what }
      timers.push(timer)
      return () => void timers.splice(timers.indexOf(timer), timers.includes(timer) ? 1 : 0)
    },
    log: (_level, message, fields) => logged.push({ message, fields }),
    ...deps,
  })
  return { calendars, seen, logged, timers, clock }
}

type Answer = Awaited<ReturnType<CalendarDeps['fetch']>>
const answer = (status: number, body = '', headers: Record<string, string> = {}): Answer => ({
  status,
  headers,
  body: bytes(body),
})

describe('calendars are read', () => {
  test('from a file, observed as it was when it was asked for, and again in its time', async () => {
    const { calendars, seen, timers, clock } = world([file], {
      readFile: (path) => {
        assert.equal(path, '/etc/release.ics')
        clock.now += SECOND
        return Promise.resolve(bytes(release()))
      },
    })
    await calendars.refresh('release')
    const [said] = seen
    assert.deepEqual(
      [said?.name, said?.about, said?.observedAt, said?.maxAge],
      ['calendar', 'release', NOW, 30 * MINUTE],
    )
    assert.ok(said !== undefined && openAt(said, Date.UTC(2026, 10, 23, 22)) && !openAt(said, NOW))
    assert.deepEqual(
      timers.map(({ ms }) => ms),
      [5 * MINUTE * 0.875],
    )
    // the same day it is the same fact, so that nothing is told again
    clock.now += HOUR
    await calendars.refresh('release')
    assert.deepEqual(seen[1]?.value, said.value)
    assert.equal(timers.length, 1, 'one place in time each')
    assert.deepEqual(calendars.states, [{ name: 'release', readAt: NOW + HOUR + SECOND, failures: 0 }])
    await calendars.stop()
    assert.equal(timers.length, 0)
    await calendars.refresh('release')
    assert.equal(seen.length, 2)
  })

  test('from a URL, unchanged by its tag; a changed one is taken', async () => {
    const asked: (string | undefined)[] = []
    const answers = [
      answer(200, release(), { etag: '"one"' }),
      answer(304),
      answer(200, release('EXDATE:20261123T220000Z\n'), { etag: 'no tag\r\nx: y' }),
      answer(200, release()),
    ]
    const { calendars, seen, clock } = world([web], {
      fetch: (url, { headers, maxBytes, allowPrivate }) => {
        assert.deepEqual(
          [url.href, maxBytes, allowPrivate],
          ['https://calendars.example/secret/release.ics', CALENDAR_MOST, false],
        )
        asked.push(headers['if-none-match'])
        return Promise.resolve(answers.shift() as Answer)
      },
    })
    for (let turn = 0; turn < 4; turn += 1) {
      await calendars.refresh('release')
      clock.now += MINUTE
    }
    assert.deepEqual(asked, [undefined, '"one"', '"one"', undefined])
    const tonight = Date.UTC(2026, 10, 23, 22)
    assert.deepEqual(
      seen.map((said) => openAt(said, tonight)),
      [true, true, false, true],
    )
    assert.deepEqual(
      seen.map(({ observedAt }) => observedAt - NOW),
      [0, MINUTE, 2 * MINUTE, 3 * MINUTE],
    )
  })

  test('a token is read for each request and sent in its header', async () => {
    const tokens = ['one\n', 'Basic dXNlcg==', 'broken\r\nheader']
    const sent: (string | undefined)[] = []
    const { calendars } = world(
      [
        {
          ...web,
          from: {
            ...web.from,
            url: 'https://c.example/',
            token: { header: 'authorization', file: '/t' },
          },
        },
      ],
      {
        readFile: () => Promise.resolve(bytes(tokens.shift() ?? '')),
        fetch: (_url, { headers }) => {
          sent.push(headers['authorization'])
          return Promise.resolve(answer(200, release()))
        },
      },
    )
    for (let turn = 0; turn < 3; turn += 1) await calendars.refresh('release')
    assert.deepEqual(sent, ['Bearer one', 'Basic dXNlcg=='])
    assert.equal(calendars.states[0]?.failed, 'its token file holds no token')
  })
})

describe('C6 B58 a source that is gone, slow or garbled', () => {
  for (const [what, given, why] of [
    ['refused', { failed: 'its address is not public, and private ones are not allowed' }, /not public/u],
    ['moved', answer(302), /status 302/u],
    ['unchanged although nothing is known', answer(304), /status 304/u],
    ['a sign-in page', answer(200, '<html>'), /^line 1: /u],
    ['cut off', answer(200, release().slice(0, 60)), /no end: the calendar is cut off/u],
    ['no text', { ...answer(200), body: new Uint8Array([0xff, 0xfe]) }, /not UTF-8/u],
    ['too much in it', answer(200, release().replace('DAILY', 'MINUTELY')), /more than 400 times/u],
  ] as const)
    test(`${what}: nothing is observed, and why is said once`, async () => {
      const { calendars, seen, logged } = world([web], { fetch: () => Promise.resolve(given) })
      await calendars.refresh('release')
      await calendars.refresh('release')
      assert.equal(seen.length, 0)
      assert.equal(logged.length, 1)
      assert.match(String(logged[0]?.fields['why']), why)
      assert.equal(calendars.states[0]?.failures, 2)
      assert.ok(!JSON.stringify(logged).includes('secret'), 'an address may be a secret')
    })

  test('what was known grows old and is unknown then; it is tried sooner, at most as often as it is read', async () => {
    let works = true
    const { calendars, seen, timers, clock, logged } = world([file], {
      readFile: () =>
        works
          ? Promise.resolve(bytes(release()))
          : Promise.reject(Object.assign(new Error('x'), { code: 'ENOENT' })),
    })
    await calendars.refresh('release')
    works = false
    const pauses: number[] = []
    for (let turn = 0; turn < 9; turn += 1) {
      clock.now += MINUTE
      await calendars.refresh('release')
      pauses.push((timers[0]?.ms ?? 0) / SECOND)
    }
    assert.deepEqual(
      pauses,
      [5, 10, 20, 40, 80, 160, 300, 300, 300].map((s) => s * 0.875),
    )
    const [said] = seen
    assert.ok(said !== undefined && seen.length === 1)
    assert.deepEqual([isFresh(said, NOW + 30 * MINUTE - 1), isFresh(said, NOW + 30 * MINUTE)], [true, false])
    assert.equal(calendars.states[0]?.failed, 'its file cannot be read (ENOENT)')
    works = true
    await calendars.refresh('release')
    assert.deepEqual(calendars.states[0]?.failures, 0)
    assert.deepEqual(
      logged.map(({ message }) => message.slice(0, 24)),
      ['a calendar could not be ', 'a calendar can be read a'],
    )
  })

  test('a file or an answer that is too long is not read', async () => {
    const { calendars, seen } = world([file], {
      readFile: (_path, most) => Promise.resolve(new Uint8Array(most)),
    })
    await calendars.refresh('release')
    assert.equal(seen.length, 0)
    assert.match(calendars.states[0]?.failed ?? '', /longer than 2097152 bytes/u)
  })

  test('one that never answers keeps no other waiting', async () => {
    const { promise, resolve } = Promise.withResolvers<Answer>()
    const slow = { ...web, name: 'slow' }
    const { calendars, seen } = world([slow, file], {
      fetch: () => promise,
      readFile: () => Promise.resolve(bytes(release())),
    })
    calendars.start()
    await calendars.refresh('release')
    assert.equal(seen.length, 1)
    resolve(answer(500))
    await calendars.stop()
  })

  test('many events fit or fail, they are never cut', async () => {
    const at = (n: number): string => new Date(NOW + n * HOUR).toISOString().replace(/[-:]|\.000/gu, '')
    const many = Array.from({ length: 400 }, (_, n) =>
      [
        'BEGIN:VEVENT',
        `UID:${'x'.repeat(200)}${n}`,
        `SUMMARY:${'ü'.repeat(200)}`,
        `DTSTART:${at(n)}`,
        'DURATION:PT1H',
        'END:VEVENT',
      ].join('\n'),
    )
    const text = `BEGIN:VCALENDAR\n${many.join('\n')}\nEND:VCALENDAR`
    const { calendars, seen } = world([file], { readFile: () => Promise.resolve(bytes(text)) })
    await calendars.refresh('release')
    assert.equal(seen.length, 0)
    assert.match(calendars.states[0]?.failed ?? '', /shorten its horizon/u)
  })
})
