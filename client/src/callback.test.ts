import assert from 'node:assert/strict'
import { createHmac, randomBytes } from 'node:crypto'
import test from 'node:test'
import fc from 'fast-check'
import { createCallbackReceiver } from './callback.ts'
import { isWritClientError } from './error.ts'

const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const NOW = 1_800_000_000_000
const body = JSON.stringify({ task: { id: 'req_1', status: 'approved', status_endpoint: 'x' }, state: 's' })

function signed(text = body, at = NOW / 1_000, id = 'msg_1', key = Buffer.alloc(32, 7)) {
  const mac = createHmac('sha256', key).update(`${id}.${at}.${text}`).digest('base64')
  return { 'webhook-id': id, 'webhook-timestamp': String(at), 'webhook-signature': `v1,${mac}` }
}
const receiver = (now = NOW) => createCallbackReceiver({ secret, now: () => now })
const refused = (why: RegExp) => (error: unknown) =>
  isWritClientError(error, 'ERR_CALLBACK_INVALID') && why.test(error.message)

test('B22 a callback that Writ signed is received, once', async () => {
  const callbacks = receiver()
  const { id, task, state } = await callbacks.receive(signed(), body)
  assert.deepEqual([id, task.id, task.status, state], ['msg_1', 'req_1', 'approved', 's'])
  // told apart from what is forged: what was taken has to be answered as that, or it comes again and again
  await assert.rejects(callbacks.receive(signed(), body), (error) =>
    isWritClientError(error, 'ERR_CALLBACK_REPEATED'),
  )
  await callbacks.receive(new Headers(signed(body, NOW / 1_000, 'msg_2')), new TextEncoder().encode(body))
})

test('B22 a forged callback is refused: other key, body, id, time or no signature', async () => {
  const other = randomBytes(32)
  const cases: [Record<string, string>, string][] = [
    [signed(body, NOW / 1_000, 'msg_1', other), body],
    [signed(), body.replace('approved', 'denied')],
    [{ ...signed(), 'webhook-id': 'msg_2' }, body],
    [{ ...signed(), 'webhook-timestamp': String(NOW / 1_000 + 1) }, body],
    [{ ...signed(), 'webhook-signature': signed()['webhook-signature'].replace('v1', 'v1a') }, body],
    [{ ...signed(), 'webhook-signature': '' }, body],
    [{ ...signed(), 'webhook-signature': 'v1,AAAA' }, body],
    [{}, body],
  ]
  for (const [headers, text] of cases)
    await assert.rejects(receiver().receive(headers, text), refused(/refused/))
  const twice = { ...signed(), 'Webhook-Id': 'msg_1' }
  await assert.rejects(receiver().receive(twice, body), refused(/not signed/))
})

test('B22 every changed byte of the body is noticed', async () => {
  const bytes = new TextEncoder().encode(body)
  const at = fc.integer({ min: 0, max: bytes.length - 1 })
  await fc.assert(
    fc.asyncProperty(at, fc.integer({ min: 1, max: 255 }), async (index, change) => {
      const altered = bytes.with(index, (bytes[index] as number) ^ change)
      await assert.rejects(receiver().receive(signed(), altered), refused(/signature/))
    }),
  )
})

test('B22 a callback older than five minutes, or from the future, is refused', async () => {
  await receiver(NOW + 300_000).receive(signed(), body)
  await receiver(NOW - 300_000).receive(signed(), body)
  await assert.rejects(receiver(NOW + 301_000).receive(signed(), body), refused(/too old/))
  await assert.rejects(receiver(NOW - 301_000).receive(signed(), body), refused(/too old/))
  const soon = { ...signed(), 'webhook-timestamp': '1e12' }
  await assert.rejects(receiver().receive(soon, body), refused(/time/))
})

test('B22 a forged callback does not use up the id of the true one', async () => {
  const callbacks = receiver()
  const forged = signed(body, NOW / 1_000, 'msg_1', randomBytes(32))
  await assert.rejects(callbacks.receive(forged, body), refused(/signature/))
  await callbacks.receive(signed(), body)
})

test('while a secret is changed both are taken; a secret that is none is refused at once', async () => {
  const next = Buffer.alloc(32, 8)
  const both = createCallbackReceiver({
    secret: [secret, `whsec_${next.toString('base64')}`],
    now: () => NOW,
  })
  await both.receive(signed(body, NOW / 1_000, 'msg_1', next), body)
  await both.receive(signed(body, NOW / 1_000, 'msg_2'), body)
  for (const none of ['', 'whsec_', 'whsec_AAAA', 'whsec_%%%'])
    assert.throws(
      () => createCallbackReceiver({ secret: none }),
      (error) => isWritClientError(error, 'ERR_INPUT_INVALID'),
    )
})
