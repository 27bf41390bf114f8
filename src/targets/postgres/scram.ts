/**
 * The verifier PostgreSQL stores instead of a password, computed here so that the password never travels in SQL,
 * where a server that logs statements would keep it.
 *
 * @module
 */
import { createHash, createHmac, pbkdf2 } from 'node:crypto'
import { promisify } from 'node:util'

const derive = promisify(pbkdf2)

/** PostgreSQL's own default; the passwords are 256 random bits, so that more would protect nothing. */
const ITERATIONS = 4096

/**
 * `SCRAM-SHA-256$4096:<salt>$<StoredKey>:<ServerKey>` (RFC 5803 §3 in PostgreSQL's form, keys of RFC 5802 §3).
 *
 * `password` must be printable ASCII: anything else would need SASLprep (RFC 4013) to match what clients send.
 *
 * @throws {TypeError} if it is not.
 */
export async function scramVerifier(password: string, salt: Uint8Array): Promise<string> {
  if (!/^[!-~]+$/.test(password)) throw new TypeError('password must be printable ASCII')
  const salted = await derive(password, salt, ITERATIONS, 32, 'sha256')
  const clientKey = createHmac('sha256', salted).update('Client Key').digest()
  const storedKey = createHash('sha256').update(clientKey).digest('base64')
  const serverKey = createHmac('sha256', salted).update('Server Key').digest('base64')
  return `SCRAM-SHA-256$${ITERATIONS}:${Buffer.from(salt).toString('base64')}$${storedKey}:${serverKey}`
}
