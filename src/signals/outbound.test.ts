import assert from 'node:assert/strict'
import type { RequestListener } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createServer as createTcpServer } from 'node:net'
import test from 'node:test'
import fc from 'fast-check'
import { isPublicAddress } from './addresses.ts'
import type { OutboundOptions } from './outbound.ts'
import { outbound } from './outbound.ts'
import { reasonOf } from './sink.ts'

const options: OutboundOptions = { allowPrivate: false, timeout: 60_000, maxBytes: 1_000 }

async function listening(answer: RequestListener): Promise<{ port: number } & AsyncDisposable> {
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

test('B3 only addresses of the public Internet are public', () => {
  const own = (
    '0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 ' +
    '172.31.255.255 192.0.0.8 192.168.1.1 198.18.0.1 224.0.0.1 255.255.255.255 :: ::1 [::1] ' +
    '::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1 fc00::1 fd12::1 fe80::1 fe80::1%eth0 ff02::1 ' +
    '2001:db8::1 2002:7f00:1:: 2001::1 100::1 localhost 127.1 2130706433 0x7f000001'
  ).split(' ')
  for (const address of [...own, '']) assert.equal(isPublicAddress(address), false, address)
  for (const address of ['8.8.8.8', '1.1.1.1', '172.32.0.1', '193.0.0.1', '2606:4700::1111', '2a00:1450::1'])
    assert.equal(isPublicAddress(address), true, address)
})

test('B3 an address that is not public is refused before anything is sent, however it is written', async () => {
  let calls = 0
  await using server = await listening((_request, answer) => {
    calls += 1
    answer.end()
  })
  for (const host of [
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f.1',
    '0177.0.0.1',
    '[::1]',
    '[::ffff:127.0.0.1]',
  ]) {
    const url = new URL(`http://${host}:${server.port}/`)
    await assert.rejects(outbound(url, { method: 'POST', body: 'x' }, options), /not public/, host)
  }
  const named = new URL(`http://hooks.example:${server.port}/`)
  for (const addresses of [['127.0.0.1'], ['8.8.8.8', '127.0.0.1'], ['127.0.0.1', '8.8.8.8']]) {
    const lookup = async () => addresses.map((address) => ({ address, family: 4 }))
    await assert.rejects(outbound(named, { method: 'GET' }, { ...options, lookup }), /not public/)
  }
  assert.equal(calls, 0)
})

test('B3 a name that changes its mind gains nothing: the address that was judged is the one that is reached', async () => {
  await using server = await listening((_request, answer) => answer.end('here'))
  let looked = 0
  const lookup = async () => {
    looked += 1
    return [{ address: '127.0.0.1', family: 4 }]
  }
  const url = new URL(`http://hooks.example:${server.port}/`)
  const { body } = await outbound(url, { method: 'GET' }, { ...options, allowPrivate: true, lookup })
  assert.equal(Buffer.from(body).toString(), 'here')
  assert.equal(looked, 1)
})

test('B3 redirects are not followed, long answers are cut off, slow ones given up', async () => {
  const allowed = { ...options, allowPrivate: true }
  await using elsewhere = await listening((_request, answer) => answer.end('inside'))
  await using server = await listening((request, answer) => {
    if (request.url === '/away') {
      answer.writeHead(302, { location: `http://127.0.0.1:${elsewhere.port}/` }).end()
    } else if (request.url === '/long') answer.end('x'.repeat(1_001))
    // the rest is never answered
  })
  const at = (path: string) => new URL(`http://127.0.0.1:${server.port}${path}`)
  assert.equal((await outbound(at('/away'), { method: 'GET' }, allowed)).status, 302)
  await assert.rejects(outbound(at('/long'), { method: 'GET' }, allowed), /longer than 1000 bytes/)
  const late = outbound(at('/never'), { method: 'GET' }, { ...allowed, timeout: 50 })
  await assert.rejects(late, (error) => reasonOf(error) === 'it did not answer in time')
})

test(
  'B3 no answer, however wrong, is waited for beyond the time that it has, or ends more than its own request',
  { timeout: 180_000 },
  async () => {
    const head = 'HTTP/1.1 200 OK\r\n'
    const drip = (socket: Socket, text: string): void => {
      const timer = setInterval(() => socket.write(text), 5)
      socket.on('close', () => clearInterval(timer))
    }
    const answers: Readonly<Record<string, (socket: Socket) => void>> = {
      'another protocol': (socket) =>
        socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nx'),
      'hints and nothing else': (socket) => drip(socket, 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'),
      'a head without end': (socket) => {
        socket.write(head)
        drip(socket, 'a: b\r\n')
      },
      'a body without end': (socket) => {
        socket.write(`${head}content-length: 900\r\n\r\n`)
        drip(socket, 'x')
      },
      'a body that is cut': (socket) => socket.end(`${head}content-length: 900\r\n\r\nabc`),
      'a chunk that is none': (socket) =>
        socket.write(`${head}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\nZZ\r\n`),
      'an extension without end': (socket) =>
        socket.write(`${head}transfer-encoding: chunked\r\n\r\n1;${'x'.repeat(1_000_000)}`),
      'more than it said': (socket) => {
        socket.write(`${head}content-length: 2\r\n\r\nokHTTP/9 and more`)
        // in turns, not in time: in one of them it was read
        const reset = (turns: number): void =>
          void setImmediate(() => (turns > 0 ? reset(turns - 1) : socket.resetAndDestroy()))
        reset(50)
      },
      'a head too long': (socket) => socket.write(`${head}a: ${'b'.repeat(40_000)}\r\n\r\n`),
      'no head': (socket) => socket.end('hello'),
      nothing: (socket) => socket.end(),
    }
    for (const [name, answer] of Object.entries(answers)) {
      const sockets: Socket[] = []
      const server = createTcpServer((socket) => {
        sockets.push(socket)
        socket.on('error', () => undefined).once('data', () => answer(socket))
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const { port } = server.address() as AddressInfo
      const asked = outbound(
        new URL(`http://127.0.0.1:${port}/`),
        { method: 'GET' },
        { ...options, allowPrivate: true, timeout: name === 'more than it said' ? 60_000 : 150 },
      )
      // what was whole before it went wrong counts
      if (name === 'more than it said') assert.equal(Buffer.from((await asked).body).toString(), 'ok')
      else await assert.rejects(asked, (error) => error instanceof Error && error.message !== '', name)
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    }
  },
)

test('a URL with credentials or of another kind is refused', async () => {
  for (const url of ['ftp://hooks.example/', 'file:///etc/passwd', 'https://a:b@hooks.example/'])
    await assert.rejects(outbound(new URL(url), { method: 'GET' }, options), { name: 'SinkError' })
})

test('B3 no spelling of an IPv4 address inside IPv6 is public', () => {
  fc.assert(
    fc.property(fc.ipV4(), (address) => {
      assert.equal(isPublicAddress(`::ffff:${address}`), false)
      assert.equal(isPublicAddress(`64:ff9b::${address}`), false)
      assert.equal(isPublicAddress(`::${address}`), false)
    }),
  )
})
