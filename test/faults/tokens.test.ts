/**
 * Faults of tokens: what a token endpoint can be talked into, and what is left when it is stopped halfway.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Caller } from '../../src/model/access.ts'
import { refKey } from '../../src/model/entity.ts'
import { isWritError } from '../../src/model/errors.ts'
import type { Store } from '../../src/store/port.ts'
import type { OAuthClient } from '../support/oauth.ts'
import { athOf, claimsOf, mint, newKey, OAuthClient as Client, tokenIn } from '../support/oauth.ts'
import { proveNewest } from '../support/prove.ts'
import { declare } from '../support/world.ts'
import { changed } from '../support/changed.ts'
import type { FaultWorld } from './support.ts'
import { entries, fails, keyFor, kindsOf, put, ref, withPolicy } from './support.ts'
import type { Stage } from './token-stage.ts'
import { ENTITIES, LEDGER, stage } from './token-stage.ts'

const textIn = (body: Readonly<Record<string, unknown>>, name: string): string => {
  const value = body[name]
  if (typeof value !== 'string') assert.fail(`no \`${name}\`: ${JSON.stringify(body)}`)
  return value
}
const requestIn = (body: Readonly<Record<string, unknown>>): string => textIn(body, 'access_request_id')
const grantIn = (claims: Readonly<Record<string, unknown>>): string => textIn(claims, 'writ_grant')

const tokensOf = async ({ app, ada }: FaultWorld) => (await app.flows.tokens.list(ada, {})).items

describe('a token', () => {
  test('is issued after a decision, in RFC 9068 form, and its record stands in the same commit', async () => {
    await using s = await stage()
    const answer = await s.web.token(LEDGER, { dpop: false })
    const { body, headers } = answer
    assert.equal(headers.get('cache-control'), 'no-store')
    assert.equal(body['token_type'], 'Bearer')
    assert.equal(body['expires_in'], 300)
    assert.equal(body['issued_token_type'], undefined)
    const text = tokenIn(answer)
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
    const seen = await s.api.introspect(text)
    assert.deepEqual(seen.body, { active: true, token_type: 'Bearer', ...claims })
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
    // nor does what a denial lacks tell what there is
    for (const audience of ['Api/ledger', 'Api/vault', 'Api/none']) {
      const { body } = await s.web.token({ audience, scope: 'ledger:burn' }, { dpop: false })
      assert.equal(body['error'], 'invalid_target', audience)
    }
    assert.deepEqual(await tokensOf(s.world), [])
  })

  test('for what is privileged is bound to a key, and never sent as bearer', async () => {
    await using s = await stage()
    await put(s.world, { type: 'Api', id: 'ledger', sensitivity: 3 })
    const without = await s.web.token(LEDGER, { dpop: false })
    assert.equal(without.body['error'], 'invalid_dpop_proof')
    const answer = await s.web.token(LEDGER)
    assert.equal(answer.body['token_type'], 'DPoP')
    const { cnf } = claimsOf(tokenIn(answer)) as { cnf?: { jkt?: string } }
    assert.equal(cnf?.jkt?.length, 43)
  })

  test('for this server says who asks, and what is done with it is decided then', async () => {
    await using s = await stage()
    const self = tokenIn(await s.web.token({ resource: s.world.app.url }, { dpop: false }))
    const own = await s.world.app.flows.tokens.verifyOwn(self, undefined)
    assert.ok(own !== undefined && 'caller' in own)
    assert.equal(refKey(own.caller.subject), 'Service/web')
    const elsewhere = await s.web.token(LEDGER, { dpop: false })
    const refused = await s.world.app.flows.tokens.verifyOwn(tokenIn(elsewhere), undefined)
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
      assert.equal(same.status, 401)
      const key = await client.post('/oauth/token', { ...form, ...client.authentication() }, { dpop })
      assert.equal(key.status, 400)
      return [same.body['error'], key.body['error']]
    }
    assert.deepEqual(await again(s.web), ['invalid_client', 'invalid_dpop_proof'])
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
    assert.equal(later.body['error'], 'invalid_client')
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
    for (const bad of [undefined, 'x', changed(nonce ?? ''), 7]) {
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
      'access token': tokenIn(await s.web.token(LEDGER)),
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
    const answer = await s.api.exchange({ subject_token: s.idpToken('web'), ...LEDGER })
    const { body } = answer
    const claims = claimsOf(tokenIn(answer))
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
    const issued = async () => tokenIn(await s.web.token(LEDGER, { dpop: false }))
    // the server of the ledger may take a token for it on; nobody else may
    const good = await issued()
    const taken = await s.api.exchange({ subject_token: good, ...LEDGER }, { dpop: false })
    assert.equal(taken.status, 200, JSON.stringify(taken.body))
    const child = tokenIn(taken)
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
    const bound = tokenIn(await s.web.token({ resource: s.world.app.url }))
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

describe('a challenge', () => {
  const MIGRATION = { audience: 'Database/orders', scope: 'db:migrate' }

  test('carries its offer; an ordinary client submits it and comes back with the approval', async () => {
    await using s = await stage()
    const { flows } = s.world.app
    const task = await declare(s.world)
    const asked = { ...MIGRATION, writ_task: task }
    const challenged = await s.migrator.token(asked)
    assert.equal(challenged.status, 400)
    assert.equal(challenged.body['error'], 'interaction_required')
    const { access_request: offer, attempt } = challenged.body as Record<string, Record<string, string>>
    assert.deepEqual(await tokensOf(s.world), [])
    // as itself, with a token that says no more than who it is
    const self = tokenIn(await s.migrator.token({ resource: s.world.app.url }, { dpop: false }))
    const own = await flows.tokens.verifyOwn(self, undefined)
    assert.ok(own !== undefined && 'caller' in own)
    const request = await flows.submit(own.caller, {
      ...(attempt as unknown as Parameters<typeof flows.submit>[1]),
      denial: {
        bindingToken: offer?.['binding_token'] ?? '',
        expiresAt: Date.parse(offer?.['expires_at'] ?? ''),
      },
    })
    const pending = await s.migrator.token({ ...asked, access_request: request.id })
    assert.equal(pending.body['error'], 'authorization_pending')
    const { approval = '' } = await flows.approve(s.world.grace, request.id, { statement: request.digest })
    const without = await s.migrator.token({ ...asked, approval }, { dpop: false })
    assert.equal(without.body['error'], 'invalid_dpop_proof')
    const issued = await s.migrator.token({ ...asked, approval })
    const claims = claimsOf(tokenIn(issued))
    assert.equal(claims['writ_task'], task)
    const { grant } = await flows.grant(s.world.migrator, grantIn(claims))
    assert.ok((claims['exp'] as number) * 1_000 <= grant.endsAt)
    assert.equal(claims['writ_single_use'], true)
    // it was approved once
    assert.notEqual((await s.migrator.token({ ...asked, approval })).status, 200)
    tokenIn(await s.api.exchange({ subject_token: s.idpToken('web'), ...LEDGER }))
    await proveNewest(s.world.app, s.world.ada, 20)
  })

  test('is submitted and followed at the token endpoint alone', async () => {
    await using s = await stage()
    const { flows } = s.world.app
    const asked = { ...MIGRATION, writ_task: await declare(s.world) }
    const { body } = await s.migrator.token({ ...asked, access_request: 'submit' })
    assert.equal(body['error'], 'authorization_pending')
    const id = requestIn(body)
    assert.equal((await s.web.token({ ...asked, access_request: id })).body['error'], 'invalid_request')
    const request = await flows.request(s.world.grace, id)
    await flows.approve(s.world.grace, id, { statement: request.digest })
    tokenIn(await s.migrator.token({ ...asked, access_request: id }))

    const again = await s.migrator.token({
      ...MIGRATION,
      writ_task: await declare(s.world),
      access_request: 'submit',
    })
    const other = requestIn(again.body)
    const { digest } = await flows.request(s.world.grace, other)
    await flows.denyRequest(s.world.grace, other, { statement: digest })
    assert.equal((await s.migrator.token({ ...asked, access_request: other })).body['error'], 'access_denied')
  })

  test('ends with its grant, its task and its subject, at introspection at once', async () => {
    const ends: Readonly<Record<string, (s: Stage, grant: string, task: string) => Promise<unknown>>> = {
      grant: (s, grant) => s.world.app.flows.revokeGrant(s.world.ada, grant, 'test'),
      task: (s, _grant, task) => s.world.app.flows.endTask(s.world.migrator, task, 'completed'),
      heartbeat: async (s) => s.world.clock.advance(15_000),
      subject: (s) =>
        s.world.app.flows.locks.lock(s.world.ada, {
          what: 'subject',
          about: 'Agent/migrator',
          reason: 'test',
        }),
      inventory: (s) => put(s.world, { type: 'Agent', id: 'migrator', parents: [] }),
    }
    await using s = await stage()
    for (const [name, end] of Object.entries(ends)) {
      const task = await declare(s.world)
      const asked = { ...MIGRATION, writ_task: task }
      const { body } = await s.migrator.token({ ...asked, access_request: 'submit' })
      const id = requestIn(body)
      const { digest } = await s.world.app.flows.request(s.world.grace, id)
      await s.world.app.flows.approve(s.world.grace, id, { statement: digest })
      const token = tokenIn(await s.migrator.token({ ...asked, access_request: id }))
      const seen = await s.world.app.flows.tokens.introspect(s.world.ada, token, { url: '' })
      assert.ok(seen !== undefined, name)
      await end(s, grantIn(claimsOf(token)), task)
      assert.equal(
        await s.world.app.flows.tokens.introspect(s.world.ada, token, { url: '' }),
        undefined,
        name,
      )
      if (name === 'subject') {
        await s.world.app.flows.deleteEntity(s.world.ada, ref('Agent/migrator'))
        break
      }
    }
  })

  test('of several things issues one token for all of them, or none and spends nothing', async () => {
    await using s = await stage()
    const both = await s.web.token(
      { audience: 'Api/ledger', scope: 'ledger:read ledger:post' },
      { dpop: false },
    )
    assert.equal(claimsOf(tokenIn(both))['scope'], 'ledger:read ledger:post')
    const mixed = await s.api.token({ audience: 'Api/ledger', scope: 'ledger:read ledger:post' })
    assert.equal(mixed.body['error'], 'invalid_target')
    const details = JSON.stringify([
      { type: 'writ', action: 'ledger:read', resource: 'Api/ledger', properties: { limit: 5 } },
    ])
    const rich = await s.web.token({ authorization_details: details }, { dpop: false })
    assert.deepEqual(claimsOf(tokenIn(rich))['authorization_details'], JSON.parse(details))
    assert.equal(claimsOf(tokenIn(rich))['aud'], 'Api/ledger')
  })
})

describe('B23 a token that is good once', () => {
  const ONCE = { audience: 'Api/ledger', scope: 'ledger:once' }

  test('is used by the first look of its server, and by nobody else', async () => {
    await using s = await stage()
    const token = tokenIn(await s.web.token(ONCE, { dpop: false }))
    assert.equal((await s.web.introspect(token)).body['active'], false, 'its holder may not look')
    const { tokens } = s.world.app.flows
    // its server, as one with an API key would be
    const server: Caller = { id: 'key:x', kind: 'key', subject: ref('Api/ledger'), generation: 0 }
    const others = await Promise.all([1, 2, 3, 4].map(() => tokens.introspect(server, token, { url: '' })))
    assert.equal(others.filter((one) => one !== undefined).length, 1)
    const another = tokenIn(await s.web.token(ONCE, { dpop: false }))
    const looks = await Promise.all([1, 2, 3, 4].map(() => s.api.introspect(another)))
    assert.equal(looks.filter(({ body }) => body['active'] === true).length, 1)
    assert.ok((await kindsOf(s.world.app)).includes('token.used'))
  })

  test('becomes none that is good more often by an exchange', async () => {
    await using s = await stage()
    const both = tokenIn(await s.web.token({ ...ONCE, scope: 'ledger:once ledger:read' }, { dpop: false }))
    const child = tokenIn(await s.api.exchange({ subject_token: both, ...LEDGER }, { dpop: false }))
    assert.equal(claimsOf(child)['writ_single_use'], true)
    const looks = await Promise.all([1, 2, 3].map(() => s.api.introspect(child)))
    assert.equal(looks.filter(({ body }) => body['active'] === true).length, 1)
  })

  test('is exchanged once', async () => {
    await using s = await stage()
    const token = tokenIn(await s.web.token(ONCE, { dpop: false }))
    const answers = await Promise.all(
      [1, 2, 3].map(() => s.api.exchange({ subject_token: token, ...ONCE }, { dpop: false })),
    )
    assert.equal(answers.filter(({ status }) => status === 200).length, 1)
  })
})

describe('introspection and revocation', () => {
  test('are for who proves to be somebody, and say nothing to who may not know', async () => {
    await using s = await stage()
    const token = tokenIn(await s.web.token(LEDGER, { dpop: false }))
    const nobody = await s.web.introspect(token, {})
    assert.equal(nobody.status, 401)
    for (const [client, text] of [
      [s.migrator, token],
      [s.api, 'x'],
      [s.api, `${token}x`],
      [s.api, s.idpToken('web')],
    ] as const) {
      assert.deepEqual((await client.introspect(text)).body, { active: false })
    }
    const bearer = await s.web.post(
      '/oauth/introspect',
      { token },
      { authorization: `Bearer ${s.world.tokens.ada}` },
    )
    assert.equal(bearer.body['active'], true)
    assert.equal((await s.web.post('/oauth/revoke', { token })).status, 401)
    for (const text of ['x', s.idpToken('web'), token, token]) {
      const { status, body } = await s.web.post('/oauth/revoke', { ...s.web.authentication(), token: text })
      assert.deepEqual([status, body], [200, {}])
    }
    assert.deepEqual((await s.api.introspect(token)).body, { active: false })
  })

  test('policy that changes ends what it permitted', async () => {
    await using s = await stage()
    const token = tokenIn(await s.web.token(LEDGER, { dpop: false }))
    await put(s.world, { type: 'Service', id: 'web', parents: [] })
    assert.deepEqual((await s.api.introspect(token)).body, { active: false })
  })
})

describe('what has ended', () => {
  test('is forgotten, and nothing before it', async () => {
    await using s = await stage()
    const { app } = s.world
    await s.web.token(LEDGER)
    const left = async (kind: 'token' | 'proof') => (await app.store.list(kind, {})).items.length
    await app.flows.sweeper.sweep()
    assert.deepEqual([await left('token'), await left('proof')], [1, 2])
    s.world.clock.advance(300_000)
    await app.flows.sweeper.sweep()
    const kept = (await app.store.list('proof', {})).items
    assert.ok(kept.every(({ value }) => value.endsAt > s.now() - 300_000))
    await s.web.token(LEDGER)
    s.world.clock.advance(1_200_000)
    await app.flows.sweeper.sweep()
    assert.deepEqual([await left('token'), await left('proof')], [0, 0])
    await s.web.token(LEDGER)
    s.world.clock.advance(86_400_000)
    const again = await s.world.restart({ clock: s.world.clock })
    try {
      await again.app.flows.sweeper.sweep()
      assert.equal((await again.app.store.list('token', {})).items.length, 0)
      assert.equal((await again.app.store.list('proof', {})).items.length, 0)
    } finally {
      await again.app.stop()
    }
  })
})

describe('B45 the keys of tokens', () => {
  test('rotate: what an old one signed is good until its end, and it signs nothing more', async () => {
    await using s = await stage()
    const { app, ada } = s.world
    const before = tokenIn(await s.web.token(LEDGER, { dpop: false }))
    const kid = (token: string): unknown =>
      (JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()) as { kid?: unknown }).kid
    s.world.clock.advance(1_000)
    await app.flows.transparency.rotate(ada, { use: 'token' })
    s.world.clock.advance(1_000)
    const after = tokenIn(await s.web.token(LEDGER, { dpop: false }))
    assert.notEqual(kid(before), kid(after))
    for (const token of [before, after]) assert.equal((await s.api.introspect(token)).body['active'], true)
    const { keys } = (await (await fetch(`${app.url}/.well-known/jwks.json`)).json()) as {
      keys: readonly Record<string, string>[]
    }
    for (const token of [before, after]) assert.ok(keys.some((key) => key['kid'] === kid(token)))
    const [retired] = (await app.store.list('signer', { index: 'signer.use', value: 'token' })).items.filter(
      ({ value }) => value.retiredAt !== undefined,
    )
    assert.equal(retired?.value.sealed, '', 'its private half is gone')
    // given up: nothing it signed is believed
    await app.flows.transparency.rotate(ada, { use: 'token', compromised: true, reason: 'test' })
    assert.equal((await s.api.introspect(after)).body['active'], false)
    assert.equal((await s.api.introspect(before)).body['active'], true)
    await fails(app.flows.transparency.rotate(s.world.migrator, { use: 'token' }), 'ERR_FORBIDDEN')
  })
})

describe('a token for this server', () => {
  const ask = (
    s: Stage,
    headers: Readonly<Record<string, string>>,
    subject = 'web',
    action = 'ledger:read',
  ) =>
    fetch(`${s.web.url}/access/v1/evaluation`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({
        subject: { type: 'Service', id: subject },
        action: { name: action },
        resource: { type: 'Api', id: 'ledger' },
      }),
    })
  const decides = async (response: Response): Promise<unknown> =>
    ((await response.json()) as { decision?: unknown }).decision

  test('opens the API to who proves its key, once with each proof, and as bearer to nobody', async () => {
    await using s = await stage()
    const token = tokenIn(await s.web.token({ resource: s.web.url }))
    const path = '/access/v1/evaluation'
    const proof = s.web.proof({ ath: athOf(token) }, {}, path)
    const authorization = `DPoP ${token}`
    assert.equal(await decides(await ask(s, { authorization, dpop: proof })), true)
    const replayed = await ask(s, { authorization, dpop: proof })
    assert.equal(replayed.status, 401)
    assert.match(replayed.headers.get('www-authenticate') ?? '', /^DPoP .*error="invalid_dpop_proof"/u)
    const thief = new Client('web', s.web.url, s.now)
    for (const headers of [
      { authorization: `Bearer ${token}` },
      { authorization },
      { authorization, dpop: s.web.proof({}, {}, path) },
      { authorization, dpop: s.web.proof({ ath: athOf(token) }) },
      { authorization, dpop: thief.proof({ ath: athOf(token) }, {}, path) },
      { authorization: `Bearer ${token}`, dpop: s.web.proof({ ath: athOf(token) }, {}, path) },
      { authorization: `DPoP ${s.world.tokens.migrator}`, dpop: s.web.proof({}, {}, path) },
    ]) {
      assert.equal((await ask(s, headers)).status, 401, JSON.stringify(Object.keys(headers)))
    }
    const stale = await ask(s, {
      authorization,
      dpop: s.web.proof({ ath: athOf(token), nonce: 'x' }, {}, path),
    })
    assert.match(stale.headers.get('www-authenticate') ?? '', /use_dpop_nonce/u)
    assert.ok(stale.headers.get('dpop-nonce') !== null)
  })

  test('B29 of somebody who acts for another is decided for both', async () => {
    await using s = await stage()
    const self = tokenIn(
      await s.api.exchange({ subject_token: s.idpToken('poor'), resource: s.web.url }, { dpop: false }),
    )
    const headers = { authorization: `Bearer ${self}` }
    // api may read, poor may not
    assert.equal(await decides(await ask(s, headers, 'api')), false)
    const alone = tokenIn(await s.api.token({ resource: s.web.url }, { dpop: false }))
    assert.equal(await decides(await ask(s, { authorization: `Bearer ${alone}` }, 'api')), true)
    const both = tokenIn(
      await s.api.exchange({ subject_token: s.idpToken('web'), resource: s.web.url }, { dpop: false }),
    )
    assert.equal(await decides(await ask(s, { authorization: `Bearer ${both}` }, 'api')), true)
    assert.equal(
      await decides(await ask(s, { authorization: `Bearer ${both}` }, 'api', 'ledger:post')),
      false,
    )
  })

  test('B4 is the only token of ours that is accepted here', async () => {
    await using s = await stage()
    const elsewhere = tokenIn(await s.web.token(LEDGER, { dpop: false }))
    assert.equal((await ask(s, { authorization: `Bearer ${elsewhere}` })).status, 401)
    const forged = mint(s.web.key, { kid: 'web', typ: 'at+jwt' }, claimsOf(elsewhere))
    assert.equal((await ask(s, { authorization: `Bearer ${forged}` })).status, 401)
  })
})

describe('B29 B41 whatever is exchanged', () => {
  const ACTIONS = ['a', 'b', 'c']
  const NAMES = ['one', 'two', 'three']
  const rights = NAMES.flatMap((api) => ACTIONS.map((action) => ({ api, action })))
  const groupOf = ({ api, action }: { api: string; action: string }): string => `Group/may-${action}-${api}`
  const policy = rights
    .map(
      (right) =>
        `@id("may-${right.action}-${right.api}") permit (principal in Group::"may-${right.action}-${right.api}", action == Action::"${right.action}", resource == Api::"${right.api}");`,
    )
    .join('\n')

  test('is never more than what subject, actor, client, parent and task may do together', async () => {
    await using s = await stage({
      policies: withPolicy(policy),
      entities: [
        ...ENTITIES,
        ...NAMES.map((id) => ({ type: 'Api', id, kind: 'resource' as const, sensitivity: 1 as const })),
      ],
    })
    const { tokens } = s.world.app.flows
    const url = `${s.world.app.url}/oauth/token`
    const some = fc.subarray(rights, { minLength: 5 })
    const wanted = fc.record({
      api: fc.constantFrom('one', ...NAMES),
      scope: fc.subarray(ACTIONS, { minLength: 1 }),
    })
    const ask = async (
      parts: Readonly<{ subjectToken: string; actorToken?: string }>,
      { api, scope }: Readonly<{ api: string; scope: readonly string[] }>,
      client?: OAuthClient,
    ) => {
      try {
        const issued = await tokens.token(
          {
            grant: 'exchange',
            client: client === undefined ? {} : { assertion: client.assertion() },
            ...parts,
            requested: 'access_token',
            audience: { ref: ref(`Api/${api}`) },
            scope,
            details: [],
          },
          { url },
        )
        return 'token' in issued ? issued : undefined
      } catch (error) {
        assert.ok(isWritError(error) && error.problem !== undefined, String(error))
        return undefined
      }
    }
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          web: some,
          api: some,
          poor: some,
          withActor: fc.boolean(),
          withClient: fc.boolean(),
          first: wanted,
          next: wanted,
        }),
        async ({ withActor, withClient, first, next, ...given }) => {
          await put(
            s.world,
            ...(['web', 'api', 'poor'] as const).map((id) => ({
              type: 'Service',
              id,
              parents: given[id].map((right) => ref(groupOf(right))),
            })),
          )
          const may = (who: 'web' | 'api' | 'poor', api: string, action: string): boolean =>
            given[who].some((right) => right.api === api && right.action === action)
          const chain: ('web' | 'api' | 'poor')[] = [
            ...(withClient ? (['api'] as const) : []),
            ...(withActor ? (['poor'] as const) : []),
            'web',
          ]
          const issued = await ask(
            {
              subjectToken: s.idpToken('web'),
              ...(withActor ? { actorToken: s.idpToken('poor') } : {}),
            },
            first,
            withClient ? s.api : undefined,
          )
          const all = first.scope.every((action) => chain.every((who) => may(who, first.api, action)))
          assert.equal(issued !== undefined, all)
          if (issued === undefined) return
          assert.deepEqual(
            issued.token.chain.map((one) => one.id),
            chain,
          )
          assert.deepEqual(issued.token.scope, first.scope)
          assert.deepEqual(claimsOf(issued.text)['scope'], first.scope.join(' '))
          // the server that it is for may take it on, and part of it only
          const taken = await ask({ subjectToken: issued.text }, next, s.api)
          const further = new Set(['api', ...chain] as const)
          const part =
            first.api === 'one' &&
            next.api === 'one' &&
            next.scope.every(
              (action) =>
                first.scope.includes(action) && [...further].every((who) => may(who, 'one', action)),
            )
          assert.equal(taken !== undefined, part)
          if (taken === undefined) return
          assert.deepEqual(
            taken.token.chain.map((one) => one.id),
            [...further],
          )
          assert.ok(taken.token.endsAt <= issued.token.endsAt)
        },
      ),
      { numRuns: 120 },
    )
  })
})

describe('B40 whatever goes wrong', () => {
  test('there is a token only with its permit, and an answer only after both', async () => {
    await using s = await stage()
    const { app } = s.world
    const request = (): Parameters<typeof app.flows.tokens.token>[0] => ({
      grant: 'assertion',
      client: {},
      assertion: s.idpToken('web'),
      requested: 'access_token',
      audience: { ref: ref('Api/ledger') },
      scope: ['ledger:read'],
      details: [],
    })
    const arrival = { url: `${s.web.url}/oauth/token` }
    const store = app.decision.store as { commit: Store['commit'] }
    const { commit } = store
    const permits = async (): Promise<number> =>
      (await entries(app)).filter(
        ({ kind, outcome, refs }) =>
          kind === 'decision' && outcome === 'permit' && (refs as readonly string[]).includes('Api/ledger'),
      ).length
    // killed before the commit: nothing is there
    store.commit = () => Promise.reject(new Error('killed'))
    await assert.rejects(app.flows.tokens.token(request(), arrival), /killed/)
    store.commit = commit
    assert.deepEqual([await permits(), (await tokensOf(s.world)).length], [0, 0])
    // killed after the commit: the token is nobody's, listed, and can be ended
    store.commit = async (item) => {
      await commit(item)
      throw new Error('killed')
    }
    await assert.rejects(app.flows.tokens.token(request(), arrival), /killed/)
    store.commit = commit
    const [left, ...more] = await tokensOf(s.world)
    assert.ok(left !== undefined)
    assert.deepEqual([await permits(), more.length], [1, 0])
    assert.equal(await app.flows.tokens.end(left), undefined)
    await app.flows.locks.lock(s.world.ada, {
      what: 'subject',
      about: 'Service/web',
      reason: 'nobody knows who has it',
    })
    assert.equal(await app.flows.tokens.end(left), 'subject_ended')
  })
})

describe('B29 a token under a registered delegation', () => {
  /** ada lets Service/api read the ledger for her; she may read and post, api may read. */
  async function delegated(s: Stage, more: Readonly<Record<string, unknown>> = {}): Promise<string> {
    await put(s.world, {
      type: 'Person',
      id: 'ada',
      parents: [ref('Group/administrators'), ref('Group/posters'), ref('Group/readers')],
    })
    const made = await s.world.app.flows.delegations.make(s.world.ada, {
      actor: ref('Service/api'),
      actions: ['ledger:read', 'ledger:post'],
      ...more,
    })
    return made.id
  }
  const ask = (s: Stage, form: Readonly<Record<string, string>>) =>
    s.api.token({ ...LEDGER, ...form }, { dpop: false })

  test('is of the delegator, by the actor, and decided for both', async () => {
    await using s = await stage()
    const id = await delegated(s)
    const text = tokenIn(await ask(s, { writ_delegation: id }))
    const claims = claimsOf(text)
    assert.deepEqual(
      [claims['sub'], claims['act'], claims['writ_delegation']],
      ['Person/ada', { sub: 'Service/api' }, id],
    )
    // the delegator may post, the actor may not; and what is out of its bounds is out for both
    for (const scope of ['ledger:post', 'ledger:once']) {
      assert.equal((await ask(s, { writ_delegation: id, scope })).body['error'], 'invalid_target', scope)
    }
    assert.equal((await ask(s, { writ_delegation: id, resource: s.web.url })).body['error'], 'invalid_target')
    const self = await s.api.token({ resource: s.web.url, writ_delegation: id }, { dpop: false })
    assert.equal(self.body['error'], 'invalid_request')
    const issued = (await entries(s.world.app)).find(({ kind }) => kind === 'token.issued')
    assert.ok((issued?.['refs'] as readonly string[] | undefined)?.includes(id))
  })

  test('ends with it, and so does what is exchanged for it', async () => {
    const ends: Readonly<Record<string, (s: Stage, id: string) => unknown>> = {
      revoked: (s, id) => s.world.app.flows.delegations.revoke(s.world.ada, id, 'test'),
      over: (s) => s.world.clock.advance(61_000),
    }
    for (const [name, end] of Object.entries(ends)) {
      await using s = await stage()
      const id = await delegated(s, name === 'over' ? { life: 60_000 } : {})
      const answer = await ask(s, { writ_delegation: id })
      const text = tokenIn(answer)
      if (name === 'over') assert.equal(answer.body['expires_in'], 60)
      const child = tokenIn(await s.api.exchange({ subject_token: text, ...LEDGER }, { dpop: false }))
      const { tokens } = s.world.app.flows
      const records = await tokensOf(s.world)
      assert.equal(records.length, 2)
      for (const one of [text, child]) assert.equal((await s.api.introspect(one)).body['active'], true, name)
      await end(s, id)
      for (const one of [text, child])
        assert.deepEqual((await s.api.introspect(one)).body, { active: false }, name)
      if (name === 'revoked')
        for (const one of records) assert.equal(await tokens.end(one), 'delegation_ended')
      const again = await s.api.exchange({ subject_token: text, ...LEDGER }, { dpop: false })
      assert.equal(again.body['error'], 'invalid_request')
      assert.notEqual((await ask(s, { writ_delegation: id })).status, 200)
    }
  })

  test('is not widened by the task that it is under', async () => {
    await using s = await stage()
    const id = await delegated(s, { actions: ['ledger:read'] })
    const { flows } = s.world.app
    const api = await keyFor(s.world, 'Service/api')
    const { id: task } = await flows.declareTask(api, {
      purpose: 'close the month',
      delegation: id,
      scope: { actions: ['ledger:read', 'ledger:once'], resources: [ref('Api/ledger')] },
    })
    const text = tokenIn(await ask(s, { writ_delegation: id, writ_task: task }))
    const wider = await s.api.exchange(
      { subject_token: text, ...LEDGER, scope: 'ledger:once' },
      { dpop: false },
    )
    assert.equal(wider.body['error'], 'invalid_scope')
  })
})
