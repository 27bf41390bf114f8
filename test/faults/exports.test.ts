import assert from 'node:assert/strict'
import { once } from 'node:events'
import { cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Server, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createServer as createTcp } from 'node:net'
import { join } from 'node:path'
import { setImmediate as breathe } from 'node:timers/promises'
import { describe, test } from 'node:test'
import { fallback, ruleOf } from '../../src/audit/export/ocsf.ts'
import { leafHash, hex } from '../../src/store/hash.ts'
import type { ExportConfig } from '../../src/config/index.ts'
import type { World } from '../support/world.ts'
import { activeGrant, attempt, folderOf, openWorld } from '../support/world.ts'
import { acknowledge, faultWorld, settle, signedIn } from './support.ts'

const common = { format: 'entries', from: 'start', timeout: 60_000, batch: 500 } as const

type Sent = Readonly<{ seq: number; leaf: string; entry?: Readonly<Record<string, unknown>> }>

const parsed = (text: string): Sent[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Sent)

const closing = (server: Server): AsyncDisposable => ({
  async [Symbol.asyncDispose]() {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  },
})

/** Until every export has all that the log has. */
async function exported(world: World): Promise<void> {
  for (;;) {
    const { size } = await world.app.flows.head()
    if (world.app.flows.exports.states().every(({ next }) => next >= size)) return
    await breathe()
  }
}

async function isTheLog(world: World, sent: readonly Sent[]): Promise<void> {
  const { size } = await world.app.flows.head()
  assert.deepEqual(
    sent.map(({ seq }) => seq),
    Array.from({ length: size }, (_, seq) => seq),
  )
  for (let at = 0; at < size; at += 500) {
    for (const entry of await world.app.store.log.entries(at, Math.min(size, at + 500))) {
      assert.ok('bytes' in entry)
      assert.equal(sent[entry.seq]?.leaf, hex(leafHash(entry.bytes)))
    }
  }
}

describe('exports of a running Writ', () => {
  test('B46 C12 while a sink hangs 1,000 decisions and a revocation go through, and later it has everything in order', async () => {
    const held: ServerResponse[] = []
    let hanging = true
    const bodies: string[] = []
    const server = createServer((request, response) => {
      let body = ''
      request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk))
      request.on('end', () => {
        if (hanging) return void held.push(response)
        bodies.push(body)
        response.end()
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    await using _ = closing(server)
    const { port } = server.address() as AddressInfo
    const url = `http://127.0.0.1:${port}/`
    const folder = folderOf('exports')
    const path = join(folder, 'audit.ndjson')
    const exports: ExportConfig[] = [
      { ...common, id: 'siem', kind: 'http', url, header: 'authorization' },
      { ...common, id: 'disk', kind: 'file', path, rotateAt: 1e9 },
    ]
    await using world = await openWorld({ folder, http: false, config: { exports } })
    const { flows } = world.app
    const { grant } = await activeGrant(world)
    while (held.length === 0) await breathe()

    const read = attempt('Agent/migrator', 'read', 'Document/handbook')
    for (let round = 0; round < 20; round += 1) {
      const decided = await Promise.all(
        Array.from({ length: 50 }, () => flows.evaluate(world.migrator, read)),
      )
      assert.ok(decided.every(({ outcome }) => outcome === 'permit'))
    }
    const narrowed = await flows.revokeGrant(world.ada, grant, 'enough')
    assert.deepEqual([narrowed.denied, narrowed.recorded], [true, true])
    assert.equal(bodies.length, 0)
    const [siem] = flows.exports.states()
    assert.ok(siem?.id === 'siem' && siem.next === 0 && siem.behind > 1_000)
    assert.equal(flows.exports.mayPrune(0), false)

    hanging = false
    for (const response of held) response.writeHead(503).end()
    await exported(world)
    await isTheLog(world, parsed(bodies.join('')))
    await isTheLog(world, parsed(readFileSync(path, 'utf8')))
    assert.equal(flows.exports.mayPrune((await flows.head()).size - 1), true)
  })

  test('C1 a restart goes on where it stood, on the record with what was configured', async () => {
    const folder = folderOf('exports')
    const path = join(folder, 'audit.ndjson')
    const exports: ExportConfig[] = [{ ...common, id: 'disk', kind: 'file', path, rotateAt: 1e9 }]
    let world = await openWorld({ folder, http: false, config: { exports } })
    await exported(world)
    world = await world.restart()
    await activeGrant(world)
    await exported(world)
    const sent = parsed(readFileSync(path, 'utf8'))
    await isTheLog(world, sent)
    const configured = sent.find(({ entry }) => entry?.['kind'] === 'server.started')?.entry?.['authority']
    assert.deepEqual((configured as { exports: unknown }).exports, [
      { id: 'disk', kind: 'file', format: 'entries', to: path },
    ])
    await world[Symbol.asyncDispose]()
  })

  test('B43 no secret leaves in any form, and every entry of a whole story is mapped', async () => {
    const folder = folderOf('exports')
    const token = 'canary-collector'
    writeFileSync(join(folder, 'token'), `${token}\n`)
    const seen: string[] = []
    const server = createServer((request, response) => {
      seen.push(request.headers.authorization ?? '')
      request.resume()
      request.on('end', () => response.end())
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    await using _ = closing(server)
    const formats = ['ocsf', 'cloudevents', 'entries'] as const
    const exports: ExportConfig[] = [
      ...formats.map((format): ExportConfig => ({
        ...common,
        id: format,
        format,
        kind: 'file',
        path: join(folder, format),
        rotateAt: 1e9,
      })),
      {
        ...common,
        id: 'siem',
        kind: 'http',
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/key/canary-path?key=canary-query`,
        header: 'authorization',
        tokenFile: join(folder, 'token'),
      },
    ]
    const logged: unknown[] = []
    await using world = await faultWorld({
      folder,
      targets: true,
      config: { exports },
      log: (...line) => logged.push(line),
    })
    const { flows } = world.app
    const { grant, task } = await activeGrant(world)
    const { secret } = await flows.issueCredential(world.migrator, grant)
    await flows.revokeGrant(world.ada, grant, 'enough')
    await flows.endTask(world.migrator, task, 'failed')
    await flows.locks.lock(world.ada, { what: 'subject', about: 'Agent/migrator', reason: 'gone' })
    await flows.signOut(world.hedy)
    await settle(world.app)
    await exported(world)
    assert.ok(seen.includes(`Bearer ${token}`))

    const secrets = [
      ...Object.values(world.tokens),
      token,
      'canary-path',
      'canary-query',
      'canary-admin',
      JSON.stringify(secret?.expose()),
    ]
    const texts = formats.map((format) => readFileSync(join(folder, format), 'utf8'))
    for (const text of [...texts, JSON.stringify(logged)]) {
      for (const one of secrets) assert.equal(text.includes(one), false, `${one} left`)
      assert.doesNotMatch(text, /canary/)
    }
    const kinds = new Set(parsed(texts[2] ?? '').map(({ entry }) => String(entry?.['kind'])))
    assert.ok(kinds.size >= 20, [...kinds].join(' '))
    for (const kind of kinds) assert.notEqual(ruleOf(kind), fallback, kind)
    const { size } = await flows.head()
    for (const text of texts) assert.equal(text.split('\n').length - 1, size)
  })

  test('B75 what is written after a restore is never taken for what a sink had before', async () => {
    const folder = folderOf('exports')
    const path = join(folder, 'audit.ndjson')
    const exports: ExportConfig[] = [
      { ...common, id: 'disk', format: 'cloudevents', kind: 'file', path, rotateAt: 1e9 },
    ]
    let world = await openWorld({ folder, http: false, config: { exports } })
    await exported(world)
    await world.app.stop()
    cpSync(world.config.data, join(folder, 'copy'), { recursive: true })
    world = await world.restart()
    await activeGrant(world)
    await world.app.flows.transparency.checkpoint()
    await exported(world)
    await world.app.stop()
    rmSync(world.config.data, { recursive: true })
    cpSync(join(folder, 'copy'), world.config.data, { recursive: true })
    world = await signedIn(await world.restart())
    await acknowledge(world)
    await activeGrant(world)
    await exported(world)
    const ids = new Map<string, string>()
    const sources = new Set<string>()
    for (const line of readFileSync(path, 'utf8').split('\n').slice(0, -1)) {
      const { source, id, writleaf } = JSON.parse(line) as Record<'source' | 'id' | 'writleaf', string>
      sources.add(source)
      assert.equal(ids.get(`${source} ${id}`) ?? writleaf, writleaf, `two entries are ${source} ${id}`)
      ids.set(`${source} ${id}`, writleaf)
    }
    const { installation } = world.app
    assert.deepEqual([...sources], [`writ/${installation}`, `writ/${installation}/2`])
    assert.equal(world.app.flows.transparency.origin(), `writ/${installation}/2`)
    await world[Symbol.asyncDispose]()
  })

  test('B46 what is behind is said at /readyz to whoever may read, and goes away', async () => {
    const folder = folderOf('exports')
    const path = join(folder, 'later', 'audit.ndjson')
    const sockets: Socket[] = []
    const silent = createTcp({ allowHalfOpen: true }, (socket) => sockets.push(socket))
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const exports: ExportConfig[] = [
      { ...common, id: 'disk', kind: 'file', path, rotateAt: 1e9 },
      {
        ...common,
        id: 'syslog',
        kind: 'syslog',
        timeout: 50,
        host: '127.0.0.1',
        port: (silent.address() as AddressInfo).port,
      },
    ]
    await using world = await openWorld({ folder, config: { exports } })
    const ready = async (token?: string): Promise<{ status: string; problems?: string[] }> =>
      (await (
        await fetch(`${world.app.url}/readyz`, {
          headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        })
      ).json()) as { status: string; problems?: string[] }
    let problems: readonly string[] = []
    while (problems.length < 2)
      problems = ((await ready(world.tokens.ada)).problems ?? []).filter((text) => text.startsWith('export'))
    assert.match(
      problems.join('\n'),
      /^export `disk` is \d+ entries behind since 20\d\d-.*Z: its folder or a file it needs does not exist$/m,
    )
    assert.match(
      problems.join('\n'),
      /^export `syslog` is \d+ entries behind since .*: it did not answer in time$/m,
    )
    assert.equal((await ready()).problems, undefined)
    assert.equal(existsSync(path), false)
    for (const socket of sockets) socket.destroy()
    silent.close()
  })
})
