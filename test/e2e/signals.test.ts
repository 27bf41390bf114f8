/**
 * Signals between two servers, over HTTP on this machine: one takes away and tells, the other listens and ends. What lies
 * between them loses, repeats and reorders what it can.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { IncomingHttpHeaders } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { createLocalJWKSet, jwtVerify } from 'jose'
import type { JSONWebKeySet } from 'jose'
import type { ListenerConfig, ReceiverConfig, TransmitterConfig } from '../../src/model/signal.ts'
import { isPruned } from '../../src/store/port.ts'
import { SSF, listenTo, mintSet } from '../support/ssf.ts'
import type { World } from '../support/world.ts'
import { folderOf, openWorld, ref } from '../support/world.ts'
import { entries, fails } from '../faults/support.ts'

const AUDIENCE = 'https://listener.example'
const PUSH = 'urn:ietf:rfc:8935'
const POLL = 'urn:ietf:rfc:8936'

type Passed = Readonly<{ path: string; headers: IncomingHttpHeaders; body: string }>

/** Stands before a server whose address is known only later, and may come between. */
async function relay() {
  const passed: Passed[] = []
  let target = ''
  let meddle: (passed: Passed) => number | undefined = () => undefined
  const server = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      const one = {
        path: request.url ?? '',
        headers: request.headers,
        body: Buffer.concat(chunks).toString(),
      }
      passed.push(one)
      const instead = meddle(one)
      if (instead !== undefined || target === '') return void response.writeHead(instead ?? 503).end()
      const { 'content-type': type, authorization } = request.headers
      const answer = await fetch(`${target}${one.path}`, {
        method: request.method ?? 'GET',
        headers: {
          ...(type === undefined ? {} : { 'content-type': type }),
          ...(authorization === undefined ? {} : { authorization }),
        },
        ...(one.body === '' ? {} : { body: one.body }),
      })
      response.writeHead(answer.status, {
        'content-type': answer.headers.get('content-type') ?? 'text/plain',
      })
      response.end(await answer.text())
    })().catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    passed,
    to: (url: string) => {
      target = url
    },
    meddle: (how: typeof meddle) => {
      meddle = how
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const listener = (more: Partial<ListenerConfig> = {}): ListenerConfig => ({
  name: 'peer',
  subject: ref('Service/orders-ci'),
  audience: AUDIENCE,
  delivery: 'poll',
  events: ['session-revoked', 'credential-change', 'token-claims-change'],
  subjects: 'opaque',
  from: 'now',
  allowPrivate: true,
  ...more,
})

type Teller = World & Readonly<{ key: string }>

/** A Writ that tells; `key` is what its listener shows. */
async function teller(one: ListenerConfig, transmitter: Partial<TransmitterConfig> = {}): Promise<Teller> {
  const world = await openWorld({
    config: {
      signals: { receivers: [], transmitter: { algorithm: 'RS256', ...transmitter, listeners: [one] } },
    },
  })
  const key = await world.app.flows.createKey(world.ada, { name: 'peer', subject: ref('Service/orders-ci') })
  return { ...world, key: key.secret.expose() }
}

/** A Writ that listens to `from` and knows its people by their names there. */
async function hearer(from: Teller, more: Partial<ReceiverConfig>, publicUrl?: string): Promise<World> {
  const folder = folderOf('hearer')
  const tokenFile = join(folder, 'token')
  writeFileSync(tokenFile, from.key, { mode: 0o600 })
  const { keys: _keys, ...config } = listenTo({
    issuer: from.app.url,
    audiences: [AUDIENCE],
    tokenFile,
    manage: true,
    unsafeHttp: true,
    allowPrivate: true,
    events: ['session-revoked', 'credential-change', 'token-claims-change'],
    subjects: { map: { 'Person/grace': ref('Person/grace'), 'Person/hedy': ref('Person/hedy') } },
    ...more,
  })
  return openWorld({
    folder,
    config: { signals: { receivers: [config] }, ...(publicUrl === undefined ? {} : { publicUrl }) },
  })
}

/** Resolves with the first entry of `kind` that fits, of before or of now. */
async function entry(
  world: World,
  kind: string,
  fits: (entry: Readonly<Record<string, unknown>>) => boolean = () => true,
): Promise<Readonly<Record<string, unknown>>> {
  const { promise, resolve } = Promise.withResolvers<Readonly<Record<string, unknown>>>()
  const look = (parsed: Readonly<Record<string, unknown>>): void => {
    if (parsed['kind'] === kind && fits(parsed)) resolve(parsed)
  }
  const stop = world.app.store.log.subscribe((some) => {
    for (const one of some)
      if (!isPruned(one)) look(JSON.parse(Buffer.from(one.bytes).toString()) as Record<string, unknown>)
  })
  for (const one of await entries(world.app)) look(one)
  return promise.finally(stop)
}

const signOut = (world: World, who: 'grace' | 'hedy') => world.app.flows.signOut(world[who])

const revoked = (who: string) => (one: Readonly<Record<string, unknown>>) =>
  one['event'] === 'session-revoked' && one['subject'] === `Person/${who}`

const isSignedIn = async (world: World, token: string): Promise<boolean> =>
  (await fetch(`${world.app.url}/v1/me`, { headers: { authorization: `Bearer ${token}` } })).status === 200

describe('two servers', () => {
  test('polled: what one takes away ends at the other, its stream made and verified by itself', async () => {
    await using told = await teller(listener())
    await using heard = await hearer(told, { delivery: 'poll' })
    assert.equal(await isSignedIn(heard, heard.tokens.grace), true)
    await signOut(told, 'grace')
    const received = await entry(heard, 'signal.received', revoked('grace'))
    assert.equal(received['outcome'], 'ended')
    assert.equal(await isSignedIn(heard, heard.tokens.grace), false)
    assert.equal(await isSignedIn(heard, heard.tokens.hedy), true)
    const { stream } = await state(heard)
    assert.ok(stream)
    await entryOf(heard, ({ verifiedAt }) => verifiedAt !== undefined)
    assert.deepEqual(await heard.app.flows.problems(), [])
  })

  test('B54 pushed: what is lost, repeated or put off on the way arrives all the same, in effect once', async () => {
    await using between = await relay()
    await using told = await teller(
      listener({
        delivery: 'push',
        endpoint: `${between.url}/ssf/push/idp`,
        authorizationFile: undefined as never,
      }),
    )
    await using heard = await hearer(told, { delivery: 'push' }, between.url)
    const arrived = (path: string) => between.passed.filter((one) => one.path === path)
    let lost = 0
    between.to(heard.app.url)
    // the answer of the first that arrives is lost; those after it are not let through at first
    between.meddle(({ path }) =>
      path === '/ssf/push/idp' && lost++ < 3 ? (lost === 1 ? 502 : 503) : undefined,
    )
    await signOut(told, 'grace')
    await signOut(told, 'hedy')
    await entry(heard, 'signal.received', revoked('grace'))
    await entry(heard, 'signal.received', revoked('hedy'))
    assert.equal(await isSignedIn(heard, heard.tokens.grace), false)
    // sent again by a stranger who saw it go by
    const [seen] = arrived('/ssf/push/idp').slice(-1)
    for (let nth = 0; nth < 3; nth += 1) {
      const again = await fetch(`${heard.app.url}/ssf/push/idp`, {
        method: 'POST',
        headers: { 'content-type': 'application/secevent+jwt' },
        body: seen?.body ?? '',
      })
      assert.equal(again.status, 202)
    }
    const all = (await entries(heard.app)).filter(({ kind }) => kind === 'signal.received')
    assert.equal(new Set(all.map(({ jti }) => jti)).size, all.length)
  })

  test('B54 nothing is lost while either is down: it is told after the restart', async () => {
    await using first = await teller(listener())
    await using heard = await hearer(first, { delivery: 'poll' })
    await entryOf(heard, ({ verifiedAt }) => verifiedAt !== undefined)
    await heard.app.stop()
    await signOut(first, 'grace')
    const told = await first.restart({})
    await signOut(told, 'hedy')
    // its address is another one after the restart, and so is its name: what waits is there all the same
    const polled = await poll(told.app.url, first.key, { returnImmediately: true })
    const events = Object.values(polled.sets).map((token) => claimsOf(token))
    const names = events
      .filter((one) => Object.keys(one.events).some((uri) => uri.endsWith('/session-revoked')))
      .map(({ sub_id }) => sub_id.id)
    assert.deepEqual(names, ['Person/grace', 'Person/hedy'])
    await told.app.stop()
  })
})

type Claims = {
  jti: string
  iss: string
  sub_id: { format: string; id?: string; iss?: string; sub?: string }
  events: Record<string, Record<string, unknown>>
  [member: string]: unknown
}
const claimsOf = (token: string): Claims =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Claims

const call = (url: string, method: string, key: string | undefined, body?: unknown) =>
  fetch(url, {
    method,
    headers: {
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })

async function poll(
  url: string,
  key: string,
  body: unknown,
): Promise<{ sets: Record<string, string>; moreAvailable?: boolean }> {
  const answer = await call(`${url}/ssf/poll`, 'POST', key, body)
  assert.equal(answer.status, 200)
  return (await answer.json()) as { sets: Record<string, string> }
}

const state = (world: World): Promise<Readonly<Record<string, unknown>>> =>
  world.app.store
    .read([{ kind: 'meta', id: 'signals/idp' }])
    .then((view) => view.get('meta', 'signals/idp')?.value ?? {})

/** Resolves when what is kept of the transmitter is as wanted. */
async function entryOf(
  world: World,
  fits: (state: Readonly<Record<string, unknown>>) => boolean,
): Promise<void> {
  while (!fits(await state(world))) await new Promise((resolve) => setTimeout(resolve, 20))
}

describe('the transmitter', () => {
  for (const algorithm of ['RS256', 'ES256'] as const) {
    test(`signs with ${algorithm}, as jose reads it by its published keys, and as the standard has it`, async () => {
      await using told = await teller(listener({ subjects: 'iss_sub' }), { algorithm })
      const { url } = told.app
      const metadata = (await (await fetch(`${url}/.well-known/ssf-configuration`)).json()) as Record<
        string,
        unknown
      >
      assert.deepEqual(
        [metadata['issuer'], metadata['spec_version'], metadata['delivery_methods_supported']],
        [url, '1_0', [PUSH, POLL]],
      )
      await signOut(told, 'grace')
      const { sets } = await poll(url, told.key, { returnImmediately: true })
      const [[jti, token] = ['', '']] = Object.entries(sets)
      const jwks = (await (await fetch(String(metadata['jwks_uri']))).json()) as JSONWebKeySet
      const { payload, protectedHeader } = await jwtVerify(token, createLocalJWKSet(jwks), {
        issuer: url,
        audience: AUDIENCE,
        typ: 'secevent+jwt',
      })
      assert.equal(protectedHeader.alg, algorithm)
      assert.equal(payload.jti, jti)
      assert.deepEqual(payload['sub_id'], { format: 'iss_sub', iss: url, sub: 'Person/grace' })
      assert.deepEqual(Object.keys(payload['events'] as object), [
        'https://schemas.openid.net/secevent/caep/event-type/session-revoked',
      ])
      assert.ok(!('sub' in payload) && !('exp' in payload) && typeof payload['txn'] === 'string')
      assert.ok(jwks.keys.every((key) => !('d' in key)))
    })
  }

  test('tells of sessions, keys, passkeys and grants that were taken away, and of nothing else', async () => {
    await using told = await teller(listener())
    const { flows, url } = told.app
    const key = await flows.createKey(told.ada, { name: 'spare', subject: ref('Agent/migrator') })
    await flows.revokeKey(told.ada, key.id)
    await signOut(told, 'grace')
    await flows.locks.lock(told.ada, { what: 'subject', about: 'Agent/migrator', reason: 'it went wild' })
    const { sets } = await poll(url, told.key, { returnImmediately: true })
    const events = Object.values(sets).map((token) => {
      const { sub_id, events: all } = claimsOf(token)
      const [[uri, payload] = ['', {}]] = Object.entries(all)
      return [uri.split('/').at(-1), sub_id.id, payload['credential_type']]
    })
    assert.deepEqual(events, [
      ['credential-change', 'Agent/migrator', 'api-key'],
      ['session-revoked', 'Person/grace', undefined],
      ['session-revoked', 'Agent/migrator', undefined],
    ])
  })

  test('polled: an event stays until it is acknowledged, and one that is refused is kept and can be sent again', async () => {
    await using told = await teller(listener())
    const { url, flows } = told.app
    await signOut(told, 'grace')
    await signOut(told, 'hedy')
    const last = (await flows.head()).size - 1
    assert.equal(flows.signals.mayPrune(last), false, 'retention leaves what nobody has yet')
    const first = await poll(url, told.key, { returnImmediately: true, maxEvents: 1 })
    assert.deepEqual([Object.keys(first.sets).length, first.moreAvailable], [1, true])
    const again = await poll(url, told.key, { returnImmediately: true })
    const [one = '', two = ''] = Object.keys(again.sets)
    assert.deepEqual(Object.keys(first.sets), [one])
    const setErrs = { [two]: { err: 'invalid_request', description: 'who is that' } }
    const rest = await poll(url, told.key, { returnImmediately: true, ack: [one], setErrs })
    assert.deepEqual(rest.sets, {})
    const [dead] = (await entries(told.app)).filter(({ kind }) => kind === 'signal.undelivered')
    assert.deepEqual([dead?.['jti'], dead?.['err'], dead?.['why']], [two, 'invalid_request', 'who is that'])
    assert.match(
      (await flows.problems()).join(),
      /listener `peer` refused 1 signal: `writ signals redeliver peer`/u,
    )
    assert.equal(flows.signals.mayPrune(last), false, 'nor what may be sent again')
    await fails(flows.signals.redeliver(told.migrator, 'peer'), 'ERR_FORBIDDEN')
    await fails(flows.signals.redeliver(told.ada, 'nobody'), 'ERR_NOT_FOUND')
    const [stream] = await flows.signals.streams(told.ada)
    assert.deepEqual([stream?.name, stream?.direction, stream?.refused], ['peer', 'out', 1])
    assert.equal(await flows.signals.redeliver(told.ada, 'peer'), 1)
    assert.deepEqual(Object.keys((await poll(url, told.key, { returnImmediately: true })).sets), [two])
    // one that waits is answered as soon as there is something
    await poll(url, told.key, { returnImmediately: true, ack: [two] })
    assert.equal(flows.signals.mayPrune(last), true)
    const waiting = poll(url, told.key, {})
    await flows.signOut(told.ada)
    assert.equal(Object.keys((await waiting).sets).length, 1)
  })

  test('keeps what happens while a stream is paused, and not what happens while it is disabled', async () => {
    await using told = await teller(listener())
    const { url } = told.app
    const { stream_id } = (await (await call(`${url}/ssf/status`, 'GET', told.key)).json()) as {
      stream_id: string
    }
    const set = async (status: string) =>
      assert.equal((await call(`${url}/ssf/status`, 'POST', told.key, { stream_id, status })).status, 200)
    const names = async () => {
      const { sets } = await poll(url, told.key, { returnImmediately: true })
      const all = Object.values(sets).map(claimsOf)
      await poll(url, told.key, { returnImmediately: true, ack: Object.keys(sets), maxEvents: 0 })
      return all.flatMap(({ events, sub_id }) =>
        Object.keys(events).some((uri) => uri.endsWith('session-revoked')) ? [sub_id.id] : [],
      )
    }
    await set('paused')
    await signOut(told, 'grace')
    assert.deepEqual(await names(), [])
    await set('enabled')
    assert.deepEqual(await names(), ['Person/grace'])
    await set('disabled')
    await signOut(told, 'hedy')
    await set('enabled')
    assert.deepEqual(await names(), [])
  })

  test('lets a listener make, look at, change and delete its own stream, and nobody else’s', async () => {
    await using told = await teller(listener({ endpoint: 'http://127.0.0.1:9/hooks/' }))
    const { url } = told.app
    const stream = `${url}/ssf/stream`
    assert.equal((await call(stream, 'GET', undefined)).status, 401)
    assert.equal((await call(stream, 'GET', told.tokens.migrator)).status, 403)
    const requested = ['session-revoked', 'risk-level-change'].map(
      (one) => `https://schemas.openid.net/secevent/caep/event-type/${one}`,
    )
    const made = await call(stream, 'POST', told.key, {
      delivery: { method: POLL },
      events_requested: requested,
      description: 'x',
    })
    assert.equal(made.status, 201)
    const described = (await made.json()) as Record<string, unknown>
    assert.deepEqual(described['events_delivered'], requested.slice(0, 1))
    assert.equal((await call(stream, 'POST', told.key, {})).status, 409)
    const id = String(described['stream_id'])
    assert.equal((await call(`${stream}?stream_id=other`, 'GET', told.key)).status, 404)
    for (const endpoint_url of [
      'https://evil.example/',
      'http://127.0.0.1:9/',
      'http://127.0.0.1:9/hooks/../x',
      'http://127.0.0.1:9/hooks/%2e%2e/x',
    ]) {
      const delivery = { method: PUSH, endpoint_url }
      assert.equal(
        (await call(stream, 'PATCH', told.key, { stream_id: id, delivery })).status,
        400,
        endpoint_url,
      )
    }
    const delivery = {
      method: PUSH,
      endpoint_url: 'http://127.0.0.1:9/hooks/a',
      authorization_header: 'Bearer canary',
    }
    const pushed = await call(stream, 'PATCH', told.key, { stream_id: id, delivery })
    assert.equal(pushed.status, 200)
    assert.doesNotMatch(await pushed.text(), /canary/u)
    const status = { stream_id: id, status: 'paused', reason: 'later' }
    assert.equal((await call(`${url}/ssf/status`, 'POST', told.key, status)).status, 200)
    assert.deepEqual(await (await call(`${url}/ssf/status?stream_id=${id}`, 'GET', told.key)).json(), status)
    assert.equal((await call(`${stream}?stream_id=${id}`, 'DELETE', told.key)).status, 204)
    assert.equal((await call(stream, 'GET', told.key)).status, 404)
    assert.equal((await call(`${url}/ssf/poll`, 'POST', told.key, {})).status, 404)
  })

  test('answers a verification after everything that came before it', async () => {
    await using told = await teller(listener())
    const { url } = told.app
    const { id } = told.app.flows.signals.transmitter.status({ subject: ref('Service/orders-ci') } as never)
    await signOut(told, 'grace')
    const verify = () => call(`${url}/ssf/verify`, 'POST', told.key, { stream_id: id, state: 'abc' })
    const statuses = (await Promise.all([verify(), verify()])).map(({ status }) => status)
    assert.deepEqual(
      statuses.toSorted((a, b) => a - b),
      [204, 429],
      'once in a few seconds',
    )
    const { sets } = await poll(url, told.key, { returnImmediately: true })
    const events = Object.values(sets).map((token) => claimsOf(token).events)
    assert.deepEqual(events[1], { [`${SSF}verification`]: { state: 'abc' } })
  })
})

describe('the push door', () => {
  test('answers as RFC 8935 has it', async () => {
    await using world = await openWorld({ config: { signals: { receivers: [listenTo()] } } })
    const send = (token: string, type = 'application/secevent+jwt', name = 'idp') =>
      fetch(`${world.app.url}/ssf/push/${name}`, {
        method: 'POST',
        headers: { 'content-type': type },
        body: token,
      })
    const at = Date.now()
    const good = await send(await mintSet('session-revoked', {}, { at }))
    assert.deepEqual([good.status, await good.text()], [202, ''])
    assert.equal(await isSignedIn(world, world.tokens.grace), false)
    const bad = await send(
      await mintSet('session-revoked', {}, { at, claims: { aud: 'https://other.example' } }),
    )
    assert.equal(bad.status, 400)
    assert.match(bad.headers.get('content-type') ?? '', /^application\/json/u)
    assert.deepEqual(await bad.json(), {
      err: 'invalid_audience',
      description: 'its `aud` is not ours alone',
    })
    assert.equal((await send('x', 'application/json')).status, 400)
    assert.equal((await send('x', undefined, 'nobody')).status, 404)
    assert.equal((await send('a.b.c'.padEnd(70_000, 'x'))).status, 413)
    assert.equal((await fetch(`${world.app.url}/.well-known/ssf-configuration`)).status, 404)
  })
})
