import assert from 'node:assert/strict'
import type { KeyObject } from 'node:crypto'
import { generateKeyPairSync } from 'node:crypto'
import { describe, test } from 'node:test'
import { CompactSign, compactVerify } from 'jose'
import { isSignedBy, signEs256, wasSignedBy } from './jws.ts'

type Pair = Readonly<{ privateKey: KeyObject; publicKey: KeyObject }>
const ec = (namedCurve: string): Pair => generateKeyPairSync('ec', { namedCurve })
const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 })
const ed = generateKeyPairSync('ed25519')
const [p256, p384, p521] = [ec('P-256'), ec('P-384'), ec('P-521')] as [Pair, Pair, Pair]

const pairs: Readonly<Record<string, Pair>> = {
  ES256: p256,
  ES384: p384,
  ES512: p521,
  RS256: rsa,
  RS384: rsa,
  RS512: rsa,
  PS256: rsa,
  PS384: rsa,
  PS512: rsa,
  EdDSA: ed,
  Ed25519: ed,
}

const signed = (alg: string, { privateKey }: Pair): Promise<string> =>
  new CompactSign(Buffer.from('{"sub":"a"}')).setProtectedHeader({ alg }).sign(privateKey)

/** The token with one bit of a part changed. */
function changed(token: string, part: 0 | 1 | 2, at: number): string {
  const parts = token.split('.')
  const bytes = Buffer.from(parts[part] as string, 'base64url')
  bytes[at % bytes.length] = (bytes[at % bytes.length] as number) ^ 1
  parts[part] = bytes.toString('base64url')
  return parts.join('.')
}

describe('a signature', () => {
  for (const [alg, pair] of Object.entries(pairs)) {
    test(`${alg}: what jose signs is right, and nothing that differs from it`, async () => {
      const token = await signed(alg, pair)
      for (const check of [isSignedBy, wasSignedBy]) {
        assert.equal(await check(token, pair.publicKey, alg), true)
        for (const part of [0, 1, 2] as const) {
          for (const at of [0, 7, 31]) {
            assert.equal(await check(changed(token, part, at), pair.publicKey, alg), false, `${part} ${at}`)
          }
        }
        const cut = token.slice(0, token.lastIndexOf('.') + 1)
        for (const none of ['', 'AA', 'A'.repeat(86), 'A'.repeat(342)]) {
          assert.equal(await check(cut + none, pair.publicKey, alg), false)
        }
      }
    })
  }

  test('B1 of one algorithm is none of another, whatever the key could do', async () => {
    for (const [alg, pair] of Object.entries(pairs)) {
      const token = await signed(alg, pair)
      for (const [other, { publicKey }] of Object.entries(pairs)) {
        const isSame = alg === other || (pair === ed && publicKey === ed.publicKey)
        // asked with the key of the other, and with its own
        assert.equal(await isSignedBy(token, publicKey, other), isSame, `${alg} as ${other}`)
        assert.equal(await isSignedBy(token, pair.publicKey, other), isSame, `${alg} as ${other}, own key`)
      }
      for (const none of ['none', 'HS256', '', 'es256', 'toString', '__proto__']) {
        assert.equal(await isSignedBy(token, pair.publicKey, none), false)
      }
    }
  })

  test('is by one key and no other, also once it is remembered', async () => {
    const token = await signed('ES256', p256)
    assert.equal(await wasSignedBy(token, p256.publicKey, 'ES256'), true)
    assert.equal(await wasSignedBy(token, ec('P-256').publicKey, 'ES256'), false)
    assert.equal(await wasSignedBy(token, p256.publicKey, 'ES384'), false)
    assert.equal(await wasSignedBy(`${token} `, p256.publicKey, 'ES256'), false)
  })

  test('what was wrong once is not remembered as right', async () => {
    const wrong = changed(await signed('ES256', p256), 1, 3)
    for (let i = 0; i < 3; i += 1) assert.equal(await wasSignedBy(wrong, p256.publicKey, 'ES256'), false)
  })

  test('many remembered ones cost bounded room, and stay right', async () => {
    const token = await signed('ES256', p256)
    assert.equal(await wasSignedBy(token, p256.publicKey, 'ES256'), true)
    const inputs = Array.from(
      { length: 1_100 },
      (_, i) => `e30.${Buffer.from(`{"n":${i}}`).toString('base64url')}`,
    )
    const many = await Promise.all(inputs.map((input) => signEs256(input, p256.privateKey)))
    for (const one of many) assert.equal(await wasSignedBy(one, p256.publicKey, 'ES256'), true)
    assert.equal(await wasSignedBy(token, p256.publicKey, 'ES256'), true)
  })

  test('by a private or a short key is none', async () => {
    const token = await signed('ES256', p256)
    assert.equal(await isSignedBy(token, p256.privateKey, 'ES256'), false)
    const short = generateKeyPairSync('rsa', { modulusLength: 1_024 })
    const { sign } = await import('node:crypto')
    const input = `${Buffer.from('{"alg":"RS256"}').toString('base64url')}.e30`
    const made = `${input}.${sign('sha256', Buffer.from(input), short.privateKey).toString('base64url')}`
    assert.equal(await isSignedBy(made, short.publicKey, 'RS256'), false)
  })

  test('made here is one that jose verifies', async () => {
    const input = `${Buffer.from('{"alg":"ES256"}').toString('base64url')}.e30`
    const token = await signEs256(input, p256.privateKey)
    await compactVerify(token, p256.publicKey, { algorithms: ['ES256'] })
    assert.equal(await isSignedBy(token, p256.publicKey, 'ES256'), true)
  })
})
