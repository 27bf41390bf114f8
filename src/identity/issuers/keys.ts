/**
 * The keys of an issuer: fetched once for many, kept while they are fresh, and for a time while the issuer is down.
 * A flood of tokens with unknown keys costs one request per ten seconds; a key that the issuer took out of its document
 * is gone with the next reading of it (B3, B45).
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import { KeyObject } from 'node:crypto'
import type { JWK } from 'jose'
import { importJWK } from 'jose'
import { isText } from '../../model/name.ts'
import type { Issuer, Jwk } from '../../model/issuer.ts'
import { isFetchable } from '../../model/issuer.ts'
import { readJson } from '../../model/json.ts'
import type { Instant, Millis } from '../../model/time.ts'
import { HOUR, MINUTE, SECOND } from '../../model/time.ts'
import type { Clock } from '../../store/clock.ts'
import type { Fetcher } from './fetcher.ts'
import { DOCUMENT_MOST, FETCH_TIMEOUT } from './fetcher.ts'

/** Time between requests that only an unknown key or a failure asks for. */
export const KEY_FLOOR: Millis = 10 * SECOND
/** Most keys of one document. */
export const KEYS_MOST = 100
/** How long a document is fresh that does not say. */
const FRESH: Millis = 5 * MINUTE
const FRESH_LEAST: Millis = MINUTE
const FRESH_MOST: Millis = HOUR
/** Most redirects on the way to a discovery document. */
const REDIRECTS = 2
/** Shorter ones can be broken, longer ones take longer than a caller may cost us. */
const RSA_BITS = { least: 2_048, most: 8_192 }
const EXPONENT_LEAST = 65_537

export type FoundKey =
  | Readonly<{ key: KeyObject; problem?: undefined }>
  /** `unavailable`: the keys cannot be had, `reason` says why. */
  | Readonly<{ problem: 'unknown' | 'ambiguous' | 'unavailable'; reason?: string }>

export interface KeySource {
  /** The one key that may have signed: by `kid`, or the only one that fits `algorithm` at all. */
  find(algorithm: string, kid: string | undefined): Promise<FoundKey>
  /**
   * The key that fits in place of `refused`, which was found without a `kid` and is not the one that signed: the issuer
   * may have exchanged it since. Asks again as for an unknown key.
   */
  instead(algorithm: string, refused: KeyObject): Promise<KeyObject | undefined>
  /** For the operator: what is known now. */
  state(): Readonly<{ keys: number; readAt?: Instant; failed?: string }>
}

export type KeyOptions = Readonly<{
  issuer: Issuer
  fetch: Fetcher
  /** The text of a file. */
  readText: (path: string) => Promise<string>
  clock: Clock
}>

type Usable = Readonly<{
  kid?: string
  alg?: string
  jwk: JWK
  imported: Map<string, Promise<KeyObject | undefined>>
}>
type Moment = Readonly<{ wall: Instant; monotonic: Millis }>
type Known = Readonly<{ keys: readonly Usable[]; at: Moment; fresh: Millis }>
type Reading =
  | Readonly<{ document: unknown; fresh: Millis; failed?: undefined }>
  | Readonly<{ failed: string }>

export function createKeySource({ issuer, fetch, readText, clock }: KeyOptions): KeySource {
  let known: Known | undefined
  let failed: Readonly<{ reason: string; at: Moment }> | undefined
  let discovered: Readonly<{ uri: URL; at: Moment; fresh: Millis }> | undefined
  let flight: Promise<void> | undefined
  /** Readings so far. */
  let readings = 0
  let forcedAt: Millis | undefined
  const isStatic = issuer.keys.from === 'jwks'
  if (issuer.keys.from === 'jwks') {
    known = { keys: usableKeys(issuer.keys.keys, issuer), at: moment(), fresh: Infinity }
  }

  function moment(): Moment {
    return { wall: clock.wall(), monotonic: clock.monotonic() }
  }

  /** The longer of both clocks' opinions: neither a clock set back nor a machine asleep makes anything last (B31). */
  function age(at: Moment): Millis {
    return Math.max(clock.monotonic() - at.monotonic, clock.wall() - at.wall, 0)
  }

  /** One reading at a time, for all who wait. */
  function refresh(): Promise<void> {
    if (flight === undefined) {
      readings += 1
      flight = read().finally(() => {
        flight = undefined
      })
    }
    return flight
  }

  async function read(): Promise<void> {
    const at = moment()
    const reading = await readDocument()
    const problem = reading.failed ?? documentProblem(reading.document)
    if (reading.failed !== undefined || problem !== undefined) {
      failed = { reason: problem ?? 'its keys cannot be read', at: moment() }
      // the issuer may have moved its keys
      discovered = undefined
      return
    }
    const { keys, spiffe_refresh_hint: hint } = reading.document as {
      keys: unknown[]
      spiffe_refresh_hint?: unknown
    }
    const hinted = issuer.kind === 'spiffe' && typeof hint === 'number' ? hint * SECOND : reading.fresh
    known = { keys: usableKeys(keys, issuer), at, fresh: between(hinted) }
    failed = undefined
  }

  async function readDocument(): Promise<Reading> {
    switch (issuer.keys.from) {
      case 'uri':
        return get(new URL(issuer.keys.uri), 0)
      case 'bundle':
        return 'uri' in issuer.keys ? get(new URL(issuer.keys.uri), 0) : readFile(issuer.keys.file)
      case 'discovery': {
        const found = await discover()
        return found instanceof URL ? get(found, 0) : found
      }
      case 'jwks':
        return { failed: 'its keys are configured' }
    }
  }

  async function readFile(path: string): Promise<Reading> {
    let text: string
    try {
      text = await readText(path)
    } catch {
      return { failed: 'its file cannot be read' }
    }
    if (text.length > DOCUMENT_MOST) return { failed: 'its file is too long' }
    const found = readJson(text, 16)
    return found.problem === undefined
      ? { document: found.value, fresh: FRESH }
      : { failed: 'its file is not JSON' }
  }

  async function discover(): Promise<URL | Readonly<{ failed: string }>> {
    if (discovered !== undefined && age(discovered.at) <= discovered.fresh) return discovered.uri
    const at = moment()
    const base = issuer.issuer.endsWith('/') ? issuer.issuer.slice(0, -1) : issuer.issuer
    const reading = await get(new URL(`${base}/.well-known/openid-configuration`), REDIRECTS)
    if (reading.failed !== undefined) return reading
    const { document } = reading
    if (!isObject(document)) return { failed: 'its discovery document is not an object' }
    // OIDC discovery 4.3: another issuer's document, or one for another spelling, says nothing about this one
    if (document['issuer'] !== issuer.issuer) return { failed: 'its discovery document is of another issuer' }
    const uri = typeof document['jwks_uri'] === 'string' ? URL.parse(document['jwks_uri']) : null
    if (uri === null || !isFetchable(uri) || isDowngrade(new URL(issuer.issuer), uri)) {
      return { failed: 'its discovery document has no usable `jwks_uri`' }
    }
    discovered = { uri, at, fresh: between(reading.fresh) }
    return uri
  }

  /** Each address on the way is judged like the first. */
  async function get(url: URL, redirects: number): Promise<Reading> {
    const answer = await fetch(url, {
      timeout: FETCH_TIMEOUT,
      maxBytes: DOCUMENT_MOST,
      allowPrivate: issuer.allowPrivate,
      headers: { accept: 'application/json' },
      ...(issuer.ca === undefined ? {} : { ca: issuer.ca }),
    })
    if (answer.failed !== undefined) return answer
    const { status, headers, body } = answer
    if ([301, 302, 303, 307, 308].includes(status) && redirects > 0) {
      const location = headers['location']
      const next = typeof location === 'string' ? URL.parse(location, url.href) : null
      if (next === null || !isFetchable(next) || isDowngrade(url, next)) {
        return { failed: 'it redirects to where keys are never asked for' }
      }
      return get(next, redirects - 1)
    }
    if (status !== 200) return { failed: `it answered ${status}` }
    if (body.length > DOCUMENT_MOST) return { failed: 'its answer is too long' }
    if (!isUtf8(body)) return { failed: 'its answer is not JSON' }
    const read = readJson(Buffer.from(body).toString('utf8'), 16)
    if (read.problem !== undefined) return { failed: 'its answer is not JSON' }
    return { document: read.value, fresh: freshness(headers['cache-control']) }
  }

  /** What may be used at this moment. */
  function usable(): Known | undefined {
    if (known === undefined) return undefined
    return age(known.at) <= Math.max(known.fresh, issuer.stale) ? known : undefined
  }

  function mayAskAgain(): boolean {
    return failed === undefined || age(failed.at) >= KEY_FLOOR
  }

  function mayForce(): boolean {
    return mayAskAgain() && (forcedAt === undefined || clock.monotonic() - forcedAt >= KEY_FLOOR)
  }

  function pick(algorithm: string, kid: string | undefined): Usable | 'unknown' | 'ambiguous' | undefined {
    const now = usable()
    if (now === undefined) return undefined
    const fitting = now.keys.filter((key) => (kid === undefined || key.kid === kid) && fits(key, algorithm))
    if (fitting.length > 1) return 'ambiguous'
    return fitting[0] ?? 'unknown'
  }

  /** Whether there was another reading than the first `asked`. */
  async function askAgain(asked: number): Promise<boolean> {
    if (isStatic) return false
    if (flight === undefined) {
      if (readings > asked || !mayForce()) return false
      forcedAt = clock.monotonic()
      // its keys may be elsewhere by now
      if (discovered !== undefined && age(discovered.at) >= FRESH_LEAST) discovered = undefined
    }
    await refresh()
    return true
  }

  return {
    async instead(algorithm, refused) {
      if (!(await askAgain(readings))) return undefined
      const found = pick(algorithm, undefined)
      const key = typeof found === 'object' ? await importOnce(found, algorithm) : undefined
      return key === refused ? undefined : key
    },
    async find(algorithm, kid) {
      const asked = readings
      const isFresh = known !== undefined && age(known.at) <= known.fresh
      if (!isStatic && !isFresh && (flight !== undefined || mayAskAgain())) {
        const reading = refresh()
        // one that failed a moment ago is asked beside: nobody whom a known key serves waits for it
        if (failed === undefined || typeof pick(algorithm, kid) !== 'object') await reading
      }
      let found = pick(algorithm, kid)
      // a reading that was under way may be older than the key: once it is over there may be one more
      for (let round = 0; round < 2 && typeof found === 'string'; round++) {
        if (!(await askAgain(asked))) break
        found = pick(algorithm, kid)
      }
      if (found === undefined) {
        return { problem: 'unavailable', reason: failed?.reason ?? 'its keys are too old' }
      }
      if (typeof found === 'string') return { problem: found }
      const key = await importOnce(found, algorithm)
      return key === undefined ? { problem: 'unknown', reason: 'its key cannot be used' } : { key }
    },
    state() {
      return {
        keys: known?.keys.length ?? 0,
        ...(known === undefined || isStatic ? {} : { readAt: known.at.wall }),
        ...(failed === undefined ? {} : { failed: failed.reason }),
      }
    },
  }
}

/** What makes a document no key set; `undefined` if it is one, also when it is empty: an issuer may retire all. */
function documentProblem(document: unknown): string | undefined {
  if (!isObject(document) || !Array.isArray(document['keys'])) return 'its document has no list `keys`'
  return document['keys'].length > KEYS_MOST ? `its document has more than ${KEYS_MOST} keys` : undefined
}

/** Public signing keys among `keys`; whatever else stands there is as if it were not. */
function usableKeys(keys: readonly unknown[], issuer: Issuer): Usable[] {
  return keys.flatMap((jwk) => {
    if (!isObject(jwk)) return []
    const { kid, use, alg, key_ops: operations } = jwk
    if (secretMembers.some((member) => Object.hasOwn(jwk, member))) return []
    // a SPIFFE bundle also holds the authorities of X.509; other keys are for signing unless they say otherwise
    if (issuer.kind === 'spiffe' ? use !== 'jwt-svid' : use !== undefined && use !== 'sig') return []
    if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) return []
    if (alg !== undefined && typeof alg !== 'string') return []
    if (kid !== undefined && !(typeof kid === 'string' && kid.length <= 256 && isText(kid))) return []
    if (issuer.kind === 'spiffe' && kid === undefined) return []
    const members = publicMembers(jwk)
    if (members === undefined) return []
    const key: Usable = {
      jwk: members,
      imported: new Map(),
      ...(kid === undefined ? {} : { kid }),
      ...(alg === undefined ? {} : { alg }),
    }
    return issuer.algorithms.some((algorithm) => fits(key, algorithm)) ? [key] : []
  })
}

const secretMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv']

/** The members that are the key, and nothing that only says something about it. */
function publicMembers(jwk: Jwk | Readonly<Record<string, unknown>>): JWK | undefined {
  const { kty, crv, x, y, n, e } = jwk
  if (kty === 'EC' && isPart(crv) && isPart(x) && isPart(y)) return { kty, crv, x, y }
  if (kty === 'OKP' && isPart(crv) && isPart(x)) return { kty, crv, x }
  if (kty !== 'RSA' || !isPart(n) || !isPart(e)) return undefined
  const modulus = Buffer.from(n, 'base64url')
  const first = modulus.findIndex((byte) => byte !== 0)
  const bits = first === -1 ? 0 : (modulus.length - first) * 8 - Math.clz32(modulus[first] as number) + 24
  if (bits < RSA_BITS.least || bits > RSA_BITS.most) return undefined
  // FIPS 186-5 A.1.1: with an exponent of one everybody could sign
  const exponent = Buffer.from(e, 'base64url')
  if (exponent.length > 8 || !isOdd(modulus) || !isOdd(exponent)) return undefined
  if (Number(`0x${exponent.toString('hex')}`) < EXPONENT_LEAST) return undefined
  return { kty, n, e }
}

const isOdd = (bytes: Uint8Array): boolean => ((bytes.at(-1) ?? 0) & 1) === 1

function isPart(value: unknown): value is string {
  return typeof value === 'string' && /^[A-Za-z0-9_-]+$/u.test(value)
}

const curves: Readonly<Record<string, readonly [kty: string, crv: string]>> = {
  ES256: ['EC', 'P-256'],
  ES384: ['EC', 'P-384'],
  ES512: ['EC', 'P-521'],
  EdDSA: ['OKP', 'Ed25519'],
  Ed25519: ['OKP', 'Ed25519'],
}

/** Whether `key` is one for `algorithm`: of its type and curve, and not said to be for another (B1). */
function fits({ jwk, alg }: Usable, algorithm: string): boolean {
  const isEdwards = (name: string): boolean => name === 'EdDSA' || name === 'Ed25519'
  if (alg !== undefined && alg !== algorithm && !(isEdwards(alg) && isEdwards(algorithm))) return false
  const curve = curves[algorithm]
  if (curve !== undefined) return jwk.kty === curve[0] && jwk.crv === curve[1]
  return /^[RP]S(?:256|384|512)$/u.test(algorithm) && jwk.kty === 'RSA'
}

function importOnce({ jwk, imported }: Usable, algorithm: string): Promise<KeyObject | undefined> {
  const before = imported.get(algorithm)
  if (before !== undefined) return before
  const key = importJWK(jwk, algorithm).then(
    (one) => (one instanceof Uint8Array ? undefined : KeyObject.from(one)),
    // a point that is not on its curve, and the like
    () => undefined,
  )
  imported.set(algorithm, key)
  return key
}

/** How long a document with this `Cache-Control` is fresh. */
function freshness(header: string | readonly string[] | undefined): Millis {
  const text = typeof header === 'string' ? header : (header ?? []).join(',')
  if (/(?:^|[\s,])no-(?:store|cache)(?:$|[\s,=])/iu.test(text)) return FRESH_LEAST
  const seconds = /(?:^|[\s,])max-age\s*=\s*"?(\d{1,10})/iu.exec(text)?.[1]
  return seconds === undefined ? FRESH : Number(seconds) * SECOND
}

function between(fresh: Millis): Millis {
  return Math.min(Math.max(fresh, FRESH_LEAST), FRESH_MOST)
}

function isDowngrade(from: URL, to: URL): boolean {
  return from.protocol === 'https:' && to.protocol !== 'https:'
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
