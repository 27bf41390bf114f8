/**
 * A passkey in software: what a device answers, and what one that lies would.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import type { PasskeyAnswer } from '../../src/flows/passkeys.ts'

type Asked = Readonly<{ nonce: string; options: Readonly<{ challenge: string; rpId?: string | undefined }> }>
type AskedNew = Readonly<{
  nonce: string
  options: Readonly<{ challenge: string; rp: Readonly<{ id?: string | undefined }> }>
}>

/** What is done otherwise than a browser and a device do it. */
export type Lies = Readonly<{
  origin?: string
  rpId?: string
  /** User present (1), user verified (4), backed up (8, 16). */
  flags?: number
  counter?: number
  type?: string
  challenge?: string
  crossOrigin?: boolean
  /** Somebody else's key. */
  key?: KeyObject
}>

const sha256 = (data: string | Uint8Array): Buffer => createHash('sha256').update(data).digest()
const url64 = (data: Uint8Array | string): string => Buffer.from(data).toString('base64url')

const VERIFIED = 0x05
const HAS_KEY = 0x40

export class Authenticator {
  readonly id: string = url64(randomBytes(16))
  readonly origin: string
  readonly #pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  counter = 0

  constructor(origin: string) {
    this.origin = origin
  }

  create({ nonce, options }: AskedNew, lies: Lies = {}): PasskeyAnswer {
    const { x = '', y = '' } = this.#pair.publicKey.export({ format: 'jwk' })
    const cose = map([
      [int(1), int(2)],
      [int(3), int(-7)],
      [int(-1), int(1)],
      [int(-2), bytes(Buffer.from(x, 'base64url'))],
      [int(-3), bytes(Buffer.from(y, 'base64url'))],
    ])
    const id = Buffer.from(this.id, 'base64url')
    const length = Buffer.alloc(2)
    length.writeUInt16BE(id.length)
    const authData = Buffer.concat([
      this.#head(options.rp.id ?? '', HAS_KEY, lies),
      Buffer.alloc(16),
      length,
      id,
      cose,
    ])
    const attestationObject = map([
      [text('fmt'), text('none')],
      [text('attStmt'), map([])],
      [text('authData'), bytes(authData)],
    ])
    return this.#answer(nonce, {
      clientDataJSON: this.#client('webauthn.create', options.challenge, lies),
      attestationObject: url64(attestationObject),
      transports: ['internal'],
    })
  }

  get({ nonce, options }: Asked, lies: Lies = {}): PasskeyAnswer {
    this.counter = lies.counter ?? this.counter + 1
    const authData = this.#head(options.rpId ?? '', 0, lies)
    const clientDataJSON = this.#client('webauthn.get', options.challenge, lies)
    const signed = Buffer.concat([authData, sha256(Buffer.from(clientDataJSON, 'base64url'))])
    return this.#answer(nonce, {
      clientDataJSON,
      authenticatorData: url64(authData),
      signature: url64(sign('sha256', signed, lies.key ?? this.#pair.privateKey)),
    })
  }

  #head(rpId: string, more: number, { rpId: other, flags = VERIFIED }: Lies): Buffer {
    const counter = Buffer.alloc(4)
    counter.writeUInt32BE(this.counter)
    return Buffer.concat([sha256(other ?? rpId), Buffer.from([flags | more]), counter])
  }

  #client(type: string, challenge: string, lies: Lies): string {
    const { origin = this.origin, crossOrigin = false } = lies
    return url64(
      JSON.stringify({
        type: lies.type ?? type,
        challenge: lies.challenge ?? challenge,
        origin,
        crossOrigin,
      }),
    )
  }

  #answer(nonce: string, response: Readonly<Record<string, unknown>>): PasskeyAnswer {
    const answer = { id: this.id, rawId: this.id, type: 'public-key', response, clientExtensionResults: {} }
    return { nonce, answer: JSON.stringify(answer), origin: this.origin }
  }
}

// CBOR (RFC 8949), as much of it as WebAuthn needs

function head(major: number, value: number): Buffer {
  if (value < 24) return Buffer.from([(major << 5) | value])
  if (value < 256) return Buffer.from([(major << 5) | 24, value])
  return Buffer.from([(major << 5) | 25, value >> 8, value & 255])
}
const int = (value: number): Buffer => (value < 0 ? head(1, -1 - value) : head(0, value))
const bytes = (value: Uint8Array): Buffer => Buffer.concat([head(2, value.length), value])
const text = (value: string): Buffer => Buffer.concat([head(3, Buffer.byteLength(value)), Buffer.from(value)])
const map = (entries: readonly (readonly [Buffer, Buffer])[]): Buffer =>
  Buffer.concat([head(5, entries.length), ...entries.flat()])
