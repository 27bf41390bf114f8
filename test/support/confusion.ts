/**
 * Tokens that nobody should accept, made from one that is good: every confusion of algorithm, key, form and header in the
 * manner of Wycheproof, whatever the token is for.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { CompactEncrypt } from 'jose'
import type { Claims, SigningKey } from './issuer.ts'
import { base64url, mintRaw, publicJwk, publicPem, testKey } from './issuer.ts'

type Members = Readonly<Record<string, unknown>>

/** A good token, and the key that it is signed with. */
export type Good = Readonly<{
  key: SigningKey
  header: Members
  claims: Claims
  /** The key is the one in `jwk` of the header, so that the header says which it is (RFC 9449). */
  embedded?: boolean
}>

/** `key`: algorithm, key or signature are wrong; `form`: the rest is. */
export type Wrong = Readonly<{ name: string; token: string; kind: 'key' | 'form' }>

const text = (value: unknown): string => JSON.stringify(value)

/** Members as text with some of them twice: `first` before, `last` after. */
const twice = (members: Members, first: string, last: string): string => {
  const body = text(members).slice(1, -1)
  return `{${[first, body, last].filter((one) => one !== '').join(',')}}`
}

/** Everything wrong that can be made of one good token. */
export async function confusions({ key, header, claims, embedded = false }: Good): Promise<readonly Wrong[]> {
  const found: Wrong[] = []
  let kind: Wrong['kind'] = 'key'
  const add = (name: string, token: string): void => void found.push({ name, token, kind })
  const signed = (
    more: Members | string,
    body: Members | string = claims,
    by: KeyObject | Uint8Array = key.privateKey,
    alg = key.alg,
  ): string => mintRaw(typeof more === 'string' ? more : { ...header, ...more }, body, by, alg)
  const good = signed({})
  const [head = '', body = '', tail = ''] = good.split('.')
  const stranger = strangerTo(key)

  // no algorithm
  for (const alg of ['none', 'None', 'NONE', 'nOnE', 'none ', '', 'null']) {
    const unsigned = mintRaw({ ...header, alg }, claims, undefined, 'none')
    add(`alg ${text(alg)} without a signature`, unsigned)
    add(`alg ${text(alg)} without a third part`, unsigned.slice(0, -1))
    add(`alg ${text(alg)} with the good signature`, unsigned + tail)
    add(`alg ${text(alg)} with its own signature`, signed({ alg }))
  }
  for (const alg of [undefined, null, 0, [key.alg], {}]) add(`alg ${text(alg) ?? 'absent'}`, signed({ alg }))
  add('nothing signed', `${head}.${body}.`)

  // the public key as a secret
  for (const [form, secret] of secretsOf(key)) {
    for (const alg of form === 'PEM' ? ['HS256', 'HS384', 'HS512'] : ['HS256']) {
      add(`${alg} with the public key as ${form}`, signed({ alg }, claims, secret, alg))
    }
    add(`HMAC under ${key.alg} with the public key as ${form}`, signed({}, claims, secret, 'HS256'))
  }

  // another algorithm, another key
  for (const [alg, other] of Object.entries(otherAlgorithms)) {
    if (alg === key.alg || alike(alg, key.alg)) continue
    const own = testKey(other)
    add(`${key.alg} said, ${alg} signed`, signed({}, claims, own.privateKey, alg))
    add(`${alg} said and signed with another key`, signed({ alg }, claims, own.privateKey, alg))
    add(`${alg} said, ${key.alg} signed`, signed({ alg }))
  }
  if (key.alg.startsWith('RS')) {
    add('PS256 said and signed with the same key', signed({ alg: 'PS256' }, claims, key.privateKey, 'PS256'))
    add('RS256 said, PS256 signed with the same key', signed({}, claims, key.privateKey, 'PS256'))
    add('RS512 said and signed with the same key', signed({ alg: 'RS512' }, claims, key.privateKey, 'RS512'))
  }
  if (key.alg === 'ES256') {
    const wide = testKey('ES384')
    add('ES256 by a P-384 key', signed({}, claims, wide.privateKey, 'ES256'))
    const bitcoin = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
    add('ES256 by a secp256k1 key', signed({}, claims, bitcoin.privateKey, 'ES256'))
    add('ES256K', signed({ alg: 'ES256K' }, claims, bitcoin.privateKey, 'ES256'))
    add('ES384 with the same key', signed({ alg: 'ES384' }, claims, key.privateKey, 'ES384'))
  }
  if (alike('EdDSA', key.alg)) {
    const ed448 = generateKeyPairSync('ed448')
    add('Ed448', signed({}, claims, ed448.privateKey, 'EdDSA'))
    add('Ed448 by name', signed({ alg: 'Ed448' }, claims, ed448.privateKey, 'EdDSA'))
    add('Ed25519ph', signed({ alg: 'Ed25519ph' }))
  }
  add('a stranger’s signature', signed({}, claims, stranger.privateKey))

  // the signature itself
  const signature = Buffer.from(tail, 'base64url')
  for (const [name, bytes] of signaturesLike(signature, key, `${head}.${body}`)) {
    add(`signature ${name}`, `${head}.${body}.${base64url(bytes)}`)
  }
  const another = signed({}, { ...claims, jti: 'another' }).split('.')[2] ?? ''
  add('the signature of another token', `${head}.${body}.${another}`)

  // what the header would command
  kind = 'form'
  for (const crit of [['exp'], ['x'], [], 'b64', ['b64'], null]) {
    add(`crit ${text(crit)}`, signed({ crit, ...(text(crit).includes('b64') ? { b64: false } : {}) }))
  }
  for (const b64 of [true, false]) add(`b64 ${b64}`, signed({ b64 }))
  const plain = `${base64url(text({ ...header, b64: false, crit: ['b64'] }))}.${text(claims)}`
  add('an unencoded payload', `${plain}.${base64url(rawSignature(plain, key))}`)
  add('a detached payload', `${head}..${tail}`)
  const jwk = publicJwk(stranger)
  const certificate = base64url('not a certificate')
  for (const more of [
    ...(embedded ? [] : [{ jwk }]),
    { jku: 'https://evil.example/keys' },
    { x5u: 'https://evil.example/certificate' },
    { x5c: [certificate], x5t: certificate, 'x5t#S256': certificate },
  ]) {
    const [name] = Object.keys(more)
    add(
      `${name} of a stranger, by its name`,
      signed({ ...more, kid: stranger.kid }, claims, stranger.privateKey),
    )
    add(`${name} of a stranger, by the good name`, signed(more, claims, stranger.privateKey))
  }
  for (const kid of [
    '../../../../dev/null',
    '/dev/null',
    'https://evil.example/key',
    "' OR '1'='1",
    '__proto__',
    'constructor',
    '',
    '|id',
  ]) {
    add(
      `kid ${text(kid)} with an empty secret`,
      signed({ kid, alg: 'HS256' }, claims, new Uint8Array(), 'HS256'),
    )
    add(`kid ${text(kid)} of a stranger`, signed({ kid }, claims, stranger.privateKey))
  }
  for (const kid of [7, null, ['a'], { kid: 'a' }, 'x'.repeat(300)])
    add(`kid ${text(kid).slice(0, 20)}`, signed({ kid }))
  if (embedded) {
    add('no key', signed({ jwk: undefined }))
    add('a stranger’s key', signed({ jwk }))
    add('a private key', signed({ jwk: key.privateKey.export({ format: 'jwk' }) }))
    add(
      'a shared key',
      signed({ alg: 'HS256', jwk: { kty: 'oct', k: 'AAAA' } }, claims, Buffer.alloc(3), 'HS256'),
    )
    add('a key by address', signed({ jwk: undefined, jku: 'https://evil.example/keys' }))
    add('a certificate', signed({ jwk: undefined, x5c: [certificate] }))
    for (const wrong of [null, [], 'x', {}, { kty: 'EC' }, { ...jwk, y: jwk['x'] }]) {
      add(`jwk ${text(wrong).slice(0, 30)}`, signed({ jwk: wrong }))
    }
  }

  // types that are none
  const typ = typeof header['typ'] === 'string' ? header['typ'] : 'JWT'
  for (const form of [
    typ.toUpperCase(),
    typ.toLowerCase(),
    `application/${typ}`,
    `${typ} `,
    `${typ}; v=1`,
    `${typ}\u0000`,
  ]) {
    if (form !== typ) add(`typ ${text(form)}`, signed({ typ: form }))
  }
  for (const form of [null, 7, [typ], {}, '']) add(`typ ${text(form)}`, signed({ typ: form }))

  // one thing said twice
  for (const [name, first, last] of [
    ['alg', '"alg":"none"', ''],
    ['alg after', '', '"alg":"none"'],
    ['kid', '"kid":"x"', ''],
    ['typ', '"typ":"x"', ''],
    ['alg in escapes', '', '"\\u0061lg":"none"'],
  ] as const) {
    const whole = { kid: 'y', typ: 'JWT', ...header }
    add(`header ${name} twice`, signed(twice(whole, first, last)))
  }
  for (const name of Object.keys(claims)) {
    add(`claim ${name} twice`, signed({}, twice(claims, `${text(name)}:"x"`, '')))
    add(`claim ${name} twice, the last in escapes`, signed({}, twice(claims, '', `${escaped(name)}:"x"`)))
  }
  add('a prototype', signed({}, twice(claims, '', '"__proto__":{"sub":"root"}')))
  add('a prototype in the header', signed(twice(header, '', '"__proto__":{"alg":"none"}')))

  // other spellings of the same bytes
  for (const [at, part] of [head, body, tail].entries()) {
    const name = ['header', 'claims', 'signature'][at]
    const put = (other: string): string => [head, body, tail].with(at, other).join('.')
    for (const [how, other] of [
      ['padded', `${part}=`],
      ['padded twice', `${part}==`],
      ['with a space', `${part.slice(0, 8)} ${part.slice(8)}`],
      ['on two lines', `${part.slice(0, 8)}\n${part.slice(8)}`],
      ['with a tab', `${part}\t`],
      ['in percent', part.replaceAll(/[AQ]/g, (one) => `%${one.charCodeAt(0).toString(16)}`)],
      ['in the other alphabet', part.replaceAll('-', '+').replaceAll('_', '/')],
      ['with loose last bits', looseBits(part)],
    ] as const) {
      if (other !== undefined && other !== part) add(`${name} ${how}`, put(other))
    }
  }

  // other forms
  add('JSON, flattened', text({ protected: head, payload: body, signature: tail }))
  add('JSON, general', text({ payload: body, signatures: [{ protected: head, signature: tail }] }))
  add('JSON, unprotected', text({ header: { ...header, alg: key.alg }, payload: body, signature: tail }))
  add('in quotes', text(good))
  for (const [name, token] of [
    ['one part', head],
    ['two parts', `${head}.${body}`],
    ['four parts', `${good}.${tail}`],
    ['a dot behind', `${good}.`],
    ['a dot before', `.${good}`],
    ['five parts', `${good}.${tail}.${tail}`],
    ['dots alone', '..'],
    ['itself twice', `${good},${good}`],
    ['a prefix', `Bearer${good}`],
  ] as const) {
    add(name, token)
  }
  add('nested: a token as claims', signed({ cty: 'JWT' }, good))
  add('nested: a token in quotes', signed({ cty: 'JWT' }, text(good)))
  add('encrypted by name', signed({ enc: 'A256GCM' }))
  add('encrypted', await encrypted(good, key))
  for (const [name, raw] of [
    ['a list', '[]'],
    ['null', 'null'],
    ['a number', '7'],
    ['a byte order mark', `\ufeff${text(claims)}`],
    ['more behind', `${text(claims)}{}`],
    ['a comma behind', text(claims).replace(/\}$/u, ',}')],
    ['100 levels', `{"a":${'['.repeat(100)}${']'.repeat(100)}}`],
    ['a lone surrogate', twice(claims, '', '"x":"\\ud800"')],
    ['a control character', twice(claims, '', '"x":"\\u0000"')],
    ['no text', ''],
  ] as const) {
    add(`claims are ${name}`, signed({}, raw))
    if (!name.includes('byte') && !raw.includes('"x"')) add(`the header is ${name}`, signed(raw))
  }
  const bytes = `${head}.${base64url(Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xff]), Buffer.from('"}')]))}`
  add('claims that are no text', `${bytes}.${base64url(rawSignature(bytes, key))}`)
  return found
}

/** A key of the same kind that nobody trusts. */
const strangerTo = (key: SigningKey): SigningKey => ({ ...testKey(key.alg, 7), kid: 'stranger' })

const alike = (one: string, two: string): boolean =>
  [one, two].every((alg) => alg === 'EdDSA' || alg === 'Ed25519')

/** By algorithm, the key that signs with it. */
const otherAlgorithms: Readonly<Record<string, string>> = {
  ES256: 'ES256',
  ES384: 'ES384',
  ES512: 'ES512',
  RS256: 'RS256',
  PS256: 'RS256',
  RS384: 'RS256',
  EdDSA: 'EdDSA',
}

/** The public key in every form that a library might take for a secret. */
function secretsOf(key: SigningKey): readonly (readonly [string, Uint8Array])[] {
  const pem = publicPem(key)
  const members = key.publicKey.export({ format: 'jwk' })
  const der = key.publicKey.export({ format: 'der', type: 'spki' })
  const forms: Readonly<Record<string, string | Uint8Array>> = {
    PEM: pem,
    'PEM without its last line break': pem.trim(),
    'PEM with other line breaks': pem.replaceAll('\n', '\r\n'),
    'PEM behind a space': ` ${pem}`,
    DER: der,
    'DER in base64': der.toString('base64'),
    JWK: text(publicJwk(key)),
    'bare JWK': text(members),
    'its first number': Buffer.from(members.x ?? members.n ?? '', 'base64url'),
    'its name': key.kid,
    nothing: '',
    ...(key.publicKey.asymmetricKeyType === 'rsa'
      ? { 'PKCS #1': String(key.publicKey.export({ format: 'pem', type: 'pkcs1' })) }
      : {}),
  }
  return Object.entries(forms).map(([name, form]) => [name, Buffer.from(form)] as const)
}

const ORDER = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')
/** Of Ed25519, little-endian. */
const ED_ORDER = 2n ** 252n + 27742317777372353535851937790883648493n
const number = (bytes: Uint8Array): bigint => BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
const bytesOf = (value: bigint, length = 32): Buffer =>
  Buffer.from(value.toString(16).padStart(2 * length, '0'), 'hex')

function signaturesLike(
  signature: Buffer,
  key: SigningKey,
  input: string,
): readonly (readonly [string, Uint8Array])[] {
  const { length } = signature
  const common: readonly (readonly [string, Uint8Array])[] = [
    ['cut before', signature.subarray(1)],
    ['cut behind', signature.subarray(0, -1)],
    ['of half its length', signature.subarray(0, length / 2)],
    ['grown behind', Buffer.concat([signature, Buffer.alloc(1)])],
    ['grown before', Buffer.concat([Buffer.alloc(1), signature])],
    ['twice', Buffer.concat([signature, signature])],
    ['backwards', Buffer.from(signature).reverse()],
    ['of zeros', Buffer.alloc(length)],
    ['of ones', Buffer.alloc(length, 255)],
    ['of one byte', Buffer.alloc(1)],
    [
      'with one bit more',
      Buffer.concat([signature.subarray(0, -1), Buffer.from([(signature.at(-1) ?? 0) ^ 1])]),
    ],
    ['as text', Buffer.from(signature.toString('base64url'))],
    ['that is a hash', createHmac('sha256', '').update(input).digest()],
  ]
  if (key.alg === 'ES256') {
    const [r, s] = [signature.subarray(0, 32), signature.subarray(32)]
    return [
      ...common,
      ['as DER', sign('sha256', Buffer.from(input), key.privateKey)],
      ['swapped', Buffer.concat([s, r])],
      ['with r 0', Buffer.concat([bytesOf(0n), s])],
      ['with s 0', Buffer.concat([r, bytesOf(0n)])],
      ['with r the order', Buffer.concat([bytesOf(ORDER), s])],
      ['with s the order', Buffer.concat([r, bytesOf(ORDER)])],
      ['with r and s 1', Buffer.concat([bytesOf(1n), bytesOf(1n)])],
      ['with s beyond the order', Buffer.concat([r, bytesOf(number(s) + ORDER, 33)])],
      ['with r beyond the order', Buffer.concat([bytesOf(number(r) + ORDER, 33), s])],
      ['in parts that are too long', Buffer.concat([Buffer.alloc(16), r, Buffer.alloc(16), s])],
    ]
  }
  if (alike('EdDSA', key.alg)) {
    const s = number(Buffer.from(signature.subarray(32)).reverse())
    const beyond = bytesOf(s + ED_ORDER).reverse()
    return [
      ...common,
      ['with S beyond the order', Buffer.concat([signature.subarray(0, 32), beyond])],
      ['with S 0', Buffer.concat([signature.subarray(0, 32), Buffer.alloc(32)])],
      ['with the neutral point', Buffer.concat([Buffer.from([1]), Buffer.alloc(63)])],
    ]
  }
  const modulus = number(Buffer.from(key.publicKey.export({ format: 'jwk' }).n ?? '', 'base64url'))
  const beyond = number(signature) + modulus
  return [
    ...common,
    ['beyond the modulus', bytesOf(beyond, Math.ceil(beyond.toString(16).length / 2))],
    ['that is the modulus', bytesOf(modulus, length)],
    ['that is 1', bytesOf(1n, length)],
  ]
}

function rawSignature(input: string, { alg, privateKey }: SigningKey): Uint8Array {
  const bytes = Buffer.from(input)
  if (alike('EdDSA', alg)) return sign(null, bytes, privateKey)
  return alg.startsWith('ES')
    ? sign(`sha${alg.slice(-3)}`, bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' })
    : sign(`sha${alg.slice(-3)}`, bytes, privateKey)
}

/** The same bytes with another last character, as decoders that look away read it. */
function looseBits(part: string): string | undefined {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const next = alphabet[alphabet.indexOf(part.at(-1) ?? '') + 1]
  if (next === undefined) return undefined
  const loose = part.slice(0, -1) + next
  return Buffer.from(loose, 'base64url').equals(Buffer.from(part, 'base64url')) ? loose : undefined
}

/** A member's name with its first letter as an escape. */
const escaped = (name: string): string =>
  `"\\u${(name.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}${name.slice(1)}"`

/** The good token, encrypted to the very key that signed it, as far as that is a key to encrypt to. */
async function encrypted(token: string, key: SigningKey): Promise<string> {
  const kind = key.publicKey.asymmetricKeyType
  const to = kind === 'ed25519' ? testKey('RS256').publicKey : key.publicKey
  const alg = to.asymmetricKeyType === 'rsa' ? 'RSA-OAEP-256' : 'ECDH-ES'
  return new CompactEncrypt(Buffer.from(token))
    .setProtectedHeader({ alg, enc: 'A128GCM', cty: 'JWT', kid: key.kid })
    .encrypt(to)
}
