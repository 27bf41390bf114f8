/**
 * A client of the token endpoint as an ordinary one would be: it signs assertions and proofs of possession, posts forms,
 * and follows nonces. Signed by hand, so that whatever should be refused can be made too.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { generateKeyPairSync, hash, randomUUID, sign } from 'node:crypto'
import type { TokenConfig } from '../../src/config/index.ts'
import type { Json } from '../../src/model/canonical.ts'
import type { Properties } from '../../src/model/entity.ts'
import type { Issuer } from '../../src/model/issuer.ts'
import { makeIssuer } from '../../src/model/issuer.ts'
import type { ClientConfig } from '../../src/model/token.ts'
import { ref } from './world.ts'

export type Key = Readonly<{ kid: string; privateKey: KeyObject; jwk: Properties }>

export function newKey(kid: string): Key {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { kid, privateKey, jwk: publicKey.export({ format: 'jwk' }) as Properties }
}

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A compact JWS by `key`, whatever it says. */
export function mint(key: Key, header: Readonly<Record<string, unknown>>, claims: unknown): string {
  const input = `${part({ alg: 'ES256', ...header })}.${part(claims)}`
  const signature = sign('sha256', Buffer.from(input), { key: key.privateKey, dsaEncoding: 'ieee-p1363' })
  return `${input}.${signature.toString('base64url')}`
}

export const claimsOf = (token: string): Record<string, Json> =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8')) as Record<string, Json>

export type Answer = Readonly<{ status: number; body: Record<string, Json>; headers: Headers }>

/** The token in an answer that must have one. */
export function tokenIn({ status, body }: Answer): string {
  const token = body['access_token']
  if (status !== 200 || typeof token !== 'string') throw new Error(`no token: ${JSON.stringify(body)}`)
  return token
}

type Form = Readonly<Record<string, string | readonly string[]>>

export class OAuthClient {
  readonly id: string
  readonly key: Key
  /** The key that its tokens are bound to. */
  readonly holder: Key
  readonly #now: () => number
  url: string
  nonce: string | undefined

  constructor(id: string, url: string, now: () => number, key = newKey(id), holder = newKey('holder')) {
    this.id = id
    this.url = url
    this.key = key
    this.holder = holder
    this.#now = now
  }

  get seconds(): number {
    return Math.floor(this.#now() / 1_000)
  }

  assertion(
    more: Readonly<Record<string, unknown>> = {},
    header: Readonly<Record<string, unknown>> = {},
  ): string {
    const claims = {
      iss: this.id,
      sub: this.id,
      aud: this.url,
      iat: this.seconds,
      exp: this.seconds + 60,
      jti: randomUUID(),
      ...more,
    }
    return mint(this.key, { kid: this.key.kid, ...header }, claims)
  }

  proof(
    more: Readonly<Record<string, unknown>> = {},
    header: Readonly<Record<string, unknown>> = {},
    path = '/oauth/token',
  ): string {
    const claims = {
      htm: 'POST',
      htu: `${this.url}${path}`,
      iat: this.seconds,
      jti: randomUUID(),
      ...(this.nonce === undefined ? {} : { nonce: this.nonce }),
      ...more,
    }
    return mint(this.holder, { typ: 'dpop+jwt', jwk: this.holder.jwk, ...header }, claims)
  }

  /** One POST of a form, as it is. */
  async post(
    path: string,
    form: Form | string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    const body = new URLSearchParams()
    if (typeof form !== 'string') {
      for (const [name, value] of Object.entries(form)) {
        for (const one of typeof value === 'string' ? [value] : value) body.append(name, one)
      }
    }
    const response = await fetch(`${this.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
      body: typeof form === 'string' ? form : body.toString(),
    })
    this.nonce = response.headers.get('dpop-nonce') ?? this.nonce
    const text = await response.text()
    return {
      status: response.status,
      body: text === '' ? {} : (JSON.parse(text) as Record<string, Json>),
      headers: response.headers,
    }
  }

  /** `client_assertion` and its type, fresh. */
  authentication(): Record<string, string> {
    return {
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: this.assertion(),
    }
  }

  /** A token request by client credentials, authenticated, with a proof of possession unless told otherwise. */
  async token(form: Form, options: Readonly<{ dpop?: boolean; client?: boolean }> = {}): Promise<Answer> {
    const send = (): Promise<Answer> =>
      this.post(
        '/oauth/token',
        {
          grant_type: 'client_credentials',
          ...(options.client === false ? {} : this.authentication()),
          ...form,
        },
        options.dpop === false ? {} : { dpop: this.proof() },
      )
    const answer = await send()
    return answer.body['error'] === 'use_dpop_nonce' ? send() : answer
  }

  async exchange(form: Form, options: Readonly<{ dpop?: boolean; client?: boolean }> = {}): Promise<Answer> {
    return this.token(
      {
        grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
        subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
        ...(form['actor_token'] === undefined
          ? {}
          : { actor_token_type: 'urn:ietf:params:oauth:token-type:jwt' }),
        ...form,
      },
      options,
    )
  }

  async introspect(token: string, by: Form = this.authentication()): Promise<Answer> {
    return this.post('/oauth/introspect', { ...by, token })
  }
}

export const clientConfig = (
  { id, key }: Readonly<{ id: string; key: Key }>,
  subject: string,
  serves: readonly string[] = [],
): ClientConfig => ({
  id,
  subject: ref(subject),
  keys: [{ ...key.jwk, kid: key.kid }],
  serves: serves.map(ref),
})

export const tokenConfig = (
  clients: readonly ClientConfig[],
  more: Partial<TokenConfig> = {},
): TokenConfig => ({ life: 300_000, senderConstrained: 'privileged', clients, resources: [], ...more })

export const ISSUER_URL = 'https://idp.example'
export const ISSUER_AUDIENCE = 'https://writ.example'

/** An issuer with one key: `sub` is `type:id` of its subject. */
export const issuerConfig = (key: Key): Issuer =>
  makeIssuer({
    name: 'idp',
    issuer: ISSUER_URL,
    audiences: [ISSUER_AUDIENCE],
    algorithms: ['ES256'],
    types: ['JWT', null],
    keys: { from: 'jwks', keys: [{ ...key.jwk, kid: key.kid, alg: 'ES256', use: 'sig' }] },
    rules: [{ subject: { type: 'Service', claims: ['sub'] } }],
  })

/** A token of that issuer. */
export const idpToken = (
  key: Key,
  sub: string,
  now: number,
  more: Readonly<Record<string, unknown>> = {},
): string =>
  mint(
    key,
    { kid: key.kid, typ: 'JWT' },
    {
      iss: ISSUER_URL,
      aud: ISSUER_AUDIENCE,
      sub,
      iat: Math.floor(now / 1_000),
      exp: Math.floor(now / 1_000) + 600,
      jti: randomUUID(),
      ...more,
    },
  )

export const athOf = (token: string): string => hash('sha256', token, 'base64url')
