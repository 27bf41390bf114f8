/**
 * Faults of tokens: what a token endpoint can be talked into, and what is left when it is stopped halfway.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { refKey } from '../../src/model/entity.ts'
import type { Key, OAuthClient } from '../support/oauth.ts'
import {
  athOf,
  claimsOf,
  clientConfig,
  idpToken,
  issuerConfig,
  mint,
  newKey,
  OAuthClient as Client,
  tokenConfig,
} from '../support/oauth.ts'
import type { WorldOptions } from '../support/world.ts'
import type { FaultWorld } from './support.ts'
import { entries, faultWorld, kindsOf, put, ref, settle, withPolicy } from './support.ts'

const POLICY = withPolicy(`
@id("ledger-read") permit (principal in Group::"readers", action == Action::"ledger:read", resource is Api);
@id("ledger-post") permit (principal in Group::"posters", action == Action::"ledger:post", resource is Api);
@id("once") @uses("1") permit (principal in Group::"readers", action == Action::"ledger:once", resource is Api);
`)

const ENTITIES = [
  { type: 'Api', id: 'ledger', kind: 'resource' as const, sensitivity: 1 as const },
  { type: 'Api', id: 'vault', kind: 'resource' as const, sensitivity: 4 as const },
  {
    type: 'Service',
    id: 'web',
    kind: 'workload' as const,
    owner: ref('Person/ada'),
    parents: [ref('Group/readers'), ref('Group/posters')],
  },
  {
    type: 'Service',
    id: 'api',
    kind: 'workload' as const,
    owner: ref('Person/ada'),
    parents: [ref('Group/readers')],
  },
  { type: 'Service', id: 'poor', kind: 'workload' as const, owner: ref('Person/ada') },
]

type Stage = Readonly<{
  world: FaultWorld
  /** Service/web, which may read and post; Service/api, which may read and is the ledger's server; both have keys. */
  web: OAuthClient
  api: OAuthClient
  /** The deployer of S01 with a key of its own. */
  migrator: OAuthClient
  idp: Key
  now: () => number
  idpToken(sub: string, more?: Readonly<Record<string, unknown>>): string
  [Symbol.asyncDispose](): Promise<void>
}>

async function stage(
  options: WorldOptions & { tokens?: Parameters<typeof tokenConfig>[1] } = {},
): Promise<Stage> {
  const { tokens, ...rest } = options
  const idp = newKey('idp-1')
  const clients = ['web', 'api', 'migrator'].map((id) => ({ id, key: newKey(id) }))
  const [web, api, migrator] = clients as [(typeof clients)[0], (typeof clients)[0], (typeof clients)[0]]
  const world = await faultWorld({
    http: true,
    policies: POLICY,
    entities: ENTITIES,
    ...rest,
    config: {
      issuers: [issuerConfig(idp)],
      tokens: tokenConfig(
        [
          clientConfig(web, 'Service/web'),
          clientConfig(api, 'Service/api', ['Api/ledger']),
          clientConfig(migrator, 'Agent/migrator'),
        ],
        tokens,
      ),
      ...rest.config,
    },
  })
  const now = (): number => world.clock.wall()
  const made = ({ id, key }: { id: string; key: Key }): OAuthClient => new Client(id, world.app.url, now, key)
  return {
    world,
    web: made(web),
    api: made(api),
    migrator: made(migrator),
    idp,
    now,
    idpToken: (sub, more) => idpToken(idp, sub, now(), more),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  }
}

const LEDGER = { audience: 'Api/ledger', scope: 'ledger:read' }

const tokensOf = async ({ app, ada }: FaultWorld) => (await app.flows.tokens.list(ada, {})).items

describe('a token', () => {
  test('is issued after a decision, in RFC 9068 form, and its record stands in the same commit', async () => {
    await using s = await stage()
    const { status, body, headers } = await s.web.token(LEDGER, { dpop: false })
    assert.equal(status, 200, JSON.stringify(body))
    assert.equal(headers.get('cache-control'), 'no-store')
    assert.equal(body['token_type'], 'Bearer')
    assert.equal(body['expires_in'], 300)
    assert.equal(body['issued_token_type'], undefined)
    const text = String(body['access_token'])
    const claims = claimsOf(text)
    const { jti } = claims
    assert.deepEqual(claims, {
      iss: s.world.app.url,
      sub: 'Service/web',
      aud: 'Api/ledger',
      client_id: 'web',
      iat: s.web.seconds,
      exp: s.web.seconds + 300,
      jti,
      scope: 'ledger:read',
    })
    const log = await entries(s.world.app)
    const issued = log.find(({ kind }) => kind === 'token.issued')
    const decision = log.find(
      ({ kind, outcome }) => kind === 'decision' && outcome === 'permit' && log.indexOf(issued ?? {}) >= 0,
    )
    assert.equal(issued?.['token'], jti)
    assert.ok(decision !== undefined)
    assert.ok(!JSON.stringify(log).includes(text.split('.')[2] ?? ''), 'its text is nowhere')
    const answer = await s.api.introspect(text)
    assert.deepEqual(answer.body, { active: true, token_type: 'Bearer', ...claims })
  })

  test('that policy refuses is not issued, and unknown targets look the same', async () => {
    await using s = await stage()
    const denied = await s.web.token({ audience: 'Api/vault', scope: 'ledger:burn' })
    const unknown = await s.web.token({ audience: 'Api/none', scope: 'ledger:burn' })
    for (const { status, body } of [denied, unknown]) {
      assert.equal(status, 400)
      assert.equal(body['error'], 'invalid_target')
      assert.equal(body['access_token'], undefined)
    }
    assert.deepEqual(Object.keys(denied.body).sort(), Object.keys(unknown.body).sort())
    assert.deepEqual(await tokensOf(s.world), [])
  })

  test('for what is privileged is bound to a key, and never sent as bearer', async () => {
    await using s = await stage()
    await put(s.world, { type: 'Api', id: 'ledger', sensitivity: 3 })
    const without = await s.web.token(LEDGER, { dpop: false })
    assert.equal(without.body['error'], 'invalid_dpop_proof')
    const { body } = await s.web.token(LEDGER)
    assert.equal(body['token_type'], 'DPoP')
    const { cnf } = claimsOf(String(body['access_token'])) as { cnf?: { jkt?: string } }
    assert.equal(cnf?.jkt?.length, 43)
  })

  test('for this server says who asks, and what is done with it is decided then', async () => {
    await using s = await stage()
    const { body } = await s.web.token({ resource: s.world.app.url }, { dpop: false })
    const own = await s.world.app.flows.tokens.verifyOwn(String(body['access_token']), undefined)
    assert.ok(own !== undefined && 'caller' in own)
    assert.equal(refKey(own.caller.subject), 'Service/web')
    const elsewhere = await s.web.token(LEDGER, { dpop: false })
    const refused = await s.world.app.flows.tokens.verifyOwn(
      String(elsewhere.body['access_token']),
      undefined,
    )
    assert.ok(refused !== undefined && 'refused' in refused)
  })
})

describe('B6 a proof', () => {
  test('is accepted once, also by another process after a restart', async () => {
    await using s = await stage()
    await s.web.token(LEDGER) // learns the nonce
    const assertion = s.web.assertion()
    const dpop = s.web.proof()
    const form = {
      grant_type: 'client_credentials',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      ...LEDGER,
    }
    const first = await s.web.post('/oauth/token', { ...form, client_assertion: assertion }, { dpop })
    assert.equal(first.status, 200, JSON.stringify(first.body))
    const again = async (client: OAuthClient) => {
      const same = await client.post('/oauth/token', { ...form, client_assertion: assertion })
      assert.equal(same.status, 400)
      const key = await client.post('/oauth/token', { ...form, ...client.authentication() }, { dpop })
      assert.equal(key.status, 400)
      return [same.body['error'], key.body['error']]
    }
    assert.deepEqual(await again(s.web), ['invalid_request', 'invalid_request'])
    const { size } = await s.world.app.store.log.head()
    const restarted = await s.world.restart({ clock: s.world.clock })
    try {
      // the port is another, so what was signed for the old URL is verified as if it were the same
      const tokens = restarted.app.flows.tokens
      await assert.rejects(
        tokens.token(
          { grant: 'client', client: {}, requested: 'access_token', scope: ['ledger:read'], details: [] },
          { url: `${s.web.url}/oauth/token`, dpop },
        ),
        /client_credentials needs/,
      )
      const proofs = await restarted.app.store.list('proof', {})
      assert.ok(proofs.items.some(({ value }) => value.kind === 'dpop'))
      assert.ok(proofs.items.some(({ value }) => value.kind === 'assertion'))
      assert.ok((await restarted.app.store.log.head()).size > size)
    } finally {
      await restarted.app.stop()
    }
  })

  test('of two at once one wins', async () => {
    await using s = await stage()
    const form = {
      grant_type: 'client_credentials',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: s.web.assertion(),
      ...LEDGER,
    }
    const answers = await Promise.all(Array.from({ length: 8 }, () => s.web.post('/oauth/token', form)))
    assert.equal(answers.filter(({ status }) => status === 200).length, 1)
    assert.equal((await tokensOf(s.world)).length, 1)
  })

  test('is spent by a refusal too', async () => {
    await using s = await stage()
    const form = {
      grant_type: 'client_credentials',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: s.web.assertion(),
      audience: 'Api/ledger',
    }
    assert.equal(
      (await s.web.post('/oauth/token', { ...form, scope: 'ledger:burn' })).body['error'],
      'invalid_target',
    )
    const later = await s.web.post('/oauth/token', { ...form, scope: 'ledger:read' })
    assert.equal(later.body['error'], 'invalid_request')
  })

  test('for another method, URL, token, key, time or nonce is refused', async () => {
    await using s = await stage()
    await s.web.token(LEDGER)
    const { nonce } = s.web
    const other = newKey('other')
    const wrong: Readonly<Record<string, () => string>> = {
      method: () => s.web.proof({ htm: 'GET' }),
      url: () => s.web.proof({ htu: 'https://other.example/oauth/token' }),
      path: () => s.web.proof({ htu: `${s.web.url}/oauth/introspect` }),
      userinfo: () => s.web.proof({ htu: s.web.url.replace('://', '://a@') + '/oauth/token' }),
      early: () => s.web.proof({ iat: s.web.seconds + 61 }),
      late: () => s.web.proof({ iat: s.web.seconds - 61 }),
      'no jti': () => s.web.proof({ jti: undefined }),
      'long jti': () => s.web.proof({ jti: 'x'.repeat(129) }),
      ath: () => s.web.proof({ ath: athOf('x') }),
      type: () => s.web.proof({}, { typ: 'JWT' }),
      'another key': () => s.web.proof({}, { jwk: other.jwk }),
      'no key': () => s.web.proof({}, { jwk: undefined }),
      'private key': () => s.web.proof({}, { jwk: s.web.holder.privateKey.export({ format: 'jwk' }) }),
      'shared key': () => s.web.proof({}, { jwk: { kty: 'oct', k: 'AAAA' } }),
      none: () => s.web.proof({}, { alg: 'none' }),
      hmac: () => s.web.proof({}, { alg: 'HS256' }),
      nonsense: () => 'x.y.z',
    }
    for (const [name, make] of Object.entries(wrong)) {
      const { status, body } = await s.web.post(
        '/oauth/token',
        { grant_type: 'client_credentials', ...s.web.authentication(), ...LEDGER },
        { dpop: make() },
      )
      assert.equal(status, 400, name)
      assert.equal(body['error'], 'invalid_dpop_proof', name)
    }
    for (const bad of [undefined, 'x', `${nonce?.slice(0, -2)}AA`, 7]) {
      const { body } = await s.web.post(
        '/oauth/token',
        { grant_type: 'client_credentials', ...s.web.authentication(), ...LEDGER },
        { dpop: s.web.proof({ nonce: bad }) },
      )
      assert.equal(body['error'], 'use_dpop_nonce')
    }
    // query and fragment do not count, nor does how the host is spelled
    const { status } = await s.web.post(
      '/oauth/token',
      { grant_type: 'client_credentials', ...s.web.authentication(), ...LEDGER },
      { dpop: s.web.proof({ htu: `${s.web.url}/oauth/../oauth/token?a=b#c` }) },
    )
    assert.equal(status, 200)
    s.world.clock.advance(300_000)
    const stale = await s.web.post(
      '/oauth/token',
      { grant_type: 'client_credentials', ...s.web.authentication(), ...LEDGER },
      { dpop: s.web.proof({ nonce }) },
    )
    assert.equal(stale.body['error'], 'use_dpop_nonce')
  })
})

describe('B4 an assertion', () => {
  test('of another type, audience, issuer, subject or time proves no client', async () => {
    await using s = await stage()
    const { seconds, url } = s.web
    const wrong: Readonly<Record<string, string>> = {
      type: s.web.assertion({}, { typ: 'at+jwt' }),
      'logout token': s.web.assertion({}, { typ: 'logout+jwt' }),
      event: s.web.assertion({ events: {} }),
      proof: s.web.proof(),
      audience: s.web.assertion({ aud: 'https://other.example' }),
      'audience with a slash': s.web.assertion({ aud: `${url}/` }),
      'several audiences': s.web.assertion({ aud: [url, 'https://other.example'] }),
      'no audience': s.web.assertion({ aud: undefined }),
      issuer: s.web.assertion({ iss: 'api' }),
      subject: s.web.assertion({ sub: 'api' }),
      'no subject': s.web.assertion({ sub: undefined }),
      'another client': s.web.assertion({ iss: 'api', sub: 'api' }),
      ended: s.web.assertion({ exp: seconds - 61 }),
      'too long': s.web.assertion({ exp: seconds + 3_600 }),
      'no end': s.web.assertion({ exp: undefined }),
      'not yet': s.web.assertion({ nbf: seconds + 61 }),
      'from the future': s.web.assertion({ iat: seconds + 61 }),
      'no jti': s.web.assertion({ jti: undefined }),
      'unknown key': s.web.assertion({}, { kid: 'other' }),
      'other key': mint(newKey('web'), { kid: 'web' }, claimsOf(s.web.assertion())),
      none: s.web.assertion({}, { alg: 'none' }),
      hmac: s.web.assertion({}, { alg: 'HS256' }),
      crit: s.web.assertion({}, { crit: ['exp'] }),
      encrypted: `${s.web.assertion()}.x.y`,
      'access token': String((await s.web.token(LEDGER)).body['access_token']),
    }
    for (const [name, assertion] of Object.entries(wrong)) {
      const { status, body } = await s.web.post('/oauth/token', {
        grant_type: 'client_credentials',
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: assertion,
        ...LEDGER,
      })
      if (status === 429) assert.fail(`${name}: the rate of refusals came first`)
      assert.equal(status, 401, name)
      assert.equal(body['error'], 'invalid_client', name)
    }
    assert.equal((await tokensOf(s.world)).length, 1)
    assert.ok((await kindsOf(s.world.app)).filter((kind) => kind === 'token.refused').length > 10)
  })

  test('no secret is one', async () => {
    await using s = await stage()
    const form = { grant_type: 'client_credentials', ...LEDGER }
    const bySecret = await s.web.post('/oauth/token', { ...form, client_id: 'web', client_secret: 'x' })
    const byHeader = await s.web.post('/oauth/token', form, { authorization: 'Basic d2ViOng=' })
    const byName = await s.web.post('/oauth/token', { ...form, client_id: 'web' })
    for (const { status, body } of [bySecret, byHeader, byName]) {
      assert.equal(status, 401)
      assert.equal(body['error'], 'invalid_client')
    }
    assert.ok(byHeader.headers.get('www-authenticate') !== null)
    assert.equal(bySecret.headers.get('www-authenticate'), null)
  })

  test('B34 of a client whose subject was made again proves nobody', async () => {
    await using s = await stage()
    await s.world.app.flows.deleteEntity(s.world.ada, ref('Service/web'))
    assert.equal((await s.web.token(LEDGER)).body['error'], 'invalid_client')
    await put(s.world, ...ENTITIES)
    assert.equal((await s.web.token(LEDGER)).body['error'], 'invalid_client')
  })
})

describe('B41 B29 an exchange', () => {
  test('is decided for the actor and for whom it acts, and says who acts for whom', async () => {
    await using s = await stage()
    const { status, body } = await s.api.exchange({ subject_token: s.idpToken('web'), ...LEDGER })
    assert.equal(status, 200, JSON.stringify(body))
    const claims = claimsOf(String(body['access_token']))
    assert.equal(claims['sub'], 'Service/web')
    assert.deepEqual(claims['act'], { sub: 'Service/api' })
    assert.equal(body['issued_token_type'], 'urn:ietf:params:oauth:token-type:access_token')
    // web may post, api may not; api may read, poor may not
    assert.equal(
      (
        await s.api.exchange({
          subject_token: s.idpToken('web'),
          audience: 'Api/ledger',
          scope: 'ledger:post',
        })
      ).body['error'],
      'invalid_target',
    )
    assert.equal(
      (await s.api.exchange({ subject_token: s.idpToken('poor'), ...LEDGER })).body['error'],
      'invalid_target',
    )
    const three = await s.api.exchange({
      subject_token: s.idpToken('orders-ci'),
      actor_token: s.idpToken('web'),
      ...LEDGER,
    })
    assert.equal(three.body['error'], 'invalid_target')
  })

  test('of a token with an actor in it keeps every hop', async () => {
    await using s = await stage()
    const token = s.idpToken('web', { act: { sub: 'poor' } })
    assert.equal((await s.api.exchange({ subject_token: token, ...LEDGER })).body['error'], 'invalid_target')
    const loop = s.idpToken('api', { act: { sub: 'web' } })
    assert.equal((await s.api.exchange({ subject_token: loop, ...LEDGER })).body['error'], 'invalid_request')
    const named = s.idpToken('web', { may_act: { sub: 'somebody' } })
    assert.equal((await s.api.exchange({ subject_token: named, ...LEDGER })).body['error'], 'invalid_request')
    const acting = s.idpToken('web', { may_act: { sub: 'api', iss: 'https://idp.example' } })
    const by = await s.api.exchange(
      { subject_token: acting, actor_token: s.idpToken('api'), ...LEDGER },
      { client: false },
    )
    assert.equal(by.status, 200, JSON.stringify(by.body))
  })

  test('of what is revoked, used, ended, foreign or wider issues nothing', async () => {
    await using s = await stage()
    const issued = async () => String((await s.web.token(LEDGER, { dpop: false })).body['access_token'])
    // the server of the ledger may take a token for it on; nobody else may
    const good = await issued()
    const taken = await s.api.exchange({ subject_token: good, ...LEDGER }, { dpop: false })
    assert.equal(taken.status, 200, JSON.stringify(taken.body))
    const child = String(taken.body['access_token'])
    assert.deepEqual(claimsOf(child)['act'], { sub: 'Service/api' })
    const foreign = await s.migrator.exchange({ subject_token: good, ...LEDGER })
    assert.equal(foreign.body['error'], 'invalid_request')
    const anonymous = await s.api.exchange({ subject_token: good, ...LEDGER }, { client: false })
    assert.equal(anonymous.body['error'], 'invalid_request')
    for (const scope of ['ledger:post', 'ledger:read ledger:once']) {
      const wider = await s.api.exchange({ subject_token: good, audience: 'Api/ledger', scope })
      assert.equal(wider.body['error'], 'invalid_scope')
    }
    assert.equal((await s.web.post('/oauth/revoke', { ...s.web.authentication(), token: good })).status, 200)
    assert.equal((await s.api.exchange({ subject_token: good, ...LEDGER })).body['error'], 'invalid_request')
    assert.deepEqual((await s.api.introspect(child)).body, { active: false }, 'what came of it ends with it')
    const late = await issued()
    s.world.clock.advance(300_000)
    assert.equal((await s.api.exchange({ subject_token: late, ...LEDGER })).body['error'], 'invalid_request')
    const expired = s.idpToken('web', { exp: Math.floor(s.now() / 1_000) - 61 })
    assert.equal(
      (await s.api.exchange({ subject_token: expired, ...LEDGER })).body['error'],
      'invalid_request',
    )
  })

  test('B8 keeps the key that a token is bound to', async () => {
    await using s = await stage()
    const { body } = await s.web.token({ audience: 'Writ::System/writ', scope: 'ledger:read' })
    assert.equal(body['error'], 'invalid_target', 'nothing is read there')
    const bound = String((await s.web.token({ resource: s.world.app.url })).body['access_token'])
    const thief = new Client('api', s.web.url, s.now, s.api.key)
    const stolen = await thief.exchange({ subject_token: bound, resource: s.web.url })
    assert.equal(stolen.body['error'], 'invalid_dpop_proof')
    const bearer = await s.web.exchange(
      { subject_token: bound, resource: s.web.url },
      { dpop: false, client: false },
    )
    assert.equal(bearer.body['error'], 'invalid_dpop_proof')
  })

  test('never outlives its subject token', async () => {
    await using s = await stage()
    const token = s.idpToken('web', { exp: Math.floor(s.now() / 1_000) + 42 })
    const { body } = await s.api.exchange({ subject_token: token, ...LEDGER })
    assert.equal(body['expires_in'], 42)
  })
})

describe('B40 the record of a token', () => {
  test('stands although the answer never left: nobody has the token, and it is listed', async () => {
    await using s = await stage()
    const { tokens } = s.world.app.flows
    const request = {
      grant: 'assertion' as const,
      client: {},
      assertion: s.idpToken('web'),
      requested: 'access_token' as const,
      audience: { ref: ref('Api/ledger') },
      scope: ['ledger:read'],
      details: [],
    }
    const issued = await tokens.token(request, { url: `${s.web.url}/oauth/token` })
    assert.ok('token' in issued)
    const again = await s.world.restart({ clock: s.world.clock })
    try {
      assert.deepEqual(
        (await again.app.flows.tokens.list(s.world.ada, {})).items.map(({ id }) => id),
        [issued.token.id],
      )
    } finally {
      await again.app.stop()
    }
  })
})
