/**
 * Searching the log: the entries that several terms have in common, newest first, by leaping along their lists.
 *
 * @module
 */

/** Up to `limit` sequence numbers under `term`, newest first, from `most` down. */
export type Under = (term: string, most: number, limit: number) => readonly number[]

/** Sequence numbers that are read at once. */
const CHUNK = 32
/** Reads of one search; more would hold up everybody else. What is left is for the next page. */
const MOST_READS = 1_000

/**
 * A page of what all `terms` have in common; with no terms, of all. `next` is the `before` of the next page: a page may
 * be short, or empty, although there is more.
 */
export function searchLog(
  terms: readonly string[],
  under: Under,
  { before, from, limit }: { before: number; from: number; limit: number },
): { items: number[]; next: number | undefined } {
  const items: number[] = []
  let reads = 0
  const counted: Under = (...query) => {
    reads += 1
    return under(...query)
  }
  // text that is no Unicode is under nothing, though the engine may find it under something else
  if (!terms.every((term) => term.isWellFormed())) return { items, next: undefined }
  const lists = [...new Set(terms)].map((term) => new Descent(term, counted))
  let at = before - 1
  for (let agreed = 0, turn = 0; at >= from; turn += 1) {
    if (agreed >= lists.length) {
      items.push(at)
      at -= 1
      agreed = 0
      if (items.length === limit) return { items, next: at >= from ? at + 1 : undefined }
      continue
    }
    if (reads >= MOST_READS) return { items, next: at + 1 }
    const seq = (lists[turn % lists.length] as Descent).atMost(at)
    if (seq === undefined) break
    agreed = seq === at ? agreed + 1 : 1
    at = seq
  }
  return { items, next: undefined }
}

/** One list, walked downwards. */
class Descent {
  readonly #term: string
  readonly #under: Under
  #ahead: readonly number[] = []
  #next = 0

  constructor(term: string, under: Under) {
    this.#term = term
    this.#under = under
  }

  /** The newest that is not above `most`, which never rises. */
  atMost(most: number): number | undefined {
    for (;;) {
      const seq = this.#ahead[this.#next]
      if (seq === undefined) break
      if (seq <= most) return seq
      this.#next += 1
    }
    this.#ahead = this.#under(this.#term, most, CHUNK)
    this.#next = 0
    return this.#ahead[0]
  }
}
