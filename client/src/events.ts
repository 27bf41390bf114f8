/**
 * What happens at the server, as it happens; picked up again where it broke off.
 *
 * @module
 */
import { WritClientError, isWritClientError } from './error.ts'
import type { Transport } from './http.ts'
import { parseEvents } from './sse.ts'
import type { WritEvent } from './types.ts'

export type EventOptions = Readonly<{
  /** Index of the last event already seen; only later ones follow. By default only what happens from now on. */
  after?: number | undefined
  signal?: AbortSignal | undefined
}>

/** Three missed comments: the stream is dead although nobody says so. */
const SILENCE_MOST = 45_000
const RECONNECT_MOST = 15_000

/**
 * Events in the order of the log, without end until `signal` aborts or the loop is left.
 *
 * @throws {WritClientError} what cannot be mended by connecting again, e.g. `ERR_UNAUTHENTICATED`.
 */
export async function* followEvents(
  transport: Transport,
  options: EventOptions = {},
): AsyncGenerator<WritEvent, void, undefined> {
  let after = options.after
  for (let failures = 0; ; failures++) {
    const link = new AbortController()
    const outer = options.signal
    const abort = (): void => link.abort(outer?.reason)
    if (outer?.aborted === true) return
    outer?.addEventListener('abort', abort, { once: true })
    let watch: ReturnType<typeof setTimeout> | undefined
    const alive = (): void => {
      clearTimeout(watch)
      watch = setTimeout(
        () => link.abort(new WritClientError('ERR_TIMEOUT', 'the stream fell silent')),
        SILENCE_MOST,
      )
    }
    try {
      alive()
      const response = await transport.open({
        method: 'GET',
        path: '/v1/events',
        accept: 'text/event-stream',
        lastEventId: after === undefined ? undefined : String(after),
        signal: link.signal,
      })
      if (
        !/^text\/event-stream\b/.test(response.headers.get('content-type') ?? '') ||
        response.body === null
      ) {
        throw new WritClientError('ERR_PROTOCOL', 'the answer is no stream of events', {
          status: response.status,
        })
      }
      for await (const event of parseEvents(iterate(response.body, alive))) {
        failures = 0
        if (event === undefined) continue
        const read = readEvent(event.data)
        // a server may repeat the last ones after a reconnect
        if (after !== undefined && read.id <= after) continue
        after = read.id
        yield read
      }
    } catch (error) {
      if (isAborted(outer)) return
      if (error instanceof WritClientError && !passing(error)) throw error
    } finally {
      clearTimeout(watch)
      outer?.removeEventListener('abort', abort)
      link.abort()
    }
    const wait =
      Math.min(RECONNECT_MOST, 250 * 2 ** Math.min(failures, 10)) * (0.5 + transport.options.random() / 2)
    try {
      await transport.options.sleep(wait, outer)
    } catch (error) {
      if (isWritClientError(error, 'ERR_ABORTED')) return
      throw error
    }
  }
}

// a function, because the compiler believes that a flag once seen does not change
const isAborted = (signal: AbortSignal | undefined): boolean => signal?.aborted === true

function passing(error: WritClientError): boolean {
  return isWritClientError(
    error,
    'ERR_UNREACHABLE',
    'ERR_TIMEOUT',
    'ERR_ABORTED',
    'ERR_RATE_LIMITED',
    'ERR_STORE_CLOSED',
  )
}

/** Node 20's `ReadableStream` is iterable; browsers' are not yet all. */
async function* iterate(
  body: ReadableStream<Uint8Array>,
  alive: () => void,
): AsyncGenerator<Uint8Array, void> {
  const reader = body.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      alive()
      yield value
    }
  } finally {
    // the connection may be broken already; then there is nothing to cancel
    await reader.cancel().catch(() => undefined)
  }
}

function readEvent(data: string): WritEvent {
  let event: unknown
  try {
    event = JSON.parse(data)
  } catch (error) {
    throw new WritClientError('ERR_PROTOCOL', 'an event of the stream is not JSON', { cause: error })
  }
  if (
    typeof event !== 'object' ||
    event === null ||
    !('id' in event && typeof event.id === 'number') ||
    !('kind' in event && typeof event.kind === 'string')
  ) {
    throw new WritClientError('ERR_PROTOCOL', 'an event of the stream cannot be read')
  }
  return event as WritEvent
}
