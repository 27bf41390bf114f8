import assert from 'node:assert/strict'
import { createHmac, randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { WebhookScheme } from '../model/source.ts'
import type { Delivery } from './incoming.ts'
import { DeliveryRefused, TOLERANCE, proveDelivery } from './incoming.ts'
import { webhookHeaders, webhookKey } from './webhook.ts'

const NOON = 1_795_348_800_000
const WHSEC = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const SECRET = 'a shared secret of some length'
const BODY = Buffer.from('{"a":1}')

const hex = (secret: string, body: Uint8Array): string =>
  createHmac('sha256', secret).update(body).digest('hex')

const headerOf: Readonly<Record<WebhookScheme, string>> = {
  standard: 'webhook-signature',
  hub: 'x-hub-signature-256',
  pagerduty: 'x-pagerduty-signature',
  header: 'x-webhook-secret',
}

/** As each sender makes it. */
function genuine(scheme: WebhookScheme, body: Buffer = BODY): Delivery {
  switch (scheme) {
    case 'standard': {
      const key = webhookKey(WHSEC) ?? assert.fail('no key')
      return { headers: webhookHeaders('msg_1', NOON / 1_000, body.toString(), key), body }
    }
    case 'hub':
      return { headers: { [headerOf.hub]: `sha256=${hex(SECRET, body)}` }, body }
    case 'pagerduty':
      return { headers: { [headerOf.pagerduty]: `v1=${hex(SECRET, body)}` }, body }
    case 'header':
      return { headers: { [headerOf.header]: SECRET }, body }
  }
}

const secretOf = (scheme: WebhookScheme): string => (scheme === 'standard' ? WHSEC : SECRET)

const prove = (scheme: WebhookScheme, delivery: Delivery, secrets = [secretOf(scheme)], now = NOON) =>
  proveDelivery({ scheme, header: headerOf[scheme] }, async () => secrets, delivery, now)

const refused = async (work: Promise<unknown>, why: RegExp = /./u): Promise<void> => {
  await assert.rejects(work, (error: unknown) => error instanceof DeliveryRefused && why.test(error.message))
}

const schemes: readonly WebhookScheme[] = ['standard', 'hub', 'pagerduty', 'header']

describe('deliveries of others', () => {
  test('vectors: of the vendors and of Standard Webhooks', async () => {
    // docs.github.com, validating webhook deliveries
    await proveDelivery(
      { scheme: 'hub', header: 'x-hub-signature-256' },
      async () => ["It's a Secret to Everybody"],
      {
        headers: {
          'x-hub-signature-256': 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17',
        },
        body: Buffer.from('Hello, World!'),
      },
      NOON,
    )
    // the reference libraries of Standard Webhooks
    const at = 1_614_265_330
    await proveDelivery(
      { scheme: 'standard', header: 'webhook-signature' },
      async () => ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'],
      {
        headers: {
          'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
          'webhook-timestamp': String(at),
          'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
        },
        body: Buffer.from('{"test": 2432232314}'),
      },
      at * 1_000,
    )
  })

  for (const scheme of schemes) {
    test(`B22 ${scheme}: what is genuine is taken, by either key while one is replaced`, async () => {
      const { id } = await prove(scheme, genuine(scheme))
      assert.match(id, scheme === 'standard' ? /^msg_1$/u : /^sha256:[0-9a-f]{64}$/u)
      const other = scheme === 'standard' ? `whsec_${Buffer.alloc(24, 1).toString('base64')}` : 'x'.repeat(16)
      await prove(scheme, genuine(scheme), [other, secretOf(scheme)])
      await refused(prove(scheme, genuine(scheme), [other]), /is wrong/u)
      await refused(prove(scheme, genuine(scheme), []), /is wrong/u)
    })

    test(`B22 ${scheme}: nothing forged is taken, and nothing that cannot be right has a secret looked at`, async () => {
      let looked = 0
      const secrets = async () => {
        looked += 1
        return [secretOf(scheme)]
      }
      const config = { scheme, header: headerOf[scheme] }
      for (const value of [undefined, '', ['a', 'b']]) {
        const headers = { ...genuine(scheme).headers, [headerOf[scheme]]: value }
        await refused(proveDelivery(config, secrets, { headers, body: BODY }, NOON))
      }
      assert.equal(looked, 0)
      await fc.assert(
        fc.asyncProperty(fc.string({ unit: 'grapheme', maxLength: 200 }), async (text) => {
          const headers = { ...genuine(scheme).headers, [headerOf[scheme]]: text }
          await refused(proveDelivery(config, secrets, { headers, body: BODY }, NOON))
        }),
      )
    })
  }

  for (const scheme of ['standard', 'hub', 'pagerduty'] as const) {
    test(`B22 ${scheme}: every bit of the body counts, as bytes`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.nat(BODY.length * 8 - 1), async (bit) => {
          const body = Buffer.from(BODY)
          body[bit >> 3] = (body[bit >> 3] ?? 0) ^ (1 << (bit & 7))
          await refused(prove(scheme, { ...genuine(scheme), body }), /is wrong/u)
        }),
      )
      for (const body of [
        Buffer.concat([BODY, Buffer.from('\n')]),
        Buffer.from('{ "a": 1 }'),
        Buffer.alloc(0),
      ])
        await refused(prove(scheme, { ...genuine(scheme), body }), /is wrong/u)
    })
  }

  test('B22 standard: id and time are signed, and the time is now', async () => {
    const { headers, body } = genuine('standard')
    const with_ = (more: Readonly<Record<string, string>>) =>
      prove('standard', { headers: { ...headers, ...more }, body })
    await refused(with_({ 'webhook-id': 'msg_2' }), /is wrong/u)
    await refused(with_({ 'webhook-timestamp': String(NOON / 1_000 + 1) }), /is wrong/u)
    await refused(with_({ 'webhook-timestamp': '0x6b0' }), /time cannot/u)
    // moved over the border between id and time
    await refused(
      with_({ 'webhook-id': `msg_1.${NOON / 1_000}`, 'webhook-timestamp': '1795348800' }),
      /id cannot/u,
    )
    for (const late of [-TOLERANCE, TOLERANCE])
      assert.equal((await prove('standard', genuine('standard'), [WHSEC], NOON + late)).triedAt, NOON)
    for (const late of [-TOLERANCE - 1, TOLERANCE + 1])
      await refused(prove('standard', genuine('standard'), [WHSEC], NOON + late), /too long ago/u)
    await refused(prove('standard', genuine('standard'), ['whsec_short']), /no `whsec_/u)
  })

  test('several signatures while a key is replaced, but not as many as somebody likes', async () => {
    const wrong = 'v1='.padEnd(67, '0')
    const right = genuine('pagerduty').headers[headerOf.pagerduty] as string
    const signed = (value: string) =>
      prove('pagerduty', { headers: { [headerOf.pagerduty]: value }, body: BODY })
    await signed(`${wrong},${right}`)
    await signed(`v2=x, ${right}`)
    await refused(signed(`${Array.from({ length: 8 }, () => wrong).join(',')},${right}`), /too many/u)
    await refused(signed(right.replace('v1=', 'v0=')), /cannot be read/u)
    await refused(signed(right.toUpperCase()), /cannot be read/u)
  })

  test("a secret that is empty or short is nobody's", async () => {
    for (const scheme of ['hub', 'pagerduty', 'header'] as const) {
      const delivery: Delivery =
        scheme === 'header'
          ? { headers: { [headerOf.header]: 'short' }, body: BODY }
          : {
              headers: { [headerOf[scheme]]: `${scheme === 'hub' ? 'sha256' : 'v1'}=${hex('', BODY)}` },
              body: BODY,
            }
      await refused(prove(scheme, delivery, ['']), /less than 16/u)
      await refused(prove(scheme, delivery, ['short']), /less than 16/u)
    }
  })

  test('the same body is the same delivery, whatever id its sender gives it', async () => {
    const first = await prove('hub', {
      ...genuine('hub'),
      headers: { ...genuine('hub').headers, 'x-github-delivery': 'a' },
    })
    const second = await prove('hub', {
      ...genuine('hub'),
      headers: { ...genuine('hub').headers, 'x-github-delivery': 'b' },
    })
    assert.equal(first.id, second.id)
    assert.notEqual(first.id, (await prove('hub', genuine('hub', randomBytes(8)))).id)
  })
})
