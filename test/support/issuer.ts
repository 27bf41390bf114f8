/**
 * An issuer of tokens on this machine: discovery, keys that rotate, a SPIFFE bundle, a Kubernetes API server that reviews,
 * tokens of each kind with the claims that the real ones have, ways to break, and tokens that nobody should accept.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { constants, createHmac, createPublicKey, generateKeyPairSync, randomUUID, sign } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { readFile } from 'node:fs/promises'
import type { Fetcher } from '../../src/identity/issuers/fetcher.ts'
import type { Verifier } from '../../src/identity/issuers/verify.ts'
import { createVerifier } from '../../src/identity/issuers/verify.ts'
import type { Json } from '../../src/model/canonical.ts'
import type { Issuer, IssuerInput, IssuerKind, Jwk } from '../../src/model/issuer.ts'
import { makeIssuer } from '../../src/model/issuer.ts'
import { outboundFetcher } from '../../src/signals/fetcher.ts'
import type { Clock } from '../../src/store/clock.ts'
import { TEST_START } from './store.ts'

/** The audience of everything that is minted here. */
export const TEST_AUDIENCE = 'https://writ.example'

export type SigningKey = Readonly<{ kid: string; alg: string; privateKey: KeyObject; publicKey: KeyObject }>

const made = new Map<string, SigningKey>()

/** The `at`-th key for `alg`; the same one each time, since RSA keys take long to make. */
export function testKey(alg: string, at = 0): SigningKey {
  const name = `${alg}-${at}`
  const found = made.get(name)
  if (found !== undefined) return found
  const curve = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[alg]
  const pair =
    curve !== undefined
      ? generateKeyPairSync('ec', { namedCurve: curve })
      : alg === 'EdDSA' || alg === 'Ed25519'
        ? generateKeyPairSync('ed25519')
        : generateKeyPairSync('rsa', { modulusLength: 2_048 })
  const key = { kid: name, alg, ...pair }
  made.set(name, key)
  return key
}

/** The public half as it stands in a key set. */
export function publicJwk(key: SigningKey, more: Record<string, Json | undefined> = {}): Jwk {
  const jwk = { ...key.publicKey.export({ format: 'jwk' }), kid: key.kid, alg: key.alg, use: 'sig', ...more }
  return Object.fromEntries(Object.entries(jwk).filter(([, value]) => value !== undefined))
}

export const base64url = (bytes: string | Uint8Array): string => Buffer.from(bytes).toString('base64url')

/**
 * Three parts with a right signature, whatever they say. Header and claims may be raw text; `alg` is what is really
 * signed with, by default what the header says.
 */
export function mintRaw(
  header: string | Readonly<Record<string, unknown>>,
  claims: string | Readonly<Record<string, unknown>>,
  key: KeyObject | Uint8Array | undefined,
  alg: string = typeof header === 'string' ? 'none' : String(header['alg']),
): string {
  const part = (value: string | object): string =>
    base64url(typeof value === 'string' ? value : JSON.stringify(value))
  const input = `${part(header)}.${part(claims)}`
  return `${input}.${base64url(signatureOf(Buffer.from(input), key, alg))}`
}

function signatureOf(input: Buffer, key: KeyObject | Uint8Array | undefined, alg: string): Uint8Array {
  if (key === undefined || /^none$/iu.test(alg)) return new Uint8Array()
  const hash = `sha${alg.slice(-3)}`
  if (key instanceof Uint8Array) return createHmac(hash, key).update(input).digest()
  if (alg === 'EdDSA' || alg === 'Ed25519') return sign(null, input, key)
  if (alg.startsWith('ES')) return sign(hash, input, { key, dsaEncoding: 'ieee-p1363' })
  if (alg.startsWith('PS')) {
    return sign(hash, input, {
      key,
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
    })
  }
  return sign(hash, input, key)
}

export type Claims = Record<string, unknown>
type Header = Readonly<Record<string, unknown>>

export type Breakage =
  /** Connections are cut. */
  | 'down'
  /** Nothing is answered until the issuer is mended. */
  | 'slow'
  | 'garbled'
  | 'error'
  /** Discovery is that of another issuer. */
  | 'wrong-issuer'
  | 'huge'
  | 'crowded'
  | Readonly<{ redirect: string }>

/** An issuer that listens until it is disposed of. */
export class TestIssuer implements AsyncDisposable {
  readonly #server = createServer((request, response) => void this.#answer(request, response))
  readonly hits = { discovery: 0, keys: 0, bundle: 0, review: 0, connections: 0 }
  /** What stands in its key set, in place of the public halves of `keys`. */
  document: unknown
  keys: SigningKey[] = [testKey('RS256')]
  /** Sent with keys and discovery. */
  cacheControl: string | undefined
  broken: Breakage | undefined
  /** What the API server says about a token; valid for who it says it is unless a test says otherwise. */
  review: ((spec: Readonly<{ token: string; audiences: string[] }>) => unknown) | undefined
  /** Answers only once this is settled, where a test wants to be in between. */
  gate: Promise<void> | undefined
  readonly trustDomain = 'prod.example'
  #held: ServerResponse[] = []

  static async start(): Promise<TestIssuer> {
    const issuer = new TestIssuer()
    issuer.#server.on('connection', () => (issuer.hits.connections += 1))
    issuer.#server.listen(0, '127.0.0.1')
    await once(issuer.#server, 'listening')
    return issuer
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** The key that signs. */
  get key(): SigningKey {
    return this.keys.at(-1) as SigningKey
  }

  /** Signs with a new key from now on; the old ones stay in the document unless they are retired. */
  rotate({ retire = false }: { retire?: boolean } = {}): SigningKey {
    const next = testKey(this.key.alg, Number(this.key.kid.split('-').at(-1)) + 1)
    this.keys = retire ? [next] : [...this.keys, next]
    return next
  }

  mend(): void {
    this.broken = undefined
    for (const response of this.#held) response.destroy()
    this.#held = []
  }

  /** How Writ is configured to trust it. */
  config(kind: IssuerKind = 'oidc', more: Partial<IssuerInput> = {}): Issuer {
    const rules: IssuerInput['rules'] = {
      oidc: undefined,
      github: [{ when: { repository_id: '456' }, subject: { type: 'Service', id: 'orders-ci' } }],
      gitlab: [{ when: { project_id: '789' }, subject: { type: 'Service', id: 'orders-ci' } }],
      kubernetes: undefined,
      spiffe: undefined,
    }[kind]
    return makeIssuer({
      name: kind,
      kind,
      issuer: kind === 'spiffe' ? this.trustDomain : this.url,
      audiences: [TEST_AUDIENCE],
      allowPrivate: true,
      ...(rules === undefined ? {} : { rules }),
      ...(kind === 'spiffe' ? { keys: { from: 'bundle', uri: `${this.url}/bundle` } } : {}),
      ...more,
    })
  }

  /** A token with `claims` over those of its `kind`, `undefined` taking one away. */
  mint(
    kind: IssuerKind = 'oidc',
    claims: Claims = {},
    header: Header = {},
    key: SigningKey = this.key,
  ): string {
    return mintRaw(this.header(kind, header, key), this.claims(kind, claims), key.privateKey)
  }

  header(kind: IssuerKind = 'oidc', more: Header = {}, key: SigningKey = this.key): Header {
    const typ = kind === 'kubernetes' ? {} : { typ: 'JWT' }
    // GitHub's tokens also name a certificate
    const x5t = kind === 'github' ? { x5t: 'eBZ_cn3sXYAd0ch4THBKHIgOwOE' } : {}
    return { ...typ, alg: key.alg, ...x5t, kid: key.kid, ...more }
  }

  /** Claims as real issuers of this kind make them. */
  claims(kind: IssuerKind = 'oidc', more: Claims = {}): Claims {
    const at = Math.floor(TEST_START / 1_000)
    const common = { iss: this.url, aud: TEST_AUDIENCE, iat: at, nbf: at, exp: at + 300 }
    const all = { ...common, ...this.#kinds[kind](), ...more }
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
  }

  readonly #kinds: Readonly<Record<IssuerKind, () => Claims>> = {
    oidc: () => ({ sub: 'orders-worker', jti: randomUUID() }),
    github: () => ({
      jti: randomUUID(),
      sub: 'repo:acme@123/orders@456:ref:refs/heads/main',
      ref: 'refs/heads/main',
      sha: 'f5b0dc1a3e3a6f0fb3dc9b4c5d4d1b6c2a8e9f01',
      repository: 'acme/orders',
      repository_owner: 'acme',
      repository_owner_id: '123',
      run_id: '9876543210',
      run_number: '17',
      run_attempt: '1',
      repository_visibility: 'private',
      repository_id: '456',
      actor_id: '31415',
      actor: 'ada',
      workflow: 'deploy',
      head_ref: '',
      base_ref: '',
      event_name: 'push',
      ref_protected: 'true',
      ref_type: 'branch',
      workflow_ref: 'acme/orders/.github/workflows/deploy.yml@refs/heads/main',
      workflow_sha: 'f5b0dc1a3e3a6f0fb3dc9b4c5d4d1b6c2a8e9f01',
      job_workflow_ref: 'acme/orders/.github/workflows/deploy.yml@refs/heads/main',
      job_workflow_sha: 'f5b0dc1a3e3a6f0fb3dc9b4c5d4d1b6c2a8e9f01',
      runner_environment: 'github-hosted',
      environment: 'production',
    }),
    gitlab: () => ({
      jti: randomUUID(),
      sub: 'project_path:acme/orders:ref_type:branch:ref:main',
      namespace_id: '72',
      namespace_path: 'acme',
      project_id: '789',
      project_path: 'acme/orders',
      project_visibility: 'private',
      user_id: '42',
      user_login: 'ada',
      user_email: 'ada@acme.example',
      user_access_level: 'maintainer',
      pipeline_id: '5641',
      pipeline_source: 'push',
      job_id: '24765',
      ref: 'main',
      ref_type: 'branch',
      ref_path: 'refs/heads/main',
      ref_protected: 'true',
      runner_id: 1,
      runner_environment: 'gitlab-hosted',
      sha: '714a629c0b401fdce83e847fc9589983fc6f46bc',
      ci_config_ref_uri: 'gitlab.example/acme/orders//.gitlab-ci.yml@refs/heads/main',
      ci_config_sha: '714a629c0b401fdce83e847fc9589983fc6f46bc',
      environment: 'production',
      environment_protected: 'true',
      deployment_tier: 'production',
    }),
    kubernetes: () => ({
      aud: [TEST_AUDIENCE],
      jti: randomUUID(),
      sub: 'system:serviceaccount:shop:orders',
      'kubernetes.io': {
        namespace: 'shop',
        node: { name: 'node-1', uid: '646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1' },
        pod: { name: 'orders-7c9d', uid: '5b2b4e2f-3a60-4e1f-8b7a-f0c2a2a1d9a3' },
        serviceaccount: { name: 'orders', uid: '14ee3fa4-a7e2-420f-9f9a-dbc4507c3798' },
        warnafter: Math.floor(TEST_START / 1_000) + 200,
      },
    }),
    spiffe: () => ({
      iss: undefined,
      aud: [TEST_AUDIENCE],
      nbf: undefined,
      sub: `spiffe://${this.trustDomain}/ns/shop/sa/orders`,
    }),
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', 'http://x').pathname
    if (path.endsWith('/tokenreviews')) return this.#review(request, response)
    const isDiscovery = path === '/.well-known/openid-configuration'
    if (isDiscovery) this.hits.discovery += 1
    else if (path === '/bundle') this.hits.bundle += 1
    else this.hits.keys += 1
    const { broken } = this
    // what it says is decided when it is asked
    const body = isDiscovery ? this.#discovery() : this.#document(path === '/bundle')
    await this.gate
    const reply = (status: number, text: string, headers: Record<string, string> = {}): void => {
      const cache = this.cacheControl === undefined ? {} : { 'cache-control': this.cacheControl }
      response.writeHead(status, { 'content-type': 'application/json', ...cache, ...headers }).end(text)
    }
    if (broken === 'down') request.socket.destroy()
    else if (broken === 'slow') this.#held.push(response)
    else if (broken === 'garbled') reply(200, '{"keys": [{"kty"')
    else if (broken === 'error') reply(503, '{}')
    else if (broken === 'huge')
      reply(200, JSON.stringify({ ...(body as object), padding: 'x'.repeat(300_000) }))
    else if (broken === 'crowded' && !isDiscovery)
      reply(200, JSON.stringify({ keys: Array.from({ length: 101 }, () => publicJwk(this.key)) }))
    else if (typeof broken === 'object') reply(302, '', { location: broken.redirect })
    else reply(200, JSON.stringify(body))
  }

  #discovery(): unknown {
    const issuer = this.broken === 'wrong-issuer' ? `${this.url}/` : this.url
    return { issuer, jwks_uri: `${this.url}/keys`, id_token_signing_alg_values_supported: ['RS256'] }
  }

  #document(isBundle: boolean): unknown {
    if (this.document !== undefined) return this.document
    if (!isBundle) return { keys: this.keys.map((key) => publicJwk(key)) }
    return {
      keys: [
        ...this.keys.map((key) => publicJwk(key, { use: 'jwt-svid', alg: undefined })),
        publicJwk(testKey('ES256', 9), { use: 'x509-svid', alg: undefined, kid: undefined }),
      ],
      spiffe_sequence: 1,
      spiffe_refresh_hint: 300,
    }
  }

  async #review(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.hits.review += 1
    if (this.broken === 'down') return void request.socket.destroy()
    const chunks: Uint8Array[] = []
    for await (const chunk of request) chunks.push(chunk as Uint8Array)
    const { spec } = JSON.parse(Buffer.concat(chunks).toString()) as {
      spec: { token: string; audiences: string[] }
    }
    const claims = JSON.parse(Buffer.from(spec.token.split('.')[1] ?? '', 'base64url').toString()) as {
      sub: string
      'kubernetes.io': { serviceaccount: { uid: string } }
    }
    const status =
      request.headers.authorization !== 'Bearer reviewer'
        ? { authenticated: false, error: 'unauthorized' }
        : this.review === undefined
          ? {
              authenticated: true,
              user: { username: claims.sub, uid: claims['kubernetes.io'].serviceaccount.uid, groups: [] },
              audiences: spec.audiences,
            }
          : this.review(spec)
    response
      .writeHead(201, { 'content-type': 'application/json' })
      .end(JSON.stringify({ apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', status }))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.mend()
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

/** A clock that stands still at the beginning of tests. */
export const stillClock: Clock = { wall: () => TEST_START, monotonic: () => 0 }

/** A verifier that reaches issuers over the network of this machine. */
export function testVerifier(
  issuers: readonly Issuer[],
  { fetch = outboundFetcher(), clock = stillClock }: { fetch?: Fetcher; clock?: Clock } = {},
): Verifier {
  return createVerifier({ issuers, fetch, clock, readText: (path) => readFile(path, 'utf8') })
}

/** The public half of `key` as PEM, which HMAC must never be keyed with. */
export function publicPem(key: SigningKey): string {
  return createPublicKey(key.privateKey).export({ format: 'pem', type: 'spki' }) as string
}
