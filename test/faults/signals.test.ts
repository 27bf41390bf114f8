/**
 * Signals of others: who is believed, once, about whom, in whichever order, and what a flood or silence of them does.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { UnsecuredJWT } from 'jose'
import type { Fact } from '../../src/model/fact.ts'
import { factId } from '../../src/model/fact.ts'
import type { ReceiverConfig } from '../../src/model/signal.ts'
import { DAY, HOUR, MINUTE, SECOND } from '../../src/model/time.ts'
import type { Taken } from '../../src/signals/ssf/receiver.ts'
import { mintRaw, publicJwk, testKey } from '../support/issuer.ts'
import { OAuthClient, clientConfig, newKey, tokenConfig, tokenIn } from '../support/oauth.ts'
import { SET_AUDIENCE, SSF, TRANSMITTER, listenTo, mintSet, verification } from '../support/ssf.ts'
import type { SetOptions } from '../support/ssf.ts'
import { TEST_START } from '../support/store.ts'
import { activeGrant, ref } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { entries, faultWorld, kindsOf, sessionFor, withPolicy } from './support.ts'

const listening = (more: Partial<ReceiverConfig> = {}): Promise<FaultWorld> =>
  faultWorld({ config: { signals: { receivers: [listenTo(more)] } } })

async function push(world: FaultWorld, token: string): Promise<Taken> {
  const taken = await world.app.flows.signals.push('idp', token, undefined)
  assert.ok(taken)
  return taken
}

/** Pushes an event of now. */
const tell = async (
  world: FaultWorld,
  event: string,
  payload: Record<string, unknown> = {},
  options: SetOptions = {},
): Promise<Taken> => push(world, await mintSet(event, payload, { at: world.clock.wall(), ...options }))

const of = (entries: readonly Readonly<Record<string, unknown>>[], kind: string) =>
  entries.filter((entry) => entry['kind'] === kind)

async function factOf(world: FaultWorld, id: string): Promise<Fact | undefined> {
  return (await world.app.store.read([{ kind: 'fact', id }])).get('fact', id)?.value
}

async function isSignedIn(world: FaultWorld, caller: { id: string }): Promise<boolean> {
  const id = caller.id.slice('session:'.length)
  const session = (await world.app.store.read([{ kind: 'session', id }])).get('session', id)?.value
  return session !== undefined && session.endedAt === undefined
}

describe('B52 a signal is believed', () => {
  test('if its transmitter signed it for us: sessions of the person end, and nobody else’s', async () => {
    await using world = await listening()
    const again = await sessionFor(world, 'grace')
    assert.deepEqual(await tell(world, 'session-revoked'), { taken: true })
    assert.equal(await isSignedIn(world, world.grace), false)
    assert.equal(await isSignedIn(world, again), false)
    assert.equal(await isSignedIn(world, world.ada), true)
    const log = await entries(world.app)
    const [received] = of(log, 'signal.received')
    assert.deepEqual(
      [
        received?.['transmitter'],
        received?.['event'],
        received?.['subject'],
        received?.['outcome'],
        received?.['sessions'],
      ],
      ['idp', 'session-revoked', 'Person/grace', 'ended', 2],
    )
    assert.ok(of(log, 'session.ended').every(({ by }) => by === 'signal:idp'))
  })

  test('with RS256 as with ES256, for each way to name a subject', async () => {
    await using world = await listening()
    const signed = await tell(
      world,
      'session-revoked',
      {},
      { key: testKey('RS256'), subject: { format: 'email', email: 'grace@example.com' } },
    )
    assert.deepEqual(signed, { taken: true })
    assert.equal(await isSignedIn(world, world.grace), false)
  })

  test('never if anything of it is not exactly right', async () => {
    await using world = await listening()
    const other = testKey('ES256', 7)
    const small = { kid: 'small', alg: 'RS256', ...generateKeyPairSync('rsa', { modulusLength: 1_024 }) }
    const now = Math.floor(TEST_START / 1_000)
    const good = await mintSet('session-revoked')
    const [head = '', body = '', signature = ''] = good.split('.')
    const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, unknown>
    const secret = new TextEncoder().encode(JSON.stringify(publicJwk(testKey('ES256'))))
    const two = { [`${SSF}verification`]: {}, 'https://example.com/e': {} }
    const cases: readonly (readonly [string, string, string])[] = [
      [
        'another key',
        await mintSet('session-revoked', {}, { key: { ...other, kid: 'ES256-0' } }),
        'invalid_key',
      ],
      ['an unknown kid', await mintSet('session-revoked', {}, { key: other }), 'invalid_key'],
      [
        'claims exchanged',
        `${head}.${Buffer.from(JSON.stringify({ ...claims, jti: 'x' })).toString('base64url')}.${signature}`,
        'invalid_key',
      ],
      ['no signature', new UnsecuredJWT(claims).encode(), 'invalid_request'],
      [
        'a shared secret',
        mintRaw({ alg: 'HS256', typ: 'secevent+jwt', kid: 'ES256-0' }, claims, secret),
        'invalid_key',
      ],
      [
        'an algorithm that is not its',
        mintRaw({ alg: 'ES384', typ: 'secevent+jwt' }, claims, testKey('ES384').privateKey),
        'invalid_key',
      ],
      [
        'a short key',
        mintRaw({ alg: 'RS256', typ: 'secevent+jwt', kid: 'small' }, claims, small.privateKey),
        'invalid_key',
      ],
      [
        'an identity token',
        await mintSet('session-revoked', {}, { header: { typ: 'JWT' } }),
        'invalid_request',
      ],
      [
        'no type',
        mintRaw({ alg: 'ES256', kid: 'ES256-0' }, claims, testKey('ES256').privateKey),
        'invalid_request',
      ],
      [
        'crit',
        await mintSet('session-revoked', {}, {}).then(() =>
          mintRaw(
            { alg: 'ES256', typ: 'secevent+jwt', crit: ['x'], x: 1 },
            claims,
            testKey('ES256').privateKey,
          ),
        ),
        'invalid_request',
      ],
      [
        'another issuer',
        await mintSet('session-revoked', {}, { claims: { iss: 'https://evil.example' } }),
        'invalid_issuer',
      ],
      [
        'a spelling of it',
        await mintSet('session-revoked', {}, { claims: { iss: `${TRANSMITTER}/` } }),
        'invalid_issuer',
      ],
      [
        'another audience',
        await mintSet('session-revoked', {}, { claims: { aud: 'https://other.example' } }),
        'invalid_audience',
      ],
      [
        'another audience too',
        await mintSet('session-revoked', {}, { claims: { aud: [SET_AUDIENCE, 'https://other.example'] } }),
        'invalid_audience',
      ],
      [
        'no audience',
        await mintSet('session-revoked', {}, { claims: { aud: undefined } }),
        'invalid_request',
      ],
      ['of tomorrow', await mintSet('session-revoked', {}, { claims: { iat: now + 61 } }), 'invalid_request'],
      ['sub', await mintSet('session-revoked', {}, { claims: { sub: 'u-grace' } }), 'invalid_request'],
      ['exp', await mintSet('session-revoked', {}, { claims: { exp: now + 300 } }), 'invalid_request'],
      [
        'no sub_id',
        await mintSet('session-revoked', {}, { claims: { sub_id: undefined } }),
        'invalid_request',
      ],
      ['no jti', await mintSet('session-revoked', {}, { claims: { jti: undefined } }), 'invalid_request'],
      ['no iat', await mintSet('session-revoked', {}, { claims: { iat: undefined } }), 'invalid_request'],
      ['no event', await mintSet('session-revoked', {}, { claims: { events: {} } }), 'invalid_request'],
      ['two events', await mintSet('session-revoked', {}, { claims: { events: two } }), 'invalid_request'],
      [
        'a level that is none',
        await mintSet('risk-level-change', { principal: 'USER', current_level: 'NONE' }),
        'invalid_request',
      ],
      [
        'a subject with a name that hides',
        await mintSet('session-revoked', {}, { subject: { format: 'opaque', id: 'u-grace\u200b' } }),
        'invalid_request',
      ],
      ['nonsense', 'a.b.c', 'invalid_request'],
      ['nothing', '', 'invalid_request'],
    ]
    for (const [what, token, err] of cases) {
      const taken = await push(world, token)
      assert.equal(taken.refused?.err, err, `${what}: ${JSON.stringify(taken)}`)
    }
    assert.equal(await isSignedIn(world, world.grace), true)
    const refused = of(await entries(world.app), 'signal.refused')
    assert.equal(refused.length, cases.length)
    assert.ok(refused.every(({ transmitter, err }) => transmitter === 'idp' && typeof err === 'string'))
  })

  test('never over plain http, unless this machine alone hears it', async () => {
    const http = 'http://127.0.0.1:9'
    const plain = { issuer: http }
    await using world = await listening(plain)
    const set = { claims: { iss: http } }
    assert.equal((await tell(world, 'session-revoked', {}, set)).refused?.err, 'invalid_issuer')
    await using local = await listening({ ...plain, unsafeHttp: true })
    assert.deepEqual(await tell(local, 'session-revoked', {}, set), { taken: true })
  })

  test('once: what began after it does not end by it, however often it comes, after a restart and after years', async () => {
    await using first = await listening()
    const token = await mintSet('session-revoked', {}, { at: TEST_START, jti: 'once' })
    const both = await Promise.all([push(first, token), push(first, token)])
    assert.deepEqual(both, [{ taken: true }, { taken: true }])
    first.clock.advance(10 * MINUTE)
    const later = await sessionFor(first, 'grace')
    assert.deepEqual(await push(first, token), { taken: true })
    const world: FaultWorld = { ...first, ...(await first.restart()) }
    assert.deepEqual(await push(world, token), { taken: true })
    assert.equal(of(await entries(world.app), 'signal.received').length, 1)
    world.clock.advance(9 * DAY)
    await world.app.flows.sweeper.sweep()
    assert.deepEqual(await push(world, token), { taken: true })
    const ended = of(await entries(world.app), 'session.ended').map(({ session }) => session)
    assert.ok(!ended.includes(later.id.slice('session:'.length)))
    await world.app.stop()
  })

  test('however late: what is older than what happened ends, and nothing that is newer', async () => {
    await using world = await listening()
    const token = await mintSet('session-revoked', {}, { at: TEST_START })
    world.clock.advance(10 * MINUTE)
    const newer = await sessionFor(world, 'grace')
    assert.deepEqual(await push(world, token), { taken: true })
    assert.equal(await isSignedIn(world, world.grace), false)
    assert.equal(await isSignedIn(world, newer), true)
  })

  test('a crash before it was spent has it acted on again, to the same end', async () => {
    let fail = true
    await using world = await listening()
    const { store } = world.app
    const token = await mintSet(
      'risk-level-change',
      { principal: 'USER', current_level: 'HIGH' },
      { at: TEST_START },
    )
    const { SignalReceiver } = await import('../../src/signals/ssf/receiver.ts')
    const { ssfCodec } = await import('../../src/wire/ssf/index.ts')
    const { createKeySource } = await import('../../src/identity/issuers/keys.ts')
    const { makeIssuer } = await import('../../src/model/issuer.ts')
    const config = listenTo()
    const keys = createKeySource({
      issuer: makeIssuer({
        name: 'idp',
        issuer: TRANSMITTER,
        audiences: ['a'],
        algorithms: ['ES256'],
        keys: config.keys as never,
      }),
      fetch: () => Promise.resolve({ failed: 'no network' }),
      readText: () => Promise.reject(new Error('no files')),
      clock: world.clock,
    })
    const broken = {
      ...store,
      log: store.log,
      read: store.read.bind(store),
      list: store.list.bind(store),
      commit: ((item) =>
        fail && JSON.stringify(item.reads).includes('"proof"')
          ? Promise.reject(new Error('crashed'))
          : store.commit(item)) as typeof store.commit,
    }
    const { facts } = world.app.flows
    const verbs = {
      observe: facts.observe.bind(facts),
      endSessions: () => Promise.resolve({ sessions: 0, tokens: 0, grants: 0 }),
    }
    const receiver = new SignalReceiver(config, {
      store: broken,
      codec: ssfCodec,
      inTurn: (work) => work(),
      keys,
      verbs,
    })
    await assert.rejects(receiver.take(token), /crashed/)
    fail = false
    assert.deepEqual(await receiver.take(token), { taken: true })
    assert.equal((await factOf(world, 'risk Person/grace'))?.value?.['level'], 3)
    assert.equal(of(await entries(world.app), 'fact.observed').length, 1)
  })
})

describe('B52 what a signal does', () => {
  test('session-revoked ends grants that were obtained in the session, and the person may sign in again', async () => {
    await using world = await listening()
    await activeGrant(world)
    await tell(world, 'session-revoked', {}, { subject: { format: 'opaque', id: 'u-ada' } })
    assert.equal(await isSignedIn(world, world.ada), false)
    const { code } = { code: await world.app.flows.bootstrapCode('ada', 'dev') }
    assert.ok(code)
    world.clock.advance(2 * MINUTE)
    const redeemed = await world.app.flows.redeem(code.expose())
    assert.equal(redeemed.person.id, 'ada')
  })

  test('session-revoked of a program ends its access tokens, and no other', async () => {
    const program = (id: string, subject: string) => {
      const client = { id, key: newKey(id) }
      return { client, config: clientConfig(client, subject, ['Document/handbook']) }
    }
    const [ci, other] = [program('ci', 'Service/orders-ci'), program('other', 'Agent/migrator')]
    const subjects = { map: { 'w-ci': ref('Service/orders-ci') } }
    await using world = await faultWorld({
      http: true,
      policies: withPolicy('permit (principal, action == Action::"read", resource is Document);'),
      config: {
        tokens: tokenConfig([ci.config, other.config]),
        signals: { receivers: [listenTo({ subjects })] },
      },
    })
    for (const { client } of [ci, other]) {
      const asking = new OAuthClient(client.id, world.app.url, () => world.clock.wall(), client.key)
      tokenIn(await asking.token({ audience: 'Document/handbook', scope: 'read' }, { dpop: false }))
    }
    assert.deepEqual(
      await tell(world, 'session-revoked', {}, { subject: { format: 'opaque', id: 'w-ci' } }),
      { taken: true },
    )
    const { items } = await world.app.store.list('token', { limit: 10 })
    const ended = Object.fromEntries(items.map(({ value }) => [value.client, value.revokedAt !== undefined]))
    assert.deepEqual(ended, { ci: true, other: false })
    const [received] = of(await entries(world.app), 'signal.received')
    assert.equal(received?.['tokens'], 1)
  })

  test('credential-change ends sessions when one is taken away, and says which passkeys stay', async () => {
    await using world = await listening()
    const created = { credential_type: 'fido2-roaming', change_type: 'create' }
    await tell(world, 'credential-change', created)
    assert.equal(await isSignedIn(world, world.grace), true)
    await tell(world, 'credential-change', { ...created, change_type: 'revoke' })
    assert.equal(await isSignedIn(world, world.grace), false)
    const received = of(await entries(world.app), 'signal.received')
    assert.deepEqual(
      received.map(({ outcome, change }) => [outcome, change]),
      [
        ['ignored', 'create'],
        ['ended', 'revoke'],
      ],
    )
  })

  test('posture and risk become facts, with the age that was configured', async () => {
    await using world = await listening({ maxAge: HOUR })
    await tell(world, 'device-compliance-change', {
      previous_status: 'compliant',
      current_status: 'not-compliant',
    })
    await tell(world, 'risk-level-change', {
      principal: 'USER',
      current_level: 'MEDIUM',
      previous_level: 'LOW',
    })
    const posture = await factOf(world, 'posture Person/grace')
    assert.deepEqual(posture?.value, { compliant: false, status: 'not-compliant' })
    assert.deepEqual([posture?.maxAge, posture?.source], [HOUR, 'idp'])
    assert.deepEqual((await factOf(world, 'risk Person/grace'))?.value, { level: 2 })
  })

  test('less assurance and other claims make sessions worse, and nothing makes them better', async () => {
    await using world = await listening()
    const about = factId('session', world.grace.id)
    const change = { namespace: 'RFC8176', current_level: 'pwd', previous_level: 'hwk' }
    await tell(world, 'assurance-level-change', { ...change, change_direction: 'increase' })
    await tell(world, 'token-claims-change', { claims: { role: 'admin' } })
    assert.equal(await factOf(world, about), undefined)
    await tell(world, 'token-claims-change', { claims: { ip_address: '192.0.2.1' } })
    assert.deepEqual((await factOf(world, about))?.value, { addressChanged: true })
    world.clock.advance(SECOND)
    await tell(world, 'assurance-level-change', { ...change, change_direction: 'decrease' })
    world.clock.advance(SECOND)
    await tell(world, 'assurance-level-change', { ...change, change_direction: 'increase' })
    assert.deepEqual((await factOf(world, about))?.value, { addressChanged: true, compromised: true })
    assert.equal(await isSignedIn(world, world.grace), true)
  })

  test('sessions that begin or are shown, and events that nobody knows, are recorded and do nothing', async () => {
    await using world = await listening()
    await tell(world, 'session-established', { fp_ua: 'x' })
    await tell(world, 'session-presented')
    await tell(
      world,
      'https://example.com/events/whatever',
      {},
      { subject: { format: 'opaque', id: 'whoever' } },
    )
    const received = of(await entries(world.app), 'signal.received')
    assert.deepEqual(
      received.map(({ event, outcome }) => [event, outcome]),
      [
        ['session-established', 'ignored'],
        ['session-presented', 'ignored'],
        ['https://example.com/events/whatever', 'ignored'],
      ],
    )
    assert.equal(await isSignedIn(world, world.grace), true)
  })

  test('in whichever order and however often signals come, the same is known and the same has ended', async () => {
    const levels = ['LOW', 'MEDIUM', 'HIGH'] as const
    const event = fc.record({
      at: fc.integer({ min: 0, max: 5 }).map((nth) => nth * 30),
      what: fc.oneof(
        fc
          .constantFrom(...levels)
          .map((current_level) => ['risk-level-change', { principal: 'USER', current_level }] as const),
        fc
          .constantFrom('compliant', 'not-compliant')
          .map((current_status) => ['device-compliance-change', { current_status }] as const),
        fc.constant(['session-revoked', {}] as const),
        fc.constant(['token-claims-change', { claims: { ip: '192.0.2.1' } }] as const),
        fc.constant([
          'assurance-level-change',
          { namespace: 'x', current_level: '1', change_direction: 'decrease' },
        ] as const),
      ),
    })
    const property = fc.asyncProperty(
      fc.array(event, { minLength: 1, maxLength: 6 }).chain((events) =>
        fc.record({
          events: fc.constant(events),
          order: fc.shuffledSubarray([...events.keys(), ...events.keys()], { minLength: 2 * events.length }),
        }),
      ),
      async ({ events, order }) => {
        const outcomes = []
        const tokens = await Promise.all(
          events.map(({ at, what: [kind, payload] }, nth) =>
            mintSet(kind, payload, { at: TEST_START + at * SECOND, jti: `j${nth}` }),
          ),
        )
        for (const arrival of [[...events.keys()], order]) {
          await using world = await listening()
          // some sessions are older than some of what happened, and younger than the rest
          const sessions = [world.grace]
          for (let nth = 0; nth < 3; nth += 1) {
            world.clock.advance(80 * SECOND)
            sessions.push(await sessionFor(world, 'grace'))
          }
          world.clock.advance(MINUTE)
          for (const nth of arrival) assert.deepEqual(await push(world, tokens[nth] ?? ''), { taken: true })
          outcomes.push({
            signedIn: await Promise.all(sessions.map((session) => isSignedIn(world, session))),
            facts: await Promise.all(
              ['risk Person/grace', 'posture Person/grace'].map(
                async (id) => (await factOf(world, id))?.value,
              ),
            ),
            // of those that live: the others are over
            worse: await Promise.all(
              sessions.map(async (session) =>
                (await isSignedIn(world, session))
                  ? (await factOf(world, factId('session', session.id)))?.value
                  : 'over',
              ),
            ),
            received: of(await entries(world.app), 'signal.received').length,
          })
        }
        assert.deepEqual(outcomes[1], outcomes[0])
      },
    )
    await fc.assert(property, { numRuns: process.env['WRIT_SOAK'] === '1' ? 50 : 6 })
  })
})

describe('B53 a transmitter', () => {
  test('speaks of its own subjects alone: everybody else is refused, on the record', async () => {
    await using world = await listening({
      subjects: {
        map: { 'u-grace': ref('Person/grace') },
        template: 'Device/{id}',
        accounts: [{ iss: 'https://hr.example', issuer: 'corp' }],
      },
    })
    const link = { issuer: 'corp', id: '42' }
    await world.app.flows.accounts.link(world.ada, link, ref('Person/hedy'))
    const strangers = [
      { format: 'email', email: 'grace@example.com' },
      { format: 'iss_sub', iss: TRANSMITTER, sub: '42' },
      { format: 'iss_sub', iss: 'https://corp.example', sub: '42' },
      { format: 'email', email: 'u-ada' },
      { format: 'phone_number', phone_number: '+12065550100' },
      { format: 'complex', user: { format: 'opaque', id: 'u-grace' } },
    ]
    for (const subject of strangers) {
      const taken = await tell(world, 'session-revoked', {}, { subject })
      assert.equal(taken.refused?.err, 'invalid_request', JSON.stringify(subject))
    }
    // a template makes devices of all that it says, never people
    await tell(world, 'session-revoked', {}, { subject: { format: 'opaque', id: 'Person/ada' } })
    for (const caller of [world.ada, world.grace, world.hedy])
      assert.equal(await isSignedIn(world, caller), true)
    assert.equal(of(await entries(world.app), 'signal.refused').length, strangers.length)
  })

  test('speaks of people by their linked accounts at its issuer', async () => {
    const subjects = { accounts: [{ iss: 'https://corp.example', issuer: 'corp' }], map: {} }
    await using world = await listening({ subjects })
    await world.app.flows.accounts.link(world.ada, { issuer: 'corp', id: '42' }, ref('Person/hedy'))
    const subject = { format: 'iss_sub', iss: 'https://corp.example', sub: '42' }
    assert.deepEqual(await tell(world, 'session-revoked', {}, { subject }), { taken: true })
    assert.equal(await isSignedIn(world, world.hedy), false)
    await world.app.flows.accounts.unlink(world.ada, { issuer: 'corp', id: '42' })
    assert.equal((await tell(world, 'session-revoked', {}, { subject })).refused?.err, 'invalid_request')
  })

  test('that says more than it may is put off, not forgotten, and does not fill the record', async () => {
    await using world = await listening({ rate: 10 })
    const tokens = await Promise.all(
      Array.from({ length: 30 }, (_, nth) =>
        mintSet('risk-level-change', { principal: 'USER', current_level: 'HIGH' }, { at: TEST_START + nth }),
      ),
    )
    const taken = []
    for (const token of tokens) taken.push(await push(world, token))
    assert.equal(taken.filter((one) => one.taken === true).length, 10)
    assert.ok(taken.slice(10).every((one) => 'again' in one))
    assert.equal(of(await entries(world.app), 'signal.flooded').length, 1)
    // a forger takes nothing from the budget, and leaves no more than a page on the record
    world.clock.advance(MINUTE)
    const forged = await mintSet('session-revoked', {}, { key: { ...testKey('ES256', 7), kid: 'ES256-0' } })
    for (let nth = 0; nth < 100; nth += 1) await push(world, forged)
    assert.equal(of(await entries(world.app), 'signal.refused').length, 30)
    for (const token of tokens.slice(10, 20)) assert.deepEqual(await push(world, token), { taken: true })
    world.clock.advance(MINUTE)
    await push(world, forged)
    assert.equal(of(await entries(world.app), 'signal.refused').at(-1)?.['uncounted'], 70)
  })

  test('that shows no secret, where it has one, is not listened to', async () => {
    const { writeFileSync } = await import('node:fs')
    const { folderOf } = await import('../support/world.ts')
    const file = `${folderOf('ssf')}/secret`
    writeFileSync(file, 's3cret\n')
    await using world = await listening({ authorizationFile: file })
    const { signals } = world.app.flows
    const token = await mintSet('session-revoked')
    for (const shown of [undefined, 'Bearer wrong', 's3cret'])
      assert.equal((await signals.push('idp', token, shown))?.refused?.err, 'authentication_failed')
    assert.equal(await isSignedIn(world, world.grace), true)
    assert.deepEqual(await signals.push('idp', token, 'Bearer s3cret'), { taken: true })
    assert.equal(await signals.push('nobody', token, 'Bearer s3cret'), undefined)
  })
})

describe('B54 silence', () => {
  test('of a transmitter is an alarm, once, and ends when it is heard again', async () => {
    await using world = await listening({ silence: HOUR })
    const { receivers } = world.app.flows.signals
    await receivers.tend()
    assert.deepEqual(await world.app.flows.problems(), [])
    world.clock.advance(HOUR)
    await receivers.tend()
    await receivers.tend()
    const [problem = ''] = await world.app.flows.problems()
    assert.match(problem, /transmitter `idp` has been silent since .*, longer than 1h/u)
    assert.equal((await kindsOf(world.app)).filter((kind) => kind === 'signal.silent').length, 1)
    await tell(world, 'session-presented', {}, { at: world.clock.wall() })
    await receivers.tend()
    assert.deepEqual(await world.app.flows.problems(), [])
    assert.equal((await kindsOf(world.app)).filter((kind) => kind === 'signal.heard').length, 1)
  })

  test('is known across a restart, and a stream that is paused is a gap until it is not', async () => {
    await using first = await listening({ silence: HOUR })
    first.clock.advance(50 * MINUTE)
    const world: FaultWorld = { ...first, ...(await first.restart()) }
    world.clock.advance(10 * MINUTE)
    await world.app.flows.signals.receivers.tend()
    assert.ok((await kindsOf(world.app)).includes('signal.silent'))
    const about = { subject: { format: 'opaque', id: 'stream-1' }, at: world.clock.wall() }
    await tell(world, `${SSF}stream-updated`, { status: 'paused', reason: 'maintenance' }, about)
    assert.match(
      (await world.app.flows.problems()).join('\n'),
      /transmitter `idp`: its stream is paused: maintenance/u,
    )
    await tell(world, `${SSF}stream-updated`, { status: 'enabled' }, about)
    assert.doesNotMatch((await world.app.flows.problems()).join('\n'), /paused/u)
    const kinds = await kindsOf(world.app)
    assert.deepEqual(
      [
        kinds.filter((one) => one === 'signal.gap').length,
        kinds.filter((one) => one === 'signal.mended').length,
      ],
      [1, 1],
    )
    await world.app.stop()
  })

  test('is not ended by an answer to nobody’s question', async () => {
    await using world = await listening()
    const forged = await push(world, await verification('guessed', 'stream-1'))
    assert.equal(forged.refused?.err, 'invalid_request')
  })
})
