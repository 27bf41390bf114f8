/**
 * The servers of the token bench, each in a process of its own: `writ`, or `oidc-provider` with its adapter in memory.
 *
 * @module
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider from 'oidc-provider'
import type { Properties } from '../src/model/entity.ts'
import { clientConfig, issuerConfig, newKey, tokenConfig } from '../test/support/oauth.ts'
import { openWorld, ref, starterPolicies } from '../test/support/world.ts'

/** What the bench is told: where the server is, and the private keys of the client and of the issuer of its tokens. */
export type TokenServer = Readonly<{
  url: string
  resource: string
  client: Properties
  idp: Properties
  /** An API key of the resource's server. */
  key: string
}>

const [client, idp] = ['web', 'idp'].map(newKey) as [ReturnType<typeof newKey>, ReturnType<typeof newKey>]
const RESOURCE = 'https://ledger.example/'

export const POLICY =
  '@id("read") permit (principal in Group::"readers", action == Action::"ledger:read", resource is Api);'

export const entities = [
  { type: 'Api', id: 'ledger', kind: 'resource', sensitivity: 1 },
  { type: 'Service', id: 'web', kind: 'workload', parents: [ref('Group/readers')] },
  { type: 'Service', id: 'api', kind: 'workload', parents: [ref('Group/readers')] },
] as const

if (process.argv[2] === 'writ' || process.argv[2] === 'oidc-provider') {
  const { url, key, stop } = await (process.argv[2] === 'writ' ? writ() : peer())
  const jwk = (of: typeof client) => of.privateKey.export({ format: 'jwk' }) as Properties
  const served: TokenServer = { url, key, resource: RESOURCE, client: jwk(client), idp: jwk(idp) }
  process.on('message', (asked) => {
    if (asked === 'stop') void stop().then(() => process.exit(0))
    const { user, system } = process.cpuUsage()
    if (asked === 'used') process.send?.({ cpu: user + system, rss: process.memoryUsage().rss })
  })
  process.send?.(served)
}

async function writ() {
  const world = await openWorld({
    policies: [...starterPolicies(), { name: 'api.cedar', text: POLICY }],
    entities,
    config: {
      limits: { body: 262_144, depth: 32, rate: 1_000_000 },
      issuers: [issuerConfig(idp)],
      tokens: tokenConfig([clientConfig({ id: 'web', key: client }, 'Service/web', ['Api/ledger'])], {
        resources: [{ uri: RESOURCE, resource: ref('Api/ledger') }],
      }),
    },
  })
  const server = await world.app.flows.createKey(world.ada, { name: 'ledger', subject: ref('Api/ledger') })
  return { url: world.app.url, key: server.secret.expose(), stop: () => world[Symbol.asyncDispose]() }
}

async function peer() {
  const server = createServer()
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const own = newKey('own')
  const provider = new Provider(url, {
    clients: [
      {
        client_id: 'web',
        token_endpoint_auth_method: 'private_key_jwt',
        token_endpoint_auth_signing_alg: 'ES256',
        id_token_signed_response_alg: 'ES256',
        jwks: { keys: [{ ...client.jwk, kid: client.kid, alg: 'ES256', use: 'sig' }] },
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        scope: 'ledger:read',
      },
    ],
    jwks: { keys: [{ ...own.privateKey.export({ format: 'jwk' }), kid: own.kid, alg: 'ES256', use: 'sig' }] },
    scopes: ['ledger:read'],
    ttl: { ClientCredentials: 300 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      // as we ask for one
      dPoP: { enabled: true, nonceSecret: Buffer.alloc(32, 1), requireNonce: () => true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope: 'ledger:read',
          accessTokenFormat: 'jwt',
          accessTokenTTL: 300,
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  })
  const callback = provider.callback()
  server.on('request', (request, response) => void callback(request, response))
  return {
    url,
    key: '',
    async stop() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
}
