/**
 * Signatures of compact JWS (RFC 7515) by keys that are known: the key is held ready, and the threads of the pool compute.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { constants, hash, sign, verify } from 'node:crypto'

type Scheme = Readonly<{
  digest: string | null
  kind: string
  curve?: string
  /** Of an elliptic signature, in bytes. */
  length?: number
  padding?: number
  saltLength?: number
}>

const { RSA_PKCS1_PADDING, RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST } = constants
const pkcs1 = (digest: string): Scheme => ({ digest, kind: 'rsa', padding: RSA_PKCS1_PADDING })
const pss = (digest: string): Scheme => ({
  digest,
  kind: 'rsa',
  padding: RSA_PKCS1_PSS_PADDING,
  saltLength: RSA_PSS_SALTLEN_DIGEST,
})
const ed25519: Scheme = { digest: null, kind: 'ed25519', length: 64 }

/** What each algorithm is (RFC 7518 §3.1, RFC 8037): nothing that a shared secret could make. */
const schemes: ReadonlyMap<string, Scheme> = new Map<string, Scheme>([
  ['ES256', { digest: 'sha256', kind: 'ec', curve: 'prime256v1', length: 64 }],
  ['ES384', { digest: 'sha384', kind: 'ec', curve: 'secp384r1', length: 96 }],
  ['ES512', { digest: 'sha512', kind: 'ec', curve: 'secp521r1', length: 132 }],
  ['RS256', pkcs1('sha256')],
  ['RS384', pkcs1('sha384')],
  ['RS512', pkcs1('sha512')],
  ['PS256', pss('sha256')],
  ['PS384', pss('sha384')],
  ['PS512', pss('sha512')],
  ['EdDSA', ed25519],
  ['Ed25519', ed25519],
])

const RSA_BITS_LEAST = 2_048
/** Signatures remembered of a key. */
const REMEMBERED = 1_000

/** The scheme, if `key` is a public key for it: the algorithm alone says nothing about the key (B1). */
function schemeOf(key: KeyObject, algorithm: string): Scheme | undefined {
  const scheme = schemes.get(algorithm)
  if (scheme === undefined || key.type !== 'public' || key.asymmetricKeyType !== scheme.kind) return undefined
  const { namedCurve, modulusLength = 0 } = key.asymmetricKeyDetails ?? {}
  if (scheme.curve !== undefined && namedCurve !== scheme.curve) return undefined
  if (scheme.kind === 'rsa' && modulusLength < RSA_BITS_LEAST) return undefined
  return scheme
}

/** By key and algorithm: asking a key for its details each time would cost as much as everything else here. */
const fitting = new WeakMap<KeyObject, Map<string, Scheme | null>>()

function schemeFor(key: KeyObject, algorithm: string): Scheme | undefined {
  let known = fitting.get(key)
  if (known === undefined) {
    known = new Map()
    fitting.set(key, known)
  }
  let scheme = known.get(algorithm)
  if (scheme === undefined) {
    scheme = schemeOf(key, algorithm) ?? null
    // an algorithm is a stranger's word: only those that exist are worth remembering
    if (schemes.has(algorithm)) known.set(algorithm, scheme)
  }
  return scheme ?? undefined
}

/**
 * Whether `key` signed `token` with `algorithm`. Which key and which algorithm may sign is the caller's to say; the token's
 * header, its parts and their spelling were read by `readToken` before.
 */
export function isSignedBy(token: string, key: KeyObject, algorithm: string): Promise<boolean> {
  const scheme = schemeFor(key, algorithm)
  if (scheme === undefined) return Promise.resolve(false)
  const at = token.lastIndexOf('.')
  const part = token.slice(at + 1)
  const signature = Buffer.from(part, 'base64url')
  // spelled in the one way that it can be
  if (signature.toString('base64url') !== part) return Promise.resolve(false)
  if (scheme.length !== undefined && signature.length !== scheme.length) return Promise.resolve(false)
  const { digest, padding, saltLength } = scheme
  const how = {
    key,
    ...(scheme.kind === 'ec' ? { dsaEncoding: 'ieee-p1363' as const } : {}),
    ...(padding === undefined ? {} : { padding }),
    ...(saltLength === undefined ? {} : { saltLength }),
  }
  return new Promise((resolve) => {
    verify(digest, Buffer.from(token.slice(0, at)), how, signature, (error, isRight) => {
      // what cannot be verified is not verified
      resolve(error === null && isRight)
    })
  })
}

/** Signed texts by the key that was seen to have signed them: gone with the key. */
const seen = new WeakMap<KeyObject, Set<string>>()

/**
 * `isSignedBy`, of what comes again and again. That a key has signed a text never changes; whether the key is still
 * believed, and whether the text says anything now, is asked each time by who calls this.
 */
export async function wasSignedBy(token: string, key: KeyObject, algorithm: string): Promise<boolean> {
  let known = seen.get(key)
  if (known === undefined) {
    known = new Set()
    seen.set(key, known)
  }
  const id = hash('sha256', `${algorithm} ${token}`, 'base64url')
  if (known.has(id)) return true
  if (!(await isSignedBy(token, key, algorithm))) return false
  if (known.size >= REMEMBERED) known.delete(known.values().next().value as string)
  known.add(id)
  return true
}

/** `header.claims` with its signature by `key`, with ES256. */
export function signEs256(input: string, key: KeyObject): Promise<string> {
  return new Promise((resolve, reject) => {
    const how = { key, dsaEncoding: 'ieee-p1363' } as const
    sign('sha256', Buffer.from(input), how, (error, signature) => {
      if (error === null) resolve(`${input}.${signature.toString('base64url')}`)
      else reject(error)
    })
  })
}
