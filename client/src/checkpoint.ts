/**
 * Signed checkpoints as the client verifies them, with WebCrypto alone and apart from the code that makes them: notes
 * (C2SP signed-note, tlog-checkpoint) and that one log continues another (RFC 9162 §2.1.4.2).
 *
 * @module
 */
import { WritClientError } from './error.ts'

type Bytes = Uint8Array<ArrayBuffer>
type Subtle = typeof crypto.subtle

/** A key that a log signs with, written `name+0a1b2c3d+base64(type ‖ key)`; the name is the origin of the log. */
export type LogKey = Readonly<{ name: string; id: string; raw: Bytes; text: string }>

/** `text` is what was signed. */
export type SignedNote = Readonly<{
  text: string
  signatures: readonly Readonly<{ name: string; id: string; bytes: Bytes }>[]
}>

/** A signed head; `root` in lowercase hex. */
export type SignedHead = SignedNote & Readonly<{ origin: string; size: number; root: string }>

const NOTE_MOST = 16_384
/** The type byte of a signature by a log. */
const ED25519 = 0x01

/** `undefined` for what is no signed note, in exactly the form in which one is written. */
function parseNote(note: string): SignedNote | undefined {
  if (note.length > NOTE_MOST || !note.endsWith('\n')) return undefined
  const cut = note.lastIndexOf('\n\n')
  if (cut === -1) return undefined
  const signatures: { name: string; id: string; bytes: Bytes }[] = []
  for (const line of note.slice(cut + 2, -1).split('\n')) {
    const match = /^— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/u.exec(line)
    const bytes = match?.[2] === undefined ? undefined : fromBase64(match[2])
    if (match?.[1] === undefined || bytes === undefined || bytes.length <= 4) return undefined
    signatures.push({ name: match[1], id: toHex(bytes.slice(0, 4)), bytes: bytes.slice(4) })
  }
  return { text: note.slice(0, cut + 1), signatures }
}

/** `undefined` for what is no signed checkpoint. */
export function parseCheckpoint(note: string): SignedHead | undefined {
  const parsed = parseNote(note)
  const [origin = '', decimal = '', encoded = '', ...rest] = parsed?.text.split('\n') ?? []
  const root = fromBase64(encoded)
  const size = Number(decimal)
  if (parsed === undefined || origin === '' || rest.length === 0 || root?.length !== 32) return undefined
  if (!/^(?:0|[1-9]\d{0,15})$/.test(decimal) || !Number.isSafeInteger(size)) return undefined
  return { ...parsed, origin, size, root: toHex(root) }
}

const ROTATION = 'writ/key-rotation/v1'

/** The key that takes over from `by`, if `note` is its word for it; `undefined` for anything else. */
export async function parseEndorsement(note: string, by: LogKey): Promise<LogKey | undefined> {
  const parsed = parseNote(note)
  const [first, origin, size = '', vkey = '', ...rest] = parsed?.text.split('\n') ?? []
  if (parsed === undefined || first !== ROTATION || origin !== by.name || rest.length !== 1) return undefined
  const key = await parseLogKey(vkey)
  if (key?.name !== origin || !/^(?:0|[1-9]\d{0,14})$/.test(size)) return undefined
  return (await isSignedBy(parsed, by)) ? key : undefined
}

/** `undefined` for what is no key of a log, or one whose id is not that of its name and bytes. */
export async function parseLogKey(text: string): Promise<LogKey | undefined> {
  const match = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/u.exec(text.trim())
  const typed = match?.[3] === undefined ? undefined : fromBase64(match[3])
  if (match?.[1] === undefined || typed?.length !== 33 || typed[0] !== ED25519) return undefined
  const key = await logKey(match[1], typed.slice(1))
  return key.id === match[2] ? key : undefined
}

/** The key with these bytes under the name of a log. */
export async function logKey(name: string, raw: Bytes): Promise<LogKey> {
  const typed = concat(Uint8Array.of(ED25519), raw)
  const id = toHex((await sha256(concat(utf8(`${name}\n`), typed))).slice(0, 4))
  return { name, id, raw, text: `${name}+${id}+${toBase64(typed)}` }
}

/** Whether `key` signed the note, and every signature under its name and id is right. */
export async function isSignedBy(note: SignedNote, key: LogKey): Promise<boolean> {
  const theirs = note.signatures.filter(({ name, id }) => name === key.name && id === key.id)
  for (const { bytes } of theirs) if (!(await isSignature(key.raw, bytes, utf8(note.text)))) return false
  return theirs.length > 0
}

/**
 * Whether `signature` is one by the Ed25519 key over `data`.
 *
 * @throws {WritClientError} `ERR_UNSUPPORTED` where WebCrypto has no Ed25519: unverified is not verified.
 */
export async function isSignature(raw: Bytes, signature: Bytes, data: Bytes): Promise<boolean> {
  const subtle = webCrypto()
  let key: Awaited<ReturnType<Subtle['importKey']>>
  try {
    key = await subtle.importKey('raw', raw, { name: 'Ed25519' }, false, ['verify'])
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'NotSupportedError') throw unsupported('Ed25519', cause)
    return false // bytes that are no key
  }
  return subtle.verify({ name: 'Ed25519' }, key, signature, data)
}

/** Whether `proof` shows that the log of `second` entries continues that of `first` (all in lowercase hex). */
export async function isContinued(
  first: number,
  firstRoot: string,
  second: number,
  secondRoot: string,
  proof: readonly string[],
): Promise<boolean> {
  if (first === second) return proof.length === 0 && firstRoot === secondRoot
  if (!(first >= 0 && first < second) || proof.length > 64) return false
  if (first === 0) return proof.length === 0
  const hashes: Bytes[] = []
  for (const text of proof) {
    if (!/^[0-9a-f]{64}$/.test(text)) return false
    hashes.push(fromHex(text))
  }
  const path = Number.isInteger(Math.log2(first)) ? [fromHex(firstRoot), ...hashes] : hashes
  const start = path.shift()
  if (start === undefined) return false
  let [node, last] = [first - 1, second - 1]
  while (node % 2 === 1) [node, last] = [half(node), half(last)]
  let [old, grown] = [start, start]
  for (const sibling of path) {
    if (last === 0) return false
    if (node % 2 === 1 || node === last) {
      ;[old, grown] = await Promise.all([nodeHash(sibling, old), nodeHash(sibling, grown)])
      while (node % 2 === 0 && node !== 0) [node, last] = [half(node), half(last)]
    } else {
      grown = await nodeHash(grown, sibling)
    }
    ;[node, last] = [half(node), half(last)]
  }
  return last === 0 && toHex(old) === firstRoot && toHex(grown) === secondRoot
}

const half = (n: number): number => Math.floor(n / 2)

const nodeHash = (left: Bytes, right: Bytes): Promise<Bytes> =>
  sha256(concat(Uint8Array.of(1), concat(left, right)))

async function sha256(data: Bytes): Promise<Bytes> {
  return new Uint8Array(await webCrypto().digest('SHA-256', data))
}

function webCrypto(): Subtle {
  const { subtle } = crypto as { subtle?: Subtle }
  if (subtle === undefined) throw unsupported('WebCrypto')
  return subtle
}

const unsupported = (what: string, cause?: unknown): WritClientError =>
  new WritClientError('ERR_UNSUPPORTED', `this runtime has no ${what} to verify the log with`, {
    hint: 'use Node 20 or a browser of 2025 or newer, over https; `log: false` gives up on verifying',
    ...(cause === undefined ? {} : { cause }),
  })

function concat(a: Bytes, b: Bytes): Bytes {
  const both = new Uint8Array(a.length + b.length)
  both.set(a)
  both.set(b, a.length)
  return both
}

const utf8 = (text: string): Bytes => new TextEncoder().encode(text)
const toHex = (bytes: Bytes): string => Array.from(bytes, (it) => it.toString(16).padStart(2, '0')).join('')
const fromHex = (text: string): Bytes =>
  Uint8Array.from(text.match(/../g) ?? [], (it) => Number.parseInt(it, 16))
const toBase64 = (bytes: Bytes): string => btoa(String.fromCharCode(...bytes))

/** Strict: what does not encode to the same text again is refused. */
function fromBase64(text: string): Bytes | undefined {
  let binary: string
  try {
    binary = atob(text)
  } catch {
    return undefined // no base64
  }
  return btoa(binary) === text ? Uint8Array.from(binary, (it) => it.charCodeAt(0)) : undefined
}
