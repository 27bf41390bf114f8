/**
 * Reads a stream of server-sent events (WHATWG HTML §9.2), as it arrives in pieces.
 *
 * @module
 */
import { createParser } from 'eventsource-parser'
import { WritClientError } from './error.ts'

export type ServerSentEvent = Readonly<{ id: string | undefined; event: string; data: string }>

/** Longest event: a server that sends more is not Writ. */
const EVENT_MOST = 4 * 1024 * 1024

/**
 * Events of `chunks` in order; comments come as `undefined`, because they prove that the stream lives.
 *
 * @throws {WritClientError} `ERR_PROTOCOL` for an event that is longer than 4 MiB.
 */
export async function* parseEvents(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<ServerSentEvent | undefined, void, undefined> {
  const decoder = new TextDecoder()
  const arrived: (ServerSentEvent | undefined)[] = []
  let id: string | undefined
  let unfinished = 0
  const parser = createParser({
    onEvent(event) {
      id = event.id ?? id
      arrived.push({ id, event: event.event ?? 'message', data: event.data })
    },
    onComment: () => arrived.push(undefined),
  })
  for await (const chunk of chunks) {
    parser.feed(decoder.decode(chunk, { stream: true }))
    unfinished = arrived.length > 0 ? 0 : unfinished + chunk.length
    if (unfinished > EVENT_MOST)
      throw new WritClientError('ERR_PROTOCOL', 'an event of the stream is too long')
    yield* arrived.splice(0)
  }
}
