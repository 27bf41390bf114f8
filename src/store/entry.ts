/**
 * How an entry is written: one canonical JSON object of at most 65,535 bytes, whatever was put into it (B69).
 *
 * @module
 */
import { canonical } from '../model/canonical.ts'
import type { Json } from '../model/canonical.ts'
import type { Instant } from '../model/time.ts'
import { hex, sha256 } from './hash.ts'
import type { EntryBody } from './port.ts'

/** The version of this form, in every entry. */
export const ENTRY_VERSION = 1
/** Most bytes of one entry: C2SP tlog-tiles gives its length 16 bits. */
export const ENTRY_LIMIT = 65_535

/** Members that only the store writes; `cut` names, as JSON pointers, what was replaced by its digest. */
const OWNED = ['v', 'seq', 'at', 'cut'] as const
/** What must stay readable as long as anything does. */
const KEPT = new Set<string>([...OWNED, 'kind', 'refs'])
/** Below this a digest would save nothing. */
const SMALL = 128
const MOST_CUTS = 64
/** Most characters of the places in `cut` that mending alone leaves. */
const MOST_PLACES = 4_096
const LONGEST_KIND = 128
const LONGEST_TERM = 256

type Members = Record<string, Json | undefined>

/** What was cut out of an entry, by the digest that stands there instead. */
export type Body = Readonly<{ digest: string; bytes: Uint8Array }>

/** `terms`: what the entry is searched by beside its references. */
export type Encoded = Readonly<{ bytes: Uint8Array; bodies: readonly Body[]; terms: readonly string[] }>

/** Digests and what they stand for. */
type Kept = Map<string, string>

/**
 * The bytes of an entry. What would make it too long is replaced, largest first, by `{ "$digest": "sha256:…",
 * "kept": true, "size": n }` over the canonical form of what stood there; text that has no UTF-8 form likewise, over its
 * form with `\ud800` escapes. `cut` lists the places, so that nobody can pass such an object off as a replacement; what
 * stood there is kept beside the entry. A place inside another that was cut later is found in what was kept of that.
 *
 * @throws {TypeError} for members that the store owns, and for what JSON cannot hold.
 */
export function encodeEntry(seq: number, at: Instant, body: EntryBody): Encoded {
  for (const name of OWNED) {
    if (name in body) throw new TypeError(`\`${name}\` of an entry belongs to the store`)
  }
  if (body.kind === '' || body.kind.length > LONGEST_KIND)
    throw new TypeError('an entry needs a short `kind`')
  const kept: Kept = new Map()
  const entry: Members = { ...body, v: ENTRY_VERSION, seq, at }
  const terms = termsOf(entry)
  const bytes = Buffer.from(canonicalOrMended(entry, kept))
  const fits = bytes.length <= ENTRY_LIMIT ? bytes : Buffer.from(shortened(entry, kept))
  const bodies = [...kept].map(([digest, text]) => ({ digest, bytes: Buffer.from(text) }))
  return { bytes: fits, bodies, terms }
}

/** `kind=…`, and where an entry has them `outcome=…` and `action=…`. */
export function termsOf(entry: Readonly<Record<string, unknown>>): string[] {
  const { kind, outcome, action, attempt } = entry
  const tried = isMembers(attempt) && isMembers(attempt['action']) ? attempt['action']['name'] : undefined
  const terms: string[] = []
  const add = (name: string, value: unknown): void => {
    if (typeof value === 'string' && value.length <= LONGEST_TERM && value.isWellFormed())
      terms.push(`${name}=${value}`)
  }
  add('kind', kind)
  add('outcome', outcome)
  add('action', typeof action === 'string' ? action : tried)
  return terms
}

/** A parsed entry with everything back in its place of which `body` has the bytes. */
export function restored(
  entry: Readonly<Record<string, unknown>>,
  body: (digest: string) => Uint8Array | undefined,
): Readonly<Record<string, unknown>> {
  const { cut, ...members } = structuredClone(entry)
  if (!Array.isArray(cut)) return entry
  const root: Record<string, unknown> = members
  // what lies inside another stands in what was kept of that
  for (const place of (cut as string[]).toSorted((a, b) => a.length - b.length)) {
    const names = place.split('/').slice(1).map(unpointer)
    const last = names.pop() ?? ''
    let holder: unknown = root
    for (const name of names)
      holder = Array.isArray(holder) || isMembers(holder) ? own(holder, name) : undefined
    if (!Array.isArray(holder) && !isMembers(holder)) continue
    const there = own(holder, last)
    const digest = isMembers(there) && there['kept'] === true ? there['$digest'] : undefined
    const bytes = typeof digest === 'string' ? body(digest) : undefined
    if (bytes === undefined) continue
    const value: unknown = JSON.parse(Buffer.from(bytes).toString())
    Object.defineProperty(holder, last, { value, enumerable: true, writable: true, configurable: true })
  }
  const { rest, ...others } = root
  return (cut as string[]).includes('/rest') && isMembers(rest) ? { ...others, ...rest } : root
}

const own = (holder: object, name: string): unknown =>
  Object.hasOwn(holder, name) ? (holder as Record<string, unknown>)[name] : undefined

function canonicalOrMended(entry: Members, kept: Kept): string {
  try {
    return canonical(entry)
  } catch (error) {
    const cut: string[] = []
    const own: Kept = new Map()
    let mended = mend(entry, '', cut, own) as Members
    if (cut.length === 0) throw new TypeError('an entry holds what JSON cannot', { cause: error })
    if (cut.length > MOST_CUTS || cut.join('').length > MOST_PLACES) {
      const names = new Set(cut.splice(0).map((place) => place.split('/')[1]))
      own.clear()
      mended = { ...entry }
      for (const name of Object.keys(entry).filter((it) => names.has(it))) {
        cut.push(`/${pointer(name)}`)
        mended[name] = digest(JSON.stringify(entry[name]), own)
      }
    }
    for (const name of Object.keys(entry)) delete entry[name]
    Object.assign(entry, mended, { cut })
    for (const [key, text] of own) kept.set(key, text)
    return canonical(entry)
  }
}

/** Replaces strings, and objects with member names, that have no UTF-8 form. */
function mend(value: Json | undefined, path: string, cut: string[], kept: Kept): Json | undefined {
  const isIllFormed =
    typeof value === 'string'
      ? !value.isWellFormed()
      : isMembers(value) && Object.keys(value).some((name) => !name.isWellFormed())
  if (isIllFormed) {
    cut.push(path)
    return digest(JSON.stringify(value), kept)
  }
  if (Array.isArray(value)) {
    return value.map((item: Json, i) => mend(item, `${path}/${i}`, cut, kept) ?? null)
  }
  if (!isMembers(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      name,
      mend(member, `${path}/${pointer(name)}`, cut, kept),
    ]),
  )
}

function shortened(entry: Members, kept: Kept): string {
  const mended = Array.isArray(entry['cut']) ? (entry['cut'] as string[]) : []
  const whole = { ...entry }
  const own: Kept = new Map()
  const cut = [...mended]
  for (const candidates of [
    Object.keys(entry).filter((name) => !KEPT.has(name)),
    Object.keys(entry).filter((name) => name === 'refs'),
  ]) {
    while (cut.length < 2 * MOST_CUTS && cutLargest(entry, candidates, '', cut, own)) {
      entry['cut'] = cut
      const text = canonical(entry)
      if (Buffer.byteLength(text) <= ENTRY_LIMIT) {
        for (const [key, body] of own) kept.set(key, body)
        return text
      }
    }
  }
  // so many small members that no single one is to blame
  const { v, seq, at, kind, cut: _cut, ...rest } = whole
  const places = ['/rest', ...mended.map((place) => `/rest${place}`)]
  return canonical({ v, seq, at, kind, cut: places, rest: digest(canonical(rest), kept) })
}

/**
 * Replaces the largest of `names` in `holder`, or the largest part of it when that is most of it, so that as much as
 * possible stays readable. `false` when nothing is worth replacing.
 */
function cutLargest(
  holder: Members,
  names: readonly string[],
  path: string,
  cut: string[],
  kept: Kept,
): boolean {
  const largest = names
    .map((name) => ({ name, text: holder[name] === undefined ? '' : canonical(holder[name]) }))
    .reduce((most, it) => (it.text.length > most.text.length ? it : most), { name: '', text: '' })
  if (largest.text.length <= SMALL) return false
  const place = `${path}/${pointer(largest.name)}`
  const value = holder[largest.name]
  if (isMembers(value) && place.length < SMALL) {
    const parts = Object.keys(value)
    const isMostly = (part: string) =>
      value[part] !== undefined && canonical(value[part]).length > largest.text.length / 2
    const [part] = parts.filter(isMostly)
    if (part !== undefined && parts.length > 1 && part.length <= SMALL) {
      const copy: Members = { ...value }
      holder[largest.name] = copy as Json
      return cutLargest(copy, [part], place, cut, kept)
    }
  }
  cut.push(place)
  holder[largest.name] = digest(largest.text, kept)
  return true
}

function digest(text: string, kept: Kept): Json {
  const $digest = `sha256:${hex(sha256(text))}`
  kept.set($digest, text)
  return { $digest, kept: true, size: Buffer.byteLength(text) }
}

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const unpointer = (name: string): string => name.replaceAll('~1', '/').replaceAll('~0', '~')
const pointer = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1')
