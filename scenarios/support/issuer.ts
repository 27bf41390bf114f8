/**
 * Issuers of a story: platforms that say who their jobs and workloads are, by tokens of the shapes that the real ones
 * have, signed with keys of their own.
 *
 * @module
 */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { CryptoKey, JWTPayload } from 'jose'
import { SignJWT, exportJWK, generateKeyPair } from 'jose'
import type { Part } from './story.ts'

/** For whom tokens are that prove somebody to Writ. */
export const AUDIENCE = 'https://writ.example'

/** A platform that Writ trusts by its discovery document. */
export type Platform = Part &
  Readonly<{
    url: string
    /** A token with these claims; for Writ and good for five minutes unless they say otherwise. */
    token(claims: JWTPayload): Promise<string>
    /** The same claims, signed by somebody else under the name of its key. */
    forged(claims: JWTPayload): Promise<string>
    /** What a runner gives a job of which these claims hold: where the job gets its tokens, and by what. */
    job(claims: JWTPayload): Record<string, string>
  }>

/** `now` is the time there; by default that of this machine. */
export async function openPlatform(now: () => number = Date.now): Promise<Platform> {
  const [own, foreign] = await Promise.all([
    generateKeyPair('RS256', { extractable: true }),
    generateKeyPair('RS256'),
  ])
  const kid = randomUUID()
  const keys = [{ ...(await exportJWK(own.publicKey)), kid, alg: 'RS256', use: 'sig' }]
  const jobs = new Map<string, JWTPayload>()

  const sign = (claims: JWTPayload, key: CryptoKey): Promise<string> => {
    const at = Math.floor(now() / 1_000)
    const common = { iss: url, aud: AUDIENCE, jti: randomUUID(), iat: at, nbf: at - 5, exp: at + 300 }
    return new SignJWT({ ...common, ...claims })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid })
      .sign(key)
  }
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { pathname, searchParams } = new URL(request.url ?? '/', url)
    const claims = jobs.get(request.headers.authorization ?? '')
    const audience = searchParams.get('audience')
    const body =
      pathname === '/.well-known/openid-configuration'
        ? { issuer: url, jwks_uri: `${url}/jwks` }
        : pathname === '/jwks'
          ? { keys }
          : pathname === '/job-token' && claims !== undefined
            ? {
                value: await sign(
                  { ...claims, ...(audience === null ? {} : { aud: audience }) },
                  own.privateKey,
                ),
              }
            : undefined
    response
      .writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json' })
      .end(body === undefined ? '' : JSON.stringify(body))
  }
  const server = createServer((request, response) => void answer(request, response))
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  return {
    url,
    token: (claims) => sign(claims, own.privateKey),
    forged: (claims) => sign(claims, foreign.privateKey),
    job(claims) {
      const secret = randomUUID()
      jobs.set(`Bearer ${secret}`, claims)
      return {
        GITHUB_ACTIONS: 'true',
        ACTIONS_ID_TOKEN_REQUEST_URL: `${url}/job-token?api-version=2.0`,
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: secret,
      }
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((done) => server.close(() => done()))
    },
  }
}

/**
 * What GitHub says of a job: the release of acme/orders from `main` into production, started by Rob's push, unless told
 * otherwise.
 */
export function githubJob(
  more: JWTPayload = {},
  { ref = 'refs/heads/main', repository = 'acme/orders', file = 'release.yml' } = {},
): JWTPayload {
  const [owner = ''] = repository.split('/')
  const workflow = `${repository}/.github/workflows/${file}@${ref}`
  const job: JWTPayload = {
    ref,
    sha: 'f5b0dc1a3e3a6f0fb3dc9b4c5d4d1b6c2a8e9f01',
    repository,
    repository_id: '456',
    repository_owner: owner,
    repository_owner_id: '123',
    repository_visibility: 'private',
    run_id: '9876543210',
    run_number: '17',
    run_attempt: '1',
    actor_id: '31415',
    actor: 'rob',
    workflow: 'release',
    head_ref: '',
    base_ref: '',
    event_name: 'push',
    ref_protected: 'true',
    ref_type: 'branch',
    workflow_ref: workflow,
    workflow_sha: 'f5b0dc1a3e3a6f0fb3dc9b4c5d4d1b6c2a8e9f01',
    job_workflow_ref: workflow,
    job_workflow_sha: 'f5b0dc1a3e3a6f0fb3dc9b4c5d4d1b6c2a8e9f01',
    runner_environment: 'github-hosted',
    environment: 'production',
    ...more,
  }
  const environment: unknown = job['environment']
  const context = typeof environment === 'string' ? `environment:${environment}` : `ref:${ref}`
  const [, name = ''] = repository.split('/')
  const sub = `repo:${owner}@${String(job['repository_owner_id'])}/${name}@${String(job['repository_id'])}:${context}`
  return { sub, ...job }
}

/** What a Kubernetes cluster says of a pod with a projected token of this service account. */
export function pod(namespace: string, account: string, uid: string): JWTPayload {
  return {
    aud: [AUDIENCE],
    sub: `system:serviceaccount:${namespace}:${account}`,
    'kubernetes.io': {
      namespace,
      node: { name: 'node-1', uid: '646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1' },
      pod: { name: `${account}-7c9d`, uid: '5b2b4e2f-3a60-4e1f-8b7a-f0c2a2a1d9a3' },
      serviceaccount: { name: account, uid },
      warnafter: Math.floor(Date.now() / 1_000) + 200,
    },
  }
}
