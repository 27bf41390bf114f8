import assert from 'node:assert/strict'
import test from 'node:test'
import { formatEndorsement, formatNote, formatVerifierKey, signNote } from '../../src/audit/note.ts'
import { hex } from '../../src/store/hash.ts'
import type { KeyPair } from '../../test/support/signed-log.ts'
import { keyPair, leavesOf, SignedLog } from '../../test/support/signed-log.ts'
import { isContinued, parseCheckpoint, parseLogKey } from './checkpoint.ts'
import { isWritClientError } from './error.ts'
import { createWrit } from './writ.ts'
import type { LogKeyInfo, LogOptions } from './log.ts'

const ORIGIN = 'writ/inst_client'

/** A server that shows what it is told to: a log, its size, and its keys. */
class Shown {
  log = new SignedLog(ORIGIN)
  size = 10
  /** What signs; by default the log's own key. */
  signer: KeyPair | undefined
  keys: LogKeyInfo[] | undefined
  readonly asked: string[] = []

  readonly fetch: typeof fetch = (input) => {
    const url = new URL(input instanceof Request ? input.url : input)
    this.asked.push(url.pathname)
    const json = (body: unknown, status = 200): Response =>
      new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json' } })
    const answer = (): Response => {
      switch (url.pathname) {
        case '/log/checkpoint':
          return new Response(this.note())
        case '/v1/log/keys':
          return json({ origin: this.log.origin, epoch: 1, keys: this.keys ?? [info(this.log.pair)] })
        case '/v1/log/consistency': {
          const [from, to] = ['from', 'to'].map((name) => Number(url.searchParams.get(name)))
          if (from === undefined || to === undefined || from > to || to > this.size)
            return json({ code: 'ERR_INPUT_INVALID', title: 'the log has no such size' }, 400)
          return json({ path: this.log.proof(from, to).map(hex) })
        }
        default:
          return json({ items: [] })
      }
    }
    return Promise.resolve(answer())
  }

  note(size = this.size): string {
    const { text } = this.log.head(size)
    const { key, privateKey } = this.signer ?? this.log.pair
    return formatNote({ text, signatures: [signNote(text, key, privateKey)] })
  }
}

const info = (pair: KeyPair, more: Partial<LogKeyInfo> = {}): LogKeyInfo => ({
  vkey: formatVerifierKey(pair.key),
  origin: pair.key.name,
  epoch: 1,
  state: 'current',
  from: 0,
  ...more,
})

function client(shown: Shown, log: LogOptions = {}, now: () => number = () => 0) {
  return createWrit({ url: 'http://writ.example', token: 'x', fetch: shown.fetch, retries: 0, log, now })
}

/** A memory that outlives a client. */
function memory() {
  const kept = new Map<string, string>()
  return {
    kept,
    get: (server: string) => kept.get(server),
    set: (server: string, text: string) => void kept.set(server, text),
  }
}
const refused =
  (code: string, pattern = /./) =>
  (error: unknown): boolean => {
    assert.ok(isWritClientError(error, code), String(error))
    assert.match(error.message, pattern)
    assert.ok(error.hint)
    return true
  }

test('the functions of the client agree with those of the house, for all sizes', async () => {
  const log = new SignedLog(ORIGIN, leavesOf(40))
  for (let first = 0; first <= 40; first++) {
    for (let second = first; second <= 40; second++) {
      const proof = first === second ? [] : log.proof(first, second)
      const texts = proof.map(hex)
      assert.ok(
        await isContinued(first, log.root(first), second, log.root(second), texts),
        `${first} ${second}`,
      )
      if (first === 0) continue
      const other = log.forkedAt(Math.max(0, first - 1))
      assert.ok(!(await isContinued(first, other.root(first), second, log.root(second), texts)))
      if (first < second)
        assert.ok(!(await isContinued(first, log.root(first), second, other.root(second), texts)))
    }
  }
})

test('a checkpoint with any byte changed is refused: B66', async () => {
  const shown = new Shown()
  const note = shown.note()
  const pinned = formatVerifierKey(shown.log.pair.key)
  for (let at = 0; at < note.length; at++) {
    for (const other of [String.fromCharCode(note.charCodeAt(at) ^ 1), '']) {
      const changed = note.slice(0, at) + other + note.slice(at + 1)
      shown.note = () => changed
      await assert.rejects(client(shown, { key: pinned }).log.checkpoint(), `byte ${at}`)
    }
  }
})

test('law 11: a log that grows is followed, and remembered by the next client', async () => {
  const shown = new Shown()
  const kept = memory()
  const first = await client(shown, { memory: kept }).log.checkpoint()
  assert.deepEqual(
    { origin: first.origin, size: first.size, root: first.root },
    { origin: ORIGIN, size: 10, root: shown.log.root(10) },
  )
  shown.size = 25
  assert.equal((await client(shown, { memory: kept }).log.checkpoint()).size, 25)
  assert.match([...kept.kept.values()].join(''), /\\n25\\n/)
  assert.equal((await client(shown, { memory: kept }).log.checkpoint()).size, 25, 'the same again')
})

test('B67 a client that remembers refuses a log that was rolled back, rewritten, or begun anew', async () => {
  const shown = new Shown()
  const kept = memory()
  await client(shown, { memory: kept }).log.checkpoint()
  const before = [...kept.kept.values()]
  const again = (): Promise<unknown> => client(shown, { memory: kept }).log.checkpoint()

  shown.size = 9
  await assert.rejects(again(), refused('ERR_LOG_CONTRADICTED', /9 entries, and 10 were seen/))
  const { log } = shown
  shown.log = log.forkedAt(9)
  for (shown.size of [10, 12, 33])
    await assert.rejects(again(), refused('ERR_LOG_CONTRADICTED', /not those seen before/))
  shown.log = new SignedLog(`${ORIGIN}/2`)
  await assert.rejects(again(), refused('ERR_LOG_CONTRADICTED', /`writ\/inst_client\/2`/))
  shown.log = new SignedLog(ORIGIN)
  await assert.rejects(again(), refused('ERR_LOG_KEY'), 'another key')
  assert.deepEqual([...kept.kept.values()], before, 'what was refused is not remembered')
  shown.log = log
  shown.size = 12
  await again()
})

test('B67 every read of the record is refused when the log contradicts what was seen', async () => {
  const shown = new Shown()
  const kept = memory()
  await client(shown, { memory: kept }).log.checkpoint()
  shown.size = 4
  const { decisions, log } = client(shown, { memory: kept })
  shown.asked.length = 0
  const reads = [
    () => decisions.list(),
    () => decisions.get('dec_1'),
    () => decisions.explain('dec_1'),
    () => log.head(),
    () => log.entries(0, 4),
  ]
  for (const read of reads) await assert.rejects(read(), refused('ERR_LOG_CONTRADICTED'))
  assert.deepEqual([...new Set(shown.asked)], ['/log/checkpoint'])
})

test('reads that follow one another are checked once in a while, and again when the clock went back', async () => {
  const shown = new Shown()
  let now = 1_000_000
  const { decisions } = client(shown, {}, () => now)
  const checks = (): number => shown.asked.filter((it) => it === '/log/checkpoint').length
  await decisions.list()
  await decisions.list()
  assert.equal(checks(), 1)
  now += 10_000
  await decisions.list()
  assert.equal(checks(), 2)
  now -= 60_000
  await decisions.list()
  assert.equal(checks(), 3)
})

test('checks at the same time do not take each other for a rollback', async () => {
  const shown = new Shown()
  const writ = client(shown)
  const sizes = await Promise.all(
    Array.from({ length: 8 }, (_, i) => {
      shown.size = 10 + i
      return writ.log.checkpoint().then(({ size }) => size)
    }),
  )
  assert.deepEqual(
    sizes,
    sizes.toSorted((a, b) => a - b),
  )
})

test('a pinned key is the only one that is believed', async () => {
  const shown = new Shown()
  const key = formatVerifierKey(shown.log.pair.key)
  assert.equal((await client(shown, { key }).log.checkpoint()).key, key)
  const other = formatVerifierKey(keyPair(ORIGIN, 'log').key)
  await assert.rejects(client(shown, { key: other }).log.checkpoint(), refused('ERR_LOG_KEY'))
  await assert.rejects(client(shown, { key: 'nonsense' }).log.checkpoint(), refused('ERR_INPUT_INVALID'))
  const elsewhere = formatVerifierKey(keyPair('writ/other', 'log').key)
  await assert.rejects(client(shown, { key: elsewhere }).log.checkpoint(), refused('ERR_LOG_CONTRADICTED'))
  assert.equal(await parseLogKey(key.replace(/\+[0-9a-f]{8}\+/, '+00000000+')), undefined)
})

test('a rotation that the old key endorsed is followed, and no other', async () => {
  const shown = new Shown()
  const [old, next, last] = [shown.log.pair, keyPair(ORIGIN, 'log'), keyPair(ORIGIN, 'log')]
  const word = (by: KeyPair, of: KeyPair, signer = by, origin = ORIGIN): { endorsement: string } => {
    const text = formatEndorsement({ origin, size: 12, key: of.key })
    const signature = { ...signNote(text, signer.key, signer.privateKey), name: by.key.name, id: by.key.id }
    return { endorsement: formatNote({ text, signatures: [signature] }) }
  }
  const kept = memory()
  const again = (): Promise<unknown> => client(shown, { memory: kept }).log.checkpoint()
  await again()
  shown.size = 20
  shown.signer = last

  const retired = info(old, { state: 'retired', until: 11 })
  for (const [why, keys] of Object.entries({
    'nobody endorsed them': [retired, info(next), info(last)],
    'endorsed by a key that is not trusted': [retired, info(last, word(next, last))],
    'signed by another key': [retired, info(last, word(old, last, next))],
    'for another log': [retired, info(last, word(old, last, old, 'writ/other'))],
    'endorsed, but it did not sign': [retired, info(next, word(old, next))],
    'a checkpoint is no endorsement': [retired, info(last, { endorsement: shown.note() })],
  })) {
    shown.keys = keys
    await assert.rejects(again(), refused('ERR_LOG_KEY'), why)
  }

  const chain = [info(next, { state: 'retired', ...word(old, next) }), info(last, word(next, last))]
  shown.keys = [info(old, { state: 'compromised', until: 10 }), ...chain]
  await assert.rejects(again(), refused('ERR_LOG_KEY', /compromised/))
  shown.keys = [retired, ...chain]
  await again()
  assert.match([...kept.kept.values()].join(''), new RegExp(last.key.id))
})

test('what cannot be verified is not believed: no Ed25519, a damaged memory, no log', async () => {
  const shown = new Shown()
  const damaged = { get: () => '{', set: () => undefined }
  await assert.rejects(client(shown, { memory: damaged }).log.checkpoint(), refused('ERR_INPUT_INVALID'))
  shown.note = () => '<html>'
  await assert.rejects(client(shown).decisions.list(), { code: 'ERR_PROTOCOL' })
  const own = Object.getOwnPropertyDescriptor(globalThis, 'crypto')
  assert.ok(own)
  const { crypto: real } = globalThis
  const subtle = {
    digest: (...given: Parameters<typeof real.subtle.digest>) => real.subtle.digest(...given),
    importKey: () => Promise.reject(new DOMException('no', 'NotSupportedError')),
  }
  for (const lacking of [{ subtle }, {}]) {
    Object.defineProperty(globalThis, 'crypto', { configurable: true, value: lacking })
    try {
      await assert.rejects(client(new Shown()).log.checkpoint(), refused('ERR_UNSUPPORTED'))
    } finally {
      Object.defineProperty(globalThis, 'crypto', own)
    }
  }
  assert.equal(parseCheckpoint(''), undefined)
})
