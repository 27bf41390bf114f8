import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { SigningKey } from '../../../test/support/issuer.ts'
import { TestIssuer, publicJwk, testKey, testVerifier } from '../../../test/support/issuer.ts'
import { TEST_START, manualClock } from '../../../test/support/store.ts'
import type { IssuerInput } from '../../model/issuer.ts'
import { makeIssuer } from '../../model/issuer.ts'
import { DAY, HOUR, MINUTE, SECOND } from '../../model/time.ts'
import { outboundFetcher } from '../../signals/fetcher.ts'
import type { Fetched, Fetcher } from './fetcher.ts'
import { KEY_FLOOR, createKeySource } from './keys.ts'

const setup = async (more: Partial<IssuerInput> = {}, fetch: Fetcher = outboundFetcher()) => {
  const issuer = await TestIssuer.start()
  const clock = manualClock()
  const source = createKeySource({
    issuer: issuer.config('oidc', more),
    fetch,
    readText: (path) => readFile(path, 'utf8'),
    clock,
  })
  /** What is found, in a word. */
  const find = async (kid = issuer.key.kid): Promise<string> => {
    const found = await source.find('RS256', kid)
    return found.problem ?? 'found'
  }
  return { issuer, clock, source, find }
}

/** Answers as JSON, without a network. */
const canned =
  (answers: Readonly<Record<string, unknown>>, seen: string[] = []): Fetcher =>
  (url) => {
    seen.push(url.href)
    const answer = answers[url.href]
    const reply: Fetched =
      answer === undefined
        ? { failed: 'nothing listens at its address' }
        : typeof answer === 'string'
          ? { status: 302, headers: { location: answer }, body: new Uint8Array() }
          : { status: 200, headers: {}, body: Buffer.from(JSON.stringify(answer)) }
    return Promise.resolve(reply)
  }

describe('keys are fetched once', () => {
  test('many who ask at once wait for one request, and those after them for none', async () => {
    const { issuer, find } = await setup()
    await using _ = issuer
    assert.deepEqual(new Set(await Promise.all(Array.from({ length: 50 }, () => find()))), new Set(['found']))
    for (let i = 0; i < 10; i++) await find()
    assert.deepEqual([issuer.hits.discovery, issuer.hits.keys], [1, 1])
  })
  test('B3 a flood of unknown keys costs one request in ten seconds', async () => {
    const { issuer, clock, find } = await setup()
    await using _ = issuer
    await find()
    const flood = async (): Promise<void> => {
      const found = await Promise.all(Array.from({ length: 200 }, (_, at) => find(`unknown-${at}`)))
      assert.deepEqual(new Set(found), new Set(['unknown']))
    }
    await flood()
    await flood()
    assert.equal(issuer.hits.keys, 2)
    clock.advance(KEY_FLOOR - 1)
    await flood()
    assert.equal(issuer.hits.keys, 2)
    clock.advance(1)
    await flood()
    assert.equal(issuer.hits.keys, 3)
    assert.equal(await find(), 'found')
  })
  test('the first question of all is not asked twice', async () => {
    const { issuer, find } = await setup()
    await using _ = issuer
    assert.equal(await find('unknown'), 'unknown')
    assert.equal(issuer.hits.keys, 1)
  })
  test('a document is fresh for as long as it says, within a minute and an hour', async () => {
    for (const [cacheControl, fresh] of [
      [undefined, 5 * MINUTE],
      ['public, max-age=600', 10 * MINUTE],
      ['max-age=1', MINUTE],
      ['max-age=99999999', HOUR],
      ['no-store', MINUTE],
      ['no-cache, max-age=600', MINUTE],
    ] as const) {
      const { issuer, clock, find } = await setup()
      await using _ = issuer
      issuer.cacheControl = cacheControl
      await find()
      clock.advance(fresh)
      await find()
      assert.equal(issuer.hits.keys, 1, cacheControl)
      clock.advance(1)
      await find()
      assert.equal(issuer.hits.keys, 2, cacheControl)
    }
  })
})

describe('B45 keys rotate', () => {
  test('a new key is found at once, and the old one verifies until it is retired', async () => {
    const { issuer, find } = await setup()
    await using _ = issuer
    const old = issuer.key.kid
    await find()
    issuer.rotate()
    assert.equal(await find(), 'found')
    assert.equal(await find(old), 'found')
    assert.equal(issuer.hits.keys, 2)
  })
  test('a key that the issuer retired is refused after the next reading', async () => {
    const { issuer, clock, find } = await setup()
    await using _ = issuer
    const old = issuer.key.kid
    await find()
    issuer.rotate({ retire: true })
    assert.equal(await find(old), 'found')
    // somebody's token of the new key is enough
    assert.equal(await find(), 'found')
    assert.equal(await find(old), 'unknown')
    clock.advance(HOUR)
    assert.equal(await find(old), 'unknown')
  })
  test('an issuer may retire all its keys', async () => {
    const { issuer, clock, find } = await setup()
    await using _ = issuer
    await find()
    issuer.document = { keys: [] }
    clock.advance(5 * MINUTE + 1)
    assert.equal(await find(), 'unknown')
  })
  test('a key without an id is asked for again when it did not sign, at most once in ten seconds', async () => {
    await using issuer = await TestIssuer.start()
    const bare = (): void => {
      issuer.document = { keys: [publicJwk(issuer.key, { kid: undefined })] }
    }
    const clock = manualClock()
    const verifier = testVerifier([issuer.config('oidc', { stale: HOUR })], { clock })
    const code = async (token = issuer.mint('oidc', {}, { kid: undefined })): Promise<string> =>
      (await verifier.verify(token, TEST_START)).refused?.code ?? 'proved'
    bare()
    const old = issuer.mint('oidc', {}, { kid: undefined })
    assert.equal(await code(), 'proved')
    issuer.rotate({ retire: true })
    bare()
    assert.equal(await code(), 'proved')
    assert.equal(await code(old), 'signature')
    assert.equal(issuer.hits.keys, 2)
    issuer.rotate({ retire: true })
    bare()
    const flood = Array.from({ length: 50 }, () => code())
    assert.deepEqual(new Set(await Promise.all(flood)), new Set(['signature']))
    assert.equal(issuer.hits.keys, 2)
    clock.advance(KEY_FLOOR)
    assert.equal(await code(), 'proved')
    assert.equal(issuer.hits.keys, 3)
    // one that is known by its id is not asked for again: who keeps the id keeps the key
    clock.advance(KEY_FLOOR)
    issuer.document = undefined
    const named = issuer.mint()
    assert.equal(await code(named), 'proved')
    assert.equal(await code(`${named.slice(0, -8)}AAAAAAAA`), 'signature')
    assert.equal(issuer.hits.keys, 4)
  })
  test('an issuer may move its keys, and what it had told of them before is not kept for an hour', async () => {
    const base = 'https://id.example'
    const clock = manualClock()
    const answers: Record<string, unknown> = {
      [`${base}/.well-known/openid-configuration`]: { issuer: base, jwks_uri: `${base}/old` },
      [`${base}/old`]: { keys: [publicJwk(testKey('RS256', 0))] },
      [`${base}/new`]: { keys: [publicJwk(testKey('RS256', 1))] },
    }
    const seen: string[] = []
    const source = createKeySource({
      issuer: makeIssuer({ name: 'id', issuer: base, audiences: ['writ'] }),
      fetch: canned(answers, seen),
      readText: () => Promise.reject(new Error('no files')),
      clock,
    })
    const find = async (key: SigningKey) => (await source.find('RS256', key.kid)).problem ?? 'found'
    assert.equal(await find(testKey('RS256', 0)), 'found')
    answers[`${base}/.well-known/openid-configuration`] = { issuer: base, jwks_uri: `${base}/new` }
    clock.advance(MINUTE)
    assert.equal(await find(testKey('RS256', 1)), 'found')
    assert.equal(await find(testKey('RS256', 0)), 'unknown')
    assert.equal(seen.length, 4)
  })
  test('two keys of one id are none until the issuer has put it right, which is noticed', async () => {
    const { issuer, clock, find } = await setup()
    await using _ = issuer
    const { key } = issuer
    issuer.document = { keys: [publicJwk(key), publicJwk(testKey('RS256', 7), { kid: key.kid })] }
    assert.equal(await find(), 'ambiguous')
    issuer.document = undefined
    clock.advance(KEY_FLOOR)
    assert.equal(await find(), 'found')
  })
  test('a rotation while a reading is under way is not missed', async () => {
    const { issuer, clock, find } = await setup()
    await using _ = issuer
    await find()
    clock.advance(5 * MINUTE + 1)
    let open = (): void => {}
    issuer.gate = new Promise((resolve) => (open = resolve))
    const old = issuer.key.kid
    const before = find(old)
    // the issuer has answered from before the rotation, and the answer is still on its way
    while (issuer.hits.discovery < 2) await new Promise(setImmediate)
    const next = issuer.rotate().kid
    issuer.document = undefined
    const after = Promise.all(Array.from({ length: 20 }, () => find(next)))
    open()
    issuer.gate = undefined
    assert.equal(await before, 'found')
    assert.deepEqual(new Set(await after), new Set(['found']))
    assert.ok(issuer.hits.keys <= 3, String(issuer.hits.keys))
  })
})

describe('B3 an issuer that fails', () => {
  test('known keys serve while it is down, for as long as configured; then nobody is proved', async () => {
    const { issuer, clock, source, find } = await setup({ stale: 2 * HOUR })
    await using _ = issuer
    await find()
    issuer.broken = 'down'
    clock.advance(2 * HOUR)
    assert.equal(await find(), 'found')
    assert.match(source.state().failed ?? '', /cut the connection/)
    clock.advance(1)
    assert.equal(await find(), 'unavailable')
    clock.advance(DAY)
    const found = await source.find('RS256', issuer.key.kid)
    assert.match(found.problem === undefined ? '' : (found.reason ?? ''), /cut the connection/)
    issuer.mend()
    clock.advance(KEY_FLOOR)
    assert.equal(await find(), 'found')
    assert.equal(source.state().failed, undefined)
  })
  test('C12 nobody waits again for one that does not answer while known keys may serve', async () => {
    const { issuer, clock, find } = await setup({ stale: 2 * HOUR })
    await using _ = issuer
    await find()
    issuer.broken = 'down'
    clock.advance(HOUR)
    assert.equal(await find(), 'found')
    let answer = (): void => {}
    issuer.gate = new Promise((resolve) => (answer = resolve))
    issuer.broken = undefined
    clock.advance(KEY_FLOOR)
    // asked once, beside those who come
    assert.deepEqual(await Promise.all([find(), find(), find()]), ['found', 'found', 'found'])
    const old = issuer.key.kid
    issuer.rotate({ retire: true })
    const next = find()
    answer()
    assert.equal(await next, 'found')
    assert.equal(await find(old), 'unknown')
  })
  test('B31 neither a clock set back nor a machine that slept makes keys last', async () => {
    const { issuer, clock, find } = await setup({ stale: HOUR })
    await using _ = issuer
    await find()
    issuer.broken = 'down'
    clock.rewind(DAY)
    clock.advance(HOUR + 1)
    assert.equal(await find(), 'unavailable')
    issuer.mend()
    clock.advance(KEY_FLOOR)
    assert.equal(await find(), 'found')
    issuer.broken = 'down'
    // asleep: the wall clock goes on alone
    clock.rewind(-(HOUR + KEY_FLOOR))
    assert.equal(await find(), 'unavailable')
  })
  test('it is asked again after ten seconds, not by everybody who comes', async () => {
    const { issuer, clock, find } = await setup()
    await using _ = issuer
    issuer.broken = 'error'
    assert.equal(await find(), 'unavailable')
    for (let i = 0; i < 20; i++) await find(`unknown-${i}`)
    assert.equal(issuer.hits.discovery, 1)
    clock.advance(KEY_FLOOR)
    await find()
    assert.equal(issuer.hits.discovery, 2)
  })
  test('every way to fail is a reason, and no key', async () => {
    const reasons = {
      down: /cut the connection/,
      garbled: /not JSON/,
      error: /answered 503/,
      'wrong-issuer': /another issuer/,
      huge: /longer than/,
      crowded: /more than 100 keys/,
    } as const
    for (const [broken, reason] of Object.entries(reasons)) {
      const { issuer, source } = await setup()
      await using _ = issuer
      issuer.broken = broken as keyof typeof reasons
      const found = await source.find('RS256', issuer.key.kid)
      assert.equal(found.problem, 'unavailable', broken)
      assert.match('reason' in found ? (found.reason ?? '') : '', reason)
    }
  })
  test('one that never answers is given up', async () => {
    const quick = outboundFetcher()
    const { issuer, find } = await setup({}, (url, options) => quick(url, { ...options, timeout: 30 }))
    await using _ = issuer
    issuer.broken = 'slow'
    assert.equal(await find(), 'unavailable')
  })
  test('a failing reading never replaces known keys', async () => {
    for (const broken of ['garbled', 'error', 'huge', 'crowded', 'wrong-issuer'] as const) {
      const { issuer, clock, find } = await setup()
      await using _ = issuer
      await find()
      issuer.broken = broken
      clock.advance(HOUR + 1)
      assert.equal(await find(), 'found', broken)
    }
    const { issuer, clock, find } = await setup()
    await using _ = issuer
    await find()
    for (const document of [{}, [], null, 'x', { keys: {} }, { keys: null }]) {
      issuer.document = document
      clock.advance(HOUR + 1)
      assert.equal(await find(), 'found')
    }
  })
})

describe('B3 keys come from where they were said to be', () => {
  const jwks = { keys: [publicJwk(testKey('RS256'))] }
  const kid = testKey('RS256').kid
  const configured = (more: Partial<IssuerInput>) => ({
    issuer: 'https://id.example',
    allowPrivate: false,
    ...more,
  })
  const discovery = (more: object = {}) => ({
    issuer: 'https://id.example',
    jwks_uri: 'https://id.example/keys',
    ...more,
  })
  const WELL_KNOWN = 'https://id.example/.well-known/openid-configuration'

  const ask = async (fetch: Fetcher, more: Partial<IssuerInput> = {}): Promise<string> => {
    const { issuer, source } = await setup(configured(more), fetch)
    await using _ = issuer
    const found = await source.find('RS256', kid)
    return found.problem === undefined ? 'found' : `${found.problem}: ${found.reason ?? ''}`
  }

  test('discovery is followed over two redirects, each judged, and no further', async () => {
    const hops = (count: number): Record<string, unknown> => {
      const answers: Record<string, unknown> = { 'https://id.example/keys': jwks }
      for (let at = 0; at < count; at++) {
        answers[at === 0 ? WELL_KNOWN : `https://hop${at}.example/`] = `https://hop${at + 1}.example/`
      }
      answers[count === 0 ? WELL_KNOWN : `https://hop${count}.example/`] = discovery()
      return answers
    }
    for (const count of [0, 1, 2]) assert.equal(await ask(canned(hops(count))), 'found')
    assert.match(await ask(canned(hops(3))), /answered 302/)
    for (const location of [
      'http://id.example/x',
      'http://169.254.169.254/',
      'ftp://x/',
      'https://u:p@id.example/',
      'http://127.0.0.1/',
      'javascript:0',
      '',
    ]) {
      const seen: string[] = []
      assert.match(await ask(canned({ [WELL_KNOWN]: location }, seen)), /unavailable/, location)
      if (location !== '') assert.deepEqual(seen, [WELL_KNOWN])
    }
  })
  test('a key set that redirects is none', async () => {
    const answers = {
      [WELL_KNOWN]: discovery(),
      'https://id.example/keys': 'https://id.example/more',
      'https://id.example/more': jwks,
    }
    assert.match(await ask(canned(answers)), /answered 302/)
  })
  test('a discovery document may not send us elsewhere than https', async () => {
    for (const jwks_uri of [
      'http://id.example/keys',
      'http://127.0.0.1:1/keys',
      'file:///etc/keys',
      'keys',
      '',
      7,
      undefined,
      'https://u:p@id.example/keys',
    ]) {
      assert.match(await ask(canned({ [WELL_KNOWN]: discovery({ jwks_uri }) })), /no usable `jwks_uri`/)
    }
    for (const issuer of [
      'https://id.example/',
      'https://ID.example',
      'https://evil.example',
      undefined,
      ['https://id.example'],
    ]) {
      assert.match(
        await ask(canned({ [WELL_KNOWN]: discovery({ issuer }), 'https://id.example/keys': jwks })),
        /another issuer/,
      )
    }
  })
  test('a path of the issuer stands before the well-known one', async () => {
    const seen: string[] = []
    await ask(canned({}, seen), { issuer: 'https://id.example/tenant/' })
    assert.deepEqual(seen, ['https://id.example/tenant/.well-known/openid-configuration'])
  })
  test('names that lead into the own network are refused after they were looked up', async () => {
    await using inside = await TestIssuer.start()
    const port = new URL(inside.url).port
    for (const addresses of [
      ['127.0.0.1'],
      ['93.184.216.34', '127.0.0.1'],
      ['10.0.0.1'],
      ['169.254.169.254'],
      ['::1'],
      ['::ffff:127.0.0.1'],
    ]) {
      const lookup = () =>
        Promise.resolve(addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })))
      const uri = `https://rebind.example:${port}/keys`
      assert.match(await ask(outboundFetcher(lookup), { keys: { from: 'uri', uri } }), /not public/)
    }
    assert.equal(inside.hits.connections, 0)
  })
  test('a name that changes its mind between two requests gains nothing', async () => {
    await using inside = await TestIssuer.start()
    const real = outboundFetcher(() => Promise.resolve([{ address: '127.0.0.1', family: 4 }]))
    const port = new URL(inside.url).port
    const uri = `https://id.example:${port}/keys`
    // the first answer came from a public address, the second request is looked up again
    const fetch: Fetcher = (url, options) =>
      url.href === WELL_KNOWN
        ? canned({ [WELL_KNOWN]: discovery({ jwks_uri: uri }) })(url, options)
        : real(url, options)
    assert.match(await ask(fetch), /not public/)
    const redirected: Fetcher = (url, options) =>
      url.href === WELL_KNOWN
        ? canned({ [WELL_KNOWN]: `https://id.example:${port}/` })(url, options)
        : real(url, options)
    assert.match(await ask(redirected), /not public/)
    assert.equal(inside.hits.connections, 0)
  })
  test('an issuer on this machine is asked only where that was allowed', async () => {
    const { issuer, find } = await setup({ allowPrivate: false })
    await using _ = issuer
    assert.equal(await find(), 'unavailable')
    assert.equal(issuer.hits.connections, 0)
  })
  test('nothing is fetched for keys that are configured', async () => {
    const seen: string[] = []
    assert.equal(await ask(canned({}, seen), { keys: { from: 'jwks', keys: jwks.keys } }), 'found')
    const { issuer, find, clock } = await setup({ keys: { from: 'jwks', keys: jwks.keys } }, canned({}, seen))
    await using _ = issuer
    clock.advance(30 * DAY)
    assert.deepEqual([await find(kid), await find('unknown')], ['found', 'unknown'])
    assert.deepEqual(seen, [])
  })
})

test('a SPIFFE bundle in a file is read again as it changes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'writ-bundle-'))
  try {
    const file = join(folder, 'bundle.json')
    const write = (...keys: readonly ReturnType<typeof testKey>[]): void =>
      writeFileSync(
        file,
        JSON.stringify({
          keys: keys.map((key) => publicJwk(key, { use: 'jwt-svid', alg: undefined })),
          spiffe_refresh_hint: 2,
        }),
      )
    await using issuer = await TestIssuer.start()
    const clock = manualClock()
    const source = createKeySource({
      issuer: issuer.config('spiffe', { keys: { from: 'bundle', file } }),
      fetch: canned({}),
      readText: (path) => readFile(path, 'utf8'),
      clock,
    })
    const [first, second] = [testKey('ES256'), testKey('ES256', 1)]
    assert.equal((await source.find('ES256', first.kid)).problem, 'unavailable')
    write(first)
    clock.advance(10 * SECOND)
    assert.equal((await source.find('ES256', first.kid)).problem, undefined)
    write(second)
    assert.equal((await source.find('ES256', second.kid)).problem, undefined)
    assert.equal((await source.find('ES256', first.kid)).problem, 'unknown')
    write(first)
    // never more often than once a minute by itself
    clock.advance(MINUTE)
    assert.equal((await source.find('ES256', second.kid)).problem, undefined)
    clock.advance(1)
    assert.equal((await source.find('ES256', second.kid)).problem, 'unknown')
    rmSync(file)
    clock.advance(HOUR)
    assert.equal((await source.find('ES256', first.kid)).problem, undefined)
    clock.advance(DAY)
    assert.equal((await source.find('ES256', first.kid)).problem, 'unavailable')
  } finally {
    rmSync(folder, { recursive: true })
  }
})
