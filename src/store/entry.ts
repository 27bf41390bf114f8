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
const LONGEST_KIND = 128

type Members = Record<string, Json | undefined>

/**
 * The bytes of an entry. What would make it too long is replaced, largest first, by `{ "$digest": "sha256:…",
 * "size": n }` over the canonical form of what stood there; text that has no UTF-8 form likewise, over its form with
 * `\ud800` escapes. `cut` lists the places, so that nobody can pass such an object off as a replacement.
 *
 * @throws {TypeError} for members that the store owns, and for what JSON cannot hold.
 */
export function encodeEntry(seq: number, at: Instant, body: EntryBody): Uint8Array {
  for (const name of OWNED) {
    if (name in body) throw new TypeError(`\`${name}\` of an entry belongs to the store`)
  }
  if (body.kind === '' || body.kind.length > LONGEST_KIND)
    throw new TypeError('an entry needs a short `kind`')
  const entry: Members = { ...body, v: ENTRY_VERSION, seq, at }
  const bytes = Buffer.from(canonicalOrMended(entry))
  return bytes.length <= ENTRY_LIMIT ? bytes : Buffer.from(shortened(entry))
}

function canonicalOrMended(entry: Members): string {
  try {
    return canonical(entry)
  } catch (error) {
    const cut: string[] = []
    const mended = mend(entry, '', cut) as Members
    if (cut.length === 0) throw new TypeError('an entry holds what JSON cannot', { cause: error })
    for (const name of Object.keys(entry)) delete entry[name]
    Object.assign(entry, mended, { cut: cut.slice(0, MOST_CUTS) })
    return canonical(entry)
  }
}

/** Replaces strings, and objects with member names, that have no UTF-8 form. */
function mend(value: Json | undefined, path: string, cut: string[]): Json | undefined {
  const isIllFormed =
    typeof value === 'string'
      ? !value.isWellFormed()
      : isMembers(value) && Object.keys(value).some((name) => !name.isWellFormed())
  if (isIllFormed) {
    cut.push(path)
    return digest(JSON.stringify(value))
  }
  if (Array.isArray(value)) return value.map((item: Json, i) => mend(item, `${path}/${i}`, cut) ?? null)
  if (!isMembers(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [name, mend(member, `${path}/${pointer(name)}`, cut)]),
  )
}

function shortened(entry: Members): string {
  const cut = Array.isArray(entry['cut']) ? [...(entry['cut'] as string[])] : []
  for (const candidates of [
    Object.keys(entry).filter((name) => !KEPT.has(name)),
    Object.keys(entry).filter((name) => name === 'refs'),
  ]) {
    while (cut.length < 2 * MOST_CUTS && cutLargest(entry, candidates, '', cut)) {
      entry['cut'] = cut
      const text = canonical(entry)
      if (Buffer.byteLength(text) <= ENTRY_LIMIT) return text
    }
  }
  // so many small members that no single one is to blame
  const { v, seq, at, kind, cut: _cut, ...rest } = entry
  return canonical({ v, seq, at, kind, cut: ['/rest'], rest: digest(canonical(rest)) })
}

/**
 * Replaces the largest of `names` in `holder`, or the largest part of it when that is most of it, so that as much as
 * possible stays readable. `false` when nothing is worth replacing.
 */
function cutLargest(holder: Members, names: readonly string[], path: string, cut: string[]): boolean {
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
      return cutLargest(copy, [part], place, cut)
    }
  }
  cut.push(place)
  holder[largest.name] = digest(largest.text)
  return true
}

function digest(text: string): Json {
  return { $digest: `sha256:${hex(sha256(text))}`, size: Buffer.byteLength(text) }
}

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const pointer = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1')
