/**
 * Standard Webhooks 1.0: an id, a time and an HMAC-SHA-256 over `id.timestamp.body`, so that a receiver can refuse what
 * was forged, is late, or comes twice.
 *
 * @module
 */
import { createHmac } from 'node:crypto'

/**
 * The key in `whsec_…` (base64 after the prefix, which may be absent), `undefined` for what holds less than 24 or more
 * than 64 bytes.
 */
export function webhookKey(secret: string): Uint8Array | undefined {
  const text = secret.trim().replace(/^whsec_/u, '')
  const key = Buffer.from(text, 'base64')
  return key.toString('base64') === text && key.length >= 24 && key.length <= 64 ? key : undefined
}

/** The three headers; `seconds` is the time of this try, `id` the same for every try. */
export function webhookHeaders(
  id: string,
  seconds: number,
  body: string,
  key: Uint8Array,
): Readonly<Record<string, string>> {
  const mac = webhookMac(id, String(seconds), body, key).toString('base64')
  return { 'webhook-id': id, 'webhook-timestamp': String(seconds), 'webhook-signature': `v1,${mac}` }
}

/** What a signature of version 1 is, over the bytes of the body as they were sent. */
export function webhookMac(id: string, seconds: string, body: string | Uint8Array, key: Uint8Array): Buffer {
  return createHmac('sha256', key).update(`${id}.${seconds}.`).update(body).digest()
}
