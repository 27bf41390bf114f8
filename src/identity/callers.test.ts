import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { JWTHeaderParameters, JWTPayload } from 'jose'
import { SignJWT, exportJWK, exportSPKI, generateKeyPair } from 'jose'
import type { TestStore } from '../../test/support/store.ts'
import { openTestStore } from '../../test/support/store.ts'
import type { ApiKey, Session } from '../model/access.ts'
import type { Json } from '../model/canonical.ts'
import type { Entity } from '../model/entity.ts'
import { isWritError } from '../model/errors.ts'
import { HOUR, MINUTE } from '../model/time.ts'
import type { Callers, TrustedIssuer } from './callers.ts'
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

describe('bearer JWTs', async () => {
  const pair = await generateKeyPair('ES256', { extractable: true })
  const rsa = await generateKeyPair('RS256', { extractable: true })
  const jwk = { ...(await exportJWK(pair.publicKey)), kid: 'k1' } as Record<string, Json>
  const rsaJwk = { ...(await exportJWK(rsa.publicKey)), kid: 'r1' } as Record<string, Json>
  const issuer: TrustedIssuer = {
    issuer: 'https://ci.example',
    audience: 'https://writ.example',
    jwks: { keys: [jwk, rsaJwk] },
    algorithms: ['ES256'],
    subjectType: 'Workload',
    subjectClaim: 'sub',
  }
  const other: TrustedIssuer = {
    ...issuer,
    issuer: 'https://other.example',
    typ: 'at+jwt',
    subjectClaim: 'client',
  }

  const setup = async () => {
    const store = await openTestStore()
    const { now } = await store.read([])
    const at = Math.floor(now / 1000)
    const token = (
      claims: JWTPayload = {},
      header: Partial<JWTHeaderParameters> = {},
      key = pair.privateKey,
    ) =>
      new SignJWT({
        iss: issuer.issuer,
        aud: issuer.audience,
        sub: 'repo:x',
        iat: at,
        exp: at + 300,
        ...claims,
      })
        .setProtectedHeader({ alg: 'ES256', kid: 'k1', typ: 'JWT', ...header })
        .sign(key)
    return { store, at, token, callers: createCallers({ store, issuers: [issuer, other] }) }
  }
  const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

  test('B7 two issuers with their subjects never read as one caller', async () => {
    const store = await openTestStore()
    await using _ = store
    const at = Math.floor((await store.read([])).now / 1000)
    const near = { ...issuer, issuer: 'https://ci.example:8443' }
    const callers = createCallers({ store, issuers: [issuer, near] })
    const ids = await Promise.all(
      [
        { iss: issuer.issuer, sub: '8443:deploy' },
        { iss: near.issuer, sub: 'deploy' },
      ].map(async (who) => {
        const claims = { ...who, aud: issuer.audience, iat: at, exp: at + 300 }
        const signed = new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: 'k1', typ: 'JWT' })
        return (await callers.authenticate(bearer(await signed.sign(pair.privateKey)))).id
      }),
    )
    assert.notEqual(ids[0], ids[1])
  })

  test('B4 issuer, audience and type must all be right', async () => {
    const { store, token, callers } = await setup()
    await using _ = store
    assert.deepEqual(await callers.authenticate(bearer(await token())), {
      id: 'issuer:https://ci.example repo:x',
      kind: 'issuer',
      subject: { type: 'Workload', id: 'repo:x' },
      generation: 0,
    })
    const wrong: [JWTPayload, Partial<JWTHeaderParameters>][] = [
      [{ iss: 'https://evil.example' }, {}],
      [{ iss: 'https://ci.example/' }, {}],
      [{ iss: undefined as unknown as string }, {}],
      [{ aud: 'https://else.example' }, {}],
      [{ aud: [issuer.audience, 'https://else.example'] }, {}],
      [{ aud: undefined as unknown as string }, {}],
      [{}, { typ: 'at+jwt' }],
      [{}, { typ: 'logout+jwt' }],
      [{}, { typ: undefined as unknown as string }],
      [{ iss: other.issuer, client: 'x' }, {}],
      [{ events: { 'http://schemas.openid.net/event/backchannel-logout': {} } }, {}],
      [{ exp: undefined as unknown as number }, {}],
      [{ sub: '' }, {}],
      [{ sub: 'a\u200bb' }, {}],
      [{ sub: 7 as unknown as string }, {}],
    ]
    for (const [claims, header] of wrong) {
      await refuses(callers, bearer(await token(claims, header)))
    }
    const right = await token({ iss: other.issuer, client: 'app' }, { typ: 'at+jwt' })
    assert.equal((await callers.authenticate(bearer(right))).subject.id, 'app')
  })
  test('B1 the algorithm comes from the configuration, never from the token', async () => {
    const { store, at, token, callers } = await setup()
    await using _ = store
    await refuses(callers, bearer(await token({}, { alg: 'RS256', kid: 'r1' }, rsa.privateKey)))
    const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const claims = { iss: issuer.issuer, aud: issuer.audience, sub: 'x', exp: at + 300 }
    for (const alg of ['none', 'None', 'NONE']) {
      await refuses(callers, bearer(`${part({ alg, typ: 'JWT' })}.${part(claims)}.`))
      await refuses(callers, bearer(`${part({ alg, typ: 'JWT' })}.${part(claims)}.AAAA`))
    }
    const confused = await new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
      .sign(new TextEncoder().encode(await exportSPKI(rsa.publicKey)))
    await refuses(callers, bearer(confused))
    for (const algorithms of [['HS256'], ['none'], []]) {
      assert.throws(() => createCallers({ store, issuers: [{ ...issuer, algorithms }] }), /accepts/)
    }
  })
  test('B2 critical headers that nobody understands are refused, and keys in the token ignored', async () => {
    const { store, token, callers } = await setup()
    await using _ = store
    const evil = await generateKeyPair('ES256', { extractable: true })
    const header = {
      jwk: await exportJWK(evil.publicKey),
      jku: 'https://evil.example/jwks',
    } as JWTHeaderParameters
    await refuses(callers, bearer(await token({}, header, evil.privateKey)))
    const signed = await token()
    await refuses(callers, bearer(`${signed.slice(0, -4)}AAAA`))
    const unknown = Buffer.from(JSON.stringify({ alg: 'ES256', kid: 'k1', typ: 'JWT', crit: ['x'], x: 1 }))
    await refuses(callers, bearer([unknown.toString('base64url'), ...signed.split('.').slice(1)].join('.')))
  })
  test('times are those of the store, with 30 s for clocks that differ', async () => {
    const { store, at, token, callers } = await setup()
    await using _ = store
    await callers.authenticate(bearer(await token({ exp: at - 29 })))
    await refuses(callers, bearer(await token({ exp: at - 31 })))
    await refuses(callers, bearer(await token({ nbf: at + 31 })))
  })
  test('a deleted subject is nobody, a registered one has its generation', async () => {
    const { store, token, callers } = await setup()
    await using _ = store
    const entity: Entity = { ...agent, type: 'Workload', id: 'repo:x', kind: 'workload', generation: 7 }
    await put(store, ['entity', entity])
    assert.equal((await callers.authenticate(bearer(await token()))).generation, 7)
    await put(store, ['entity', { ...entity, deletedAt: 1 }])
    await refuses(callers, bearer(await token()))
  })
  test('oversized and garbled credentials are refused before anything is looked up', async () => {
    const callers = createCallers({
      store: {
        read: () => Promise.reject(new Error('read')),
        commit: () => Promise.reject(new Error('commit')),
      },
      issuers: [issuer],
    })
    for (const authorization of [
      '',
      'Bearer',
      'Bearer ',
      'Bearer a b',
      `Bearer ${'a'.repeat(9_000)}`,
      'Bearer a.b.c',
      'Bearer ä',
    ]) {
      await refuses(callers, { authorization })
    }
    await refuses(callers, {})
  })
})
