import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { open } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import { createServer as createTls } from 'node:https'
import type { AddressInfo, Server, Socket } from 'node:net'
import { createServer as createTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { createServer as createTlsTcp } from 'node:tls'
import { testCertificate, testKey } from '../../test/support/tls.ts'
import { fileSink } from './file-sink.ts'
import { httpSink } from './http-sink.ts'
import type { Batch, Line } from './sink.ts'
import { SinkError, reasonOf } from './sink.ts'
import { frame, syslogSink } from './syslog-sink.ts'

const line = (seq: number, text = `{"seq":${seq}}`): Line => ({
  seq,
  kind: 'decision',
  time: '2026-11-22T17:01:09.143Z',
  severity: 6,
  text,
})
const batchOf = (...seqs: number[]): Batch => ({
  id: `inst_a-${seqs[0]}-${seqs.at(-1)}`,
  lines: seqs.map((seq) => line(seq)),
})
const patience = (): AbortSignal => AbortSignal.timeout(120_000)

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

function folder(): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), 'writ-sink-'))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}

describe('a file', () => {
  test('has every line once, in order', async () => {
    using at = folder()
    const path = join(at.path, 'audit.ndjson')
    const sink = fileSink({ path, rotateAt: 1e6 })
    await sink.send(batchOf(0, 1), patience())
    await sink.send(batchOf(2), patience())
    assert.equal(readFileSync(path, 'utf8'), '{"seq":0}\n{"seq":1}\n{"seq":2}\n')
  })

  test('C1 half a line that a crash left is gone before the next', async () => {
    using at = folder()
    const path = join(at.path, 'audit.ndjson')
    const sink = fileSink({ path, rotateAt: 1e6 })
    await sink.send(batchOf(0), patience())
    appendFileSync(path, `{"seq":1,"${'x'.repeat(200_000)}`)
    await sink.send(batchOf(1), patience())
    assert.equal(readFileSync(path, 'utf8'), '{"seq":0}\n{"seq":1}\n')
    appendFileSync(path, '\u0000'.repeat(70_000))
    await sink.send(batchOf(2), patience())
    assert.equal(readFileSync(path, 'utf8'), '{"seq":0}\n{"seq":1}\n{"seq":2}\n')
  })

  test('that holds something else is left as it is', async () => {
    using at = folder()
    for (const content of ['a key without an end of line', '\u0000\u0001', '{"seq":0}\n{"seq":1}\nnotes']) {
      const path = join(at.path, 'mistaken')
      writeFileSync(path, content)
      await assert.rejects(
        fileSink({ path, rotateAt: 1e6 }).send(batchOf(0), patience()),
        /its file holds something else/u,
      )
      assert.equal(readFileSync(path, 'utf8'), content)
    }
  })

  test('is put aside when it is large, and nothing of it is lost', async () => {
    using at = folder()
    const sink = fileSink({ path: join(at.path, 'audit.ndjson'), rotateAt: 25 })
    for (const seq of [0, 1, 2, 3, 4]) await sink.send(batchOf(seq), patience())
    const files = readdirSync(at.path).toSorted()
    assert.deepEqual(files, ['audit.ndjson', 'audit.ndjson.000001', 'audit.ndjson.000002'])
    const read = (name: string): string => readFileSync(join(at.path, name), 'utf8')
    assert.equal(
      [...files.slice(1), 'audit.ndjson'].map(read).join(''),
      '{"seq":0}\n{"seq":1}\n{"seq":2}\n{"seq":3}\n{"seq":4}\n',
    )
  })

  test('B68 on a full disk refuses the batch and leaves no half of it', async () => {
    using at = folder()
    const path = join(at.path, 'audit.ndjson')
    let room = 15
    const sink = fileSink({ path, rotateAt: 1e6 }, async (...how) => limited(await open(...how), () => room))
    await sink.send(batchOf(0), patience())
    const full = await sink.send(batchOf(1, 2), patience()).catch((error: unknown) => error)
    assert.equal(reasonOf(full), 'its disk is full')
    assert.equal(readFileSync(path, 'utf8'), '{"seq":0}\n')
    room = 1_000
    await sink.send(batchOf(1, 2), patience())
    assert.equal(readFileSync(path, 'utf8'), '{"seq":0}\n{"seq":1}\n{"seq":2}\n')
  })

  test('a disk that hangs is given up on, and two writes never overlap', async () => {
    using at = folder()
    const path = join(at.path, 'audit.ndjson')
    const gate = Promise.withResolvers<void>()
    const sink = fileSink({ path, rotateAt: 1e6 }, async (...how) => {
      await gate.promise
      return open(...how)
    })
    await assert.rejects(sink.send(batchOf(0), AbortSignal.timeout(5)))
    await assert.rejects(sink.send(batchOf(0), AbortSignal.timeout(5)))
    await sink.close()
    gate.resolve()
    await sink.send(batchOf(1), patience())
    assert.equal(readFileSync(path, 'utf8'), '{"seq":0}\n{"seq":1}\n')
  })

  test('is never written through a link, nor to what is no file', async () => {
    using at = folder()
    const path = join(at.path, 'audit.ndjson')
    symlinkSync(join(at.path, 'elsewhere'), path)
    const link = await fileSink({ path, rotateAt: 1e6 })
      .send(batchOf(0), patience())
      .catch((error: unknown) => error)
    assert.equal(reasonOf(link), 'its path is a link')
    await assert.rejects(
      fileSink({ path: '/dev/null', rotateAt: 1e6 }).send(batchOf(0), patience()),
      /is no file/,
    )
  })
})

/** A file on a disk with `room` bytes in all. */
function limited(file: FileHandle, room: () => number): FileHandle {
  return new Proxy(file, {
    get(target, name) {
      if (name === 'write') {
        return async (bytes: Buffer, at: number, length: number, position: number) => {
          const fits = Math.max(0, Math.min(length, room() - position))
          if (fits === 0) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' })
          return target.write(bytes, at, fits, position)
        }
      }
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}

type Handle = (request: IncomingMessage, response: ServerResponse, body: string) => void

async function endpoint(handle: Handle): Promise<{ url: string } & AsyncDisposable> {
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk))
    request.on('end', () => handle(request, response, body))
  })
  const port = await listening(server)
  return {
    url: `http://127.0.0.1:${port}/in`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

const ndjson = (lines: readonly Line[]): { type: string; body: string } => ({
  type: 'application/x-ndjson',
  body: lines.map(({ text }) => `${text}\n`).join(''),
})

describe('an HTTP endpoint', () => {
  test('is given the batch with its authorization and a signature over it', async () => {
    let seen: { headers: IncomingMessage['headers']; body: string } | undefined
    await using at = await endpoint(({ headers }, response, body) => {
      seen = { headers, body }
      response.writeHead(202).end('thanks')
    })
    const key = Buffer.from('0123456789abcdef0123456789abcdef')
    const sink = httpSink(
      {
        url: at.url,
        header: 'authorization',
        token: () => 'Bearer t',
        webhookSecret: () => `whsec_${key.toString('base64')}`,
      },
      ndjson,
      () => 1_700_000_000_500,
    )
    await sink.send(batchOf(4, 5), patience())
    await sink.close()
    assert.equal(seen?.body, '{"seq":4}\n{"seq":5}\n')
    assert.equal(seen.headers.authorization, 'Bearer t')
    assert.equal(seen.headers['content-type'], 'application/x-ndjson')
    assert.equal(seen.headers['webhook-id'], 'inst_a-4-5')
    const mac = createHmac('sha256', key).update(`inst_a-4-5.1700000000.${seen.body}`).digest('base64')
    assert.equal(seen.headers['webhook-signature'], `v1,${mac}`)
  })

  const refusals: Readonly<Record<string, [Handle, RegExp]>> = {
    'a 500': [(_, response) => response.writeHead(500).end(), /it answered 500/],
    'a redirect, which is not followed': [
      (_, response) => response.writeHead(307, { location: 'http://127.0.0.1:1/' }).end(),
      /it answered 307/,
    ],
    garbage: [({ socket }) => socket.end('what?\r\n\r\n'), /does not speak HTTP|failed/],
    'another protocol': [
      ({ socket }) =>
        socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
      /without an answer/,
    ],
    'a cut connection': [({ socket }) => socket.destroy(), /cut the connection/],
  }
  for (const [name, [handle, why]] of Object.entries(refusals)) {
    test(`B46 ${name} is no acknowledgement`, { timeout: 180_000 }, async () => {
      await using at = await endpoint(handle)
      const sink = httpSink({ url: at.url, header: 'authorization' }, ndjson, () => 0)
      const error = await sink.send(batchOf(0), patience()).catch((cause: unknown) => cause)
      assert.match(reasonOf(error), why)
      await sink.close()
    })
  }

  test('B46 silence is no acknowledgement', async () => {
    await using at = await endpoint(() => undefined)
    const sink = httpSink({ url: at.url, header: 'authorization' }, ndjson, () => 0)
    const error = await sink.send(batchOf(0), AbortSignal.timeout(50)).catch((cause: unknown) => cause)
    assert.equal(reasonOf(error), 'it did not answer in time')
    await sink.close()
  })

  test('what it asks for is heard: later, or less at once', async () => {
    await using at = await endpoint(({ headers }, response) =>
      response.writeHead(headers['content-length'] === '10' ? 429 : 413, { 'retry-after': '7' }).end(),
    )
    const sink = httpSink({ url: at.url, header: 'authorization' }, ndjson, () => 0)
    const busy = await sink.send(batchOf(0), patience()).catch((cause: unknown) => cause)
    assert.ok(busy instanceof SinkError && busy.retryAfter === 7_000 && !busy.tooLarge)
    const large = await sink.send(batchOf(0, 1), patience()).catch((cause: unknown) => cause)
    assert.ok(large instanceof SinkError && large.tooLarge)
    await sink.close()
  })

  test('an answer without end does not undo its yes', async () => {
    await using at = await endpoint((_, response) => {
      response.writeHead(200)
      const more = (): void => {
        while (!response.destroyed && response.write('x'.repeat(65_536))) continue
      }
      response.on('drain', more)
      more()
    })
    const sink = httpSink({ url: at.url, header: 'authorization' }, ndjson, () => 0)
    await sink.send(batchOf(0), patience())
    await sink.close()
  })

  test('C12 an answer that says yes and then nothing more is not waited for', async () => {
    await using at = await endpoint((_, response) => {
      response.writeHead(200).write('{')
    })
    const sink = httpSink({ url: at.url, header: 'authorization' }, ndjson, () => 0)
    const signal = AbortSignal.timeout(30_000)
    await sink.send(batchOf(0), signal)
    assert.equal(signal.aborted, false, 'given up on, the batch would be sent again and again')
    await sink.close()
  })

  test('a certificate that is not trusted is refused, one that is named is not', async () => {
    const server = createTls({ cert: testCertificate, key: testKey }, (_, response) => response.end())
    const url = `https://localhost:${await listening(server)}/`
    const stranger = httpSink({ url, header: 'authorization' }, ndjson, () => 0)
    const error = await stranger.send(batchOf(0), patience()).catch((cause: unknown) => cause)
    assert.equal(reasonOf(error), 'its certificate is not trusted')
    const friend = httpSink({ url, header: 'authorization', ca: testCertificate }, ndjson, () => 0)
    await friend.send(batchOf(0), patience())
    await friend.close()
    server.closeAllConnections()
    server.close()
  })
})

/** Messages by counted octets, as RFC 6587 §3.4.1 has them. */
function messages(bytes: Buffer): string[] {
  const found: string[] = []
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at)
    const length = Number(bytes.subarray(at, space).toString())
    assert.ok(Number.isInteger(length) && space + 1 + length <= bytes.length, 'a frame is cut')
    found.push(bytes.subarray(space + 1, space + 1 + length).toString('utf8'))
    at = space + 1 + length
  }
  return found
}

describe('syslog', () => {
  test('a message is RFC 5424, counted in octets, not characters', () => {
    const text = '{"name":"Ünïcode"}'
    const framed = Buffer.from(frame({ ...line(3, text), severity: 3 }, 'db host\n'))
    assert.deepEqual(messages(framed), [`<107>1 2026-11-22T17:01:09.143Z db_host_ writ - decision - ${text}`])
  })

  for (const tls of [false, true]) {
    test(`a receiver that reads to the end has acknowledged${tls ? ', over TLS' : ''}`, async () => {
      const chunks: Buffer[] = []
      const take = (socket: Socket): void => {
        socket.on('data', (chunk: Buffer) => chunks.push(chunk))
      }
      const server = tls ? createTlsTcp({ cert: testCertificate, key: testKey }, take) : createTcp(take)
      const port = await listening(server)
      const sink = syslogSink({
        host: 'localhost',
        port,
        hostname: 'here',
        ...(tls ? { tls: { ca: testCertificate } } : {}),
      })
      const many = Array.from({ length: 500 }, (_, seq) =>
        line(seq, `{"seq":${seq},"x":"${'y'.repeat(999)}"}`),
      )
      await sink.send({ id: 'x', lines: many }, patience())
      assert.deepEqual(
        messages(Buffer.concat(chunks)).map(
          (text) => (JSON.parse(text.slice(text.indexOf('{'))) as Line).seq,
        ),
        many.map(({ seq }) => seq),
      )
      server.close()
    })
  }

  test('B46 a receiver that resets, or never ends, has not', async () => {
    const resetting = createTcp((socket) => socket.resetAndDestroy())
    const port = await listening(resetting)
    const error = await syslogSink({ host: '127.0.0.1', port, hostname: 'here' })
      .send(batchOf(0), patience())
      .catch((cause: unknown) => cause)
    assert.match(reasonOf(error), /cut the connection/)
    resetting.close()

    const sockets: Socket[] = []
    const silent = createTcp({ allowHalfOpen: true }, (socket) => {
      sockets.push(socket.resume().on('error', () => undefined))
    })
    const late = await syslogSink({ host: '127.0.0.1', port: await listening(silent), hostname: 'here' })
      .send(batchOf(0), AbortSignal.timeout(50))
      .catch((cause: unknown) => cause)
    assert.equal(reasonOf(late), 'it did not answer in time')
    for (const socket of sockets) socket.destroy()
    silent.close()
  })

  test('B46 a receiver that leaves before it has read everything has not', async () => {
    const leaving = createTcp((socket) => {
      socket.once('data', () => {
        socket.destroy()
      })
    })
    const lines = Array.from({ length: 2_000 }, (_, seq) => line(seq, `"${'z'.repeat(9_999)}"`))
    await assert.rejects(
      syslogSink({ host: '127.0.0.1', port: await listening(leaving), hostname: 'here' }).send(
        { id: 'x', lines },
        patience(),
      ),
    )
    leaving.close()
  })

  test('nothing that listens, and a certificate for somebody else, are named', async () => {
    const none = await syslogSink({ host: '127.0.0.1', port: 1, hostname: 'here' })
      .send(batchOf(0), patience())
      .catch((cause: unknown) => cause)
    assert.equal(reasonOf(none), 'nothing listens at its address')

    const other = createTlsTcp({ cert: testCertificate, key: testKey })
    const wrong = await syslogSink({
      host: '127.0.0.1',
      port: await listening(other),
      hostname: 'here',
      tls: { ca: testCertificate },
    })
      .send(batchOf(0), patience())
      .catch((cause: unknown) => cause)
    assert.equal(reasonOf(wrong), 'its certificate is for another name')
    other.close()
  })
})
