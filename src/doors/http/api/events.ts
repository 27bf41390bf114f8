/**
 * Live events (server-sent events): resumable, bounded, and over when the caller's credentials are.
 *
 * @module
 */
import * as z from 'zod'
import type { LiveEvent } from '../../../flows/port.ts'
import { WritError, isWritError } from '../../../model/errors.ts'
import type { Caller } from '../../../model/access.ts'
import { refKey } from '../../../model/entity.ts'
import type { Instant, Millis } from '../../../model/time.ts'
import { SECOND } from '../../../model/time.ts'
import type { Credentials } from '../../../identity/callers.ts'
import { index } from '../../../wire/bounds.ts'
import { encodeLiveEvent, liveEvent } from '../../../wire/v1/index.ts'
import { secureHeaders, sessionCookie } from '../guard.ts'
import { RateLimited } from '../rates.ts'
import type { Door, Route } from '../route.ts'
import { READS, TAKEN, route } from '../route.ts'
import { failed, mayRead } from './shared.ts'

export const HEARTBEAT: Millis = 15 * SECOND
/** What one slow reader may make the server keep; beyond it the stream ends, and resumes where it was. */
const UNSENT_BYTES = 1_048_576
const UNSENT_EVENTS = 10_000
/** Streams of one caller, and of all. */
const STREAMS_EACH = 8
const STREAMS_MOST = 1_000
/** Credentials are looked at again before an event, unless that was done this recently: a burst costs one look. */
const TRUST: Millis = 50

/** What a stream writes to: the raw response. */
export type Sink = Readonly<{
  write(text: string): void
  /** Bytes written but not yet taken by the reader. */
  unsent(): number
  end(): void
}>

type Ports = Readonly<{
  now: () => Instant
  /** Throws once the caller may no longer read. */
  recheck: () => Promise<void>
  /** A problem that is not about the caller. */
  failed: (error: unknown) => void
}>

/** One reader: events wait in line until the caller was looked at again. */
export class Stream {
  readonly #sink: Sink
  readonly #ports: Ports
  readonly #waiting: LiveEvent[] = []
  #checkedAt: Instant
  /** Nothing is written before `open`: until then the answer may still be an error. */
  #opened = false
  #pumping = false
  /** Too much is waiting: what waits is still sent, so that resuming gets further each time. */
  #full = false
  #over = false

  constructor(sink: Sink, ports: Ports) {
    this.#sink = sink
    this.#ports = ports
    this.#checkedAt = ports.now()
  }

  get over(): boolean {
    return this.#over
  }

  push(event: LiveEvent): void {
    if (this.#over || this.#full) return
    if (this.#waiting.length >= UNSENT_EVENTS) this.#full = true
    else this.#waiting.push(event)
    void this.#pump()
  }

  open(): void {
    this.#opened = true
    void this.#pump()
  }

  /** A comment that keeps the connection open, and a look at the caller. */
  async beat(): Promise<void> {
    if (await this.#mayRead(0)) this.#sink.write(': \n\n')
  }

  end(): void {
    if (this.#over) return
    this.#over = true
    this.#waiting.length = 0
    this.#sink.end()
  }

  async #pump(): Promise<void> {
    if (this.#pumping || !this.#opened) return
    this.#pumping = true
    while (this.#waiting.length > 0 && (await this.#mayRead(TRUST))) {
      const event = this.#waiting.shift()
      if (event === undefined) break
      if (this.#sink.unsent() > UNSENT_BYTES) {
        this.end()
        break
      }
      this.#sink.write(
        `id: ${event.id}\nevent: ${event.kind}\ndata: ${JSON.stringify(encodeLiveEvent(event))}\n\n`,
      )
    }
    this.#pumping = false
    if (this.#full) this.end()
  }

  async #mayRead(trust: Millis): Promise<boolean> {
    if (this.#over) return false
    const now = this.#ports.now()
    if (now - this.#checkedAt < trust) return true
    try {
      await this.#ports.recheck()
      this.#checkedAt = now
    } catch (error) {
      if (!isWritError(error, 'ERR_UNAUTHENTICATED')) this.#ports.failed(error)
      this.end()
    }
    return !this.#over
  }
}

/** Counts open streams, so that one caller cannot take them all. */
class Places {
  readonly #each = new Map<string, number>()
  #all = 0

  take(caller: Caller): () => void {
    const mine = this.#each.get(caller.id) ?? 0
    if (mine >= STREAMS_EACH || this.#all >= STREAMS_MOST) throw new RateLimited(HEARTBEAT / SECOND)
    this.#each.set(caller.id, mine + 1)
    this.#all++
    let taken = true
    return () => {
      if (!taken) return
      taken = false
      this.#all--
      const left = (this.#each.get(caller.id) ?? 1) - 1
      if (left === 0) this.#each.delete(caller.id)
      else this.#each.set(caller.id, left)
    }
  }
}

/** `streams` ends every open stream, for shutdown. */
export function eventRoutes(door: Door, streams: Set<Stream>): Route[] {
  const places = new Places()
  return [
    route({
      method: 'GET',
      path: '/v1/events',
      heavy: true,
      tag: 'Log',
      summary: 'What happens, live; `Last-Event-ID` resumes after that log index',
      who: 'caller',
      audit: READS,
      query: z.strictObject({ after: index.exactOptional() }),
      responses: {
        200: { description: 'A stream of events', schema: liveEvent, type: 'text/event-stream' },
        429: failed('Too many streams'),
      },
      handle: async ({ caller, query, origin, request, reply }) => {
        const after = lastEventId(request.headers['last-event-id']) ?? query.after
        const { raw } = reply
        const credentials: Credentials =
          request.headers.authorization === undefined
            ? { session: sessionCookie(request.headers.cookie, origin.startsWith('https:')) }
            : { authorization: request.headers.authorization }
        // asked before the flows ask it: whoever is read out to as a reader and is none any more is cut off
        const reads = await mayRead(door.flows, caller)
        const leave = places.take(caller)
        const stream = new Stream(
          {
            write: (text) => void raw.write(text),
            unsent: () => raw.writableLength,
            end: () => void raw.end(),
          },
          {
            now: door.now,
            recheck: async () => {
              const { id } = await door.callers.authenticate(credentials)
              if (id !== caller.id) throw new WritError('ERR_UNAUTHENTICATED', 'another caller')
              // it resumes where it was, and sees what it may see now
              if ((await mayRead(door.flows, caller)) !== reads)
                throw new WritError('ERR_UNAUTHENTICATED', 'what it may see has changed')
            },
            failed: (error) =>
              door.log({
                level: 'error',
                message: 'event stream failed',
                request: request.id,
                error: error instanceof Error ? (error.stack ?? error.name) : typeof error,
              }),
          },
        )
        const open: { beating?: NodeJS.Timeout; unsubscribe?: () => void } = {}
        const close = (): void => {
          clearInterval(open.beating)
          open.unsubscribe?.()
          leave()
          streams.delete(stream)
          stream.end()
        }
        raw.once('close', close)
        try {
          open.unsubscribe = await door.flows.events(caller, after, (event) => {
            stream.push(reads ? event : ownPart(event, refKey(caller.subject)))
          })
        } catch (error) {
          raw.off('close', close)
          leave()
          throw error
        }
        if (raw.destroyed) {
          close()
          return TAKEN
        }
        secureHeaders(reply, false, request.protocol === 'https')
        reply.hijack()
        raw.writeHead(200, {
          ...(reply.getHeaders() as Record<string, string>),
          'content-type': 'text/event-stream; charset=utf-8',
          'x-accel-buffering': 'no',
        })
        raw.write(`retry: ${SECOND}\n\n`)
        streams.add(stream)
        stream.open()
        open.beating = setInterval(() => void stream.beat(), HEARTBEAT)
        return TAKEN
      },
    }),
  ]
}

/** An event as who may not read everything sees it: ids, but nobody else's names. */
function ownPart(event: LiveEvent, own: string): LiveEvent {
  const refs = event.refs.filter((ref) => ref === own || !ref.includes('/'))
  const { entry } = event
  const isObject = typeof entry === 'object' && entry !== null && !Array.isArray(entry)
  return { ...event, refs, entry: isObject && 'refs' in entry ? { ...entry, refs } : entry }
}

function lastEventId(header: string | string[] | undefined): number | undefined {
  if (typeof header !== 'string') return undefined
  const parsed = index.safeParse(header.trim() === '' ? undefined : header)
  if (!parsed.success) throw new WritError('ERR_INPUT_INVALID', '`Last-Event-ID` is no log index')
  return parsed.data
}
