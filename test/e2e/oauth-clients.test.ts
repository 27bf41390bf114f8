/**
 * The token endpoints driven by clients that others wrote: what they accept is what the standards say.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { createPrivateKey, webcrypto } from 'node:crypto'
import { describe, test } from 'node:test'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { admit } from '../support/admit.ts'
import type { Key } from '../support/oauth.ts'
import { clientConfig, idpToken, issuerConfig, newKey, tokenConfig } from '../support/oauth.ts'
import type { World } from '../support/world.ts'
import { declare, openWorld, ref, starterPolicies } from '../support/world.ts'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ASSERTION = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const JWT = 'urn:ietf:params:oauth:token-type:jwt'

const POLICY = `
@id("read") permit (principal in Group::"readers", action == Action::"ledger:read", resource is Api);
`

type Stage = Readonly<{
  world: World
  web: Key
  api: Key
  migrator: Key
  idp: Key
  [Symbol.asyncDispose](): Promise<void>
}>

async function stage(): Promise<Stage> {
  const [web, api, migrator, idp] = ['web', 'api', 'migrator', 'idp'].map(newKey) as [Key, Key, Key, Key]
  const world = await openWorld({
    policies: [...starterPolicies(), { name: 'api.cedar', text: POLICY }],
    entities: [
      { type: 'Api', id: 'ledger', kind: 'resource', sensitivity: 3 },
      { type: 'Service', id: 'web', kind: 'workload', parents: [ref('Group/readers')] },
      { type: 'Service', id: 'api', kind: 'workload', parents: [ref('Group/readers')] },
      { type: 'Service', id: 'tool', kind: 'workload', parents: [ref('Group/readers')] },
      { type: 'Api', id: 'small', kind: 'resource', sensitivity: 1 },
    ],
    config: {
      issuers: [issuerConfig(idp)],
      tokens: tokenConfig([
        clientConfig({ id: 'web', key: web }, 'Service/web'),
        clientConfig({ id: 'api', key: api }, 'Service/api', ['Api/ledger']),
        clientConfig({ id: 'migrator', key: migrator }, 'Agent/migrator'),
      ]),
    },
  })
  return { world, web, api, migrator, idp, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() }
}

/** The private half as these clients want it. */
const cryptoKey = (key: Key): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey(
    'pkcs8',
    createPrivateKey(key.privateKey.export({ format: 'pem', type: 'pkcs8' })).export({
      format: 'der',
      type: 'pkcs8',
    }),
    { name: 'ECDSA', namedCurve: 'P-256' },
    false,
    ['sign'],
  )

describe('oauth4webapi', () => {
  const insecure = { [oauth.allowInsecureRequests]: true }

  async function parts({ world }: Stage, id: string, key: Key) {
    const issuer = new URL(world.app.url)
    const found = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
    const as = await oauth.processDiscoveryResponse(new URL(world.app.url), found)
    const client: oauth.Client = { client_id: id }
    const auth = oauth.PrivateKeyJwt({ key: await cryptoKey(key), kid: key.kid })
    return { as: { ...as, issuer: as.issuer }, client, auth }
  }

  test('gets a bound token by client credentials, and its server finds it good', async () => {
    await using s = await stage()
    const { as, client, auth } = await parts(s, 'web', s.web)
    const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'))
    const parameters = new URLSearchParams({ audience: 'Api/ledger', scope: 'ledger:read' })
    const ask = () => oauth.clientCredentialsGrantRequest(as, client, auth, parameters, { DPoP, ...insecure })
    const result = await ask()
      .then((response) => oauth.processClientCredentialsResponse(as, client, response))
      .catch(async (error: unknown) => {
        assert.ok(oauth.isDPoPNonceError(error), String(error))
        return oauth.processClientCredentialsResponse(as, client, await ask())
      })
    assert.equal(result.token_type, 'dpop')
    assert.equal(result.scope, 'ledger:read')

    // as the resource server would
    const url = 'https://ledger.example/entries'
    const header = `DPoP ${result.access_token}`
    const headers = new Headers({ authorization: header })
    await (
      DPoP as unknown as { addProof(url: URL, headers: Headers, htm: string, token: string): Promise<void> }
    ).addProof(new URL(url), headers, 'GET', result.access_token)
    const claims = await oauth.validateJwtAccessToken(as, new Request(url, { headers }), 'Api/ledger', {
      requireDPoP: true,
      ...insecure,
    })
    assert.equal(claims.sub, 'Service/web')

    const server = await parts(s, 'api', s.api)
    const look = async () =>
      oauth.processIntrospectionResponse(
        as,
        server.client,
        await oauth.introspectionRequest(as, server.client, server.auth, result.access_token, insecure),
      )
    assert.equal((await look()).active, true)
    const revoked = await oauth.revocationRequest(as, client, auth, result.access_token, insecure)
    await oauth.processRevocationResponse(revoked)
    assert.deepEqual(await look(), { active: false })
  })

  test('B6 is told of the nonce once, and a proof without it gets nothing', async () => {
    await using s = await stage()
    const { as, client, auth } = await parts(s, 'web', s.web)
    const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'))
    const parameters = new URLSearchParams({ audience: 'Api/ledger', scope: 'ledger:read' })
    const ask = async (handle: oauth.DPoPHandle) =>
      oauth.processClientCredentialsResponse(
        as,
        client,
        await oauth.clientCredentialsGrantRequest(as, client, auth, parameters, {
          DPoP: handle,
          ...insecure,
        }),
      )
    await assert.rejects(ask(DPoP), (error) => oauth.isDPoPNonceError(error))
    assert.equal((await s.world.app.flows.tokens.list(s.world.ada, {})).items.length, 0)
    // what was learnt is good for what comes after, until it ends
    assert.equal((await ask(DPoP)).token_type, 'dpop')
    assert.equal((await ask(DPoP)).token_type, 'dpop')
    // a nonce is nobody's secret, but each client learns its own
    const other = oauth.DPoP(client, await oauth.generateKeyPair('EdDSA'))
    await assert.rejects(ask(other), (error) => oauth.isDPoPNonceError(error))
    assert.equal((await ask(other)).token_type, 'dpop')
  })

  test('finds everything that the metadata says where it says it', async () => {
    await using s = await stage()
    const { as, client, auth } = await parts(s, 'web', s.web)
    assert.deepEqual(as.token_endpoint_auth_methods_supported, ['private_key_jwt', 'none'])
    const jwks = (await (await fetch(as.jwks_uri ?? '')).json()) as { keys: Record<string, string>[] }
    assert.ok(jwks.keys.length > 0 && jwks.keys.every((key) => key['use'] === 'sig' && !('d' in key)))
    for (const endpoint of [as.token_endpoint, as.introspection_endpoint, as.revocation_endpoint]) {
      const empty = await fetch(endpoint ?? '', { method: 'POST', body: new URLSearchParams() })
      const body = (await empty.json()) as Record<string, unknown>
      assert.deepEqual([empty.status, body['error']], [400, 'invalid_request'], endpoint)
    }
    for (const grant of as.grant_types_supported ?? []) {
      const asked = await oauth.genericTokenEndpointRequest(as, client, auth, grant, {}, insecure)
      const { error } = (await asked.json()) as { error?: string }
      assert.ok(error !== undefined && error !== 'unsupported_grant_type', `${grant}: ${error}`)
    }
    // B42 there is nothing to refresh
    for (const grant of ['refresh_token', 'password', 'authorization_code', 'implicit']) {
      const asked = await oauth.genericTokenEndpointRequest(as, client, auth, grant, {}, insecure)
      assert.equal(((await asked.json()) as { error?: string }).error, 'unsupported_grant_type', grant)
    }
  })

  test('B29 exchanges for an actor, and asserts what an issuer says', async () => {
    await using s = await stage()
    const { as, client, auth } = await parts(s, 'api', s.api)
    const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'))
    const asked = { audience: 'Api/ledger', scope: 'ledger:read' }
    const grant = async (
      type: string,
      more: Readonly<Record<string, string>>,
      by: oauth.ClientAuth = auth,
    ) => {
      const ask = async () =>
        oauth.processGenericTokenEndpointResponse(
          as,
          client,
          await oauth.genericTokenEndpointRequest(
            as,
            client,
            by,
            type,
            { ...asked, ...more },
            { DPoP, ...insecure },
          ),
        )
      return ask().catch((error: unknown) => {
        if (!oauth.isDPoPNonceError(error)) throw error
        return ask()
      })
    }
    const tokens = (): Record<string, string> => ({
      subject_token: idpToken(s.idp, 'web', Date.now()),
      subject_token_type: JWT,
      actor_token: idpToken(s.idp, 'tool', Date.now()),
      actor_token_type: JWT,
    })
    const look = async (token: string) =>
      oauth.processIntrospectionResponse(
        as,
        client,
        await oauth.introspectionRequest(as, client, auth, token, insecure),
      )
    const exchanged = await grant(EXCHANGE, tokens())
    const seen = (await look(exchanged.access_token)) as unknown as Record<string, unknown>
    assert.equal(seen['sub'], 'Service/web')
    assert.deepEqual(seen['act'], { sub: 'Service/api', act: { sub: 'Service/tool' } })
    assert.equal(typeof (seen['cnf'] as { jkt?: unknown }).jkt, 'string')
    const asserted = await grant(ASSERTION, { assertion: idpToken(s.idp, 'web', Date.now()) })
    assert.equal((await look(asserted.access_token)).active, true)
    // a client that is nobody but its token
    const federated = await oauth.genericTokenEndpointRequest(
      as,
      { client_id: 'Service/web' },
      (_as, _client, body) => {
        body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
        body.set('client_assertion', idpToken(s.idp, 'web', Date.now()))
      },
      'client_credentials',
      { audience: 'Api/small', scope: 'ledger:read' },
      insecure,
    )
    const token = await oauth.processGenericTokenEndpointResponse(as, client, federated)
    assert.equal(token.token_type, 'bearer')
    for (const [more, error] of [
      [{ actor_token: 'x' }, 'invalid_request'],
      [
        { subject_token: idpToken(s.idp, 'web', Date.now(), { aud: 'https://else.example' }) },
        'invalid_request',
      ],
      [{ audience: 'Bucket/none' }, 'invalid_target'],
      [{ requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' }, 'invalid_request'],
    ] as const) {
      await assert.rejects(grant(EXCHANGE, { ...tokens(), ...more }), (failure) => {
        assert.ok(failure instanceof oauth.ResponseBodyError, String(failure))
        assert.equal(failure.error, error)
        return true
      })
    }
  })

  test('exchanges a token of an issuer, and reads refusals as such', async () => {
    await using s = await stage()
    const { as, client, auth } = await parts(s, 'api', s.api)
    const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'))
    const exchange = async (scope: string) => {
      const parameters = new URLSearchParams({
        subject_token: idpToken(s.idp, 'web', Date.now()),
        subject_token_type: JWT,
        audience: 'Api/ledger',
        scope,
      })
      const ask = () =>
        oauth.genericTokenEndpointRequest(as, client, auth, EXCHANGE, parameters, { DPoP, ...insecure })
      try {
        return await oauth.processGenericTokenEndpointResponse(as, client, await ask())
      } catch (error) {
        if (!oauth.isDPoPNonceError(error)) throw error
        return oauth.processGenericTokenEndpointResponse(as, client, await ask())
      }
    }
    const result = await exchange('ledger:read')
    assert.equal(result['issued_token_type'], 'urn:ietf:params:oauth:token-type:access_token')
    await assert.rejects(exchange('ledger:burn'), (error) => {
      assert.ok(error instanceof oauth.ResponseBodyError)
      assert.equal(error.error, 'invalid_target')
      return true
    })
  })
})

describe('openid-client', () => {
  const configure = async ({ world }: Stage, id: string, key: Key): Promise<openid.Configuration> =>
    openid.discovery(
      new URL(world.app.url),
      id,
      undefined,
      openid.PrivateKeyJwt({ key: await cryptoKey(key), kid: key.kid }),
      { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] },
    )

  test('gets tokens by client credentials, exchange and assertion, bound to a key', async () => {
    await using s = await stage()
    const config = await configure(s, 'web', s.web)
    const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256'))
    const asked = { audience: 'Api/ledger', scope: 'ledger:read' }
    const one = await openid.clientCredentialsGrant(config, asked, { DPoP })
    assert.equal(one.token_type, 'dpop')
    const server = await configure(s, 'api', s.api)
    assert.equal((await openid.tokenIntrospection(server, one.access_token)).active, true)
    const subject_token = idpToken(s.idp, 'web', Date.now())
    const exchanged = await openid.genericGrantRequest(
      server,
      EXCHANGE,
      { ...asked, subject_token, subject_token_type: JWT },
      { DPoP: openid.getDPoPHandle(server, await openid.randomDPoPKeyPair('ES256')) },
    )
    const seen = await openid.tokenIntrospection(server, exchanged.access_token)
    assert.deepEqual(seen['act'], { sub: 'Service/api' })
    const asserted = await openid.genericGrantRequest(
      config,
      ASSERTION,
      { ...asked, assertion: idpToken(s.idp, 'web', Date.now()) },
      { DPoP },
    )
    assert.equal((await openid.tokenIntrospection(server, asserted.access_token)).active, true)
    await openid.tokenRevocation(config, one.access_token)
    assert.equal((await openid.tokenIntrospection(server, one.access_token)).active, false)
  })

  test('asks for what it needs in detail, and gets that or nothing', async () => {
    await using s = await stage()
    const config = await configure(s, 'web', s.web)
    const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256'))
    const details = (...items: readonly object[]) => ({ authorization_details: JSON.stringify(items) })
    const one = { type: 'writ', action: 'ledger:read', resource: 'Api/ledger', properties: { limit: 5 } }
    const issued = await openid.clientCredentialsGrant(config, details(one), { DPoP })
    assert.deepEqual(issued.authorization_details, [one])
    const server = await configure(s, 'api', s.api)
    const seen = await openid.tokenIntrospection(server, issued.access_token)
    assert.deepEqual(seen['authorization_details'], [one])
    for (const [wrong, error] of [
      [[{ ...one, type: 'payment' }], 'invalid_authorization_details'],
      [[{ ...one, limit: 6 }], 'invalid_authorization_details'],
      [[one, { ...one, action: 'ledger:burn' }], 'invalid_authorization_details'],
      [[one, { ...one, resource: 'Api/small' }], 'invalid_target'],
    ] as const) {
      await assert.rejects(openid.clientCredentialsGrant(config, details(...wrong), { DPoP }), (failure) => {
        assert.ok(failure instanceof openid.ResponseBodyError, String(failure))
        assert.equal(failure.error, error, JSON.stringify(wrong))
        return true
      })
    }
  })

  test('asks this server as itself with a token that is bound to its key', async () => {
    await using s = await stage()
    const { url } = s.world.app
    const config = await configure(s, 'web', s.web)
    const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256'))
    const { access_token: token } = await openid.clientCredentialsGrant(config, { resource: url }, { DPoP })
    const me = new URL('/v1/me', url)
    const ask = (options: openid.DPoPOptions) =>
      openid.fetchProtectedResource(config, token, me, 'GET', undefined, undefined, options)
    const answer = await ask({ DPoP })
    assert.equal(((await answer.json()) as { subject?: string }).subject, 'Service/web')
    const other = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256'))
    for (const options of [{}, { DPoP: other }]) {
      await assert.rejects(ask(options), (error) => {
        assert.ok(error instanceof openid.WWWAuthenticateChallengeError, String(error))
        assert.equal(error.status, 401)
        return true
      })
    }
  })

  test('B42 has a person sign in with code and PKCE; a code is one token, and used again it is none', async () => {
    await using world = await openWorld()
    const config = await openid.discovery(
      new URL(`${world.app.url}/login/oidc`),
      'writ-cli',
      undefined,
      openid.None(),
      { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] },
    )
    const me = async (token: string): Promise<number> => {
      const headers = { authorization: `Bearer ${token}` }
      return (await fetch(`${world.app.url}/v1/me`, { headers })).status
    }
    const begin = async () => {
      const verifier = openid.randomPKCECodeVerifier()
      const state = openid.randomState()
      const asked = openid.buildAuthorizationUrl(config, {
        redirect_uri: 'http://127.0.0.1:9/callback',
        code_challenge: await openid.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        state,
      })
      const back = await admit(asked, world.tokens.grace)
      const redeem = (over: object = {}) =>
        openid.authorizationCodeGrant(config, back, {
          pkceCodeVerifier: verifier,
          expectedState: state,
          ...over,
        })
      return redeem
    }
    const redeem = await begin()
    const issued = await redeem()
    assert.equal(issued.refresh_token, undefined)
    assert.equal(issued.id_token, undefined)
    assert.equal(await me(issued.access_token), 200)
    await assert.rejects(
      redeem(),
      (error) => error instanceof openid.ResponseBodyError && error.error === 'invalid_grant',
    )
    assert.equal(await me(issued.access_token), 401, 'somebody else had the code: what it gave is taken back')

    // many at once: one winner at most, and when the others were seen not even that
    const race = await begin()
    const all = await Promise.allSettled(Array.from({ length: 6 }, () => race()))
    const won = all.flatMap((one) => (one.status === 'fulfilled' ? [one.value.access_token] : []))
    const good = await Promise.all(won.map(me))
    assert.ok(good.filter((status) => status === 200).length <= 1, `${won.length} tokens, ${good.join()}`)

    const wrong = await begin()
    await assert.rejects(wrong({ pkceCodeVerifier: openid.randomPKCECodeVerifier() }))
    await assert.rejects((await begin())({ expectedState: 'x' }))
    const last = await (await begin())()
    await openid.tokenRevocation(config, last.access_token)
    assert.equal(await me(last.access_token), 401)
  })

  test('is challenged, and resumes with what was approved meanwhile', async () => {
    await using s = await stage()
    const { flows } = s.world.app
    const config = await configure(s, 'migrator', s.migrator)
    const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256'))
    const asked = {
      audience: 'Database/orders',
      scope: 'db:migrate',
      writ_task: await declare(s.world, { heartbeat: 60_000 }),
    }
    let id = ''
    await assert.rejects(
      openid.clientCredentialsGrant(config, { ...asked, access_request: 'submit' }, { DPoP }),
      (error) => {
        assert.ok(error instanceof openid.ResponseBodyError)
        assert.equal(error.error, 'authorization_pending')
        id = error.cause['access_request_id'] as string
        return true
      },
    )
    const request = await flows.request(s.world.grace, id)
    await flows.approve(s.world.grace, id, { statement: request.digest })
    const issued = await openid.clientCredentialsGrant(config, { ...asked, access_request: id }, { DPoP })
    assert.equal(issued.token_type, 'dpop')
  })
})
