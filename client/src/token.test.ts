import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { suite, test } from 'node:test'
import { EmbeddedJWK, calculateJwkThumbprint, jwtVerify } from 'jose'
import { fakeServer } from '../../test/support/fake-server.ts'
import { gitlabClaims, openIssuer, openTokenServer } from '../../test/support/token-server.ts'
import type { Issuer, TokenServer } from '../../test/support/token-server.ts'
import { isWritClientError } from './error.ts'
import { createDpopKey, dpopProof, exportDpopKey, importDpopKey } from './token-proof.ts'
import type { ExchangeInput } from './token.ts'
import { accessTokenType, exchangeParameters, jwtType, typeOfToken } from './token.ts'
import { createWrit } from './writ.ts'

type There = AsyncDisposable & Readonly<{ issuer: Issuer; server: TokenServer; id: string }>

async function there(): Promise<There> {
  const issuer = await openIssuer()
  const server = await openTokenServer(issuer)
  return {
    issuer,
    server,
    id: await issuer.sign(gitlabClaims(server.url)),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await issuer[Symbol.asyncDispose]()
    },
  }
}

const clientOf = ({ server, id }: Pick<There, 'server' | 'id'>) =>
  createWrit({ url: server.url, token: id, log: false, sleep: () => Promise.resolve() })
const wanted = (id: string, more: Partial<ExchangeInput> = {}): ExchangeInput => ({
  subject: { token: id, type: typeOfToken(id) },
  audience: ['Api/payments'],
  scope: ['payment:refund'],
  ...more,
})

async function rejectsWith(code: string, work: Promise<unknown>, message = /./): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(isWritClientError(error, code), String(error))
    assert.match(error.message, message)
    return true
  })
}

suite('DPoP', () => {
  test('a proof verifies, and is about one request alone', async () => {
    const key = await createDpopKey()
    const proof = await dpopProof(key, {
      method: 'post',
      url: 'https://writ.example/oauth/token?x=1#y',
      now: Date.now(),
      nonce: 'n',
      accessToken: 'token',
    })
    const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, {
      typ: 'dpop+jwt',
      algorithms: ['ES256'],
    })
    assert.equal(payload['htm'], 'POST')
    assert.equal(payload['htu'], 'https://writ.example/oauth/token')
    assert.equal(payload['nonce'], 'n')
    assert.equal(payload['ath'], 'PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A')
    assert.equal(typeof payload.iat, 'number')
    assert.equal('d' in (protectedHeader.jwk ?? {}), false)
    assert.equal(key.thumbprint, await calculateJwkThumbprint(key.jwk))
    const other = await dpopProof(key, { method: 'POST', url: 'https://writ.example/', now: Date.now() })
    assert.notEqual((await jwtVerify(other, EmbeddedJWK)).payload.jti, payload.jti)
  })
  test('a key is kept and read again; one that may not leave does not', async () => {
    const key = await createDpopKey(true)
    const again = await importDpopKey(await exportDpopKey(key))
    assert.equal(again.thumbprint, key.thumbprint)
    await jwtVerify(
      await dpopProof(again, { method: 'GET', url: 'https://a.example', now: Date.now() }),
      EmbeddedJWK,
    )
    await assert.rejects(exportDpopKey(await createDpopKey()))
  })
  test('what is no key is refused without showing it', async () => {
    const { d } = (await exportDpopKey(await createDpopKey(true))) as { d: string }
    for (const wrong of [
      undefined,
      'x',
      {},
      { kty: 'RSA' },
      { kty: 'EC', crv: 'P-256', x: 'a', y: 'b', d },
    ]) {
      await assert.rejects(importDpopKey(wrong), (error) => {
        assert.ok(isWritClientError(error, 'ERR_INPUT_INVALID'))
        assert.equal(JSON.stringify([error.message, error.cause]).includes(d), false)
        return true
      })
    }
  })
})

suite('what the server says of itself', () => {
  test('a server without a token endpoint has none', async () => {
    await using at = await there()
    at.server.how.metadata = null
    const writ = clientOf(at)
    assert.equal(await writ.tokens.metadata(), undefined)
    await rejectsWith('ERR_UNSUPPORTED', writ.tokens.exchange(wanted(at.id)), /issues no tokens/)
  })
  test('B1 one that speaks for another, or leads a token elsewhere, is refused', async () => {
    for (const metadata of [
      { issuer: 'https://writ.example' },
      { token_endpoint: 'https://evil.example/token' },
      { token_endpoint: 'token' },
      { revocation_endpoint: 'http://127.0.0.1:1/revoke' },
    ]) {
      await using at = await there()
      at.server.how.metadata = metadata
      await rejectsWith('ERR_PROTOCOL', clientOf(at).tokens.exchange(wanted(at.id)))
      assert.equal(
        at.server.seen.some(({ path }) => path === '/oauth/token'),
        false,
      )
    }
  })
  test('it is looked up below the path of the server, and once', async () => {
    await using fake = await fakeServer(({ path }) =>
      path === '/.well-known/oauth-authorization-server/writ'
        ? { body: { issuer: `${fake.url}/writ`, token_endpoint: `${fake.url}/writ/token` } }
        : { status: 500 },
    )
    const writ = createWrit({ url: `${fake.url}/writ/`, log: false })
    const found = await Promise.all([writ.tokens.metadata(), writ.tokens.metadata()])
    assert.equal(found[0]?.tokenEndpoint?.href, `${fake.url}/writ/token`)
    assert.equal(fake.seen.length, 1)
  })
})

suite('exchange', () => {
  test('sends what RFC 8693 names, each as often as it is given', () => {
    const form = exchangeParameters({
      subject: { token: 's', type: jwtType },
      actor: { token: 'a', type: accessTokenType },
      resource: ['https://a.example', 'https://b.example'],
      audience: ['Api/payments'],
      scope: ['one', 'two'],
      task: 'task_1',
      approval: { id: 'apr_1', approved_until: 'then', kept: true },
    })
    assert.deepEqual(
      [...form],
      [
        ['grant_type', 'urn:ietf:params:oauth:grant-type:token-exchange'],
        ['resource', 'https://a.example'],
        ['resource', 'https://b.example'],
        ['audience', 'Api/payments'],
        ['scope', 'one two'],
        ['requested_token_type', accessTokenType],
        ['subject_token', 's'],
        ['subject_token_type', jwtType],
        ['actor_token', 'a'],
        ['actor_token_type', accessTokenType],
        ['writ_task', 'task_1'],
        ['approval', '{"id":"apr_1","approved_until":"then","kept":true}'],
      ],
    )
    assert.equal(
      exchangeParameters({ subject: { token: 's', type: jwtType } }).has('actor_token_type'),
      false,
    )
  })
  test('tells a token of ours from that of another issuer', () => {
    const of = (typ: unknown): string => `${Buffer.from(JSON.stringify({ typ })).toString('base64url')}.e30.x`
    assert.equal(typeOfToken('writ_key_abc'), accessTokenType)
    assert.equal(typeOfToken(of('at+jwt')), accessTokenType)
    assert.equal(typeOfToken(of('application/AT+JWT')), accessTokenType)
    assert.equal(typeOfToken(of('JWT')), jwtType)
    assert.equal(typeOfToken(of(undefined)), jwtType)
    assert.equal(typeOfToken('not.json.x'), accessTokenType)
  })
  test('issues: the token, what it may do, until when', async () => {
    await using at = await there()
    const answer = await clientOf(at).tokens.exchange(wanted(at.id))
    assert.ok(answer.outcome === 'issued')
    assert.equal(answer.issued.token, at.server.issued[0])
    assert.deepEqual([answer.issued.tokenType, answer.issued.scope], ['Bearer', ['payment:refund']])
    assert.match(answer.issued.endsAt ?? '', /^\d{4}-.+Z$/)
    assert.equal(JSON.stringify(answer.issued.more).includes(answer.issued.token), false)
    const [sent] = at.server.seen.filter(({ path }) => path === '/oauth/token')
    assert.equal(sent?.headers.authorization, undefined)
    assert.equal(sent?.query.size, 0)
  })
  test('a refusal is a value, what was not decided an error with the words of the RFC', async () => {
    await using at = await there()
    const tokens = clientOf(at).tokens
    const failing = (error: string, more = {}, status = 400) => {
      at.server.how.token = () => ({ status, body: { error, ...more } })
      return tokens.exchange(wanted(at.id))
    }
    assert.deepEqual(
      await failing('access_denied', { error_description: 'no policy permits it', evaluation_id: 'dec_1' }),
      {
        outcome: 'refused',
        error: 'access_denied',
        description: 'no policy permits it',
        id: 'dec_1',
      },
    )
    assert.equal((await failing('invalid_target')).outcome, 'refused')
    // a challenge that nobody can be asked about is a refusal
    assert.equal(
      (await failing('unmet_authentication_requirements', { access_request: {} })).outcome,
      'refused',
    )
    await rejectsWith('ERR_UNAUTHENTICATED', failing('invalid_client', {}, 401))
    await rejectsWith(
      'ERR_INPUT_INVALID',
      failing('invalid_request', { error_description: 'bad token' }),
      /^bad token \(invalid_request\)$/,
    )
    await rejectsWith('ERR_INTERNAL', failing('server_error', {}, 500))
    at.server.how.token = () => ({ status: 200, body: { access_token: 'x' } })
    await rejectsWith('ERR_PROTOCOL', tokens.exchange(wanted(at.id)))
    at.server.how.token = () => ({ status: 200, body: { access_token: 'x', token_type: 'Bearer' } })
    await rejectsWith('ERR_PROTOCOL', tokens.exchange(wanted(at.id)))
  })
  test('with a key: a proof with the nonce that is wanted, and no token that is not bound', async () => {
    await using at = await there()
    const dpop = await createDpopKey()
    const { tokens } = clientOf(at)
    at.server.how.nonce = 'nonce-1'
    const answer = await tokens.exchange(wanted(at.id, { dpop }))
    assert.ok(answer.outcome === 'issued')
    assert.equal(answer.issued.tokenType, 'DPoP')
    const proofs = at.server.seen.flatMap(({ headers }) => headers['dpop'] ?? [])
    assert.equal(proofs.length, 2)
    const [first, second] = await Promise.all(
      proofs.map(async (one) => (await jwtVerify(one, EmbeddedJWK)).payload),
    )
    assert.deepEqual([first?.['nonce'], second?.['nonce']], [undefined, 'nonce-1'])
    assert.notEqual(first?.jti, second?.jti)
    assert.equal(second?.['htu'], `${at.server.url}/oauth/token`)
    at.server.how.token = () => ({
      body: { access_token: 'x', token_type: 'Bearer', issued_token_type: accessTokenType },
    })
    await rejectsWith('ERR_PROTOCOL', tokens.exchange(wanted(at.id, { dpop })), /not bound/)
    // a server that always wants another one is not asked for ever
    at.server.how.token = () => ({
      status: 400,
      body: { error: 'use_dpop_nonce' },
      headers: { 'dpop-nonce': 'x' },
    })
    await rejectsWith('ERR_INPUT_INVALID', tokens.exchange(wanted(at.id, { dpop })), /use_dpop_nonce/)
  })
  test('a challenge is submitted with what binds it, waited for, and asked again with its approval', async () => {
    await using at = await there()
    at.server.how.challenge = true
    const writ = clientOf(at)
    const answer = await writ.tokens.exchange(wanted(at.id, { task: 'task_1' }))
    assert.ok(answer.outcome === 'challenge')
    assert.equal(answer.description, 'evidence is missing')
    const state = await writ.tokens.request(answer, { reason: 'INC-42', ttl: '10m' })
    const sent = at.server.seen.find(({ path }) => path === '/access/v1/requests')?.body
    assert.deepEqual(sent?.['subject'], { type: 'Service', id: '20' })
    assert.deepEqual(sent?.['action'], { name: 'payment:refund' })
    assert.deepEqual(sent?.['resource'], { type: 'Api', id: 'payments' })
    assert.deepEqual(sent?.['context'], { task: 'task_1', justification: 'INC-42' })
    assert.equal(
      (sent?.['denial'] as { binding_token?: string } | undefined)?.binding_token,
      'bound.by.server',
    )
    at.server.approve()
    const { approval } = await writ.requests.wait(state.task.id)
    const again = await writ.tokens.exchange(wanted(at.id, { task: 'task_1', approval }))
    assert.equal(again.outcome, 'issued')
    assert.equal(
      at.server.seen.at(-1)?.form.get('approval'),
      '{"id":"apr_1","approved_until":"2099-01-01T00:00:00Z"}',
    )
  })
  test('what a challenge is about is what the server says, else only what is certain', async () => {
    await using at = await there()
    const attempt = {
      subject: { type: 'Agent', id: 'a' },
      action: { name: 'act' },
      resource: { type: 'Api', id: 'b' },
      context: { task: 't' },
    }
    const offer = { expires_at: '2099-01-01T00:00:00Z' }
    const { tokens } = clientOf(at)
    at.server.how.token = () => ({
      status: 400,
      body: { error: 'access_denied', access_request: offer, attempt },
    })
    const named = await tokens.exchange(wanted(at.id, { scope: ['act', 'other'] }))
    assert.deepEqual(named.outcome === 'challenge' ? named.attempt : undefined, attempt)
    at.server.how.token = () => ({ status: 400, body: { error: 'access_denied', access_request: offer } })
    for (const unsure of [
      { scope: ['act', 'other'] },
      { audience: ['Api/a', 'Api/b'] },
      { audience: [], resource: ['https://api.example'] },
      { actor: { token: 'x', type: jwtType } },
    ])
      assert.equal((await tokens.exchange(wanted(at.id, unsure))).outcome, 'refused', JSON.stringify(unsure))
  })
})

suite('clients that sign, codes, revocation', () => {
  test('an assertion is made for the issuer, anew for each request', async () => {
    await using at = await there()
    let serial = 0
    const client = { id: 'ci', assertion: (issuer: string) => `${issuer}#${++serial}` }
    const { tokens } = clientOf(at)
    const answer = await tokens.asClient(client)
    assert.ok(answer.outcome === 'issued')
    await tokens.exchange(wanted(answer.issued.token, { client }))
    const own = await tokens.exchange({ client, audience: ['Api/payments'], scope: ['payment:refund'] })
    assert.ok(own.outcome === 'issued')
    const forms = at.server.seen.filter(({ path }) => path === '/oauth/token').map(({ form }) => form)
    assert.deepEqual(
      forms.map((form) => form.get('client_assertion')),
      [1, 2, 3].map((nth) => `${at.server.url}#${nth}`),
    )
    assert.equal(forms[0]?.get('grant_type'), 'client_credentials')
    assert.equal(forms[0]?.get('resource'), at.server.url)
    assert.equal(forms[2]?.get('grant_type'), 'client_credentials')
    assert.equal(forms[2]?.get('subject_token'), null)
    assert.equal(
      forms[1]?.get('client_assertion_type'),
      'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    )
    assert.equal(forms[1]?.get('subject_token_type'), accessTokenType)
  })
  test('a token is ended, or it is said that this is not confirmed', async () => {
    await using at = await there()
    const { tokens } = clientOf(at)
    await tokens.revoke('gone')
    assert.deepEqual([...at.server.revoked], ['gone'])
    at.server.how.revoke = { status: 503, body: { error: 'temporarily_unavailable' } }
    await rejectsWith('ERR_UNREACHABLE', tokens.revoke('gone'))
    await using bare = await there()
    bare.server.how.metadata = { revocation_endpoint: undefined }
    await rejectsWith('ERR_UNSUPPORTED', clientOf(bare).tokens.revoke('x'), /takes no token back/)
  })
})

suite('a token that is refused', () => {
  test('is renewed once, and the same request sent again', async () => {
    await using at = await there()
    const fresh = await at.issuer.sign(gitlabClaims(at.server.url))
    const asked: (string | undefined)[] = []
    const writ = createWrit({
      url: at.server.url,
      token: (refused) => {
        asked.push(refused)
        return refused === undefined ? at.id : fresh
      },
      log: false,
    })
    at.server.how.refuse = (token) => token === at.id
    assert.equal(
      (await writ.tasks.declare({ purpose: 'x', scope: { actions: ['a'], resources: [] } })).state,
      'declared',
    )
    assert.deepEqual(asked, [undefined, at.id])
    const sent = at.server.seen.filter(({ path }) => path === '/v1/tasks')
    assert.equal(sent.length, 2)
    assert.equal(sent[0]?.headers['idempotency-key'], sent[1]?.headers['idempotency-key'])
    at.server.how.refuse = () => true
    await rejectsWith('ERR_UNAUTHENTICATED', writ.me())
    assert.equal(at.server.seen.filter(({ path }) => path === '/v1/me').length, 2)
  })
  test('one that is bound to a key goes with proof of it, with the nonce that is wanted', async () => {
    const key = await createDpopKey()
    await using fake = await fakeServer(({ headers }) => {
      const [, claims = ''] = String(headers['dpop']).split('.')
      const { nonce } = JSON.parse(Buffer.from(claims, 'base64url').toString()) as { nonce?: string }
      return nonce === 'n1'
        ? { body: { id: 'token:1', kind: 'token', subject: 'Agent/a' } }
        : { status: 401, headers: { 'dpop-nonce': 'n1' }, body: {} }
    })
    const writ = createWrit({ url: fake.url, token: () => ({ token: 'bound', key }), log: false })
    await writ.me()
    await writ.me()
    // the nonce is kept for what comes next
    assert.equal(fake.seen.length, 3)
    for (const { headers } of fake.seen) assert.equal(headers.authorization, 'DPoP bound')
    const { payload } = await jwtVerify(String(fake.seen[2]?.headers['dpop']), EmbeddedJWK)
    assert.deepEqual([payload['htm'], payload['htu'], payload['nonce']], ['GET', `${fake.url}/v1/me`, 'n1'])
    assert.equal(payload['ath'], createHash('sha256').update('bound').digest('base64url'))
    const jtis = await Promise.all(
      fake.seen.map(
        async ({ headers }) => (await jwtVerify(String(headers['dpop']), EmbeddedJWK)).payload.jti,
      ),
    )
    assert.equal(new Set(jtis).size, 3)
  })
  test('without another one is an error at once', async () => {
    await using at = await there()
    at.server.how.refuse = () => true
    await rejectsWith('ERR_UNAUTHENTICATED', clientOf(at).me())
    assert.equal(at.server.seen.length, 1)
  })
})
