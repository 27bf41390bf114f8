/** The log for outsiders on a whole Writ: checkpoints, files, HTTP, proofs (B66, B67, law 11). */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as nap } from 'node:timers/promises'
import { createWrit } from '../../client/src/index.ts'
import { formatNote, parseCheckpoint, parseNote, parseVerifierKey, verifyNote } from '../../src/audit/note.ts'
import { isContinued, isIncluded } from '../../src/audit/tree.ts'
import { DAY } from '../../src/model/time.ts'
import { leafHash } from '../../src/store/hash.ts'
import { readLog } from '../support/tile-reader.ts'
import { declare, openWorld } from '../support/world.ts'
import { fails, faultWorld, settle } from './support.ts'

const hex = (text: string): Uint8Array => Buffer.from(text, 'hex')
const sizeOf = (note: string): number => parseCheckpoint(parseNote(note)?.text ?? '')?.size ?? -1

describe('law 11 checkpoints', () => {
  test('one at a time, once per size, never smaller, the mark durable before one leaves', async () => {
    await using world = await faultWorld()
    const { transparency } = world.app.flows
    const mark = join(world.folder, readdirSync(world.folder).find((name) => name.endsWith('.mark')) ?? '')
    const sizes: number[] = []
    transparency.onSigned((note) => {
      const kept = JSON.parse(readFileSync(mark, 'utf8')) as { size: number; origin: string }
      assert.deepEqual([kept.size, kept.origin], [sizeOf(note), transparency.origin()])
      sizes.push(kept.size)
    })
    const together = await Promise.all(Array.from({ length: 50 }, () => transparency.checkpoint()))
    assert.equal(new Set(together).size, 1)
    await Promise.all(
      Array.from({ length: 30 }, async () => {
        await declare(world)
        const { size } = await world.app.store.log.head()
        assert.ok(sizeOf(await transparency.checkpoint({ atLeast: size })) >= size)
      }),
    )
    assert.deepEqual(
      sizes,
      [...new Set(sizes)].toSorted((a, b) => a - b),
    )
    assert.ok(sizes.length < 40)
    await fails(transparency.checkpoint({ atLeast: 1e9 }), 'ERR_INPUT_INVALID')
  })

  test('nothing leaves while the mark cannot be kept, and it is said', async () => {
    await using world = await faultWorld()
    const { transparency } = world.app.flows
    const [mark = ''] = readdirSync(world.folder).filter((name) => name.endsWith('.mark'))
    await declare(world)
    const before = await transparency.checkpoint()
    mkdirSync(join(world.folder, `${mark}.new`))
    await declare(world)
    await fails(transparency.checkpoint(), 'ERR_CONFIG_INVALID')
    await transparency.tick()
    assert.match((await world.app.flows.problems()).join('\n'), /the log is not signed/)
    rmSync(join(world.folder, `${mark}.new`), { recursive: true })
    await transparency.tick()
    assert.deepEqual(await world.app.flows.problems(), [])
    assert.ok(sizeOf(await transparency.checkpoint()) > sizeOf(before))
  })

  test('B58 C2 a full disk keeps nobody from reading: the head that was signed last is still true', async () => {
    const world = await faultWorld({ http: true })
    let app = world.app
    const full = join(
      world.folder,
      `${readdirSync(world.folder).find((name) => name.endsWith('.mark')) ?? ''}.new`,
    )
    const ask = async (): Promise<string> => (await fetch(`${app.url}/log/checkpoint`)).text()
    try {
      await declare(world)
      const before = await ask()
      symlinkSync('/dev/full', full)
      await declare(world)
      await fails(app.flows.transparency.checkpoint(), 'ERR_STORE_FULL')
      assert.equal(await ask(), before)
      await app.flows.transparency.tick()
      assert.match((await app.flows.problems()).join('\n'), /the log is not signed/)
      // also after a start, when nothing that was signed is remembered but the mark
      await app.stop()
      ;({ app } = await world.restart())
      assert.equal(await ask(), before)
      const memory = new Map<string, string>()
      const seen = await createWrit({
        url: app.url,
        token: world.tokens.ada,
        log: { memory: { get: (at) => memory.get(at), set: (at, text) => void memory.set(at, text) } },
      }).log.head()
      assert.ok(seen.size > sizeOf(before))
      // a head that is not backed by a mark is never signed
      assert.equal(sizeOf(before), sizeOf(await ask()))
      rmSync(full)
      assert.ok(sizeOf(await ask()) > sizeOf(before))
    } finally {
      await app.stop()
      rmSync(world.folder, { recursive: true, force: true })
    }
  })

  test('a log that does not continue what was signed is not signed', async () => {
    await using world = await faultWorld()
    const { transparency } = world.app.flows
    await transparency.checkpoint()
    const { log } = world.app.store as { log: { hashes: typeof world.app.store.log.hashes } }
    const { hashes } = log
    await declare(world)
    // somebody has changed the file under the running server
    log.hashes = async (...args) => (await hashes.apply(log, args)).map((hash) => Buffer.from(hash).reverse())
    await fails(transparency.checkpoint(), 'ERR_STORE_CORRUPT')
    log.hashes = hashes
    await transparency.checkpoint()
  })

  test('cosignatures are added to what they are about, once each, and never pass for those of the log', async () => {
    await using world = await faultWorld()
    const { transparency } = world.app.flows
    const note = await transparency.checkpoint()
    const parsed = parseNote(note)
    assert.ok(parsed)
    const witness = { name: 'witness.example', id: '01020304', bytes: Buffer.alloc(72, 1) }
    const posing = { name: transparency.origin(), id: '01020304', bytes: Buffer.alloc(64, 2) }
    const cosigned = formatNote({ text: parsed.text, signatures: [witness, posing] })
    assert.equal(transparency.cosigned(), undefined)
    assert.equal(transparency.addCosignatures(cosigned), 1)
    assert.equal(transparency.addCosignatures(cosigned), 0)
    assert.equal(transparency.addCosignatures(cosigned.replace(parsed.text, `${parsed.text}x\n`)), 0)
    assert.equal(transparency.addCosignatures('no note'), 0)
    const names = parseNote(await transparency.checkpoint())?.signatures.map(({ name }) => name)
    assert.deepEqual(names, [transparency.origin(), 'witness.example'])
    // later ones have none yet; the newest cosigned one is still known
    await declare(world)
    assert.equal(parseNote(await transparency.checkpoint())?.signatures.length, 1)
    assert.equal(sizeOf(transparency.cosigned() ?? ''), sizeOf(note))
  })
})

describe('tiles, proofs and keys', () => {
  test('B66 the folder and the HTTP door say the same to a reader of the text of C2SP', async () => {
    await using world = await openWorld({ sweeper: false })
    for (let i = 0; i < 300; i += 1) await declare(world)
    await world.app.flows.transparency.tick()
    const folder = join(world.config.data, 'log')
    const get = (token?: string) => async (path: string) => {
      const response = await fetch(`${world.app.url}/log/${path}`, {
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      })
      return response.ok ? new Uint8Array(await response.arrayBuffer()) : undefined
    }
    const byFolder = await readLog(async (path) => {
      const file = join(folder, path)
      return existsSync(file) ? readFileSync(file) : undefined
    })
    const byHttp = await readLog(get(world.tokens.ada))
    assert.deepEqual([byFolder.fromEntries, byFolder.fromTiles], [byFolder.root, byFolder.root])
    assert.deepEqual([byHttp.fromEntries, byHttp.fromTiles], [byHttp.root, byHttp.root])
    assert.ok(byHttp.size >= byFolder.size && byFolder.size > 300)
    assert.equal(byHttp.origin, world.app.flows.transparency.origin())
    // entries are for who may read
    await assert.rejects(readLog(get()), /tile\/entries\/000 is missing/)
    await assert.rejects(readLog(get(world.tokens.migrator)), /tile\/entries\/000 is missing/)
  })

  test('what is public, how it is cached, and what is refused', async () => {
    await using world = await openWorld({ sweeper: false })
    for (let i = 0; i < 260; i += 1) await declare(world)
    const { size } = await world.app.store.log.head()
    const ask = async (path: string, token?: string) => {
      const response = await fetch(`${world.app.url}${path}`, {
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      })
      await response.arrayBuffer()
      const { status, headers } = response
      return [status, headers.get('content-type'), headers.get('cache-control')]
    }
    const bytes = 'application/octet-stream'
    assert.deepEqual(await ask('/log/checkpoint'), [200, 'text/plain; charset=utf-8', 'no-store'])
    const full = 'max-age=31536000, immutable'
    assert.deepEqual(await ask('/log/tile/0/000'), [200, bytes, `public, ${full}`])
    assert.deepEqual(await ask(`/log/tile/0/001.p/${size - 256}`), [200, bytes, 'public, max-age=3600'])
    assert.deepEqual(await ask('/log/tile/entries/000', world.tokens.ada), [200, bytes, `private, ${full}`])
    for (const [path, status] of [
      [`/log/tile/0/001.p/${Math.min(255, size - 255)}`, 404],
      ['/log/tile/0/001', 404],
      ['/log/tile/1/000', 404],
      ['/log/tile/0/0', 404],
      ['/log/tile/0/000.p/256', 404],
      ['/log/tile/x/000', 400],
      ['/log/tile/0/..%2f..%2fwrit.db', 404],
      ['/log/tile/entries/000', 401],
      [`/v1/log/inclusion?seq=${size}&size=${size}`, 400],
      [`/v1/log/inclusion?seq=0&size=${size + 1}`, 400],
      ['/v1/log/inclusion?seq=0&size=0', 400],
      ['/v1/log/inclusion?seq=-1&size=1', 400],
      ['/v1/log/inclusion?seq=0.5&size=1', 400],
      ['/v1/log/consistency?from=2&to=1', 400],
      [`/v1/log/consistency?from=1&to=${size + 1}`, 400],
      ['/v1/log/consistency?from=1', 400],
    ] as const) {
      assert.equal((await ask(path))[0], status, path)
    }
    const bundle = await ask('/log/tile/entries/000', world.tokens.migrator)
    assert.equal(bundle[0], 403)
    const other = await fetch(`${world.app.url}/log/tile/0/000`, { method: 'POST' })
    assert.equal(other.status, 405)
  })

  test('proofs over HTTP hold, between any two sizes, under the key that is named', async () => {
    await using world = await openWorld({ sweeper: false })
    for (let i = 0; i < 40; i += 1) await declare(world)
    const json = async (path: string): Promise<Record<string, never>> => {
      const response = await fetch(`${world.app.url}${path}`, {
        headers: { authorization: `Bearer ${world.tokens.ada}` },
      })
      assert.equal(response.status, 200, path)
      return (await response.json()) as Record<string, never>
    }
    const keys = (await json('/v1/log/keys')) as unknown as {
      origin: string
      keys: { vkey: string; state: string }[]
    }
    const key = parseVerifierKey(keys.keys.find(({ state }) => state === 'current')?.vkey ?? '')
    assert.ok(key)
    assert.equal(key.name, keys.origin)
    const note = parseNote(await (await fetch(`${world.app.url}/log/checkpoint`)).text())
    assert.ok(note && verifyNote(note, key) !== undefined)
    const { size, root } = parseCheckpoint(note.text) ?? { size: 0, root: '' }
    const entries = await world.app.store.log.entries(0, size)
    for (const seq of [0, 1, 2, 31, 32, 33, size - 1]) {
      const proof = (await json(`/v1/log/inclusion?seq=${seq}&size=${size}`)) as unknown as {
        leaf: string
        path: string[]
        root: string
      }
      const entry = entries[seq]
      assert.ok(entry && 'bytes' in entry)
      assert.ok(isIncluded(leafHash(entry.bytes), seq, size, proof.path.map(hex), hex(root)), `entry ${seq}`)
      assert.deepEqual([proof.leaf, proof.root], [Buffer.from(leafHash(entry.bytes)).toString('hex'), root])
    }
    for (const [from, to] of [
      [1, size],
      [7, 8],
      [16, 33],
      [size, size],
      [20, size],
    ] as const) {
      const proof = (await json(`/v1/log/consistency?from=${from}&to=${to}`)) as unknown as {
        path: string[]
        from_root: string
        to_root: string
      }
      const { path, from_root: before, to_root: after } = proof
      assert.ok(isContinued(from, hex(before), to, hex(after), path.map(hex)), `${from} to ${to}`)
    }
    const empty = (await json(`/v1/log/consistency?from=0&to=${size}`)) as unknown as {
      path: string[]
      to_root: string
    }
    assert.deepEqual([empty.path, empty.to_root], [[], root])
  })

  test('bundles with pruned entries are refused, their tiles are not', async () => {
    await using world = await openWorld({ sweeper: false })
    await declare(world)
    const { size } = await world.app.store.log.head()
    await world.app.store.log.prune([size - 1])
    const ask = (path: string): Promise<Response> =>
      fetch(`${world.app.url}/log/tile/${path}`, { headers: { authorization: `Bearer ${world.tokens.ada}` } })
    const refused = await ask(`entries/000.p/${size}`)
    assert.equal(refused.status, 404)
    assert.match(await refused.text(), /pruned/)
    assert.equal((await ask(`entries/000.p/${size - 1}`)).status, 200)
    assert.equal((await ask(`0/000.p/${size}`)).status, 200)
  })

  test('a new key is made over HTTP by who administers', async () => {
    await using world = await openWorld({ sweeper: false })
    const rotate = (token: string, body: unknown): Promise<Response> =>
      fetch(`${world.app.url}/v1/log/keys/rotate`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
    assert.equal((await rotate(world.tokens.migrator, {})).status, 403)
    assert.equal((await rotate(world.tokens.ada, { compromised: true })).status, 400)
    const answer = await rotate(world.tokens.ada, { reason: 'yearly' })
    assert.equal(answer.status, 200)
    const body = (await answer.json()) as { vkey: string; use: string }
    assert.equal(body.use, 'log')
    assert.equal(world.app.flows.transparency.keys().keys.at(-1)?.vkey, body.vkey)
  })

  test('no files where they are not wanted', async () => {
    await using world = await openWorld({ sweeper: false, http: false, config: { log: { tiles: false } } })
    await world.app.flows.transparency.tick()
    assert.equal(existsSync(join(world.config.data, 'log')), false)
  })

  test('by itself about once a second, and for the last time when it stops', async () => {
    await using world = await openWorld({ http: false })
    const { transparency } = world.app.flows
    const signed = new Promise<string>((resolve) => {
      const forget = transparency.onSigned((note) => {
        forget()
        resolve(note)
      })
    })
    await declare(world)
    const { size } = await world.app.store.log.head()
    assert.ok(sizeOf(await signed) >= size)
    await declare(world)
    const after = await world.app.store.log.head()
    await world.app.stop()
    const note = readFileSync(join(world.config.data, 'log/checkpoint'), 'utf8')
    assert.equal(sizeOf(note), after.size)
  })

  test('what retention prunes vanishes from the files, also when it was stopped in between', async () => {
    await using world = await faultWorld({ config: { log: { retention: 30 * DAY } } })
    for (let i = 0; i < 260; i += 1) await declare(world)
    await world.app.flows.transparency.tick()
    const bundle = join(world.config.data, 'log/tile/entries/000')
    const tile = join(world.config.data, 'log/tile/0/000')
    assert.ok(existsSync(bundle) && existsSync(tile))
    const bytes = readFileSync(bundle)
    world.clock.advance(31 * DAY)
    await settle(world.app)
    await until(
      () => !existsSync(bundle),
      async () => world.app.flows.sweeper.sweep(),
    )
    assert.ok(existsSync(tile))
    await world.app.flows.transparency.tick()
    assert.equal(existsSync(bundle), false)
    writeFileSync(bundle, bytes) // as a crash would have left it
    const again = await world.restart()
    assert.equal(existsSync(bundle), false)
    await again.app.stop()
  })
})

/** Works until it is so: retention goes on in the background and tells nobody when it is done. */
async function until(isSo: () => boolean, work: () => Promise<void>): Promise<void> {
  while (!isSo()) {
    await work()
    await nap(10)
  }
}
