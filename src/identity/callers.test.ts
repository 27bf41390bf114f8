import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { mintRaw, publicJwk, testKey, testVerifier } from '../../test/support/issuer.ts'
import type { TestStore } from '../../test/support/store.ts'
import { openTestStore } from '../../test/support/store.ts'
import type { ApiKey, Session } from '../model/access.ts'
import type { Entity } from '../model/entity.ts'
import { isWritError } from '../model/errors.ts'
import type { IssuerInput } from '../model/issuer.ts'
import { makeIssuer } from '../model/issuer.ts'
import { HOUR, MINUTE } from '../model/time.ts'
import type { Callers } from './callers.ts'
import { SESSION_IDLE, SESSION_LIFE, createCallers } from './callers.ts'
import { newSecret, secretDigest } from './secrets.ts'

const agent: Entity = {
  type: 'Agent',
  id: 'migrator',
  kind: 'agent',
  sensitivity: 2,
  parents: [],
  attrs: {},
  generation: 3,
}
const ada: Entity = { ...agent, type: 'Person', id: 'ada', kind: 'human' }

const put = (
  store: TestStore,
  ...records: readonly (['entity', Entity] | ['key', ApiKey] | ['session', Session])[]
) =>
  store.commit({
    reads: [],
    run(tx) {
      for (const [kind, value] of records) {
        if (kind === 'entity') tx.put('entity', `${value.type}/${value.id}`, value)
        else if (kind === 'key') tx.put('key', value.id, value)
        else tx.put('session', value.id, value)
      }
    },
  })

async function refuses(callers: Callers, credentials: Parameters<Callers['authenticate']>[0], why?: RegExp) {
  await assert.rejects(callers.authenticate(credentials), (error) => {
    assert.ok(isWritError(error, 'ERR_UNAUTHENTICATED'))
    assert.equal(error.message, 'credentials are missing, unknown or no longer valid')
    if (why !== undefined) assert.match(error.detail ?? '', why)
    return true
  })
}

const secretOf = (prefix: 'writ_key_' | 'writ_sess_'): string =>
  newSecret(prefix, (bytes) => crypto.getRandomValues(new Uint8Array(bytes))).expose()

describe('API keys', () => {
  const setup = async (over: Partial<ApiKey> = {}) => {
    const store = await openTestStore()
    const secret = secretOf('writ_key_')
    const key: ApiKey = {
      id: 'key_1',
      hash: secretDigest(secret),
      name: 'ci',
      subject: { type: 'Agent', id: 'migrator' },
      generation: 3,
      createdBy: 'x',
      createdAt: 0,
      ...over,
    }
    await put(store, ['entity', agent], ['key', key])
    return {
      store,
      secret,
      key,
      callers: createCallers({ store }),
      bearer: { authorization: `Bearer ${secret}` },
    }
  }

  test('a key speaks for its subject, with the trust it was given', async () => {
    const pep = { subjects: ['*'], attributes: {} }
    const { store, callers, bearer } = await setup({ pep })
    await using _ = store
    assert.deepEqual(await callers.authenticate(bearer), {
      id: 'key:key_1',
      kind: 'key',
      subject: { type: 'Agent', id: 'migrator' },
      generation: 3,
      pep,
    })
  })
  test('B43 the secret is not in the store', async () => {
    const { store, secret } = await setup()
    await using _ = store
    const { items } = await store.list('key')
    assert.equal(JSON.stringify(items).includes(secret), false)
  })
  test('ended, revoked and unknown keys are refused alike', async () => {
    const { store, callers, bearer, key, secret } = await setup({ endsAt: (await openedAt()) + HOUR })
    await using _ = store
    await callers.authenticate(bearer)
    await refuses(callers, { authorization: `Bearer ${secret.slice(0, -1)}` })
    await refuses(callers, { authorization: `Basic ${secret}` })
    await refuses(callers, { authorization: `Bearer ${secret}, Bearer x` })
    await refuses(callers, { session: secret }, /no known form/)
    await put(store, ['key', { ...key, revokedAt: 1 }])
    await refuses(callers, bearer)
    await put(store, ['key', key])
    store.clock.advance(HOUR)
    await refuses(callers, bearer, /has ended/)
  })
  test('B34 a subject that was deleted, ended or made again inherits no key', async () => {
    const { store, callers, bearer } = await setup()
    await using _ = store
    await put(store, ['entity', { ...agent, generation: 4 }])
    await refuses(callers, bearer, /earlier/)
    await put(store, ['entity', { ...agent, deletedAt: 1 }])
    await refuses(callers, bearer, /deleted/)
    await put(store, ['entity', { ...agent, endsAt: 1 }])
    await refuses(callers, bearer, /ended/)
    await put(store, ['entity', agent])
    await callers.authenticate(bearer)
  })
})

/** When a test store begins. */
async function openedAt(): Promise<number> {
  await using store = await openTestStore()
  return (await store.read([])).now
}

describe('sessions', () => {
  const setup = async (over: Partial<Session> = {}) => {
    const store = await openTestStore()
    const token = secretOf('writ_sess_')
    const { now } = await store.read([])
    const session: Session = {
      id: secretDigest(token),
      person: { type: 'Person', id: 'ada' },
      generation: 3,
      createdAt: now,
      idleUntil: now + SESSION_IDLE,
      endsAt: now + SESSION_LIFE,
      ...over,
    }
    await put(store, ['entity', ada], ['session', session])
    return { store, token, session, callers: createCallers({ store, dev: true }) }
  }

  test('a session is its person, by header and by cookie', async () => {
    const { store, token, session, callers } = await setup()
    await using _ = store
    const expected = {
      id: `session:${session.id}`,
      kind: 'session',
      subject: { type: 'Person', id: 'ada' },
      generation: 3,
      dev: true,
    }
    assert.deepEqual(await callers.authenticate({ authorization: `Bearer ${token}` }), expected)
    assert.deepEqual(await callers.authenticate({ session: token }), expected)
  })
  test('a wrong header is not rescued by a right cookie', async () => {
    const { store, token, callers } = await setup()
    await using _ = store
    await refuses(callers, { authorization: 'Bearer writ_sess_wrong', session: token })
  })
  test('use moves the idle end on, never past the absolute end', async () => {
    const { store, token, session, callers } = await setup()
    await using _ = store
    for (let i = 0; i < 4; i++) {
      store.clock.advance(7 * HOUR - 15 * MINUTE)
      if (i < 3) await callers.authenticate({ session: token })
    }
    await refuses(callers, { session: token }, /over/)
    const kept = (await store.read([{ kind: 'session', id: session.id }])).get('session', session.id)?.value
    assert.equal(kept?.idleUntil, session.endsAt)
    assert.equal(kept?.endsAt, session.endsAt)
  })
  test('unused for too long, ended, locked or made again: refused', async () => {
    const { store, token, session, callers } = await setup()
    await using _ = store
    await put(store, ['session', { ...session, endedAt: 1 }])
    await refuses(callers, { session: token }, /over/)
    await put(store, ['session', session], ['entity', { ...ada, locked: { reason: 'x', at: 0 } }])
    await refuses(callers, { session: token }, /locked/)
    await put(store, ['entity', { ...ada, generation: 4 }])
    await refuses(callers, { session: token }, /earlier/)
    await put(store, ['entity', ada])
    await callers.authenticate({ session: token })
    store.clock.advance(SESSION_IDLE)
    await refuses(callers, { session: token }, /over/)
  })
})

describe('tokens of issuers', () => {
  const key = testKey('ES256')
  const issuer = makeIssuer({
    name: 'ci',
    issuer: 'https://ci.example',
    audiences: ['https://writ.example'],
    algorithms: ['ES256'],
    keys: { from: 'jwks', keys: [publicJwk(key)] },
  })

  const setup = async (more: Partial<IssuerInput> = {}) => {
    const store = await openTestStore()
    const at = Math.floor((await store.read([])).now / 1000)
    const token = (claims: Readonly<Record<string, unknown>> = {}) =>
      mintRaw(
        { alg: 'ES256', kid: key.kid, typ: 'JWT' },
        { iss: issuer.issuer, aud: 'https://writ.example', sub: 'repo:x', iat: at, exp: at + 300, ...claims },
        key.privateKey,
      )
    const verifier = testVerifier([makeIssuer({ ...issuer, ...more })])
    return { store, at, token, callers: createCallers({ store, verifier }) }
  }
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

  test('a token speaks for the subject that its issuer is trusted with', async () => {
    const pep = { subjects: ['Person'], attributes: {} }
    const { store, at, token, callers } = await setup({ pep, workload: ['env'] })
    await using _ = store
    assert.deepEqual(await callers.authenticate(bearer(token({ env: 'production' }))), {
      id: 'issuer:ci Workload/repo:x',
      kind: 'issuer',
      subject: { type: 'Workload', id: 'repo:x' },
      generation: 0,
      pep,
      workload: { env: 'production', issuer: 'ci' },
      provedAt: at * 1000,
    })
  })
  test('B4 what proves nobody is refused, and only the operator learns why', async () => {
    const { store, token, callers } = await setup()
    await using _ = store
    await refuses(callers, bearer(token({ aud: 'https://else.example' })), /`ci`: audience/)
    await refuses(callers, bearer(token({ iss: 'https://evil.example' })), /token: issuer/)
    await refuses(callers, bearer(token({ events: {} })), /event/)
    await refuses(callers, bearer('a.b.c'), /form/)
    await refuses(callers, bearer(`${token().slice(0, -8)}AAAAAAAA`), /signature/)
    await refuses(createCallers({ store }), bearer(token()), /no known form/)
  })
  test('times are those of the store, with 60 s for clocks that differ', async () => {
    const { store, at, token, callers } = await setup()
    await using _ = store
    await callers.authenticate(bearer(token({ exp: at - 59 })))
    await refuses(callers, bearer(token({ exp: at - 61 })))
    await refuses(callers, bearer(token({ nbf: at + 61 })))
  })
  test('a deleted subject is nobody, a registered one has its generation', async () => {
    const { store, token, callers } = await setup()
    await using _ = store
    const entity: Entity = { ...agent, type: 'Workload', id: 'repo:x', kind: 'workload', generation: 7 }
    await put(store, ['entity', entity])
    assert.equal((await callers.authenticate(bearer(token()))).generation, 7)
    await put(store, ['entity', { ...entity, deletedAt: 1 }])
    await refuses(callers, bearer(token()), /deleted/)
  })
  test('B29 for whom one acts is part of the caller, and who of them is gone is noticed', async () => {
    const { store, token, callers } = await setup({
      rules: [
        { when: { sub: 'ada' }, subject: { type: 'Person', id: 'ada' } },
        { subject: { type: 'Agent', claims: ['sub'] } },
      ],
      instigator: 'by',
    })
    await using _ = store
    await put(store, ['entity', ada])
    const acting = bearer(token({ sub: 'ada', act: { sub: 'migrator' }, by: '7' }))
    const caller = await callers.authenticate(acting)
    assert.deepEqual(caller.subject, { type: 'Agent', id: 'migrator' })
    assert.deepEqual(caller.chain, [{ type: 'Person', id: 'ada' }])
    assert.deepEqual(caller.instigators, [{ issuer: 'ci', id: '7' }])
    assert.equal(caller.id, 'issuer:ci Agent/migrator Person/ada by 7')
    await put(store, ['entity', { ...ada, deletedAt: 1 }])
    await refuses(callers, acting, /deleted/)
  })
  test('B7 no two who ask read as one caller', async () => {
    const { store, token, callers } = await setup({ instigator: 'by' })
    await using _ = store
    const ids = await Promise.all(
      [
        { sub: 'a', by: 'b' },
        { sub: 'a', by: 'c' },
        { sub: 'a by b', by: 'b' },
        { sub: 'a%20by%20b', by: 'b' },
        { sub: 'a', by: 'b by b' },
        { sub: 'a', act: { sub: 'x' }, by: 'b' },
        { sub: 'x', act: { sub: 'a' }, by: 'b' },
        { sub: 'a Workload/x', by: 'b' },
      ].map(async (claims) => (await callers.authenticate(bearer(token(claims)))).id),
    )
    assert.equal(new Set(ids).size, ids.length, ids.join('\n'))
  })
  test('B6 a token that is bound to a key is worth nothing without it, and one that is not needs no proof', async () => {
    const { store, token, callers } = await setup()
    await using _ = store
    const [jkt, other] = [secretDigest('a'), secretDigest('b')].map((hex) =>
      Buffer.from(hex, 'hex').toString('base64url'),
    )
    const bound = token({ cnf: { jkt } })
    await refuses(callers, bearer(bound), /belong together/)
    await refuses(callers, { ...bearer(bound), confirmed: jkt }, /belong together/)
    await refuses(callers, { authorization: `DPoP ${bound}` }, /belong together/)
    await refuses(callers, { authorization: `DPoP ${bound}`, confirmed: other }, /belong together/)
    await refuses(callers, { authorization: `DPoP ${token()}`, confirmed: jkt }, /belong together/)
    await refuses(callers, { authorization: `DPoP ${token()}` }, /belong together/)
    const caller = await callers.authenticate({ authorization: `DPoP ${bound}`, confirmed: jkt })
    assert.equal(caller.confirmed, jkt)
  })
  test('oversized and garbled credentials are refused before anything is looked up', async () => {
    const callers = createCallers({
      store: {
        read: () => Promise.reject(new Error('read')),
        commit: () => Promise.reject(new Error('commit')),
      },
      verifier: testVerifier([issuer]),
    })
    for (const authorization of [
      '',
      'Bearer',
      'Bearer ',
      'Bearer a b',
      `Bearer ${'a'.repeat(17_000)}`,
      'Bearer ä',
    ]) {
      await refuses(callers, { authorization })
    }
    await refuses(callers, {})
  })
})
