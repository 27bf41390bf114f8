/**
 * Reads a stream of server-sent events (WHATWG HTML §9.2), as it arrives in pieces.
 *
 * @module
 */
import { WritClientError } from './error.ts'

export type ServerSentEvent = Readonly<{ id: string | undefined; event: string; data: string }>

/** Longest line and event: a server that sends more is not Writ. */
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
  let rest = ''
  let data: string[] = []
  let size = 0
  let id: string | undefined
  let event = ''
  for await (const chunk of chunks) {
    rest += decoder.decode(chunk, { stream: true })
    for (;;) {
      const end = /\r\n|\n|\r/.exec(rest)
      // a lone CR at the end may be half of CRLF
      if (!end || (end[0] === '\r' && end.index === rest.length - 1)) break
      const line = rest.slice(0, end.index)
      rest = rest.slice(end.index + end[0].length)
      if (line === '') {
        if (data.length > 0) yield { id, event: event === '' ? 'message' : event, data: data.join('\n') }
        data = []
        size = 0
        event = ''
        continue
      }
      if (line.startsWith(':')) {
        yield undefined
        continue
      }
      const colon = line.indexOf(':')
      const field = colon === -1 ? line : line.slice(0, colon)
      const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '')
      if (field === 'data') {
        size += value.length
        data.push(value)
      } else if (field === 'event') event = value
      else if (field === 'id' && !value.includes('\0')) id = value
    }
    if (rest.length + size > EVENT_MOST)
      throw new WritClientError('ERR_PROTOCOL', 'an event of the stream is too long')
  }
}
