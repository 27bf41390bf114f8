/**
 * An OpenID Connect provider on this machine, as people's companies have one: independent of ours, it signs in whoever the
 * test says, without asking.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider from 'oidc-provider'
import type { LoginProvider } from '../../src/config/index.ts'

export type Idp = AsyncDisposable & {
  readonly issuer: string
  /** Who is signed in next; nobody: it says no. */
  account: string | undefined
  /** As a provider of ours, by the name `test`. */
  readonly login: LoginProvider
}

export async function startIdp(): Promise<Idp> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const client = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const server = createServer()
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'writ',
        application_type: 'native',
        token_endpoint_auth_method: 'private_key_jwt',
        token_endpoint_auth_signing_alg: 'ES256',
        id_token_signed_response_alg: 'ES256',
        jwks: { keys: [{ ...client.publicKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }] },
        grant_types: ['authorization_code'],
        response_types: ['code'],
        redirect_uris: ['http://127.0.0.1/login/callback/test', 'http://localhost/login/callback/test'],
      },
    ],
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }] },
    cookies: { keys: ['test'] },
    features: { devInteractions: { enabled: false } },
    scopes: ['openid', 'profile', 'email'],
    claims: { openid: ['sub', 'email'] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    interactions: { url: (_ctx, { uid }) => `/interaction/${uid}` },
    findAccount: (_ctx, sub) => ({
      accountId: sub,
      claims: async () => ({ sub, email: `${sub}@example.test` }),
    }),
  })
  const callback = provider.callback()
  const idp: Idp = {
    issuer,
    account: undefined,
    login: {
      name: 'test',
      label: 'Test Inc',
      issuer,
      clientId: 'writ',
      proof: { kind: 'key', key: client.privateKey },
      scopes: ['openid', 'email'],
      allowPrivate: true,
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
  server.on('request', (request, response) => {
    if (request.url?.startsWith('/interaction/') !== true) {
      void callback(request, response)
      return
    }
    void (async () => {
      const { account } = idp
      const { params } = await provider.interactionDetails(request, response)
      if (account === undefined) {
        await provider.interactionFinished(request, response, { error: 'access_denied' })
        return
      }
      const grant = new provider.Grant({ accountId: account, clientId: String(params['client_id']) })
      grant.addOIDCScope(String(params['scope']))
      await provider.interactionFinished(request, response, {
        login: { accountId: account, remember: false },
        consent: { grantId: await grant.save() },
      })
    })()
  })
  return idp
}

/** Follows a sign-in at the provider as a browser would, up to the way back. */
export async function through(url: string): Promise<URL> {
  let at = new URL(url)
  const jar = new Map<string, string>()
  for (let i = 0; i < 10; i++) {
    if (at.pathname.startsWith('/login/callback/')) return at
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(at, { redirect: 'manual', headers: { cookie } })
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      jar.set(name, value)
    }
    const to = response.headers.get('location')
    assert.ok(to !== null, await response.text())
    at = new URL(to, at)
  }
  throw new Error('it goes round in circles')
}
