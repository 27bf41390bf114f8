import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { z } from 'zod'
import { isWritError } from '../model/errors.ts'
import { makeIssuer } from '../model/issuer.ts'
import { receiverSchema, signalsConfig, signalsSummary, transmitterSchema } from './signals.ts'

const schema = z.strictObject({
  receivers: z.array(receiverSchema).default([]),
  transmitter: transmitterSchema.optional(),
})
const issuers = [makeIssuer({ name: 'corp', issuer: 'https://corp.example', audiences: ['a'] })]
const files: Readonly<Record<string, string>> = {
  '/w/keys.json': '{"keys":[{"kty":"EC","crv":"P-256","x":"x","y":"y"}]}',
  '/w/private.json': '{"keys":[{"kty":"EC","d":"secret"}]}',
}
const load = (text: unknown) =>
  signalsConfig(
    schema.parse(text),
    issuers,
    (path) => `/w/${path}`,
    (path) => {
      const found = files[path]
      if (found === undefined) throw new Error('ENOENT')
      return found
    },
  )

const receiver = {
  name: 'idp',
  issuer: 'https://idp.example',
  audiences: ['https://writ.example'],
  subjects: { accounts: ['corp'], map: { 'u-1': 'Person/ada' }, template: 'Device/{id}' },
}
const listener = { name: 'siem', subject: 'Service/siem', audience: 'https://siem.example' }

describe('signals in the configuration', () => {
  test('say whom a transmitter may speak of, and who is told', () => {
    const { receivers, transmitter } = load({
      receivers: [{ ...receiver, jwks: 'keys.json', authorization_file: 'secret' }],
      transmitter: { receivers: [{ ...listener, subjects: 'corp' }] },
    })
    const [one] = receivers
    assert.deepEqual(one?.subjects, {
      accounts: [{ iss: 'https://corp.example', issuer: 'corp' }],
      map: { 'u-1': { type: 'Person', id: 'ada' } },
      template: 'Device/{id}',
    })
    assert.deepEqual(
      [one.delivery, one.manage, one.verifyEvery, one.silence, one.maxAge, one.rate, one.unsafeHttp],
      ['push', true, 600_000, 1_800_000, undefined, 6_000, false],
    )
    assert.equal(transmitter?.algorithm, 'RS256')
    assert.deepEqual(transmitter.listeners[0]?.subjects, { iss: 'https://corp.example', issuer: 'corp' })
    assert.doesNotMatch(JSON.stringify(signalsSummary({ receivers, transmitter })), /secret|\/w\//u)
    assert.deepEqual(load({}), { receivers: [] })
  })

  test('law 1 what stands in the record of them holds no secret of an address', () => {
    const summary = JSON.stringify(
      signalsSummary(
        load({
          receivers: [
            {
              ...receiver,
              delivery: 'poll',
              manage: false,
              poll_url: 'https://idp.example/poll?key=canary',
              jwks_uri: 'https://idp.example/jwks?key=canary',
            },
          ],
        }),
      ),
    )
    assert.doesNotMatch(summary, /canary/u)
    assert.match(summary, /idp.example\/poll/u)
  })

  const wrong: Readonly<Record<string, Readonly<{ text: unknown; what: RegExp }>>> = {
    'B52 plain http': {
      text: { receivers: [{ ...receiver, issuer: 'http://idp.example' }] },
      what: /not https/u,
    },
    'B52 plain http elsewhere': {
      text: { receivers: [{ ...receiver, issuer: 'http://idp.example', unsafe_http: true }] },
      what: /not on this machine/u,
    },
    'B53 nobody to speak of': {
      text: { receivers: [{ ...receiver, subjects: {} }] },
      what: /has no subjects/u,
    },
    'B53 whoever it likes': {
      text: { receivers: [{ ...receiver, subjects: { template: '{id}' } }] },
      what: /not written `Type\/\{id\}`/u,
    },
    'B54 silence that is sooner than the question': {
      text: { receivers: [{ ...receiver, verify: '10m', silence: '10m' }] },
      what: /before it was asked/u,
    },
    'an unknown issuer': {
      text: { receivers: [{ ...receiver, subjects: { accounts: ['x'] } }] },
      what: /`x`/u,
    },
    'private keys': {
      text: { receivers: [{ ...receiver, jwks: 'private.json' }] },
      what: /keys that are none/u,
    },
    'a file that is not there': {
      text: { receivers: [{ ...receiver, jwks: 'none.json' }] },
      what: /cannot be read/u,
    },
    twice: { text: { receivers: [receiver, receiver] }, what: /twice/u },
    'nowhere to poll': {
      text: { receivers: [{ ...receiver, delivery: 'poll', manage: false }] },
      what: /where to poll/u,
    },
    'nowhere to push': {
      text: { transmitter: { receivers: [{ ...listener, delivery: 'push' }] } },
      what: /no `endpoint`/u,
    },
    'B3 plain http to push to': {
      text: {
        transmitter: { receivers: [{ ...listener, delivery: 'push', endpoint: 'http://x.example/' }] },
      },
      what: /not https/u,
    },
    'two that poll as one': {
      text: { transmitter: { receivers: [listener, { ...listener, name: 'b' }] } },
      what: /twice/u,
    },
    'B53 one issuer with two sets of subjects for one audience': {
      text: {
        receivers: [
          receiver,
          { ...receiver, name: 'b', audiences: ['https://other.example', 'https://writ.example'] },
        ],
      },
      what: /issuer and audience `https:\/\/idp.example https:\/\/writ.example` twice/u,
    },
    'an algorithm of shared secrets': {
      text: { receivers: [{ ...receiver, algorithms: ['HS256'] }] },
      what: /HS256|is not one of/u,
    },
  }
  for (const [name, { text, what }] of Object.entries(wrong)) {
    test(`${name} is refused`, () => {
      assert.throws(
        () => load(text),
        (error) =>
          (isWritError(error, 'ERR_CONFIG_INVALID') || error instanceof z.ZodError) &&
          what.test(error.message),
      )
    })
  }
})
