/**
 * A system that answers with JSON over real HTTP on loopback, in whatever way a test wants it to.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export type JsonServer = AsyncDisposable & {
  readonly url: string
  /** Requests so far, e.g. `/rest/api/2/issue/OPS-7?fields=status`. */
  readonly asked: string[]
  readonly headers: IncomingMessage['headers'][]
  /** What it does from now on. */
  answer: (request: IncomingMessage, response: ServerResponse) => void
}

/** Answers like a well-behaved API. `date` is what it takes for the time. */
export const json =
  (body: unknown, { status = 200, date, headers = {} }: JsonOptions = {}) =>
  (_request: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(status, {
      'content-type': 'application/json',
      ...(date === undefined ? {} : { date: new Date(date).toUTCString() }),
      ...headers,
    })
    response.end(JSON.stringify(body))
  }

type JsonOptions = Readonly<{ status?: number; date?: number; headers?: Readonly<Record<string, string>> }>

export async function jsonServer(answer: JsonServer['answer']): Promise<JsonServer> {
  const asked: string[] = []
  const headers: IncomingMessage['headers'][] = []
  const server = createServer((request, response) => {
    // whoever has a clock says so
    response.sendDate = false
    asked.push(request.url ?? '')
    headers.push(request.headers)
    self.answer(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const self: JsonServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    headers,
    answer,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return self
}
