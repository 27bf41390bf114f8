/**
 * The doors of live context under somebody who may speak at them and means no good: a source that never runs out of things
 * to speak of, a listener that says two things at once, recordings that are played again, and refusals that hide others.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { Agent, request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { describe, test } from 'node:test'
import type { ServerConfig } from '../../src/config/index.ts'
import type { Observation } from '../../src/model/fact.ts'
import { factId } from '../../src/model/fact.ts'
import type { ListenerConfig, ReceiverConfig } from '../../src/model/signal.ts'
import { DAY, HOUR, MINUTE } from '../../src/model/time.ts'
import { testKey } from '../support/issuer.ts'
import { SSF, listenTo, mintSet, verification } from '../support/ssf.ts'
import { streamRequest } from '../../src/wire/ssf/index.ts'
import { openWorld, ref } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { entries, fails, faultWorld, keyFor, put } from './support.ts'

const listening = (
  more: Partial<ReceiverConfig> = {},
  config: Partial<ServerConfig> = {},
): Promise<FaultWorld> => faultWorld({ config: { ...config, signals: { receivers: [listenTo(more)] } } })

const push = (world: Pick<FaultWorld, 'app'>, token: string) =>
  world.app.flows.signals.push('idp', token, undefined)

const of = async ({ app }: Pick<FaultWorld, 'app'>, kind: string) =>
  (await entries(app)).filter((entry) => entry['kind'] === kind)

const factOf = async ({ app }: Pick<FaultWorld, 'app'>, id: string) =>
  (await app.store.read([{ kind: 'fact', id }])).get('fact', id)?.value

describe('law 12 who speaks of ever more things fills no store:', () => {
  const told = (world: FaultWorld, id: string, status = 'compliant') =>
    mintSet(
      'device-compliance-change',
      { current_status: status },
      { subject: { format: 'opaque', id }, at: world.clock.wall() },
    ).then((token) => push(world, token))
  const posture = (about: string, observedAt: number, compliant = true): Observation => ({
    name: 'posture',
    about,
    value: { compliant, status: compliant ? 'ok' : 'bad' },
    observedAt,
  })

  test('a transmitter is refused new ones, by name and on the record, also after a restart, and is heard of those it spoke of', async () => {
    await using first = await listening({ subjects: { map: {}, template: 'Device/{id}' } }, { mostTold: 3 })
    for (const id of ['d-1', 'd-2', 'd-3']) assert.deepEqual(await told(first, id), { taken: true })
    const refused = (await told(first, 'd-4'))?.refused
    assert.equal(refused?.err, 'invalid_request')
    assert.match(refused.description, /`idp` has told of 3 things already/u)
    assert.equal(await factOf(first, factId('posture', 'Device/d-4')), undefined)
    assert.match(String((await of(first, 'signal.refused'))[0]?.['why']), /has told of 3 things/u)
    assert.match(
      (await first.app.flows.problems()).join('\n'),
      /`idp` has told of 3 things.*`sources.pushed.most`/u,
    )
    const world: FaultWorld = { ...first, ...(await first.restart()) }
    world.clock.advance(MINUTE)
    assert.equal((await told(world, 'd-5'))?.refused?.err, 'invalid_request')
    // what it takes back of those it spoke of is heard
    assert.deepEqual(await told(world, 'd-2', 'not-compliant'), { taken: true })
    assert.equal((await factOf(world, factId('posture', 'Device/d-2')))?.value?.['compliant'], false)
    await world.app.stop()
  })

  test('devices of one subject that come and go count as well', async () => {
    await using world = await faultWorld({ config: { mostTold: 4 } })
    const { facts } = world.app.flows
    const device = (name: string, isThere: boolean): Observation => ({
      ...posture('Person/grace', world.clock.wall()),
      device: name,
      ...(isThere ? {} : { value: null }),
    })
    const refused = await fails(
      (async () => {
        for (let nth = 0; nth < 10; nth += 1)
          for (const isThere of [true, false]) {
            world.clock.advance(1)
            await facts.told('mdm', 'x', [device(`d-${nth}`, isThere)])
          }
      })(),
      'ERR_TOO_LARGE',
    )
    assert.match(refused.message, /`mdm` has told of 4 things/u)
    const view = await world.app.store.read([{ index: 'fact.about', value: 'Person/grace' }])
    assert.equal(
      view.scan('fact.about', 'Person/grace').filter(({ value }) => value.name === 'posture').length,
      4,
    )
  })

  test('another key or session is no other reporter, all that came at once is refused, and others report on', async () => {
    await using world = await faultWorld({ config: { mostTold: 3 } })
    const { facts } = world.app.flows
    const at = world.clock.wall()
    await put(
      world,
      ...['Service/mdm', 'Service/edr'].map((one) => ({ ...ref(one), parents: [ref('Group/reporters')] })),
    )
    const [one, another, other] = [
      await keyFor(world, 'Service/mdm'),
      await keyFor(world, 'Service/mdm'),
      await keyFor(world, 'Service/edr'),
    ]
    await facts.report(one, [posture('Device/a', at), posture('Device/b', at)])
    const refused = await fails(
      facts.report(another, [posture('Device/c', at), posture('Device/d', at)]),
      'ERR_TOO_LARGE',
    )
    assert.match(
      `${refused.message} ${refused.hint}`,
      /`Service\/mdm` has told of 2 things.*`sources.pushed.most`/u,
    )
    assert.equal(await factOf(world, factId('posture', 'Device/c')), undefined)
    await facts.report(another, [posture('Device/c', at), posture('Device/a', at + 1, false)])
    await facts.report(other, [posture('Device/e', at)])
  })

  test('a source that is asked is asked on: who names tickets takes nothing from who needs one', async () => {
    await using world = await faultWorld({ config: { mostTold: 1 } })
    const ticket = (about: string): Observation => ({
      name: 'ticket',
      about,
      value: null,
      observedAt: world.clock.wall(),
    })
    for (const about of ['OPS-1', 'OPS-2', 'OPS-3'])
      await world.app.flows.facts.observe('jira', 'asked', [ticket(about)])
    assert.ok(await factOf(world, factId('ticket', 'OPS-3')))
  })
})

describe('B54 a listener', () => {
  const listener = (more: Partial<ListenerConfig> = {}): ListenerConfig => ({
    name: 'peer',
    subject: ref('Service/orders-ci'),
    audience: 'https://peer.example',
    delivery: 'poll',
    events: ['session-revoked'],
    subjects: 'opaque',
    from: 'now',
    allowPrivate: false,
    ...more,
  })
  const telling = (): Promise<FaultWorld> =>
    faultWorld({
      config: { signals: { receivers: [], transmitter: { algorithm: 'ES256', listeners: [listener()] } } },
    })
  const ask = { most: 10, immediately: true, ack: [], errors: {} }

  test('that says two things at once has both done: a pause is not undone by what is asked beside it', async () => {
    await using world = await telling()
    const { transmitter } = world.app.flows.signals
    const caller = await keyFor(world, 'Service/orders-ci')
    const { id } = transmitter.show(caller)
    for (const status of ['paused', 'enabled', 'disabled', 'enabled'] as const) {
      world.clock.advance(MINUTE)
      await Promise.all([
        transmitter.setStatus(caller, id, status),
        transmitter.verify(caller, id, 'x'),
        transmitter.update(caller, id, { description: status }, false),
      ])
      assert.equal(transmitter.status(caller).status, status)
      assert.equal(transmitter.show(caller).description, status)
    }
  })

  test('that is sent again what it refused is not told what happened while it wanted to know nothing', async () => {
    await using world = await telling()
    const { transmitter } = world.app.flows.signals
    const caller = await keyFor(world, 'Service/orders-ci')
    const { id } = transmitter.show(caller)
    const about = async (): Promise<readonly unknown[]> => {
      const { sets } = await transmitter.poll(caller, ask)
      return Object.values(sets).flatMap((token) => {
        const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
          sub_id: { id: string }
          events: Record<string, unknown>
        }
        return Object.keys(claims.events).some((uri) => uri.endsWith('session-revoked'))
          ? [claims.sub_id.id]
          : []
      })
    }
    await world.app.flows.signOut(world.grace)
    const { sets } = await transmitter.poll(caller, ask)
    const [jti = ''] = Object.keys(sets)
    await transmitter.poll(caller, { ...ask, errors: { [jti]: { err: 'invalid_request' } } })
    await transmitter.setStatus(caller, id, 'disabled')
    await world.app.flows.signOut(world.hedy)
    await transmitter.setStatus(caller, id, 'enabled')
    assert.deepEqual(await about(), [])
    assert.equal(await world.app.flows.signals.redeliver(world.ada, 'peer'), 1)
    assert.deepEqual(await about(), ['Person/grace'])
  })

  test('that pauses its stream and never comes back is a problem that somebody is told of', async () => {
    await using world = await telling()
    const { transmitter } = world.app.flows.signals
    const caller = await keyFor(world, 'Service/orders-ci')
    await transmitter.setStatus(caller, transmitter.show(caller).id, 'paused')
    await world.app.flows.signOut(world.grace)
    await transmitter.poll(caller, ask)
    assert.doesNotMatch((await world.app.flows.problems()).join('\n'), /peer/u)
    world.clock.advance(DAY)
    assert.match((await world.app.flows.problems()).join('\n'), /listener `peer` has paused its stream/u)
  })

  test('that names a header which no request could have is told so, and its stream stays as it was', () => {
    const wish = (authorization: string) =>
      streamRequest.safeParse({
        delivery: {
          method: 'urn:ietf:rfc:8935',
          endpoint_url: 'https://peer.example/',
          authorization_header: authorization,
        },
      })
    for (const bad of [
      '',
      ' ',
      'Bearer a\r\nx-other: b',
      'Bearer a\0',
      'Bearer ä',
      'Bearer \u{1f511}',
      'a\n',
    ]) {
      const { success, error } = wish(bad)
      assert.equal(success, false, JSON.stringify(bad))
      assert.match(error?.issues[0]?.message ?? '', /must be the value of one header/u)
    }
    for (const good of ['a', 'Bearer abc', 'Basic YTpi']) assert.equal(wish(good).success, true)
  })

  test('that polls on one connection leaves nothing behind on it', async (t) => {
    await using world = await openWorld({
      config: { signals: { receivers: [], transmitter: { algorithm: 'ES256', listeners: [listener()] } } },
    })
    const key = await world.app.flows.createKey(world.ada, {
      name: 'peer',
      subject: ref('Service/orders-ci'),
    })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.after(() => agent.destroy())
    const warned: string[] = []
    const hear = ({ name }: Error): void => void warned.push(name)
    process.on('warning', hear)
    t.after(() => process.off('warning', hear))
    for (let nth = 0; nth < 15; nth += 1) {
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        const sent = request(
          `${world.app.url}/ssf/poll`,
          {
            method: 'POST',
            agent,
            headers: { authorization: `Bearer ${key.secret.expose()}`, 'content-type': 'application/json' },
          },
          resolve,
        )
        sent.on('error', reject)
        sent.end('{"returnImmediately":true}')
      })
      for await (const _ of answer);
      assert.equal(answer.statusCode, 200)
    }
    assert.deepEqual(warned, [])
  })
})

describe('B54 silence', () => {
  test('is not ended by a recording of what was said long ago', async () => {
    await using world = await listening({ silence: HOUR })
    const { receivers } = world.app.flows.signals
    const early = await mintSet('session-presented', {}, { at: world.clock.wall() })
    const proof = await verification(undefined, 'stream-1', { at: world.clock.wall() })
    world.clock.advance(8 * DAY)
    await receivers.tend()
    assert.match((await world.app.flows.problems()).join('\n'), /has been silent/u)
    for (const token of [early, proof]) assert.deepEqual(await push(world, token), { taken: true })
    await receivers.tend()
    assert.match((await world.app.flows.problems()).join('\n'), /has been silent/u)
    assert.deepEqual(await push(world, await mintSet('session-presented', {}, { at: world.clock.wall() })), {
      taken: true,
    })
    await receivers.tend()
    assert.doesNotMatch((await world.app.flows.problems()).join('\n'), /has been silent/u)
  })

  test('of a stream that is kept here neither, nor is a gap closed by one', async () => {
    await using world = await listening({ silence: HOUR })
    const about = { subject: { format: 'opaque', id: 'stream-1' } }
    const recorded = await mintSet(
      `${SSF}stream-updated`,
      { status: 'enabled' },
      { ...about, at: world.clock.wall() },
    )
    world.clock.advance(8 * DAY)
    const now = await mintSet(
      `${SSF}stream-updated`,
      { status: 'paused' },
      { ...about, at: world.clock.wall() },
    )
    assert.deepEqual(await push(world, now), { taken: true })
    assert.deepEqual(await push(world, recorded), { taken: true })
    assert.match((await world.app.flows.problems()).join('\n'), /its stream is paused/u)
  })
})

describe('B22 B53 a forger', () => {
  test('hides no refusal of what the transmitter itself said', async () => {
    await using world = await listening()
    const forged = await mintSet('session-revoked', {}, { key: { ...testKey('ES256', 7), kid: 'ES256-0' } })
    for (let nth = 0; nth < 40; nth += 1) await push(world, forged)
    const stranger = { format: 'opaque', id: 'u-nobody' }
    const own = await mintSet('session-revoked', {}, { subject: stranger, at: world.clock.wall() })
    assert.equal((await push(world, own))?.refused?.err, 'invalid_request')
    const refused = await of(world, 'signal.refused')
    assert.deepEqual(refused.at(-1)?.['named'], stranger)
  })
})

describe('B53 a transmitter', () => {
  test('with more claims than are kept has each of them counted', async () => {
    await using world = await listening()
    const claims = Object.fromEntries([
      ...Array.from({ length: 40 }, (_, nth) => [`a${nth}`, 1]),
      ['ip_address', '192.0.2.1'],
    ])
    const token = await mintSet('token-claims-change', { claims }, { at: world.clock.wall() })
    assert.deepEqual(await push(world, token), { taken: true })
    const fact = await factOf(world, factId('session', world.grace.id))
    assert.equal(fact?.value?.['addressChanged'], true)
    const [received] = await of(world, 'signal.received')
    assert.equal((received?.['claims'] as readonly string[] | undefined)?.length, 32)
  })

  test('is heard of an address however its letters are written', async () => {
    await using world = await listening()
    const subject = { format: 'email', email: 'Grace@Example.COM' }
    assert.deepEqual(
      await push(world, await mintSet('session-revoked', {}, { subject, at: world.clock.wall() })),
      {
        taken: true,
      },
    )
    assert.equal((await of(world, 'session.ended')).length, 1)
  })

  test('is not heard of an address that may be either of two people, but of each as it is written', async () => {
    const map = { 'a@example.com': ref('Person/ada'), 'A@example.com': ref('Person/grace') }
    await using world = await listening({ subjects: { map } })
    const told = async (email: string) =>
      push(
        world,
        await mintSet('session-revoked', {}, { subject: { format: 'email', email }, at: world.clock.wall() }),
      )
    assert.equal((await told('A@Example.com'))?.refused?.err, 'invalid_request')
    assert.deepEqual(await told('A@example.com'), { taken: true })
    const ended = await of(world, 'session.ended')
    assert.deepEqual(
      ended.map(({ person }) => person),
      ['Person/grace'],
    )
  })
})
