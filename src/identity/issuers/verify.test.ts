import assert from 'node:assert/strict'
import { createHash, sign } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import type { Claims, SigningKey } from '../../../test/support/issuer.ts'
import {
  TEST_AUDIENCE,
  TestIssuer,
  base64url,
  mintRaw,
  publicJwk,
  publicPem,
  testKey,
  testVerifier,
} from '../../../test/support/issuer.ts'
import { TEST_START as NOW } from '../../../test/support/store.ts'
import type { Json } from '../../model/canonical.ts'
import { refKey } from '../../model/entity.ts'
import type { Proved } from '../../model/identity.ts'
import type { Issuer, IssuerInput, IssuerKind, Jwk } from '../../model/issuer.ts'
import { issuerKinds, makeIssuer } from '../../model/issuer.ts'
import type { RefusalCode } from './refusal.ts'
import { TOKEN_MOST } from './token.ts'
import type { Verifier } from './verify.ts'

/** An issuer whose keys are configured: nothing is fetched. */
function withKeys(keys: readonly SigningKey[], more: Partial<IssuerInput> = {}): Issuer {
  return makeIssuer({
    name: 'ci',
    issuer: 'https://ci.example',
    audiences: [TEST_AUDIENCE],
    algorithms: [...new Set(keys.map(({ alg }) => alg))],
    keys: { from: 'jwks', keys: keys.map((key) => publicJwk(key)) },
    ...more,
  })
}

const at = Math.floor(NOW / 1_000)
const good: Claims = {
  iss: 'https://ci.example',
  aud: TEST_AUDIENCE,
  sub: 'orders',
  iat: at,
  exp: at + 300,
  jti: 'j1',
}
const headerOf = (key: SigningKey) => ({ alg: key.alg, kid: key.kid, typ: 'JWT' })

async function proves(verifier: Verifier, token: string, now = NOW): Promise<Proved> {
  const { proved, refused } = await verifier.verify(token, now)
  assert.equal(refused, undefined)
  return proved
}

async function refuses(verifier: Verifier, token: string, code?: RefusalCode, now = NOW): Promise<void> {
  const { proved, refused } = await verifier.verify(token, now)
  assert.equal(proved, undefined, `proved by ${token.slice(0, 400)}`)
  assert.match(refused?.sentence ?? '', /^[a-z].*[^.]$/u)
  if (code !== undefined) assert.equal(refused?.code, code, refused?.detail)
}

describe('B4 type, audience and issuer are exact', () => {
  const key = testKey('ES256')
  const verifier = testVerifier([withKeys([key])])
  const types = [
    'JWT',
    'jwt',
    'at+jwt',
    'logout+jwt',
    'secevent+jwt',
    'dpop+jwt',
    'wit+jwt',
    '',
    undefined,
    7,
  ]
  const audiences = [
    TEST_AUDIENCE,
    `${TEST_AUDIENCE}/`,
    TEST_AUDIENCE.toUpperCase(),
    'https://else.example',
    [TEST_AUDIENCE],
    [TEST_AUDIENCE, 'https://else.example'],
    [TEST_AUDIENCE, TEST_AUDIENCE],
    [[TEST_AUDIENCE]],
    { 0: TEST_AUDIENCE },
    [],
    '',
    undefined,
  ]
  const issuers = [
    'https://ci.example',
    'https://ci.example/',
    'https://CI.example',
    'https://ci.example.evil.example',
    'http://ci.example',
    'ci',
    ['https://ci.example'],
    '',
    undefined,
  ]
  test('every wrong one, beside every other: only the right three together prove anything', async () => {
    let right = 0
    for (const [t, typ] of types.entries()) {
      for (const [a, aud] of audiences.entries()) {
        for (const [i, iss] of issuers.entries()) {
          const token = mintRaw({ ...headerOf(key), typ }, { ...good, aud, iss }, key.privateKey)
          const { proved } = await verifier.verify(token, NOW)
          const isRight = t === 0 && (a === 0 || a === 4) && i === 0
          assert.equal(proved !== undefined, isRight, JSON.stringify({ typ, aud, iss }))
          right += isRight ? 1 : 0
        }
      }
    }
    assert.equal(right, 2)
  })
  test('the one that is wrong is named', async () => {
    await refuses(verifier, mintRaw({ ...headerOf(key), typ: 'at+jwt' }, good, key.privateKey), 'type')
    await refuses(verifier, mintRaw(headerOf(key), { ...good, aud: 'x' }, key.privateKey), 'audience')
    await refuses(verifier, mintRaw(headerOf(key), { ...good, iss: 'x' }, key.privateKey), 'issuer')
  })
  test('a token of one issuer is never one of another, though both are trusted', async () => {
    const other = testKey('ES256', 1)
    const both = testVerifier([
      withKeys([key]),
      withKeys([other], {
        name: 'other',
        issuer: 'https://other.example',
        rules: [{ subject: { type: 'Other', claims: ['sub'] } }],
      }),
    ])
    await refuses(both, mintRaw(headerOf(other), good, other.privateKey), 'key')
    await refuses(both, mintRaw({ ...headerOf(other), kid: key.kid }, good, other.privateKey), 'signature')
    const token = mintRaw(headerOf(other), { ...good, iss: 'https://other.example' }, other.privateKey)
    assert.equal((await proves(both, token)).issuer, 'other')
  })
  test('logout tokens and security events prove nobody, also when everything else is right', async () => {
    for (const events of [{ 'http://schemas.openid.net/event/backchannel-logout': {} }, {}, null, false]) {
      await refuses(verifier, mintRaw(headerOf(key), { ...good, events }, key.privateKey), 'event')
    }
  })
})

describe('B1 the algorithm comes from the configuration', () => {
  const algorithms = [
    'ES256',
    'ES384',
    'ES512',
    'RS256',
    'RS384',
    'RS512',
    'PS256',
    'PS384',
    'PS512',
    'EdDSA',
    'Ed25519',
  ]
  const keyFor = (alg: string): SigningKey =>
    /^[RP]S/u.test(alg)
      ? { ...testKey('RS256'), alg }
      : { ...testKey(alg === 'Ed25519' ? 'EdDSA' : alg), alg }

  test('each algorithm verifies with its own key alone, whatever the header and the key set say', async () => {
    for (const trusted of algorithms) {
      const key = keyFor(trusted)
      // the key set says nothing about algorithms, so that nothing but the configuration does
      const keys = { from: 'jwks' as const, keys: [publicJwk(key, { alg: undefined })] }
      const verifier = testVerifier([withKeys([key], { keys })])
      for (const used of algorithms) {
        const other = keyFor(used)
        const token = mintRaw({ ...headerOf(key), alg: used }, good, other.privateKey, used)
        if (used === trusted) await proves(verifier, token)
        else await refuses(verifier, token, 'algorithm')
        // the header says what is trusted, the signature is another's
        const lie = mintRaw(headerOf(key), good, other.privateKey, used)
        if (used === trusted || sameSignature(used, trusted)) await proves(verifier, lie)
        else await refuses(verifier, lie, 'signature')
      }
    }
    function sameSignature(one: string, two: string): boolean {
      return [one, two].every((alg) => alg === 'EdDSA' || alg === 'Ed25519')
    }
  })
  test('no algorithm at all, in every spelling', async () => {
    const key = testKey('ES256')
    const verifier = testVerifier([withKeys([key])])
    for (const alg of [
      'none',
      'None',
      'NONE',
      'nOnE',
      'none ',
      '',
      ' ',
      null,
      0,
      false,
      [],
      ['ES256'],
      {},
      'null',
      undefined,
    ]) {
      const header = { ...headerOf(key), alg }
      const unsigned = mintRaw(header, good, undefined)
      for (const signature of ['', 'AAAA', base64url('none')]) await refuses(verifier, unsigned + signature)
      await refuses(verifier, unsigned.slice(0, -1))
      await refuses(verifier, mintRaw(header, good, key.privateKey, 'ES256'), 'algorithm')
    }
  })
  test('a public key is never a shared secret, in whatever form', async () => {
    for (const alg of ['RS256', 'ES256']) {
      const key = testKey(alg)
      const verifier = testVerifier([withKeys([key])])
      const pem = publicPem(key)
      const der = key.publicKey.export({ format: 'der', type: 'spki' })
      const jwk = JSON.stringify(publicJwk(key))
      const members = key.publicKey.export({ format: 'jwk' })
      const texts = [pem, pem.trim(), ` ${pem}`, `\n${pem}\n`, pem.replaceAll('\n', '\r\n'), jwk]
      texts.push(JSON.stringify(members), der.toString('base64'), key.kid, '', TEST_AUDIENCE)
      const secrets: Uint8Array[] = texts.map((text) => Buffer.from(text))
      secrets.push(der, Buffer.from(members.x ?? members.n ?? '', 'base64url'))
      for (const secret of secrets) {
        for (const hmac of ['HS256', 'HS384', 'HS512']) {
          await refuses(verifier, mintRaw({ ...headerOf(key), alg: hmac }, good, secret), 'algorithm')
          await refuses(verifier, mintRaw(headerOf(key), good, secret, hmac), 'signature')
        }
      }
    }
  })
  test('a key that is said to be for one algorithm is for no other', async () => {
    const key = testKey('RS256')
    const verifier = testVerifier([withKeys([key], { algorithms: ['RS256', 'PS256', 'RS512'] })])
    await proves(verifier, mintRaw(headerOf(key), good, key.privateKey))
    for (const alg of ['PS256', 'RS512']) {
      await refuses(verifier, mintRaw({ ...headerOf(key), alg }, good, key.privateKey), 'key')
    }
  })
  test('a shared or private key in a key set is no key', async () => {
    const key = testKey('ES256')
    const secret = Buffer.alloc(32, 7)
    const rsa = publicJwk(testKey('RS256'))
    const odd = Buffer.from(rsa['n'] as string, 'base64url')
    const even = Buffer.from(odd)
    even.writeUInt8(even.readUInt8(255) ^ 1, 255)
    const weak = [
      ...[1, 2, 3, 65_535, 65_538].map((e) => ({ ...rsa, e: exponent(e), kid: `e-${e}` })),
      { ...rsa, e: base64url(Buffer.alloc(9, 1)), kid: 'e-long' },
      { ...rsa, e: 'AAAAAAE', kid: 'e-padded' },
      { ...rsa, n: base64url(even), kid: 'n-even' },
    ]
    await using issuer = await TestIssuer.start()
    issuer.keys = [key]
    issuer.document = {
      keys: [
        { kty: 'oct', k: secret.toString('base64url'), kid: 'shared', alg: 'ES256' },
        { ...(key.privateKey.export({ format: 'jwk' }) as Jwk), kid: 'private' },
        publicJwk(key, { kid: 'encrypts', use: 'enc' }),
        publicJwk(key, { kid: 'wraps', key_ops: ['wrapKey'] }),
        publicJwk(testKey('ES384'), { kid: 'wide', alg: undefined }),
        publicJwk(testKey('ES384'), { kid: 'lies', alg: 'ES256' }),
        publicJwk(key, { kid: 'off-curve', y: publicJwk(key)['x'] as Json }),
        { kty: 'RSA', n: base64url(Buffer.alloc(128, 255)), e: 'AQAB', kid: 'short' },
        ...weak,
        null,
        'x',
        publicJwk(key, { kid: 7 }),
      ],
    }
    const verifier = testVerifier([issuer.config('oidc', { algorithms: ['ES256', 'RS256'] })])
    for (const kid of ['shared', 'private', 'encrypts', 'wraps', 'off-curve', 'short']) {
      await refuses(verifier, issuer.mint('oidc', {}, { kid }), 'key')
    }
    for (const { kid } of weak) {
      const forged = mintByOne({ alg: 'RS256', kid, typ: 'JWT' }, issuer.claims())
      await refuses(verifier, forged, 'key')
    }
    const wide = testKey('ES384')
    for (const kid of ['wide', 'lies']) {
      await refuses(verifier, issuer.mint('oidc', {}, { kid, alg: 'ES256' }, { ...wide, kid }), 'key')
    }
    await refuses(verifier, issuer.mint('oidc', {}, { kid: undefined }), 'key')
    const hmac = mintRaw({ alg: 'HS256', kid: 'shared', typ: 'JWT' }, issuer.claims(), secret)
    await refuses(verifier, hmac, 'algorithm')
  })
})

const exponent = (value: number): string => {
  const hex = value.toString(16)
  return base64url(Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex'))
}

/** What everybody can make for a key whose exponent is one: the signature is the padded digest itself (RFC 8017 9.2). */
function mintByOne(header: Readonly<Record<string, unknown>>, claims: Claims): string {
  const input = [header, claims].map((part) => base64url(JSON.stringify(part))).join('.')
  const info = Buffer.from('3031300d060960864801650304020105000420', 'hex')
  const digest = createHash('sha256').update(input).digest()
  const padding = Buffer.alloc(256 - 3 - info.length - digest.length, 255)
  return `${input}.${base64url(Buffer.concat([Buffer.from([0, 1]), padding, Buffer.from([0]), info, digest]))}`
}

describe('B1 signatures in the manner of Wycheproof', () => {
  const order = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')
  const big = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
  const bytes32 = (value: bigint): Buffer => Buffer.from(value.toString(16).padStart(64, '0'), 'hex')

  for (const alg of ['ES256', 'RS256', 'PS256', 'EdDSA']) {
    const key = testKey(alg)
    const verifier = testVerifier([withKeys([key])])
    const token = mintRaw(headerOf(key), good, key.privateKey)
    const [header = '', claims = '', tail = ''] = token.split('.')
    const signature = Buffer.from(tail, 'base64url')
    const signed = (bytes: Uint8Array): string => `${header}.${claims}.${base64url(bytes)}`

    test(`${alg}: cut, grown, empty, zero and another token's`, async () => {
      await proves(verifier, token)
      const another = mintRaw(headerOf(key), { ...good, jti: 'j2' }, key.privateKey).split('.')[2] ?? ''
      const zeros = Buffer.alloc(signature.length)
      const wrong: Uint8Array[] = [
        signature.subarray(1),
        signature.subarray(0, -1),
        signature.subarray(0, signature.length / 2),
        Buffer.concat([signature, Buffer.alloc(1)]),
        Buffer.concat([Buffer.alloc(1), signature]),
        Buffer.concat([signature, signature]),
        Buffer.from(signature).reverse(),
        zeros,
        Buffer.alloc(signature.length, 255),
        Buffer.alloc(1),
        Buffer.from(another, 'base64url'),
      ]
      for (const bytes of wrong) await refuses(verifier, signed(bytes), 'signature')
      await refuses(verifier, signed(Buffer.alloc(0)), 'form')
      for (let bit = 0; bit < 8; bit++) {
        const flipped = Buffer.from(signature)
        flipped[bit * 3] = (flipped[bit * 3] as number) ^ (1 << bit)
        await refuses(verifier, signed(flipped), 'signature')
      }
    })
    test(`${alg}: the text of a token has one spelling`, async () => {
      const spellings = [
        `${token}=`,
        `${token}==`,
        `${token} `,
        ` ${token}`,
        `${token}\n`,
        `${token}.`,
        `.${token}`,
        `${header}..${tail}`,
        `${header}=.${claims}.${tail}`,
        `${header}.${claims}\n.${tail}`,
        `${header}.${claims}.${tail.slice(0, 8)} ${tail.slice(8)}`,
        token.replaceAll('-', '+').replaceAll('_', '/'),
        `${header}.${claims}`,
        `${header}.${claims}.${tail}.${tail}`,
        `${Buffer.from(header, 'base64url').toString('base64')}.${claims}.${tail}`,
        '',
        '..',
        '.',
      ].filter((one) => one !== token)
      for (const spelling of spellings) await refuses(verifier, spelling, 'form')
      // the last character of most lengths has bits that nothing says
      const loose = lastBits(tail)
      if (loose !== undefined) await refuses(verifier, `${header}.${claims}.${loose}`, 'form')
    })
    if (alg === 'ES256') {
      test('ES256: r and s out of range, swapped, or as DER', async () => {
        const [r, s] = [signature.subarray(0, 32), signature.subarray(32)]
        const der = sign('sha256', Buffer.from(`${header}.${claims}`), key.privateKey)
        const wrong = [
          Buffer.concat([s, r]),
          Buffer.concat([bytes32(0n), s]),
          Buffer.concat([r, bytes32(0n)]),
          Buffer.concat([bytes32(order), s]),
          Buffer.concat([bytes32(1n), bytes32(1n)]),
          Buffer.concat([r, bytes32(order)]),
          // psychic signatures (CVE-2022-21449)
          Buffer.alloc(64),
          der,
        ]
        for (const bytes of wrong) await refuses(verifier, signed(bytes), 'signature')
      })
      test('ES256: the other half of a signature is no other proof', async () => {
        const twin = Buffer.concat([signature.subarray(0, 32), bytes32(order - big(signature.subarray(32)))])
        const verdict = await verifier.verify(signed(twin), NOW)
        // mathematics lets both verify; what is proved, and the name it is spent under, are the same
        assert.deepEqual(verdict.proved, await proves(verifier, token))
      })
    }
  }

  /** The same bytes with another last character, as decoders that look away accept it. */
  function lastBits(part: string): string | undefined {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const next = alphabet[alphabet.indexOf(part.at(-1) ?? '') + 1]
    const loose = next === undefined ? undefined : part.slice(0, -1) + next
    if (loose === undefined) return undefined
    return Buffer.from(loose, 'base64url').equals(Buffer.from(part, 'base64url')) ? loose : undefined
  }

  test('no edit of a token proves anything', async () => {
    const key = testKey('ES256')
    const verifier = testVerifier([withKeys([key])])
    const token = mintRaw(headerOf(key), good, key.privateKey)
    const edit = fc.record({
      at: fc.nat({ max: token.length - 1 }),
      cut: fc.integer({ min: 0, max: 3 }),
      put: fc.oneof(
        fc.string({ maxLength: 3 }),
        fc.constantFrom('A', 'B', '=', '.', '-', '_', '\u0000', 'é'),
      ),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 4 }), async (edits) => {
        let text = token
        for (const { at, cut, put } of edits) text = text.slice(0, at) + put + text.slice(at + cut)
        fc.pre(text !== token)
        await refuses(verifier, text)
      }),
      { numRuns: 500 },
    )
  })
  test('no edit of what is signed proves anything, in bytes', async () => {
    const key = testKey('EdDSA')
    const verifier = testVerifier([withKeys([key])])
    const token = mintRaw(headerOf(key), good, key.privateKey)
    const parts = token.split('.').map((part) => Buffer.from(part, 'base64url'))
    const change = fc.tuple(fc.nat({ max: 2 }), fc.nat({ max: 10_000 }), fc.integer({ min: 1, max: 255 }))
    await fc.assert(
      fc.asyncProperty(change, async ([part, where, mask]) => {
        const changed = parts.map((bytes) => Buffer.from(bytes))
        const bytes = changed[part] as Buffer
        bytes[where % bytes.length] = (bytes[where % bytes.length] as number) ^ mask
        await refuses(verifier, changed.map(base64url).join('.'))
      }),
      { numRuns: 500 },
    )
  })
})

describe('B2 the header commands nothing', () => {
  const key = testKey('ES256')
  const evil = testKey('ES256', 3)
  const verifier = testVerifier([withKeys([key])])

  test('critical extensions are refused, and so is an unencoded payload', async () => {
    for (const more of [
      { crit: ['x'], x: 1 },
      { crit: ['exp'] },
      { crit: [] },
      { crit: 'b64' },
      { crit: ['b64'], b64: false },
      { b64: false },
      { b64: true },
    ]) {
      await refuses(verifier, mintRaw({ ...headerOf(key), ...more }, good, key.privateKey), 'header')
    }
  })
  test('keys, certificates and addresses in a token are not looked at', async () => {
    const jwk = publicJwk(evil)
    const more = {
      jwk,
      jku: 'https://evil.example/keys',
      x5u: 'https://evil.example/cert',
      x5c: [base64url('certificate')],
      x5t: 'AAAA',
    }
    await refuses(verifier, mintRaw({ ...headerOf(key), ...more }, good, evil.privateKey), 'signature')
    await refuses(verifier, mintRaw({ ...headerOf(evil), ...more }, good, evil.privateKey), 'key')
    await proves(verifier, mintRaw({ ...headerOf(key), ...more }, good, key.privateKey))
  })
  test('a key id is a name and nothing else', async () => {
    for (const kid of [
      '../../dev/null',
      "' OR 1=1 --",
      'https://evil.example',
      '__proto__',
      'constructor',
      '',
      `${key.kid} `,
      key.kid.toLowerCase(),
      'x'.repeat(300),
      7,
      null,
      [key.kid],
      { kid: key.kid },
    ]) {
      await refuses(verifier, mintRaw({ ...headerOf(key), kid }, good, key.privateKey))
    }
    await refuses(verifier, mintRaw({ ...headerOf(key), kid: 'a\u0000b' }, good, key.privateKey), 'text')
  })
  test('without a key id exactly one key must fit', async () => {
    const bare = { alg: 'ES256', typ: 'JWT' }
    await proves(verifier, mintRaw(bare, good, key.privateKey))
    const two = testVerifier([withKeys([key, evil])])
    await refuses(two, mintRaw(bare, good, key.privateKey), 'key')
    await proves(two, mintRaw(headerOf(evil), good, evil.privateKey))
    const same = { from: 'jwks' as const, keys: [publicJwk(key), publicJwk(evil, { kid: key.kid })] }
    await refuses(
      testVerifier([withKeys([key], { keys: same })]),
      mintRaw(headerOf(key), good, key.privateKey),
      'key',
    )
  })
  test('B76 encrypted, oversized, nested and garbled tokens are refused before a key is looked for', async () => {
    const jwe = `${base64url('{"alg":"RSA-OAEP","enc":"A256GCM"}')}.${'A'.repeat(20)}.AAAA.AAAA.AAAA`
    await refuses(verifier, jwe, 'encrypted')
    await refuses(verifier, mintRaw({ ...headerOf(key), enc: 'A256GCM' }, good, key.privateKey), 'encrypted')
    await refuses(
      verifier,
      mintRaw(headerOf(key), { ...good, pad: 'x'.repeat(100_000) }, key.privateKey),
      'size',
    )
    await refuses(verifier, 'a'.repeat(TOKEN_MOST + 1), 'size')
    await refuses(verifier, '.'.repeat(TOKEN_MOST), 'form')
    await refuses(verifier, mintRaw(headerOf(key), '['.repeat(5_000), key.privateKey, 'ES256'), 'form')
    await refuses(
      verifier,
      mintRaw(headerOf(key), '{"a":'.repeat(30) + '1' + '}'.repeat(30), key.privateKey),
      'form',
    )
    for (const body of ['[]', 'null', '7', '"x"', '', '{', '{"a":1}x', '\ufeff{}']) {
      await refuses(verifier, mintRaw(headerOf(key), body, key.privateKey), 'form')
      await refuses(verifier, mintRaw(body, good, key.privateKey, 'ES256'), 'form')
    }
    const bytes = Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xff]), Buffer.from('"}')])
    const input = `${base64url(JSON.stringify(headerOf(key)))}.${base64url(bytes)}`
    const tail = sign('sha256', Buffer.from(input), { key: key.privateKey, dsaEncoding: 'ieee-p1363' })
    await refuses(verifier, `${input}.${base64url(tail)}`, 'form')
  })
})

describe('claims', () => {
  const key = testKey('ES256')
  const verifier = testVerifier([withKeys([key])])
  const signed = (claims: Claims | string): string => mintRaw(headerOf(key), claims, key.privateKey)

  test('B31 clocks may differ by 60 seconds, and by nothing more', async () => {
    const end = (at + 300) * 1_000
    await proves(verifier, signed(good), end + 59_999)
    await refuses(verifier, signed(good), 'expired', end + 60_000)
    await proves(verifier, signed({ ...good, nbf: at + 60 }))
    await refuses(verifier, signed({ ...good, nbf: at + 61 }), 'early')
    await proves(verifier, signed({ ...good, iat: at + 60 }))
    await refuses(verifier, signed({ ...good, iat: at + 60.001 }), 'early')
    await refuses(verifier, signed({ ...good, auth_time: at + 61 }), 'early')
    for (const now of [Number.NaN, Infinity, -Infinity]) await refuses(verifier, signed(good), 'expired', now)
  })
  test('what is needed must be there, and be what it should be', async () => {
    for (const [name, values] of Object.entries({
      exp: [undefined, null, '9999999999', -1, 1e300, true, [at + 300], {}],
      nbf: [null, '0', -1, 1e20, []],
      iat: [null, 'now', -1, {}],
      sub: [undefined, null, '', 7, ['orders'], {}, 'x'.repeat(2_049)],
      jti: [null, 7, '', 'x'.repeat(600), ['j']],
      auth_time: [null, 'now'],
      acr: [1, null, ['x']],
      amr: ['pwd', [1], {}, null],
    })) {
      for (const value of values) {
        await refuses(verifier, signed({ ...good, [name]: value }), 'claims')
      }
    }
  })
  test('B56 a member stands once, however it is spelt', async () => {
    const body = JSON.stringify(good)
    for (const extra of ['"sub":"root"', '"s\\u0075b":"root"', '"aud":"x"', '"x":{"y":1,"y":2}']) {
      await refuses(verifier, signed(`${body.slice(0, -1)},${extra}}`), 'text')
      await refuses(verifier, signed(`{${extra},${body.slice(1)}`), 'text')
    }
    await refuses(verifier, signed(`${body.slice(0, -1)},"__proto__":{"sub":"root"}}`), 'text')
    const header = `{"alg":"none","alg":"ES256","kid":"${key.kid}","typ":"JWT"}`
    await refuses(verifier, mintRaw(header, good, key.privateKey, 'ES256'), 'text')
  })
  test('B7 an identity has one spelling, and is compared letter by letter', async () => {
    for (const sub of [
      'a\u200bb',
      'a\u0000b',
      ' a',
      'a ',
      'a\n',
      'e\u0301',
      '\ufeffa',
      'a\u202eb',
      'a\u00adb',
    ]) {
      await refuses(verifier, signed({ ...good, sub }))
    }
    await refuses(verifier, signed(`${JSON.stringify(good).slice(0, -1)},"x":"\\ud800"}`), 'text')
    await refuses(verifier, signed(`${JSON.stringify(good).slice(0, -1)},"\\udfff":1}`), 'text')
    // a star would be a pattern to somebody
    await refuses(verifier, signed({ ...good, sub: 'orders*' }), 'subject')
    const rules = testVerifier([
      withKeys([key], {
        rules: [
          { when: { sub: ['Orders', 'orders?', 'o*', '^orders$'] }, subject: { type: 'Service', id: 'x' } },
        ],
      }),
    ])
    for (const sub of ['orders', 'ORDERS', 'ordersx', 'o', 'ｏrders']) {
      await refuses(rules, signed({ ...good, sub }), 'subject')
    }
    await proves(rules, signed({ ...good, sub: 'Orders' }))
  })
  test('B7 ids joined of several claims are those of no other claims', async () => {
    const joined = testVerifier([
      withKeys([key], { rules: [{ subject: { type: 'Workload', claims: ['@issuer', 'a', 'b'] } }] }),
    ])
    const idOf = async (a: unknown, b: unknown) =>
      (await joined.verify(signed({ ...good, a, b }), NOW)).proved?.subject.id
    assert.equal(await idOf('x', 'y'), 'ci:x:y')
    assert.equal(await idOf('x:y', 'z'), 'ci:x%3Ay:z')
    assert.equal(await idOf('x', ''), undefined)
    assert.equal(await idOf('x', undefined), undefined)
    assert.equal(await idOf('x', ['y']), undefined)
    assert.equal(await idOf('x', { y: 1 }), undefined)
    assert.equal(await idOf('x', 2 ** 60), undefined)
    const word = fc.string({
      unit: fc.constantFrom('a', ':', '%', '3', 'A', '/'),
      minLength: 1,
      maxLength: 5,
    })
    await fc.assert(
      fc.asyncProperty(word, word, word, word, async (a, b, c, d) => {
        fc.pre(a !== c || b !== d)
        assert.notEqual(await idOf(a, b), await idOf(c, d))
      }),
      { numRuns: 200 },
    )
  })
  test('rules are tried in order, and lists and objects equal nothing', async () => {
    const rules = testVerifier([
      withKeys([key], {
        rules: [
          { when: { n: '7', flag: 'true' }, subject: { type: 'Service', id: 'first' } },
          { when: { n: ['7', '8'] }, subject: { type: 'Service', id: 'second' } },
          { when: { '/deep/a~1b/c': 'x' }, subject: { type: 'Service', id: 'third' } },
        ],
      }),
    ])
    const idOf = async (claims: Claims) =>
      (await rules.verify(signed({ ...good, ...claims }), NOW)).proved?.subject.id
    assert.equal(await idOf({ n: 7, flag: true }), 'first')
    assert.equal(await idOf({ n: '7', flag: false }), 'second')
    assert.equal(await idOf({ n: '8' }), 'second')
    assert.equal(await idOf({ n: ['7', '8'] }), undefined)
    assert.equal(await idOf({ n: 7.5 }), undefined)
    assert.equal(await idOf({ deep: { 'a/b': { c: 'x' } } }), 'third')
    assert.equal(await idOf({ '/deep/a~1b/c': ['x'], deep: { 'a/b': { c: 'x' } } }), 'third')
    assert.equal(await idOf({ '/deep/a~1b/c': 'x' }), undefined)
    assert.equal(await idOf({ '/deep/a~1b/c': 'x', deep: { 'a/b': { c: 'y' } } }), undefined)
    assert.equal(await idOf({}), undefined)
  })
  test('how and when a person signed in', async () => {
    const token = signed({ ...good, auth_time: at - 5, acr: 'phr', amr: ['hwk', 'user'] })
    assert.deepEqual((await proves(verifier, token)).auth, {
      at: (at - 5) * 1_000,
      acr: 'phr',
      amr: ['hwk', 'user'],
    })
    assert.equal((await proves(verifier, signed(good))).auth, undefined)
  })
  test('a binding that is not understood is not dropped', async () => {
    const jkt = createHash('sha256').update('key').digest('base64url')
    assert.equal((await proves(verifier, signed({ ...good, cnf: { jkt } }))).confirmed, jkt)
    for (const cnf of [
      null,
      {},
      [],
      'x',
      { jkt: 'x' },
      { jkt: 7 },
      { 'x5t#S256': jkt },
      { jkt, 'x5t#S256': jkt },
    ]) {
      await refuses(verifier, signed({ ...good, cnf }), 'confirmation')
    }
  })
})

describe('B29 actors', () => {
  const key = testKey('ES256')
  const verifier = testVerifier([
    withKeys([key], {
      rules: [
        {
          when: { sub: ['agent', 'planner', 'tool', 'd', 'e', 'f'] },
          subject: { type: 'Agent', claims: ['sub'] },
        },
        { when: { sub: 'ada' }, subject: { type: 'Person', id: 'ada' } },
      ],
    }),
  ])
  const signed = (claims: Claims): string =>
    mintRaw(headerOf(key), { ...good, sub: 'ada', ...claims }, key.privateKey)

  test('who acts asks; those it acts for are behind it, outermost first', async () => {
    const { subject, behind } = await proves(
      verifier,
      signed({ act: { sub: 'agent', act: { sub: 'planner' } } }),
    )
    assert.deepEqual([subject, ...behind].map(refKey), ['Agent/agent', 'Agent/planner', 'Person/ada'])
    assert.deepEqual((await proves(verifier, signed({}))).behind, [])
  })
  test('too many, loops, strangers and what is no actor', async () => {
    const nest = (names: readonly string[]): Claims | undefined =>
      names.length === 0
        ? undefined
        : { sub: names[0], ...(names.length > 1 ? { act: nest(names.slice(1)) } : {}) }
    await proves(verifier, signed({ act: nest(['agent', 'planner', 'tool', 'd']) }))
    await refuses(verifier, signed({ act: nest(['agent', 'planner', 'tool', 'd', 'e']) }), 'act')
    await refuses(verifier, signed({ act: nest(['agent', 'planner', 'agent']) }), 'act')
    await refuses(verifier, signed({ act: nest(['ada']) }), 'act')
    await refuses(verifier, signed({ act: nest(['agent', 'ada']) }), 'act')
    for (const act of [
      null,
      'agent',
      [],
      {},
      { sub: 7 },
      { sub: '' },
      { sub: 'stranger' },
      { sub: 'agent', iss: 'https://else.example' },
      { sub: 'agent', act: null },
    ]) {
      await refuses(verifier, signed({ act }), 'act')
    }
    await proves(verifier, signed({ act: { sub: 'agent', iss: 'https://ci.example' } }))
  })
})

describe('kinds', () => {
  let issuer: TestIssuer
  before(async () => {
    issuer = await TestIssuer.start()
  })
  after(async () => {
    await issuer[Symbol.asyncDispose]()
  })
  const verifierOf = (kind: IssuerKind, more: Partial<IssuerInput> = {}): Verifier =>
    testVerifier([issuer.config(kind, more)])

  test('each kind proves its workload, from keys that were fetched', async () => {
    const expected: Readonly<Record<IssuerKind, string>> = {
      oidc: 'Workload/orders-worker',
      github: 'Service/orders-ci',
      gitlab: 'Service/orders-ci',
      kubernetes: 'Workload/shop:orders:14ee3fa4-a7e2-420f-9f9a-dbc4507c3798',
      spiffe: 'Workload/ns/shop/sa/orders',
    }
    for (const kind of issuerKinds) {
      const proved = await proves(verifierOf(kind), issuer.mint(kind))
      assert.equal(refKey(proved.subject), expected[kind])
      assert.equal(proved.endsAt, (at + 300) * 1_000)
      assert.equal(proved.workload['issuer'], kind)
    }
  })
  test('a claim is read from where the configuration says that it stands, under the name that policies read', async () => {
    const workload = ['environment', 'image_digest=/container/digest', 'age=/container/age', 'x=/container']
    const container = { digest: 'sha256:1', age: 7 }
    const token = issuer.mint('oidc', { container, environment: 'production', image_digest: 'sha256:2' })
    const proved = await proves(verifierOf('oidc', { workload }), token)
    assert.deepEqual(proved.workload, {
      issuer: 'oidc',
      environment: 'production',
      image_digest: 'sha256:1',
      age: 7,
      x: container,
    })
    // what is not there is not made up of what is called alike
    const bare = await proves(
      verifierOf('oidc', { workload }),
      issuer.mint('oidc', { image_digest: 'sha256:2' }),
    )
    assert.deepEqual(bare.workload, { issuer: 'oidc' })
  })
  test('github: facts for policies, and the account that set it going', async () => {
    const proved = await proves(verifierOf('github'), issuer.mint('github'))
    assert.deepEqual(proved.instigator, { issuer: 'github', id: '31415' })
    // who runs it again is somebody else, whom the token does not name
    for (const [run_attempt, id] of [
      ['2', 'run/9876543210/2'],
      ['10', 'run/9876543210/10'],
      [undefined, 'run/9876543210/?'],
    ]) {
      const again = await proves(verifierOf('github'), issuer.mint('github', { run_attempt }))
      assert.deepEqual(again.instigator, { issuer: 'github', id })
    }
    await refuses(verifierOf('github'), issuer.mint('github', { run_attempt: '01' }), 'claims')
    const named = verifierOf('github', { instigator: 'actor' })
    const own = await proves(named, issuer.mint('github', { run_attempt: '2' }))
    assert.deepEqual(own.instigator, { issuer: 'github', id: 'ada' })
    const { repository_id, environment, job_workflow_ref, ref, event_name, workflow } = proved.workload
    assert.deepEqual(
      [repository_id, environment, job_workflow_ref, ref, event_name, workflow],
      [
        '456',
        'production',
        'acme/orders/.github/workflows/deploy.yml@refs/heads/main',
        'refs/heads/main',
        'push',
        undefined,
      ],
    )
    await refuses(verifierOf('github'), issuer.mint('github', { actor_id: undefined }), 'instigator')
    await refuses(verifierOf('github'), issuer.mint('github', { act: { sub: 'x' } }), 'act')
  })
  test('S03 a fork, another ref and another environment are somebody else', async () => {
    const verifier = verifierOf('github', {
      rules: [
        {
          when: { repository_id: '456', ref: 'refs/heads/main', environment: 'production' },
          subject: { type: 'Service', id: 'orders-ci' },
        },
      ],
    })
    await proves(verifier, issuer.mint('github'))
    for (const claims of [
      {
        sub: 'repo:mallory@66/orders@777:ref:refs/heads/main',
        repository_id: '777',
        repository_owner_id: '66',
      },
      { ref: 'refs/heads/evil', sub: 'repo:acme@123/orders@456:ref:refs/heads/evil' },
      { ref: 'refs/pull/1/merge', event_name: 'pull_request' },
      { environment: 'staging' },
      { environment: undefined },
    ]) {
      await refuses(verifier, issuer.mint('github', claims), 'subject')
    }
  })
  test('B5 a repository of the same name is another; its `sub` and its ids must agree', async () => {
    const verifier = verifierOf('github')
    const recycled = {
      repository: 'acme/orders',
      repository_id: '999',
      sub: 'repo:acme/orders:ref:refs/heads/main',
    }
    await refuses(verifier, issuer.mint('github', recycled), 'subject')
    await proves(verifier, issuer.mint('github', { sub: 'repo:acme/orders:ref:refs/heads/main' }))
    for (const claims of [
      { repository_id: '457' },
      { repository_owner_id: '124' },
      { sub: 'repo:acme@123/orders@457:ref:refs/heads/main' },
      { sub: 'repo:acme@123/orders@0456:ref:refs/heads/main' },
      { sub: 'repo:acme@123/orders:ref:refs/heads/main' },
      { sub: 'repo:acme@123/x/orders@456:ref:refs/heads/main' },
      { sub: 'repo:acme@x/orders@456:ref:refs/heads/main' },
      { repository_id: '0456' },
      { repository_id: '456 ' },
      { repository_id: '4e2' },
      { repository_id: ['456'] },
    ]) {
      await refuses(verifier, issuer.mint('github', claims), 'claims')
    }
    const bySub = verifierOf('github', {
      rules: [
        {
          when: { sub: 'repo:acme@123/orders@456:ref:refs/heads/main' },
          subject: { type: 'Service', id: 'orders-ci' },
        },
      ],
    })
    await proves(bySub, issuer.mint('github', { repository_id: undefined, repository_owner_id: undefined }))
    await refuses(bySub, issuer.mint('github', { sub: 'repo:acme/orders:ref:refs/heads/main' }), 'subject')
  })
  test('gitlab: the project is known by its id, its user set it going', async () => {
    const verifier = verifierOf('gitlab')
    const proved = await proves(verifier, issuer.mint('gitlab'))
    assert.deepEqual(proved.instigator, { issuer: 'gitlab', id: '42' })
    assert.equal(proved.workload['ref_protected'], 'true')
    await refuses(verifier, issuer.mint('gitlab', { project_id: '790' }), 'subject')
    await refuses(verifier, issuer.mint('gitlab', { project_id: '789x' }), 'claims')
    await refuses(verifier, issuer.mint('gitlab', { user_id: undefined }), 'instigator')
  })
  test('kubernetes: namespace and account agree with `sub`; an account made again is another', async () => {
    const verifier = verifierOf('kubernetes')
    const { workload } = await proves(verifier, issuer.mint('kubernetes'))
    assert.deepEqual(workload, {
      namespace: 'shop',
      service_account: 'orders',
      service_account_uid: '14ee3fa4-a7e2-420f-9f9a-dbc4507c3798',
      pod: 'orders-7c9d',
      pod_uid: '5b2b4e2f-3a60-4e1f-8b7a-f0c2a2a1d9a3',
      node: 'node-1',
      issuer: 'kubernetes',
    })
    const bound = issuer.claims('kubernetes')['kubernetes.io'] as Claims
    const again = { ...bound, serviceaccount: { name: 'orders', uid: 'another-uid' } }
    const { subject } = await proves(verifier, issuer.mint('kubernetes', { 'kubernetes.io': again }))
    assert.equal(subject.id, 'shop:orders:another-uid')
    for (const claims of [
      { sub: 'system:serviceaccount:shop:admin' },
      { sub: 'system:serviceaccount:kube-system:orders' },
      { sub: 'system:node:node-1' },
      { 'kubernetes.io': undefined },
      { 'kubernetes.io': { ...bound, namespace: 'kube-system' } },
      { 'kubernetes.io': { ...bound, serviceaccount: { name: 'orders' } } },
      { 'kubernetes.io': { ...bound, serviceaccount: { name: 'orders', uid: '' } } },
      { 'kubernetes.io': { ...bound, pod: { name: 'a b' } } },
    ]) {
      await refuses(verifier, issuer.mint('kubernetes', claims), 'claims')
    }
    // what only looks like a fact of this kind is not one
    const forged = { 'kubernetes.io': { ...bound, pod: undefined }, pod: 'admin-1', pod_uid: 'x' }
    assert.equal((await proves(verifier, issuer.mint('kubernetes', forged))).workload['pod'], undefined)
  })
  test('spiffe: the trust domain is exact, and bundles hold other keys as well', async () => {
    const verifier = verifierOf('spiffe')
    const proved = await proves(verifier, issuer.mint('spiffe'))
    assert.deepEqual(proved.workload, {
      trust_domain: 'prod.example',
      path: 'ns/shop/sa/orders',
      issuer: 'spiffe',
    })
    await proves(verifier, issuer.mint('spiffe', { iss: 'https://spire.example' }, { typ: undefined }))
    await proves(verifier, issuer.mint('spiffe', {}, { typ: 'JOSE' }))
    for (const sub of [
      'spiffe://prod.example',
      'spiffe://prod.example/',
      'spiffe://prod.example//a',
      'spiffe://prod.example/a/../b',
      'spiffe://prod.example/a/./b',
      'spiffe://prod.example/a/',
      'spiffe://prod.example/a%2fb',
      'spiffe://prod.example/ä',
      'spiffe://PROD.example/a',
      'spiffe://prod.example:8443/a',
      'spiffe://user@prod.example/a',
      'spiffe://other.example/a',
      'SPIFFE://prod.example/a',
      'https://prod.example/a',
      'prod.example/a',
    ]) {
      await refuses(verifier, issuer.mint('spiffe', { sub }), 'issuer')
    }
    const x509 = testKey('ES256', 9)
    await refuses(verifier, issuer.mint('spiffe', {}, { kid: undefined }, x509), 'key')
    for (const use of ['x509-svid', 'sig', undefined]) {
      issuer.document = { keys: [publicJwk(x509, { use, alg: undefined })] }
      await refuses(verifierOf('spiffe'), issuer.mint('spiffe', {}, {}, x509), 'key')
    }
    issuer.document = undefined
    await refuses(verifier, issuer.mint('spiffe', {}, { typ: 'at+jwt' }), 'type')
    await refuses(verifier, issuer.mint('spiffe', {}, { kid: 'other' }), 'key')
  })
  test('B4 no kind takes a token of another, though all are configured', async () => {
    // one server cannot be four issuers at once: those that share its address are configured one by one
    for (const kind of issuerKinds) {
      for (const other of issuerKinds) {
        if (kind === other || kind === 'oidc') continue
        const { proved } = await verifierOf(kind).verify(issuer.mint(other), NOW)
        assert.equal(proved, undefined, `${other} as ${kind}`)
      }
    }
  })
})

describe('token review', () => {
  const folder = mkdtempSync(join(tmpdir(), 'writ-review-'))
  after(() => rmSync(folder, { recursive: true }))
  const reviewed = (issuer: TestIssuer, token = 'reviewer'): Verifier => {
    const tokenFile = join(folder, 'token')
    writeFileSync(tokenFile, `${token}\n`)
    const url = `${issuer.url}/apis/authentication.k8s.io/v1/tokenreviews`
    return testVerifier([issuer.config('kubernetes', { tokenReview: { url, tokenFile } })])
  }
  test('the cluster confirms the token, each time', async () => {
    await using issuer = await TestIssuer.start()
    const verifier = reviewed(issuer)
    await proves(verifier, issuer.mint('kubernetes'))
    await proves(verifier, issuer.mint('kubernetes'))
    assert.equal(issuer.hits.review, 2)
  })
  test('B41 a pod that is gone, another account, another audience and no answer: refused', async () => {
    await using issuer = await TestIssuer.start()
    const verifier = reviewed(issuer)
    const token = issuer.mint('kubernetes')
    const user = {
      username: 'system:serviceaccount:shop:orders',
      uid: '14ee3fa4-a7e2-420f-9f9a-dbc4507c3798',
    }
    const right = { authenticated: true, user, audiences: [TEST_AUDIENCE] }
    issuer.review = () => right
    await proves(verifier, token)
    for (const answer of [
      { ...right, authenticated: false, error: 'pod is gone' },
      { ...right, authenticated: 'true' },
      { ...right, user: { ...user, username: 'system:serviceaccount:shop:admin' } },
      { ...right, user: { ...user, uid: 'another' } },
      { ...right, user: undefined },
      { ...right, audiences: undefined },
      { ...right, audiences: ['https://kubernetes.default.svc'] },
      undefined,
      {},
      [],
    ]) {
      issuer.review = () => answer
      await refuses(verifier, token, 'review')
    }
    issuer.review = undefined
    await proves(verifier, token)
    issuer.broken = 'down'
    await refuses(verifier, token, 'review')
  })
  test('without a right of its own to ask, nobody is proved', async () => {
    await using issuer = await TestIssuer.start()
    await refuses(reviewed(issuer, 'stranger'), issuer.mint('kubernetes'), 'review')
    await refuses(reviewed(issuer, ''), issuer.mint('kubernetes'), 'review')
    await refuses(reviewed(issuer, 'a\nb'), issuer.mint('kubernetes'), 'review')
  })
  test('a token whose signature is wrong is never shown to the cluster', async () => {
    await using issuer = await TestIssuer.start()
    const verifier = reviewed(issuer)
    const token = issuer.mint('kubernetes')
    await refuses(verifier, `${token.slice(0, -8)}AAAAAAAA`)
    assert.equal(issuer.hits.review, 0)
  })
})
