/**
 * The proof of why: one file that shows, to somebody who has a key of the log and nothing else, why authority existed.
 * Its form, how it is written, and how it is verified. The format is described in `docs/proof-bundle.md`.
 *
 * Everything in it is bound to the log: entries by their inclusion under one checkpoint, everything else by a digest that
 * stands in one of those entries. The seal, a note signed with the log's key, says that nothing was left out or added.
 *
 * @module
 */
import type { KeyObject } from 'node:crypto'
import type { Instant } from '../model/time.ts'
import { hex, leafHash, sha256 } from '../store/hash.ts'
import type { Checkpoint, Note, NoteSignature, VerifierKey } from './note.ts'
import {
  formatNote,
  formatVerifierKey,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  readEndorsement,
  signNote,
  verifierKey,
  verifyNote,
} from './note.ts'
import { restored } from '../store/entry.ts'
import { isIncluded } from './tree.ts'
import { parseEntry, rewrite } from './verify.ts'
import { authorities, cosigners } from './witness.ts'

export const BUNDLE_KIND = 'writ.proof'
const BUNDLE_VERSION = 1

/** Larger files are refused before they are read. */
export const BUNDLE_LIMIT = 128 * 2 ** 20

/** More entries, or values and levels of JSON, than any proof has are refused before they are built up in memory. */
const MOST_ENTRIES = 100_000
const MOST_VALUES = 8_000_000
const DEEPEST = 8

/** The first line of a seal; a checkpoint has a number in its second line, a seal has none. */
const SEAL = 'writ proof of why v1'

/** `body` is the exact text of the entry; of one that retention has pruned only the `leaf` hash is left. Hashes in hex. */
export type BundleEntry = Readonly<{ seq: number; proof: readonly string[] }> &
  Readonly<{ body: string; leaf?: never } | { leaf: string; body?: never }>

type File = Readonly<{ name: string; text: string }>

/** A policy set by content. */
export type BundlePolicy = Readonly<{ version: string; files: readonly File[]; schema?: File }>

export type BundleContent = Readonly<{
  /** The decision, grant, credential, task or access request that it is about. */
  about: string
  made_at: Instant
  /** A signed checkpoint that covers every entry. */
  checkpoint: string
  /** Verifier keys of the witnesses whose cosignatures are on the checkpoint. Whom to trust is up to who verifies. */
  witnesses: readonly string[]
  /** In the order of the log. */
  entries: readonly BundleEntry[]
  /** Canonical JSON that entries hold the digest of: Cedar entities of decisions, and what was too long for an entry. */
  bodies: readonly string[]
  policies: readonly BundlePolicy[]
}>

export type Bundle = BundleContent &
  Readonly<{ kind: typeof BUNDLE_KIND; v: typeof BUNDLE_VERSION; seal: string }>

/** What is wrong, and where, e.g. `{ where: 'entry 17', why: 'bytes do not match the proof' }`. */
export type Finding = Readonly<{ where: string; why: string }>

export const findingText = ({ where, why }: Finding): string => `${where}: ${why}`

/** An entry that is in the log for sure; what it held only the digest of is in its place again. */
export type Proven = Readonly<{
  seq: number
  at: Instant
  kind: string
  refs: readonly string[]
  entry: Readonly<Record<string, unknown>>
}>

/** Entries `from` to `to` without `except`. */
export type Pruning = Readonly<{ from: number; to: number; except: readonly number[] }>

/** What is proven once all bytes are verified. */
export type ProvenRecord = Readonly<{
  about: string
  madeAt: Instant
  checkpoint: Checkpoint
  entries: readonly Proven[]
  /** Sequence numbers of entries of which only the hash is left. */
  pruned: readonly number[]
  /** What retention has pruned, as the log says. */
  prunings: readonly Pruning[]
  policies: readonly BundlePolicy[]
  /** Texts of schemas by digest, `sha256:…`. */
  schemas: ReadonlyMap<string, string>
  bodies: ReadonlyMap<string, unknown>
}>

/** Cosignatures that were asked for and found. */
export type Cosigned = Readonly<{ name: string; at: Instant }>

/** What the bytes of a bundle are worth; `record` is missing when they are worth nothing. */
export type BytesVerdict = Readonly<{
  failures: readonly Finding[]
  record?: ProvenRecord
  /** The key that signed the checkpoint. */
  signedBy?: VerifierKey
  /** How the signing key follows from a key that was given, oldest first; empty when it was given itself. */
  endorsements: readonly string[]
  cosigned: readonly Cosigned[]
  /** What was verified, for people. */
  checked: readonly string[]
}>

export type Trust = Readonly<{
  /** Keys of the log that whoever verifies has from elsewhere. */
  keys: readonly VerifierKey[]
  /** Believe the key that the bundle itself names: shows only that the bundle agrees with itself. */
  unsafeTrustBundledKey?: boolean
  witnesses?: readonly VerifierKey[]
  /** How many of `witnesses` must have cosigned; all of them if it is not said. */
  witnessesNeeded?: number
}>

/** `sha256:` and the lowercase hex SHA-256 of a text. */
export const digestOfText = (text: string): string => `sha256:${hex(sha256(text))}`

/** The file: canonical JSON and a newline, sealed by the log's key. */
export function encodeBundle(content: BundleContent, key: VerifierKey, privateKey: KeyObject): string {
  const unsealed = { ...content, kind: BUNDLE_KIND, v: BUNDLE_VERSION }
  const text = sealText(unsealed)
  const seal = formatNote({ text, signatures: [signNote(text, key, privateKey)] })
  return `${rewrite({ ...unsealed, seal })}\n`
}

function sealText(unsealed: BundleContent & Readonly<{ kind: string; v: number }>): string {
  const { about, made_at: madeAt, checkpoint } = unsealed
  const [origin = '', size = ''] = checkpoint.split('\n', 2)
  return `${SEAL}\nabout ${about}\nmade ${madeAt}\nlog ${origin} ${size}\n${digestOfText(rewrite(unsealed))}\n`
}

/** The version that a policy set is published under. */
export function policyVersion({ files, schema }: Omit<BundlePolicy, 'version'>): string {
  const policies = files
    .map(({ name, text }) => [name, text] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return hex(sha256(JSON.stringify({ policies, schema: schema?.text ?? null })))
}

/** The bundle in a file, or the first thing that is wrong with its form. */
export function parseBundle(bytes: Uint8Array): Bundle | Finding {
  if (bytes.length > BUNDLE_LIMIT) return file(`is longer than ${BUNDLE_LIMIT} bytes`)
  if (!isBounded(bytes)) return file('has more in it, or deeper, than any proof')
  let text: string
  let value: unknown
  try {
    text = utf8.decode(bytes)
    value = JSON.parse(text)
  } catch {
    return file('is not JSON')
  }
  if (!isObject(value)) return file('is not an object')
  if (value['kind'] !== BUNDLE_KIND) return file('is no proof of why')
  if (value['v'] !== BUNDLE_VERSION) return file(`has an unknown form \`${String(value['v']).slice(0, 64)}\``)
  const wrong = wrongMember(value, BUNDLE)
  if (wrong !== undefined) return file(wrong)
  if ((value['entries'] as unknown[]).length > MOST_ENTRIES)
    return file(`has more than ${MOST_ENTRIES} entries`)
  for (const [at, entry] of (value['entries'] as unknown[]).entries()) {
    const why = isObject(entry) ? wrongMember(entry, 'leaf' in entry ? PRUNED : ENTRY) : 'is not an object'
    if (why !== undefined) return { where: `entries/${at}`, why }
  }
  for (const [at, policy] of (value['policies'] as unknown[]).entries()) {
    const why = isObject(policy) ? wrongMember(policy, POLICY, ['schema']) : 'is not an object'
    if (why !== undefined) return { where: `policies/${at}`, why }
  }
  if (`${rewrite(value)}\n` !== text) return file('is not in canonical form')
  return value as unknown as Bundle
}

/** Whether a text, if it is JSON, has few values and levels. */
function isBounded(bytes: Uint8Array): boolean {
  let [depth, values, quoted] = [0, 0, false]
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at]
    if (quoted) {
      if (byte === 0x5c) at += 1
      else if (byte === 0x22) quoted = false
    } else if (byte === 0x22) quoted = true
    else if (byte === 0x2c) values += 1
    else if (byte === 0x5b || byte === 0x7b) {
      values += 1
      depth += 1
      if (depth > DEEPEST) return false
    } else if (byte === 0x5d || byte === 0x7d) depth -= 1
    if (values > MOST_VALUES) return false
  }
  return true
}

const file = (why: string): Finding => ({ where: 'file', why })
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

type Shape = Readonly<Record<string, (value: unknown) => boolean>>

const isText = (value: unknown): value is string => typeof value === 'string'
const isTexts = (value: unknown): boolean => Array.isArray(value) && value.every(isText)
const isIndex = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0
const isHash = (value: unknown): boolean => isText(value) && /^[0-9a-f]{64}$/u.test(value)
const isProof = (value: unknown): boolean => Array.isArray(value) && value.length <= 64 && value.every(isHash)
const isFile = (value: unknown): boolean => isObject(value) && wrongMember(value, FILE) === undefined

const BUNDLE: Shape = {
  about: (value) => isText(value) && /^[A-Za-z]+_[\w-]{1,120}$/u.test(value),
  bodies: isTexts,
  checkpoint: isText,
  entries: Array.isArray,
  kind: isText,
  made_at: isIndex,
  policies: Array.isArray,
  seal: isText,
  v: isIndex,
  witnesses: isTexts,
}
const ENTRY: Shape = { body: isText, proof: isProof, seq: isIndex }
const PRUNED: Shape = { leaf: isHash, proof: isProof, seq: isIndex }
const FILE: Shape = { name: isText, text: isText }
const POLICY: Shape = {
  files: (value) => Array.isArray(value) && value.every(isFile),
  schema: isFile,
  version: isHash,
}

function wrongMember(
  value: Readonly<Record<string, unknown>>,
  shape: Shape,
  optional: readonly string[] = [],
): string | undefined {
  for (const name of Object.keys(value))
    if (!Object.hasOwn(shape, name)) return `has a member \`${name.slice(0, 64)}\` that means nothing`
  for (const [name, is] of Object.entries(shape)) {
    if (!Object.hasOwn(value, name)) {
      if (!optional.includes(name)) return `has no \`${name}\``
    } else if (!is(value[name])) return `\`${name}\` is not what it should be`
  }
  return undefined
}

/** Verifies every byte of a bundle: form, hashes, proofs, digests and signatures. What the entries say is not judged. */
export function verifyBytes(bytes: Uint8Array, trust: Trust): BytesVerdict {
  const nothing = { endorsements: [], cosigned: [], checked: [] }
  const bundle = parseBundle(bytes)
  if ('where' in bundle) return { ...nothing, failures: [bundle] }
  const note = parseNote(bundle.checkpoint)
  const checkpoint = note && parseCheckpoint(note.text)
  if (note === undefined || checkpoint === undefined)
    return { ...nothing, failures: [{ where: 'checkpoint', why: 'is no signed checkpoint' }] }

  const { entries, pruned, failures: unproven } = provenEntries(bundle, checkpoint)
  if (unproven.length > 0) return { ...nothing, failures: unproven }

  const failures: Finding[] = []
  const signed = verifySignatures(bundle, note, checkpoint, entries, trust, failures)
  // what nobody who is trusted signed is looked at no further
  if (signed.signedBy === undefined) return { ...nothing, failures }
  const prunings = prunedBy(entries)
  const uncovered = uncoveredBy(prunings, pruned)
  failures.push(
    ...uncovered.map((seq) => ({ where: `entry ${seq}`, why: 'no entry says that it was pruned' })),
  )
  const { restored, bodies } = restore(bundle, entries, failures)
  const schemas = schemasOf(bundle, restored)
  checkPolicies(bundle, restored, failures)
  if (bundle.entries.length === 0) failures.push({ where: 'entries', why: 'there are none' })
  else if (!restored.some(({ refs }) => refs.includes(bundle.about)))
    failures.push({ where: 'about', why: `no entry is about \`${bundle.about}\`` })

  failures.push(...verifySeal(bundle, signed.believed))

  const { endorsements = [], cosigned = [], signedBy } = signed
  const record: ProvenRecord = {
    about: bundle.about,
    madeAt: bundle.made_at,
    checkpoint,
    entries: restored,
    pruned,
    prunings,
    policies: bundle.policies,
    schemas,
    bodies,
  }
  const checked = [
    `${entries.length} entries are in the log of ${checkpoint.size} (root ${checkpoint.root})`,
    ...(pruned.length === 0 ? [] : [`${pruned.length} more were in it; retention has left their hashes`]),
    `the checkpoint and the seal of this file are signed by ${formatVerifierKey(signedBy)}${
      endorsements.length === 0 ? '' : `, which follows from ${endorsements.join(', ')}`
    }`,
    ...cosigned.map(({ name, at }) => `cosigned by ${name} at ${new Date(at).toISOString()}`),
    `texts (${bundle.bodies.length}) and policy sets (${bundle.policies.length}) have the digests that the entries say`,
  ]
  return {
    failures,
    record,
    endorsements,
    cosigned,
    checked,
    signedBy,
  }
}

function provenEntries(
  bundle: Bundle,
  { size, root }: Checkpoint,
): Readonly<{ entries: readonly Proven[]; pruned: readonly number[]; failures: readonly Finding[] }> {
  const entries: Proven[] = []
  const pruned: number[] = []
  const failures: Finding[] = []
  const rootBytes = Buffer.from(root, 'hex')
  const included: { seq: number; bytes: Uint8Array }[] = []
  let before = -1
  let time = Number.NEGATIVE_INFINITY
  for (const { seq, proof, body, leaf } of bundle.entries) {
    const where = `entry ${seq}`
    const bad = (why: string): void => void failures.push({ where, why })
    if (seq <= before) bad('does not come after the one before it')
    before = seq
    if (seq >= size) {
      bad(`is not covered by the checkpoint, which has ${size} entries`)
      continue
    }
    const bytes = body === undefined ? undefined : Buffer.from(body)
    const hash = bytes === undefined ? Buffer.from(leaf ?? '', 'hex') : leafHash(bytes)
    if (
      !isIncluded(
        hash,
        seq,
        size,
        proof.map((one) => Buffer.from(one, 'hex')),
        rootBytes,
      )
    ) {
      bad(bytes === undefined ? 'its hash does not match the proof' : 'bytes do not match the proof')
      continue
    }
    if (bytes === undefined) pruned.push(seq)
    else included.push({ seq, bytes })
  }
  if (failures.length > 0) return { entries, pruned, failures }
  for (const { seq, bytes } of included) {
    const bad = (why: string): void => void failures.push({ where: `entry ${seq}`, why })
    const entry = parseEntry(bytes)
    if (typeof entry === 'string') {
      bad(entry)
      continue
    }
    const { at, kind, refs } = entry
    if (entry['seq'] !== seq) bad(`says it is entry ${String(entry['seq'])}`)
    if (typeof at !== 'number' || !Number.isFinite(at)) bad('has no time')
    else if (at < time) bad('is dated before one ahead of it')
    else time = at
    entries.push({
      seq,
      at: Number(at),
      kind: String(kind),
      refs: isTexts(refs) ? (refs as string[]) : [],
      entry,
    })
  }
  return { entries, pruned, failures }
}

type Signed = Readonly<{
  /** Keys that may have sealed it. */
  believed: readonly VerifierKey[]
  signedBy?: VerifierKey
  endorsements?: readonly string[]
  cosigned?: readonly Cosigned[]
}>

function verifySignatures(
  bundle: Bundle,
  note: Note,
  checkpoint: Checkpoint,
  entries: readonly Proven[],
  trust: Trust,
  failures: Finding[],
): Signed {
  const bad = (why: string): void => void failures.push({ where: 'checkpoint', why })
  const { origin, size } = checkpoint
  const trusted = trustedKeys(trust, origin, entries, note)
  const signer = trusted.find(({ key }) => verifyNote(note, key) !== undefined)
  const isLate = signer?.until !== undefined && size > signer.until
  const signedBy = isLate ? undefined : signer
  if (isLate) bad(`signature is by a key that was given up at ${signer.until} entries`)
  else if (signedBy === undefined) bad(whyUntrusted(trust, origin, entries))
  // every line has its signer: what nobody can check could be changed without anybody noticing
  const witnesses: VerifierKey[] = []
  if (bundle.witnesses.length > note.signatures.length) {
    failures.push({ where: 'witnesses', why: 'are more than have signed' })
    return { believed: [], cosigned: [] }
  }
  for (const [at, text] of bundle.witnesses.entries()) {
    const key = parseVerifierKey(text)
    if (key?.type !== 'witness' || formatVerifierKey(key) !== text)
      failures.push({ where: `witnesses/${at}`, why: 'is no verifier key of a witness' })
    else if (witnesses.some((one) => one.name === key.name && one.id === key.id))
      failures.push({ where: `witnesses/${at}`, why: 'stands there twice' })
    else witnesses.push(key)
  }
  const logs = [...trusted.map(({ key }) => key), ...bundledKeys(origin, entries)]
  const isBy = ({ name, id }: VerifierKey, line: NoteSignature) => name === line.name && id === line.id
  for (const line of note.signatures) {
    const its = [...logs, ...witnesses].find((key) => isBy(key, line))
    if (its === undefined) bad(`nothing says what key the signature of \`${line.name}\` is by`)
    else if (verifyNote({ text: note.text, signatures: [line] }, its) === undefined)
      bad(`the ${its.type === 'witness' ? 'cosignature' : 'signature'} of \`${line.name}\` does not verify`)
  }
  if (new Set(note.signatures.map(({ name, id }) => `${name} ${id}`)).size < note.signatures.length)
    bad('bears the same signature twice')
  for (const key of witnesses)
    if (!note.signatures.some((line) => isBy(key, line))) bad(`the cosignature of \`${key.name}\` is missing`)
  const cosigned = countCosignatures(note, trust, failures)
  // the seal is of now: a key that was given up before this checkpoint, or that led to the one of it, seals nothing
  const older = new Set(signedBy?.by ?? [])
  const sealing = trusted.filter(({ key, until }) => size <= (until ?? Infinity) && !older.has(key))
  const believed = signedBy === undefined ? logs : sealing.map(({ key }) => key)
  if (signedBy === undefined) return { cosigned, believed }
  return { cosigned, believed, signedBy: signedBy.key, endorsements: signedBy.by.map(formatVerifierKey) }
}

/** Last, because it says only that something is not as it was: what it is was looked for before. */
function verifySeal({ seal, ...unsealed }: Bundle, believed: readonly VerifierKey[]): readonly Finding[] {
  const bad = (why: string): readonly Finding[] => [{ where: 'seal', why }]
  const note = parseNote(seal)
  if (note === undefined) return bad('is no signed note')
  if (note.text !== sealText(unsealed))
    return bad('something was left out, added or changed after it was made')
  if (note.signatures.length !== 1) return bad('has more than one signature')
  return believed.some((key) => verifyNote(note, key)) ? [] : bad('signature is not by the key of the log')
}

function whyUntrusted(trust: Trust, origin: string, entries: readonly Proven[]): string {
  const given = trust.keys.filter(({ type }) => type === 'log')
  if (given.length === 0 && trust.unsafeTrustBundledKey !== true)
    return 'no key was given, and nothing vouches for the key in the bundle'
  const other = given.find(({ name }) => name !== origin)
  if (other !== undefined) return `it is of the log \`${origin}\`, the given key of \`${other.name}\``
  const lost = givenUp(origin, entries).find(({ key }) => given.some((one) => sameKey(one, key)))
  if (lost !== undefined)
    return `signature is not by the given key, which was given up in entry ${lost.seq}: somebody else may have it`
  return 'signature is not by the given key'
}

function countCosignatures(
  note: Note,
  { witnesses = [], witnessesNeeded }: Trust,
  failures: Finding[],
): readonly Cosigned[] {
  if (witnesses.length === 0 && (witnessesNeeded ?? 0) === 0) return []
  const found = cosigners(note, witnesses)
  const needed = witnessesNeeded ?? authorities(witnesses).length
  if (found.length < needed) {
    const why = `${found.length} of the ${needed} cosignatures needed are by distinct witnesses that were given`
    failures.push({ where: 'checkpoint', why })
  }
  return found.map(({ name, at }) => ({ name, at: at * 1_000 }))
}

/** Keys that the log says were its own; they vouch for nothing. */
function bundledKeys(origin: string, entries: readonly Proven[]): readonly VerifierKey[] {
  return [...madeKeys(origin, entries).values()]
}

/** The keys of this log by the id that entries name them by. */
function madeKeys(origin: string, entries: readonly Proven[]): ReadonlyMap<string, VerifierKey> {
  const made = new Map<string, VerifierKey>()
  for (const { kind, entry } of entries) {
    const raw = kind === 'signer.made' && entry['use'] === 'log' ? rawKey(entry['public']) : undefined
    if (raw !== undefined && isText(entry['signer']))
      made.set(entry['signer'], verifierKey(origin, 'log', raw))
  }
  return made
}

function rawKey(jwk: unknown): Uint8Array | undefined {
  if (!isObject(jwk) || jwk['crv'] !== 'Ed25519' || !isText(jwk['x'])) return undefined
  const raw = Buffer.from(jwk['x'], 'base64url')
  return raw.length === 32 ? raw : undefined
}

/** Keys that somebody else may have, and the entry that says so. */
function givenUp(
  origin: string,
  entries: readonly Proven[],
): readonly Readonly<{ key: VerifierKey; seq: number; until: number }>[] {
  const made = madeKeys(origin, entries)
  return entries.flatMap(({ kind, seq, entry }) => {
    const key = kind === 'signer.compromised' ? made.get(String(entry['before'])) : undefined
    const { until } = entry
    return key === undefined ? [] : [{ key, seq, until: typeof until === 'number' ? until : 0 }]
  })
}

const sameKey = (a: VerifierKey, b: VerifierKey): boolean =>
  a.name === b.name && a.id === b.id && Buffer.compare(a.raw, b.raw) === 0

/** A key that is believed, up to which size, and the keys that lead to it from one that was given. */
type Trusted = { key: VerifierKey; by: readonly VerifierKey[]; until?: number }

/**
 * The keys given, and those that they vouch for, one after the other: what a key signed when another took over is its
 * own word, wherever it is found. Of a key that somebody else may have, only what it signed before is believed.
 */
function trustedKeys(
  trust: Trust,
  origin: string,
  entries: readonly Proven[],
  note: Note,
): readonly Trusted[] {
  const given = trust.keys.filter(({ type, name }) => type === 'log' && name === origin)
  // of those in the bundle only the ones that may have signed its checkpoint matter
  const signers = new Set(note.signatures.map(({ id }) => id))
  const bundled =
    trust.unsafeTrustBundledKey === true
      ? bundledKeys(origin, entries).filter(({ id }) => signers.has(id))
      : []
  const trusted = [...given, ...bundled].map((key): Trusted => ({ key, by: [] }))
  const notes = entries.flatMap(({ kind, entry }) =>
    kind === 'signer.rotated' && isText(entry['endorsement']) ? [entry['endorsement']] : [],
  )
  const lost = givenUp(origin, entries)
  for (const known of trusted) {
    const gone = lost.find(({ key }) => sameKey(key, known.key))
    if (gone !== undefined) {
      known.until = gone.until
      continue
    }
    for (const word of notes) {
      const next = readEndorsement(word, known.key)
      if (next === undefined || next.origin !== origin) continue
      known.until = Math.min(known.until ?? Infinity, next.size)
      if (!trusted.some(({ key }) => sameKey(key, next.key)))
        trusted.push({ key: next.key, by: [...known.by, known.key] })
    }
  }
  return trusted
}

/** Puts what entries hold only the digest of into its place; a text that none of them speaks of has no place here. */
function restore(
  bundle: Bundle,
  entries: readonly Proven[],
  failures: Finding[],
): Readonly<{ restored: readonly Proven[]; bodies: ReadonlyMap<string, unknown> }> {
  const texts = new Map<string, string>()
  const bodies = new Map<string, unknown>()
  for (const [at, text] of bundle.bodies.entries()) {
    const digest = digestOfText(text)
    const bad = (why: string): void => void failures.push({ where: `bodies/${at}`, why })
    try {
      bodies.set(digest, JSON.parse(text))
    } catch {
      bad('is not JSON')
    }
    if (texts.has(digest)) bad('stands there twice')
    texts.set(digest, text)
  }
  const used = new Set<string>()
  const complete = entries.map((proven): Proven => {
    const { inputs } = proven.entry
    if (isText(inputs) && texts.has(inputs)) used.add(inputs)
    if (proven.entry['cut'] === undefined) return proven
    const entry = restored(proven.entry, (digest) => {
      const text = texts.get(digest)
      if (text !== undefined) used.add(digest)
      // it is kept as long as the entry is
      else failures.push({ where: `entry ${proven.seq}`, why: `the text of \`${digest}\` is missing` })
      return text === undefined ? undefined : Buffer.from(text)
    })
    const { refs } = entry
    return { ...proven, entry, refs: isTexts(refs) ? (refs as string[]) : proven.refs }
  })
  for (const [at, digest] of [...texts.keys()].entries())
    if (!used.has(digest))
      failures.push({ where: `bodies/${at}`, why: `no entry holds its digest \`${digest}\`` })
  return { restored: complete, bodies }
}

/** What policies were checked against: what their authors wrote, or what was derived and stands in the log. */
function schemasOf({ policies }: Bundle, entries: readonly Proven[]): ReadonlyMap<string, string> {
  const texts = [
    ...policies.map(({ schema }) => schema?.text),
    ...entries.map(({ kind, entry }) => (kind === 'policy.schema' ? entry['text'] : undefined)),
  ]
  return new Map(texts.filter(isText).map((text) => [digestOfText(text), text]))
}

/** Policy text is what it was published as: by its version and, file by file, by what the entry says. */
function checkPolicies(bundle: Bundle, entries: readonly Proven[], failures: Finding[]): void {
  const known = new Set<string>()
  const ran = new Set(entries.map(({ kind, entry }) => (kind === 'decision' ? entry['policy'] : undefined)))
  const told = Map.groupBy(
    entries.filter(({ kind, entry }) => kind === 'policy.published' || Array.isArray(entry['files'])),
    ({ kind, entry }) => (kind.startsWith('policy.') ? entry['policy'] : undefined),
  )
  for (const policy of bundle.policies) {
    const { version, files, schema } = policy
    const where = `policy ${version.slice(0, 12)}`
    const bad = (why: string): void => void failures.push({ where, why })
    if (known.has(version)) bad('stands there twice')
    known.add(version)
    if (policyVersion(policy) !== version) bad('its text is not that of its version')
    if (!ran.has(version)) bad('no decision here ran it')
    for (const { seq, entry } of told.get(version) ?? []) {
      const said = new Map(
        (Array.isArray(entry['files']) ? (entry['files'] as unknown[]) : []).map((one) =>
          isObject(one) ? [one['name'], one['sha256']] : [undefined, undefined],
        ),
      )
      for (const { name, text } of files)
        if (said.get(name) !== hex(sha256(text))) bad(`\`${name}\` is not the file that entry ${seq} says`)
      if (said.size !== files.length) bad(`it has not the files that entry ${seq} says`)
      const its = isObject(entry['schema']) ? entry['schema']['sha256'] : undefined
      if (schema !== undefined && its !== undefined && its !== hex(sha256(schema.text)))
        bad(`its schema is not the one that entry ${seq} says`)
    }
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function prunedBy(entries: readonly Proven[]): readonly Pruning[] {
  return entries.flatMap(({ kind, entry }) => {
    const { from, to, except = [] } = entry
    return kind === 'log.pruned' && isIndex(from) && isIndex(to) && Array.isArray(except)
      ? [{ from: from as number, to: to as number, except: except as number[] }]
      : []
  })
}

/** Those of `seqs` that no pruning speaks of. */
function uncoveredBy(prunings: readonly Pruning[], seqs: readonly number[]): readonly number[] {
  if (seqs.length === 0) return seqs
  const sets = prunings.map(({ from, to, except }) => ({ from, to, except: new Set(except) }))
  return seqs.filter((seq) => !sets.some((one) => seq >= one.from && seq < one.to && !one.except.has(seq)))
}
