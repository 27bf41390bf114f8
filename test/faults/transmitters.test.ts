/**
 * Transmitters over HTTP that lose, hold back, repeat, lie and never stop: what is missing is noticed, what is too much
 * costs nobody else anything, and what they say of themselves is believed no further than it must be.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, test } from 'node:test'
import type { ReceiverConfig } from '../../src/model/signal.ts'
import { HOUR, MINUTE } from '../../src/model/time.ts'
import { outboundFetcher } from '../../src/signals/fetcher.ts'
import { SignalReceivers } from '../../src/signals/ssf/receivers.ts'
import { ssfCodec } from '../../src/wire/ssf/index.ts'
import { testKey } from '../support/issuer.ts'
import { SSF, listenTo, mintSet } from '../support/ssf.ts'
import type { TestStore } from '../support/store.ts'
import { TEST_START, openTestStore, unpruned } from '../support/store.ts'
import type { FakeTransmitter } from '../support/transmitter.ts'
import { fakeTransmitter } from '../support/transmitter.ts'
import { ref } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { attempt, entries, faultWorld, kindsOf, withPolicy } from './support.ts'

/** How Writ listens to `from`, whose keys it finds by itself. */
function hearing(from: Pick<FakeTransmitter, 'url'>, more: Partial<ReceiverConfig> = {}): ReceiverConfig {
  const { keys: _keys, ...config } = listenTo({
    issuer: from.url,
    delivery: 'poll',
    manage: true,
    unsafeHttp: true,
    allowPrivate: true,
    silence: HOUR,
    ...more,
  })
  return config
}

/** Resolves when `what` holds. */
async function until(what: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await what())) await turn()
}

/** Receivers on a store of their own, with verbs that only count. */
async function receiving(...configs: readonly ReceiverConfig[]) {
  const store = await openTestStore()
  const observed: string[] = []
  const it = new SignalReceivers(configs, {
    store,
    codec: ssfCodec,
    clock: store.clock,
    fetch: outboundFetcher(),
    verbs: {
      observe: async (_source, by) => void observed.push(by),
      endSessions: async () => ({ sessions: 0, tokens: 0, grants: 0 }),
    },
    readText: async () => 'canary-token',
    pushUrl: () => undefined,
    randomBytes: (size) => new Uint8Array(size).fill(7),
    jitter: () => 0,
    log: () => undefined,
  })
  await it.recover()
  return Object.assign(it, {
    store,
    observed,
    async [Symbol.asyncDispose]() {
      await it.stop()
      await store[Symbol.asyncDispose]()
    },
  })
}

const risk = { principal: 'USER', current_level: 'HIGH' }

async function logged(store: TestStore, kind: string): Promise<readonly Record<string, unknown>[]> {
  const { size } = await store.log.head()
  return unpruned(await store.log.entries(0, Math.min(size, 1_000)))
    .map((entry) => JSON.parse(Buffer.from(entry.bytes).toString()) as Record<string, unknown>)
    .filter((entry) => entry['kind'] === kind)
}

describe('B54 what does not arrive', () => {
  const policies = withPolicy(`
@id("look") permit (principal, action == Action::"look", resource)
when { context.live has posture && context.live.posture.compliant };
`)
  const looks = async (world: FaultWorld): Promise<string> => {
    const { outcome } = await world.app.flows.evaluate(
      world.migrator,
      attempt('Agent/migrator', 'look', 'Document/handbook'),
    )
    return outcome
  }
  const verifiedAt = async ({ app, clock }: FaultWorld): Promise<boolean> => {
    const view = await app.store.read([{ kind: 'meta', id: 'signals/idp' }])
    return view.get('meta', 'signals/idp')?.value['verifiedAt'] === clock.wall()
  }

  test('is noticed by the verification that does not come, though other events do; it is an alarm, what was said is unknown, and it recovers', async () => {
    await using idp = await fakeTransmitter(() => TEST_START)
    await using world = await faultWorld({
      policies,
      config: { signals: { receivers: [hearing(idp, { maxAge: 30 * MINUTE })] } },
    })
    const told = (compliant: boolean) =>
      idp.tells(
        'device-compliance-change',
        { current_status: compliant ? 'compliant' : 'not-compliant' },
        { subject: { format: 'opaque', id: 'w-migrator' }, at: world.clock.wall() },
      )
    const { receivers } = world.app.flows.signals
    await until(() => verifiedAt(world))
    await told(true)
    await until(async () => (await looks(world)) === 'permit')
    assert.deepEqual(await world.app.flows.problems(), [])
    // from now on half of it is lost on the way
    idp.answers = false
    world.clock.advance(30 * MINUTE)
    assert.equal(await looks(world), 'deny', 'what it said is too old to be believed')
    assert.deepEqual((await entries(world.app)).findLast(({ kind }) => kind === 'decision')?.['unknown'], [
      'posture',
    ])
    world.clock.advance(30 * MINUTE)
    const late = await told(false)
    await until(() => !idp.waiting.has(late))
    await receivers.tend()
    assert.match((await world.app.flows.problems()).join(), /transmitter `idp` has been silent since/u)
    assert.equal((await kindsOf(world.app)).filter((kind) => kind === 'signal.silent').length, 1)
    idp.answers = true
    await receivers.tend()
    await until(() => verifiedAt(world))
    assert.deepEqual(await world.app.flows.problems(), [])
    assert.equal((await kindsOf(world.app)).filter((kind) => kind === 'signal.heard').length, 1)
    world.clock.advance(MINUTE)
    await told(true)
    await until(async () => (await looks(world)) === 'permit')
  })

  test('is a gap when the stream is gone, of somebody else, or lacks an event, until it is mended', async () => {
    await using idp = await fakeTransmitter(() => TEST_START)
    await using it = await receiving(hearing(idp))
    const gaps = async () => (await logged(it.store, 'signal.gap')).map(({ why }) => why)
    const problems = async () => (await it.problems(it.store.clock.wall())).join()
    await it.tend()
    assert.equal(await problems(), '')
    const is = async (stream: FakeTransmitter['stream'], problem: RegExp): Promise<void> => {
      const before = (await gaps()).length
      idp.stream = stream
      await it.tend()
      assert.match(await problems(), problem)
      assert.equal((await gaps()).length, before + 1)
      idp.stream = {}
      await it.tend()
      assert.equal(await problems(), '')
      assert.equal((await logged(it.store, 'signal.mended')).length, before + 1)
    }
    await is({ events_delivered: [] }, /does not deliver `session-revoked`/u)
    await is({ iss: 'https://evil.example' }, /of another issuer/u)
    await is({ aud: ['https://writ.example/ssf', 'https://other.example'] }, /for another audience/u)
    // one that is gone is made again, and what happened in between is known to be missing
    idp.stream = undefined
    await it.tend()
    assert.equal(await problems(), '')
    assert.match(String((await gaps()).at(-1)), /is disabled: it is no longer there/u)
    // one that is paused is asked to go on
    idp.status = { status: 'paused', reason: 'maintenance' }
    await it.tend()
    assert.equal(idp.status.status, 'enabled')
    assert.match(String((await gaps()).at(-1)), /is paused: maintenance/u)
    assert.equal(await problems(), '')
  })

  test('an answer to a question of before, of nobody, or about another stream verifies nothing', async () => {
    await using idp = await fakeTransmitter(() => TEST_START)
    await using it = await receiving(hearing(idp, { delivery: 'push' }))
    idp.answers = false
    await it.tend().catch(() => undefined)
    const heard = async () =>
      (await it.store.read([{ kind: 'meta', id: 'signals/idp' }])).get('meta', 'signals/idp')?.value
    const answer = (state: string | undefined, stream: string) =>
      mintSet(`${SSF}verification`, state === undefined ? {} : { state }, {
        subject: { format: 'opaque', id: stream },
        claims: { iss: idp.url },
      })
    const push = async (token: string) => it.push('idp', token, undefined)
    assert.deepEqual(await push(await answer('never asked', 'stream-1')), {
      refused: { err: 'invalid_request', description: 'its `state` is not one that was asked for' },
    })
    assert.equal((await heard())?.['verifiedAt'], undefined)
  })
})

describe('B53 one that never stops', () => {
  const forever: Readonly<Record<string, (sets: Readonly<Record<string, string>>, nth: number) => object>> = {
    'sends again what was acknowledged': (sets) => ({ sets }),
    'says that there is more, and has nothing': () => ({ sets: {}, moreAvailable: true }),
    'sends forged ones without end': (_sets, nth) => ({
      sets: Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`forged-${nth}-${at}`, 'a.b.c'])),
      moreAvailable: true,
    }),
  }
  for (const [what, says] of Object.entries(forever)) {
    test(`${what}: it is polled less and less`, async (t) => {
      await using idp = await fakeTransmitter(() => TEST_START)
      const config = hearing(idp, { manage: false, pollUrl: `${idp.url}/poll` })
      await using it = await receiving(config)
      await idp.tells('risk-level-change', risk)
      const sets = Object.fromEntries(idp.waiting)
      let polls = 0
      idp.meddle = (request, response) => {
        if (request.url !== '/poll') return false
        polls += 1
        response.writeHead(200, { 'content-type': 'application/json' })
        response.end(JSON.stringify(says(sets, polls)))
        return true
      }
      // time passes only when it is said so
      t.mock.timers.enable({ apis: ['setTimeout'] })
      const fetch = outboundFetcher()
      const calm = async (): Promise<void> => {
        for (let nth = 0; nth < 10; nth += 1)
          await fetch(new URL(`${idp.url}/nothing`), { timeout: 5_000, maxBytes: 10, allowPrivate: true })
      }
      it.start()
      await until(() => polls >= 1)
      await calm()
      const atOnce = polls
      assert.ok(atOnce <= 3, `${atOnce} polls before any time has passed`)
      for (let second = 0; second < 20; second += 1) {
        t.mock.timers.tick(1_000)
        await calm()
      }
      assert.ok(polls > atOnce, 'it is listened to all the same')
      assert.ok(polls <= 24, `${polls} polls in 20 s`)
      assert.ok((await logged(it.store, 'signal.refused')).length <= 30)
      // what is new and right is heard nonetheless
      idp.meddle = () => false
      const jti = await idp.tells('risk-level-change', { ...risk, current_level: 'LOW' })
      await until(() => {
        t.mock.timers.tick(1_000)
        return it.observed.includes(jti)
      })
      t.mock.timers.reset()
    })
  }

  test('pushes all the time: others’ signals and decisions do not wait for it, and it moves nobody but its own', async () => {
    const subjects = { map: { 'u-grace': ref('Person/grace') } }
    const flooding = listenTo({ rate: 40, subjects })
    const other = listenTo({
      name: 'mdm',
      issuer: 'https://mdm.example',
      subjects: { map: { 'u-hedy': ref('Person/hedy') } },
    })
    await using world = await faultWorld({
      policies: withPolicy('@id("any") permit (principal, action == Action::"look", resource);'),
      config: { signals: { receivers: [flooding, other] } },
    })
    const { signals } = world.app.flows
    const asks = () =>
      world.app.flows.evaluate(world.migrator, attempt('Agent/migrator', 'look', 'Document/handbook'))
    const turnsOf = async (work: () => Promise<unknown>): Promise<number> => {
      let turns = 0
      const over = new AbortController()
      const running = work().finally(() => over.abort())
      while (!over.signal.aborted) {
        await turn()
        turns += 1
      }
      await running
      return turns
    }
    const said = await Promise.all(
      Array.from({ length: 200 }, (_, nth) =>
        mintSet('risk-level-change', risk, {
          at: TEST_START,
          jti: `flood-${nth}`,
          // every fourth is of somebody who is not its own
          subject: { format: 'opaque', id: nth % 4 === 0 ? 'u-hedy' : 'u-grace' },
          ...(nth % 4 === 1 ? { key: { ...testKey('ES256', 7), kid: 'ES256-0' } } : {}),
        }),
      ),
    )
    await asks()
    const calm = await turnsOf(asks)
    const stopping = new AbortController()
    let pushed = 0
    const flood = Promise.all(
      [0, 1, 2, 3].map(async (lane) => {
        for (let nth = lane; !stopping.signal.aborted; nth += 4) {
          await signals.push('idp', said[nth % said.length] ?? '', undefined)
          pushed += 1
        }
      }),
    )
    let most = 0
    for (let nth = 0; nth < 20; nth += 1) most = Math.max(most, await turnsOf(asks))
    const word = await mintSet(
      'session-revoked',
      {},
      {
        at: TEST_START,
        claims: { iss: 'https://mdm.example' },
        subject: { format: 'opaque', id: 'u-hedy' },
      },
    )
    assert.deepEqual(await signals.push('mdm', word, undefined), { taken: true })
    await until(() => pushed > 400)
    stopping.abort()
    await flood
    assert.ok(most <= calm + 4, `${most} turns of the event loop, without the flood ${calm}`)
    const log = await entries(world.app)
    const of = (kind: string) => log.filter((entry) => entry['kind'] === kind)
    assert.ok(of('signal.received').length <= 41)
    const refused = of('signal.refused')
    const forged = refused.filter(({ err }) => err === 'invalid_key').length
    assert.deepEqual([of('signal.flooded').length, forged], [1, 30])
    assert.ok(refused.length - forged <= 30)
    const facts = await world.app.store.list('fact', { limit: 10 })
    assert.deepEqual(
      facts.items.map(({ id }) => id),
      ['risk Person/grace'],
    )
    assert.equal(
      of('session.ended').every(({ person }) => person === 'Person/hedy'),
      true,
    )
  })
})

describe('B52 what a transmitter says of itself', () => {
  test('is believed as far as it is of itself and no weaker, and our token goes to nobody else', async () => {
    await using elsewhere = await fakeTransmitter(() => TEST_START)
    await using idp = await fakeTransmitter(() => TEST_START)
    const token = await mintSet('risk-level-change', risk, { claims: { iss: idp.url } })
    const cases: readonly (readonly [string, Record<string, unknown>, 'taken' | 'again'])[] = [
      ['as it should be', {}, 'taken'],
      // key sets stand at other hosts as well
      ['keys at another host', { jwks_uri: `${elsewhere.url}/jwks` }, 'taken'],
      ['another issuer', { issuer: elsewhere.url }, 'again'],
      ['its issuer with a slash', { issuer: `${idp.url}/` }, 'again'],
      ['no keys', { jwks_uri: undefined }, 'again'],
      ['no URL', { jwks_uri: 'jwks' }, 'again'],
      ['another scheme', { jwks_uri: 'file:///etc/passwd' }, 'again'],
      ['credentials', { jwks_uri: idp.url.replace('//', '//a:b@') }, 'again'],
      ['an endpoint that is none', { configuration_endpoint: 'ftp://127.0.0.1/' }, 'again'],
    ]
    for (const [what, metadata, result] of cases) {
      idp.metadata = metadata
      await using it = await receiving(
        hearing(idp, { delivery: 'push', manage: false, tokenFile: '/run/secrets/token' }),
      )
      const taken = await it.push('idp', token, undefined)
      assert.equal(
        taken?.taken === true ? 'taken' : taken?.again === undefined ? 'refused' : 'again',
        result,
        what,
      )
      assert.equal(it.observed.length, result === 'taken' ? 1 : 0, what)
    }
    assert.deepEqual(elsewhere.asked, ['/jwks'])
    for (const { authorization } of [...elsewhere.headers, ...idp.headers])
      assert.equal(authorization, undefined)
  })

  test('does not count over plain HTTP, from it or for its keys and endpoints', async () => {
    await using idp = await fakeTransmitter(() => TEST_START)
    await using it = await receiving(hearing(idp, { unsafeHttp: false, delivery: 'push', manage: false }))
    const token = await mintSet('risk-level-change', risk, { claims: { iss: idp.url } })
    assert.equal((await it.push('idp', token, undefined))?.refused?.err, 'invalid_issuer')
    assert.deepEqual(idp.asked, [])
    await using managed = await receiving(hearing(idp, { unsafeHttp: false }))
    await managed.tend()
    assert.match((await managed.problems(TEST_START)).join(), /not https/u)
    assert.deepEqual(managed.observed, [])
  })

  test('garbled, endless or nested a million deep ends in a problem and nothing else', async () => {
    await using idp = await fakeTransmitter(() => TEST_START)
    await using it = await receiving(hearing(idp))
    for (const body of [
      '[',
      '['.repeat(1_000_000),
      'x'.repeat(1_000_000),
      '{"issuer":1}',
      '',
      '\u0000',
      'null',
    ]) {
      idp.meddle = (_request, response) => {
        response.writeHead(200, { 'content-type': 'application/json' }).end(body)
        return true
      }
      await it.tend()
      assert.match((await it.problems(TEST_START)).join(), /cannot be looked after/u, body.slice(0, 9))
    }
    idp.meddle = () => false
    await it.tend()
    assert.deepEqual(await it.problems(TEST_START), [])
  })

  test('of whom it speaks is understood wholly or not at all, whatever the format', async () => {
    await using world = await faultWorld({ config: { signals: { receivers: [listenTo()] } } })
    const { signals } = world.app.flows
    const grace = { format: 'opaque', id: 'u-grace' }
    const ada = { format: 'opaque', id: 'u-ada' }
    const subjects: readonly unknown[] = [
      { format: 'account', uri: 'acct:grace@example.com' },
      { format: 'did', url: 'did:example:123' },
      { format: 'uri', uri: 'u-grace' },
      { format: 'phone_number', phone_number: '+12065550100' },
      { format: 'jwt_id', iss: 'https://idp.example', jti: 'u-grace' },
      { format: 'saml_assertion_id', issuer: 'https://idp.example', assertion_id: 'u-grace' },
      { format: 'aliases', identifiers: [grace] },
      { format: 'aliases', identifiers: [grace, ada] },
      { format: 'aliases', identifiers: [ada, { format: 'email', email: 'grace@example.com' }] },
      { format: 'complex', user: grace },
      { format: 'complex', user: grace, device: { format: 'opaque', id: 'd-1' }, session: ada },
      { format: 'complex', user: grace, user_: ada },
      { format: 'Opaque', id: 'u-grace' },
      { format: ['opaque'], id: 'u-grace' },
      { format: 'opaque', id: ['u-grace'] },
      { format: 'opaque' },
      { format: 'opaque', id: '' },
      { format: 'iss_sub', iss: 'https://other.example', sub: 'u-grace' },
      { format: 'iss_sub', iss: 'https://idp.example', sub: 'u-grace' },
      { format: 'email', email: 'u-grace@example.com' },
      { id: 'u-grace' },
      'u-grace',
      null,
    ]
    for (const subject of subjects) {
      // what older drafts had in the event is nobody
      const token = await mintSet(
        'session-revoked',
        { subject: grace },
        { at: TEST_START, claims: { sub_id: subject } },
      )
      const taken = await signals.push('idp', token, undefined)
      assert.equal(taken?.refused?.err, 'invalid_request', JSON.stringify(subject))
    }
    const log = await entries(world.app)
    assert.deepEqual(
      log.filter(({ kind }) => kind === 'session.ended' || kind === 'signal.received'),
      [],
    )
    assert.equal(log.filter(({ kind }) => kind === 'signal.refused').length, subjects.length)
  })

  test('a name that it uses twice hides nothing; the same again is nothing new, after a restart too', async () => {
    await using world = await faultWorld({ config: { signals: { receivers: [listenTo()] } } })
    const { signals } = world.app.flows
    const at = TEST_START
    const push = async (token: string) =>
      assert.deepEqual(await signals.push('idp', token, undefined), { taken: true })
    const calm = await mintSet('session-presented', {}, { at, jti: 'one' })
    const revoked = await mintSet('session-revoked', {}, { at, jti: 'one' })
    const ofAda = await mintSet(
      'session-revoked',
      {},
      { at, jti: 'one', subject: { format: 'opaque', id: 'u-ada' } },
    )
    await push(calm)
    await Promise.all([push(revoked), push(calm)])
    await push(ofAda)
    // signed again, it says the same
    await push(await mintSet('session-revoked', {}, { at, jti: 'one', key: testKey('RS256') }))
    const log = await entries(world.app)
    const received = log.filter(({ kind }) => kind === 'signal.received')
    assert.deepEqual(
      received.map(({ event, subject, outcome }) => [event, subject, outcome]),
      [
        ['session-presented', 'Person/grace', 'ignored'],
        ['session-revoked', 'Person/grace', 'ended'],
        ['session-revoked', 'Person/ada', 'ended'],
      ],
    )
  })
})
