/**
 * An issuer as a CI has one, and a server that exchanges its tokens: real signatures and the claims that GitHub, GitLab
 * and Kubernetes really send, for what talks to both. It decides nothing by policy: a test says what is answered.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { JWTPayload } from 'jose'
import { SignJWT, createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose'

type Shape = (audience: string) => JWTPayload

/** A push to `main` of a repository with immutable ids in `sub`, as GitHub sends it since 2026-07-15. */
export const githubClaims: Shape = (audience) => ({
  sub: 'repo:acme@1234/orders@5678:environment:production',
  aud: audience,
  ref: 'refs/heads/main',
  sha: 'c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00',
  repository: 'acme/orders',
  repository_owner: 'acme',
  repository_owner_id: '1234',
  run_id: '1658821493',
  run_number: '10',
  run_attempt: '1',
  repository_visibility: 'private',
  repository_id: '5678',
  actor_id: '583231',
  actor: 'octocat',
  workflow: 'deploy',
  head_ref: '',
  base_ref: '',
  event_name: 'push',
  ref_protected: 'true',
  ref_type: 'branch',
  environment: 'production',
  workflow_ref: 'acme/orders/.github/workflows/deploy.yml@refs/heads/main',
  workflow_sha: 'c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00',
  job_workflow_ref: 'acme/orders/.github/workflows/deploy.yml@refs/heads/main',
  job_workflow_sha: 'c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00',
  runner_environment: 'github-hosted',
  jti: crypto.randomUUID(),
})

/** A job of a protected branch, as GitLab sends it: numbers are strings. */
export const gitlabClaims: Shape = (audience) => ({
  sub: 'project_path:acme/orders:ref_type:branch:ref:main',
  aud: audience,
  namespace_id: '72',
  namespace_path: 'acme',
  project_id: '20',
  project_path: 'acme/orders',
  user_id: '1',
  user_login: 'sidney',
  user_email: 'sidney@acme.example',
  pipeline_id: '574',
  pipeline_source: 'push',
  job_id: '302',
  ref: 'main',
  ref_type: 'branch',
  ref_path: 'refs/heads/main',
  ref_protected: 'true',
  environment: 'production',
  environment_protected: 'true',
  deployment_tier: 'production',
  runner_id: 1,
  runner_environment: 'self-hosted',
  sha: '714a629c0b401fdce83e847fc9589983fc6f46bc',
  ci_config_ref_uri: 'gitlab.example/acme/orders//.gitlab-ci.yml@refs/heads/main',
  ci_config_sha: '714a629c0b401fdce83e847fc9589983fc6f46bc',
  jti: crypto.randomUUID(),
})

/** A projected token: its audience is a list of one. */
export const kubernetesClaims: Shape = (audience) => ({
  sub: 'system:serviceaccount:shop:orders',
  aud: [audience],
  'kubernetes.io': {
    namespace: 'shop',
    node: { name: 'node-1', uid: '646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1' },
    pod: { name: 'orders-5d9f', uid: '5e0bd49b-f040-43b0-99b7-22765a53f7f3' },
    serviceaccount: { name: 'orders', uid: '14ee3fa4-a7e2-420f-9f9a-dbc4507c3798' },
    warnafter: 1_800_000_000,
  },
  jti: crypto.randomUUID(),
})

export type Got = Readonly<{
  method: string
  path: string
  query: URLSearchParams
  headers: IncomingMessage['headers']
  form: URLSearchParams
  body: Record<string, unknown>
}>
export type Gives = Readonly<{ status?: number; body?: unknown; headers?: Record<string, string> }>
type Handler = (got: Got) => Gives | 'silence' | Promise<Gives | 'silence'>

type Serving = AsyncDisposable & Readonly<{ url: string; seen: Got[] }>

async function serve(handle: Handler): Promise<Serving> {
  const seen: Got[] = []
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://here')
    let text = ''
    for await (const chunk of request) text += String(chunk)
    const isForm = request.headers['content-type']?.startsWith('application/x-www-form-urlencoded') === true
    const got: Got = {
      method: request.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      form: new URLSearchParams(isForm ? text : ''),
      body: isForm || text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
    }
    seen.push(got)
    const gives = await handle(got)
    if (gives === 'silence') return
    response.writeHead(gives.status ?? 200, { 'content-type': 'application/json', ...gives.headers })
    response.end(gives.body === undefined ? '' : JSON.stringify(gives.body))
  }
  const server = createServer((request, response) => void respond(request, response))
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((done) => server.close(() => done()))
    },
  }
}

export type Issuer = Serving &
  Readonly<{
    /** What a runner of GitHub gives a job that may have tokens. */
    githubEnv: Record<string, string>
    /** A token with these claims, from now on for `life` seconds. */
    sign: (claims: JWTPayload, life?: number) => Promise<string>
    verify: (token: string, audience: string) => Promise<JWTPayload>
    /** Its public keys. */
    keys: readonly Readonly<Record<string, string>>[]
    /** What is answered in place of a token. */
    broken: { gives?: Gives }
  }>

const REQUEST_TOKEN = 'request-token-canary'

/** An issuer with GitHub's endpoint for jobs: `?audience=`, bearer token, `{ count, value }`. */
export async function openIssuer(): Promise<Issuer> {
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true })
  const { kty, n, e } = (await exportJWK(publicKey)) as Record<'kty' | 'n' | 'e', string>
  const keys = [{ kty, n, e, kid: 'k1', alg: 'RS256', use: 'sig' }]
  const broken: Issuer['broken'] = {}
  const serving = await serve(async ({ path, query, headers }) => {
    if (path === '/.well-known/openid-configuration')
      return { body: { issuer: serving.url, jwks_uri: `${serving.url}/jwks` } }
    if (path === '/jwks') return { body: { keys } }
    if (path !== '/token') return { status: 404 }
    if (broken.gives !== undefined) return broken.gives
    if (headers.authorization !== `Bearer ${REQUEST_TOKEN}`) return { status: 401 }
    const value = await sign(githubClaims(query.get('audience') ?? 'https://github.com/acme'))
    return { body: { count: value.length, value } }
  })
  const sign = async (claims: JWTPayload, life = 300): Promise<string> => {
    const at = Math.floor(Date.now() / 1_000)
    return new SignJWT({ iss: serving.url, iat: at, nbf: at - 5, exp: at + life, ...claims })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid: 'k1' })
      .sign(privateKey)
  }
  return {
    ...serving,
    githubEnv: {
      GITHUB_ACTIONS: 'true',
      ACTIONS_ID_TOKEN_REQUEST_URL: `${serving.url}/token?api-version=2.0`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: REQUEST_TOKEN,
    },
    sign,
    keys,
    verify: async (token, audience) =>
      (await jwtVerify(token, createLocalJWKSet({ keys }), { issuer: serving.url, audience })).payload,
    broken,
  }
}

export type TokenServer = Serving &
  Readonly<{
    /** How tasks ended, by id. */
    tasks: Map<string, string>
    revoked: Set<string>
    issued: string[]
    /** Approves the access request that waits. */
    approve: (status?: string) => void
    /** What it is told to do otherwise. */
    how: {
      metadata?: Record<string, unknown> | null
      challenge?: boolean
      /** Answers every token request. */
      token?: (got: Got) => Gives | undefined
      nonce?: string
      refuse?: (token: string) => boolean
      end?: Gives
      revoke?: Gives
    }
  }>

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'

/** A server that trusts `issuer`. */
export async function openTokenServer(issuer: Issuer): Promise<TokenServer> {
  const tasks = new Map<string, string>()
  const revoked = new Set<string>()
  const issued: string[] = []
  const how: TokenServer['how'] = {}
  let status = 'pending'
  let serial = 0

  const subjectOf = (claims: JWTPayload): string => {
    const named = [claims['repository_id'], claims['project_id'], claims.sub]
    return `Service/${named.find((id) => typeof id === 'string') ?? 'nobody'}`
  }
  const bearer = async ({ headers }: Got): Promise<string | undefined> => {
    const [, scheme, token = ''] = /^(Bearer|DPoP) (.+)$/u.exec(headers.authorization ?? '') ?? []
    if ((scheme === 'DPoP') !== (headers['dpop'] !== undefined)) return undefined
    if (how.refuse?.(token) === true) return undefined
    if (issued.includes(token)) return revoked.has(token) ? undefined : 'Service/client'
    try {
      return subjectOf(await issuer.verify(token, serving.url))
    } catch {
      return undefined
    }
  }
  const problem = (status: number, code: string, detail: string): Gives => ({
    status,
    body: { code, detail },
    headers: { 'content-type': 'application/problem+json' },
  })
  const request = (id: string) => ({
    task: { id, status },
    ...(status === 'approved'
      ? { result: { mode: 'reevaluate', approval: { id: 'apr_1', approved_until: '2099-01-01T00:00:00Z' } } }
      : {}),
  })

  const token = async (got: Got): Promise<Gives> => {
    const { form } = got
    const told = how.token?.(got)
    if (told !== undefined) return told
    const fail = (error: string, error_description: string): Gives => ({
      status: 400,
      body: { error, error_description },
    })
    if (how.nonce !== undefined && got.headers['dpop'] !== undefined) {
      const [, claims = ''] = String(got.headers['dpop']).split('.')
      const { nonce } = JSON.parse(Buffer.from(claims, 'base64url').toString()) as { nonce?: string }
      if (nonce !== how.nonce)
        return { ...fail('use_dpop_nonce', 'a nonce is needed'), headers: { 'dpop-nonce': how.nonce } }
    }
    if (form.get('grant_type') === EXCHANGE) {
      const subject = form.get('subject_token') ?? ''
      if (!issued.includes(subject)) {
        try {
          await issuer.verify(subject, serving.url)
        } catch {
          return fail('invalid_request', 'the subject token does not count')
        }
      }
      if (how.challenge === true && form.get('approval') === null) {
        return {
          status: 400,
          body: {
            error: 'unmet_authentication_requirements',
            error_description: 'evidence is missing',
            evaluation_id: 'dec_1',
            evaluated_at: new Date().toISOString(),
            access_request: {
              expires_at: new Date(Date.now() + 900_000).toISOString(),
              binding_token: 'bound.by.server',
              display: {
                alternatives: [{ requirements: [{ kind: 'approval', pool: 'release', count: 1 }] }],
                truncated: false,
              },
            },
          },
        }
      }
    }
    const access_token = `writ_at_canary_${++serial}`
    issued.push(access_token)
    return {
      body: {
        access_token,
        token_type: got.headers['dpop'] === undefined ? 'Bearer' : 'DPoP',
        issued_token_type: ACCESS_TOKEN,
        expires_in: 300,
        ...(form.get('scope') === null ? {} : { scope: form.get('scope') }),
      },
    }
  }

  const serving: Serving = await serve(async (got) => {
    const { method, path } = got
    if (/^\/\.well-known\/oauth-authorization-server(?:\/login\/oidc)?$/u.test(path)) {
      if (how.metadata === null) return problem(404, 'ERR_NOT_FOUND', 'there is nothing here')
      return {
        body: {
          issuer: path.endsWith('/login/oidc') ? `${serving.url}/login/oidc` : serving.url,
          token_endpoint: `${serving.url}/oauth/token`,
          revocation_endpoint: `${serving.url}/oauth/revoke`,
          authorization_endpoint: `${serving.url}/oauth/authorize`,
          authorization_response_iss_parameter_supported: true,
          code_challenge_methods_supported: ['S256'],
          token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
          ...how.metadata,
        },
      }
    }
    if (path === '/readyz') return { body: { status: 'ok', version: '0.0.0' } }
    if (path === '/oauth/token') return token(got)
    const caller = await bearer(got)
    if (path === '/oauth/revoke') {
      if (how.revoke !== undefined) return how.revoke
      if (caller === undefined && !got.form.has('client_assertion'))
        return { status: 401, body: { error: 'invalid_client' } }
      revoked.add(got.form.get('token') ?? '')
      return {}
    }
    if (caller === undefined)
      return problem(401, 'ERR_UNAUTHENTICATED', 'credentials are missing, unknown or no longer valid')
    if (path === '/v1/me') return { body: { id: `issuer:ci\n${caller}`, kind: 'issuer', subject: caller } }
    if (method === 'POST' && path === '/v1/tasks') {
      const id = `task_${++serial}`
      tasks.set(id, 'declared')
      return { status: 201, body: { id, state: 'declared', heartbeat: '15s', ...got.body } }
    }
    const ended = /^\/v1\/tasks\/(\w+)\/end$/u.exec(path)?.[1]
    if (ended !== undefined) {
      if (how.end !== undefined) return how.end
      tasks.set(ended, String(got.body['status']))
      return { body: { task: { id: ended, state: got.body['status'] }, credentials: [], clean: true } }
    }
    if (method === 'POST' && path === '/access/v1/requests') {
      return { status: 202, body: request('req_1'), headers: { 'retry-after': '0' } }
    }
    if (path === '/access/v1/requests/req_1/cancel') {
      status = 'cancelled'
      return { body: request('req_1') }
    }
    if (path === '/access/v1/requests/req_1')
      return { body: request('req_1'), headers: { 'retry-after': '0' } }
    return problem(404, 'ERR_NOT_FOUND', 'there is nothing here')
  })
  return { ...serving, tasks, revoked, issued, approve: (to = 'approved') => (status = to), how }
}
