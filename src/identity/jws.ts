/**
 * Signatures of compact JWS (RFC 7515) by keys that are known: the key is held ready, and the threads of the pool compute.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { constants, createPrivateKey, createPublicKey, hash, sign, verify } from 'node:crypto'

/** How a signature is computed, as `node:crypto` wants it. */
type Options = Readonly<{ dsaEncoding?: 'ieee-p1363'; padding?: number; saltLength?: number }>
type Scheme = Readonly<{
  digest: string | null
  kind: string
  curve?: string
  /** Of an elliptic signature, in bytes. */
  length?: number
  options: Options
}>

const { RSA_PKCS1_PADDING, RSA_PKCS1_PSS_PADDING, RSA_PSS_SALTLEN_DIGEST } = constants
const pkcs1 = (digest: string): Scheme => ({ digest, kind: 'rsa', options: { padding: RSA_PKCS1_PADDING } })
const pss = (digest: string): Scheme => ({
  digest,
  kind: 'rsa',
  options: { padding: RSA_PKCS1_PSS_PADDING, saltLength: RSA_PSS_SALTLEN_DIGEST },
})
const ecdsa = (digest: string, curve: string, length: number): Scheme => ({
  digest,
  kind: 'ec',
  curve,
  length,
  options: { dsaEncoding: 'ieee-p1363' },
})
const ed25519: Scheme = { digest: null, kind: 'ed25519', length: 64, options: {} }

/** What each algorithm is (RFC 7518 §3.1, RFC 8037): nothing that a shared secret could make. */
const schemes: ReadonlyMap<string, Scheme> = new Map<string, Scheme>([
  ['ES256', ecdsa('sha256', 'prime256v1', 64)],
  ['ES384', ecdsa('sha384', 'secp384r1', 96)],
  ['ES512', ecdsa('sha512', 'secp521r1', 132)],
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

/**
 * A key that carries its options: `node:crypto` reads them from whatever object it is given. One made around the key for
 * each call has it throw and catch two errors before it finds the key, which takes as long as the signature.
 */
type Ready = Readonly<{ key: KeyObject; scheme: Scheme }>

/** By key and algorithm; `null` where they do not go together. */
const ready = new WeakMap<KeyObject, Map<string, Ready | null>>()

function readyFor(key: KeyObject, algorithm: string): Ready | null {
  let known = ready.get(key)
  if (known === undefined) {
    known = new Map()
    ready.set(key, known)
  }
  let found = known.get(algorithm)
  if (found === undefined) {
    const scheme = schemeOf(key, algorithm)
    found = scheme === undefined ? null : { key: carrying(key, scheme.options), scheme }
    // the algorithm is a stranger's word: only those that exist are worth remembering
    if (schemes.has(algorithm)) known.set(algorithm, found)
  }
  return found
}

/** A copy: the same key may go with several algorithms. */
function carrying(key: KeyObject, options: Options): KeyObject {
  const copy =
    key.type === 'private'
      ? createPrivateKey({ key: key.export({ format: 'der', type: 'pkcs8' }), format: 'der', type: 'pkcs8' })
      : createPublicKey({ key: key.export({ format: 'der', type: 'spki' }), format: 'der', type: 'spki' })
  return Object.assign(copy, options)
}

/**
 * Whether `key` signed `token` with `algorithm`. Which key and which algorithm may sign is the caller's to say; the token's
 * header, its parts and their spelling were read by `readToken` before.
 */
export function isSignedBy(token: string, key: KeyObject, algorithm: string): Promise<boolean> {
  const found = readyFor(key, algorithm)
  if (found === null) return Promise.resolve(false)
  const { digest, length } = found.scheme
  const at = token.lastIndexOf('.')
  const part = token.slice(at + 1)
  const signature = Buffer.from(part, 'base64url')
  // spelled in the one way that it can be
  if (signature.toString('base64url') !== part) return Promise.resolve(false)
  if (length !== undefined && signature.length !== length) return Promise.resolve(false)
  return new Promise((resolve) => {
    verify(digest, Buffer.from(token.slice(0, at)), found.key, signature, (error, isRight) => {
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

const signing = new WeakMap<KeyObject, KeyObject>()

/** `header.claims` with its signature by `key`, a private one on P-256 (ES256). */
export function signEs256(input: string, key: KeyObject): Promise<string> {
  let own = signing.get(key)
  if (own === undefined) {
    own = carrying(key, { dsaEncoding: 'ieee-p1363' })
    signing.set(key, own)
  }
  const by = own
  return new Promise((resolve, reject) => {
    sign('sha256', Buffer.from(input), by, (error, signature) => {
      if (error === null) resolve(`${input}.${signature.toString('base64url')}`)
      else reject(error)
    })
  })
}
