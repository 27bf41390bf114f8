/**
 * Whether a delivery comes from who it says: by Standard Webhooks, by the signatures of vendors, or by a shared secret of
 * those that sign nothing. What cannot be right is refused before a secret is looked at (B22, B53).
 *
 * @module
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { WebhookConfig } from '../model/source.ts'
import type { Instant, Millis } from '../model/time.ts'
import { MINUTE, SECOND } from '../model/time.ts'
import { webhookKey, webhookMac } from './webhook.ts'

export type Delivery = Readonly<{
  headers: Readonly<Record<string, string | readonly string[] | undefined>>
  /** As it was sent. */
  body: Uint8Array
}>

/** By what it is known when it comes again, which is part of what was signed; and the time of the try, where that is. */
export type Proof = Readonly<{ id: string; triedAt?: Instant }>

/** Why a delivery is not taken, as the record says it. */
export class DeliveryRefused extends Error {
  override readonly name = 'DeliveryRefused'
}

/** How far the time of a try of Standard Webhooks may be from ours. */
export const TOLERANCE: Millis = 5 * MINUTE
/** Signatures of one delivery that are looked at. */
const SIGNATURES_MOST = 8
/** Shortest secret that is taken, characters. */
export const SECRET_LEAST = 16

/**
 * What a delivery proves.
 *
 * @param secrets reads those that are configured; asked for only when something is there to compare.
 * @throws {DeliveryRefused}
 */
export async function proveDelivery(
  { scheme, header }: Pick<WebhookConfig, 'scheme' | 'header'>,
  secrets: () => Promise<readonly string[]>,
  delivery: Delivery,
  now: Instant,
): Promise<Proof> {
  const presented = read(delivery, header)
  switch (scheme) {
    case 'standard':
      return standard(presented, secrets, delivery, now)
    case 'hub':
      return signed([presented], /^sha256=([0-9a-f]{64})$/u, secrets, delivery)
    case 'pagerduty':
      return signed(presented.split(','), /^v1=([0-9a-f]{64})$/u, secrets, delivery)
    case 'header': {
      // digests have one length, so that comparing tells nothing of the secret's
      const digest = createHash('sha256').update(presented).digest()
      const isOurs = (secret: string): boolean =>
        timingSafeEqual(createHash('sha256').update(secret).digest(), digest)
      return proved((await usable(secrets)).some(isOurs), digestOf(delivery.body))
    }
  }
}

async function standard(
  presented: string,
  secrets: () => Promise<readonly string[]>,
  delivery: Delivery,
  now: Instant,
): Promise<Proof> {
  const id = read(delivery, 'webhook-id')
  const seconds = read(delivery, 'webhook-timestamp')
  // a dot in the id would move the border between it and the time
  if (!/^[\x21-\x2d\x2f-\x7e]{1,256}$/u.test(id)) throw new DeliveryRefused('its id cannot be read')
  if (!/^[1-9]\d{8,11}$/u.test(seconds)) throw new DeliveryRefused('its time cannot be read')
  const triedAt = Number(seconds) * SECOND
  if (Math.abs(now - triedAt) > TOLERANCE)
    throw new DeliveryRefused('it was sent too long ago, or is yet to be')
  const found = signatures(presented.split(' '), /^v1,([A-Za-z0-9+/]{43}=)$/u, 'base64')
  const isOurs = (secret: string): boolean => {
    const key = webhookKey(secret)
    if (key === undefined) throw new DeliveryRefused('the secret for it is no `whsec_…`')
    return matches(found, webhookMac(id, seconds, delivery.body, key))
  }
  return { ...proved((await secrets()).some(isOurs), id), triedAt }
}

async function signed(
  presented: readonly string[],
  form: RegExp,
  secrets: () => Promise<readonly string[]>,
  { body }: Delivery,
): Promise<Proof> {
  const found = signatures(presented, form, 'hex')
  const isOurs = (secret: string): boolean =>
    matches(found, createHmac('sha256', secret).update(body).digest())
  // the id that vendors send in a header is not signed: a copy could have any
  return proved((await usable(secrets)).some(isOurs), digestOf(body))
}

/** An empty secret is everybody's. */
async function usable(secrets: () => Promise<readonly string[]>): Promise<readonly string[]> {
  const known = await secrets()
  if (known.some((secret) => secret.length < SECRET_LEAST)) {
    throw new DeliveryRefused(`the secret for it has less than ${SECRET_LEAST} characters`)
  }
  return known
}

function proved(isOurs: boolean, id: string): Proof {
  if (!isOurs) throw new DeliveryRefused('its signature or secret is wrong')
  return { id }
}

function signatures(parts: readonly string[], form: RegExp, encoding: 'hex' | 'base64'): readonly Buffer[] {
  if (parts.length > SIGNATURES_MOST) throw new DeliveryRefused('it has too many signatures')
  const found = parts.flatMap((part) => {
    const text = form.exec(part.trim())?.[1]
    return text === undefined ? [] : [Buffer.from(text, encoding)]
  })
  if (found.length === 0) throw new DeliveryRefused('its signature cannot be read')
  return found
}

const matches = (found: readonly Buffer[], mac: Buffer): boolean =>
  found.some((one) => one.length === mac.length && timingSafeEqual(one, mac))

function read({ headers }: Delivery, name: string): string {
  const value = headers[name]
  if (typeof value === 'string' && value !== '') return value
  throw new DeliveryRefused(value === undefined ? `it has no \`${name}\`` : `its \`${name}\` cannot be read`)
}

const digestOf = (body: Uint8Array): string => `sha256:${createHash('sha256').update(body).digest('hex')}`
