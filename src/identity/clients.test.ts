import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { describe, test } from 'node:test'
import type { Properties } from '../model/entity.ts'
import { isWritError } from '../model/errors.ts'
import type { Client } from '../model/token.ts'
import { checkClients, verifyAssertion } from './clients.ts'

const NOW = Date.parse('2026-11-22T12:00:00Z')
const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 })
const jwk = publicKey.export({ format: 'jwk' }) as Properties

const client = (...keys: readonly Properties[]): Client => ({
  id: 'web',
  subject: { type: 'Service', id: 'web' },
  generation: 1,
  keys,
  serves: [],
  registeredAt: NOW,
})

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

function assertion(header: Readonly<Record<string, unknown>> = {}): string {
  const claims = { iss: 'web', sub: 'web', aud: 'https://writ.example', exp: NOW / 1_000 + 60, jti: 'a' }
  const input = `${part({ alg: 'RS256', ...header })}.${part(claims)}`
  return `${input}.${sign('sha256', Buffer.from(input), privateKey).toString('base64url')}`
}

const verify = (by: Client, text: string, code: 'invalid_client' | 'invalid_grant' = 'invalid_client') =>
  verifyAssertion(by, text, { audiences: ['https://writ.example'], now: NOW, code })

describe('B1 a key of a client', () => {
  test('signs with the algorithm that it says and for what it says, whatever the token says', async () => {
    await verify(client(jwk), assertion())
    await verify(client({ ...jwk, alg: 'RS256', use: 'sig', key_ops: ['verify'] }), assertion())
    for (const more of [{ alg: 'PS256' }, { use: 'enc' }, { key_ops: ['encrypt'] }, { alg: 'none' }]) {
      await assert.rejects(verify(client({ ...jwk, ...more }), assertion()), { detail: /names no key/u })
    }
  })

  test('that signs nothing is refused when it is configured', () => {
    checkClients([client({ ...jwk, alg: 'PS256', use: 'sig' })])
    for (const more of [{ use: 'enc' }, { key_ops: ['encrypt'] }, { alg: 'HS256' }, { alg: 'ES256' }]) {
      assert.throws(
        () => checkClients([client({ ...jwk, ...more })]),
        (error: unknown) => isWritError(error, 'ERR_CONFIG_INVALID'),
        JSON.stringify(more),
      )
    }
  })
})

describe('B4 an assertion', () => {
  test('that says what it is for is for nothing else', async () => {
    const authenticates = assertion({ typ: 'client-authentication+jwt' })
    const grants = assertion({ typ: 'authorization-grant+jwt' })
    await verify(client(jwk), authenticates, 'invalid_client')
    await verify(client(jwk), grants, 'invalid_grant')
    await assert.rejects(verify(client(jwk), authenticates, 'invalid_grant'), { detail: /another type/u })
    await assert.rejects(verify(client(jwk), grants, 'invalid_client'), { detail: /another type/u })
  })
})
