/**
 * The servers of the HTTP bench, each in a process of its own: `writ`, or the bare door that it is compared with.
 *
 * @module
 */
import fastify from 'fastify'
import type { AddressInfo } from 'node:net'
import { openWorld } from '../test/support/world.ts'
import { durableRow } from './durable.ts'

const stop = process.argv[2] === 'writ' ? await writ() : await bare()
process.on('message', () => {
  void stop().then(() => process.exit(0))
})

async function writ(): Promise<() => Promise<void>> {
  const limits = { body: 262_144, depth: 32, rate: 1_000_000 }
  const world = await openWorld({ config: { limits } })
  process.send?.({ url: world.app.url, token: world.tokens.migrator })
  return () => world[Symbol.asyncDispose]()
}

async function bare(): Promise<() => Promise<void>> {
  const row = durableRow()
  const server = fastify()
  server.post('/access/v1/evaluation', () => {
    row.write()
    return { decision: true }
  })
  await server.listen({ host: '127.0.0.1', port: 0 })
  const { port } = server.server.address() as AddressInfo
  process.send?.({ url: `http://127.0.0.1:${port}`, token: 'none' })
  return async () => {
    await server.close()
    row[Symbol.dispose]()
  }
}
