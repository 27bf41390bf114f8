/**
 * A downstream API of a story, as somebody else would have built it: it verifies access tokens by `oauth4webapi`, and
 * asks Writ what each is worth now, as who it is itself.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import * as oauth from 'oauth4webapi'
import type { Part } from './story.ts'

export type ApiOptions = Readonly<{
  /** Where Writ is. */
  writ: () => string
  /** What its tokens say in `aud`. */
  audience: string
  /** Its own workload token, for now. */
  identity: () => string
}>

export type Api = Part &
  Readonly<{
    url: string
    /** A key of the old kind: never ends, good from everywhere. */
    key: string
    retireKey(): void
    /** What it did, and for whom. */
    entries: readonly Readonly<{ by: string; action: string }>[]
    /** Credentials that were shown to it, whatever it made of them. */
    shown: readonly string[]
  }>

const insecure = { [oauth.allowInsecureRequests]: true }

export async function openApi({ writ, audience, identity }: ApiOptions): Promise<Api> {
  const key = `ledger_${randomBytes(24).toString('base64url')}`
  let retired = false
  const entries: { by: string; action: string }[] = []
  const shown: string[] = []
  /** Proofs of possession that have been seen: each is good once. */
  const proofs = new Set<string>()
  let metadata: Promise<oauth.AuthorizationServer> | undefined
  const server = createServer((request, response) => {
    void answer(request).then(
      ([status, body]) => response.writeHead(status, { 'content-type': 'application/json' }).end(body),
      (error: unknown) => response.writeHead(500).end(String(error)),
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const discover = async (): Promise<oauth.AuthorizationServer> => {
    const issuer = new URL(writ())
    const found = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
    return oauth.processDiscoveryResponse(issuer, found)
  }

  async function answer(request: IncomingMessage): Promise<[number, string]> {
    request.resume()
    const { authorization, dpop } = request.headers
    const given = request.headers['x-api-key']
    if (authorization !== undefined) shown.push(authorization)
    // `/post` is the action `ledger:post`
    const action = `ledger:${(request.url ?? '').slice(1)}`
    if (typeof given === 'string') {
      shown.push(given)
      if (retired || given !== key) return refusal('no such key')
      entries.push({ by: 'whoever has the key', action })
      return [200, '{}']
    }
    const headers = new Headers()
    if (authorization !== undefined) headers.set('authorization', authorization)
    if (typeof dpop === 'string') headers.set('dpop', dpop)
    const as = await (metadata ??= discover())
    let claims: oauth.JWTAccessTokenClaims
    try {
      const asked = new Request(`${url}${request.url}`, { method: request.method ?? 'GET', headers })
      claims = await oauth.validateJwtAccessToken(as, asked, audience, insecure)
    } catch (error) {
      return refusal(error instanceof Error ? error.message : String(error))
    }
    if (typeof dpop === 'string') {
      const proof = createHash('sha256').update(dpop).digest('base64url')
      if (proofs.has(proof)) return refusal('the proof was used before')
      proofs.add(proof)
    }
    const token = authorization?.split(' ')[1] ?? ''
    const look = await fetch(as.introspection_endpoint ?? '', {
      method: 'POST',
      headers: { authorization: `Bearer ${identity()}` },
      body: new URLSearchParams({ token }),
    })
    if (!look.ok) return [503, JSON.stringify({ error: await look.text() })]
    const { active, scope, sub } = (await look.json()) as { active: boolean; scope?: string; sub?: string }
    if (!active) return refusal('the token is worth nothing any more')
    if (scope?.split(' ').includes(action) !== true) return [403, '{"error":"insufficient_scope"}']
    assert.equal(claims.sub, sub)
    entries.push({ by: claims.sub, action })
    return [200, '{}']
  }

  return {
    url,
    key,
    retireKey: () => void (retired = true),
    entries,
    shown,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

const refusal = (error: string): [number, string] => [401, JSON.stringify({ error })]
