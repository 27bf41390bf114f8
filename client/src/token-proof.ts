/**
 * Proof of possession (DPoP, RFC 9449) with web cryptography alone: a token that is bound to a key is worth nothing
 * without it.
 *
 * @module
 */
import { WritClientError } from './error.ts'

type Key = Awaited<ReturnType<typeof crypto.subtle.importKey>>

/** A P-256 key whose public half the token names. */
export type DpopKey = Readonly<{
  privateKey: Key
  /** The public half, as it goes into every proof. */
  jwk: Readonly<{ kty: 'EC'; crv: 'P-256'; x: string; y: string }>
  /** RFC 7638: what the token holds as `cnf.jkt`. */
  thumbprint: string
}>

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256' } as const

/** A new key; it can be written down (`exportDpopKey`) only where `extractable`. */
export async function createDpopKey(extractable = false): Promise<DpopKey> {
  const pair = await crypto.subtle.generateKey(ALGORITHM, extractable, ['sign', 'verify'])
  const jwk = (await crypto.subtle.exportKey('jwk', pair.publicKey)) as Record<string, unknown>
  return withPublic(pair.privateKey, jwk)
}

/** The private key as JWK, to be kept where nobody else reads it. */
export async function exportDpopKey(key: DpopKey): Promise<Record<string, unknown>> {
  const { kty, crv, x, y, d } = (await crypto.subtle.exportKey('jwk', key.privateKey)) as Record<
    string,
    unknown
  >
  return { kty, crv, x, y, d }
}

/**
 * A key that was kept.
 *
 * @throws {WritClientError} `ERR_INPUT_INVALID` if it is no private P-256 key. Nothing of it is in the error.
 */
export async function importDpopKey(jwk: unknown): Promise<DpopKey> {
  const members = typeof jwk === 'object' && jwk !== null ? (jwk as Record<string, unknown>) : {}
  const { kty, crv, x, y, d } = members
  try {
    if (kty !== 'EC' || crv !== 'P-256' || typeof d !== 'string') throw new TypeError('not a P-256 key')
    const kept = { kty, crv, x, y, d } as { kty: string }
    const key = await crypto.subtle.importKey('jwk', kept, ALGORITHM, false, ['sign'])
    return await withPublic(key, members)
  } catch {
    // what the platform says may hold the key
    throw new WritClientError('ERR_INPUT_INVALID', 'the key is no private P-256 key in JWK form')
  }
}

/**
 * A proof for one request: `htm`, `htu` without query and fragment, and `ath` where a token goes with it.
 *
 * `now` is in milliseconds.
 */
export async function dpopProof(
  key: DpopKey,
  request: Readonly<{
    method: string
    url: string | URL
    now: number
    nonce?: string | undefined
    accessToken?: string | undefined
    /** By default random. */
    jti?: string
  }>,
): Promise<string> {
  const url = new URL(request.url)
  url.search = ''
  url.hash = ''
  const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: key.jwk }
  const claims = {
    jti: request.jti ?? crypto.randomUUID(),
    htm: request.method.toUpperCase(),
    htu: url.href,
    iat: Math.floor(request.now / 1_000),
    ...(request.nonce === undefined ? {} : { nonce: request.nonce }),
    ...(request.accessToken === undefined ? {} : { ath: await digest(request.accessToken) }),
  }
  const signed = `${text(JSON.stringify(header))}.${text(JSON.stringify(claims))}`
  const signature = await crypto.subtle.sign(
    { name: 'ECDSA', hash: 'SHA-256' },
    key.privateKey,
    new TextEncoder().encode(signed),
  )
  return `${signed}.${base64url(new Uint8Array(signature))}`
}

async function withPublic(privateKey: Key, jwk: Readonly<Record<string, unknown>>): Promise<DpopKey> {
  const { x, y } = jwk
  if (typeof x !== 'string' || typeof y !== 'string') throw new TypeError('a P-256 key has x and y')
  const open = { kty: 'EC', crv: 'P-256', x, y } as const
  // the members that RFC 7638 names, in its order
  const thumbprint = await digest(JSON.stringify({ crv: open.crv, kty: open.kty, x, y }))
  return { privateKey, jwk: open, thumbprint }
}

/** SHA-256 in base64url: thumbprints and `ath` alike. */
async function digest(value: string): Promise<string> {
  return base64url(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(value))))
}

const text = (value: string): string => base64url(new TextEncoder().encode(value))

function base64url(bytes: Uint8Array): string {
  let binary = ''
  for (const byte of bytes) binary += String.fromCharCode(byte)
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/u, '')
}
