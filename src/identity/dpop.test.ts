/**
 * Proofs of possession, and the assertions of clients: every algorithm with every key, and nonces without storage.
 *
 * @module
 */
import assert from 'node:assert/strict'
import type { KeyObject } from 'node:crypto'
import { constants, createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Properties } from '../model/entity.ts'
import { isWritError } from '../model/errors.ts'
import type { Client } from '../model/token.ts'
import { checkClients, verifyAssertion } from './clients.ts'
import { createDpop, dpopAlgorithms } from './dpop.ts'

const NOW = 1_795_348_800_000
const URL_ = 'https://writ.example/oauth/token'
const KEY = new Uint8Array(32).fill(7)

type Pair = Readonly<{ privateKey: KeyObject; jwk: Properties }>

const pair = (made: { privateKey: KeyObject; publicKey: KeyObject }): Pair => ({
  privateKey: made.privateKey,
  jwk: made.publicKey.export({ format: 'jwk' }) as Properties,
})

const keys: Readonly<Record<string, Pair>> = {
  'P-256': pair(generateKeyPairSync('ec', { namedCurve: 'P-256' })),
  'P-384': pair(generateKeyPairSync('ec', { namedCurve: 'P-384' })),
  'P-521': pair(generateKeyPairSync('ec', { namedCurve: 'P-521' })),
  secp256k1: pair(generateKeyPairSync('ec', { namedCurve: 'secp256k1' })),
  Ed25519: pair(generateKeyPairSync('ed25519')),
  RSA: pair(generateKeyPairSync('rsa', { modulusLength: 2_048 })),
  'short RSA': pair(generateKeyPairSync('rsa', { modulusLength: 1_024 })),
}

/** Which key each algorithm is for. */
const fitting: Readonly<Record<string, string>> = {
  ES256: 'P-256',
  ES384: 'P-384',
  ES512: 'P-521',
  EdDSA: 'Ed25519',
  Ed25519: 'Ed25519',
  PS256: 'RSA',
  RS256: 'RSA',
}

const hashes: Readonly<Record<string, string>> = { ES384: 'sha384', ES512: 'sha512' }

/** A signature by the key in its own way, whatever the header says; with a shared key, of the public one's text. */
function signed(alg: string, { privateKey, jwk }: Pair, input: string): Buffer {
  if (alg.startsWith('HS')) return createHmac('sha256', JSON.stringify(jwk)).update(input).digest()
  if (alg === 'none') return Buffer.alloc(0)
  const bytes = Buffer.from(input)
  if (privateKey.asymmetricKeyType === 'ed25519') return sign(null, bytes, privateKey)
  if (privateKey.asymmetricKeyType === 'rsa') {
    const padding = alg === 'PS256' ? constants.RSA_PKCS1_PSS_PADDING : constants.RSA_PKCS1_PADDING
    return sign('sha256', bytes, { key: privateKey, padding, saltLength: 32 })
  }
  return sign(hashes[alg] ?? 'sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' })
}

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

function jws(alg: string, key: Pair, header: object, claims: object): string {
  const input = `${part({ alg, ...header })}.${part(claims)}`
  return `${input}.${signed(alg, key, input).toString('base64url')}`
}

const dpop = createDpop(KEY)

function proof(alg: string, key: Pair, more: object = {}): string {
  const claims = { htm: 'POST', htu: URL_, iat: NOW / 1_000, jti: 'one', ...more }
  return jws(alg, key, { typ: 'dpop+jwt', jwk: key.jwk }, claims)
}

const verified = (text: string, nonce: 'required' | 'optional' = 'optional', now = NOW) =>
  dpop.verify(text, { method: 'POST', url: URL_, now, nonce })

async function problemOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
  } catch (error) {
    assert.ok(isWritError(error), String(error))
    return error.problem ?? error.code
  }
  return 'good'
}

const everything = [...dpopAlgorithms, 'none', 'None', 'HS256', 'HS512', 'ES256K', 'RSA1_5', 'dir', '']

describe('B1 B2 algorithms', () => {
  test('of proofs go with the key that is in them, and no other', async () => {
    for (const alg of everything) {
      for (const [name, key] of Object.entries(keys)) {
        const good = fitting[alg] === name
        assert.equal(
          await problemOf(verified(proof(alg, key))),
          good ? 'good' : 'invalid_dpop_proof',
          `${alg} with ${name}`,
        )
      }
    }
  })

  test('of assertions go with the key that is registered, and no other', async () => {
    for (const alg of everything) {
      for (const [name, key] of Object.entries(keys)) {
        const client: Client = {
          id: 'c',
          subject: { type: 'Service', id: 'c' },
          generation: 0,
          keys: [{ ...key.jwk, kid: 'k' }],
          serves: [],
          registeredAt: 0,
        }
        const seconds = NOW / 1_000
        const claims = { iss: 'c', sub: 'c', aud: 'https://writ.example', exp: seconds + 60, jti: 'one' }
        const work = verifyAssertion(client, jws(alg, key, { kid: 'k' }, claims), {
          audiences: ['https://writ.example'],
          now: NOW,
          code: 'invalid_client',
        })
        const good = fitting[alg] === name
        assert.equal(await problemOf(work), good ? 'good' : 'invalid_client', `${alg} with ${name}`)
      }
    }
  })

  test('keys of clients are public, of a known kind, and each client is there once', () => {
    const client = (jwk: Properties) => ({
      id: 'c',
      subject: { type: 'Service', id: 'c' },
      keys: [jwk],
      serves: [],
    })
    const good = client(keys['P-256']?.jwk ?? {})
    checkClients([good])
    assert.throws(() => checkClients([good, good]), /twice/)
    const secret = keys['P-256']?.privateKey.export({ format: 'jwk' }) as Properties
    for (const jwk of [
      secret,
      { kty: 'oct', k: 'AAAA' },
      { kty: 'EC', crv: 'P-256', x: 'A' },
      keys['secp256k1']?.jwk ?? {},
    ]) {
      assert.throws(
        () => checkClients([client(jwk)]),
        (error) => isWritError(error, 'ERR_CONFIG_INVALID'),
      )
    }
  })
})

describe('nonces', () => {
  const key = keys['P-256'] as Pair

  test('are known to whoever has the key, after a restart and on another node, for a while', async () => {
    const nonce = createDpop(KEY).nonce(NOW)
    for (const [after, good] of [
      [0, true],
      [100_000, true],
      [240_000, false],
      [3_600_000, false],
    ] as const) {
      const now = NOW + after
      const text = proof('ES256', key, { nonce, iat: Math.floor(now / 1_000) })
      assert.equal(
        await problemOf(verified(text, 'required', now)),
        good ? 'good' : 'use_dpop_nonce',
        `${after}`,
      )
    }
    const foreign = createDpop(new Uint8Array(32).fill(8)).nonce(NOW)
    assert.equal(await problemOf(verified(proof('ES256', key, { nonce: foreign }))), 'use_dpop_nonce')
  })

  test('that nobody gave out are none', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.string({ maxLength: 64 }), fc.base64String({ maxLength: 64 })),
        async (nonce) => {
          assert.equal(await problemOf(verified(proof('ES256', key, { nonce }))), 'use_dpop_nonce')
        },
      ),
      { numRuns: 50 },
    )
  })
})

describe('B6 what a proof spends', () => {
  test('is named by its key and jti, and kept until no proof of then is accepted', async () => {
    const [one, two] = [keys['P-256'] as Pair, keys['P-384'] as Pair]
    const first = await verified(proof('ES256', one))
    const same = await verified(proof('ES256', one, { nonce: undefined }))
    const other = await verified(proof('ES256', one, { jti: 'two' }))
    const elsewhere = await verified(proof('ES384', two))
    assert.equal(first.spends.id, same.spends.id)
    assert.equal(new Set([first, other, elsewhere].map(({ spends }) => spends.id)).size, 3)
    assert.ok(first.spends.endsAt > NOW + 60_000)
    assert.notEqual(first.jkt, elsewhere.jkt)
  })

  test('is nothing for a proof of garbage', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 200 }), async (text) => {
        assert.equal(await problemOf(verified(text)), 'invalid_dpop_proof')
      }),
    )
    assert.equal(
      await problemOf(verified(proof('ES256', keys['P-256'] as Pair, { x: 'x'.repeat(9_000) }))),
      'invalid_dpop_proof',
    )
  })
})
