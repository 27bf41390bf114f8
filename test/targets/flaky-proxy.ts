/**
 * A TCP proxy before a database that cuts the line at a chosen message of its client.
 *
 * @module
 */
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { connect, createServer } from 'node:net'

export type FlakyProxy = AsyncDisposable &
  Readonly<{
    port: number
    /** Cuts every line when the client sends its `messages`-th chunk from now on. */
    failAfter(messages: number): void
  }>

/** `keep`: whether the last request still reaches the server, its answer being lost, or not even that. */
export async function flakyProxy(
  server: Readonly<{ host: string; port: number }>,
  lost: 'the request' | 'the answer',
): Promise<FlakyProxy> {
  let left = Infinity
  const sockets = new Set<Socket>()
  const proxy = createServer((client) => {
    const upstream = connect(server.port, server.host)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => {}) // a cut line is the purpose
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        if (!cut) upstream.destroy()
      })
    }
    let cut = false
    client.on('data', (chunk) => {
      if (cut) return
      left--
      if (left > 0) {
        upstream.write(chunk)
        return
      }
      cut = true
      if (lost === 'the request') upstream.destroy()
      else upstream.end(chunk) // the server reads it, acts, and finds nobody to tell
      client.destroy()
    })
    upstream.on('data', (chunk) => {
      if (!cut) client.write(chunk)
    })
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  return {
    port: (proxy.address() as AddressInfo).port,
    failAfter: (messages) => (left = messages),
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      proxy.close()
      await once(proxy, 'close')
    },
  }
}
