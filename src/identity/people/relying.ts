/**
 * Sign-in at a configured OpenID Connect provider: authorization code with PKCE, `state`, `nonce` and the issuer of the
 * answer (RFC 9207), each bound to one browser by what `begin` gives out. The ID token's signature is verified with the
 * provider's keys although it came from the provider itself.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import type { ClientAuth, Configuration, CustomFetch, CustomFetchOptions } from 'openid-client'
import {
  AuthorizationResponseError,
  ClientSecretPost,
  None,
  PrivateKeyJwt,
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  calculatePKCECodeChallenge,
  customFetch,
  discovery,
  enableNonRepudiationChecks,
} from 'openid-client'
import { WritError } from '../../model/errors.ts'
import { isIdentity, isText } from '../../model/name.ts'
import type { Secret } from '../../model/secret.ts'
import type { Millis } from '../../model/time.ts'
import { HOUR, SECOND } from '../../model/time.ts'
import type { Fetcher } from '../issuers/fetcher.ts'
import { DOCUMENT_MOST, FETCH_TIMEOUT } from '../issuers/fetcher.ts'
import { Refused } from '../issuers/refusal.ts'
import { readToken } from '../issuers/token.ts'

/** A provider as it is configured. */
export type Provider = Readonly<{
  name: string
  label: string
  issuer: string
  clientId: string
  proof:
    | Readonly<{ kind: 'none' }>
    | Readonly<{ kind: 'key'; key: KeyObject; keyId?: string }>
    | Readonly<{ kind: 'secret'; secret: Secret<string> }>
  scopes: readonly string[]
  /** The claim that names the device. */
  deviceClaim?: string
  allowPrivate: boolean
  ca?: string
}>

/** What only the browser that began holds, and only we can read. */
export type Begun = Readonly<{
  provider: string
  issuer: string
  redirect: string
  state: string
  nonce: string
  verifier: string
}>

/** Who the provider says it is. */
export type Arrived = Readonly<{
  provider: string
  issuer: string
  /** `sub`: the only name that the provider never gives to somebody else. */
  account: string
  /** For people to read; proves nothing. */
  shown: string
  authAt?: number
  acr?: string
  amr?: readonly string[]
  /** On which device. */
  device?: string
}>

export interface RelyingParty {
  readonly providers: readonly Pick<Provider, 'name' | 'label'>[]
  /** @throws {WritError} `ERR_NOT_FOUND`, `ERR_UNREACHABLE`. */
  begin(name: string, redirect: string): Promise<Readonly<{ url: string; begun: Begun }>>
  /**
   * Who came back to `url`.
   *
   * @throws {WritError} `ERR_UNAUTHENTICATED` for an answer that is not to what was begun, not from who was asked, or not good.
   */
  finish(begun: Begun, url: URL): Promise<Arrived>
}

type Options = Readonly<{
  providers: readonly Provider[]
  fetch: Fetcher
  random(bytes: number): Uint8Array
  /** Milliseconds that only go forward. */
  monotonic(): Millis
}>

/** What a provider says of itself is read again after this long. */
const FRESH: Millis = HOUR
const TEXT_MOST = 256
const METHOD_MOST = 64

export function createRelyingParty({ providers, fetch, random, monotonic }: Options): RelyingParty {
  const known = new Map<string, Readonly<{ at: Millis; configuration: Promise<Configuration> }>>()
  const secret = (): string => Buffer.from(random(32)).toString('base64url')

  function find(name: string): Provider {
    const provider = providers.find((one) => one.name === name)
    if (provider === undefined) throw new WritError('ERR_NOT_FOUND', 'there is no such way to sign in')
    return provider
  }

  async function configured(provider: Provider): Promise<Configuration> {
    const before = known.get(provider.name)
    const isFresh = before !== undefined && monotonic() - before.at < FRESH
    const one = isFresh ? before : { at: monotonic(), configuration: discover(provider, fetch) }
    known.set(provider.name, one)
    try {
      return await one.configuration
    } catch (cause) {
      // everybody who waited for it is told so, and whoever comes next asks again
      if (known.get(provider.name) === one) known.delete(provider.name)
      throw new WritError('ERR_UNREACHABLE', `\`${provider.label}\` cannot be reached to sign in`, {
        hint: 'try again, or sign in another way',
        detail: reason(cause),
        cause,
      })
    }
  }

  return {
    providers,
    async begin(name, redirect) {
      const provider = find(name)
      const configuration = await configured(provider)
      const begun: Begun = {
        provider: name,
        issuer: provider.issuer,
        redirect,
        state: secret(),
        nonce: secret(),
        verifier: secret(),
      }
      const url = buildAuthorizationUrl(configuration, {
        redirect_uri: redirect,
        scope: provider.scopes.join(' '),
        state: begun.state,
        nonce: begun.nonce,
        code_challenge: await calculatePKCECodeChallenge(begun.verifier),
        code_challenge_method: 'S256',
      })
      return { url: url.href, begun }
    },
    async finish(begun, url) {
      const provider = find(begun.provider)
      // a configuration that changed meanwhile: what was begun with another issuer is not finished with this one
      if (provider.issuer !== begun.issuer) throw refused('the provider was configured anew')
      const back = new URL(begun.redirect)
      if (url.origin !== back.origin || url.pathname !== back.pathname) throw refused('another redirect URI')
      const configuration = await configured(provider)
      // RFC 9207: checked also where the provider does not say that it sends one
      const named = url.searchParams.getAll('iss')
      if (named.length > 1 || (named[0] !== undefined && named[0] !== provider.issuer))
        throw refused('the answer is of another issuer')
      try {
        const tokens = await authorizationCodeGrant(configuration, url, {
          expectedState: begun.state,
          expectedNonce: begun.nonce,
          pkceCodeVerifier: begun.verifier,
          idTokenExpected: true,
        })
        const claims = tokens.claims()
        if (claims === undefined || tokens.id_token === undefined) throw refused('there is no ID token')
        requireIdToken(tokens.id_token)
        const { sub, auth_time: authTime, acr, amr, aud } = claims
        const several = Array.isArray(aud) && aud.length > 1
        if (several || sub === '' || sub.length > TEXT_MOST || !isIdentity(sub))
          throw refused('its audience or subject is not acceptable')
        const device = provider.deviceClaim === undefined ? undefined : claims[provider.deviceClaim]
        // which of theirs it is decides whose posture counts: what cannot be read is not passed over
        if (device !== undefined && !isDevice(device)) throw refused('its device is not acceptable')
        const methods = Array.isArray(amr) ? amr.filter(isMethod).slice(0, 10) : []
        return {
          provider: provider.name,
          issuer: provider.issuer,
          account: sub,
          shown: shownName(claims) ?? sub,
          ...(Number.isSafeInteger(authTime) ? { authAt: Number(authTime) * SECOND } : {}),
          ...(typeof acr === 'string' && acr.length <= TEXT_MOST && isIdentity(acr) ? { acr } : {}),
          ...(methods.length === 0 ? {} : { amr: methods }),
          ...(device === undefined ? {} : { device }),
        }
      } catch (error) {
        if (error instanceof WritError) throw error
        throw refused(reason(error), error)
      }
    },
  }
}

const isDevice = (one: unknown): one is string =>
  typeof one === 'string' && one !== '' && one.length <= TEXT_MOST && isIdentity(one)

/** Of RFC 8176, or like one: it stands in the record and in facts of policy. */
const isMethod = (one: unknown): one is string =>
  typeof one === 'string' && one.length <= METHOD_MOST && isIdentity(one)

/**
 * The library has verified it. It lets pass what has several readings, and other tokens that the same key signs (B4): the
 * type must be right, and what tells of an event signs nobody in.
 */
function requireIdToken(text: string): void {
  try {
    const { typ, claims } = readToken(text, true)
    if (typ !== null && typ !== 'JWT') throw refused('the ID token is of another type (typ)')
    if (Object.hasOwn(claims, 'events')) throw refused('the ID token tells of an event')
  } catch (error) {
    if (error instanceof Refused) throw refused(`ID token: ${error.refusal.sentence}`, error)
    throw error
  }
}

function shownName(claims: Readonly<Record<string, unknown>>): string | undefined {
  for (const name of ['email', 'preferred_username', 'name']) {
    const value = claims[name]
    if (typeof value === 'string' && value !== '' && isText(value)) return value.slice(0, TEXT_MOST)
  }
  return undefined
}

async function discover(provider: Provider, fetch: Fetcher): Promise<Configuration> {
  const { issuer, clientId, allowPrivate } = provider
  const guarded = through(fetch, provider)
  const configuration = await discovery(
    new URL(issuer),
    clientId,
    { use_mtls_endpoint_aliases: false },
    await authentication(provider),
    {
      [customFetch]: guarded,
      timeout: FETCH_TIMEOUT / SECOND,
      // on a private network an operator may have said http
      execute: allowPrivate
        ? [allowInsecureRequests, enableNonRepudiationChecks]
        : [enableNonRepudiationChecks],
    },
  )
  configuration[customFetch] = guarded
  return configuration
}

async function authentication({ proof }: Provider): Promise<ClientAuth> {
  if (proof.kind === 'none') return None()
  if (proof.kind === 'secret') return ClientSecretPost(proof.secret.expose())
  const key = proof.key.toCryptoKey(signingAlgorithm(proof.key), false, ['sign'])
  return PrivateKeyJwt(proof.keyId === undefined ? key : { key, kid: proof.keyId })
}

function signingAlgorithm({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject) {
  if (asymmetricKeyType === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  if (asymmetricKeyType === 'ed25519') return { name: 'Ed25519' }
  const curve = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }[
    asymmetricKeyDetails?.namedCurve ?? ''
  ]
  if (asymmetricKeyType === 'ec' && curve !== undefined) return { name: 'ECDSA', namedCurve: curve }
  throw new WritError(
    'ERR_CONFIG_INVALID',
    'the key of a login provider is of a kind that signs nothing here',
    {
      hint: 'use an RSA, P-256, P-384, P-521 or Ed25519 key',
    },
  )
}

/** The library's requests by way of the guarded port: no redirects, bounded, never to a private address unless allowed. */
function through(fetch: Fetcher, { allowPrivate, ca }: Provider): CustomFetch {
  return async (url: string, { body, headers }: CustomFetchOptions) => {
    const text = body instanceof URLSearchParams ? body.toString() : body
    if (text !== undefined && text !== null && typeof text !== 'string')
      throw new TypeError('only forms are sent to providers')
    const answer = await fetch(new URL(url), {
      timeout: FETCH_TIMEOUT,
      maxBytes: DOCUMENT_MOST,
      allowPrivate,
      ...(ca === undefined ? {} : { ca }),
      headers,
      ...(typeof text === 'string' ? { body: text } : {}),
    })
    if (answer.failed !== undefined) throw new TypeError(answer.failed)
    const sent = new Headers()
    for (const [name, value] of Object.entries(answer.headers)) {
      for (const one of value === undefined ? [] : [value].flat()) sent.append(name, one)
    }
    const empty = answer.status === 204 || answer.status === 304
    return new Response(empty ? null : Buffer.from(answer.body), { status: answer.status, headers: sent })
  }
}

function refused(detail: string, cause?: unknown): WritError {
  return new WritError('ERR_UNAUTHENTICATED', 'signing in did not work', {
    hint: 'begin again from the sign-in page',
    detail,
    ...(cause === undefined ? {} : { cause }),
  })
}

/** What went wrong, for the operator; an answer's own words are the provider's and stay short. */
function reason(error: unknown): string {
  if (error instanceof AuthorizationResponseError)
    return `the provider answered \`${error.error.slice(0, 64)}\``
  if (!(error instanceof Error)) return typeof error
  const { cause } = error
  const more = cause instanceof Error ? `: ${cause.message}` : ''
  return `${error.message}${more}`.slice(0, 512)
}
