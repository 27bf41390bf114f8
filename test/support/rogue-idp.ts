/**
 * An OpenID Connect provider that answers whatever a test says.
 *
 * @module
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Begun, Provider } from '../../src/identity/people/relying.ts'
import { publicJwk } from './issuer.ts'
import type { SigningKey } from './issuer.ts'

type Members = Record<string, unknown>

/** `how` may be changed at any time; `begun` is what `token` is asked with. */
export async function rogueIdp(...keys: readonly SigningKey[]) {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const how: {
    metadata: Members
    keys: unknown
    token: (begun: Pick<Begun, 'nonce'>) => unknown
    status: number
    begun: Pick<Begun, 'nonce'> | undefined
    forms: URLSearchParams[]
  } = {
    metadata: {},
    keys: keys.map((key) => publicJwk(key)),
    token: () => ({}),
    status: 200,
    begun: undefined,
    forms: [],
  }
  server.on('request', (request, response) => {
    const answer = (body: unknown, status = 200): void => {
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(typeof body === 'string' ? body : JSON.stringify(body))
    }
    if (request.url === '/.well-known/openid-configuration') {
      answer({
        issuer,
        authorization_endpoint: `${issuer}/authorize`,
        token_endpoint: `${issuer}/token`,
        jwks_uri: `${issuer}/jwks`,
        response_types_supported: ['code'],
        id_token_signing_alg_values_supported: [...new Set(keys.map(({ alg }) => alg))],
        ...how.metadata,
      })
    } else if (request.url === '/jwks') answer({ keys: how.keys })
    else if (request.url === '/token') {
      let form = ''
      request.on('data', (part: Buffer) => (form += part.toString()))
      request.on('end', () => {
        how.forms.push(new URLSearchParams(form))
        if (how.begun === undefined) throw new TypeError('nothing was begun')
        answer(how.token(how.begun), how.status)
      })
    } else answer({}, 404)
  })
  return {
    issuer,
    how,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
}

export type RogueIdp = Awaited<ReturnType<typeof rogueIdp>>

/** That provider as it is configured here. */
export const rogueProvider = (issuer: string, over: Partial<Provider> = {}): Provider => ({
  name: 'corp',
  label: 'Corp',
  issuer,
  clientId: 'writ',
  proof: { kind: 'none' },
  scopes: ['openid'],
  allowPrivate: true,
  ...over,
})
