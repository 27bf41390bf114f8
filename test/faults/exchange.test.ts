/**
 * The token endpoints with forms as no client means them: each is refused in the words of OAuth, nothing is issued, and
 * whoever comes next is served.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { isOAuthError } from '../../src/model/refusal.ts'
import type { Sent } from '../support/forms.ts'
import { forms } from '../support/forms.ts'
import {
  OAuthClient,
  clientConfig,
  idpToken,
  issuerConfig,
  newKey,
  tokenConfig,
  tokenIn,
} from '../support/oauth.ts'
import { entries, faultWorld, ref, withPolicy } from './support.ts'
import { effort } from '../support/effort.ts'

const SOAK = process.env['WRIT_SOAK'] === '1'
const POLICY = withPolicy(
  '@id("read") permit (principal in Group::"readers", action == Action::"ledger:read", resource is Api);',
)
const LEDGER = { audience: 'Api/ledger', scope: 'ledger:read' }
/** Of processor time: a machine may be busy. */
const BOUND_MS = 20_000

async function stage() {
  const idp = newKey('idp')
  const clients = ['web', 'poor'].map((id) => ({ id, key: newKey(id) }))
  const world = await faultWorld({
    http: true,
    policies: POLICY,
    entities: [
      { type: 'Api', id: 'ledger', kind: 'resource', sensitivity: 1 },
      { type: 'Service', id: 'web', kind: 'workload', parents: [ref('Group/readers')] },
      { type: 'Service', id: 'poor', kind: 'workload' },
    ],
    config: {
      issuers: [issuerConfig(idp)],
      tokens: tokenConfig(clients.map((client) => clientConfig(client, `Service/${client.id}`))),
    },
  })
  const now = (): number => world.clock.wall()
  const [web, poor] = clients.map(({ id, key }) => new OAuthClient(id, world.app.url, now, key)) as [
    OAuthClient,
    OAuthClient,
  ]
  const send = async ({ path, type, body, headers }: Sent) => {
    // so that nobody waits for a rate
    world.clock.advance(100)
    const took = effort()
    const response = await fetch(world.app.url + path, {
      method: 'POST',
      headers: { 'content-type': type, ...headers },
      body: new Uint8Array(body),
    })
    const text = await response.text()
    assert.ok(took() < BOUND_MS, 'it took too long')
    return { status: response.status, text, type: response.headers.get('content-type') ?? '' }
  }
  return {
    world,
    web,
    poor,
    send,
    issued: async () => (await world.app.store.list('token', {})).items.length,
    token: (sub: string, more?: Readonly<Record<string, unknown>>) => idpToken(idp, sub, now(), more),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  }
}

/** A refusal in the words of the standards: RFC 6749 §5.2. */
function refusal({ status, text, type }: Readonly<{ status: number; text: string; type: string }>): string {
  assert.ok(status >= 400 && status < 500 && status !== 429, `${status}: ${text.slice(0, 500)}`)
  assert.match(type, /^application\/json/u)
  const body = JSON.parse(text) as Readonly<Record<string, unknown>>
  const { error, error_description: said } = body
  assert.ok(typeof error === 'string' && isOAuthError(error), text.slice(0, 500))
  // RFC 6749 §5.2: of what a description may be made
  assert.match(typeof said === 'string' ? said : '', /^[\x20-\x21\x23-\x5b\x5d-\x7e]{10,300}$/u, text)
  assert.equal(body['access_token'], undefined)
  assert.ok(text.length < 4_000, 'a refusal is no longer than it must be')
  return error
}

describe('B41 B76 forms as no client means them', () => {
  test('are refused, issue nothing, and keep nobody waiting', async () => {
    await using s = await stage()
    // proofs that are good, of those who may do nothing, and one that is for somebody else
    const tokens = [
      () => s.poor.assertion(),
      () => s.token('poor'),
      () => s.token('poor', { act: { sub: 'web' } }),
      () =>
        s.token('web', {
          act: { sub: 'poor', act: { sub: 'a', act: { sub: 'b', act: { sub: 'c', act: {} } } } },
        }),
      () => s.token('web', { aud: 'https://else.example' }),
      () => s.token('web', { exp: 1 }),
      () => s.poor.proof(),
    ]
    const errors = new Set<string>()
    await fc.assert(
      fc.asyncProperty(forms(tokens), async (make) => {
        const sent = make()
        const answer = await s.send(sent)
        if (answer.status !== 200) {
          errors.add(refusal(answer))
          return
        }
        assert.notEqual(sent.path, '/oauth/token', answer.text)
        assert.ok(['{"active":false}', ''].includes(answer.text), answer.text)
      }),
      { numRuns: SOAK ? 20_000 : 150 },
    )
    assert.equal(await s.issued(), 0)
    assert.ok(errors.size >= 4, [...errors].join())
    tokenIn(await s.web.token(LEDGER, { dpop: false }))
  })

  test('100 KB of anything is refused as a request that is none, on the record', async () => {
    await using s = await stage()
    const huge = s.token('web', { pad: 'x'.repeat(75_000) })
    assert.ok(huge.length > 100_000)
    const type = 'urn:ietf:params:oauth:token-type:jwt'
    const grant = 'urn:ietf:params:oauth:grant-type:'
    const assertion = { client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer' }
    // what is too long for a token, and what is too long for a body
    for (const token of [huge, huge.slice(0, 40_000), s.token('web', { pad: 'x'.repeat(12_500) })]) {
      const exchange = { grant_type: `${grant}token-exchange`, subject_token_type: type, ...LEDGER }
      const sent: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
        ['/oauth/token', { ...exchange, subject_token: token }],
        [
          '/oauth/token',
          { ...exchange, subject_token: s.token('web'), actor_token: token, actor_token_type: type },
        ],
        ['/oauth/token', { grant_type: `${grant}jwt-bearer`, assertion: token, ...LEDGER }],
        [
          '/oauth/token',
          { grant_type: 'client_credentials', ...assertion, client_assertion: token, ...LEDGER },
        ],
        ['/oauth/token', { ...exchange, subject_token: s.token('web'), authorization_details: token }],
        ['/oauth/introspect', { ...s.web.authentication(), token }],
        ['/oauth/revoke', { ...s.web.authentication(), token }],
      ]
      for (const [path, form] of sent) {
        const before = (await entries(s.world.app)).length
        const answer = await s.send({
          path,
          type: 'application/x-www-form-urlencoded',
          body: Buffer.from(new URLSearchParams(form).toString()),
          headers: {},
        })
        assert.equal(refusal(answer), 'invalid_request', `${path} ${Object.keys(form).join()}`)
        const news = (await entries(s.world.app)).slice(before)
        assert.deepEqual(
          news.map(({ kind, error }) => [kind, error]),
          [['token.refused', 'invalid_request']],
          `${path} ${Object.keys(form).join()} ${token.length}`,
        )
        assert.ok(JSON.stringify(news).length < 1_000, 'the record does not keep it')
      }
    }
    assert.equal(await s.issued(), 0)
    tokenIn(await s.web.token(LEDGER, { dpop: false }))
  })

  test('what is there twice, or not a form, has the code of the standard', async () => {
    await using s = await stage()
    const form = 'application/x-www-form-urlencoded'
    const good = new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      assertion: s.token('web'),
      ...LEDGER,
    }).toString()
    const wrong: Readonly<Record<string, readonly [string, string, string]>> = {
      'grant twice': [form, `${good}&grant_type=client_credentials`, 'invalid_request'],
      'assertion twice': [form, `${good}&assertion=${s.token('web')}`, 'invalid_request'],
      'scope twice': [form, `${good}&scope=ledger:read`, 'invalid_request'],
      'a name in escapes twice': [form, `${good}&s%63ope=ledger:burn`, 'invalid_request'],
      'audiences': [form, `${good}&audience=Api/none`, 'invalid_target'],
      'audience and resource': [form, `${good}&resource=https://api.example`, 'invalid_target'],
      'an unknown name twice': [form, `${good}&x=1&x=2`, 'invalid_request'],
      'no UTF-8': [form, `${good}&justification=\u00ff`, 'invalid_request'],
      'as JSON': ['application/json', JSON.stringify(Object.fromEntries(new URLSearchParams(good))), 'invalid_request'],
      'as text': ['text/plain', good, 'invalid_request'],
      'as parts': ['multipart/form-data; boundary=x', good, 'invalid_request'],
      'in another charset': [`${form}; charset=utf-16`, good, 'invalid_request'],
      'nothing': [form, '', 'invalid_request'],
      '65 fields': [form, `${good}&${Array.from({ length: 65 }, (_, n) => `f${n}=x`).join('&')}`, 'invalid_request'],
      'a scope of two spaces': [form, good.replace('ledger%3Aread', 'ledger:read++ledger:read'), 'invalid_scope'],
      '17 scopes': [form, good.replace('ledger%3Aread', Array.from({ length: 17 }, (_, n) => `a${n}`).join('+')), 'invalid_scope'],
    } // prettier-ignore
    for (const [name, [type, body, error]] of Object.entries(wrong)) {
      const before = (await entries(s.world.app)).length
      const bytes = Buffer.from(body, name === 'no UTF-8' ? 'latin1' : 'utf8')
      assert.equal(
        refusal(await s.send({ path: '/oauth/token', type, body: bytes, headers: {} })),
        error,
        name,
      )
      const news = (await entries(s.world.app)).slice(before)
      assert.deepEqual(
        news.map((one) => [one['kind'], one['error']]),
        [['token.refused', error]],
        name,
      )
    }
    assert.equal(await s.issued(), 0)
    const answer = await s.send({ path: '/oauth/token', type: form, body: Buffer.from(good), headers: {} })
    assert.equal(answer.status, 200, answer.text)
  })
})
