/**
 * Verifying a whole log: every entry, every recorded head, and the heads that somebody saved. Shares nothing with the
 * writer but the hash functions, so that a mistake there is not repeated here.
 *
 * @module
 */
import { isUtf8 } from 'node:buffer'
import { isWritError } from '../model/errors.ts'
import { hex, leafHash, sha256 } from '../store/hash.ts'
import type { Listing } from './listings.ts'
import { ListingSum } from './listings.ts'
import { TreeBuilder } from './tree.ts'

export type Head = Readonly<{ size: number; root: string /* lowercase hex */ }>

/** One entry as a source gives it; `leaf` if the source keeps its hash beside it. */
export type SourceEntry =
  | Readonly<{ seq: number; at: number; bytes: Uint8Array; leaf?: Uint8Array }>
  | Readonly<{ seq: number; at: number; leaf: Uint8Array; pruned: true }>

/** Where a log is read from: a data folder, a server, a file. */
export interface LogSource {
  /** What the source says its log is now. */
  head(): Promise<Head>
  /** Entries from `from` (inclusive) to `to` (exclusive), in order; 1,000 at most are asked for. */
  entries(from: number, to: number): Promise<readonly SourceEntry[]>
  /** What only the data folder has. */
  readonly inside?: Inside
}

export type Inside = Readonly<{
  /** The head after each batch, by size. */
  heads(): Iterable<Head>
  /** Under which references and terms entries can be found: in any order, or by sequence number. */
  listings(order: 'any' | 'seq'): Iterable<Listing>
  /** How far these go; as far as the log does if it does not say. */
  listed?: Listed
  /** Hashes of complete subtrees of 256^`level` leaves. */
  nodes(): Iterable<Readonly<{ level: number; index: number; hash: string /* lowercase hex */ }>>
  /** What was kept of what entries hold the digests of, by sequence number. */
  bodies(): Iterable<Readonly<{ seq: number; digest: string; bytes: Uint8Array }>>
  /** What the next append would build on. */
  state: Readonly<{ size: number; frontierRoots: readonly string[] }>
}>

/**
 * Entries before `done` are listed, later ones before `until` so far as their listings, references first, come by text
 * and sequence number no later than `place`.
 */
export type Listed = Readonly<{
  done: number
  until: number
  place: Readonly<{ list: string; text: string; seq: number }>
}>

export type Verdict = Readonly<{
  ok: boolean
  /** Of the log as far as it was read. */
  size: number
  root: string
  /** The first entry that is not what was written; `index` may be the size of the log, when what follows is missing. */
  firstBad?: Readonly<{ index: number; why: string }>
}>

const PAGE = 1_000
const ENTRY_LIMIT = 65_535
const FORMS: readonly unknown[] = [1]

/**
 * Whether the log is exactly what was appended, entry by entry, and continues every head in `saved`. Without a saved
 * head only changes that were not carried through to the end can be found: whoever can rewrite everything can make a
 * consistent log.
 */
export async function verifyLog(source: LogSource, saved: Head | readonly Head[] = []): Promise<Verdict> {
  const heads = [saved].flat()
  const verdict = await verifyOnce(source, heads, 'any')
  // what is listed was only summed up: which entry it is that is listed wrongly, or found first, takes a second look
  return verdict.ok || source.inside === undefined ? verdict : verifyOnce(source, heads, 'seq')
}

async function verifyOnce(source: LogSource, saved: readonly Head[], order: 'any' | 'seq'): Promise<Verdict> {
  const tree = new TreeBuilder()
  const check = new Check(tree, saved, source.inside, order)
  try {
    const head = await source.head()
    while (tree.size < head.size && check.firstBad === undefined) {
      const page = await source.entries(tree.size, Math.min(tree.size + PAGE, head.size))
      if (page.length === 0) break
      for (const entry of page) if (check.firstBad === undefined) check.entry(entry)
    }
    const more = source.inside === undefined ? [] : await source.entries(head.size, head.size + 1)
    check.end(head, more.length > 0)
    if (check.firstBad === undefined) await check.prunings(source)
  } catch (error) {
    if (!isWritError(error, 'ERR_STORE_CORRUPT')) throw error
    check.bad(tree.size, `cannot be read: ${error.detail ?? error.message}`)
  }
  const { firstBad } = check
  return { ok: firstBad === undefined, size: tree.size, root: tree.root(), ...(firstBad && { firstBad }) }
}

/** Walks along the log with everything that speaks about it. */
class Check {
  firstBad: Verdict['firstBad']
  readonly #tree: TreeBuilder
  readonly #saved: readonly Head[]
  readonly #inside: Inside | undefined
  readonly #heads: Cursor<Head>
  /** By sequence number; otherwise what is listed is summed up. */
  readonly #listings: Cursor<Listing> | undefined
  readonly #sum: ListingSum | undefined
  readonly #bodies: Cursor<{ seq: number; digest: string; bytes: Uint8Array }>
  readonly #nodes = new Map<string, string>()
  readonly #pruned: number[] = []
  readonly #prunings: Pruning[] = []
  /** Size up to which a recorded head agreed. */
  #agreed = 0
  /** The first recorded head that does not agree: whether it or an entry was changed shows at the end. */
  #suspect: { from: number; to: number } | undefined
  #at = Number.NEGATIVE_INFINITY

  constructor(tree: TreeBuilder, saved: readonly Head[], inside: Inside | undefined, order: 'any' | 'seq') {
    this.#tree = tree
    this.#saved = saved.toSorted((a, b) => a.size - b.size)
    this.#inside = inside
    this.#heads = new Cursor(inside?.heads() ?? [])
    if (order === 'seq') this.#listings = inside && new Cursor(inside.listings('seq'))
    else this.#sum = inside && new ListingSum()
    this.#bodies = new Cursor(inside?.bodies() ?? [])
    for (const { level, index, hash } of inside?.nodes() ?? []) this.#nodes.set(`${level}/${index}`, hash)
  }

  bad(index: number, why: string): void {
    // an entry replaced together with its hash shows first in a head, which comes after it
    if (this.#suspect !== undefined && this.#suspect.from < index) return this.#blameSuspect()
    this.firstBad ??= { index, why }
  }

  entry(given: SourceEntry): void {
    const index = this.#tree.size
    const { seq, at } = given
    if (seq !== index) return this.bad(index, `is missing: entry ${seq} stands in its place`)
    const leaf = 'pruned' in given ? this.#prunedLeaf(given) : this.#leaf(given)
    if (typeof leaf === 'string') return this.bad(index, leaf)
    if (at < this.#at) return this.bad(index, 'is dated before the entry ahead of it')
    this.#at = at
    this.#tree.add(leaf)
    const node = this.#wrongNode()
    if (node !== undefined) return this.bad(index, node)
    this.#recordedHeads()
  }

  end(head: Head, hasMore: boolean): void {
    if (this.firstBad !== undefined) return
    const { size } = this.#tree
    if (size < head.size) return this.bad(size, `is missing: the log should have ${head.size} entries`)
    if (hasMore) return this.bad(size, 'is not covered by the head of the log')
    if (head.root !== this.#tree.root()) {
      this.#suspect ??= { from: this.#agreed, to: size }
      return this.#blameSuspect()
    }
    if (this.#suspect !== undefined) {
      return this.bad(this.#suspect.from, `the head recorded after entry ${this.#suspect.to - 1} was changed`)
    }
    const extra = this.#heads.next()
    if (extra !== undefined) return this.bad(size, `is missing: a head was recorded at ${extra.size} entries`)
    const stray = this.#listings?.next()
    if (stray !== undefined)
      return this.bad(size, `is missing: \`${stray.text}\` refers to entry ${stray.seq}`)
    if (this.#inside !== undefined && this.#sum?.isSumOf(this.#inside.listings('any')) === false)
      return this.bad(size, 'references or search terms are not those of the entries')
    const body = this.#bodies.next()
    if (body !== undefined)
      return this.bad(size, `is missing: \`${body.digest}\` was kept for entry ${body.seq}`)
    const [node] = this.#nodes.keys()
    if (node !== undefined)
      return this.bad(size, `would not continue the log: node ${node} is not of its tree`)
    if (this.#inside !== undefined && !this.#isFrontier(this.#inside.state)) {
      return this.bad(size, 'would not continue the log: its state was changed')
    }
    if (this.#inside?.listed !== undefined && !isListed(this.#inside.listed, size))
      return this.bad(size, 'would not be found in the log: what is listed was changed')
    for (const saved of this.#saved) {
      if (saved.size > size) return this.bad(size, `is missing: a saved head has ${saved.size} entries`)
    }
  }

  /** Whether retention said of every pruned entry that it would be pruned, and of which time it was. */
  async prunings(source: LogSource): Promise<void> {
    const covered = new Set<number>()
    for (const pruning of this.#prunings) {
      const left = new Set(pruning.except)
      const rows: SourceEntry[] = []
      for (let from = pruning.from; from < pruning.to; from += PAGE)
        rows.push(...(await source.entries(from, Math.min(from + PAGE, pruning.to))))
      const gone = rows.filter(({ seq }) => !left.has(seq))
      if (gone.length !== pruning.count || timesDigest(gone.map(({ at }) => at)) !== pruning.times)
        return this.bad(
          pruning.from,
          `or a later one before ${pruning.to} has another time than when it was pruned`,
        )
      for (const { seq, at } of gone) if (at < pruning.before) covered.add(seq)
    }
    const bare = this.#pruned.find((seq) => !covered.has(seq))
    if (bare !== undefined) this.bad(bare, 'was pruned, and no `log.pruned` says so')
  }

  #leaf({ seq, at, bytes, leaf }: Exclude<SourceEntry, { pruned: true }>): Uint8Array | string {
    const index = seq
    const hash = leafHash(bytes)
    if (leaf !== undefined && Buffer.compare(leaf, hash) !== 0) return 'does not match its hash'
    const entry = parseEntry(bytes)
    if (typeof entry === 'string') return entry
    if (entry['seq'] !== index) return `says it is entry ${String(entry['seq'])}`
    if (entry['at'] !== at) return 'says another time than is recorded beside it'
    if (entry['kind'] === 'log.pruned') {
      const pruning = asPruning(entry, index)
      if (pruning === undefined) return 'does not say what was pruned'
      this.#prunings.push(pruning)
    }
    return (this.#inside && this.#beside(index, entry)) ?? hash
  }

  #prunedLeaf({ seq, leaf }: Extract<SourceEntry, { pruned: true }>): Uint8Array | string {
    if (leaf.length !== 32) return 'was pruned, and its hash is none'
    this.#pruned.push(seq)
    if (this.#inside === undefined) return leaf
    const kept = this.#bodiesOf(seq)
    if (kept.size > 0) return 'was pruned, but not what was kept of it'
    return this.#wrongListing(seq, []) ?? leaf
  }

  /** What is wrong with what the folder has beside an entry. */
  #beside(seq: number, entry: Members): string | undefined {
    const kept = this.#bodiesOf(seq)
    for (const [digest, bytes] of kept) {
      if (`sha256:${hex(sha256(bytes))}` !== digest)
        return `\`${digest}\`, which was kept of it, does not match its digest`
    }
    const { whole, isWhole, used, lost } = restore(entry, kept)
    if (lost !== undefined) return `${lost} was kept of it, and is missing or changed`
    const extra = [...kept.keys()].find((digest) => !used.has(digest))
    if (extra !== undefined) return `\`${extra}\`, which was kept of it, is not of it`
    // of what was cut before anything was kept, the references are not known
    if (!isWhole) return this.#wrongListing(seq, undefined)
    const refs = Array.isArray(whole['refs']) ? new Set(whole['refs'] as string[]) : []
    return this.#wrongListing(seq, [
      ...[...refs].map((text) => ({ list: 'ref', text, seq }) as const),
      ...termsOf(whole).map((text) => ({ list: 'term', text, seq }) as const),
    ])
  }

  #bodiesOf(seq: number): Map<string, Uint8Array> {
    const found = new Map<string, Uint8Array>()
    for (let body = this.#bodies.peek(); body !== undefined && body.seq <= seq; body = this.#bodies.peek()) {
      this.#bodies.next()
      // of an earlier entry that is not there, or twice the same: of no entry's digests then
      found.set(body.seq === seq && !found.has(body.digest) ? body.digest : `entry ${body.seq}`, body.bytes)
    }
    return found
  }

  /** Whether it is listed already. */
  #isListed({ list, text, seq }: Listing): boolean {
    const listed = this.#inside?.listed
    if (listed === undefined || seq < listed.done) return true
    const { until, place } = listed
    if (seq >= until || place.list === '') return false
    if (list !== place.list) return list < place.list
    return text < place.text || (text === place.text && seq <= place.seq)
  }

  /** `mentioned` is `undefined` when it cannot be known. */
  #wrongListing(seq: number, mentioned: readonly Listing[] | undefined): string | undefined {
    const expected = mentioned?.filter((listing) => this.#isListed(listing))
    if (expected === undefined) this.#sum?.skip(seq)
    else for (const listing of expected) this.#sum?.add(listing)
    if (this.#listings === undefined) return undefined
    const found: Listing[] = []
    for (let it = this.#listings.peek(); it !== undefined && it.seq <= seq; it = this.#listings.peek()) {
      this.#listings.next()
      if (it.seq < seq) return `is listed under \`${it.text}\` as entry ${it.seq}`
      found.push(it)
    }
    if (expected === undefined) return undefined
    const isIn = (list: readonly Listing[], it: Listing) =>
      list.some((other) => other.list === it.list && other.text === it.text)
    const missing = expected.find((it) => !isIn(found, it))
    if (missing !== undefined) return `cannot be found under \`${missing.text}\``
    const extra = found.find((it) => !isIn(expected, it))
    if (extra !== undefined) return `is listed under \`${extra.text}\`, which it does not mention`
    return found.length > expected.length ? 'is listed twice' : undefined
  }

  /** Compares the nodes over the subtrees that the last leaf completed. */
  #wrongNode(): string | undefined {
    if (this.#inside === undefined) return undefined
    const { size } = this.#tree
    for (let [level, width] = [1, 256]; size % width === 0; [level, width] = [level + 1, width * 256]) {
      const key = `${level}/${size / width - 1}`
      if (this.#nodes.get(key) !== this.#tree.completed(8 * level)) return `node ${key} over it was changed`
      this.#nodes.delete(key)
    }
    return undefined
  }

  /** Compares every recorded and saved head of the present size. */
  #recordedHeads(): void {
    const { size } = this.#tree
    for (let head = this.#heads.peek(); head !== undefined && head.size <= size; head = this.#heads.peek()) {
      this.#heads.next()
      if (head.size === size && head.root === this.#tree.root())
        this.#agreed = this.#suspect ? this.#agreed : size
      else this.#suspect ??= { from: this.#agreed, to: size }
    }
    for (const saved of this.#saved) {
      if (saved.size === size && saved.root !== this.#tree.root()) {
        const from = this.#saved.findLast((it) => it.size < size)?.size ?? 0
        this.firstBad ??= {
          index: from,
          why: `or a later one before ${size} differs from what a saved head covers`,
        }
      }
    }
  }

  #blameSuspect(): void {
    const { from, to } = this.#suspect as { from: number; to: number }
    const which = to - from > 1 ? `or another up to ${to - 1} was` : 'was'
    this.firstBad ??= {
      index: from,
      why: `${which} replaced together with its hash: the head recorded after it differs`,
    }
  }

  #isFrontier({ size, frontierRoots }: Inside['state']): boolean {
    return size === this.#tree.size && frontierRoots.join() === this.#tree.peaks().join()
  }
}

/** Whether the lists can have got so far. */
function isListed({ done, until, place }: Listed, size: number): boolean {
  if (!(done >= 0 && done <= until && until <= size)) return false
  if (place.list === '') return done === until && place.text === '' && place.seq === 0
  return ['ref', 'term'].includes(place.list) && place.seq >= done && place.seq < until
}

type Members = Readonly<Record<string, unknown>>

/** What an entry `log.pruned` says: entries `from` to `to` without `except`, `count` of them, all before `before`. */
type Pruning = Readonly<{
  from: number
  to: number
  except: readonly number[]
  count: number
  before: number
  times: string
}>

function asPruning(entry: Members, seq: number): Pruning | undefined {
  const { from, to, except = [], count, before, times } = entry
  if (![from, to, count, before].every(Number.isSafeInteger) || typeof times !== 'string') return undefined
  if (!Array.isArray(except) || !except.every(Number.isSafeInteger)) return undefined
  const pruning = { from, to, except, count, before, times } as Pruning
  return pruning.from >= 0 && pruning.to <= seq ? pruning : undefined
}

/** What ties the times of pruned entries to the log, in which nothing else holds them any more. */
function timesDigest(times: readonly number[]): string {
  return `sha256:${hex(sha256(`[${times.join(',')}]`))}`
}

/**
 * An entry with what was cut from it back in its place. `isWhole` is false when something was cut before anything was
 * kept; `lost` names what should have been kept.
 */
function restore(
  entry: Members,
  kept: ReadonlyMap<string, Uint8Array>,
): { whole: Members; isWhole: boolean; used: ReadonlySet<string>; lost?: string } {
  const { cut } = entry
  const used = new Set<string>()
  if (cut === undefined) return { whole: entry, isWhole: true, used }
  if (!Array.isArray(cut) || !cut.every((it) => typeof it === 'string'))
    return { whole: entry, isWhole: false, used, lost: '`cut` says wrongly what' }
  const whole = structuredClone(entry) as Record<string, unknown>
  let isWhole = true
  // the outer before the inner, which stands in what was kept of it
  for (const place of cut.toSorted((a, b) => a.split('/').length - b.split('/').length)) {
    const names = place.split('/').slice(1)
    const last = names.pop()
    const holder = names.reduce<unknown>((held, name) => member(held, name), whole)
    const digest = last === undefined ? undefined : member(holder, last)
    if (last === undefined || !isDigest(digest)) {
      // inside something cut before anything was kept
      if (!isWhole) continue
      return { whole, isWhole, used, lost: `\`${place}\`` }
    }
    if (digest.kept !== true) {
      isWhole = false
      continue
    }
    const bytes = kept.get(digest.$digest)
    if (bytes?.length !== digest.size) return { whole, isWhole, used, lost: `\`${place}\`` }
    used.add(digest.$digest)
    const value: unknown = JSON.parse(Buffer.from(bytes).toString())
    Object.defineProperty(holder, unescape(last), {
      value,
      enumerable: true,
      writable: true,
      configurable: true,
    })
  }
  const isMostly = cut.includes('/rest') && isWhole
  return { whole: isMostly ? { ...whole, ...(whole['rest'] as Members) } : whole, isWhole, used }
}

const unescape = (name: string): string => name.replaceAll('~1', '/').replaceAll('~0', '~')

function member(holder: unknown, name: string): unknown {
  const key = unescape(name)
  return typeof holder === 'object' && holder !== null && Object.hasOwn(holder, key)
    ? (holder as Record<string, unknown>)[key]
    : undefined
}

function isDigest(value: unknown): value is { $digest: string; size: number; kept?: boolean } {
  return typeof value === 'object' && value !== null && '$digest' in value && 'size' in value
}

/** The terms by which an entry must be found. */
function termsOf({ kind, outcome, action, attempt }: Members): string[] {
  const tried = member(member(attempt, 'action'), 'name')
  return [
    ['kind', kind],
    ['outcome', outcome],
    ['action', typeof action === 'string' ? action : tried],
  ].flatMap(([name, value]) =>
    typeof value === 'string' && value.length <= 256 && value.isWellFormed()
      ? [`${String(name)}=${value}`]
      : [],
  )
}

class Cursor<T> {
  readonly #items: Iterator<T>
  #ahead: T | undefined

  constructor(items: Iterable<T>) {
    this.#items = items[Symbol.iterator]()
  }

  peek(): T | undefined {
    if (this.#ahead === undefined) {
      const next = this.#items.next()
      if (next.done !== true) this.#ahead = next.value
    }
    return this.#ahead
  }

  next(): T | undefined {
    const item = this.peek()
    this.#ahead = undefined
    return item
  }
}

/** The members of an entry, or why its bytes are not what an entry may be. */
export function parseEntry(bytes: Uint8Array): Readonly<Record<string, unknown>> | string {
  if (bytes.length > ENTRY_LIMIT) return `is longer than ${ENTRY_LIMIT} bytes`
  if (!isUtf8(bytes)) return 'is not JSON'
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString()
  let entry: unknown
  try {
    entry = JSON.parse(text)
  } catch {
    // why it is not JSON does not matter to whoever reads the verdict
    return 'is not JSON'
  }
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return 'is not an object'
  if (!isCanonical(entry, text)) return 'is not in canonical form'
  const members = entry as Readonly<Record<string, unknown>>
  if (!FORMS.includes(members['v'])) return `has an unknown form \`${String(members['v'])}\``
  if (typeof members['kind'] !== 'string' || members['kind'] === '') return 'has no kind'
  return members
}

/** The engine's own writing, which is fast, is canonical wherever members come in order. */
function isCanonical(value: object, text: string): boolean {
  return (JSON.stringify(value) === text && isOrdered(value)) || rewrite(value) === text
}

function isOrdered(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true
  if (Array.isArray(value)) return value.every(isOrdered)
  let before: string | undefined
  for (const name in value) {
    if (before !== undefined && !(before < name)) return false
    before = name
    const inner = (value as Record<string, unknown>)[name]
    if (typeof inner === 'object' && !isOrdered(inner)) return false
  }
  return true
}

/** RFC 8785, by the letter of its §3.2: members by UTF-16 code units, everything else as ECMAScript prints it. */
export function rewrite(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(rewrite).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  let text = '{'
  for (const name of Object.keys(value).sort()) {
    const member = `${JSON.stringify(name)}:${rewrite((value as Record<string, unknown>)[name])}`
    text += text === '{' ? member : `,${member}`
  }
  return `${text}}`
}
