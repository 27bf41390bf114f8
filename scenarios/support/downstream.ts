/**
 * An API downstream of Writ, by somebody else's library: it takes RFC 9068 access tokens that are bound to a key, verifies
 * them against Writ's published keys, and asks Writ whether they still count before it does anything.
 *
 * @module
 */
import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync, webcrypto } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isDeepStrictEqual } from 'node:util'
import { decodeJwt } from 'jose'
import * as oauth from 'oauth4webapi'
import type { Part } from './story.ts'

/** Servers of a story speak plain HTTP on this machine. */
export const insecure = { [oauth.allowInsecureRequests]: true } as const

/** One thing that an API did. */
export type Done = Readonly<{ action: string; amount?: number; sub: string; act: unknown }>

export type Api = Part &
  Readonly<{
    url: string
    /** The public keys with which it proves to Writ that it is itself. */
    keys: Readonly<{ keys: readonly object[] }>
    /** How it proves that. */
    auth: oauth.ClientAuth
    done: readonly Done[]
    /** Why it refused, in order. */
    refused: readonly string[]
    /** Once Writ runs. */
    trust(writ: string): Promise<void>
  }>

/** What a server says of itself where the standards have it say so. */
export async function discover(url: string): Promise<oauth.AuthorizationServer> {
  const response = await oauth.discoveryRequest(new URL(url), { algorithm: 'oauth2', ...insecure })
  return oauth.processDiscoveryResponse(new URL(url), response)
}

/** Whether a token is for this action with this amount. */
const isOf = (detail: oauth.AuthorizationDetails, action: string, amount: number): boolean =>
  detail['action'] === action && isDeepStrictEqual(detail['properties'], { amount })

class Refusal extends Error {}

/**
 * `GET /` is the action `read`, `POST /` with `{ amount }` is `write`, which the token must be for with this very amount
 * (`authorization_details`).
 */
export async function openApi(id: string, actions: Readonly<{ read: string; write?: string }>): Promise<Api> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const key = await webcrypto.subtle.importKey(
    'pkcs8',
    privateKey.export({ format: 'der', type: 'pkcs8' }),
    { name: 'ECDSA', namedCurve: 'P-256' },
    false,
    ['sign'],
  )
  const auth = oauth.PrivateKeyJwt({ key, kid: id })
  const done: Done[] = []
  const refused: string[] = []
  const seen = new Set<string>()
  let writ: oauth.AuthorizationServer | undefined

  const look = async (token: string): Promise<oauth.IntrospectionResponse> => {
    assert.ok(writ)
    const client = { client_id: id }
    const response = await oauth.introspectionRequest(writ, client, auth, token, insecure)
    return oauth.processIntrospectionResponse(writ, client, response)
  }

  /** Whose token it is and what it is for, if it counts for this request. */
  async function judge(request: Request): Promise<oauth.IntrospectionResponse> {
    assert.ok(writ)
    const claims = await oauth
      .validateJwtAccessToken(writ, request, url, { requireDPoP: true, ...insecure })
      .catch((error: unknown) => {
        throw new Refusal(error instanceof Error ? error.message : String(error))
      })
    const { jti } = decodeJwt(request.headers.get('dpop') ?? '')
    const proof = createHash('sha256').update(String(jti)).digest('hex')
    if (seen.has(proof)) throw new Refusal('the proof of possession was used before')
    seen.add(proof)
    const [, token = ''] = (request.headers.get('authorization') ?? '').split(' ')
    const found = await look(token)
    if (!found.active) throw new Refusal('the token counts no more')
    assert.equal(found.jti, claims.jti)
    assert.deepEqual(found.cnf, claims['cnf'])
    return found
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const headers = new Headers()
    for (const [name, value] of Object.entries(request.headers)) headers.set(name, String(value))
    let text = ''
    for await (const chunk of request) text += String(chunk)
    const answer = (status: number, body: object): void =>
      void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    try {
      const method = request.method ?? ''
      const action = method === 'POST' ? actions.write : actions.read
      assert.ok(action)
      const found = await judge(new Request(url, { method, headers }))
      const amount = method === 'POST' ? (JSON.parse(text) as { amount: number }).amount : undefined
      const details = found.authorization_details ?? []
      const isFor =
        amount === undefined
          ? (found.scope ?? '').split(' ').includes(action)
          : details.some((one) => isOf(one, action, amount))
      if (!isFor) throw new Refusal(`the token is not for ${action} of ${amount ?? 'this'}`)
      done.push({
        action,
        ...(amount === undefined ? {} : { amount }),
        sub: found.sub ?? '',
        act: found['act'],
      })
      answer(200, { done: action })
    } catch (error) {
      if (!(error instanceof Refusal)) {
        answer(500, { why: String(error) })
        return
      }
      refused.push(error.message)
      answer(401, { why: error.message })
    }
  }
  const server = createServer((request, response) => void serve(request, response))
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`

  return {
    url,
    keys: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: id, alg: 'ES256', use: 'sig' }] },
    auth,
    done,
    refused,
    async trust(at) {
      writ = await discover(at)
    },
    log: () => refused,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((closed) => server.close(() => closed()))
    },
  }
}
