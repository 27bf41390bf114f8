/** Metadata and requestable denials. */
import assert from 'node:assert/strict'
import { createPublicKey, verify } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import type { Bench } from './support.ts'
import { decoded, openBench, pay } from './support.ts'

let bench: Bench
before(async () => (bench = await openBench()))
after(() => bench[Symbol.asyncDispose]())

const CONFIGURATION = '/.well-known/authzen-configuration'

describe('metadata', () => {
  test('META-1 the endpoint and the capability are named', async () => {
    const { status, body } = await bench.call(undefined, 'GET', CONFIGURATION)
    assert.equal(status, 200)
    assert.equal(body.access_request_endpoint, `${bench.world.app.url}/access/v1/requests`)
    assert.ok(body.capabilities.includes('urn:openid:authzen:capability:access-request'))
  })

  test('META-2 the JWK Set holds public signing keys with ids, and may be cached', async () => {
    const { body: metadata } = await bench.call(undefined, 'GET', CONFIGURATION)
    const { status, body, headers } = await bench.call(undefined, 'GET', metadata.jwks_uri)
    assert.equal(status, 200)
    assert.match(headers.get('cache-control') ?? '', /max-age=\d+/)
    assert.ok(body.keys.length >= 1)
    for (const key of body.keys) {
      assert.deepEqual(Object.keys(key).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
      assert.deepEqual([key.kty, key.crv, key.alg, key.use], ['EC', 'P-256', 'ES256', 'sig'])
    }
  })
})

describe('a requestable denial', () => {
  test('DENIAL-1 it is a denial', async () => {
    const { status, body } = await bench.evaluate(pay())
    assert.deepEqual([status, body.decision], [200, false])
    assert.ok(body.context.access_request)
  })

  test('DENIAL-2 nothing is offered that cannot be had', async () => {
    const permit = await bench.evaluate(pay({ action: { name: 'look' } }))
    assert.equal(permit.body.decision, true)
    assert.equal(permit.body.context.access_request, undefined)
    const final = await bench.evaluate(pay({ action: { name: 'erase' } }))
    assert.equal(final.body.decision, false)
    assert.equal(final.body.context.access_request, undefined)
    assert.equal(final.body.context.next_action, 'none')
  })

  test('DENIAL-3 an id of its own, when, and why', async () => {
    const [one, two] = [await bench.denied(pay()), await bench.denied(pay())]
    assert.notEqual(one.evaluation_id, two.evaluation_id)
    assert.equal(Date.parse(one.evaluated_at), bench.clock.wall())
    assert.equal(one.reason, 'evidence_required')
    assert.equal(one.reason, two.reason)
  })

  test('DENIAL-4 an end, and URLs of one origin', async () => {
    const { access_request: offer } = await bench.denied(pay())
    assert.ok(Date.parse(offer.expires_at) > bench.clock.wall())
    const { body } = await bench.call(undefined, 'GET', CONFIGURATION)
    const { origin } = new URL(body.access_request_endpoint)
    for (const url of [offer.endpoint, offer.request_schema_url]) assert.equal(new URL(url).origin, origin)
  })

  test('DENIAL-5 the schema says what to add', async () => {
    for (const [action, template, required] of [
      ['pay', 'approval', undefined],
      ['both', 'justified', ['context']],
    ] as const) {
      const { access_request: offer } = await bench.denied(pay({ action: { name: action } }))
      assert.equal(offer.template, template)
      const { status, body } = await bench.call(undefined, 'GET', offer.request_schema_url)
      assert.equal(status, 200)
      assert.equal(body.$id, offer.request_schema_url)
      assert.deepEqual(body.required, required)
      assert.ok(body.properties.context.properties.justification)
      assert.ok(body.properties.requested_access.properties.emergency)
    }
    assert.equal((await bench.call(undefined, 'GET', '/access/v1/requests/schemas/other')).status, 400)
  })

  test('DENIAL-6 the token says all that binds, signed by a key that is published', async () => {
    const evaluation = pay({
      subject: { type: 'Agent', id: 'migrator', properties: { level: 1 } },
      context: { amount: 5, time: 'now', justification: 'x' },
    })
    const context = await bench.denied(evaluation)
    const token: string = context.access_request.binding_token
    const { header, payload } = decoded(token)
    assert.equal(header.alg, 'ES256')
    const { body } = await bench.call(undefined, 'GET', '/.well-known/jwks.json')
    const key = body.keys.find((one: { kid: string }) => one.kid === header.kid)
    const [head, claims, signature = ''] = token.split('.')
    const verified = verify(
      'sha256',
      Buffer.from(`${head}.${claims}`),
      { key: createPublicKey({ key, format: 'jwk' }), dsaEncoding: 'ieee-p1363' },
      Buffer.from(signature, 'base64url'),
    )
    assert.ok(verified)
    const { installation } = bench.world.app
    assert.equal(payload.iss, `urn:writ:${installation}`)
    assert.equal(payload.aud, `urn:writ:${installation}:access-requests`)
    assert.equal(payload.denial_expires_at, context.access_request.expires_at)
    assert.equal(payload.evaluation_id, context.evaluation_id)
    assert.ok(payload.exp - payload.iat <= 600 && typeof payload.jti === 'string')
    assert.deepEqual(payload.binding_context_members, ['amount'])
    assert.deepEqual(payload.context, { amount: 5 })
    assert.deepEqual(
      [payload.subject, payload.action, payload.resource],
      [evaluation.subject, evaluation.action, evaluation.resource],
    )
    const again = await bench.denied(evaluation)
    assert.notEqual(decoded(again.access_request.binding_token).payload.jti, payload.jti)
  })
})
