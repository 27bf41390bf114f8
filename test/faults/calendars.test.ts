/**
 * Calendars as they are: somebody else's, and watched. What they say can only take away from a task that names them as
 * its window, and what they cannot say widens nothing.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { CalendarReading } from '../../src/flows/calendars.ts'
import type { CalendarEvent, CalendarSource } from '../../src/model/calendar.ts'
import { openAt } from '../../src/model/calendar.ts'
import type { Observation } from '../../src/model/fact.ts'
import { DAY, HOUR, MINUTE, SECOND } from '../../src/model/time.ts'
import { outboundFetcher } from '../../src/signals/fetcher.ts'
import { activeGrant, attempt, declare, migration } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { entries, fails, faultWorld, ref } from './support.ts'

const reading = {
  purpose: 'read',
  scope: { actions: ['read'], resources: [ref('Document/handbook')] },
  heartbeat: HOUR,
}
const inRelease = { window: { calendar: 'release' } }
const read = (w: FaultWorld, task: string) =>
  w.app.flows.evaluate(w.migrator, attempt('Agent/migrator', 'read', 'Document/handbook', { task }))

/** Calendar `release` says that these are its events, in minutes from `start`. */
function saying(w: FaultWorld, start: number, maxAge = HOUR) {
  return async (
    ...events: readonly (readonly [uid: string, from: number, until: number])[]
  ): Promise<void> => {
    w.clock.advance(1)
    const value = {
      events: events.map(([uid, from, until]): CalendarEvent => ({
        startsAt: start + from * MINUTE,
        endsAt: start + until * MINUTE,
        uid,
        summary: `change ${uid}`,
      })),
    }
    const said: Observation = {
      name: 'calendar',
      about: 'release',
      value,
      observedAt: w.clock.wall(),
      maxAge,
    }
    await w.app.flows.facts.observe('release', 'read', [said])
    await w.app.flows.windows.changed('release')
  }
}
const lastOf = async (w: FaultWorld, kind: string) =>
  (await entries(w.app)).findLast((entry) => entry['kind'] === kind)

describe('a task whose window is an event', () => {
  test('the one that is on, or the next, is recorded at its declaration; before and after nothing is permitted', async () => {
    await using w = await faultWorld()
    const start = w.clock.wall()
    const say = saying(w, start)
    await say(['a', 10, 40], ['b', 100, 160])
    const id = await declare(w, { ...reading, ...inRelease })
    const { task } = await w.app.flows.task(w.migrator, id)
    const window = { startsAt: start + 10 * MINUTE, endsAt: start + 40 * MINUTE }
    assert.deepEqual(task.window, { ...window, calendar: { name: 'release', uid: 'a', summary: 'change a' } })
    assert.deepEqual(
      ((await lastOf(w, 'task.declared'))?.['declared'] as typeof task | undefined)?.window,
      task.window,
    )
    assert.equal((await read(w, id)).outcome, 'deny')
    w.clock.advance(11 * MINUTE)
    assert.equal((await read(w, id)).outcome, 'permit')
    w.clock.advance(30 * MINUTE)
    assert.equal((await read(w, id)).outcome, 'deny')
    // it is over for this task, and the next event is another task's
    const next = await declare(w, { ...reading, ...inRelease })
    assert.equal((await w.app.flows.task(w.migrator, next)).task.window?.calendar?.uid, 'b')
  })

  test('C6 a calendar that nobody knows, that has grown old or that has no event is no window', async () => {
    await using w = await faultWorld()
    const say = saying(w, w.clock.wall())
    const why = async () => (await fails(declare(w, { ...reading, ...inRelease }), 'ERR_CONFLICT')).message
    assert.match(await why(), /is not known just now/u)
    await say(['a', -20, -10])
    assert.match(await why(), /has no event/u)
    await say(['a', 10, 300])
    await declare(w, { ...reading, ...inRelease })
    w.clock.advance(HOUR)
    assert.match(await why(), /is not known just now/u)
  })

  test('C5 moved, shortened, longer again: the task only ever loses', async () => {
    await using w = await faultWorld()
    const start = w.clock.wall()
    const say = saying(w, start)
    await say(['a', 0, 60])
    const id = await declare(w, { ...reading, ...inRelease })
    const other = await declare(w, { ...reading, window: { startsAt: start, endsAt: start + HOUR } })
    for (const task of [id, other]) assert.equal((await read(w, task)).outcome, 'permit')
    const ends = async (task: string): Promise<number> =>
      ((await w.app.flows.task(w.migrator, task)).task.window?.endsAt ?? 0) - start
    await say(['a', -30, 20])
    assert.equal(await ends(id), 20 * MINUTE)
    assert.equal((await w.app.flows.task(w.migrator, id)).task.endsAt, start + 20 * MINUTE)
    const narrowed = await lastOf(w, 'task.narrowed')
    assert.deepEqual([narrowed?.['task'], narrowed?.['by']], [id, 'calendar release'])
    await say(['a', 0, 120])
    await say(['a', 0, 120], ['b', 0, 120])
    assert.equal(await ends(id), 20 * MINUTE)
    assert.equal((await entries(w.app)).filter(({ kind }) => kind === 'task.narrowed').length, 1)
    w.clock.advance(20 * MINUTE)
    assert.equal((await read(w, id)).outcome, 'deny')
    assert.deepEqual([await ends(other), (await read(w, other)).outcome], [HOUR, 'permit'])
  })

  test('C2 cancelled: the task and all that it has end at once, with the reason', async () => {
    await using w = await faultWorld({ targets: true })
    const say = saying(w, w.clock.wall())
    await say(['a', 0, 60])
    const task = await declare(w, { heartbeat: HOUR, ...inRelease })
    const { grant } = await activeGrant(w, task)
    await w.app.flows.issueCredential(w.migrator, grant)
    assert.equal(w.system.shelf.names().length, 1)
    await say(['b', 0, 60])
    const ended = (await w.app.flows.task(w.ada, task)).task
    assert.deepEqual([ended.state, ended.ending?.by], ['cancelled', 'calendar release'])
    assert.match(ended.ending?.reason ?? '', /cancelled or moved away/u)
    assert.equal((await w.app.flows.evaluate(w.migrator, migration(task, { grant }))).outcome, 'deny')
    await w.app.flows.settled()
    assert.deepEqual(w.system.shelf.names(), [])
    // back in the calendar is not back in the task
    await say(['a', 0, 60])
    assert.equal((await w.app.flows.task(w.ada, task)).task.state, 'cancelled')
  })

  test('C3 a grant ends no later than the window does now, and at once where that opens later', async () => {
    await using w = await faultWorld()
    const start = w.clock.wall()
    const say = saying(w, start)
    await say(['a', 0, 60])
    const early = await activeGrant(w, await declare(w, { heartbeat: HOUR, ...inRelease }))
    await say(['a', 0, 5])
    const shortened = (await w.app.flows.grant(w.ada, early.grant)).grant
    assert.deepEqual([shortened.state, shortened.endsAt], ['active', start + 5 * MINUTE])
    await say(['c', 0, 60])
    const later = await activeGrant(w, await declare(w, { heartbeat: HOUR, ...inRelease }))
    await say(['c', 30, 90])
    const over = (await w.app.flows.grant(w.ada, later.grant)).grant
    assert.notEqual(over.state, 'active')
    assert.match(over.reason ?? '', /opens at/u)
    const { task } = await w.app.flows.task(w.ada, later.task)
    assert.deepEqual(task.window && [task.window.startsAt - start, task.window.endsAt - start], [
      30 * MINUTE,
      HOUR,
    ])
  })

  test('C6 B58 a calendar that cannot be read any more: what it would say is unknown, and nothing is permitted', async () => {
    await using w = await faultWorld()
    const heard = w.clock.wall()
    const say = saying(w, heard, 5 * MINUTE)
    await say(['a', 0, 180])
    const task = await declare(w, { ...reading, ...inRelease })
    const plain = await declare(w, { ...reading, window: { startsAt: heard, endsAt: heard + DAY } })
    for (const id of [task, plain]) assert.equal((await read(w, id)).outcome, 'permit')
    const { grant } = await activeGrant(w, await declare(w, { heartbeat: HOUR, ...inRelease }))
    // it is looked at again when nothing is known any more, not polled
    assert.equal((await w.app.flows.grant(w.ada, grant)).grant.reviewAt, heard + 1 + 5 * MINUTE)
    w.clock.advance(5 * MINUTE)
    const denied = await read(w, task)
    assert.deepEqual([denied.outcome, denied.reason], ['deny', 'unknown_facts'])
    assert.equal((await read(w, plain)).outcome, 'permit')
    // not known is not cancelled: read again, the task goes on
    await say(['a', 0, 180])
    assert.equal((await read(w, task)).outcome, 'permit')
  })

  test('B50 what a calendar said while Writ was away is caught up with', async () => {
    const w = await faultWorld()
    const say = saying(w, w.clock.wall())
    await say(['a', 0, 60])
    const id = await declare(w, { ...reading, ...inRelease })
    w.clock.advance(1)
    const value = { events: [] }
    // recorded, and then the server stopped
    await w.app.flows.facts.observe('release', 'read', [
      { name: 'calendar', about: 'release', value, observedAt: w.clock.wall(), maxAge: HOUR },
    ])
    await using again = await w.restart()
    await again.app.flows.windows.changed('release')
    assert.equal((await again.app.flows.task(again.ada, id)).task.state, 'cancelled')
  })

  test('B50 and at the start already, when the calendar cannot be read again', async () => {
    const gone: CalendarSource = {
      name: 'release',
      from: { file: join(tmpdir(), 'writ-no-such-calendar.ics') },
      refresh: HOUR,
      maxAge: DAY,
      horizon: DAY,
      tentative: false,
    }
    const w = await faultWorld({ config: { calendars: [gone] } })
    await saying(w, w.clock.wall())(['a', 0, 60])
    const id = await declare(w, { ...reading, ...inRelease })
    w.clock.advance(1)
    await w.app.flows.facts.observe('release', 'read', [
      { name: 'calendar', about: 'release', value: { events: [] }, observedAt: w.clock.wall(), maxAge: HOUR },
    ])
    await using again = await w.restart()
    assert.equal((await again.app.flows.task(again.ada, id)).task.state, 'cancelled')
  })
})

describe('calendars read by this process', () => {
  const NOW = Date.UTC(2026, 10, 23, 12)
  const ics = (...lines: readonly string[]): string =>
    [
      'BEGIN:VCALENDAR',
      'BEGIN:VEVENT',
      'UID:a',
      'DTSTART:20260101T120000Z',
      'DURATION:PT1H',
      ...lines,
      'END:VEVENT',
      'END:VCALENDAR',
      '',
    ].join('\r\n')
  const common = { refresh: MINUTE, maxAge: HOUR, horizon: 32 * DAY, tentative: false }

  function open(sources: readonly CalendarSource[], timeout = MINUTE) {
    const seen = new Map<string, Observation>()
    const reading = new CalendarReading(
      sources,
      {
        fetch: outboundFetcher(),
        observe: (source, _by, [said]) => {
          if (said !== undefined) seen.set(source, said)
          return Promise.resolve()
        },
        now: () => NOW,
        jitter: () => 0,
        log: () => undefined,
      },
      { timeout },
    )
    return { reading, seen }
  }

  test('B58 one that never comes to an end is given up, and the next is read all the same', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'writ-calendars-'))
    try {
      const all = (most: number): string => Array.from({ length: most }, (_, n) => n).join(',')
      const rule = `RRULE:FREQ=DAILY;BYHOUR=${all(24)};BYMINUTE=${all(60)};BYSECOND=${all(60)};BYMONTH=2;BYMONTHDAY=29;BYSETPOS=-1`
      const events = Array.from({ length: 2_000 }, (_, n) => ics(rule).replace('UID:a', `UID:${n}`))
      const bomb = [
        'BEGIN:VCALENDAR',
        ...events.flatMap((one) => one.split('\r\n').slice(1, -2)),
        'END:VCALENDAR',
      ]
      await writeFile(join(folder, 'bomb.ics'), bomb.join('\n'))
      await writeFile(join(folder, 'release.ics'), ics('RRULE:FREQ=DAILY'))
      const from = (name: string): CalendarSource => ({
        name,
        from: { file: join(folder, `${name}.ics`) },
        ...common,
      })
      const { reading, seen } = open(
        [from('bomb'), from('release'), { ...from('folder'), from: { file: folder } }],
        3 * SECOND,
      )
      await Promise.all(reading.names.map((name) => reading.refresh(name)))
      // on a busy machine a new thread may not even have begun by then: it is tried again, as it would be in its time
      for (let tries = 0; tries < 20 && !seen.has('release'); tries += 1) await reading.refresh('release')
      assert.deepEqual([...seen.keys()], ['release'])
      assert.ok(openAt(seen.get('release') as Observation, NOW))
      assert.deepEqual(
        reading.states.map(({ failed }) => failed),
        ['to work out its events takes too long', undefined, 'its file cannot be read (not a file)'],
      )
      await reading.stop()
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })

  test('B3 a private address is refused unless that was allowed; an answer without end is cut off', async () => {
    const server = createServer((request, response) => {
      response.writeHead(200, { 'content-type': 'text/calendar', etag: '"x"' })
      if (request.url === '/release.ics') response.end(ics('RRULE:FREQ=DAILY'))
      else {
        const more = (): void => {
          if (!response.destroyed) response.write('X'.repeat(65_536), () => setImmediate(more))
        }
        more()
      }
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const from = (name: string, path: string, allowPrivate: boolean): CalendarSource => ({
      name,
      from: { url: `${at}/${path}`, allowPrivate },
      ...common,
    })
    const { reading, seen } = open([
      from('refused', 'release.ics', false),
      from('allowed', 'release.ics', true),
      from('endless', 'endless', true),
    ])
    try {
      await Promise.all(reading.names.map((name) => reading.refresh(name)))
      assert.deepEqual([...seen.keys()], ['allowed'])
      const [refused, , endless] = reading.states
      assert.match(refused?.failed ?? '', /not public/u)
      assert.match(endless?.failed ?? '', /longer than/u)
    } finally {
      await reading.stop()
      server.closeAllConnections()
      server.close()
    }
  })
})
