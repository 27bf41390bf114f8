/**
 * Callbacks of access requests, over real HTTP: where they may go, who can believe them, and that none is lost.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import type { IncomingHttpHeaders } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { createCallbackReceiver } from '../../client/src/index.ts'
import type { CallbackConfig } from '../../src/config/index.ts'
import type { CallbackWish } from '../../src/model/callback.ts'
import { callbackEvents } from '../../src/model/callback.ts'
import type { AccessRequest } from '../../src/model/request.ts'
import { declare, folderOf, migration } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { entries, fails, faultWorld, keyFor, settle } from './support.ts'

const SECRET = `whsec_${Buffer.alloc(32, 9).toString('base64')}`

type Received = Readonly<{ path: string; headers: IncomingHttpHeaders; body: string }>

/** A receiver on this machine that answers as it is told and keeps what it got. */
async function receiver(answer: (nth: number) => number = () => 204) {
  const received: Received[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      received.push({
        path: request.url ?? '',
        headers: request.headers,
        body: Buffer.concat(chunks).toString(),
      })
      const status = answer(received.length)
      if (status === 302) response.setHeader('location', '/elsewhere')
      if (status > 0) response.writeHead(status).end()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url,
    received,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function worldWith(
  registrations: readonly Partial<CallbackConfig>[],
): Promise<FaultWorld & { secretFile: string }> {
  const folder = folderOf('callbacks')
  const secretFile = join(folder, 'callback.secret')
  writeFileSync(secretFile, SECRET, { mode: 0o600 })
  const callbacks = registrations.map((one) => ({
    subject: 'Agent/migrator',
    endpoint: 'https://hooks.example/writ/',
    allowPrivate: false,
    secretFile,
    ...one,
  }))
  return { ...(await faultWorld({ folder, config: { callbacks } })), secretFile }
}

const wish = (endpoint: string, more: Partial<CallbackWish> = {}): CallbackWish => ({
  endpoint,
  events: callbackEvents,
  ...more,
})

async function submit(
  world: FaultWorld,
  callback: CallbackWish,
  caller = world.migrator,
): Promise<AccessRequest> {
  const task = await declare(world)
  const decision = await world.app.flows.evaluate(caller, migration(task))
  assert.equal(decision.outcome, 'challenge')
  return world.app.flows.submit(caller, {
    ...migration(task),
    denial: { evaluationId: decision.id, expiresAt: decision.requestableUntil ?? 0 },
    callback,
  })
}

const approve = (world: FaultWorld, request: AccessRequest) =>
  world.app.flows.approve(world.grace, request.id, { statement: request.digest })

test('B22 a requester is told how its request ended, signed so that a receiver can believe it once', async () => {
  await using hooks = await receiver()
  await using world = await worldWith([{ endpoint: `${hooks.url}/writ/`, allowPrivate: true }])
  const request = await submit(world, wish(`${hooks.url}/writ/42`, { state: 'mine' }))
  await settle(world.app)
  assert.equal(hooks.received.length, 0, 'nothing before the end')
  await approve(world, request)
  await settle(world.app)
  const [got] = hooks.received
  assert.ok(got)
  assert.equal(got.path, '/writ/42')
  const callbacks = createCallbackReceiver({ secret: SECRET, now: () => world.clock.wall() })
  const { task, state, result } = await callbacks.receive(got.headers, got.body)
  assert.deepEqual([task.id, task.status, state], [request.id, 'approved', 'mine'])
  assert.equal(result?.mode, 'reevaluate')
  await assert.rejects(callbacks.receive(got.headers, got.body), /received before/)
  assert.doesNotMatch(got.body, /(?<![a-z0-9])(?:grace|dba)/, 'who approved is nobody else’s')
  await settle(world.app)
  assert.equal(hooks.received.length, 1)
  const delivered = (await entries(world.app)).filter(({ kind }) => kind === 'callback.delivered')
  assert.deepEqual(
    delivered.map((entry) => [entry['request'], entry['to'], entry['tries']]),
    [[request.id, hooks.url, 1]],
  )
})

test('B22 only the ends that were asked for are told', async () => {
  await using hooks = await receiver()
  await using world = await worldWith([{ endpoint: `${hooks.url}/writ/`, allowPrivate: true }])
  const request = await submit(world, wish(`${hooks.url}/writ/`, { events: ['denied'] }))
  await approve(world, request)
  await settle(world.app)
  assert.equal(hooks.received.length, 0)
  const other = await submit(world, wish(`${hooks.url}/writ/`, { events: ['denied'] }))
  await world.app.flows.denyRequest(world.grace, other.id, { statement: other.digest })
  await settle(world.app)
  assert.equal(hooks.received.length, 1)
})

test('B3 an endpoint that is not registered for the caller is refused, however like it looks', async () => {
  await using world = await worldWith([
    { endpoint: 'https://hooks.example/writ/' },
    { endpoint: 'https://hooks.example/one?x=1' },
    { subject: 'Service/orders-ci', endpoint: 'https://ci.example/' },
  ])
  const refused = [
    'https://hooks.example/',
    'https://hooks.example/writ',
    'https://hooks.example/writ/../admin',
    'https://hooks.example/writ/%2e%2e/admin',
    'https://hooks.example/writ/..%2fadmin',
    'https://hooks.example/writ/a%5cb',
    'https://hooks.example/writ/..;x/admin',
    'https://hooks.example:444/writ/',
    'http://hooks.example/writ/',
    'https://hooks.example.evil.test/writ/',
    'https://user@hooks.example/writ/',
    'https://hooks.example/writ/#x',
    'https://hooks.example/one',
    'https://hooks.example/one?x=2',
    'https://ci.example/',
    'https://127.0.0.1/writ/',
  ]
  for (const endpoint of refused) {
    const error = await fails(submit(world, wish(endpoint)), 'ERR_INPUT_INVALID')
    assert.match(error.message, /`callback.endpoint` is not registered/, endpoint)
  }
  for (const endpoint of [
    'https://hooks.example/writ/',
    'https://hooks.example/writ/a/b',
    'https://hooks.example/one?x=1',
  ])
    await submit(world, wish(endpoint))
})

test('B3 a registered name that leads into a private network is not called, unless that was allowed', async () => {
  await using hooks = await receiver()
  const { port } = new URL(hooks.url)
  await using world = await worldWith([{ endpoint: `https://localhost:${port}/` }])
  const request = await submit(world, wish(`https://localhost:${port}/`))
  await approve(world, request)
  await settle(world.app)
  assert.equal(hooks.received.length, 0)
  const kept = (await world.app.flows.request(world.migrator, request.id)).callbacks?.[0]
  assert.equal(kept?.tries, 1)
  assert.match(kept.problem ?? '', /not public/)
})

test('C12 a receiver that fails is tried again with growing pauses, the same id, and nothing else waits for it', async () => {
  await using hooks = await receiver((nth) => [500, 302, 503][nth - 1] ?? 200)
  await using world = await worldWith([{ endpoint: `${hooks.url}/`, allowPrivate: true }])
  const request = await submit(world, wish(`${hooks.url}/`))
  await approve(world, request)
  for (let tries = 1; tries <= 4; tries++) {
    await settle(world.app)
    assert.equal(hooks.received.length, tries)
    await settle(world.app)
    assert.equal(hooks.received.length, tries, 'not before its time')
    world.clock.advance(15_000)
  }
  await settle(world.app)
  assert.equal(hooks.received.length, 4)
  assert.equal(new Set(hooks.received.map(({ headers }) => headers['webhook-id'])).size, 1)
  assert.ok(
    hooks.received.every(({ path }) => path === '/'),
    'a redirect is not followed',
  )
})

test('C12 one receiver that hangs keeps none of the others waiting, and a taken origin no other origin', async () => {
  await using dead = await receiver(() => 0)
  await using hooks = await receiver()
  await using world = await worldWith([
    { endpoint: `${dead.url}/`, allowPrivate: true },
    { endpoint: `${hooks.url}/`, allowPrivate: true },
  ])
  const task = await declare(world)
  const ask = async (endpoint: string) => {
    const decision = await world.app.flows.evaluate(world.migrator, migration(task))
    return world.app.flows.submit(world.migrator, {
      ...migration(task),
      denial: { evaluationId: decision.id, expiresAt: decision.requestableUntil ?? 0 },
      callback: wish(endpoint),
    })
  }
  // identical asks are one request: the first three go where nobody answers, which is more than are tried at once
  const ids = []
  for (const path of ['a', 'b', 'c']) ids.push((await ask(`${dead.url}/${path}`)).id)
  const request = await ask(`${hooks.url}/d`)
  assert.deepEqual(new Set(ids), new Set([request.id]))
  await approve(world, request)
  const settled = settle(world.app)
  while (hooks.received.length === 0) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(hooks.received[0]?.path, '/d')
  await dead[Symbol.asyncDispose]()
  await settled
})

test('a secret file that holds no key is said at the start; one that goes is said with the callback', async () => {
  await using hooks = await receiver()
  await using world = await worldWith([{ endpoint: `${hooks.url}/`, allowPrivate: true }])
  writeFileSync(world.secretFile, 'hunter2')
  await approve(world, await submit(world, wish(`${hooks.url}/`)))
  for (let tries = 1; tries <= 5; tries++) {
    await settle(world.app)
    world.clock.advance(60_000)
  }
  assert.match((await world.app.flows.problems()).join(), /are not taken: its secret file holds no key/u)
  assert.equal(hooks.received.length, 0)
  await fails(world.restart(), 'ERR_CONFIG_INVALID')
  writeFileSync(world.secretFile, SECRET)
})

test('C8 a callback that is owed is still owed after a restart, and a receiver that never comes back is given up aloud', async () => {
  await using hooks = await receiver(() => 500)
  let world = await worldWith([{ endpoint: `${hooks.url}/`, allowPrivate: true }])
  try {
    const request = await submit(world, wish(`${hooks.url}/`))
    await approve(world, request)
    world = { ...world, ...(await world.restart()) }
    await settle(world.app)
    assert.equal(hooks.received.length, 1)
    for (let i = 0; i < 6; i++) {
      world.clock.advance(600_000)
      await settle(world.app)
    }
    assert.match(
      (await world.app.flows.problems()).join('\n'),
      /callbacks to .* are not taken: it answered 500/,
    )
    world.clock.advance(86_400_000)
    await settle(world.app)
    const tries = hooks.received.length
    const given = (await entries(world.app)).filter(({ kind }) => kind === 'callback.undelivered')
    assert.deepEqual(
      given.map((entry) => [entry['request'], entry['problem'], entry['tries']]),
      [[request.id, 'it answered 500', tries]],
    )
    world.clock.advance(86_400_000)
    await settle(world.app)
    assert.equal(hooks.received.length, tries, 'not tried for ever')
    assert.doesNotMatch((await world.app.flows.problems()).join('\n'), /callbacks/)
  } finally {
    await world[Symbol.asyncDispose]()
  }
})

test('B43 the key of the signatures is in no answer and no entry', async () => {
  await using hooks = await receiver()
  await using world = await worldWith([{ endpoint: `${hooks.url}/`, allowPrivate: true }])
  const request = await submit(world, wish(`${hooks.url}/`))
  await approve(world, request)
  await settle(world.app)
  const all = JSON.stringify([
    await entries(world.app),
    hooks.received,
    await world.app.flows.request(world.grace, request.id),
  ])
  assert.ok(!all.includes(SECRET.slice(6)))
})

test('B33 another caller of the same subject type has no use for a registration that is not its own', async () => {
  await using world = await worldWith([{ subject: 'Service/orders-ci', endpoint: 'https://ci.example/' }])
  const pep = await keyFor(world, 'Service/orders-ci', { subjects: ['Agent'], attributes: {} })
  await fails(submit(world, wish('https://ci.example/')), 'ERR_INPUT_INVALID')
  const task = await declare(world)
  const decision = await world.app.flows.evaluate(pep, migration(task))
  const request = await world.app.flows.submit(pep, {
    ...migration(task),
    denial: { evaluationId: decision.id, expiresAt: decision.requestableUntil ?? 0 },
    callback: wish('https://ci.example/'),
  })
  assert.equal(request.callbacks?.length, 1)
})

test('C12 identical asks are merged with their callbacks: each is told once, and there is an end to them', async () => {
  await using world = await worldWith([{ endpoint: 'https://hooks.example/' }])
  const task = await declare(world)
  const ask = async (callback: CallbackWish): Promise<AccessRequest> => {
    const decision = await world.app.flows.evaluate(world.migrator, migration(task))
    const denial = { evaluationId: decision.id, expiresAt: decision.requestableUntil ?? 0 }
    return world.app.flows.submit(world.migrator, { ...migration(task), denial, callback })
  }
  await ask(wish('https://hooks.example/a', { events: ['denied'] }))
  const again = await ask(wish('https://hooks.example/a', { events: ['approved'] }))
  assert.deepEqual(
    again.callbacks?.map(({ endpoint, events }) => [endpoint, events]),
    [['https://hooks.example/a', ['denied', 'approved']]],
  )
  for (let i = 1; i < 8; i++) await ask(wish('https://hooks.example/a', { state: `${i}` }))
  const error = await fails(ask(wish('https://hooks.example/b')), 'ERR_INPUT_INVALID')
  assert.match(error.message, /8 callbacks already/)
})
