/**
 * B23 and S07: a proof is good for one statement, of one person, in one session, at one address, once, for five minutes.
 * Everything else that a device, a browser or a thief may send proves nothing.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { LOGIN } from '../../src/config/index.ts'
import type { LoginConfig } from '../../src/config/index.ts'
import { challengeOf, newNonce, nonceEnd } from '../../src/identity/people/ceremony.ts'
import type { Ceremony } from '../../src/identity/people/ceremony.ts'
import { partyAt } from '../../src/identity/people/passkeys.ts'
import type { Caller } from '../../src/model/access.ts'
import { isWritError } from '../../src/model/errors.ts'
import type { Lies } from '../support/authenticator.ts'
import { Authenticator } from '../support/authenticator.ts'
import { declare, requestMigration } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { callerOf, entries, faultWorld, ref } from './support.ts'

const ORIGIN = 'http://localhost:9748'
const MINUTE = 60_000

const world = (passkey: LoginConfig['passkey'] = 'owned'): Promise<FaultWorld> =>
  faultWorld({ config: { login: { ...LOGIN, passkey } } })

/** A new session of somebody, with or without a new passkey. */
async function session(w: FaultWorld, id: string): Promise<Caller> {
  const { code } = await w.app.flows.invite(w.ada, { id })
  return callerOf(w.app, (await w.app.flows.redeem(code.expose())).token.expose())
}

type Owner = Readonly<{ caller: Caller; device: Authenticator }>
const owner = (w: FaultWorld, id = 'grace'): Promise<Owner> => ownerAt(w, ORIGIN, id)

async function ownerAt(w: FaultWorld, origin: string, id = 'grace'): Promise<Owner> {
  const caller = await session(w, id)
  const device = new Authenticator(origin)
  const offer = await w.app.flows.passkeys.forRegistration(caller, origin)
  await w.app.flows.passkeys.register(caller, device.create(offer))
  return { caller, device }
}

const refusal =
  (problem: string, code: 'ERR_FORBIDDEN' | 'ERR_INPUT_INVALID' = 'ERR_FORBIDDEN') =>
  (error: unknown) => {
    assert.ok(isWritError(error, code), String(error))
    if (code === 'ERR_FORBIDDEN') assert.equal(error.problem, problem, error.message)
    return true
  }
const NOT_PROVED = refusal('passkey_refused')

describe('B23 the proof of an approval', () => {
  test('S07 is for that request, of that person, in that session, once, for five minutes', async () => {
    await using w = await world()
    const { flows } = w.app
    const { caller, device } = await owner(w)
    const one = await requestMigration(w, await declare(w))
    const two = await requestMigration(w, await declare(w))
    const approve = (by: Caller, of: typeof one, passkey?: ReturnType<Authenticator['get']>) =>
      flows.approve(by, of.id, { statement: of.digest, ...(passkey === undefined ? {} : { passkey }) })
    await assert.rejects(approve(caller, one), refusal('passkey'))

    const offer = await flows.passkeys.forApproval(caller, one, ORIGIN)
    const proof = device.get(offer)
    // another request, person, session of the same person, statement, and other uses of the same answer
    await assert.rejects(approve(caller, two, proof), NOT_PROVED)
    await assert.rejects(approve(w.hedy, one, proof), NOT_PROVED)
    await assert.rejects(approve(await session(w, 'grace'), one, proof), NOT_PROVED)
    await assert.rejects(flows.approve(caller, one.id, { statement: two.digest, passkey: proof }), (error) =>
      isWritError(error, 'ERR_CONFLICT'),
    )
    await assert.rejects(flows.signIns.byPasskey(proof), NOT_PROVED)
    await assert.rejects(flows.passkeys.ofProof(caller, one, proof), NOT_PROVED)
    await assert.rejects(flows.passkeys.remove(caller, device.id, proof), NOT_PROVED)
    // the answer to another question, also of one's own
    const other = device.get(await flows.passkeys.forApproval(caller, two, ORIGIN))
    await assert.rejects(approve(caller, one, { ...other, nonce: proof.nonce }), NOT_PROVED)
    await assert.rejects(approve(caller, one, { ...proof, nonce: other.nonce }), NOT_PROVED)

    // a minute later than it may be
    const late = device.get(await flows.passkeys.forApproval(caller, one, ORIGIN))
    w.clock.advance(5 * MINUTE)
    await assert.rejects(approve(caller, one, late), NOT_PROVED)
    const fresh = device.get(await flows.passkeys.forApproval(caller, one, ORIGIN))
    const approved = await approve(caller, one, fresh)
    assert.equal(approved.approvals[0]?.passkey, device.id)
    const given = (await entries(w.app)).findLast(({ kind }) => kind === 'approval.given')
    assert.equal(given?.['passkey'], device.id)
  })

  const lies: readonly (readonly [string, Lies, string?])[] = [
    ['another origin', { origin: 'http://localhost:9749' }],
    ['a page of an attacker', { origin: 'https://localhost.evil.example' }],
    ['another relying party', { rpId: 'evil.example' }],
    ['a person whom the device has not verified', { flags: 0x01 }],
    ['nobody present', { flags: 0x04 }],
    ['a frame of another site', { crossOrigin: true }],
    ['a registration instead', { type: 'webauthn.create' }],
    ['another challenge', { challenge: 'AAAA' }],
    ['another key', { key: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey }],
    ['a counter that stands still', { counter: 1 }],
    ['a counter that goes back to nothing', { counter: 0 }],
  ]
  test('lies prove nothing, and are on the record', async () => {
    await using w = await world()
    const { flows } = w.app
    const { caller, device } = await owner(w)
    const request = await requestMigration(w, await declare(w))
    await flows.passkeys.change(caller, device.get(await flows.passkeys.forChange(caller, ORIGIN)))
    assert.equal(device.counter, 1)
    for (const [what, lie] of lies) {
      const before = device.counter
      const offer = await flows.passkeys.forApproval(caller, request, ORIGIN)
      const passkey = device.get(offer, lie)
      await assert.rejects(
        flows.approve(caller, request.id, { statement: request.digest, passkey }),
        NOT_PROVED,
        what,
      )
      const last = (await entries(w.app)).at(-1)
      assert.equal(last?.['kind'], 'passkey.refused', what)
      assert.equal(last['purpose'], 'approve')
      device.counter = before
    }
    const [went] = (await entries(w.app)).filter(({ why }) => String(why).includes('there is a copy'))
    assert.ok(went)
    assert.equal((await flows.request(caller, request.id)).status, 'pending')
    const passkey = device.get(await flows.passkeys.forApproval(caller, request, ORIGIN))
    await flows.approve(caller, request.id, { statement: request.digest, passkey })
  })

  test('what is no answer is told as that, and throws nothing else', async () => {
    await using w = await world()
    const { caller } = await owner(w)
    const request = await requestMigration(w, await declare(w))
    const { nonce } = await w.app.flows.passkeys.forApproval(caller, request, ORIGIN)
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.constant('{"id":"a","rawId":"a","type":"public-key","response":{}}'),
        ),
        async (answer) => {
          await assert.rejects(
            w.app.flows.approve(caller, request.id, {
              statement: request.digest,
              passkey: { nonce, answer, origin: ORIGIN },
            }),
            (error) => isWritError(error, 'ERR_INPUT_INVALID', 'ERR_FORBIDDEN'),
          )
        },
      ),
      { numRuns: 50 },
    )
  })

  test('two at once: one is first', async () => {
    await using w = await world()
    const { flows } = w.app
    const { caller, device } = await owner(w)
    const proof = device.get(await flows.passkeys.forChange(caller, ORIGIN))
    const both = await Promise.allSettled([
      flows.passkeys.change(caller, proof),
      flows.passkeys.change(caller, proof),
    ])
    assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  })

  test('it was spent before a restart', async () => {
    await using w = await world()
    const { caller, device } = await owner(w)
    // a device that does not count: the nonce alone tells
    const proof = device.get(await w.app.flows.passkeys.forChange(caller, ORIGIN), { counter: 0 })
    await w.app.flows.passkeys.change(caller, proof)
    const again = await w.restart()
    await assert.rejects(again.app.flows.passkeys.change(caller, proof), NOT_PROVED)
    await again.app.stop()
  })
})

describe('whose approvals need one', () => {
  test('`owned`: of those who have one, when it is about something sensitive', async () => {
    await using w = await world()
    const request = await requestMigration(w, await declare(w))
    assert.equal(await w.app.flows.passkeys.demands(w.grace, request), 'no')
    const { caller } = await owner(w)
    assert.equal(await w.app.flows.passkeys.demands(caller, request), 'yes')
    // in every session of theirs, also one that is older
    assert.equal(await w.app.flows.passkeys.demands(w.grace, request), 'yes')
    await w.app.flows.putEntities(w.ada, [
      { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 2 },
    ])
    assert.equal(await w.app.flows.passkeys.demands(caller, request), 'no')
  })
  test('`high`: of everybody then; `always`; `off`', async () => {
    for (const [mode, sensitive, plain] of [
      ['high', 'has-none', 'no'],
      ['always', 'has-none', 'has-none'],
      ['off', 'no', 'no'],
    ] as const) {
      await using w = await world(mode)
      const request = await requestMigration(w, await declare(w))
      assert.equal(await w.app.flows.passkeys.demands(w.grace, request), sensitive, mode)
      if (sensitive === 'has-none') {
        await assert.rejects(
          w.app.flows.approve(w.grace, request.id, { statement: request.digest }),
          refusal('no_passkey'),
        )
      }
      // denying never needs one
      await w.app.flows.denyRequest(w.grace, request.id, { statement: request.digest })
      await w.app.flows.putEntities(w.ada, [
        { type: 'Database', id: 'orders', kind: 'resource', sensitivity: 2 },
      ])
      assert.equal(await w.app.flows.passkeys.demands(w.grace, request), plain, mode)
    }
  })
})

describe('passkeys of a person', () => {
  test('the first needs a session that has just begun, every other one of those there are', async () => {
    await using w = await world()
    const { passkeys } = w.app.flows
    const caller = await session(w, 'grace')
    // two challenges for a first one: of them makes one
    const offers = [
      await passkeys.forRegistration(caller, ORIGIN),
      await passkeys.forRegistration(caller, ORIGIN),
    ] as const
    const mine = new Authenticator(ORIGIN)
    const thief = new Authenticator(ORIGIN)
    await passkeys.register(caller, mine.create(offers[0]))
    await assert.rejects(passkeys.register(caller, thief.create(offers[1])), NOT_PROVED)
    await assert.rejects(passkeys.forRegistration(caller, ORIGIN), refusal('passkey'))
    await assert.rejects(passkeys.remove(caller, mine.id), refusal('passkey'))
    const proof = mine.get(await passkeys.forChange(caller, ORIGIN))
    const second = new Authenticator(ORIGIN)
    await passkeys.register(caller, second.create(await passkeys.forRegistration(caller, ORIGIN, proof)))
    await assert.rejects(passkeys.forRegistration(caller, ORIGIN, proof), NOT_PROVED)
    assert.equal((await passkeys.mine(caller)).length, 2)

    // what was shown with two passkeys is not for one
    const before = await passkeys.forChange(caller, ORIGIN)
    const removing = second.get(await passkeys.forChange(caller, ORIGIN))
    await passkeys.remove(caller, mine.id, removing)
    await assert.rejects(passkeys.remove(caller, second.id, second.get(before)), NOT_PROVED)
    const removed = await passkeys.forSignIn(ORIGIN)
    assert.ok(removed)
    await assert.rejects(w.app.flows.signIns.byPasskey(mine.get(removed)), NOT_PROVED)

    const other = await session(w, 'hedy')
    w.clock.advance(30 * MINUTE)
    await assert.rejects(passkeys.forRegistration(other, ORIGIN), refusal('not_recent'))
    await assert.rejects(passkeys.forRegistration(w.migrator, ORIGIN), (error) =>
      isWritError(error, 'ERR_FORBIDDEN'),
    )
  })

  test('a device that lies registers nothing; one that is known is nobody else’s', async () => {
    await using w = await world()
    const { passkeys } = w.app.flows
    const caller = await session(w, 'grace')
    const lies: readonly Lies[] = [
      { origin: 'https://evil.example' },
      { rpId: 'evil.example' },
      { flags: 0x01 },
      { flags: 0x04 },
      { type: 'webauthn.get' },
      { challenge: 'AAAA' },
      { crossOrigin: true },
    ]
    for (const lie of lies) {
      const offer = await passkeys.forRegistration(caller, ORIGIN)
      await assert.rejects(
        passkeys.register(caller, new Authenticator(ORIGIN).create(offer, lie)),
        NOT_PROVED,
      )
    }
    assert.equal((await passkeys.mine(caller)).length, 0)
    const device = new Authenticator(ORIGIN)
    await passkeys.register(caller, device.create(await passkeys.forRegistration(caller, ORIGIN)))
    const other = await session(w, 'hedy')
    const offer = await passkeys.forRegistration(other, ORIGIN)
    await assert.rejects(passkeys.register(other, device.create(offer)), NOT_PROVED)
  })

  test('B34 who was locked, deleted or made again signs in with none; an administrator removes a lost one', async () => {
    await using w = await world()
    const { flows } = w.app
    const { caller, device } = await owner(w)
    const signIn = async () => {
      const offer = await flows.passkeys.forSignIn(ORIGIN)
      assert.ok(offer)
      return flows.signIns.byPasskey(device.get(offer))
    }
    const signed = await signIn()
    assert.equal(signed.person.id, 'grace')
    const now = await callerOf(w.app, signed.token.expose())
    assert.deepEqual([now.auth?.provider, now.auth?.acr], ['passkey', 'phr'])
    await flows.locks.lock(w.ada, {
      what: 'subject',
      about: 'Person/grace',
      reason: 'lost phone',
      until: w.clock.wall() + MINUTE,
    })
    await assert.rejects(signIn(), (error) => isWritError(error))
    w.clock.advance(MINUTE)
    await signIn()
    await flows.deleteEntity(w.ada, ref('Person/grace'))
    await assert.rejects(signIn(), (error) => isWritError(error))
    await flows.putEntities(w.ada, [{ type: 'Person', id: 'grace' }])
    await assert.rejects(signIn(), (error) => isWritError(error))
    assert.deepEqual(await flows.passkeys.mine({ ...caller, generation: caller.generation + 1 }), [])

    const hedy = await owner(w, 'hedy')
    await assert.rejects(flows.passkeys.remove(w.grace, hedy.device.id), (error) =>
      isWritError(error, 'ERR_NOT_FOUND'),
    )
    await flows.passkeys.remove(w.ada, hedy.device.id)
    assert.deepEqual(await flows.passkeys.mine(hedy.caller), [])
  })

  test('nobody has them at an address without a name, or under a name that a header says', async () => {
    const here = 9748
    assert.deepEqual(partyAt('http://localhost:9748', undefined, here), {
      id: 'localhost',
      origin: 'http://localhost:9748',
    })
    for (const [origin, configured] of [
      ['http://127.0.0.1:9748', undefined],
      ['https://evil.example', undefined],
      // another program of this machine gets signatures for `localhost` too, and may send whatever header it likes
      ['http://localhost:3000', undefined],
      ['http://localhost', undefined],
      ['http://writ.example', 'http://writ.example'],
      ['https://10.0.0.1', 'https://10.0.0.1'],
    ] as const)
      assert.equal(partyAt(origin, configured, here), undefined, origin)
    assert.deepEqual(partyAt('https://evil.example', 'https://writ.example/x', here), {
      id: 'writ.example',
      origin: 'https://writ.example',
    })
    // behind a tunnel or a container's port, by configuration
    assert.equal(partyAt('http://x', 'http://localhost:8080', here)?.origin, 'http://localhost:8080')
  })

  test('an administrator in a session sees whose there are, and removes a lost one; nobody else', async () => {
    await using w = await faultWorld({ http: true, config: { login: LOGIN } })
    const { caller, device } = await ownerAt(w, w.app.url.replace('127.0.0.1', 'localhost'))
    const as = (who: 'ada' | 'grace' | 'hedy' | 'migrator', path: string, body?: unknown) =>
      fetch(w.app.url + path, {
        method: body === undefined ? 'GET' : 'POST',
        headers: { authorization: `Bearer ${w.tokens[who]}`, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
    const mine = (await (await as('grace', '/v1/passkeys')).json()) as { items: { id: string }[] }
    assert.deepEqual(
      mine.items.map((one) => [one.id, Object.keys(one).sort().join(' ')]),
      [[device.id, 'created_at id name person']],
    )
    const hers = '/v1/passkeys?person=Person/grace'
    const statuses = async (...asked: Promise<Response>[]): Promise<number[]> =>
      (await Promise.all(asked)).map(({ status }) => status)
    assert.deepEqual(await statuses(as('hedy', hers), as('migrator', hers), as('ada', hers)), [403, 403, 200])
    const removal = { id: device.id }
    // her own, without a proof; a stranger; a machine
    const paths = (['grace', 'hedy', 'migrator'] as const).map((who) =>
      as(who, '/v1/passkeys/remove', removal),
    )
    assert.deepEqual(await statuses(...paths), [403, 404, 403])
    assert.equal((await w.app.flows.passkeys.mine(caller)).length, 1)
    assert.equal((await as('ada', '/v1/passkeys/remove', removal)).status, 204)
    assert.equal((await w.app.flows.passkeys.mine(caller)).length, 0)
  })

  test('a page of another port of this machine relays nothing', async () => {
    await using w = await faultWorld({ http: true, config: { login: LOGIN } })
    const here = new URL(w.app.url).port
    const page = async (host: string): Promise<string> => {
      const sent = request(w.app.url, { path: '/signin', headers: { host } }).end()
      const [response] = (await once(sent, 'response')) as [IncomingMessage]
      return text(response)
    }
    assert.match(await page(`localhost:${here}`), /data-passkey/)
    assert.doesNotMatch(await page('localhost:3000'), /data-passkey/)
    const origin = 'http://localhost:3000'
    assert.equal(await w.app.flows.passkeys.forSignIn(origin), undefined)
    const { caller, device } = await ownerAt(w, `http://localhost:${here}`)
    const offer = await w.app.flows.passkeys.forSignIn(device.origin)
    assert.ok(offer)
    const relayed = { ...device.get(offer, { origin }), origin }
    await assert.rejects(w.app.flows.signIns.byPasskey(relayed), refusal('no_party'))
    assert.equal((await w.app.flows.passkeys.mine(caller)).length, 1)
  })
})

test('B23 a challenge is another for whatever differs, and a nonce is for what it was given out for', () => {
  const purposes = ['signin', 'register', 'manage', 'approve', 'prove'] as const
  const ceremony = fc.record({
    purpose: fc.constantFrom(...purposes),
    digest: fc.string(),
    bound: fc.array(fc.string(), { maxLength: 4 }),
  })
  const of = { installation: 'inst_a', key: new Uint8Array(32).fill(1) }
  const elsewhere = [
    { ...of, installation: 'inst_b' },
    { ...of, key: new Uint8Array(32).fill(2) },
  ]
  const random = new Uint8Array(16).fill(7)
  const same = (a: Ceremony, b: Ceremony): boolean => JSON.stringify(a) === JSON.stringify(b)
  fc.assert(
    fc.property(ceremony, ceremony, fc.nat(4_000_000_000), fc.nat(600_000), (a, b, now, later) => {
      const nonce = newNonce(of, a, now, random)
      assert.equal(nonceEnd(of, a, nonce, now + later), later < 300_000 ? now + 300_000 : undefined)
      assert.equal(nonceEnd(of, a, nonce, now - 1), undefined)
      for (const other of elsewhere) assert.equal(nonceEnd(other, a, nonce, now), undefined)
      const challenge = challengeOf(of, a, nonce)
      assert.notDeepEqual(challengeOf({ ...of, installation: 'inst_b' }, a, nonce), challenge)
      for (const purpose of purposes)
        if (purpose !== a.purpose) assert.notDeepEqual(challengeOf(of, { ...a, purpose }, nonce), challenge)
      if (same(a, b)) return
      assert.equal(nonceEnd(of, b, nonce, now), undefined)
      if (a.purpose === b.purpose && a.digest === b.digest) return
      assert.notDeepEqual(challengeOf(of, a, nonce), challengeOf(of, b, nonce))
    }),
  )
})
