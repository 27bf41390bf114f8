/**
 * Calendars, read from files and URLs beside all decisions: again and again, spread in time, and each on its own, so that
 * one that is slow, gone or hostile keeps nothing else waiting. What cannot be read or is not understood is not observed:
 * what was known of it grows old, and is unknown then.
 *
 * @module
 */
import type { CalendarEvent, CalendarSource } from '../model/calendar.ts'
import { canonical } from '../model/canonical.ts'
import type { Observation } from '../model/fact.ts'
import type { Instant, Millis } from '../model/time.ts'
import { DAY, SECOND } from '../model/time.ts'
import type { ExpandInput } from './icalendar/events.ts'
import { expand } from './icalendar/events.ts'
import { CalendarError } from './icalendar/lines.ts'
import { SourceError } from './port.ts'

/** Longest calendar, bytes. */
export const CALENDAR_MOST = 2 * 1024 * 1024
/** Most times of events that are kept of one calendar, and the characters that they may take. */
export const EVENTS_MOST = 400
const VALUE_MOST = 60_000
/** How long a calendar may take to arrive. */
const FETCH_TIMEOUT: Millis = 10_000
/** The first try after a failure; each further one waits twice as long, at most as long as it is refreshed. */
const RETRY: Millis = 5 * SECOND
/** Read at once. */
const MOST_AT_ONCE = 4

/** What a thread makes of a calendar: its events, or in words that are safe to show why it has none. */
export type Expanded =
  | Readonly<{ events: readonly CalendarEvent[]; failed?: undefined }>
  | Readonly<{ failed: string }>

/** The work of the thread that reads calendars: somebody else's text, so that it may take longer than anybody waits. */
export function expandCalendar(input: ExpandInput): Expanded {
  try {
    return { events: expand(input) }
  } catch (error) {
    if (error instanceof CalendarError) return { failed: error.message }
    throw error
  }
}

export type CalendarDeps = Readonly<{
  /** One guarded request that follows no redirect. */
  fetch(
    url: URL,
    options: Readonly<{
      timeout: Millis
      maxBytes: number
      allowPrivate: boolean
      ca?: string
      headers: Readonly<Record<string, string>>
    }>,
  ): Promise<
    | Readonly<{
        status: number
        headers: Readonly<Record<string, string | readonly string[] | undefined>>
        body: Uint8Array
        failed?: undefined
      }>
    | Readonly<{ failed: string }>
  >
  /** A file, of which at most `most` bytes are read. Throws what the system says. */
  readFile(path: string, most: number): Promise<Uint8Array>
  /** In a thread, bounded in time and memory. */
  expand(input: ExpandInput): Promise<Expanded>
  observe(source: string, by: string, observations: readonly Observation[]): Promise<void>
  now(): Instant
  /** In [0, 1). */
  jitter(): number
  /** Runs `what` after `ms`; the function that it returns takes it back. Keeps no process alive. */
  later(ms: Millis, what: () => void): () => void
  log(level: 'info' | 'warn', message: string, fields: Readonly<Record<string, unknown>>): void
}>

/** How reading a calendar goes, as an operator sees it. */
export type CalendarState = Readonly<{
  name: string
  readAt?: Instant
  failed?: string
  /** Failures since it was read. */
  failures: number
}>

type Kept = {
  readonly source: CalendarSource
  state: CalendarState
  /** What came last, and under which tag. */
  text?: Readonly<{ text: string; etag?: string }>
  cancel?: () => void
  reading?: Promise<void>
}

export class Calendars {
  readonly #deps: CalendarDeps
  readonly #calendars: ReadonlyMap<string, Kept>
  readonly #waiting: (() => void)[] = []
  #under = 0
  #stopped = false

  constructor(sources: readonly CalendarSource[], deps: CalendarDeps) {
    this.#deps = deps
    this.#calendars = new Map(
      sources.map((source) => [source.name, { source, state: { name: source.name, failures: 0 } }]),
    )
  }

  /** The configured names. */
  get names(): readonly string[] {
    return [...this.#calendars.keys()]
  }

  get states(): readonly CalendarState[] {
    return [...this.#calendars.values()].map(({ state }) => state)
  }

  /** Begins to read, all of them now and each again in its time. */
  start(): void {
    for (const name of this.names) void this.refresh(name)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    for (const kept of this.#calendars.values()) kept.cancel?.()
    for (const go of this.#waiting.splice(0)) go()
    await Promise.all([...this.#calendars.values()].flatMap(({ reading }) => reading ?? []))
  }

  /** Reads one now, and again in its time. Never throws; a call while it is read joins that. */
  refresh(name: string): Promise<void> {
    const kept = this.#calendars.get(name)
    if (kept === undefined || this.#stopped) return Promise.resolve()
    return (kept.reading ??= this.#turn(kept).finally(() => {
      delete kept.reading
    }))
  }

  async #turn(kept: Kept): Promise<void> {
    kept.cancel?.()
    if (this.#under >= MOST_AT_ONCE) await new Promise<void>((go) => this.#waiting.push(go))
    if (this.#stopped) return
    this.#under += 1
    try {
      await this.#read(kept)
    } finally {
      this.#under -= 1
      this.#waiting.shift()?.()
    }
    if (this.#stopped) return
    const { failures } = kept.state
    const pause = Math.min(
      failures === 0 ? Infinity : RETRY * 2 ** Math.min(failures - 1, 20),
      kept.source.refresh,
    )
    // never later than said, and those that began together go apart
    kept.cancel = this.#deps.later(pause * (0.75 + 0.25 * this.#deps.jitter()), () => {
      void this.refresh(kept.source.name)
    })
  }

  async #read(kept: Kept): Promise<void> {
    const { source } = kept
    const { name, maxAge, horizon, timeZone, tentative } = source
    // what it says was so when it was asked; days, so that the same calendar is the same fact all day long
    const observedAt = this.#deps.now()
    const today = Math.floor(observedAt / DAY) * DAY
    try {
      const text = await this.#text(kept)
      const said = await this.#deps.expand({
        text,
        from: today - DAY,
        until: today + DAY + horizon,
        timeZone,
        tentative,
        most: EVENTS_MOST,
      })
      if (said.failed !== undefined) throw new SourceError(said.failed)
      const value = { events: said.events }
      const size = canonical(value).length
      if (size > VALUE_MOST)
        throw new SourceError(
          `its events take ${size} characters, more than ${VALUE_MOST}: shorten its horizon`,
        )
      await this.#deps.observe(name, 'read', [{ name: 'calendar', about: name, value, observedAt, maxAge }])
      if (kept.state.failures > 0) this.#deps.log('info', 'a calendar can be read again', { calendar: name })
      kept.state = { name, readAt: observedAt, failures: 0 }
    } catch (error) {
      const failed = error instanceof SourceError ? error.message : 'it failed in an unexpected way'
      const before = kept.state
      kept.state = { ...before, failed, failures: before.failures + 1 }
      // once for each reason: it is tried often
      if (before.failed !== failed)
        this.#deps.log('warn', 'a calendar could not be read; what is known of it grows old', {
          calendar: name,
          why: failed,
          ...(error instanceof SourceError ? {} : { error }),
        })
    }
  }

  /** The calendar as it is at its source now. @throws {SourceError} */
  async #text(kept: Kept): Promise<string> {
    const { from } = kept.source
    if ('file' in from) return decoded(await this.#file(from.file, CALENDAR_MOST))
    const { url, allowPrivate, ca, token } = from
    const known = kept.text
    const answer = await this.#deps.fetch(new URL(url), {
      timeout: FETCH_TIMEOUT,
      maxBytes: CALENDAR_MOST,
      allowPrivate,
      ...(ca === undefined ? {} : { ca }),
      headers: {
        accept: 'text/calendar',
        ...(known?.etag === undefined ? {} : { 'if-none-match': known.etag }),
        ...(token === undefined ? {} : { [token.header]: await this.#secret(token) }),
      },
    })
    if (answer.failed !== undefined) throw new SourceError(answer.failed)
    if (answer.status === 304 && known?.etag !== undefined) return known.text
    if (answer.status !== 200) throw new SourceError(`it answers with status ${answer.status}`)
    const { etag } = answer.headers
    const text = decoded(answer.body)
    // a tag that could break out of a header, or is none, is not sent back
    const isTag = typeof etag === 'string' && /^(?:W\/)?"[\x21\x23-\x7E]{0,256}"$/u.test(etag)
    kept.text = { text, ...(isTag ? { etag } : {}) }
    return text
  }

  async #secret({ header, file }: Readonly<{ header: string; file: string }>): Promise<string> {
    const secret = decoded(await this.#file(file, 16_384)).trim()
    if (!/^[\x21-\x7E]+(?: [\x21-\x7E]+)?$/u.test(secret))
      throw new SourceError('its token file holds no token')
    return header === 'authorization' && !secret.includes(' ') ? `Bearer ${secret}` : secret
  }

  async #file(path: string, most: number): Promise<Uint8Array> {
    let bytes: Uint8Array
    try {
      bytes = await this.#deps.readFile(path, most + 1)
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
      throw new SourceError(`its file cannot be read${code}`)
    }
    if (bytes.length > most) throw new SourceError(`its file is longer than ${most} bytes`)
    return bytes
  }
}

function decoded(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new SourceError('it is not UTF-8 text')
  }
}
