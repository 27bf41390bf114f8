/**
 * Witnesses (C2SP tlog-witness): what a log submits to one and what it answers, as text; what a witness cosigns, as a pure
 * function of what it remembers; and when a checkpoint is cosigned by enough of them.
 *
 * @module
 */
import { EMPTY_ROOT, hex } from '../store/hash.ts'
import type { Checkpoint, Note, NoteSignature, VerifierKey } from './note.ts'
import { formatNote, formatSignature, parseCheckpoint, parseNote, verifyNote } from './note.ts'
import { isContinued } from './tree.ts'

/** More bytes than 63 hashes and a note have are refused before they are looked at. */
export const SUBMISSION_LIMIT = 32_768
const MOST_HASHES = 63

/** The media type of a 409, whose body is the size that the witness cosigned last. */
export const SIZE_TYPE = 'text/x.tlog.size'

/** A signed checkpoint with what proves that it continues the one of size `old`; 0 when there was none. */
export type Submission = Readonly<{ old: number; proof: readonly Uint8Array[]; note: Note }>

/** The newest head that a witness cosigned of one log (root in lowercase hex). */
export type Witnessed = Readonly<{ size: number; root: string }>

export type Verdict =
  | Readonly<{ status: 200; checkpoint: Checkpoint }>
  | Readonly<{ status: 400 | 403 | 404 | 422; why: string }>
  /** `size` is what the witness cosigned last; `contradiction` when the log signed two roots of that size. */
  | Readonly<{ status: 409; why: string; size: number; contradiction: boolean }>

export function formatSubmission({ old, proof, note }: Submission): string {
  const hashes = proof.map((hash) => `${Buffer.from(hash).toString('base64')}\n`).join('')
  return `old ${old}\n${hashes}\n${formatNote(note)}`
}

/** `undefined` for what has not exactly the form that `formatSubmission` gives. */
export function parseSubmission(text: string): Submission | undefined {
  if (Buffer.byteLength(text) > SUBMISSION_LIMIT) return undefined
  const cut = text.indexOf('\n\n')
  if (cut === -1) return undefined
  const [first = '', ...lines] = text.slice(0, cut).split('\n')
  const old = /^old (0|[1-9]\d{0,15})$/u.exec(first)?.[1]
  if (old === undefined || lines.length > MOST_HASHES) return undefined
  const proof = lines.map((line) => Buffer.from(line, 'base64'))
  if (proof.some((hash, at) => hash.length !== 32 || hash.toString('base64') !== lines[at])) return undefined
  const note = parseNote(text.slice(cut + 2))
  const size = Number(old)
  return note === undefined || !Number.isSafeInteger(size) ? undefined : { old: size, proof, note }
}

/**
 * What a witness answers, in the order of checks that the protocol gives. `last` is what it cosigned of an origin before;
 * whoever calls this must not let another submission in between asking for `last` and keeping the new head.
 */
export function judge(
  submission: Submission,
  logs: readonly VerifierKey[],
  last: (origin: string) => Witnessed | undefined,
): Verdict {
  const { old, proof, note } = submission
  const checkpoint = parseCheckpoint(note.text)
  if (checkpoint === undefined) return { status: 400, why: 'the note holds no checkpoint' }
  const { origin, size, root } = checkpoint
  const keys = logs.filter((key) => key.type === 'log' && key.name === origin)
  if (keys.length === 0) return { status: 404, why: 'the log is not known here' }
  if (!keys.some((key) => verifyNote(note, key) !== undefined))
    return { status: 403, why: 'no signature is by a key of that log' }
  if (old > size) return { status: 400, why: 'the old size is larger than the new one' }
  const known = last(origin) ?? { size: 0, root: hex(EMPTY_ROOT) }
  if (old !== known.size)
    return {
      status: 409,
      why: `the last size cosigned is ${known.size}`,
      size: known.size,
      contradiction: false,
    }
  if (old === 0 && proof.length > 0) return { status: 422, why: 'nothing is proved' }
  if (old === size) {
    if (proof.length > 0) return { status: 422, why: 'nothing is proved' }
    if (root !== known.root)
      return { status: 409, why: 'another root at the same size', size: known.size, contradiction: true }
  } else if (old > 0 && !isContinued(old, bytesOf(known.root), size, bytesOf(root), proof)) {
    return { status: 422, why: 'the consistency proof does not verify' }
  }
  return { status: 200, checkpoint }
}

/** The body of a 200: the cosignatures, a line each. */
export const formatCosignatures = (cosignatures: readonly NoteSignature[]): string =>
  cosignatures.map((it) => `${formatSignature(it)}\n`).join('')

/** The signatures in the body of a 200 that are cosignatures of `text` by one of `keys`; all others are ignored. */
export function parseCosignatures(
  body: string,
  text: string,
  keys: readonly VerifierKey[],
): readonly NoteSignature[] {
  const note = parseNote(`${text}\n${body}`)
  if (note?.text !== text) return []
  return note.signatures.filter((signature) =>
    keys.some(
      (key) => key.type === 'witness' && verifyNote({ text, signatures: [signature] }, key) !== undefined,
    ),
  )
}

/** The size in the body of a 409. */
export function parseSize(body: string): number | undefined {
  const size = /^(0|[1-9]\d{0,15})\n$/u.exec(body)?.[1]
  return size === undefined || !Number.isSafeInteger(Number(size)) ? undefined : Number(size)
}

/** `threshold` of `witnesses` must have cosigned. */
export type WitnessPolicy = Readonly<{ witnesses: readonly VerifierKey[]; threshold: number }>

/**
 * Who cosigned a checkpoint, one for each authority however many lines, names or keys it signed with: keys that share a
 * name or their bytes belong to one authority. `at` is when it last did, in epoch seconds.
 */
export function cosigners(
  note: Note,
  witnesses: readonly VerifierKey[],
): readonly Readonly<{ name: string; at: number }>[] {
  return authorities(witnesses).flatMap((keys) => {
    const signed = keys.flatMap((key) => {
      const at = key.type === 'witness' ? verifyNote(note, key)?.at : undefined
      return at === undefined ? [] : [{ name: key.name, at }]
    })
    const [newest] = signed.toSorted((a, b) => b.at - a.at)
    return newest === undefined ? [] : [newest]
  })
}

/**
 * Whether enough distinct authorities cosigned a checkpoint.
 *
 * @throws {TypeError} for a threshold that says nothing, or that so few witnesses cannot meet.
 */
export function isCosigned(note: Note, { witnesses, threshold }: WitnessPolicy): boolean {
  const most = authorities(witnesses).length
  if (!Number.isInteger(threshold) || threshold < 1 || threshold > most)
    throw new TypeError(`\`threshold\` must be 1 to ${most}, the number of distinct witnesses`)
  return cosigners(note, witnesses).length >= threshold
}

/** Keys in groups; an Ed25519 cosignature does not say its name, so one key under two names is one witness. */
export function authorities(keys: readonly VerifierKey[]): readonly (readonly VerifierKey[])[] {
  let groups: (readonly VerifierKey[])[] = []
  for (const key of keys) {
    const isOfOne = (other: VerifierKey): boolean =>
      other.name === key.name || Buffer.from(other.raw).equals(key.raw)
    const related = groups.filter((group) => group.some(isOfOne))
    groups = [...groups.filter((group) => !related.includes(group)), [...related.flat(), key]]
  }
  return groups
}

const bytesOf = (root: string): Uint8Array => Buffer.from(root, 'hex')
