/**
 * A private key file: the client signs for itself (`private_key_jwt`, RFC 7523), and no secret leaves the machine.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { createPrivateKey } from 'node:crypto'
import type { Around, ClientKey, Detector } from './source.ts'
import { noIdentity, variable } from './source.ts'

const KEY = 'WRIT_CLIENT_KEY'
const ID = 'WRIT_CLIENT_ID'
/** How long an assertion counts, in seconds; each is used once and at once. */
const LIFE = 60

export const key: Detector = (around) => {
  const path = variable(around, KEY)
  if (path === undefined) return undefined
  const id = variable(around, ID)
  const client: ClientKey | undefined =
    id === undefined ? undefined : { id, assertion: (issuer) => assertion(around, path, id, issuer) }
  return {
    kind: 'key',
    from: `\`${path}\``,
    keep: true,
    token: () => {
      if (client === undefined)
        return Promise.reject(noIdentity(`${ID} is missing`, `${KEY} names a key: say whose it is`))
      return around.asClient(client)
    },
    ...(client === undefined ? {} : { client }),
  }
}

async function assertion(around: Around, path: string, id: string, issuer: string): Promise<string> {
  // read each time: who replaces a key wants the new one used
  const { key, kid } = readKey(around, path)
  const { SignJWT } = await import('jose')
  const at = Math.floor(around.now() / 1_000)
  return new SignJWT({ iss: id, sub: id, aud: issuer, jti: around.random(), iat: at, exp: at + LIFE })
    .setProtectedHeader({ alg: algorithmOf(key, path), typ: 'JWT', ...(kid === undefined ? {} : { kid }) })
    .sign(key)
}

function readKey(around: Around, path: string): { key: KeyObject; kid?: string } {
  const text = around.read(path)
  if (text === undefined) throw noIdentity(`\`${path}\` does not exist`, `${KEY} names it`)
  try {
    if (!text.trimStart().startsWith('{')) return { key: createPrivateKey(text) }
    const jwk = JSON.parse(text) as Record<string, unknown>
    const key = createPrivateKey({ key: jwk, format: 'jwk' })
    return { key, ...(typeof jwk['kid'] === 'string' ? { kid: jwk['kid'] } : {}) }
  } catch {
    // what the platform says may hold what is in the file
    throw noIdentity(`\`${path}\` holds no private key`, 'give an unencrypted PEM (PKCS #8) or a JWK')
  }
}

function algorithmOf(key: KeyObject, path: string): string {
  const curve = key.asymmetricKeyDetails?.namedCurve
  if (key.asymmetricKeyType === 'ed25519') return 'EdDSA'
  if (key.asymmetricKeyType === 'ec' && curve === 'prime256v1') return 'ES256'
  if (key.asymmetricKeyType === 'ec' && curve === 'secp384r1') return 'ES384'
  if (key.asymmetricKeyType === 'rsa') return 'RS256'
  throw noIdentity(`\`${path}\` is a key of another kind`, 'use P-256, P-384, Ed25519 or RSA')
}
