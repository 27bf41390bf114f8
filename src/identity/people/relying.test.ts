import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import { base64url, mintRaw, publicJwk, testKey } from '../../../test/support/issuer.ts'
import type { SigningKey } from '../../../test/support/issuer.ts'
import { rogueIdp, rogueProvider } from '../../../test/support/rogue-idp.ts'
import { isWritError } from '../../model/errors.ts'
import { outboundFetcher } from '../../signals/fetcher.ts'
import { Secret } from '../../model/secret.ts'
import type { Begun, Provider, RelyingParty } from './relying.ts'
import { createRelyingParty } from './relying.ts'

const REDIRECT = 'https://writ.example/login/callback/corp'
const key = testKey('RS256')

type Claims = Record<string, unknown>

const rogue = () => rogueIdp(key)
const provider = rogueProvider

function party(providers: readonly Provider[]): RelyingParty {
  let count = 0
  return createRelyingParty({
    providers,
    fetch: outboundFetcher(),
    random: (bytes) => createHash('sha512').update(String(count++)).digest().subarray(0, bytes),
    monotonic: () => 0,
  })
}

const claimsFor = (issuer: string, { nonce }: Pick<Begun, 'nonce'>, over: Claims = {}): Claims => {
  const now = Math.floor(Date.now() / 1_000)
  return { iss: issuer, aud: 'writ', sub: 'u-1', nonce, iat: now, exp: now + 60, ...over }
}
const signed = (claims: Claims, signing: SigningKey = key, header: Claims = {}): string =>
  mintRaw({ alg: signing.alg, kid: signing.kid, ...header }, claims, signing.privateKey, signing.alg)
const answer = (idToken: string): Claims => ({ access_token: 'a', token_type: 'Bearer', id_token: idToken })

const back = (begun: Begun): URL => new URL(`${REDIRECT}?code=c&state=${begun.state}`)

describe('B8 a sign-in at a provider', () => {
  test('what is asked for is bound: PKCE, state, nonce and where it comes back to', async () => {
    await using at = await rogue()
    const relying = party([provider(at.issuer)])
    const { url, begun } = await relying.begin('corp', REDIRECT)
    const asked = new URL(url).searchParams
    assert.equal(asked.get('code_challenge'), createHash('sha256').update(begun.verifier).digest('base64url'))
    assert.deepEqual(
      [asked.get('code_challenge_method'), asked.get('redirect_uri'), asked.get('state'), asked.get('nonce')],
      ['S256', REDIRECT, begun.state, begun.nonce],
    )
    const other = await relying.begin('corp', REDIRECT)
    assert.equal(
      new Set([begun.state, begun.nonce, begun.verifier, other.begun.state, other.begun.nonce]).size,
      5,
    )
    at.how.begun = begun
    at.how.token = (of) =>
      answer(signed(claimsFor(at.issuer, of, { auth_time: 1, acr: 'x', amr: ['otp'], email: 'a@b' })))
    assert.deepEqual(await relying.finish(begun, back(begun)), {
      provider: 'corp',
      issuer: at.issuer,
      account: 'u-1',
      shown: 'a@b',
      authAt: 1_000,
      acr: 'x',
      amr: ['otp'],
    })
    assert.equal(at.how.forms[0]?.get('code_verifier'), begun.verifier)
    await assert.rejects(relying.begin('nobody', REDIRECT), (error) => isWritError(error, 'ERR_NOT_FOUND'))
  })

  const wrong: readonly (readonly [string, (issuer: string, begun: Begun) => unknown])[] = [
    ['another audience', (issuer, begun) => answer(signed(claimsFor(issuer, begun, { aud: 'other' })))],
    [
      'several audiences',
      (issuer, begun) => answer(signed(claimsFor(issuer, begun, { aud: ['writ', 'x'], azp: 'writ' }))),
    ],
    ['another issuer', (_, begun) => answer(signed(claimsFor('https://evil.example', begun)))],
    ['another nonce', (issuer, begun) => answer(signed(claimsFor(issuer, begun, { nonce: 'x' })))],
    ['no nonce', (issuer, begun) => answer(signed(claimsFor(issuer, begun, { nonce: undefined })))],
    ['one that has ended', (issuer, begun) => answer(signed(claimsFor(issuer, begun, { exp: 1, iat: 0 })))],
    ['no subject', (issuer, begun) => answer(signed(claimsFor(issuer, begun, { sub: undefined })))],
    ['an empty subject', (issuer, begun) => answer(signed(claimsFor(issuer, begun, { sub: '' })))],
    ['a subject of two lines', (issuer, begun) => answer(signed(claimsFor(issuer, begun, { sub: 'a\nb' })))],
    [
      'a very long subject',
      (issuer, begun) => answer(signed(claimsFor(issuer, begun, { sub: 'a'.repeat(257) }))),
    ],
    [
      'B7 a subject that reads backwards',
      (issuer, begun) => answer(signed(claimsFor(issuer, begun, { sub: 'u-\u202e1' }))),
    ],
    ['another key', (issuer, begun) => answer(signed(claimsFor(issuer, begun), testKey('RS256', 1)))],
    [
      'another key by that name',
      (issuer, begun) => answer(signed(claimsFor(issuer, begun), testKey('RS256', 1), { kid: key.kid })),
    ],
    ['another algorithm', (issuer, begun) => answer(signed(claimsFor(issuer, begun), testKey('ES256')))],
    [
      'no signature',
      (issuer, begun) => answer(mintRaw({ alg: 'none' }, claimsFor(issuer, begun), undefined, 'none')),
    ],
    [
      'the public key as a shared secret',
      (issuer, begun) =>
        answer(
          mintRaw(
            { alg: 'HS256', kid: key.kid },
            claimsFor(issuer, begun),
            Buffer.from(JSON.stringify(publicJwk(key))),
            'HS256',
          ),
        ),
    ],
    [
      'changed claims',
      (issuer, begun) => {
        const [head, , signature] = signed(claimsFor(issuer, begun)).split('.')
        return answer(
          [head, base64url(JSON.stringify(claimsFor(issuer, begun, { sub: 'root' }))), signature].join('.'),
        )
      },
    ],
    ['another type', (issuer, begun) => answer(signed(claimsFor(issuer, begun), key, { typ: 'logout+jwt' }))],
    ['an event', (issuer, begun) => answer(signed(claimsFor(issuer, begun, { events: {} })))],
    [
      'a member twice',
      (issuer, begun) => {
        const text = JSON.stringify(claimsFor(issuer, begun))
        const header = { alg: key.alg, kid: key.kid }
        return answer(mintRaw(header, `{"sub":"root",${text.slice(1)}`, key.privateKey, key.alg))
      },
    ],
    ['five parts', () => answer('a.b.c.d.e')],
    ['no ID token', () => ({ access_token: 'a', token_type: 'Bearer' })],
    ['no JSON', () => '<html>'],
    ['an array', () => []],
  ]
  for (const [what, token] of wrong) {
    test(`signs nobody in: ${what}`, async () => {
      await using at = await rogue()
      const relying = party([provider(at.issuer)])
      const { begun } = await relying.begin('corp', REDIRECT)
      at.how.begun = begun
      at.how.token = () => token(at.issuer, begun)
      await assert.rejects(relying.finish(begun, back(begun)), (error) =>
        isWritError(error, 'ERR_UNAUTHENTICATED'),
      )
    })
  }

  test('B5 the answer of another: mixed up, repeated, or begun when it was configured otherwise', async () => {
    await using at = await rogue()
    const relying = party([provider(at.issuer)])
    const { begun } = await relying.begin('corp', REDIRECT)
    at.how.begun = begun
    at.how.token = (of) => answer(signed(claimsFor(at.issuer, of)))
    const ways: ((url: URL) => void)[] = [
      (url) => url.searchParams.set('iss', 'https://evil.example'),
      (url) => url.searchParams.append('state', begun.state),
      (url) => url.searchParams.append('code', 'd'),
      (url) => url.searchParams.delete('code'),
      (url) => url.searchParams.set('error', 'access_denied'),
      (url) => (url.pathname = '/login/callback/other'),
      (url) => (url.host = 'evil.example'),
      (url) => url.searchParams.set('response', 'x.y.z'),
    ]
    for (const change of ways) {
      const url = back(begun)
      change(url)
      await assert.rejects(
        relying.finish(begun, url),
        (error) => isWritError(error, 'ERR_UNAUTHENTICATED'),
        url.href,
      )
    }
    await assert.rejects(
      relying.finish({ ...begun, issuer: 'https://before.example' }, back(begun)),
      (error) => isWritError(error, 'ERR_UNAUTHENTICATED'),
    )
  })

  test('B3 a provider that is down, another one, or in a private network is told without its address', async () => {
    await using at = await rogue()
    for (const [metadata, over] of [
      [{ issuer: 'https://evil.example' }, {}],
      [{}, { allowPrivate: false, issuer: at.issuer.replace('http:', 'https:') }],
    ] as const) {
      at.how.metadata = metadata
      const error = await party([provider(at.issuer, over)])
        .begin('corp', REDIRECT)
        .then(
          () => undefined,
          (found: unknown) => found,
        )
      assert.ok(isWritError(error, 'ERR_UNREACHABLE'), String(error))
      assert.doesNotMatch(`${error.message}${error.hint ?? ''}`, /127\.0\.0\.1/)
    }
  })

  test('what it says beside the subject is bounded, and never decides what is seen', async () => {
    await using at = await rogue()
    const relying = party([provider(at.issuer)])
    const { begun } = await relying.begin('corp', REDIRECT)
    at.how.begun = begun
    at.how.token = (of) =>
      answer(
        signed(
          claimsFor(at.issuer, of, {
            auth_time: 1e300,
            acr: 'a'.repeat(257),
            amr: ['b'.repeat(65), 7, 'otp', 'x\u200b'],
            email: 'grace\u202e@evil.example',
            preferred_username: 'G'.repeat(1_000),
          }),
        ),
      )
    assert.deepEqual(await relying.finish(begun, back(begun)), {
      provider: 'corp',
      issuer: at.issuer,
      account: 'u-1',
      shown: 'G'.repeat(256),
      amr: ['otp'],
    })
  })

  test('the device is what its claim says, or nobody is signed in', async () => {
    await using at = await rogue()
    const relying = party([{ ...provider(at.issuer), deviceClaim: 'device_id' }])
    const signIn = async (device: unknown) => {
      const { begun } = await relying.begin('corp', REDIRECT)
      at.how.begun = begun
      at.how.token = (of) => answer(signed(claimsFor(at.issuer, of, { device_id: device })))
      return (await relying.finish(begun, back(begun))).device
    }
    assert.equal(await signIn('laptop-7'), 'laptop-7')
    // one that no provider knows is told by none, and all of theirs count
    assert.equal(await signIn(undefined), undefined)
    for (const odd of ['', 7, 'a\nb', 'd'.repeat(257), ['laptop-7'], null])
      await assert.rejects(signIn(odd), (error) => isWritError(error, 'ERR_UNAUTHENTICATED'))
  })

  test('all who wait for a provider that is down are told so, not the first alone', async () => {
    await using at = await rogue()
    at.how.metadata = { issuer: 'https://evil.example' }
    const relying = party([provider(at.issuer)])
    const told = await Promise.allSettled([1, 2, 3].map(() => relying.begin('corp', REDIRECT)))
    for (const one of told) assert.ok(one.status === 'rejected' && isWritError(one.reason, 'ERR_UNREACHABLE'))
    at.how.metadata = {}
    assert.match((await relying.begin('corp', REDIRECT)).url, /authorize/)
  })

  test('a client proves itself with its key, or with a secret from a file', async () => {
    await using at = await rogue()
    for (const [proof, member] of [
      [{ kind: 'key', key: testKey('ES256').privateKey, keyId: 'k1' }, 'client_assertion'],
      [{ kind: 'secret', secret: new Secret('s3cret') }, 'client_secret'],
    ] as const) {
      const relying = party([provider(at.issuer, { proof })])
      const { begun } = await relying.begin('corp', REDIRECT)
      at.how.begun = begun
      at.how.token = (of) => answer(signed(claimsFor(at.issuer, of)))
      await relying.finish(begun, back(begun))
      assert.ok(at.how.forms.at(-1)?.has(member))
    }
  })
})
