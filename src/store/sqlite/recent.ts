/**
 * What the end of the log can be found by, in memory. Listing an entry at once would write to a page of its own for
 * every text it is listed under, more the longer the log is: instead the listings of many entries are sorted and go
 * into the tables in the order of their texts, a few with every batch. The log itself says what is missing there.
 *
 * @module
 */

export type List = 'ref' | 'term'

/** One row of a list; rows compare by list, text (UTF-16) and sequence number. */
export type Place = Readonly<{ list: List; text: string; seq: number }>

/**
 * How far the tables go: entries before `done` are listed, those from there to `until` up to `place` (with `undefined`
 * none of them), later ones not.
 */
export type Listed = Readonly<{ done: number; until: number; place: Place | undefined }>

/** Rows to be written with a batch, and how far the tables go with them. */
export type Step = Readonly<{ rows: readonly Place[]; listed: Listed }>

type Entry = Readonly<{ seq: number; refs: readonly string[]; terms: readonly string[] }>

/** Entries after which the listings of a stretch of the log are written. */
export const STRETCH = 16_384
/** New texts that are sorted at once: little enough to hold up nobody. */
const RUN = 4_096
/** A stretch is written in less time than the next takes to fill. */
const HASTE = 1.25

export class Recent {
  readonly #most: number
  #listed: Listed
  /** Being written. */
  #older: Stretch | undefined
  #newer: Stretch

  constructor(listed: Listed, most: number = STRETCH) {
    this.#most = most
    this.#listed = listed
    this.#newer = new Stretch(listed.done)
  }

  /** Entries from here on are found here only. */
  get from(): number {
    return this.#listed.done
  }

  add(entry: Entry): void {
    this.#newer.add(entry)
    const { until } = this.#listed
    const isOld = until > this.#listed.done ? this.#newer.to === until : this.#newer.size >= this.#most
    if (isOld && this.#older === undefined) this.#turn()
  }

  /** Sequence numbers from `from` on, ascending. */
  seqs(list: List, text: string): readonly number[] {
    const older = this.#older?.seqs(list, text)
    const newer = this.#newer.seqs(list, text)
    return older === undefined ? (newer ?? []) : newer === undefined ? older : [...older, ...newer]
  }

  /** The entry is pruned. */
  forget(entry: Entry): void {
    if (this.#older !== undefined && entry.seq < this.#older.to) this.#older.forget(entry)
    else this.#newer.forget(entry)
  }

  /** What is to be written with a batch of `entries`, or in any case if `most` rows are asked for. */
  step(entries: number, most?: number): Step | undefined {
    if (most !== undefined && this.#older === undefined && this.#newer.size > 0) this.#turn()
    const older = this.#older
    if (older === undefined || (most ?? entries) === 0) return undefined
    const limit = most ?? Math.ceil((HASTE * entries * (1 + older.rows)) / older.size)
    const rows = older.rowsAfter(this.#listed.place, limit)
    const isLast = rows.length < limit
    const { done } = this.#listed
    const until = older.to
    const place = rows.at(-1) ?? this.#listed.place
    return { rows, listed: isLast ? { done: until, until, place: undefined } : { done, until, place } }
  }

  /** That step is durable. */
  stepped({ listed }: Step): void {
    this.#listed = listed
    if (listed.place !== undefined) return
    this.#older = undefined
    if (this.#newer.size >= this.#most) this.#turn()
  }

  #turn(): void {
    this.#older = this.#newer
    this.#older.close()
    this.#newer = new Stretch(this.#older.to)
  }
}

type Listing = { readonly text: string; seqs: number[] }

/** The listings of entries that follow each other. */
class Stretch {
  readonly from: number
  to: number
  rows = 0
  readonly #lists = { ref: new Texts(), term: new Texts() }

  constructor(from: number) {
    this.from = from
    this.to = from
  }

  get size(): number {
    return this.to - this.from
  }

  add({ seq, refs, terms }: Entry): void {
    for (const ref of refs) this.#lists.ref.add(ref, seq)
    for (const term of terms) this.#lists.term.add(term, seq)
    this.rows += refs.length + terms.length
    this.to = seq + 1
  }

  /** Nothing more is added. */
  close(): void {
    for (const list of LISTS) this.#lists[list].sort()
  }

  seqs(list: List, text: string): readonly number[] | undefined {
    return this.#lists[list].seqs(text)
  }

  forget({ seq, refs, terms }: Entry): void {
    for (const ref of refs) this.#lists.ref.forget(ref, seq)
    for (const term of terms) this.#lists.term.forget(term, seq)
  }

  /** The next rows in their order, of a stretch that is closed. */
  rowsAfter(place: Place | undefined, most: number): Place[] {
    const rows: Place[] = []
    const first = place === undefined ? 0 : LISTS.indexOf(place.list)
    for (const [i, list] of LISTS.entries())
      if (i >= first) this.#lists[list].rowsAfter(list, i === first ? place : undefined, most, rows)
    return rows
  }
}

/** In the order of their rows. */
const LISTS = ['ref', 'term'] as const satisfies readonly List[]

class Texts {
  readonly #listings = new Map<string, Listing>()
  /** Sorted; every listing is in one of them, or still to be sorted. */
  readonly #runs: Listing[][] = []
  #unsorted: Listing[] = []

  add(text: string, seq: number): void {
    const listing = this.#listings.get(text)
    if (listing !== undefined) {
      listing.seqs.push(seq)
      return
    }
    const made = { text, seqs: [seq] }
    this.#listings.set(text, made)
    if (this.#unsorted.push(made) >= RUN) this.sort()
  }

  sort(): void {
    if (this.#unsorted.length === 0) return
    this.#runs.push(this.#unsorted.sort((a, b) => (a.text < b.text ? -1 : 1)))
    this.#unsorted = []
  }

  seqs(text: string): readonly number[] | undefined {
    return this.#listings.get(text)?.seqs
  }

  forget(text: string, seq: number): void {
    const listing = this.#listings.get(text)
    if (listing !== undefined) listing.seqs = listing.seqs.filter((it) => it !== seq)
  }

  /** Adds rows after `place` until there are `most`. */
  rowsAfter(list: List, place: Place | undefined, most: number, rows: Place[]): void {
    const begun = place?.text ?? ''
    const heads = this.#runs.map((run) => firstWhere(run.length, (i) => (run[i] as Listing).text >= begun))
    while (rows.length < most) {
      let least: Listing | undefined
      let which = 0
      for (let i = 0; i < heads.length; i += 1) {
        const head = this.#runs[i]?.[heads[i] as number]
        if (head !== undefined && (least === undefined || head.text < least.text)) {
          least = head
          which = i
        }
      }
      if (least === undefined) return
      const { text, seqs } = least
      const isBegun = place !== undefined && text === begun
      const start = isBegun ? firstWhere(seqs.length, (i) => (seqs[i] as number) > place.seq) : 0
      for (let i = start; i < seqs.length && rows.length < most; i += 1)
        rows.push({ list, text, seq: seqs[i] as number })
      heads[which] = (heads[which] as number) + 1
    }
  }
}

/** The first of `size` places from which on something holds. */
export function firstWhere(size: number, holds: (i: number) => boolean): number {
  let [from, to] = [0, size]
  while (from < to) {
    const middle = (from + to) >>> 1
    if (holds(middle)) to = middle
    else from = middle + 1
  }
  return from
}
