import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { ownPort } from './own-port.ts'

const HOST = '127.0.0.1'

test('a port of one’s own can be listened at again and again, and no other caller has it', async () => {
  const all = await Promise.all(Array.from({ length: 20 }, () => ownPort(HOST)))
  assert.equal(new Set(all.map(({ port }) => port)).size, all.length)
  for (const { port, release } of all) {
    for (let times = 0; times < 3; times += 1) {
      const server = createServer().listen(port, HOST)
      await once(server, 'listening')
      server.close()
      await once(server, 'close')
    }
    release()
  }
})
