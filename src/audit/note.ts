/**
 * Signed notes, checkpoints and cosignatures (C2SP signed-note, tlog-checkpoint, tlog-cosignature): a text, an empty line,
 * and one line per signature, `— name base64(key id ‖ signature)`.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import { createPublicKey, sign, verify } from 'node:crypto'
import { sha256 } from '../store/hash.ts'

/** The kinds of signatures that are known, by the byte that stands for them. */
export const signatureTypes = { log: 0x01, witness: 0x04 } as const
export type SignatureType = keyof typeof signatureTypes

/**
 * A key that signatures of `name` are verified with; written `name+0a1b2c3d+base64(type ‖ key)`.
 */
export type VerifierKey = Readonly<{
  name: string
  type: SignatureType
  /** The Ed25519 public key, 32 bytes. */
  raw: Uint8Array
  /** First four bytes of SHA-256(name ‖ LF ‖ type ‖ key), in lowercase hex. */
  id: string
}>

export type NoteSignature = Readonly<{ name: string; id: string; bytes: Uint8Array }>
/** `text` ends with a newline; it is what is signed. */
export type Note = Readonly<{ text: string; signatures: readonly NoteSignature[] }>

/** A signed head of a log, e.g. `{ origin: 'writ/inst_…', size: 17, root: '5dc9…' }` (root in lowercase hex). */
export type Checkpoint = Readonly<{ origin: string; size: number; root: string }>

/** More bytes, or signatures, than any checkpoint needs are refused before they are looked at. */
export const NOTE_LIMIT = 16_384
const MOST_SIGNATURES = 64
/** What a note must not hold: every control character of ASCII but the newline. */
const CONTROLS = /[\u0000-\u0009\u000b-\u001f]/u

/** Whether `name` may stand in a signature line: not empty, without white space and `+`. */
export const isKeyName = (name: string): boolean =>
  name !== '' && name.length <= 255 && !/[\s+\p{Cc}]/u.test(name)

export function verifierKey(name: string, type: SignatureType, raw: Uint8Array): VerifierKey {
  if (!isKeyName(name)) throw new TypeError('a key name has no white space and no `+`')
  if (raw.length !== 32) throw new TypeError('an Ed25519 key has 32 bytes')
  const typed = Buffer.concat([Buffer.from([signatureTypes[type]]), raw])
  const id = Buffer.from(sha256(Buffer.concat([Buffer.from(`${name}\n`), typed]))).toString('hex', 0, 4)
  return { name, type, raw, id }
}

export function formatVerifierKey(key: VerifierKey): string {
  const typed = Buffer.concat([Buffer.from([signatureTypes[key.type]]), key.raw])
  return `${key.name}+${key.id}+${typed.toString('base64')}`
}

/** `undefined` for what is no verifier key, or one whose id is not that of its name and key. */
export function parseVerifierKey(text: string): VerifierKey | undefined {
  const match = /^(?<name>[^+]+)\+(?<id>[0-9a-f]{8})\+(?<key>[A-Za-z0-9+/]{44})$/u.exec(text.trim())
  const { name, id, key: encoded } = match?.groups ?? {}
  if (name === undefined || encoded === undefined || !isKeyName(name)) return undefined
  const typed = fromBase64(encoded)
  const type = (Object.keys(signatureTypes) as SignatureType[]).find(
    (it) => signatureTypes[it] === typed?.[0],
  )
  if (typed?.length !== 33 || type === undefined) return undefined
  const key = verifierKey(name, type, typed.subarray(1))
  return key.id === id ? key : undefined
}

/** `undefined` for what is no signed note, in exactly the form that `formatNote` gives. */
export function parseNote(text: string): Note | undefined {
  if (Buffer.byteLength(text) > NOTE_LIMIT || !text.isWellFormed() || CONTROLS.test(text)) return undefined
  const cut = text.lastIndexOf('\n\n')
  if (cut === -1 || !text.endsWith('\n')) return undefined
  const lines = text.slice(cut + 2, -1).split('\n')
  if (lines.length > MOST_SIGNATURES) return undefined
  const signatures: NoteSignature[] = []
  for (const line of lines) {
    const match = /^— (?<name>\S+) (?<blob>[A-Za-z0-9+/]+={0,2})$/u.exec(line)
    const blob = match?.groups?.['blob'] === undefined ? undefined : fromBase64(match.groups['blob'])
    const name = match?.groups?.['name']
    if (name === undefined || !isKeyName(name) || blob === undefined || blob.length <= 4) return undefined
    signatures.push({ name, id: Buffer.from(blob).toString('hex', 0, 4), bytes: blob.subarray(4) })
  }
  const note = { text: text.slice(0, cut + 1), signatures }
  return formatNote(note) === text ? note : undefined
}

export function formatNote({ text, signatures }: Note): string {
  return `${text}\n${signatures.map((it) => `${formatSignature(it)}\n`).join('')}`
}

/** One signature line, without its newline; a witness answers with these. */
export function formatSignature({ name, id, bytes }: NoteSignature): string {
  return `— ${name} ${Buffer.concat([Buffer.from(id, 'hex'), bytes]).toString('base64')}`
}

/** `text` must end with a newline. */
export function signNote(text: string, key: VerifierKey, privateKey: KeyObject): NoteSignature {
  if (key.type !== 'log') throw new TypeError('a witness cosigns')
  return { name: key.name, id: key.id, bytes: sign(null, Buffer.from(text), privateKey) }
}

/** A witness' statement that it saw `text` at `at` (epoch seconds) and had seen nothing that contradicts it. */
export function cosignNote(text: string, key: VerifierKey, privateKey: KeyObject, at: number): NoteSignature {
  if (key.type !== 'witness') throw new TypeError('only a witness cosigns')
  const time = Buffer.alloc(8)
  time.writeBigUInt64BE(BigInt(at))
  return {
    name: key.name,
    id: key.id,
    bytes: Buffer.concat([time, sign(null, cosigned(text, BigInt(at)), privateKey)]),
  }
}

const cosigned = (text: string, at: bigint): Buffer => Buffer.from(`cosignature/v1\ntime ${at}\n${text}`)

/** Every signature by `key` on `note`, when there is one and all of them are right; `at` (epoch seconds) of a witness. */
export function verifyNote(note: Note, key: VerifierKey): Readonly<{ at?: number }> | undefined {
  const theirs = note.signatures.filter(({ name, id }) => name === key.name && id === key.id)
  const publicKey = publicKeyOf(key)
  let at: number | undefined
  for (const { bytes } of theirs) {
    if (key.type === 'log') {
      if (!verify(null, Buffer.from(note.text), publicKey, bytes)) return undefined
      continue
    }
    if (bytes.length !== 72) return undefined
    const time = Buffer.from(bytes).readBigUInt64BE(0)
    if (!verify(null, cosigned(note.text, time), publicKey, bytes.subarray(8))) return undefined
    at = Number(time)
  }
  if (theirs.length === 0) return undefined
  return at === undefined ? {} : { at }
}

export function publicKeyOf(key: VerifierKey): KeyObject {
  const x = Buffer.from(key.raw).toString('base64url')
  return createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x } })
}

export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${Buffer.from(root, 'hex').toString('base64')}\n`
}

/** The checkpoint in the text of a note; further lines are allowed and mean nothing here. `undefined` for anything else. */
export function parseCheckpoint(text: string): Checkpoint | undefined {
  const [origin = '', decimal = '', encoded = '', ...rest] = text.split('\n')
  const root = fromBase64(encoded)
  if (origin === '' || !/^(?:0|[1-9]\d{0,15})$/u.test(decimal) || root?.length !== 32 || rest.length === 0)
    return undefined
  const size = Number(decimal)
  return Number.isSafeInteger(size) ? { origin, size, root: Buffer.from(root).toString('hex') } : undefined
}

/** What the old key of a log signs when a new one takes over; no checkpoint has this form. */
export type Endorsement = Readonly<{
  origin: string
  /** The last size that the old key signs. */
  size: number
  key: VerifierKey
}>

const ENDORSEMENT = 'writ/key-rotation/v1'

export function formatEndorsement({ origin, size, key }: Endorsement): string {
  return `${ENDORSEMENT}\n${origin}\n${size}\n${formatVerifierKey(key)}\n`
}

/** The key that takes over from `by`, if `note` is its word for it; `undefined` for anything else. */
export function readEndorsement(note: string, by: VerifierKey): Endorsement | undefined {
  const parsed = parseNote(note)
  if (parsed === undefined || by.type !== 'log' || verifyNote(parsed, by) === undefined) return undefined
  const [first, origin = '', decimal = '', vkey = '', ...rest] = parsed.text.split('\n')
  const key = parseVerifierKey(vkey)
  if (first !== ENDORSEMENT || origin !== by.name || rest.length !== 1) return undefined
  if (key?.type !== 'log' || key.name !== origin || !/^(?:0|[1-9]\d{0,14})$/u.test(decimal)) return undefined
  return { origin, size: Number(decimal), key }
}

/** Strict: what does not encode to the same text again is refused, so that one note has one form. */
function fromBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}
