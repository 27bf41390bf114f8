/**
 * A server that answers as a test says, for what a real one would not do: garbage, silence, broken connections.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export type Seen = Readonly<{
  method: string
  path: string
  query: URLSearchParams
  headers: IncomingMessage['headers']
  body: unknown
}>

export type Reply =
  | Readonly<{ status?: number; body?: unknown; headers?: Record<string, string>; text?: string }>
  /** Breaks the connection. */
  | 'hang-up'
  /** Never answers. */
  | 'silence'
  /** Handles the response itself. */
  | ((response: ServerResponse) => void)

export type Fake = Readonly<{ url: string; seen: Seen[]; [Symbol.asyncDispose]: () => Promise<void> }>

/** Serves what `answer` gives for each request; the number counts requests to the same method and path. */
export async function fakeServer(answer: (seen: Seen, nth: number) => Reply | Promise<Reply>): Promise<Fake> {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    void respond(request, response)
  })
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://fake')
    let text = ''
    for await (const chunk of request) text += String(chunk)
    const here: Seen = {
      method: request.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      body: text === '' ? undefined : (JSON.parse(text) as unknown),
    }
    const nth = seen.filter((other) => other.method === here.method && other.path === here.path).length
    seen.push(here)
    const reply = await answer(here, nth)
    if (reply === 'silence') return
    if (reply === 'hang-up') {
      request.socket.destroy()
      return
    }
    if (typeof reply === 'function') {
      reply(response)
      return
    }
    response.writeHead(reply.status ?? 200, {
      'content-type': reply.text === undefined ? 'application/json' : 'text/plain',
      ...reply.headers,
    })
    response.end(reply.text ?? (reply.body === undefined ? '' : JSON.stringify(reply.body)))
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
