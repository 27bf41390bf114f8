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
