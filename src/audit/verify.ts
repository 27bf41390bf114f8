/**
 * Verifying a whole log: every entry, every recorded head, and the heads that somebody saved. Shares nothing with the
 * writer but the hash functions, so that a mistake there is not repeated here.
 *
 * @module
 */
import { isWritError } from '../model/errors.ts'
import { leafHash } from '../store/hash.ts'
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
  heads: Iterable<Head>
  /** Under which references entries can be found, by sequence number. */
  refs: Iterable<Readonly<{ ref: string; seq: number }>>
  /** What the next append would build on. */
  state: Readonly<{ size: number; frontierRoots: readonly string[] }>
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
  const tree = new TreeBuilder()
  const check = new Check(tree, [saved].flat(), source.inside)
  try {
    const head = await source.head()
    while (tree.size < head.size && check.firstBad === undefined) {
      const page = await source.entries(tree.size, Math.min(tree.size + PAGE, head.size))
      if (page.length === 0) break
      for (const entry of page) if (check.firstBad === undefined) check.entry(entry)
    }
    const more = source.inside === undefined ? [] : await source.entries(head.size, head.size + 1)
    check.end(head, more.length > 0)
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
  readonly #heads: Cursor<Head>
  readonly #refs: Cursor<{ ref: string; seq: number }> | undefined
  readonly #state: Inside['state'] | undefined
  /** Size up to which a recorded head agreed. */
  #agreed = 0
  /** The first recorded head that does not agree: whether it or an entry was changed shows at the end. */
  #suspect: { from: number; to: number } | undefined
  #at = Number.NEGATIVE_INFINITY

  constructor(tree: TreeBuilder, saved: readonly Head[], inside: Inside | undefined) {
    this.#tree = tree
    this.#saved = saved.toSorted((a, b) => a.size - b.size)
    this.#heads = new Cursor(inside?.heads ?? [])
    this.#refs = inside && new Cursor(inside.refs)
    this.#state = inside?.state
  }

  bad(index: number, why: string): void {
    // an entry replaced together with its hash shows first in a head, which comes after it
    if (this.#suspect !== undefined && this.#suspect.from < index) return this.#blameSuspect()
    this.firstBad ??= { index, why }
  }

  entry(given: SourceEntry): void {
    const index = this.#tree.size
    if ('pruned' in given) return this.bad(index, 'was pruned')
    const { seq, at, bytes, leaf } = given
    if (seq !== index) return this.bad(index, `is missing: entry ${seq} stands in its place`)
    const hash = leafHash(bytes)
    if (leaf !== undefined && Buffer.compare(leaf, hash) !== 0)
      return this.bad(index, 'does not match its hash')
    const entry = parseEntry(bytes)
    if (typeof entry === 'string') return this.bad(index, entry)
    if (entry['seq'] !== index) return this.bad(index, `says it is entry ${String(entry['seq'])}`)
    if (entry['at'] !== at) return this.bad(index, 'says another time than is recorded beside it')
    if (at < this.#at) return this.bad(index, 'is dated before the entry ahead of it')
    this.#at = at
    const lost = this.#wrongRef(index, entry['refs'])
    if (lost !== undefined) return this.bad(index, lost)
    this.#tree.add(hash)
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
    const stray = this.#refs?.next()
    if (stray !== undefined)
      return this.bad(size, `is missing: \`${stray.ref}\` refers to entry ${stray.seq}`)
    if (this.#state !== undefined && !this.#isFrontier(this.#state)) {
      return this.bad(size, 'would not continue the log: its state was changed')
    }
    for (const saved of this.#saved) {
      if (saved.size > size) return this.bad(size, `is missing: a saved head has ${saved.size} entries`)
    }
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

  #wrongRef(index: number, refs: unknown): string | undefined {
    if (this.#refs === undefined) return undefined
    const found: string[] = []
    for (let ref = this.#refs.peek(); ref !== undefined && ref.seq <= index; ref = this.#refs.peek()) {
      this.#refs.next()
      if (ref.seq < index) return `is listed under \`${ref.ref}\` as entry ${ref.seq}`
      found.push(ref.ref)
    }
    // a list too long for its entry was replaced by its digest
    if (!Array.isArray(refs)) return undefined
    const expected = new Set(refs as string[])
    const missing = [...expected].find((ref) => !found.includes(ref))
    if (missing !== undefined) return `cannot be found under \`${missing}\``
    const extra = found.find((ref) => !expected.has(ref))
    return extra === undefined ? undefined : `is listed under \`${extra}\`, which it does not mention`
  }

  #isFrontier({ size, frontierRoots }: Inside['state']): boolean {
    return size === this.#tree.size && frontierRoots.join() === this.#tree.peaks().join()
  }
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

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The members of an entry, or why its bytes are not what an entry may be. */
export function parseEntry(bytes: Uint8Array): Readonly<Record<string, unknown>> | string {
  if (bytes.length > ENTRY_LIMIT) return `is longer than ${ENTRY_LIMIT} bytes`
  let text: string
  let entry: unknown
  try {
    text = utf8.decode(bytes)
    entry = JSON.parse(text)
  } catch {
    // why it is not JSON does not matter to whoever reads the verdict
    return 'is not JSON'
  }
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) return 'is not an object'
  if (rewrite(entry) !== text) return 'is not in canonical form'
  const members = entry as Readonly<Record<string, unknown>>
  if (!FORMS.includes(members['v'])) return `has an unknown form \`${String(members['v'])}\``
  if (typeof members['kind'] !== 'string' || members['kind'] === '') return 'has no kind'
  return members
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
