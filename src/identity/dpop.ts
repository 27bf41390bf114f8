/**
 * Proof of possession (RFC 9449): whoever sends a request has the key that a token is bound to, shown for this request,
 * now, once.
 *
 * @module
 */
import { createHmac, hash, KeyObject, timingSafeEqual } from 'node:crypto'
import type { CryptoKey, JWK } from 'jose'
import { errors as joseErrors, importJWK } from 'jose'
import type { Json } from '../model/canonical.ts'
import type { SpentProof } from '../model/identity.ts'
import { refuse } from '../model/refusal.ts'
import type { Instant, Millis } from '../model/time.ts'
import { MINUTE, SECOND } from '../model/time.ts'
import { sha256 } from '../store/hash.ts'
import { Refused } from './issuers/refusal.ts'
import { readToken } from './issuers/token.ts'
import { isSignedBy } from './jws.ts'
import { spentProof } from './spent.ts'

/** What a proof may be signed with, and the keys that go with it. */
const algorithms: Readonly<Record<string, Readonly<{ kty: string; crv?: string }>>> = {
  ES256: { kty: 'EC', crv: 'P-256' },
  ES384: { kty: 'EC', crv: 'P-384' },
  ES512: { kty: 'EC', crv: 'P-521' },
  EdDSA: { kty: 'OKP', crv: 'Ed25519' },
  Ed25519: { kty: 'OKP', crv: 'Ed25519' },
  PS256: { kty: 'RSA' },
  RS256: { kty: 'RSA' },
}

export const dpopAlgorithms: readonly string[] = Object.keys(algorithms)

/** Longest `DPoP` header: a proof has a key and a few claims. */
const PROOF_MOST = 8 * 1024
const JTI_MOST = 128
/** Longest RSA modulus and exponent in base64url: 4096 and 32 bits. Anybody may have us calculate with a key of theirs. */
const MODULUS_MOST = 683
const EXPONENT_MOST = 6
/** How far the clocks of clients may be off. */
export const DPOP_SKEW: Millis = MINUTE
/** A nonce is good in the span it was given out in and in the next one. */
const NONCE_SPAN: Millis = 2 * MINUTE
/** Keys whose import is remembered. */
const KEYS_MOST = 1_000

export type ProvedKey = Readonly<{ jkt: string; spends: SpentProof }>

export type DpopRequest = Readonly<{
  method: string
  /** As callers reach it, e.g. `https://writ.example/oauth/token`: the external one, behind a proxy too. */
  url: string
  now: Instant
  /** The access token that came with it: the proof must name it. */
  accessToken?: string
  /** Whether a nonce of ours must be in it. One that is in it must be ours in any case. */
  nonce: 'required' | 'optional'
}>

export interface Dpop {
  /** What `DPoP-Nonce` says now. Nothing is kept of it, and every node that has the key knows it. */
  nonce(now: Instant): string
  /**
   * The key that `proof` shows. It has not been spent: whoever acts on it spends `spends` in the commit of the act.
   *
   * @throws {WritError} `invalid_dpop_proof` or `use_dpop_nonce` as its `problem`.
   */
  verify(proof: string, request: DpopRequest): Promise<ProvedKey>
}

const invalid = (why: string): Error => refuse('invalid_dpop_proof', `the DPoP proof ${why}`)

/** `nonceKey` makes nonces; the same after a restart and on every node. */
export function createDpop(nonceKey: Uint8Array): Dpop {
  const imported = new Map<string, Promise<KeyObject>>()

  let last: Readonly<{ span: number; nonce: string }> | undefined
  /** Every answer tells it. */
  const nonceOf = (span: number): string => {
    if (last?.span !== span) last = { span, nonce: makeNonce(span) }
    return last.nonce
  }

  const makeNonce = (span: number): string => {
    const head = Buffer.alloc(6)
    head.writeUIntBE(span, 0, 6)
    const seal = createHmac('sha256', nonceKey).update('writ/dpop-nonce\n').update(head).digest()
    return Buffer.concat([head, seal.subarray(0, 18)]).toString('base64url')
  }

  function isNonce(nonce: string, now: Instant): boolean {
    const bytes = Buffer.from(nonce, 'base64url')
    if (bytes.length !== 24) return false
    const span = bytes.readUIntBE(0, 6)
    const present = Math.floor(now / NONCE_SPAN)
    // another node may be a moment ahead
    if (span < present - 1 || span > present + 1) return false
    return timingSafeEqual(Buffer.from(makeNonce(span)), Buffer.from(bytes.toString('base64url')))
  }

  function keyOf(jkt: string, jwk: JWK, alg: string): Promise<KeyObject> {
    const id = `${alg} ${jkt}`
    let key = imported.get(id)
    if (key === undefined) {
      key = importJWK(jwk, alg).then(publicKeyIn)
      if (imported.size >= KEYS_MOST) imported.delete(imported.keys().next().value as string)
      imported.set(id, key)
      // what cannot be imported is not remembered
      key.catch(() => imported.delete(id))
    }
    return key
  }

  return {
    nonce: (now) => nonceOf(Math.floor(now / NONCE_SPAN)),

    async verify(proof, { method, url, now, accessToken, nonce: wanted }) {
      if (proof.length > PROOF_MOST) throw invalid('is too long')
      const { header, claims, alg, typ } = read(proof)
      if (typ !== 'dpop+jwt') throw invalid('is not of type dpop+jwt')
      const shape = algorithms[alg]
      if (shape === undefined)
        throw invalid(`is signed with an algorithm that is none of ${dpopAlgorithms.join(', ')}`)
      const jwk = publicKey(header['jwk'], shape)
      const jkt = thumbprint(jwk)
      let key: KeyObject
      try {
        key = await keyOf(jkt, jwk, alg)
      } catch (error) {
        const isBad =
          error instanceof joseErrors.JOSEError || error instanceof TypeError || error instanceof DOMException
        if (!isBad) throw error
        throw invalid('has a key that cannot be read')
      }
      if (!(await isSignedBy(proof, key, alg))) throw invalid('is not signed by the key that is in it')
      const { jti, htm, htu, iat, ath, nonce } = claims
      if (htm !== method) throw invalid('is for another method')
      if (typeof htu !== 'string' || !isSameUrl(htu, url)) throw invalid('is for another URL (htu)')
      if (typeof jti !== 'string' || jti === '' || jti.length > JTI_MOST) {
        throw invalid(`has no jti of 1 to ${JTI_MOST} characters`)
      }
      if (typeof iat !== 'number' || Math.abs(iat * SECOND - now) > DPOP_SKEW) {
        throw invalid('was not made now (iat)')
      }
      if (accessToken === undefined ? ath !== undefined : ath !== digestOf(accessToken)) {
        throw invalid('is not for this access token (ath)')
      }
      if (nonce === undefined ? wanted === 'required' : typeof nonce !== 'string' || !isNonce(nonce, now)) {
        throw refuse('use_dpop_nonce', 'the DPoP proof needs the nonce of the DPoP-Nonce header')
      }
      return { jkt, spends: spentProof('dpop', jkt, jti, iat * SECOND + 2 * DPOP_SKEW) }
    },
  }
}

function read(proof: string): ReturnType<typeof readToken> {
  try {
    return readToken(proof)
  } catch (error) {
    if (error instanceof Refused) throw invalid('cannot be read')
    throw error
  }
}

/** The members that make a public key and nothing else; a private or shared one is refused. */
function publicKey(value: Json | undefined, shape: Readonly<{ kty: string; crv?: string }>): JWK {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('has no key (jwk)')
  const { kty, crv, x, y, n, e, ...more } = value as Readonly<Record<string, Json>>
  for (const part of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']) {
    if (Object.hasOwn(more, part)) throw invalid('holds a private key')
  }
  if (kty !== shape.kty || crv !== shape.crv) throw invalid('has a key of another kind than its algorithm')
  const parts = kty === 'RSA' ? { n, e } : kty === 'EC' ? { crv, x, y } : { crv, x }
  if (!Object.values(parts).every((part) => typeof part === 'string' && part !== ''))
    throw invalid('has half a key')
  const isCostly =
    kty === 'RSA' && ((n as string).length > MODULUS_MOST || (e as string).length > EXPONENT_MOST)
  if (isCostly) throw invalid('has a key of more than 4096 bits, or with an exponent of more than 32')
  return { kty, ...parts } as JWK
}

function publicKeyIn(key: CryptoKey | Uint8Array): KeyObject {
  if (key instanceof Uint8Array) throw new TypeError('a shared key')
  return KeyObject.from(key)
}

/** RFC 7638: the members that are the key, in the order of their names. */
function thumbprint({ kty, crv, x, y, n, e }: JWK): string {
  const members = kty === 'RSA' ? { e, kty, n } : kty === 'EC' ? { crv, kty, x, y } : { crv, kty, x }
  return hash('sha256', JSON.stringify(members), 'base64url')
}

/** Without query and fragment, however it is spelled (RFC 9449 §4.3, RFC 3986 §6.2). */
function isSameUrl(claimed: string, url: string): boolean {
  const [theirs, ours] = [URL.parse(claimed), URL.parse(url)]
  if (theirs === null || ours === null || theirs.username !== '' || theirs.password !== '') return false
  for (const it of [theirs, ours]) {
    it.search = ''
    it.hash = ''
  }
  return theirs.href === ours.href
}

const digestOf = (token: string): string => Buffer.from(sha256(token)).toString('base64url')
