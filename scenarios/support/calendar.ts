/**
 * The calendars of a story: iCalendar files at an address of their own, as groupware publishes them, with an `ETag`.
 *
 * @module
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Part } from './story.ts'

export type Groupware = Part &
  Readonly<{
    /** Its entry under `sources.calendars`: read as often as is possible. */
    source(name: string): Readonly<Record<string, unknown>>
    /** What `name` says from now on: events, each as its lines. Resolves when it was read. */
    publish(name: string, ...events: readonly (readonly string[])[]): Promise<void>
  }>

/** When clocks change in Berlin, as calendars say it. */
const BERLIN = [
  'BEGIN:VTIMEZONE',
  'TZID:Europe/Berlin',
  'BEGIN:DAYLIGHT',
  'TZOFFSETFROM:+0100',
  'TZOFFSETTO:+0200',
  'TZNAME:CEST',
  'DTSTART:19700329T020000',
  'RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU',
  'END:DAYLIGHT',
  'BEGIN:STANDARD',
  'TZOFFSETFROM:+0200',
  'TZOFFSETTO:+0100',
  'TZNAME:CET',
  'DTSTART:19701025T030000',
  'RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU',
  'END:STANDARD',
  'END:VTIMEZONE',
]

export async function openGroupware(): Promise<Groupware> {
  const calendars = new Map<string, Readonly<{ text: string; etag: string; read: () => void }>>()
  const server = createServer((request, response) => {
    const found = calendars.get((request.url ?? '').slice(1))
    if (found === undefined) return void response.writeHead(404).end()
    const { text, etag } = found
    if (request.headers['if-none-match'] === etag) return void response.writeHead(304).end()
    response.writeHead(200, { 'content-type': 'text/calendar; charset=utf-8', etag }).end(text, found.read)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  return {
    source: (name) => ({
      name,
      url: `${url}/${name}.ics`,
      allow_private: true,
      refresh: '5s',
      // a story lives by a clock of its own, and may skip hours
      max_age: '6h',
    }),
    publish(name, ...events) {
      const lines = [
        'BEGIN:VCALENDAR',
        'VERSION:2.0',
        'PRODID:-//Acme//Groupware//EN',
        ...BERLIN,
        ...events.flatMap((event) => ['BEGIN:VEVENT', 'DTSTAMP:20270101T000000Z', ...event, 'END:VEVENT']),
        'END:VCALENDAR',
        '',
      ]
      const text = lines.join('\r\n')
      const etag = `"${createHash('sha256').update(text).digest('hex').slice(0, 16)}"`
      return new Promise((read) => calendars.set(`${name}.ics`, { text, etag, read }))
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
