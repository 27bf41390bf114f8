/**
 * The token endpoint under somebody who knows the standards: confused deputies, tokens of one kind taken for another,
 * bindings that are laundered, ids that are guessed, work that is made for nothing.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto'
import { describe, test } from 'node:test'
import type { App } from '../../src/app.ts'
import { refKey } from '../../src/model/entity.ts'
import { isWritError, WritError } from '../../src/model/errors.ts'
import type { Json } from '../../src/model/canonical.ts'
import type { Answer, OAuthClient } from '../support/oauth.ts'
import { claimsOf, clientConfig, mint, newKey, tokenConfig, tokenIn } from '../support/oauth.ts'
import { declare } from '../support/world.ts'
import { entries, keyFor, put, ref, withPolicy } from './support.ts'
import type { Stage } from './token-stage.ts'
import { ENTITIES, LEDGER, stage } from './token-stage.ts'

const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
const BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'

const errorOf = ({ body }: Answer): Json | undefined => body['error']

/** By the assertion grant, as who asks there alone. */
const byAssertion = (s: Stage, assertion: string, form: Record<string, string> = {}): Promise<Answer> =>
  s.web.token({ grant_type: BEARER, assertion, ...LEDGER, ...form }, { client: false, dpop: false })

describe('B4 what is one kind of token', () => {
  test('is no other: assertions of clients, our own tokens, proofs', async () => {
    await using s = await stage({ tokens: { senderConstrained: 'never' } })
    // what says that it authenticates a client gives nobody its rights
    const typed = s.api.assertion({}, { typ: 'client-authentication+jwt' })
    assert.equal(errorOf(await byAssertion(s, typed)), 'invalid_grant')
    assert.equal((await byAssertion(s, s.api.assertion())).status, 200)
    // an access token is exchanged, it is no assertion
    const own = tokenIn(
      await s.web.token({ audience: 'Writ::System/writ', scope: 'Writ::observe' }, { dpop: false }),
    )
    assert.equal(
      errorOf(await byAssertion(s, own, { audience: 'Writ::System/writ', scope: 'Writ::observe' })),
      'invalid_grant',
    )
    for (const [name, token] of Object.entries({
      'assertion of a client': s.api.assertion(),
      'proof of possession': s.web.proof(),
      'api key': s.world.tokens.migrator,
      session: s.world.tokens.ada,
    })) {
      const asSubject = await s.web.exchange({ subject_token: token, ...LEDGER }, { dpop: false })
      const asActor = await s.web.exchange(
        { subject_token: s.idpToken('web'), actor_token: token, ...LEDGER },
        { dpop: false },
      )
      assert.deepEqual([errorOf(asSubject), errorOf(asActor)], ['invalid_request', 'invalid_request'], name)
    }
  })

  test('whatever its header says about keys', async () => {
    await using s = await stage()
    const other = newKey('web')
    const injected: readonly Readonly<Record<string, unknown>>[] = [
      { jwk: other.jwk },
      { jku: 'https://evil.example/keys' },
      { x5u: 'https://evil.example/cert' },
      { kid: '../../web' },
      { kid: 'web', jwk: other.jwk, jku: 'https://evil.example/keys' },
    ]
    for (const header of injected) {
      const claims = claimsOf(s.web.assertion())
      const forged = mint(other, { kid: 'web', ...header }, claims)
      const answer = await s.web.token(
        { client_assertion: forged, client_assertion_type: ASSERTION, ...LEDGER },
        { client: false, dpop: false },
      )
      assert.equal(errorOf(answer), 'invalid_client', JSON.stringify(header))
      const idp = mint(other, { typ: 'JWT', ...header }, claimsOf(s.idpToken('web')))
      assert.equal(errorOf(await byAssertion(s, idp)), 'invalid_grant')
    }
  })

  test('an assertion for another server is none for this one, however the request is addressed', async () => {
    await using s = await stage()
    const url = 'https://evil.example/oauth/token'
    const request = {
      grant: 'client' as const,
      requested: 'access_token' as const,
      audience: { ref: ref('Api/ledger') },
      scope: ['ledger:read'],
      details: [],
    }
    await assert.rejects(
      s.world.app.flows.tokens.token(
        { ...request, client: { assertion: s.web.assertion({ aud: url }) } },
        { url },
      ),
      (error: unknown) => isWritError(error) && error.problem === 'invalid_client',
    )
  })
})

describe('B41 who may act', () => {
  test('is asked by every grant', async () => {
    await using s = await stage()
    const token = s.idpToken('web', { may_act: { sub: 'somebody', iss: 'https://idp.example' } })
    const exchanged = await s.api.exchange({ subject_token: token, ...LEDGER }, { dpop: false })
    assert.equal(errorOf(exchanged), 'invalid_request')
    const asserted = await s.api.token({ grant_type: BEARER, assertion: token, ...LEDGER }, { dpop: false })
    assert.equal(errorOf(asserted), 'invalid_grant')
  })

  test('is nobody that is in the chain already, and no more than four', async () => {
    await using s = await stage()
    const nested = (names: readonly string[]): unknown =>
      names.reduceRight<unknown>((act, sub) => ({ sub, ...(act === undefined ? {} : { act }) }), undefined)
    const long = s.idpToken('web', { act: nested(['a', 'b', 'c', 'd']) })
    assert.equal(errorOf(await s.api.exchange({ subject_token: long, ...LEDGER })), 'invalid_request')
    const loop = s.idpToken('web', { act: nested(['a', 'web']) })
    assert.equal(errorOf(await s.api.exchange({ subject_token: loop, ...LEDGER })), 'invalid_request')
    const swapped = await s.api.exchange({
      subject_token: s.idpToken('web'),
      actor_token: s.idpToken('poor', { act: { sub: 'web' } }),
      ...LEDGER,
    })
    assert.equal(errorOf(swapped), 'invalid_request')
  })
})

describe('B8 a binding', () => {
  test('is not lost when the server that a token is for exchanges it', async () => {
    await using s = await stage()
    const bound = tokenIn(await s.web.token(LEDGER))
    const bearer = await s.api.exchange({ subject_token: bound, ...LEDGER }, { dpop: false })
    assert.equal(errorOf(bearer), 'invalid_dpop_proof')
    const answer = await s.api.exchange({ subject_token: bound, ...LEDGER })
    assert.equal(answer.body['token_type'], 'DPoP')
    assert.notDeepEqual(
      claimsOf(tokenIn(answer))['cnf'],
      claimsOf(bound)['cnf'],
      'it is bound to its own key',
    )
  })

  test('is by a key that costs nothing to check', async () => {
    await using s = await stage()
    await s.web.token(LEDGER)
    const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 })
    const jwk = publicKey.export({ format: 'jwk' })
    const proof = (key: Readonly<Record<string, unknown>>): string => {
      const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
      const claims = {
        htm: 'POST',
        htu: `${s.web.url}/oauth/token`,
        iat: s.web.seconds,
        jti: randomUUID(),
        nonce: s.web.nonce,
      }
      const input = `${part({ alg: 'RS256', typ: 'dpop+jwt', jwk: key })}.${part(claims)}`
      return `${input}.${sign('sha256', Buffer.from(input), privateKey).toString('base64url')}`
    }
    const ask = (key: Readonly<Record<string, unknown>>) =>
      s.web.post(
        '/oauth/token',
        { grant_type: 'client_credentials', ...s.web.authentication(), ...LEDGER },
        { dpop: proof(key) },
      )
    assert.equal((await ask(jwk)).status, 200)
    const huge = Buffer.alloc(2_048, 0xff).toString('base64url')
    for (const key of [
      { ...jwk, n: huge },
      { ...jwk, e: huge.slice(0, 500) },
      { ...jwk, e: huge.slice(0, 11) },
    ]) {
      const { body } = await ask(key)
      assert.equal(body['error'], 'invalid_dpop_proof')
      assert.match(JSON.stringify(body['error_description']), /more than 4096/u)
    }
  })
})

describe('B41 a token for this server', () => {
  const evaluate = async (
    s: Stage,
    token: string,
    resource: string,
    action: Readonly<{ name: string; properties?: Readonly<Record<string, unknown>> }>,
  ): Promise<unknown> => {
    const { type, id } = ref(resource)
    const response = await fetch(`${s.web.url}/access/v1/evaluation`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ subject: { type: 'Service', id: 'web' }, action, resource: { type, id } }),
    })
    return ((await response.json()) as { decision?: unknown }).decision
  }

  test('is for the actions, resources and properties that it was issued for, and for no others', async () => {
    await using s = await stage({
      tokens: { senderConstrained: 'never' },
      entities: [...ENTITIES, { type: 'Api', id: 'other', kind: 'resource', sensitivity: 1 }],
    })
    const wide = tokenIn(await s.web.token({ resource: s.web.url }, { dpop: false }))
    const details = [
      { type: 'writ', action: 'ledger:read', resource: 'Api/ledger' },
      { type: 'writ', action: 'ledger:post', resource: 'Api/ledger', properties: { limit: 100 } },
    ]
    const narrow = tokenIn(
      await s.web.token(
        { resource: s.web.url, authorization_details: JSON.stringify(details) },
        { dpop: false },
      ),
    )
    const post = (limit: number) => ({ name: 'ledger:post', properties: { limit } })
    assert.equal(await evaluate(s, wide, 'Api/other', { name: 'ledger:read' }), true)
    assert.equal(await evaluate(s, narrow, 'Api/ledger', { name: 'ledger:read' }), true)
    assert.equal(await evaluate(s, narrow, 'Api/ledger', post(100)), true)
    for (const [resource, action] of [
      ['Api/other', { name: 'ledger:read' }],
      ['Api/ledger', { name: 'ledger:post' }],
      ['Api/ledger', post(101)],
      ['Api/other', post(100)],
      ['Api/ledger', { name: 'ledger:once' }],
    ] as const) {
      assert.equal(await evaluate(s, wide, resource, action), true, `${resource} ${action.name}`)
      assert.equal(await evaluate(s, narrow, resource, action), false, `${resource} ${action.name}`)
    }
  })
})

describe('B33 an id', () => {
  test('of somebody else says no more than one that nobody has', async () => {
    await using s = await stage()
    const { flows } = s.world.app
    // what the migrator has: a task, a request, an approval, a grant; and a delegation of ada to it
    const task = await declare(s.world)
    const asked = { audience: 'Database/orders', scope: 'db:migrate', writ_task: task }
    const { body } = await s.migrator.token({ ...asked, access_request: 'submit' })
    const request = body['access_request_id'] as string
    const { digest } = await flows.request(s.world.grace, request)
    const { approval } = await flows.approve(s.world.grace, request, { statement: digest })
    const issued = claimsOf(tokenIn(await s.migrator.token({ ...asked, access_request: request })))
    const delegation = await flows.delegations.make(s.world.ada, { actor: ref('Agent/migrator') })
    const theirs: Readonly<Record<string, unknown>> = {
      writ_task: task,
      writ_grant: issued['writ_grant'],
      writ_delegation: delegation.id,
      access_request: request,
      approval,
    }
    const targets = [LEDGER, { audience: 'Database/orders', scope: 'db:migrate' }]
    for (const [name, id] of Object.entries(theirs)) {
      assert.equal(typeof id, 'string', name)
      const unknown = String(id).replace(/[^_]{8}$/u, 'zzzzzzzz')
      for (const target of targets) {
        const [one, other] = [
          await s.web.token({ ...target, [name]: String(id) }, { dpop: false }),
          await s.web.token({ ...target, [name]: unknown }, { dpop: false }),
        ]
        const shown = ({ status, body: said }: Answer): string =>
          JSON.stringify([status, said])
            .replaceAll(/(?:dec|tok)_\w+/gu, 'ID')
            .replaceAll(String(id), 'THEIRS')
            .replaceAll(unknown, 'THEIRS')
            .replaceAll(/"access_token":"[^"]+"|"binding_token":"[^"]+"/gu, '')
        assert.equal(shown(one), shown(other), `${name} ${target.scope}`)
      }
    }
  })

  test('of a token shows in no list of somebody else, nor what was before them', async () => {
    await using s = await stage()
    for (let many = 0; many < 3; many += 1) {
      await s.web.token(LEDGER, { dpop: false })
      await s.api.token(LEDGER, { dpop: false })
    }
    const { flows } = s.world.app
    const api = await keyFor(s.world, 'Service/api')
    const mine: string[] = []
    const cursors: string[] = []
    let after: string | undefined
    do {
      const page = await flows.tokens.list(api, { limit: 1, ...(after === undefined ? {} : { after }) })
      mine.push(...page.items.map(({ id }) => id))
      after = page.next
      if (after !== undefined) cursors.push(after)
    } while (after !== undefined)
    const all = (await flows.tokens.list(s.world.ada, {})).items
    const own = all.filter(({ chain }) => refKey(chain[0] as never) === 'Service/api').map(({ id }) => id)
    assert.deepEqual([...mine].sort(), [...own].sort())
    assert.ok(
      cursors.every((cursor) => own.includes(cursor)),
      'a cursor is none of the others',
    )
    // made again, it is somebody else (B34)
    await flows.deleteEntity(s.world.ada, ref('Service/api'))
    await put(s.world, ...ENTITIES)
    assert.deepEqual((await flows.tokens.list(await keyFor(s.world, 'Service/api'), {})).items, [])
  })
})

describe('C2 whoever was locked', () => {
  test('learns nothing of tokens, and uses none up', async () => {
    await using s = await stage({ tokens: { senderConstrained: 'never' } })
    const token = tokenIn(
      await s.web.token({ audience: 'Service/api', scope: 'service:call' }, { dpop: false }),
    )
    const once = tokenIn(await s.web.token({ audience: 'Api/ledger', scope: 'ledger:once' }, { dpop: false }))
    const look = async (text: string, by: Record<string, string>) =>
      (await s.api.introspect(text, by)).body['active']
    const workload = () => ({ client_assertion_type: ASSERTION, client_assertion: s.idpToken('api') })
    const key = (
      await s.world.app.flows.createKey(s.world.ada, { name: 'api', subject: ref('Service/api') })
    ).secret.expose()
    const byKey = async (text: string) =>
      (await s.api.post('/oauth/introspect', { token: text }, { authorization: `Bearer ${key}` })).body[
        'active'
      ]
    assert.equal(await look(token, workload()), true)
    assert.equal(await byKey(token), true)
    await s.world.app.flows.locks.lock(s.world.ada, {
      what: 'subject',
      about: 'Service/api',
      reason: 'stolen',
    })
    assert.notEqual(await look(token, workload()), true)
    assert.notEqual(await byKey(token), true)
    assert.notEqual(await look(once, s.api.authentication()), true)
    const record = (await s.world.app.flows.tokens.list(s.world.ada, {})).items.find(
      ({ singleUse }) => singleUse,
    )
    assert.equal(record?.usedAt, undefined)
  })

  test('nor does who has a token of the server for something else', async () => {
    await using s = await stage({ tokens: { senderConstrained: 'never' } })
    const token = tokenIn(
      await s.web.token({ audience: 'Service/api', scope: 'service:call' }, { dpop: false }),
    )
    const look = async (form: Record<string, string>) => {
      const by = tokenIn(await s.api.token({ resource: s.web.url, ...form }, { dpop: false }))
      const seen = await s.api.post('/oauth/introspect', { token }, { authorization: `Bearer ${by}` })
      assert.equal(seen.status, 200)
      return seen.body['active']
    }
    const details = (action: string, resource: string): Record<string, string> => ({
      authorization_details: JSON.stringify([{ type: 'writ', action, resource }]),
    })
    assert.equal(await look(details('ledger:read', 'Api/ledger')), false)
    assert.equal(await look({}), true)
  })
})

describe('C12 whoever proves nothing', () => {
  test('takes nobody off the record', async () => {
    await using s = await stage()
    const refusals = async () =>
      (await entries(s.world.app)).filter(({ kind }) => kind === 'token.refused') as readonly Record<
        string,
        Json
      >[]
    const flood = Array.from({ length: 300 }, () =>
      s.world.app.flows.tokens.refused(
        new WritError('ERR_INPUT_INVALID', 'x', { problem: 'invalid_request' }),
      ),
    )
    await Promise.all(flood)
    assert.ok((await refusals()).length < 300)
    const named = s.idpToken('web', { may_act: { sub: 'somebody' } })
    const known = await s.api.token(
      { ...LEDGER, writ_grant: 'x', audience: 'Writ::System/writ' },
      { dpop: false },
    )
    assert.notEqual(known.status, 200)
    await s.api.exchange({ subject_token: named, ...LEDGER }, { dpop: false })
    await s.web.token({ audience: 'Api/ledger' }, { dpop: false })
    assert.deepEqual((await refusals()).at(-1)?.['chain'], ['Service/web'])
  })
})

describe('C5 what is exchanged', () => {
  test('counts on the task of the token that it comes from', async () => {
    await using s = await stage()
    const { flows } = s.world.app
    const web = await keyFor(s.world, 'Service/web')
    const { id: task } = await flows.declareTask(web, {
      purpose: 'close the month',
      scope: { actions: ['ledger:read'], resources: [ref('Api/ledger')] },
      limits: { calls: 3 },
    })
    const token = tokenIn(await s.web.token({ ...LEDGER, writ_task: task }, { dpop: false }))
    const answers: Answer[] = []
    for (let many = 0; many < 4; many += 1)
      answers.push(await s.api.exchange({ subject_token: token, ...LEDGER }, { dpop: false }))
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 400, 400],
    )
  })

  test('ends with the client that the token it comes from was issued to', async () => {
    await using s = await stage()
    const token = tokenIn(await s.web.token(LEDGER, { dpop: false }))
    const child = tokenIn(await s.api.exchange({ subject_token: token, ...LEDGER }, { dpop: false }))
    const record = (await s.world.app.flows.tokens.list(s.world.ada, {})).items.find(
      ({ id }) => id === claimsOf(child)['jti'],
    )
    assert.ok(record !== undefined)
    await s.world.app.store.commit({
      reads: [{ kind: 'client', id: 'web' }],
      run: (tx) => tx.delete('client', 'web'),
    })
    assert.equal(await s.world.app.flows.tokens.end(record), 'subject_ended')
  })
})

describe('a request', () => {
  test('has its parameters in its body alone', async () => {
    await using s = await stage()
    const form = { grant_type: 'client_credentials', ...LEDGER }
    for (const query of ['scope=ledger:post', 'client_assertion=x', 'audience=Api/vault']) {
      const answer = await s.web.post(`/oauth/token?${query}`, { ...form, ...s.web.authentication() })
      assert.deepEqual([answer.status, errorOf(answer)], [400, 'invalid_request'], query)
    }
    const looked = await s.api.post('/oauth/introspect?token=x', { ...s.api.authentication(), token: 'x' })
    assert.equal(errorOf(looked), 'invalid_request')
    const ended = await s.api.post('/oauth/revoke?token=x', { ...s.api.authentication(), token: 'x' })
    assert.equal(errorOf(ended), 'invalid_request')
  })

  test('B6 spends its proofs whatever comes of it', async () => {
    await using s = await stage()
    const form = {
      grant_type: 'client_credentials',
      client_assertion: s.web.assertion(),
      client_assertion_type: ASSERTION,
      resource: s.web.url,
    }
    const { barrier } = s.world.app.decision
    // no error of OAuth's
    barrier.restored = true
    const refused = await s.web.post('/oauth/token', form)
    assert.notEqual(refused.status, 200)
    assert.notEqual(errorOf(refused), 'invalid_client')
    barrier.restored = false
    assert.equal(errorOf(await s.web.post('/oauth/token', form)), 'invalid_client')
    assert.equal((await s.web.token({ resource: s.web.url }, { dpop: false })).status, 200)
  })

  test('B6 has no proof that was used before a restart', async () => {
    const publicUrl = 'https://writ.example'
    await using s = await stage({ config: { publicUrl } })
    const url = `${publicUrl}/oauth/token`
    const assertion = (): string => s.web.assertion({ aud: publicUrl })
    const ask = ({ flows }: App, by: string, dpop: string): Promise<unknown> =>
      flows.tokens.token(
        {
          grant: 'client',
          client: { assertion: by },
          requested: 'access_token',
          audience: { ref: ref('Api/ledger') },
          scope: ['ledger:read'],
          details: [],
        },
        { url, dpop },
      )
    const nonce = s.world.app.flows.tokens.dpop.nonce(s.now())
    const [by, dpop] = [assertion(), s.web.proof({ htu: url, nonce })]
    await ask(s.world.app, by, dpop)
    const again = await s.world.restart({ clock: s.world.clock })
    try {
      const fresh = (): string => s.web.proof({ htu: url, nonce })
      const problem = (name: string) => (error: unknown) => isWritError(error) && error.problem === name
      await assert.rejects(ask(again.app, by, fresh()), problem('invalid_client'))
      await assert.rejects(ask(again.app, assertion(), dpop), problem('invalid_dpop_proof'))
      await ask(again.app, assertion(), fresh())
    } finally {
      await again.app.stop()
    }
  })

  test('B6 does nothing by a proof that was used before', async () => {
    await using s = await stage()
    const { flows } = s.world.app
    const web = await keyFor(s.world, 'Service/web')
    const { id: task } = await flows.declareTask(web, {
      purpose: 'close the month',
      scope: { actions: ['ledger:read', 'ledger:post'], resources: [ref('Api/ledger')] },
    })
    const spent = (client: OAuthClient) => ({
      grant_type: 'client_credentials',
      client_assertion: client.assertion(),
      client_assertion_type: ASSERTION,
    })
    // of two things the first would be done
    const two = { ...spent(s.web), audience: 'Api/ledger', scope: 'ledger:read ledger:post', writ_task: task }
    assert.equal((await s.web.post('/oauth/token', two)).status, 200)
    const calls = async (): Promise<number> => (await flows.task(web, task)).task.calls
    assert.equal(await calls(), 2)
    assert.equal(errorOf(await s.web.post('/oauth/token', two)), 'invalid_client')
    assert.equal(await calls(), 2)
    // and somebody would be asked
    const asked = { audience: 'Database/orders', scope: 'db:migrate', writ_task: await declare(s.world) }
    const one = { ...spent(s.migrator), ...asked }
    assert.equal(errorOf(await s.migrator.post('/oauth/token', one)), 'interaction_required')
    const again = await s.migrator.post('/oauth/token', { ...one, access_request: 'submit' })
    assert.equal(errorOf(again), 'invalid_client')
    assert.deepEqual((await flows.requests(s.world.ada, {})).items, [])
  })

  test('B43 leaves nothing of its secrets in the record or in what is answered', async () => {
    await using s = await stage()
    const sent = {
      subject: s.idpToken('web'),
      actor: s.idpToken('poor'),
      assertion: s.api.assertion(),
      own: tokenIn(await s.web.token({ resource: s.web.url })),
      proof: s.web.proof(),
      canary: 'canary-secret-in-a-form',
    }
    const answers = [
      await s.api.exchange({ subject_token: sent.subject, actor_token: sent.actor, ...LEDGER }),
      await s.api.post('/oauth/token', {
        grant_type: 'client_credentials',
        client_assertion: sent.assertion,
        client_assertion_type: ASSERTION,
        ...LEDGER,
      }),
      await s.api.exchange({ subject_token: sent.own, ...LEDGER }),
      await s.api.token({ client_secret: sent.canary, ...LEDGER }),
      await s.api.exchange({ subject_token: sent.canary, ...LEDGER }),
      await s.api.token({ ...LEDGER, approval: `{"id":"${sent.canary}"`, writ_task: sent.canary.repeat(9) }),
      await s.api.post('/oauth/token', { grant_type: 'client_credentials', ...LEDGER }, { dpop: sent.proof }),
      await s.api.introspect(sent.own),
    ]
    const left = JSON.stringify([await entries(s.world.app), answers.map(({ body }) => body)])
    for (const [name, secret] of Object.entries(sent)) {
      assert.ok(!left.includes(secret), name)
      assert.ok(!left.includes(secret.split('.')[2] ?? secret), `${name}: signature`)
    }
  })
})

describe('B33 what there is', () => {
  /** What stands in an answer, without what is new each time. */
  const shape = ({ status, body }: Answer): unknown => {
    const { evaluation_id: _id, ...rest } = body
    return { status, has: Object.keys(body).sort(), rest }
  }

  test('a URI of a resource that one may not use looks like one that nobody configured', async () => {
    const [known, other] = ['https://vault.example/api', 'https://other.example/api']
    const resources = [{ uri: known, resource: ref('Api/vault') }]
    await using s = await stage({ tokens: { resources } })
    const poor = (form: Record<string, string>): Promise<Answer> =>
      s.web.exchange({ subject_token: s.idpToken('poor'), ...form }, { client: false, dpop: false })
    for (const scope of ['ledger:read', 'ledger:read ledger:post', 'nothing:known']) {
      const [denied, unknown] = [
        await poor({ resource: known, scope }),
        await poor({ resource: other, scope }),
      ]
      assert.equal(errorOf(denied), 'invalid_target')
      const [action] = scope.split(' ')
      assert.equal(denied.body['error_description'], `${action} on ${known} is not permitted`)
      const spelled = JSON.parse(JSON.stringify(shape(unknown)).replaceAll(other, known)) as unknown
      assert.deepEqual(spelled, shape(denied), scope)
    }
    const details = JSON.stringify([{ type: 'writ', action: 'ledger:read' }])
    const [denied, unknown] = [
      await poor({ resource: known, authorization_details: details }),
      await poor({ resource: other, authorization_details: details }),
    ]
    assert.deepEqual(JSON.parse(JSON.stringify(shape(unknown)).replaceAll(other, known)), shape(denied))
    // who may do it everywhere gets a token for what there is, and for nothing else
    const kinds = async (): Promise<number> =>
      (await entries(s.world.app)).filter(({ kind }) => kind === 'token.issued').length
    const before = await kinds()
    assert.equal((await s.web.token({ resource: known, scope: 'ledger:read' })).status, 200)
    const issued = await kinds()
    assert.equal(issued, before + 1)
    assert.equal(errorOf(await s.web.token({ resource: other, scope: 'ledger:read' })), 'invalid_target')
    assert.equal(errorOf(await s.web.token({ resource: other, scope: 'service:call' })), 'invalid_target')
    assert.equal(errorOf(await s.web.token({ resource: other })), 'invalid_target')
    assert.equal(await kinds(), issued)
  })

  test('who may do it anywhere gets nothing for a URI that nobody configured', async () => {
    const policies = withPolicy('@id("any") permit (principal, action == Action::"any", resource);')
    const entities = [...ENTITIES, { type: 'Resource', id: 'some', kind: 'resource' as const }]
    await using s = await stage({ policies, entities })
    assert.equal((await s.web.token({ audience: 'Resource/other', scope: 'any' })).status, 200)
    const answer = await s.web.token({ resource: 'https://other.example/api', scope: 'any' })
    assert.deepEqual(answer.body, { error: 'invalid_target', error_description: 'no resource has this URI' })
  })

  test('a client that is registered looks like one that is not, to who has none of its keys', async () => {
    await using s = await stage()
    const forged = (id: string, more: Record<string, unknown> = {}, header = {}): string =>
      mint(
        newKey('x'),
        { kid: 'x', ...header },
        { ...claimsOf(s.web.assertion()), iss: id, sub: id, ...more },
      )
    const answers = async (ask: (id: string) => Promise<Answer>): Promise<void> => {
      const [known, unknown] = [await ask('web'), await ask('nobody')]
      assert.ok(known.status >= 400)
      assert.deepEqual(
        [known.status, JSON.parse(JSON.stringify(known.body).replaceAll('web', 'nobody'))],
        [unknown.status, unknown.body],
      )
    }
    const plain = { client: false, dpop: false } as const
    await answers((id) => s.web.token({ client_id: id, ...LEDGER }, plain))
    await answers((id) =>
      s.web.exchange({ client_id: id, subject_token: s.idpToken('web'), ...LEDGER }, plain),
    )
    await answers((id) => s.web.exchange({ client_id: id, subject_token: 'x', ...LEDGER }, plain))
    await answers((id) => byAssertion(s, s.idpToken('web'), { client_id: id }))
    for (const header of [{}, { kid: 'web' }, { kid: undefined }, { typ: 'at+jwt' }, { alg: 'ES384' }]) {
      await answers((id) => byAssertion(s, forged(id, {}, header)))
      await answers((id) => {
        const proof = { client_assertion_type: ASSERTION, client_assertion: forged(id, {}, header) }
        return s.web.token({ ...proof, ...LEDGER }, plain)
      })
    }
    for (const path of ['/oauth/introspect', '/oauth/revoke'])
      await answers((id) => s.web.post(path, { client_id: id, token: 'x' }))
    // the operator is told which it was
    const said = (await entries(s.world.app)).map((entry) => JSON.stringify(entry))
    assert.ok(said.some((entry) => entry.includes('client `web`: the assertion names no key')))
  })

  test('a client that has keys is not named by who only has a token of the same name', async () => {
    const keyed = clientConfig({ id: 'Service/api', key: newKey('api') }, 'Service/web')
    await using s = await stage({ config: { tokens: tokenConfig([keyed]) } })
    const ask = (name: string): Promise<Answer> =>
      s.web.exchange(
        { subject_token: s.idpToken(name), client_id: `Service/${name}`, ...LEDGER },
        { client: false, dpop: false },
      )
    assert.equal((await ask('web')).status, 200)
    assert.equal(errorOf(await ask('api')), 'invalid_client')
  })
})
